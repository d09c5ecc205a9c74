//! What the data must be, said without vectors: an assignment or increment is alive unless some operation that
//! replaces, removes or clears its cell had seen it. Effects that no region holds any more do not exist.

use std::collections::{BTreeMap, BTreeSet};

use redis_geo::crdt::history::{Issued, Wrote};
use redis_geo::crdt::{Dot, KeyRef, Kind, MemoryStore, NEVER, Number, OwnedValue, ScoreRule, Store, Vector};

use crate::sketch::Sketch;

pub type Key = (u32, Vec<u8>);
pub type Name = (Kind, Vec<u8>);
pub type Cells = BTreeMap<Option<Name>, BTreeSet<Dot>>;
/// What a region's cells include.
pub type Held = BTreeMap<Key, Cells>;
/// What a key shows, its deadline included.
pub type Shown = BTreeMap<Name, OwnedValue>;

/// A store's data, without deadlines.
pub fn shown(store: &MemoryStore) -> BTreeMap<Key, Shown> {
    let mut data = BTreeMap::new();
    let mut copy = store.clone();
    for (db, name) in store.keys().keys() {
        let mut elements = Shown::new();
        copy.elements(KeyRef { db: *db, name }, &mut |e, value| {
            elements.insert((e.kind, e.name.to_vec()), value.to_owned());
        });
        data.insert((*db, name.to_vec()), elements);
    }
    data
}

/// The deadlines of a store's keys.
pub fn deadlines(store: &MemoryStore) -> BTreeMap<Key, u64> {
    let deadlines = store.deadlines().iter();
    deadlines.map(|((db, name), at)| ((*db, name.to_vec()), *at)).collect()
}

/// A deadline that was set: by whom, on which key, until when by the author's clock, what the key showed, and what its
/// author had seen of the key.
#[derive(Clone, Debug)]
pub struct Extension {
    pub dot: Dot,
    pub key: Key,
    pub until: u64,
    pub shown: Shown,
    pub past: BTreeSet<Dot>,
}

pub struct Spec {
    pub data: BTreeMap<Key, Shown>,
    /// Of keys that are shown, by their authors' clocks.
    pub deadlines: BTreeMap<Key, u64>,
    /// Keys of several types, one of which is shown.
    pub mixed: BTreeSet<Key>,
    /// Keys with sketches and other strings, the latest of which is shown.
    pub beside: BTreeSet<Key>,
    killed: BTreeSet<(Key, Name, Dot)>,
}

#[derive(Default)]
struct CellSpec {
    adds: Vec<(Dot, OwnedValue)>,
    increments: Vec<(Dot, Number)>,
}

impl CellSpec {
    /// The assignment that is shown among those that are left.
    fn register(&self, kind: Kind, scores: ScoreRule) -> Option<OwnedValue> {
        let by_value = |(dot, value): &&(Dot, OwnedValue)| (value.clone(), *dot);
        let greatest = match (kind, scores) {
            (Kind::Zset, ScoreRule::Max) | (Kind::Expiry, _) => self.adds.iter().max_by_key(by_value),
            (Kind::Zset, ScoreRule::Min) => self.adds.iter().min_by_key(by_value),
            _ => self.adds.iter().max_by_key(|(dot, _)| *dot),
        };
        let union = (kind == Kind::String).then(|| self.union()).flatten();
        union.or_else(|| greatest.map(|(_, value)| value.clone()))
    }

    /// Several HyperLogLogs, and nothing else.
    fn union(&self) -> Option<OwnedValue> {
        let [first, others @ ..] = &self.adds[..] else {
            return None;
        };
        let mut union = Sketch::read(&first.1)?;
        for (_, other) in others {
            union.join(&Sketch::read(other)?);
        }
        (!others.is_empty()).then(|| union.dense())
    }

    fn value(&self, kind: Kind, scores: ScoreRule) -> Option<OwnedValue> {
        let register = self.register(kind, scores);
        if self.increments.is_empty() {
            return register;
        }
        let number = register
            .as_ref()
            .map_or(Some(Number::ZERO), |value| value.borrow().number());
        let Some(number) = number else { return register };
        let sum = self.increments.iter().fold(number, |sum, (_, delta)| sum.add(delta));
        Some(kind.show_number(&sum))
    }

    fn rank(&self) -> Option<Dot> {
        let adds = self.adds.iter().map(|(dot, _)| *dot);
        adds.chain(self.increments.iter().map(|(dot, _)| *dot)).max()
    }
}

