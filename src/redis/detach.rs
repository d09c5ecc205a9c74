//! `GEO.DETACH`: the road back. The region replicates no more, its metadata goes, its values stay, and what the server
//! saves from here on loads on a server without the module.

use std::cell::Cell;

use super::api::{Context, OwnedText, Text, has};
use super::capture;
use super::followed;
use super::permissions;
use super::reply::Refusal;
use super::settings;
use super::site::{self, FLAGS, MainThread};

/// The append-only file still speaks of the region.
static REWRITE: MainThread<Cell<bool>> = MainThread(Cell::new(false));

/// `name`: the region's own, as a confirmation.
///
/// # Errors
/// When that is not its name.
pub fn detach(ctx: Context<'_>, name: Text<'_>) -> Result<(), Refusal> {
    let region = settings::region();
    if FLAGS.0.loading.get() {
        // Whether the region is detached now, the settings say.
        followed::drop_state();
        return Ok(());
    }
    if name.bytes() != region.as_bytes() {
        return Err(Refusal::from(format!(
            "ERR this is region '{region}': GEO.DETACH {region} takes it out of its cluster for good"
        )));
    }
    if FLAGS.0.detached.replace(true) {
        return Ok(());
    }
    settings::detach();
    capture::forget(None);
    site::close_because(ctx, "the region was detached from the cluster");
    followed::drop_state();
    permissions::revoke(ctx);
    REWRITE.0.set(true);
    ctx.log(
        c"warning",
        &format!("region {region} is detached: nothing is replicated to or from other regions any more"),
    );
    keep(ctx);
    if !saves_nothing() {
        ctx.log(
            c"warning",
            "this server's RDB files need the module until it is started anew, with geo.detached yes: see \
             docs/leaving.md",
        );
    }
    Ok(())
}

/// Lets the next start know.
fn keep(ctx: Context<'_>) {
    let word = OwnedText::new(b"REWRITE");
    let answer = ctx.ask(c"CONFIG", &[word.text()]);
    if answer.is_none_or(|answer| answer.is_error()) {
        ctx.log(
            c"warning",
            "CONFIG REWRITE does not work here: started anew with the module, this region joins its cluster again, unless \
             redis.conf says geo.detached yes",
        );
    }
}

/// At the end of a turn: the append-only file is written anew, once that can be begun, without a word of ours.
pub fn face(ctx: Context<'_>) {
    if !REWRITE.0.get() || !site::may_propagate() {
        return;
    }
    if ctx.setting(c"appendonly").as_deref() != Some(b"yes") {
        return REWRITE.0.set(false);
    }
    let begun = ctx.ask(c"BGREWRITEAOF", &[]).is_some_and(|answer| !answer.is_error());
    REWRITE.0.set(!begun);
}

/// Whether an RDB may be without any trace of the module.
fn saves_nothing() -> bool {
    // SAFETY: only asks. Servers from Redis 7.2 on have both this and `aux_save2`.
    unsafe { has!(RedisModule_RdbSave) }
}
