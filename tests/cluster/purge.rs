//! Many keys at once: `FLUSHALL`, and `GEO.PURGE`, which goes on while the region works.

use std::collections::{BTreeMap, BTreeSet};

use redis_geo::crdt::history::{Issued, Wrote};
use redis_geo::crdt::{Dot, KeyRef, Store};

use crate::commands::Act;
use crate::spec::{Cells, Key};
use crate::world::{NAMES, World};

/// A purge that is running: what the region had seen when it was called, and the keys it has still to look at.
pub struct Purge {
    then: BTreeMap<Key, Cells>,
    left: Vec<Key>,
}

impl World {
    /// Removes every key that is there.
    pub fn flush_all(&mut self, at: usize) {
        let keys: Vec<Key> = self.key_names().collect();
        let now = self.begin_command(at);
        for (db, name) in &keys {
            let key = KeyRef { db: *db, name };
            self.prepare(at, key);
            let node = &mut self.nodes[at];
            if node.store.kind(key).is_none() && !node.lacks(&(*db, name.clone())) {
                continue;
            }
            let was_noted = node.engine.is_noted(key);
            node.client(key, now).flushed();
            self.note(at, was_noted, &Act::delete(name));
        }
        self.say(|| format!("{} flushes all", NAMES[at]));
        for (db, name) in &keys {
            self.nodes[at].store.delete(KeyRef { db: *db, name });
        }
        self.outputs(at, Vec::new());
    }

    pub fn begin_purge(&mut self, at: usize) {
        let left = self.key_names().collect();
        let node = &mut self.nodes[at];
        if node.engine.begin_purge().is_err() {
            return;
        }
        let state = node.engine.state();
        let mut then = state.history.cells.clone();
        for dots in then.values_mut().flat_map(BTreeMap::values_mut) {
            dots.retain(|dot| state.seen().covers(*dot));
        }
        node.purge = Some(Purge { then, left });
        self.say(|| format!("{} purges", NAMES[at]));
    }

    /// Some of a purge; true while it runs.
    pub fn purge_some(&mut self, at: usize) -> bool {
        let Some(purge) = &mut self.nodes[at].purge else {
            return false;
        };
        let next = purge.left.pop();
        let node = &mut self.nodes[at];
        let Some(key) = next.filter(|_| node.engine.is_purging()) else {
            node.engine.end_purge();
            node.purge = None;
            return false;
        };
        let name = KeyRef {
            db: key.0,
            name: &key.1,
        };
        if node.store.kind(name).is_some() || node.lacks(&key) {
            self.during(at, |engine, store| engine.purge(name, store));
            self.meant(at, &key);
            self.outputs(at, Vec::new());
        }
        true
    }

    /// A purge means what its region had seen when it was called, whatever it has seen since.
    fn meant(&mut self, at: usize, key: &Key) {
        let node = &mut self.nodes[at];
        let history = &mut node.engine.state().history;
        // Other keys may have expired meanwhile.
        let purge = history.log.iter_mut().rev().find(|op| op.key == *key);
        let Some(op) = purge else { return };
        let nothing = Cells::new();
        let then = node.purge.as_ref().and_then(|purge| purge.then.get(key));
        let (then, now) = (then.unwrap_or(&nothing), history.cells.get(key).unwrap_or(&nothing));
        op.seen = Cells::new();
        for (name, dots) in then.iter().filter(|(name, _)| name.is_some()) {
            let births = births(&self.issued, key, name);
            let since = now.get(name).into_iter().flatten().filter(|dot| !dots.contains(dot));
            // A total that grew since is one number: all of it stays.
            let grown: BTreeSet<_> = since.filter_map(|dot| births.get(dot)).collect();
            let stays = |dot: &&Dot| births.get(*dot).is_some_and(|birth| grown.contains(birth));
            let meant = dots.iter().filter(|dot| !stays(dot)).copied();
            op.seen.insert(name.clone(), meant.collect());
        }
    }

    fn key_names(&self) -> impl Iterator<Item = Key> + use<> {
        (0..self.keys).map(|at| (0, vec![b'k', b'0' + at]))
    }
}

/// The running total that each increment of a cell belongs to.
fn births(
    issued: &[Issued],
    key: &Key,
    name: &Option<crate::spec::Name>,
) -> BTreeMap<Dot, (redis_geo::crdt::ReplicaId, u64)> {
    let of_key = issued.iter().filter(|op| op.key == *key);
    let effects = of_key.flat_map(|op| op.effects.iter().map(|effect| (op.dot, effect)));
    effects
        .filter_map(|(dot, (element, wrote))| match wrote {
            Wrote::Increment { birth, .. } if element == name => Some((dot, (dot.replica, *birth))),
            _ => None,
        })
        .collect()
}
