//! The replication engine: one region's protocol state, pure.

use super::api::{Change, Config, Input, Inspection, Now, Output, Status};
use crate::crdt::{KeyRef, Native, Store};

/// One region's engine. All of it runs on the main thread; it is handed bytes and gives bytes.
pub struct Engine {}

impl Engine {
    /// `incarnation`: greater than any this region used before (seconds since the epoch will do; peers
    /// correct it at the handshake). `weight`: number of keys the region starts with.
    pub fn new(_config: Config, _incarnation: u64, _weight: u64, _now: Now) -> Engine {
        Engine {}
    }

    /// Sets the time that following calls see.
    pub fn set_time(&mut self, _now: Now) {}

    /// Takes one input. Cheap: frames are checked and queued, the work is done by [`Engine::step`].
    pub fn handle(&mut self, _input: Input<'_>, _out: &mut Vec<Output>) {}

    /// One small piece of background work (some remote operations, a transfer slice, some compaction,
    /// timers). True while more is waiting.
    pub fn step(&mut self, _store: &mut dyn Store, _out: &mut Vec<Output>) -> bool {
        false
    }

    /// Milliseconds until `step` should be called although nothing came in.
    pub fn next_timer(&self) -> u64 {
        100
    }

    /// Before a local command reads or changes a key: finishes what adoption left to do for it.
    pub fn prepare(&mut self, _key: KeyRef<'_>, _store: &mut dyn Store) {}

    /// Stamps a local change and notes it for the peers. `before`: what the key held before the command.
    pub fn record(&mut self, _key: KeyRef<'_>, _before: Option<Native>, _change: Change<'_>) {}

    /// End of an event-loop turn: ships what was recorded as one batch.
    pub fn flush(&mut self, _out: &mut Vec<Output>) {}

    /// Says goodbye to all peers (shutdown).
    pub fn shutdown(&mut self, _out: &mut Vec<Output>) {}

    pub fn status(&self) -> Status {
        unimplemented!()
    }

    pub fn inspect(&self, _key: KeyRef<'_>) -> Option<Inspection> {
        None
    }
}
