//! A purge: keys are cleared one by one of what this region had seen when it began. Until it ends the region acknowledges
//! nothing newer, so that nothing newer settles anywhere: a settled value has been seen by every clear.

use super::engine::Engine;
use crate::crdt::{KeyRef, Store};

impl Engine {
    /// # Errors
    /// In words, when the region recovers or a purge is running.
    pub fn begin_purge(&mut self) -> Result<(), &'static str> {
        if !self.phase.is_active() {
            return Err("the region recovers: GEO.STATUS shows how far it is");
        }
        if self.purge.is_some() {
            return Err("a purge is running: GEO.STATUS shows how far it is");
        }
        self.purge = Some(self.region.state.seen().clone());
        Ok(())
    }

    /// Clears one key of what was there when the purge began.
    pub fn purge(&mut self, key: KeyRef<'_>, store: &mut dyn Store) {
        self.look_for_expiry([key], store);
        let Some(seen) = &self.purge else { return };
        let (me, ship) = (self.region.state.me(), &mut self.ship);
        ship.joins = false;
        self.region
            .state
            .clear_as_of(key, seen, store, &mut |op, seen| ship.push(op, me, seen));
    }

    pub fn end_purge(&mut self) {
        self.purge = None;
        (self.header_due, self.compaction_due) = (true, true);
    }

    pub fn is_purging(&self) -> bool {
        self.purge.is_some()
    }
}
