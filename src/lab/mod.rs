//! Regions on one machine with links that misbehave: for `geoctl demo`, the integration tests and the benches.
//!
//! * [`relay`]: UDP relays that delay, lose, duplicate, reorder and cut, each direction on its own
//! * [`server`]: one redis-server with the module, which can be killed, frozen and restarted
//! * [`regions`]: several of them with their certificates, linked through relays
//! * [`fleet`]: regions of a primary and its replicas, and what can happen to their processes, files and clocks
//! * [`sentinel`]: a Redis Sentinel that watches one region
//! * [`shim`]: a server's wrong clock, its disk that hangs, is full or loses power, its forks that fail
//! * [`status`]: `GEO.STATUS` read into named fields
//! * [`dump`]: what a plain client sees of a server's data
//! * [`module`]: where the built module is

pub mod conditions;
pub mod dump;
pub mod fleet;
pub mod module;
pub mod ports;
pub mod regions;
pub mod relay;
pub mod sentinel;
pub mod server;
pub mod shim;
pub mod status;
mod wait;

pub use wait::{Timeout, wait_for};
