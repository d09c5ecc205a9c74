//! The server forks children to save, and a child that saves may outlive the server. It must not keep a port from the
//! server's next start, nor from its next opening of the site.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};

/// No socket of ours has a greater descriptor.
static HIGHEST: AtomicI32 = AtomicI32::new(-1);

/// Children that are forked from now on close this UDP socket.
pub fn keep_from(socket: &impl AsRawFd) {
    static ARRANGED: Once = Once::new();
    HIGHEST.fetch_max(socket.as_raw_fd(), Ordering::Relaxed);
    // Without memory for it children keep the sockets, as they would anyway.
    // SAFETY: the handler makes system calls only; the library it is in stays loaded.
    ARRANGED.call_once(|| unsafe {
        libc::pthread_atfork(None, None, Some(close_sockets));
    });
}

/// By what the descriptors are rather than from a list: which thread closes which socket when does not matter then.
unsafe extern "C" fn close_sockets() {
    for descriptor in 0..=HIGHEST.load(Ordering::Relaxed) {
        if is_udp(descriptor) {
            // SAFETY: nobody in the child uses it.
            unsafe { libc::close(descriptor) };
        }
    }
}

fn is_udp(descriptor: RawFd) -> bool {
    let (mut protocol, mut length) = (0, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the value is a c_int of the length given.
    let known = unsafe {
        libc::getsockopt(
            descriptor,
            libc::SOL_SOCKET,
            libc::SO_PROTOCOL,
            (&raw mut protocol).cast(),
            &raw mut length,
        )
    };
    known == 0 && protocol == libc::IPPROTO_UDP
}
