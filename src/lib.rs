//! Active-active geo-replication for Redis and Valkey.
//!
//! Dependencies point downward only:
//!
//! * `redis` and `commands`: the module, the only part that touches the server (feature `module`)
//! * `replication::transport`: QUIC, TLS and the replication thread (feature `net`)
//! * [`replication`]: the pure engine, `handle(now, input) -> outputs`
//! * [`crdt`]: the pure kernel; no clock, no I/O, no server

pub mod crdt;
pub mod replication;

/// Private certificate authority and region certificates.
#[cfg(feature = "geoctl")]
pub mod certificates;
/// Regions on one machine with links that misbehave: for `geoctl demo`, the integration tests and the benches.
#[cfg(feature = "geoctl")]
pub mod lab;
