//! The end of an event-loop turn: local changes go out, remote ones come in, in slices that leave clients
//! most of the time.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;
use std::time::{Duration, Instant};

use redis_module::raw;

use super::adopt;
use super::amnesia;
use super::api::{Context, api};
use super::blocked;
use super::capture;
use super::detach;
use super::durability;
use super::events;
use super::expiry;
use super::followed;
use super::guard;
use super::log;
use super::memory;
use super::purge;
use super::recovery;
use super::site::{self, FLAGS, MainThread, Site};
use super::store::RedisStore;
use super::transparent;
use super::wake;

/// Bounds of one slice.
const STEPS: usize = 64;
const SLICE: Duration = Duration::from_micros(100);
/// Targets that a replica settles in one turn.
const SETTLED: usize = 64;
/// A slice takes at most one part in this many of the time since the last one ended.
const SHARE: u32 = 2;
/// Bounds of the idle timer, ms.
const TIMER: std::ops::RangeInclusive<u64> = 10..=100;

static LAST_SLICE: MainThread<Cell<Option<Instant>>> = MainThread(Cell::new(None));
/// Refusals to open the site are logged once each, not at every turn.
static RETRY: MainThread<Cell<Option<Instant>>> = MainThread(Cell::new(None));

/// Commands of the turn that begins share this time.
pub fn set_time() {
    site::with(|site| site.engine.set_time(site.now()));
}

pub fn before_sleep(ctx: Context<'_>) {
    if FLAGS.0.loading.get() {
        return;
    }
    transparent::look(ctx);
    if FLAGS.0.detached.get() {
        return detach::face(ctx);
    }
    if FLAGS.0.primary.get() {
        open(ctx);
    } else if followed::settle(ctx, SETTLED) {
        wake::rearm();
    }
    if site::may_propagate() {
        log::mark_role(ctx);
    }
    expiry::face(ctx);
    blocked::resume(ctx);
    site::with(|site| {
        if amnesia::is_due() && site::may_apply() {
            amnesia::face(ctx, site);
        }
        capture::face(ctx, site);
        durability::look(ctx, site);
        site.engine.flush(&mut site.out);
        site.dispatch(ctx);
        if wake::is_due() && site::may_apply() {
            slice(ctx, site);
        }
    });
}

/// Opens the site when this server has become a primary; tries again each second when it cannot.
fn open(ctx: Context<'_>) {
    if RETRY.0.get().is_some_and(|at| at > Instant::now()) {
        return;
    }
    RETRY.0.set(None);
    if let Err(reason) = site::ensure_open(ctx) {
        ctx.log(c"warning", &reason);
        RETRY.0.set(Some(Instant::now() + Duration::from_secs(1)));
    }
}

/// One slice of remote work.
fn slice(ctx: Context<'_>, site: &mut Site) {
    wake::begin();
    let start = Instant::now();
    let allowed = match LAST_SLICE.0.get() {
        Some(last) => (start.duration_since(last) / SHARE).min(SLICE),
        None => SLICE,
    };
    site.engine.set_time(site.now());
    let mut more = true;
    site.engine.set_room(memory::has_room(ctx));
    memory::want_evicted(&mut site.engine);
    let (uncounted, scored) = {
        let mut store = RedisStore::new(ctx);
        for _ in 0..STEPS {
            let pulled = site.network.pull(ctx, &mut site.engine, &mut site.out);
            more = site.engine.step(&mut store, &mut site.out) || pulled;
            more |= purge::step(ctx, site, &mut store);
            more |= adopt::step(ctx, site, &mut store);
            if !more || start.elapsed() >= allowed {
                break;
            }
        }
        (store.uncounted, store.scored)
    };
    expiry::settle(ctx, site);
    if FLAGS.0.listeners.get() {
        log::propagate(ctx, site);
    } else if uncounted {
        // Once per slice rather than per change, because it costs as much as a command.
        ctx.count_change();
    }
    site.engine.flush(&mut site.out);
    site.dispatch(ctx);
    LAST_SLICE.0.set(Some(Instant::now()));
    // Some servers look for clients that waited for a key earlier in a turn than here: they are served in the next.
    if more || scored || expiry::is_due() {
        wake::rearm();
    }
}

/// Starts the timer that keeps the engine's own timers going while nothing else happens.
pub fn arm_timer(ctx: Context<'_>) {
    let wait = site::with(|site| site.engine.next_timer()).unwrap_or(*TIMER.end());
    let wait = wait.clamp(*TIMER.start(), *TIMER.end());
    // SAFETY: the callback needs no data.
    unsafe {
        api!(RedisModule_CreateTimer(
            ctx.raw,
            wait as i64,
            Some(tick),
            ptr::null_mut()
        ))
    };
}

unsafe extern "C" fn tick(ctx: *mut raw::RedisModuleCtx, _data: *mut c_void) {
    // SAFETY: a timer's context.
    unsafe {
        guard::callback(ctx, |ctx| {
            wake::due();
            site::with(|site| recovery::look(ctx, site));
            events::refresh_listeners(ctx);
            arm_timer(ctx);
        })
    }
}
