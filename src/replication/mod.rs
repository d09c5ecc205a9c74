//! Replication: the pure engine, and its edge (`transport`, feature `net`).
//!
//! ```text
//!  handshake.rs  hello, accept, refuse       outbound.rs  live stream or transfer, per peer
//!  recovery.rs   a peer brings us up to date inbound.rs   stream in causal order, slices as they come
//!  election.rs   when all regions recover    stability.rs acknowledgements
//!  region.rs     what must not be forgotten  log.rs       how AOF and replicas follow it
//!  capture.rs    what nobody recorded        wire/         the bytes
//! ```

mod api;
mod capture;
mod election;
mod engine;
mod fetch;
mod gaps;
mod handshake;
mod inbound;
mod local;
mod log;
mod marks;
mod outbound;
mod peer;
mod purge;
mod recovery;
mod region;
mod report;
mod skew;
mod stability;
#[cfg(feature = "sim")]
pub mod tracing;
#[cfg(feature = "net")]
pub mod transport;
pub mod wire;

pub use api::*;
pub use capture::Captured;
pub use engine::Engine;
pub use region::{Guard, Loader, Region};
