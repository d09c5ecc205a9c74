//! Small clusters whose every frame is delivered by hand: for what random runs hardly ever hit.

mod capture;
mod cluster;
mod decides;
mod evictions;
mod expiring;
mod handshake;
mod memory;
mod own_data;
#[path = "../cluster/passing.rs"]
mod passing;
mod recovery;
mod restarts;
mod rules;
mod semantics;
mod sketches;
mod transfers;
