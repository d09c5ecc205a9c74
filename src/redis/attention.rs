//! Whether the ends of event-loop turns concern us. The server makes a client of its own for each event that it tells, at
//! both ends of every turn: while clients only read it is spared that.
//!
//! Whoever has something for the end of the turn calls. After a while in which no one did, the events are given up; an
//! idle timer ([`turn::arm_timer`]) and the replication thread ([`super::wake`]) call again.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;

use redis_module::raw;

use super::api::{Context, api};
use super::guard;
use super::kept;
use super::site::MainThread;
use super::turn;

/// Time between looks whether anyone has called, ms.
const LOOK: i64 = 2;

struct State {
    subscribed: Cell<bool>,
    /// All calls; those before the last end of a turn; those before the last look.
    calls: Cell<u64>,
    answered: Cell<u64>,
    seen: Cell<u64>,
    /// Ends of turns that concerned us.
    turns: Cell<u64>,
}

static STATE: MainThread<State> = MainThread(State {
    subscribed: Cell::new(false),
    calls: Cell::new(0),
    answered: Cell::new(0),
    seen: Cell::new(0),
    turns: Cell::new(0),
});

/// The end of the running turn, or of the next one, concerns us. On the main thread, anywhere.
pub fn call() {
    let calls = STATE.0.calls.get().wrapping_add(1);
    STATE.0.calls.set(calls);
    let Some(ctx) = kept::context().filter(|_| !STATE.0.subscribed.replace(true)) else {
        return;
    };
    listen(ctx, Some(event));
    look_later(ctx, calls);
    turn::set_time();
}

/// How many ends of turns have concerned us.
pub fn turns() -> u64 {
    STATE.0.turns.get()
}

fn listen(ctx: Context<'_>, callback: raw::RedisModuleEventCallback) {
    ctx.subscribe(raw::REDISMODULE_EVENT_EVENTLOOP, callback);
}

unsafe extern "C" fn event(ctx: *mut raw::RedisModuleCtx, _event: raw::RedisModuleEvent, sub: u64, _data: *mut c_void) {
    // SAFETY: an event's context.
    unsafe {
        guard::callback(ctx, |ctx| {
            if sub == raw::REDISMODULE_SUBEVENT_EVENTLOOP_BEFORE_SLEEP {
                STATE.0.answered.set(STATE.0.calls.get());
                STATE.0.turns.set(STATE.0.turns.get() + 1);
                turn::before_sleep(ctx);
            } else {
                turn::set_time();
            }
        })
    }
}

fn look_later(ctx: Context<'_>, calls: u64) {
    STATE.0.seen.set(calls);
    // SAFETY: the callback needs no data.
    unsafe { api!(RedisModule_CreateTimer(ctx.raw, LOOK, Some(look), ptr::null_mut())) };
}

/// A timer and not the event itself gives the event up: the server goes on with a subscription whose callback returns.
unsafe extern "C" fn look(ctx: *mut raw::RedisModuleCtx, _data: *mut c_void) {
    // SAFETY: a timer's context.
    unsafe {
        guard::callback(ctx, |ctx| {
            let calls = STATE.0.calls.get();
            if calls != STATE.0.answered.get() || calls != STATE.0.seen.get() {
                return look_later(ctx, calls);
            }
            listen(ctx, None);
            STATE.0.subscribed.set(false);
        })
    }
}
