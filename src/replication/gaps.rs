//! Keys that a server without an append-only file drops, without a word, when it loads its snapshot: those that had
//! expired by then, although another region may have extended them meanwhile.
//!
//! What the index knows of has expired here, as if the server had said so. Of the others nothing is known: a key that a
//! peer speaks of and that is absent here may be one of them, so it is treated like an evicted key and fetched. That ends
//! when every region has spoken since it knows of this start: until then somebody may hold an extension from before.

use std::time::Duration;

use super::engine::Engine;
use super::log::Step;
use crate::crdt::rules::{Rule, holds};
use crate::crdt::{Change, KeyName, KeyRef, Store, unix_millis};

/// A region whose clock is behind may have extended a key this long after it had expired by ours.
const LATE: Duration = Duration::from_secs(5);

impl Engine {
    /// The server has dropped keys when it loaded, and does not say which.
    pub fn keys_were_dropped(&mut self, store: &mut dyn Store) {
        let now = unix_millis(self.now.wall);
        for (db, name) in self.region.keys_held() {
            let key = KeyRef { db, name: &name };
            if store.kind(key).is_none() && !self.region.state.evicted().contains(key) {
                self.record(key, None, Change::expired(now));
            }
        }
        self.set_gaps(true);
    }

    /// Whether keys may be missing here that nothing tells of.
    pub fn has_gaps(&self) -> bool {
        self.region.gaps
    }

    fn set_gaps(&mut self, gaps: bool) {
        self.region.gaps = gaps;
        self.ship.log.step(&Step::Gaps(gaps));
    }

    /// A peer's word on a key is about to be merged.
    pub(super) fn look_for_gap(&mut self, key: KeyRef<'_>, store: &mut dyn Store) {
        let unknown = self.region.gaps
            && holds(Rule::Gaps)
            && !self.knows(key)
            && !self.region.state.evicted().contains(key)
            && store.kind(key).is_none();
        if unknown {
            let name: KeyName = (key.db, key.name.into());
            self.region.state.mark_evicted(key, true);
            self.log_evicted(vec![(name, true)]);
        }
    }

    pub(super) fn close_gaps(&mut self) {
        let early = self.now.mono.saturating_sub(self.started) < LATE;
        if !self.region.gaps || early || !self.phase.is_active() {
            return;
        }
        let me = self.region.state.me();
        let knows_us = |tag| {
            let word = self.acknowledged.get(tag);
            word.and_then(|word| word.known.get(&me.region())) >= Some(&me.incarnation())
        };
        if self.members().iter().all(knows_us) {
            self.set_gaps(false);
        }
    }
}
