//! What happens to keys in this region: its clients' commands, and expiry.

use serde_bytes::ByteBuf;

use super::engine::Engine;
use super::log::Step;
use crate::crdt::{Before, Change, Cleared, Edit, Element, KeyRef, OwnedValue, Store, unix_millis};

impl Engine {
    /// Stamps a local change and notes it for the peers. `before`: what the key held before the command.
    ///
    /// Gives what the keyspace is to show instead of what the server's own addition has left there, in the rare cases in
    /// which that is something else.
    pub fn record<'a>(
        &mut self,
        key: KeyRef<'_>,
        before: impl Into<Before>,
        change: Change<'a>,
    ) -> Vec<(Element<'a>, OwnedValue)> {
        let before = before.into();
        // What was noted before the key expired must not come after that.
        let noted = |engine: &Engine| engine.region.journal.contains(key) || engine.is_given_up(key);
        if self.phase.is_provisional() || matches!(change.clear, Cleared::Expired(_)) && noted(self) {
            self.note(key, before, &change);
            return Vec::new();
        }
        let (me, ship) = (self.region.state.me(), &mut self.ship);
        self.region
            .state
            .record(key, before, &change, &mut |op, seen| ship.push(op, me, seen));
        let corrected = |edit: &Edit<'a>| match edit {
            Edit::Add { element, .. } => Some((*element, self.region.state.corrected(key, edit)?)),
            _ => None,
        };
        change.edits.iter().filter_map(corrected).collect()
    }

    fn note(&mut self, key: KeyRef<'_>, before: Before, change: &Change<'_>) {
        self.ship.joins = false;
        if let Cleared::Expired(now) = change.clear {
            if self.region.journal.lapse(key) {
                return self.ship.log.step(&Step::Yielded(key.db, ByteBuf::from(key.name)));
            }
            if self.is_given_up(key) {
                return self.note_dropped(key);
            }
            let clear = self.region.state.expired_clear(key, now);
            self.ship.log.lapsed(key, &clear);
            self.region.journal.note_expired(key, clear);
        } else {
            self.ship.log.noted(key, change);
            self.region.journal.note(key, before.native, change);
        }
    }

    /// What has expired here did so before a peer's word on it arrived. True when one of the keys has. They do not while
    /// they are worked on: until the next are looked at.
    pub(super) fn look_for_expiry<'k>(
        &mut self,
        keys: impl IntoIterator<Item = KeyRef<'k>>,
        store: &mut dyn Store,
    ) -> bool {
        store.release();
        let mut any = false;
        for key in keys {
            // Elsewhere there may be keys of the same names that do not replicate either.
            if store.has_expired(key) && (store.is_replicated(key) || self.knows(key)) {
                self.record(key, None, Change::expired(unix_millis(self.now.wall)));
                any = true;
            }
        }
        any
    }

    /// Whether there is anything about the key that is not settled.
    pub fn knows(&self, key: KeyRef<'_>) -> bool {
        self.region.state.index().find(key).is_some() || self.region.journal.contains(key)
    }

    /// Names of the keys of one database that the keyspace may lack although there is something of them: this server has
    /// evicted them, or what was written to them while it recovers is hidden. Of those that are meant.
    pub fn hidden_in(&self, database: u32, means: impl Fn(&[u8]) -> bool) -> Vec<Box<[u8]>> {
        let marks = self.region.state.evicted().iter().map(|(key, _)| KeyRef {
            db: key.0,
            name: &key.1,
        });
        let noted = self.region.journal.iter().map(|(key, _)| key);
        let meant = marks.chain(noted).filter(|key| key.db == database && means(key.name));
        meant.map(|key| key.name.into()).collect()
    }

    /// The server has dropped a key for want of memory. True when that is no word on the key, because what it held belongs
    /// to no state.
    pub fn drops_given_up(&mut self, key: KeyRef<'_>) -> bool {
        let drops = self.phase.is_provisional() && self.is_given_up(key);
        if drops {
            self.note_dropped(key);
        }
        drops
    }

    fn note_dropped(&mut self, key: KeyRef<'_>) {
        self.region.journal.dropped(key);
        let dropped = vec![(key.db, ByteBuf::from(key.name))];
        self.ship.log.step(&Step::Dropped(dropped));
    }

    /// Whether anything was recorded in this turn.
    pub fn has_recorded(&self) -> bool {
        !self.ship.batch.is_empty()
    }

    /// What is recorded next is one unit with what was recorded last (a transaction, a script, a command on several
    /// keys): other regions see both or neither, but for units so long that they are cut.
    pub fn join(&mut self) {
        self.ship.joins = !self.ship.batch.is_empty();
    }
}
