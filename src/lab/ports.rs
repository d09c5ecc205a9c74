//! Free ports on loopback.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which Linux takes ports for outgoing connections (32768 and up), so that a server finds its
/// port free again when it restarts.
const FIRST: u16 = 16_000;
const COUNT: u16 = 16_000;

/// A loopback address whose port nothing uses for TCP or UDP, and which this process has not been given before.
///
/// # Panics
/// When the whole range is in use.
pub fn free() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that run side by side start far apart.
    let start = (process::id() as u16).wrapping_mul(211);
    (0..COUNT)
        .map(|_| FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT)
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .find(|address| TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok())
        .expect("a free port on loopback")
}
