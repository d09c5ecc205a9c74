//! Memory limits: remote work goes on above `maxmemory` up to a reserve, and what the server evicts is removed in all
//! regions.

use std::cell::Cell;
use std::ffi::{c_char, c_int};

use redis_module::raw;

use super::api::{Context, Text, api};
use super::guard;
use super::log;
use super::settings;
use super::site::{self, MainThread};
use crate::crdt::KeyRef;
use crate::replication::{Change, Engine, Level};

/// Remote work waits for memory.
static PAUSED: MainThread<Cell<bool>> = MainThread(Cell::new(false));

/// No more keys may be evicted here only.
static FULL: MainThread<Cell<bool>> = MainThread(Cell::new(false));

/// Whether there is memory for what peers send. Says so when that changes.
pub fn has_room(ctx: Context<'_>) -> bool {
    // SAFETY: takes nothing. The share of `maxmemory` in use; 0 without a limit.
    let used = unsafe { api!(RedisModule_GetUsedMemoryRatio()) };
    let limit = 1.0 + settings::memory_reserve() as f32 / 100.0;
    let paused = used > limit;
    if PAUSED.0.replace(paused) != paused {
        let text = if paused {
            "changes of other regions wait: memory is above maxmemory and geo.memory-reserve. Raise maxmemory or \
             remove data"
        } else {
            "changes of other regions are applied again: memory is below maxmemory and geo.memory-reserve"
        };
        site::log(ctx, if paused { Level::Warning } else { Level::Notice }, text);
    }
    !paused
}

pub fn is_paused() -> bool {
    PAUSED.0.get()
}

pub fn subscribe(ctx: Context<'_>) {
    let types = raw::REDISMODULE_NOTIFY_EVICTED as c_int;
    // SAFETY: during load; the callback lives as long as the library, which stays.
    unsafe { api!(RedisModule_SubscribeToKeyspaceEvents(ctx.raw, types, Some(evicted))) };
}

/// The key is gone here. Either the other regions keep it, and this one remembers that it lacks it; or what this region
/// saw of it is removed everywhere, which keeps the regions equal.
unsafe extern "C" fn evicted(
    ctx: *mut raw::RedisModuleCtx,
    _types: c_int,
    _event: *const c_char,
    key: *mut raw::RedisModuleString,
) -> c_int {
    // SAFETY: a notification's context and key.
    unsafe {
        guard::callback(ctx, |ctx| {
            let key = Text::new(key);
            // What is being installed for the key comes into its place now: then nothing is gone.
            let ours = settings::has_key(key.bytes());
            let gone = ours && site::may_apply() && site::prepare(ctx, key).is_ok() && ctx.open(key).kind().is_none();
            if gone && !evict_here(ctx, key) {
                site::record(ctx, key, None, Change::clear());
                log::after_command(ctx);
            }
        })
    }
    raw::REDISMODULE_OK as c_int
}

/// False when the eviction is to be replicated.
fn evict_here(ctx: Context<'_>, key: Text<'_>) -> bool {
    if !settings::evicts_locally() {
        return false;
    }
    let name = KeyRef {
        db: ctx.database(),
        name: key.bytes(),
    };
    let done = site::with(|site| {
        if site.engine.evicted_keys() >= settings::max_evicted_keys() {
            return false;
        }
        site.engine.evict(name);
        log::propagate(ctx, site);
        true
    });
    let done = done.unwrap_or(false);
    if FULL.0.replace(!done) == done {
        return done;
    }
    if !done {
        let text =
            "geo.max-evicted-keys is reached: what is evicted now is removed in all regions. Raise it, or maxmemory";
        site::log(ctx, Level::Warning, text);
    }
    done
}

/// A region that does not evict for itself alone holds everything: what it lacks is fetched.
pub fn want_evicted(engine: &mut Engine) {
    if engine.evicted_keys() > 0 && !settings::evicts_locally() {
        engine.want_evicted();
    }
}

/// How `GEO.STATUS` names it.
pub fn state() -> &'static str {
    if is_paused() { "paused" } else { "running" }
}
