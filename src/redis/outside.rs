//! Keys outside `geo.keys` that a command changes beside keys inside: they stay in this region.

use super::api::{Context, Text};
use super::settings;
use super::site::FLAGS;

/// Whether a change of a key stays in this region. Only a native command asks: a GEO command by its own name says that
/// it is for all regions.
pub fn is_outside(key: Text<'_>) -> bool {
    FLAGS.0.native.get() && !settings::has_key(key.bytes())
}

/// Sends the changed key itself to the AOF and the replicas inside the region: the log has nothing of it, and the
/// native command would change the keys inside `geo.keys`, too.
pub fn changed(ctx: Context<'_>, key: Text<'_>) {
    if FLAGS.0.listeners.get() {
        ctx.replicate_key(key);
    }
}
