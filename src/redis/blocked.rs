//! Clients that wait for a key. The server lists them with its own blocked clients, in the order they came, and asks
//! again for each when a key that it waits for is made, whoever makes it: a client, a script, or another region.

use std::cell::RefCell;
use std::ffi::{CString, c_int, c_longlong, c_void};
use std::ops::Range;
use std::ptr;

use redis_module::raw;

use super::api::{Context, OwnedText, Text, api, has};
use super::guard::{self, Handler};
use super::site::{self, MainThread};
use super::wake;
use crate::crdt::KeyName;

/// What a client waits for.
pub struct Wait {
    /// Where the keys are among the arguments.
    pub keys: Range<usize>,
    /// In ms; 0: for ever.
    pub timeout: c_longlong,
}

/// Longer than any server runs; later deadlines would overflow.
const LONGEST: f64 = (i64::MAX / 2) as f64;

/// The timeout in ms that a server makes of seconds which it has accepted.
pub fn milliseconds(seconds: &[u8]) -> c_longlong {
    let text = CString::new(seconds).unwrap_or_default();
    // SAFETY: a C string. The server reads numbers by the same rules, hexadecimal ones included.
    let seconds = unsafe { libc::strtod(text.as_ptr(), ptr::null_mut()) };
    (seconds * 1000.0).ceil().min(LONGEST) as c_longlong
}

/// Whether the client may wait: not in a transaction or a script, nor for another module.
pub fn may_wait(ctx: Context<'_>) -> bool {
    // SAFETY: valid in any context.
    let flags = unsafe { api!(RedisModule_GetContextFlags(ctx.raw)) } as u32;
    flags & raw::REDISMODULE_CTX_FLAGS_DENY_BLOCKING == 0
}

/// Whether the server serves a client that waited by running its command again, from Redis 7.2 on; before, it took
/// from the key that became ready, whatever the others held.
pub fn runs_again() -> bool {
    // SAFETY: a function that came with it.
    unsafe { has!(RedisModule_BlockClientOnKeysWithFlags) }
}

/// Lets the running command's client wait. When a key is ready, `handler` runs again, and may answer, or wait on.
pub fn wait(ctx: Context<'_>, args: &[Text<'_>], wait: &Wait, handler: Handler) {
    let keys = &args[wait.keys.clone()];
    // SAFETY: the server keeps the client's arguments until it has an answer, and takes references to the keys; a
    // function pointer needs no freeing.
    unsafe {
        api!(RedisModule_BlockClientOnKeys(
            ctx.raw,
            Some(ready),
            Some(timed_out),
            None,
            wait.timeout,
            keys.as_ptr().cast_mut().cast(),
            keys.len() as c_int,
            handler as *mut c_void
        ))
    };
}

/// Whether the client has been answered; if not, it waits on.
unsafe extern "C" fn ready(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
) -> c_int {
    // SAFETY: a blocked client's context; `wait` gave it a handler, and the key lives as long as the call.
    let answered = unsafe {
        let handler = std::mem::transmute::<*mut c_void, Handler>(api!(RedisModule_GetBlockedClientPrivateData(ctx)));
        let key = Text::new(api!(RedisModule_GetBlockedClientReadyKey(ctx)));
        if !site::may_propagate() {
            guard::callback(ctx, |ctx| put_off(ctx, key));
            return raw::REDISMODULE_ERR as c_int;
        }
        guard::again(ctx, argv, argc, handler, key)
    };
    (if answered {
        raw::REDISMODULE_OK
    } else {
        raw::REDISMODULE_ERR
    }) as c_int
}

unsafe extern "C" fn timed_out(
    ctx: *mut raw::RedisModuleCtx,
    _argv: *mut *mut raw::RedisModuleString,
    _argc: c_int,
) -> c_int {
    // SAFETY: a blocked client's context, which answers the client.
    unsafe { api!(RedisModule_ReplyWithNullArray(ctx)) }
}

/// Keys that became ready while the clients were paused: what is taken then could not be propagated.
static PUT_OFF: MainThread<RefCell<Vec<KeyName>>> = MainThread(RefCell::new(Vec::new()));

fn put_off(ctx: Context<'_>, key: Text<'_>) {
    let key = (ctx.database(), key.bytes().into());
    let mut keys = PUT_OFF.0.borrow_mut();
    if !keys.contains(&key) {
        keys.push(key);
    }
}

/// At the end of a turn: has the server ask again for what was put off, in the next one.
pub fn resume(ctx: Context<'_>) {
    if PUT_OFF.0.borrow().is_empty() || !site::may_propagate() {
        return;
    }
    let home = ctx.database();
    for (database, key) in PUT_OFF.0.take() {
        if ctx.select(database) {
            let key = OwnedText::new(&key);
            // SAFETY: valid arguments.
            unsafe { api!(RedisModule_SignalKeyAsReady(ctx.raw, key.text().raw)) };
        }
    }
    ctx.select(home);
    wake::rearm();
}

#[cfg(test)]
mod tests {
    use super::milliseconds;

    #[test]
    fn timeouts_are_rounded_up() {
        for (seconds, expected) in [("0", 0), ("-0.0001", 0), ("0.0001", 1), ("1.5", 1500), ("0x10", 16_000)] {
            assert_eq!(milliseconds(seconds.as_bytes()), expected, "{seconds}");
        }
        assert!(milliseconds(b"9e15") > 0);
    }
}