impl Spec {
    pub fn of<'i>(issued: impl Iterator<Item = &'i Issued> + Clone, histories: &[Held], scores: ScoreRule) -> Spec {
        let holds = |key: &Key, element: &Option<Name>, dot: Dot| {
            histories.iter().any(|h| {
                h.get(key)
                    .and_then(|cells| cells.get(element))
                    .is_some_and(|d| d.contains(&dot))
            })
        };
        let mut killed: BTreeSet<(Key, Name, Dot)> = BTreeSet::new();
        let mut cells: BTreeMap<(Key, Name), CellSpec> = BTreeMap::new();
        let deltas = deltas(issued.clone());
        for op in issued {
            for (element, wrote) in &op.effects {
                if !holds(&op.key, element, op.dot) {
                    continue;
                }
                let mut kill = |name: &Name, dots: &BTreeSet<Dot>| {
                    killed.extend(dots.iter().map(|dot| (op.key.clone(), name.clone(), *dot)));
                };
                match (element, wrote) {
                    (Some(name), Wrote::Increment { .. }) => {
                        let delta = deltas[&(op.dot, op.key.clone(), name.clone())].clone();
                        let cell = cells.entry((op.key.clone(), name.clone())).or_default();
                        cell.increments.push((op.dot, delta));
                    }
                    (Some(name), Wrote::Replace(value)) => {
                        let cell = cells.entry((op.key.clone(), name.clone())).or_default();
                        cell.adds.extend(value.clone().map(|value| (op.dot, value)));
                        op.seen.get(element).into_iter().for_each(|dots| kill(name, dots));
                    }
                    (_, Wrote::Clear(_)) => {
                        let seen = op.seen.iter().filter_map(|(name, dots)| Some((name.as_ref()?, dots)));
                        seen.for_each(|(name, dots)| kill(name, dots));
                    }
                    (None, _) => {}
                }
            }
        }
        for ((key, name), cell) in &mut cells {
            cell.adds
                .retain(|(dot, _)| !killed.contains(&(key.clone(), name.clone(), *dot)));
            cell.increments
                .retain(|(dot, _)| !killed.contains(&(key.clone(), name.clone(), *dot)));
        }
        let (data, mixed) = visible(&cells, scores);
        let deadline = |key: &Key| match cells
            .get(&(key.clone(), (Kind::Expiry, Vec::new())))?
            .register(Kind::Expiry, scores)?
        {
            OwnedValue::Deadline(at) if at < NEVER => Some((key.clone(), at)),
            _ => None,
        };
        Spec {
            deadlines: data.keys().filter_map(deadline).collect(),
            data,
            mixed,
            beside: beside(&cells),
            killed,
        }
    }

    /// An operation that the settled vector covers, that no region includes, and that no later operation on
    /// its cell had seen.
    pub fn lost(&self, issued: &[Issued], histories: &[Held], seen: &Vector) -> Option<String> {
        let covered: Vec<&Issued> = issued
            .iter()
            .filter(|op| seen.covers(op.dot) && op.dot.hlc > FIRST_BASES)
            .collect();
        let mut followed: BTreeSet<(&Key, &Option<Name>, Dot)> = BTreeSet::new();
        for op in &covered {
            for (name, dots) in &op.seen {
                followed.extend(dots.iter().map(|dot| (&op.key, name, *dot)));
            }
        }
        let includes = |h: &Held, op: &Issued, element: &Option<Name>| {
            h.get(&op.key)
                .and_then(|cells| cells.get(element))
                .is_some_and(|dots| dots.contains(&op.dot))
        };
        for op in covered {
            for (element, _) in op.effects.iter().filter(|(element, _)| element.is_some()) {
                let held = histories.iter().any(|h| includes(h, op, element));
                if !held && !followed.contains(&(&op.key, element, op.dot)) {
                    return Some(format!("{:?} {:?} {:?}", op.dot, op.key, op.effects));
                }
            }
        }
        None
    }

    /// An extension that holds and whose key's content is gone, although no operation that its author had not seen
    /// removed or replaced it: only expiry did. `holds`: whether the deadline lies ahead.
    pub fn lost_extension<'e>(
        &self,
        issued: &[Issued],
        histories: &[Held],
        extensions: impl Iterator<Item = &'e Extension>,
    ) -> Option<String> {
        let deadline: Name = (Kind::Expiry, Vec::new());
        for extension in extensions {
            let Extension {
                dot, key, shown, past, ..
            } = extension;
            let cell = Some(deadline.clone());
            let held = histories
                .iter()
                .any(|h| h.get(key).and_then(|c| c.get(&cell)).is_some_and(|d| d.contains(dot)));
            if !held || self.killed.contains(&(key.clone(), deadline.clone(), *dot)) {
                continue;
            }
            let later = issued
                .iter()
                .filter(|op| op.key == *key && !past.contains(&op.dot) && op.dot != *dot);
            let later: Vec<_> = later.flat_map(|op| &op.effects).collect();
            if later.iter().any(|(_, wrote)| matches!(wrote, Wrote::Clear(false))) {
                continue;
            }
            let replaced = |name: &Name| {
                let own = |(element, wrote): &&&(Option<Name>, Wrote)| {
                    element.as_ref() == Some(name) && matches!(wrote, Wrote::Replace(_))
                };
                later.iter().any(|effect| own(&effect))
            };
            let nothing = Shown::new();
            let left = self.data.get(key).unwrap_or(&nothing);
            // It may have been hidden by another type when the key expired.
            let written = later.iter().filter(|(_, wrote)| !matches!(wrote, Wrote::Replace(None)));
            let written: Vec<Kind> = written.filter_map(|(name, _)| Some(name.as_ref()?.0)).collect();
            let other_type = |kind: Kind| {
                let written = written.iter().filter(|other| other.is_type());
                let mut kinds = left.keys().map(|(other, _)| other).chain(written);
                kinds.any(|other| *other != kind)
            };
            for name in shown.keys() {
                if !left.contains_key(name) && !replaced(name) && !other_type(name.0) {
                    return Some(format!("{name:?} of {extension:?}"));
                }
            }
        }
        None
    }
}

