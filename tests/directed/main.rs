//! Small clusters whose every frame is delivered by hand: for what random runs hardly ever hit.

mod capture;
mod cluster;
mod decides;
mod evictions;
mod handshake;
mod memory;
mod own_data;
mod recovery;
mod restarts;
mod rules;
mod semantics;
mod sketches;
mod transfers;
