//! How the replication thread wakes the server's event loop: through an eventfd. The transport raises it once
//! per drain, not once per event.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use redis_module::raw;

use super::api::api;
use super::attention;

static FD: AtomicI32 = AtomicI32::new(-1);
/// There is something to drain. Set on the main thread only.
static DUE: AtomicBool = AtomicBool::new(false);

/// Makes the eventfd, before any thread may raise it.
pub fn create() -> Result<(), String> {
    // SAFETY: plain system call.
    let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(format!("eventfd: {}", std::io::Error::last_os_error()));
    }
    FD.store(fd, Ordering::Relaxed);
    Ok(())
}

/// Watches the eventfd. On the main thread.
pub fn watch() -> Result<(), String> {
    let fd = FD.load(Ordering::Relaxed);
    let mask = raw::REDISMODULE_EVENTLOOP_READABLE as c_int;
    // SAFETY: the callback needs no data and touches only atomics.
    match unsafe { api!(RedisModule_EventLoopAdd(fd, mask, Some(readable), ptr::null_mut())) } {
        0 => Ok(()),
        _ => Err("the event loop takes no further file descriptor: raise maxclients".to_owned()),
    }
}

/// From any thread: something has arrived.
pub fn raise() {
    let one = 1u64.to_ne_bytes();
    // SAFETY: eight bytes, as an eventfd takes them. A full counter is readable anyway.
    unsafe { libc::write(FD.load(Ordering::Relaxed), one.as_ptr().cast(), one.len()) };
}

/// On the main thread: work remains, come back after the clients had their turn.
pub fn rearm() {
    due();
    raise();
}

/// On the main thread: the next turn drains.
pub fn due() {
    DUE.store(true, Ordering::Relaxed);
    attention::call();
}

pub fn is_due() -> bool {
    DUE.load(Ordering::Relaxed)
}

/// Before a drain.
pub fn begin() {
    DUE.store(false, Ordering::Relaxed);
}

/// Runs inside the event loop's own callbacks, where no key may be touched: it only takes note.
unsafe extern "C" fn readable(fd: c_int, _data: *mut c_void, _mask: c_int) {
    let mut count = [0u8; 8];
    // SAFETY: eight bytes, non-blocking.
    unsafe { libc::read(fd, count.as_mut_ptr().cast(), count.len()) };
    due();
}
