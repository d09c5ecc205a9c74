//! The server's side: the only place that touches its C API.
//!
//! * `api`: thin wrappers; `alloc`: the allocator; `guard`: no panic passes
//! * `load`: what happens at `loadmodule`; `settings`, `config`: the settings; `register`: the commands
//! * `site`: the engine on the main thread; `store`: the keyspace for the engine
//! * `turn`: the end of an event-loop turn; `events`, `wake`: what leads there; `network`: the transport
//! * `status`: reports

mod alloc;
pub(crate) mod api;
mod config;
mod events;
pub(crate) mod guard;
mod load;
mod network;
mod register;
pub(crate) mod reply;
pub mod settings;
pub(crate) mod site;
pub(crate) mod status;
pub(crate) mod store;
mod turn;
mod wake;
