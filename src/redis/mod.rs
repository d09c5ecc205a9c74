//! The server's side: the only place that touches its C API.
//!
//! * `api`: thin wrappers; `alloc`: the allocator; `guard`: no panic passes
//! * `load`: what happens at `loadmodule`; `settings`, `config`: the settings; `register`, `describe`: the commands
//! * `site`: the engine on the main thread; `store`: the keyspace for the engine
//! * `followed`: the state that a replica follows; `log`: what it follows by; `rdb`: the state in snapshots
//! * `detach`: the road back to a plain server
//! * `durability`: what acknowledgements wait for; `recovery`, `reads`: while the region recovers
//! * `transparent`: native commands become GEO commands; `native`, `keyspec`: what the server says of them; `glob`: which keys;
//!   `filter`: command filters; `permissions`: access control of both forms; `outside`: keys that stay here
//! * `blocked`: clients that wait for a key
//! * `capture`: keys changed behind our back; `amnesia`: a keyspace emptied so; `memory`: limits and eviction
//! * `purge`, `adopt`, over a `walk`: what goes through all keys, little by little
//! * `turn`: the end of an event-loop turn; `attention`: whether it concerns us; `events`, `wake`: what leads there;
//!   `network`: the transport
//! * `kept`: a context of our own
//! * `status`: reports

pub(crate) mod adopt;
mod alloc;
pub(crate) mod amnesia;
pub(crate) mod api;
mod attention;
pub(crate) mod blocked;
mod capture;
mod config;
mod describe;
pub(crate) mod detach;
mod durability;
mod events;
mod expiry;
mod filter;
pub(crate) mod followed;
mod glob;
pub(crate) mod guard;
pub(crate) mod kept;
mod keyspec;
mod load;
pub(crate) mod log;
mod memory;
pub(crate) mod native;
mod network;
pub(crate) mod outside;
mod permissions;
pub(crate) mod purge;
mod rdb;
mod reads;
pub(crate) mod recovery;
mod register;
pub(crate) mod reply;
pub mod settings;
pub(crate) mod site;
pub(crate) mod status;
pub(crate) mod store;
mod transparent;
mod turn;
mod wake;
pub(crate) mod walk;
