//! Replication: the pure engine, and its edge (`transport`, feature `net`).

mod api;
mod engine;
pub mod wire;

pub use api::*;
pub use engine::Engine;
