//! Replication: the pure engine, and its edge (`transport`, feature `net`).

mod api;
mod engine;
#[cfg(feature = "net")]
pub mod transport;

pub use api::*;
pub use engine::Engine;
