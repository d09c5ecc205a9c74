//! What the data must be, said without vectors: an assignment or increment is alive unless some operation that
//! replaces, removes or clears its cell had seen it. Effects that no region holds any more do not exist.

use std::collections::{BTreeMap, BTreeSet};

use redis_geo::crdt::history::{Issued, Wrote};
use redis_geo::crdt::{Dot, Kind, MemoryStore, Number, Vector};

type Key = (u32, Vec<u8>);
type Element = Option<(Kind, Vec<u8>)>;
pub type Histories = Vec<BTreeMap<Key, BTreeMap<Element, BTreeSet<Dot>>>>;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shown {
    String(String),
    Set(BTreeSet<String>),
}

/// A store's data in readable form.
pub fn shown(store: &MemoryStore) -> BTreeMap<Key, Shown> {
    use redis_geo::crdt::MemoryValue;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let value = |value: &MemoryValue| match value {
        MemoryValue::String(bytes) => Shown::String(text(bytes)),
        MemoryValue::Set(members) => Shown::Set(members.iter().map(|m| text(m)).collect()),
    };
    store
        .keys()
        .iter()
        .map(|(key, v)| ((key.0, key.1.to_vec()), value(v)))
        .collect()
}

pub struct Spec {
    pub data: BTreeMap<Key, Shown>,
}

#[derive(Default)]
struct CellSpec {
    adds: Vec<(Dot, Vec<u8>)>,
    increments: Vec<(Dot, Number)>,
}

impl Spec {
    pub fn of(issued: &[Issued], histories: &Histories) -> Spec {
        let holds = |key: &Key, element: &Element, dot: Dot| {
            histories.iter().any(|h| {
                h.get(key)
                    .and_then(|cells| cells.get(element))
                    .is_some_and(|d| d.contains(&dot))
            })
        };
        let mut killed: BTreeSet<(Key, Element, Dot)> = BTreeSet::new();
        let mut cells: BTreeMap<(Key, Element), CellSpec> = BTreeMap::new();
        let deltas = deltas(issued);
        for op in issued {
            for (element, wrote) in &op.effects {
                if !holds(&op.key, element, op.dot) {
                    continue;
                }
                let cell = cells.entry((op.key.clone(), element.clone())).or_default();
                match wrote {
                    Wrote::Increment { .. } => {
                        let delta = deltas[&(op.dot, op.key.clone(), element.clone())].clone();
                        cell.increments.push((op.dot, delta));
                    }
                    Wrote::Replace(value) => {
                        if let Some(bytes) = value {
                            cell.adds.push((op.dot, bytes.clone()));
                        }
                        let seen = op.seen.get(element).into_iter().flatten();
                        killed.extend(seen.map(|dot| (op.key.clone(), element.clone(), *dot)));
                    }
                    Wrote::Clear => {
                        for (name, dots) in &op.seen {
                            killed.extend(dots.iter().map(|dot| (op.key.clone(), name.clone(), *dot)));
                        }
                    }
                }
            }
        }
        Spec {
            data: visible(&cells, &killed),
        }
    }

    /// An operation that the settled vector covers, that no region includes, and that no later operation on
    /// its cell had seen.
    pub fn lost(&self, issued: &[Issued], histories: &Histories, seen: &Vector) -> Option<String> {
        let covered: Vec<&Issued> = issued
            .iter()
            .filter(|op| seen.covers(op.dot) && op.dot.hlc > FIRST_BASES)
            .collect();
        let mut followed: BTreeSet<(&Key, &Element, Dot)> = BTreeSet::new();
        for op in &covered {
            for (name, dots) in &op.seen {
                followed.extend(dots.iter().map(|dot| (&op.key, name, *dot)));
            }
        }
        let includes = |h: &BTreeMap<Key, BTreeMap<Element, BTreeSet<Dot>>>, op: &Issued, element: &Element| {
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
}

/// Stamps of what a cluster starts with lie below.
const FIRST_BASES: u64 = 1_000_000;

/// What each increment added: its running total less the one before of the same birth.
fn deltas(issued: &[Issued]) -> BTreeMap<(Dot, Key, Element), Number> {
    let mut totals: BTreeMap<(redis_geo::crdt::ReplicaId, Key, Element, u64), Number> = BTreeMap::new();
    let mut deltas = BTreeMap::new();
    for op in issued {
        for (element, wrote) in &op.effects {
            if let Wrote::Increment { birth, total } = wrote {
                let place = (op.dot.replica, op.key.clone(), element.clone(), *birth);
                let before = totals.insert(place, total.clone()).unwrap_or(Number::ZERO);
                deltas.insert((op.dot, op.key.clone(), element.clone()), total.sub(&before));
            }
        }
    }
    deltas
}

fn visible(cells: &BTreeMap<(Key, Element), CellSpec>, killed: &BTreeSet<(Key, Element, Dot)>) -> BTreeMap<Key, Shown> {
    let mut kinds: BTreeMap<(Key, Kind), (Dot, Shown)> = BTreeMap::new();
    for ((key, element), cell) in cells {
        let Some((kind, name)) = element else { continue };
        let alive = |dot: Dot| !killed.contains(&(key.clone(), element.clone(), dot));
        let register = cell.adds.iter().filter(|(dot, _)| alive(*dot)).max();
        let increments: Vec<_> = cell.increments.iter().filter(|(dot, _)| alive(*dot)).collect();
        let rank = increments
            .iter()
            .map(|(dot, _)| *dot)
            .max()
            .max(register.map(|(dot, _)| *dot));
        let Some(rank) = rank else { continue };
        let value = match kind {
            Kind::Set => Shown::Set(BTreeSet::from([String::from_utf8_lossy(name).into_owned()])),
            Kind::String => Shown::String(text_of(register, &increments)),
        };
        match (kinds.get_mut(&(key.clone(), *kind)), value) {
            (Some((top, Shown::Set(members))), Shown::Set(more)) => {
                *top = rank.max(*top);
                members.extend(more);
            }
            (_, value) => drop(kinds.insert((key.clone(), *kind), (rank, value))),
        }
    }
    let mut best: BTreeMap<Key, (Dot, Kind, Shown)> = BTreeMap::new();
    for ((key, kind), (rank, value)) in kinds {
        if best
            .get(&key)
            .is_none_or(|(top, other, _)| (rank, kind) > (*top, *other))
        {
            best.insert(key, (rank, kind, value));
        }
    }
    best.into_iter().map(|(key, (_, _, value))| (key, value)).collect()
}

fn text_of(register: Option<&(Dot, Vec<u8>)>, increments: &[&(Dot, Number)]) -> String {
    let number = match register {
        None => Some(Number::ZERO),
        Some((_, text)) => Number::parse(text),
    };
    let text = match (number, register) {
        (Some(number), _) if !increments.is_empty() => increments
            .iter()
            .fold(number, |sum, (_, delta)| sum.add(delta))
            .to_text(),
        (_, Some((_, text))) => text.clone(),
        _ => Vec::new(),
    };
    String::from_utf8_lossy(&text).into_owned()
}