/// Stamps of what a cluster starts with lie below.
const FIRST_BASES: u64 = 1_000_000;

/// What each increment added: its running total less the one before of the same birth.
fn deltas<'i>(issued: impl Iterator<Item = &'i Issued>) -> BTreeMap<(Dot, Key, Name), Number> {
    let mut totals: BTreeMap<(redis_geo::crdt::ReplicaId, Key, Name, u64), Number> = BTreeMap::new();
    let mut deltas = BTreeMap::new();
    for op in issued {
        for (element, wrote) in &op.effects {
            if let (Some(name), Wrote::Increment { birth, total }) = (element, wrote) {
                let place = (op.dot.replica, op.key.clone(), name.clone(), *birth);
                let before = totals.insert(place, total.clone()).unwrap_or(Number::ZERO);
                deltas.insert((op.dot, op.key.clone(), name.clone()), total.sub(&before));
            }
        }
    }
    deltas
}

/// The type that holds the greatest dot is shown. Also gives the keys that have others.
fn visible(cells: &BTreeMap<(Key, Name), CellSpec>, scores: ScoreRule) -> (BTreeMap<Key, Shown>, BTreeSet<Key>) {
    let mut kinds: BTreeMap<(Key, Kind), (Dot, Shown)> = BTreeMap::new();
    for ((key, name), cell) in cells.iter().filter(|((_, (kind, _)), _)| *kind != Kind::Expiry) {
        if let (Some(rank), Some(value)) = (cell.rank(), cell.value(name.0, scores)) {
            let (top, elements) = kinds.entry((key.clone(), name.0)).or_insert((rank, Shown::new()));
            *top = rank.max(*top);
            elements.insert(name.clone(), value);
        }
    }
    let mut best: BTreeMap<Key, (Dot, Kind, Shown)> = BTreeMap::new();
    let mut mixed = BTreeSet::new();
    for ((key, kind), (rank, elements)) in kinds {
        if best.contains_key(&key) {
            mixed.insert(key.clone());
        }
        if best
            .get(&key)
            .is_none_or(|(top, other, _)| (rank, kind) > (*top, *other))
        {
            best.insert(key, (rank, kind, elements));
        }
    }
    let shown = best.into_iter().map(|(key, (_, _, elements))| (key, elements));
    (shown.collect(), mixed)
}

fn beside(cells: &BTreeMap<(Key, Name), CellSpec>) -> BTreeSet<Key> {
    let clashes = |cell: &CellSpec| {
        let sketch = |(_, value): &(Dot, OwnedValue)| Sketch::read(value).is_some();
        cell.adds.iter().any(sketch) && !cell.adds.iter().all(sketch)
    };
    let beside = cells.iter().filter(|(_, cell)| clashes(cell));
    beside.map(|((key, _), _)| key.clone()).collect()
}
