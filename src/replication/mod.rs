//! Replication: the pure engine, and its edge (`transport`, feature `net`).
//!
//! ```text
//!  handshake.rs  hello, accept, refuse       outbound.rs  live stream or transfer, per peer
//!  recovery.rs   adopt a peer's state        inbound.rs   stream in causal order, slices as they come
//!  stability.rs  acknowledgements            wire/        the bytes
//! ```

mod api;
mod engine;
mod handshake;
mod inbound;
mod marks;
mod outbound;
mod peer;
mod recovery;
mod region;
mod report;
mod stability;
#[cfg(feature = "sim")]
pub mod tracing;
#[cfg(feature = "net")]
pub mod transport;
pub mod wire;

pub use api::*;
pub use engine::Engine;
pub use region::{Guard, Loader, Region};
