//! Capture: what changed a key although nobody recorded it is recorded as a write.

use super::engine::Engine;
use crate::crdt::{Found, KeyRef, Native, Notice, Store};

/// What has become of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Captured {
    /// The metadata shows what the key holds.
    Nothing,
    /// A write or a removal was recorded.
    Recorded,
    /// The key holds a type that does not merge.
    Unmergeable,
    /// An element of so many bytes is more than other regions take.
    TooLarge(usize),
}

impl Engine {
    /// Records what a key holds, or that it is gone, unless that is known. `most`: bytes that an element may have.
    pub fn capture(&mut self, key: KeyRef<'_>, notice: Notice, most: usize, store: &mut dyn Store) -> Captured {
        if self.look_for_expiry([key], store) {
            return Captured::Recorded;
        }
        let found = Found::read(key, store);
        if found.native() == Some(Native::Other) {
            return Captured::Unmergeable;
        }
        if found.greatest() > most {
            return Captured::TooLarge(found.greatest());
        }
        let provisional = self.phase.is_provisional();
        if !provisional && self.region.state.agrees(key, &found, notice) {
            return Captured::Nothing;
        }
        if !provisional && !self.phase.is_active() {
            // What recovery has left to do for the key comes before what was done to it since.
            self.prepare(key, store);
            found.restore(key, store);
            self.record_found(key, &found, Notice::Value);
            return Captured::Recorded;
        }
        self.record_found(key, &found, notice);
        Captured::Recorded
    }

    /// As one unit.
    pub(super) fn record_found(&mut self, key: KeyRef<'_>, found: &Found, notice: Notice) {
        let mut further = false;
        found.tell(notice, &mut |before, change| {
            if std::mem::replace(&mut further, true) {
                self.join();
            }
            self.record(key, before, change);
        });
    }
}
