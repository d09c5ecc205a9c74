//! Active-active geo-replication for Redis and Valkey.
//!
//! Dependencies point downward only:
//!
//! * `redis` and `commands`: the module, the only part that touches the server (feature `module`)
//! * `replication::transport`: QUIC, TLS and the replication thread (feature `net`)
//! * [`replication`]: the pure engine, `handle(now, input) -> outputs`
//! * [`crdt`]: the pure kernel; no clock, no I/O, no server
//!
//! Beside them, for the companion command, the tests and the benches (feature `geoctl`): `certificates` and `lab`.

/// Private certificate authority and region certificates.
#[cfg(feature = "geoctl")]
pub mod certificates;
/// Regions on one machine with links that misbehave.
#[cfg(feature = "geoctl")]
pub mod lab;

pub mod crdt;
pub mod replication;

#[cfg(feature = "module")]
pub mod commands;
#[cfg(feature = "module")]
pub mod redis;
