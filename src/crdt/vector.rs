//! Version vectors.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::dot::{Dot, Hlc, ReplicaId};

/// Replica id -> greatest HLC included, ordered by replica id. A missing entry means zero. Operations of
/// one replica id are applied in order, so one number says exactly which of them are included.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Vector(SmallVec<[(ReplicaId, Hlc); 1]>);

/// So many entries are looked for one by one.
const FEW: usize = 16;

impl Vector {
    pub const EMPTY: Vector = Vector(SmallVec::new_const());

    pub fn new() -> Vector {
        Vector::default()
    }

    #[inline]
    pub fn get(&self, replica: ReplicaId) -> Hlc {
        self.0
            .iter()
            .find(|entry| entry.0 == replica)
            .map_or(0, |entry| entry.1)
    }

    pub fn covers(&self, dot: Dot) -> bool {
        dot.is_base() || dot.hlc <= self.get(dot.replica)
    }

    /// Whether every entry of `other` is covered.
    pub fn includes(&self, other: &Vector) -> bool {
        other.iter().all(|(replica, hlc)| hlc <= self.get(replica))
    }

    /// Raises one entry; never lowers it. True when there was none before.
    #[inline]
    pub fn raise(&mut self, replica: ReplicaId, hlc: Hlc) -> bool {
        match self.0.iter_mut().find(|entry| entry.0 == replica) {
            Some(entry) => {
                entry.1 = entry.1.max(hlc);
                false
            }
            None => {
                self.add(replica, hlc);
                true
            }
        }
    }

    fn add(&mut self, replica: ReplicaId, hlc: Hlc) {
        if let (Err(at), 1..) = (self.find(replica), hlc) {
            self.0.insert(at, (replica, hlc));
        }
    }

    /// Sets one entry, also downwards; zero removes it.
    pub fn set(&mut self, replica: ReplicaId, hlc: Hlc) {
        match (self.find(replica), hlc) {
            (Ok(at), 0) => drop(self.0.remove(at)),
            (Ok(at), _) => self.0[at].1 = hlc,
            (Err(_), 0) => {}
            (Err(at), _) => self.0.insert(at, (replica, hlc)),
        }
    }

    pub fn join(&mut self, other: &Vector) {
        if other.len() <= FEW {
            for (replica, hlc) in other.iter() {
                self.raise(replica, hlc);
            }
        } else {
            // Sorted as a whole: a peer may send any number of entries.
            *self = self.iter().chain(other.iter()).collect();
        }
    }

    /// Keeps the entries for which `keep(replica, hlc)` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(ReplicaId, Hlc) -> bool) {
        self.0.retain(|entry| keep(entry.0, entry.1));
    }

    /// The entries of `self` that `floor` does not cover.
    pub fn above(&self, floor: &Vector) -> Vector {
        Vector(
            self.0
                .iter()
                .filter(|(replica, hlc)| *hlc > floor.get(*replica))
                .copied()
                .collect(),
        )
    }

    /// Entry-wise minimum over the replicas of `self`.
    pub fn meet(&mut self, other: &Vector) {
        for entry in &mut self.0 {
            entry.1 = entry.1.min(other.get(entry.0));
        }
        self.0.retain(|entry| entry.1 > 0);
    }

    pub fn iter(&self) -> impl Iterator<Item = (ReplicaId, Hlc)> + '_ {
        self.0.iter().copied()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Bytes held beside the struct itself.
    pub fn heap_size(&self) -> usize {
        if self.0.spilled() {
            self.0.capacity() * size_of::<(ReplicaId, Hlc)>()
        } else {
            0
        }
    }

    fn find(&self, replica: ReplicaId) -> Result<usize, usize> {
        self.0
            .iter()
            .position(|entry| entry.0 >= replica)
            .map_or(Err(self.0.len()), |at| {
                if self.0[at].0 == replica { Ok(at) } else { Err(at) }
            })
    }
}

