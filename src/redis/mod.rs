//! The server's side: the only place that touches its C API.
//!
//! * `api`: thin wrappers; `alloc`: the allocator; `guard`: no panic passes
//! * `load`: what happens at `loadmodule`; `settings`, `config`: the settings; `register`, `describe`: the commands
//! * `site`: the engine on the main thread; `store`: the keyspace for the engine
//! * `followed`: the state that a replica follows; `log`: what it follows by; `rdb`: the state in snapshots
//! * `durability`: what acknowledgements wait for; `recovery`, `reads`: while the region recovers
//! * `amnesia`: a keyspace emptied behind our back; `memory`: limits and eviction
//! * `turn`: the end of an event-loop turn; `events`, `wake`: what leads there; `network`: the transport
//! * `status`: reports

mod alloc;
mod amnesia;
pub(crate) mod api;
mod config;
mod describe;
mod durability;
mod events;
mod expiry;
pub(crate) mod followed;
pub(crate) mod guard;
mod load;
pub(crate) mod log;
mod memory;
mod network;
mod rdb;
mod reads;
pub(crate) mod recovery;
mod register;
pub(crate) mod reply;
pub mod settings;
pub(crate) mod site;
pub(crate) mod status;
pub(crate) mod store;
mod turn;
mod wake;
