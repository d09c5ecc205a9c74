//! What the append-only file and the in-region replicas repeat: the region's log, as `GEO.APPLY` commands. Native
//! effects are not propagated beside it: the log carries them.

use std::cell::Cell;
use std::ffi::CStr;

use redis_module::raw;

use super::api::{Context, api};
use super::site::{self, FLAGS, MainThread, Site};

/// The role that the append-only file says its writer had at its end; `None`: it says nothing yet.
static MARKED: MainThread<Cell<Option<bool>>> = MainThread(Cell::new(None));

/// Sends on what the region did since the last call. In the context of the command that did it, so that
/// transactions, scripts, `WAIT` and the order relative to native commands come out as for native writes.
pub fn propagate(ctx: Context<'_>, site: &mut Site) {
    site.engine.drain_log(|entries| {
        if !entries.is_empty() {
            ctx.replicate_bytes(c"GEO.APPLY", entries);
        }
    });
}

/// After a command that recorded something.
pub fn after_command(ctx: Context<'_>) {
    if site::take_recorded() {
        site::with(|site| propagate(ctx, site));
    }
}

/// From here on someone reads, or no one does, what we propagate.
pub fn listen(on: bool) {
    FLAGS.0.listeners.set(on);
    site::with(|site| site.engine.set_logging(on));
}

/// A child that rewrites the append-only file has been born, and the file's new increment is open. Without a preamble
/// the child writes values only: the state goes to the head of the increment.
pub fn rewrite_began(ctx: Context<'_>) {
    if FLAGS.0.detached.get() {
        return;
    }
    if ctx.setting(c"aof-use-rdb-preamble").as_deref() != Some(b"no") || !ctx.info_is(c"persistence", REWRITING, 1) {
        return;
    }
    let role = role();
    let mut send = |piece: &[u8]| ctx.log_only(c"GEO.STATE", &[role, piece]);
    let mut pieces = |region: &crate::replication::Region| region.save(&mut send);
    if site::look(&mut pieces).is_none() {
        super::followed::look(&mut pieces);
    }
}

const REWRITING: &CStr = c"aof_rewrite_in_progress";

fn role() -> &'static [u8] {
    if FLAGS.0.primary.get() { b"primary" } else { b"replica" }
}

/// Notes in the append-only file that its writer leads the region, or follows.
pub fn mark_role(ctx: Context<'_>) {
    let primary = FLAGS.0.primary.get();
    if MARKED.0.get() == Some(primary) {
        return;
    }
    // SAFETY: valid in any context.
    let flags = unsafe { api!(RedisModule_GetContextFlags(ctx.raw)) } as u32;
    if flags & raw::REDISMODULE_CTX_FLAGS_AOF != 0 {
        ctx.log_only(c"GEO.STATE", &[role()]);
    }
    MARKED.0.set(Some(primary));
}
