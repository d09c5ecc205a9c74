//! The transport: real sockets on the loopback, and QUIC in simulated time.

#[path = "transport/authority.rs"]
mod authority;
#[path = "transport/loopback.rs"]
mod loopback;
#[path = "transport/region.rs"]
mod region;
