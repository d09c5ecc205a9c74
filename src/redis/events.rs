//! What the server tells us about itself: its role, loading, forks, the event loop, the end.

use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::time::{Duration, Instant};

use redis_module::raw;

use super::api::{Context, api};
use super::guard;
use super::site::{self, FLAGS, MainThread};
use super::turn;

/// How often the AOF and the replicas are looked at; in between, forks tell.
const LISTENERS: Duration = Duration::from_secs(1);
static LOOKED: MainThread<Cell<Option<Instant>>> = MainThread(Cell::new(None));

/// Subscribes to everything needed; every server that passed the checks of `load` has these events.
pub fn subscribe(ctx: Context<'_>) {
    let events = [
        raw::REDISMODULE_EVENT_EVENTLOOP,
        raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED,
        raw::REDISMODULE_EVENT_LOADING,
        raw::REDISMODULE_EVENT_FORK_CHILD,
        raw::REDISMODULE_EVENT_REPLICA_CHANGE,
        raw::REDISMODULE_EVENT_SHUTDOWN,
    ];
    for id in events {
        // The header's own constants are local to C files.
        let event = raw::RedisModuleEvent { id, dataver: 1 };
        // SAFETY: valid arguments.
        unsafe { api!(RedisModule_SubscribeToServerEvent(ctx.raw, event, Some(event_callback))) };
    }
}

unsafe extern "C" fn event_callback(
    ctx: *mut raw::RedisModuleCtx,
    event: raw::RedisModuleEvent,
    sub: u64,
    _data: *mut c_void,
) {
    // SAFETY: an event's context.
    unsafe { guard::callback(ctx, |ctx| dispatch(ctx, event.id, sub)) }
}

fn dispatch(ctx: Context<'_>, event: u64, sub: u64) {
    match event {
        raw::REDISMODULE_EVENT_EVENTLOOP if sub == raw::REDISMODULE_SUBEVENT_EVENTLOOP_BEFORE_SLEEP => {
            turn::before_sleep(ctx);
        }
        raw::REDISMODULE_EVENT_EVENTLOOP => turn::after_sleep(ctx),
        raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED => role(ctx, sub),
        raw::REDISMODULE_EVENT_LOADING => FLAGS.0.loading.set(sub < raw::REDISMODULE_SUBEVENT_LOADING_ENDED),
        // A fork feeds a replica or starts an AOF: from here on someone reads what we replicate.
        raw::REDISMODULE_EVENT_FORK_CHILD | raw::REDISMODULE_EVENT_REPLICA_CHANGE => {
            FLAGS.0.listeners.set(true);
            LOOKED.0.set(Some(Instant::now()));
        }
        raw::REDISMODULE_EVENT_SHUTDOWN => site::close(ctx),
        _ => {}
    }
}

fn role(ctx: Context<'_>, sub: u64) {
    let primary = sub == raw::REDISMODULE_EVENT_REPLROLECHANGED_NOW_MASTER;
    FLAGS.0.primary.set(primary);
    if !primary {
        site::close(ctx);
    }
}

/// Looks from time to time whether anyone reads what we replicate.
pub fn refresh_listeners(ctx: Context<'_>) {
    if LOOKED.0.get().is_some_and(|at| at.elapsed() < LISTENERS) {
        return;
    }
    LOOKED.0.set(Some(Instant::now()));
    // SAFETY: valid in any context.
    let flags = unsafe { api!(RedisModule_GetContextFlags(ctx.raw)) } as u32;
    let aof = flags & raw::REDISMODULE_CTX_FLAGS_AOF != 0;
    FLAGS.0.listeners.set(aof || has_replicas(ctx));
}

fn has_replicas(ctx: Context<'_>) -> bool {
    let fields: [&CStr; 2] = [c"connected_slaves", c"repl_backlog_active"];
    // SAFETY: the data is freed once, after its fields were read.
    unsafe {
        let data = api!(RedisModule_GetServerInfo(ctx.raw, c"replication".as_ptr()));
        let mut error = 0;
        let any = fields
            .iter()
            .any(|field| api!(RedisModule_ServerInfoGetFieldUnsigned(data, field.as_ptr(), &mut error)) > 0);
        api!(RedisModule_FreeServerInfo(ctx.raw, data));
        any
    }
}