impl FromIterator<(ReplicaId, Hlc)> for Vector {
    fn from_iter<I: IntoIterator<Item = (ReplicaId, Hlc)>>(entries: I) -> Vector {
        // Sorted as a whole: a peer may send any number of entries.
        let mut entries: SmallVec<_> = entries.into_iter().filter(|(_, hlc)| *hlc > 0).collect();
        entries.sort_unstable_by_key(|(replica, hlc)| (*replica, Reverse(*hlc)));
        entries.dedup_by_key(|(replica, _)| *replica);
        Vector(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::RegionTag;

    fn id(region: &str) -> ReplicaId {
        ReplicaId::new(RegionTag::of(region), 1)
    }

    fn vector(entries: &[(&str, Hlc)]) -> Vector {
        entries.iter().map(|(region, hlc)| (id(region), *hlc)).collect()
    }

    #[test]
    fn a_missing_entry_is_zero() {
        let v = vector(&[("eu", 3), ("us", 0)]);
        assert_eq!((v.len(), v.get(id("us"))), (1, 0));
        assert!(v.covers(Dot::BASE) && v.covers(Dot::new(id("eu"), 3)));
        assert!(!v.covers(Dot::new(id("eu"), 4)) && !v.covers(Dot::new(id("us"), 1)));
    }

    /// Entry by entry this would take minutes.
    #[test]
    fn vectors_of_any_length_are_joined_at_once() {
        let every =
            |step: u64| (0..400_000 / step).map(move |at| (ReplicaId::new(RegionTag::of("eu"), at * step + 1), at + 1));
        let (twos, threes): (Vector, Vector) = (every(2).collect(), every(3).collect());
        let mut joined = twos.clone();
        joined.join(&threes);
        assert_eq!(joined, every(2).chain(every(3)).collect());
        assert_eq!(joined.len(), 200_000 + 133_333 - 66_667);
    }

    #[test]
    fn collecting_keeps_the_greatest_of_each_replica_whatever_the_order() {
        let entries = [("us", 2), ("eu", 9), ("ap", 1), ("us", 7), ("eu", 4), ("sa", 0)];
        let mut reversed = entries;
        reversed.reverse();
        let raised = entries.iter().fold(Vector::new(), |mut v, (region, hlc)| {
            v.raise(id(region), *hlc);
            v
        });
        assert_eq!((vector(&entries), vector(&reversed)), (raised.clone(), raised));
    }

    #[test]
    fn raising_never_lowers_and_setting_may() {
        let mut v = vector(&[("eu", 5)]);
        v.raise(id("eu"), 2);
        assert_eq!(v, vector(&[("eu", 5)]));
        v.set(id("eu"), 2);
        v.set(id("us"), 1);
        assert_eq!(v, vector(&[("eu", 2), ("us", 1)]));
        v.set(id("eu"), 0);
        assert_eq!(v, vector(&[("us", 1)]));
    }

    #[test]
    fn join_and_meet_are_bounds() {
        let (a, b) = (vector(&[("eu", 5), ("us", 2)]), vector(&[("us", 4), ("ap", 1)]));
        let (mut join, mut meet) = (a.clone(), a.clone());
        join.join(&b);
        meet.meet(&b);
        assert_eq!(join, vector(&[("eu", 5), ("us", 4), ("ap", 1)]));
        assert_eq!(meet, vector(&[("us", 2)]));
        assert!(join.includes(&a) && join.includes(&b) && a.includes(&meet) && b.includes(&meet));
        assert!(!a.includes(&b) && !b.includes(&a));
    }

    #[test]
    fn above_is_what_the_floor_lacks() {
        let (v, floor) = (vector(&[("eu", 5), ("us", 2)]), vector(&[("eu", 4), ("us", 2)]));
        assert_eq!(v.above(&floor), vector(&[("eu", 5)]));
        assert!(v.above(&v).is_empty());
    }
}
