//! Leaving a state and coming back to it: the index goes out as records whose native values stay in the keyspace, and
//! comes in as it was.

use std::collections::BTreeMap;
use std::time::Duration;

use super::dot::{Dot, RegionTag, ReplicaId};
use super::index::{PendingClear, Target};
use super::merge::{CellRecord, Record};
use super::state::State;
use super::store::{Element, Kind};
use super::vector::Vector;

/// A key, or one element of it, that compaction must look at although no touch announces it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    pub db: u32,
    pub key: Box<[u8]>,
    pub element: Option<(Kind, Box<[u8]>)>,
}

impl State {
    /// A state that was left, still without its records.
    pub fn restored(
        me: ReplicaId,
        drift: Duration,
        seen: Vector,
        compacted: Vector,
        newest: BTreeMap<RegionTag, u64>,
    ) -> State {
        let mut state = State::new(me, drift);
        (state.seen, state.compacted) = (seen, compacted);
        for (region, incarnation) in newest {
            state.learn_incarnation(region, incarnation);
        }
        state
    }

    /// Takes one record back. A key may come in several.
    pub fn restore(&mut self, record: Record) {
        let key = self.index.obtain(record.key());
        for pending in record.clears {
            let dot = pending.dot;
            if let Err(at) = self
                .index
                .clears_mut(key)
                .binary_search_by_key(&pending.slot(), PendingClear::slot)
            {
                self.index.clears_mut(key).insert(at, pending);
                self.index.enqueue(dot, Target::Key(key));
            }
        }
        for CellRecord { kind, name, mut cell } in record.cells {
            let element = Element { kind, name: &name };
            let touched = std::mem::take(&mut cell.touched);
            if self.index.find_cell(key, element).is_none() {
                let id = self.index.add_cell(key, element, cell);
                for (replica, hlc) in touched.iter() {
                    self.index.touch(id, Dot::new(replica, hlc));
                }
            }
        }
        self.index.drop_if_empty(key);
    }

    /// Whether compaction has to come back to something.
    pub fn waits(&self) -> bool {
        !self.index.revisit.is_empty()
    }

    /// What compaction has to come back to.
    pub fn waiting(&self) -> impl Iterator<Item = Waiting> + '_ {
        let index = &self.index;
        index.revisit.iter().filter_map(move |target| {
            let (key, element) = match *target {
                Target::Key(key) => (key, None),
                Target::Cell(id) => {
                    let node = index.get_cell(id)?;
                    (node.key, Some((node.element().kind, node.element().name.into())))
                }
            };
            let key = index.get_key(key)?.key();
            let (db, key) = (key.db, key.name.into());
            Some(Waiting { db, key, element })
        })
    }

    /// Ends the restoring, which may have brought the records in any order.
    pub fn restored_all(&mut self, waiting: &[Waiting]) {
        self.index.sort_queues();
        for Waiting { db, key, element } in waiting {
            let Some(key) = self.index.find(super::KeyRef { db: *db, name: key }) else {
                continue;
            };
            let target = match element {
                None => Some(Target::Key(key)),
                Some((kind, name)) => self
                    .index
                    .find_cell(key, Element { kind: *kind, name })
                    .map(Target::Cell),
            };
            self.index.revisit.extend(target);
        }
    }
}
