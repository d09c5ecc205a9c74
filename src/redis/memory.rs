//! Memory limits: remote work goes on above `maxmemory` up to a reserve, and what the server evicts is removed in all
//! regions.

use std::cell::Cell;
use std::ffi::{c_char, c_int};

use redis_module::raw;

use super::api::{Context, Text, api};
use super::attention;
use super::durability;
use super::guard;
use super::log;
use super::settings;
use super::site::{self, MainThread};
use crate::crdt::KeyRef;
use crate::replication::{Change, Engine, Level};

/// What remote work waits for.
static WAITS: MainThread<Cell<Option<Lack>>> = MainThread(Cell::new(None));

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lack {
    Memory,
    /// The append-only file cannot be written, and what waits for it is in memory, which `maxmemory` does not count.
    Disk,
}

/// Bytes that may wait for an append-only file that cannot be written.
const UNWRITTEN: u64 = 64 << 20;

/// No more keys may be evicted here only.
static FULL: MainThread<Cell<bool>> = MainThread(Cell::new(false));

/// Whether there is room for what peers send. Says so when that changes.
pub fn has_room(ctx: Context<'_>) -> bool {
    // SAFETY: takes nothing. The share of `maxmemory` in use; 0 without a limit.
    let used = unsafe { api!(RedisModule_GetUsedMemoryRatio()) };
    let limit = 1.0 + settings::memory_reserve() as f32 / 100.0;
    let lack = match used > limit {
        true => Some(Lack::Memory),
        false => waits_for_disk(ctx).then_some(Lack::Disk),
    };
    if WAITS.0.replace(lack) != lack {
        let (level, text) = match lack {
            Some(Lack::Memory) => (
                Level::Warning,
                "changes of other regions wait: memory is above maxmemory and geo.memory-reserve. Raise maxmemory or \
                 remove data",
            ),
            Some(Lack::Disk) => (
                Level::Warning,
                "changes of other regions wait: the append-only file cannot be written, and too much waits for it in \
                 memory. Make room on the disk",
            ),
            None => (Level::Notice, "changes of other regions are applied again"),
        };
        site::log(ctx, level, text);
    }
    lack.is_none()
}

fn waits_for_disk(ctx: Context<'_>) -> bool {
    !durability::is_writable() && ctx.info(c"persistence", |info| info.number(c"aof_buffer_length")) > Some(UNWRITTEN)
}

pub fn is_paused() -> bool {
    WAITS.0.get().is_some()
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
            attention::call();
            let key = Text::new(key);
            // What is being installed for the key comes into its place now: then nothing is gone.
            let ours = settings::has_key(key.bytes());
            let gone = ours && site::may_apply() && site::prepare(ctx, key).is_ok() && ctx.open(key).kind().is_none();
            if gone && !drops_given_up(ctx, key) && !evict_here(ctx, key) {
                site::record(ctx, key, None, Change::clear());
                log::after_command(ctx);
            }
        })
    }
    raw::REDISMODULE_OK as c_int
}

/// True of old data in the way of a state that is adopted.
fn drops_given_up(ctx: Context<'_>, key: Text<'_>) -> bool {
    let name = KeyRef {
        db: ctx.database(),
        name: key.bytes(),
    };
    let dropped = site::with(|site| {
        let dropped = site.engine.drops_given_up(name);
        if dropped {
            log::propagate(ctx, site);
        }
        dropped
    });
    dropped.unwrap_or(false)
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
