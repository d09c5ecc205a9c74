//! What the server tells us about itself: its role, loading, forks, the end.

use std::cell::Cell;
use std::ffi::c_void;
use std::time::{Duration, Instant};

use redis_module::raw;

use super::amnesia;
use super::api::{Context, api};
use super::attention;
use super::capture;
use super::durability;
use super::followed;
use super::guard;
use super::log;
use super::native;
use super::permissions;
use super::site::{self, FLAGS, MainThread};
use super::transparent;

/// How often the AOF and the replicas are looked at; in between, forks tell.
const LISTENERS: Duration = Duration::from_secs(1);
static LOOKED: MainThread<Cell<Option<Instant>>> = MainThread(Cell::new(None));

/// Subscribes to everything needed; every server that passed the checks of `load` has these events.
pub fn subscribe(ctx: Context<'_>) {
    let events = [
        raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED,
        raw::REDISMODULE_EVENT_LOADING,
        raw::REDISMODULE_EVENT_FORK_CHILD,
        raw::REDISMODULE_EVENT_REPLICA_CHANGE,
        raw::REDISMODULE_EVENT_FLUSHDB,
        raw::REDISMODULE_EVENT_CONFIG,
        raw::REDISMODULE_EVENT_MODULE_CHANGE,
        raw::REDISMODULE_EVENT_SHUTDOWN,
    ];
    for id in events {
        ctx.subscribe(id, Some(event_callback));
    }
}

unsafe extern "C" fn event_callback(
    ctx: *mut raw::RedisModuleCtx,
    event: raw::RedisModuleEvent,
    sub: u64,
    data: *mut c_void,
) {
    // SAFETY: an event's context, and the data of this kind of event.
    unsafe {
        guard::callback(ctx, |ctx| {
            attention::call();
            match event.id {
                raw::REDISMODULE_EVENT_FLUSHDB if sub == raw::REDISMODULE_SUBEVENT_FLUSHDB_START => {
                    amnesia::flush_begins(ctx, data.cast());
                }
                id => dispatch(ctx, id, sub),
            }
        })
    }
}

fn dispatch(ctx: Context<'_>, event: u64, sub: u64) {
    match event {
        raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED => role(ctx, sub),
        raw::REDISMODULE_EVENT_LOADING => loading(ctx, sub),
        raw::REDISMODULE_EVENT_FORK_CHILD if sub == raw::REDISMODULE_SUBEVENT_FORK_CHILD_BORN => {
            listen();
            log::rewrite_began(ctx);
        }
        raw::REDISMODULE_EVENT_REPLICA_CHANGE => {
            listen();
            durability::replicas_changed();
        }
        raw::REDISMODULE_EVENT_CONFIG => {
            durability::settings_changed(ctx);
            permissions::forget();
        }
        raw::REDISMODULE_EVENT_MODULE_CHANGE => {
            native::forget();
            permissions::forget();
        }
        raw::REDISMODULE_EVENT_SHUTDOWN => site::close(ctx),
        _ => {}
    }
}

/// A fork feeds a replica or starts an AOF: from here on someone reads what we replicate.
fn listen() {
    log::listen(true);
    LOOKED.0.set(Some(Instant::now()));
}

/// Whatever is loaded takes the place of all that is here.
fn loading(ctx: Context<'_>, sub: u64) {
    let begins = sub < raw::REDISMODULE_SUBEVENT_LOADING_ENDED;
    FLAGS.0.loading.set(begins);
    if begins {
        amnesia::load_begins();
        site::close_for_load(ctx);
        followed::begin_load(sub);
    } else {
        followed::end_load(ctx, sub == raw::REDISMODULE_SUBEVENT_LOADING_FAILED);
    }
}

fn role(ctx: Context<'_>, sub: u64) {
    let primary = sub == raw::REDISMODULE_EVENT_REPLROLECHANGED_NOW_MASTER;
    FLAGS.0.primary.set(primary);
    if primary {
        transparent::look(ctx);
    } else {
        capture::forget(None);
        site::close(ctx);
    }
}

/// Looks from time to time whether anyone reads what we replicate.
pub fn refresh_listeners(ctx: Context<'_>) {
    if LOOKED.0.get().is_none_or(|at| at.elapsed() >= LISTENERS) {
        log::listen(has_listeners(ctx));
        LOOKED.0.set(Some(Instant::now()));
    }
}

/// Whether there is an AOF, a replica, or a backlog that one may be caught up from.
pub fn has_listeners(ctx: Context<'_>) -> bool {
    // SAFETY: valid in any context.
    let flags = unsafe { api!(RedisModule_GetContextFlags(ctx.raw)) } as u32;
    flags & raw::REDISMODULE_CTX_FLAGS_AOF != 0 || has_replicas(ctx)
}

fn has_replicas(ctx: Context<'_>) -> bool {
    ctx.info(c"replication", |info| {
        [c"connected_slaves", c"repl_backlog_active"]
            .iter()
            .any(|field| info.number(field).is_some_and(|count| count > 0))
    })
}
