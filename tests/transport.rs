//! The transport: real sockets on the loopback, and QUIC in simulated time.

#[path = "transport/authority.rs"]
mod authority;
#[path = "transport/changes.rs"]
mod changes;
#[path = "transport/hostile.rs"]
mod hostile;
#[path = "transport/loopback.rs"]
mod loopback;
#[path = "transport/refused.rs"]
mod refused;
#[path = "transport/region.rs"]
mod region;
#[path = "transport/simulated.rs"]
mod simulated;
#[path = "transport/simulation.rs"]
mod simulation;
