//! Giving memory back: slots do not move on their own, so a counter that stays would keep the room of all the keys
//! that have settled around it.

use std::collections::HashMap;

use hashbrown::HashTable;
use slab::Slab;

use super::{CellId, CellSet, Index, KeyId, Target};

/// Fewer slots than this are kept. The simulation has few keys and shall see them move.
const KEPT: usize = if cfg!(feature = "sim") { 4 } else { 256 };
/// Moving pays when no more than one slot in this many is in use.
const SPARSE: usize = if cfg!(feature = "sim") { 2 } else { 8 };
/// Most entries moved at once: clients wait meanwhile.
const MOVED: usize = 4096;

impl Index {
    /// Moves what little is left together when most has settled. Ids change then, and [`Index::generation`] tells.
    pub fn shrink(&mut self) {
        let room = self.keys.capacity().max(self.cells.capacity());
        let queued: usize = self.touched.iter().map(|queue| queue.targets.len()).sum();
        let left = self.keys.len() + self.cells.len() + queued;
        if room >= KEPT && left <= MOVED && left * SPARSE <= room {
            self.move_together();
        }
    }

    fn move_together(&mut self) {
        self.generation += 1;
        let (mut keys, mut cells) = (Slab::new(), Slab::new());
        let (mut key_ids, mut cell_ids) = (HashMap::new(), HashMap::new());
        for old in std::mem::take(&mut self.by_name) {
            let mut node = self.keys.remove(old as usize);
            let key = keys.vacant_key() as KeyId;
            let mut moved = |id: CellId| {
                let mut cell = self.cells.remove(id as usize);
                cell.key = key;
                let new = cells.insert(cell) as CellId;
                cell_ids.insert(id, new);
                new
            };
            match &mut node.cells {
                CellSet::None => {}
                CellSet::One(id) => *id = moved(*id),
                CellSet::Many(table) => table.iter_mut().for_each(|id| *id = moved(*id)),
            }
            key_ids.insert(old, keys.insert(node) as KeyId);
        }
        (self.keys, self.cells) = (keys, cells);
        self.name_again();
        // A target that is gone needs no visit.
        let moved = |target: &Target| match target {
            Target::Cell(id) => cell_ids.get(id).copied().map(Target::Cell),
            Target::Key(id) => key_ids.get(id).copied().map(Target::Key),
        };
        for queue in &mut self.touched {
            let targets = queue.targets.iter();
            queue.targets = targets
                .filter_map(|(hlc, target)| Some((*hlc, moved(target)?)))
                .collect();
        }
        self.revisit = self.revisit.iter().filter_map(moved).collect();
    }

    fn name_again(&mut self) {
        let (keys, hasher) = (&self.keys, &self.hasher);
        let hash_of = |id: &KeyId| std::hash::BuildHasher::hash_one(hasher, keys[*id as usize].key());
        let mut by_name = HashTable::with_capacity(keys.len());
        for (id, _) in keys {
            by_name.insert_unique(hash_of(&(id as KeyId)), id as KeyId, hash_of);
        }
        self.by_name = by_name;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::cell::Cell;
    use crate::crdt::dot::{Dot, RegionTag, ReplicaId};
    use crate::crdt::store::{Element, KeyRef};

    fn named(name: &[u8]) -> KeyRef<'_> {
        KeyRef { db: 0, name }
    }

    #[test]
    fn what_stays_is_found_again_and_the_rest_costs_nothing() {
        let replica = ReplicaId::new(RegionTag::of("eu"), 1);
        let mut index = Index::default();
        // Every other name is too long for its node.
        let name = |number: u64| {
            format!(
                "{}:{number}",
                "key".repeat(if number.is_multiple_of(2) { 20 } else { 1 })
            )
            .into_bytes()
        };
        for number in 0..10_000u64 {
            let key = index.obtain(named(&name(number)));
            for member in 0..1 + number % 3 {
                let id = index.add_cell(key, Element::member(&[member as u8]), Cell::default());
                index.touch(id, Dot::new(replica, number * 10 + member + 1));
            }
        }
        let full = index.bytes();
        let stays = |number: u64| number % 1000 == 500;
        for number in (0..10_000).filter(|number| !stays(*number)) {
            let key = index.find(named(&name(number))).unwrap();
            index.cells_of(key).into_iter().for_each(|id| index.remove_cell(id));
            index.drop_if_empty(key);
        }
        for queue in &mut index.touched {
            queue.targets.retain(|(hlc, _)| stays(hlc / 10));
        }
        let generation = index.generation();
        index.shrink();
        assert_ne!(index.generation(), generation);
        assert!(index.bytes() * 100 < full, "{} of {full}", index.bytes());
        assert_eq!(index.key_count(), 10);
        let long = (0..10_000)
            .filter(|number| stays(*number))
            .map(|number| name(number).len());
        assert_eq!(index.name_bytes, long.sum::<usize>() + index.cell_count());
        for number in (0..10_000).filter(|number| stays(*number)) {
            let key = index.find(named(&name(number))).unwrap();
            assert_eq!(index.cells_of(key).len() as u64, 1 + number % 3);
            for member in 0..1 + number % 3 {
                let id = index.find_cell(key, Element::member(&[member as u8])).unwrap();
                assert_eq!(index.node(id).key, key);
                assert_eq!(index.touch_of(Target::Cell(id), replica), number * 10 + member + 1);
                assert!(index.queued(replica).contains(&Target::Cell(id)));
            }
        }
        index.shrink();
        assert_eq!(index.generation(), generation + 1, "nothing is left to move");
    }
}
