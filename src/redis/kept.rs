//! A context of our own: for callbacks that are given none, and for what the one they have cannot do.

use std::cell::Cell;
use std::ptr;

use redis_module::raw;

use super::api::{Context, api};
use super::site::MainThread;

static CONTEXT: MainThread<Cell<*mut raw::RedisModuleCtx>> = MainThread(Cell::new(ptr::null_mut()));

/// During load.
pub fn open(ctx: Context<'_>) {
    // SAFETY: on the main thread; the context is never freed.
    CONTEXT
        .0
        .set(unsafe { api!(RedisModule_GetDetachedThreadSafeContext(ctx.raw)) });
}

/// `None` before the module is loaded.
pub fn context() -> Option<Context<'static>> {
    let raw = CONTEXT.0.get();
    // SAFETY: a context of this module, which is never freed.
    (!raw.is_null()).then(|| unsafe { Context::new(raw) })
}

/// The context with another database selected; or ours, in a transaction on Valkey, which from 9.0 on does not let the
/// context leave its client's database. `None` when there is no such database. Whoever asks selects the first database
/// again in its own context.
pub fn at<'a>(ctx: Context<'a>, database: u32) -> Option<Context<'a>> {
    if !ctx.select(database) {
        return None;
    }
    match ctx.database() == database {
        true => Some(ctx),
        false => context().filter(|kept| kept.select(database)),
    }
}
