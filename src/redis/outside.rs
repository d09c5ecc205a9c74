//! Keys outside `geo.keys` that our commands change: they stay in this region. Most are changed beside keys inside.

use std::ffi::CStr;

use super::api::{Answer, Context, Text};
use super::kept;
use super::settings;
use super::site::FLAGS;

/// Whether a change of a key stays in this region. Only a native command asks: a GEO command by its own name says that
/// it is for all regions.
pub fn is_outside(key: Text<'_>) -> bool {
    FLAGS.0.native.get() && !settings::has_key(key.bytes())
}

/// Runs a native command that concerns such keys only, and came here because of what the server makes of it by itself.
/// `places`: what it changes, by database. `None` when one of the keys is inside, or the server does not run it.
pub fn run(
    ctx: Context<'_>,
    name: &CStr,
    arguments: &[Text<'_>],
    keys: &[Text<'_>],
    places: &[(u32, Text<'_>)],
) -> Option<Answer> {
    let answer = keys
        .iter()
        .all(|key| is_outside(*key))
        .then(|| ctx.call(name, arguments))??;
    if answer.integer() == Some(1) {
        // The command itself would lead a replica's link astray, too.
        let home = ctx.database();
        for (database, key) in places {
            if let Some(there) = kept::at(ctx, *database) {
                changed(there, *key);
            }
        }
        ctx.select(home);
    }
    Some(answer)
}

/// Sends the changed key itself to the AOF and the replicas inside the region: the log has nothing of it, and the
/// native command would change the keys inside `geo.keys`, too.
pub fn changed(ctx: Context<'_>, key: Text<'_>) {
    if FLAGS.0.listeners.get() {
        ctx.replicate_key(key);
    }
}
