//! A keyspace in memory, for whole clusters without a server.

use std::collections::{BTreeMap, BTreeSet};

use super::store::{Cursor, Element, KeyRef, Kind, NEVER, Native, OwnedValue, Score, Store, Value};

type Name = Box<[u8]>;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum MemoryValue {
    String(Box<[u8]>),
    Set(BTreeSet<Name>),
    Hash(BTreeMap<Name, Box<[u8]>>),
    Zset(BTreeMap<Name, Score>),
}

impl MemoryValue {
    pub fn kind(&self) -> Kind {
        match self {
            MemoryValue::String(_) => Kind::String,
            MemoryValue::Set(_) => Kind::Set,
            MemoryValue::Hash(_) => Kind::Hash,
            MemoryValue::Zset(_) => Kind::Zset,
        }
    }

    fn of(element: Element<'_>, value: Value<'_>) -> Option<MemoryValue> {
        let name: Name = element.name.into();
        match (element.kind, value) {
            (Kind::String, Value::Bytes(bytes)) => Some(MemoryValue::String(bytes.into())),
            (Kind::Set, Value::Member) => Some(MemoryValue::Set(BTreeSet::from([name]))),
            (Kind::Hash, Value::Bytes(bytes)) => Some(MemoryValue::Hash(BTreeMap::from([(name, bytes.into())]))),
            (Kind::Zset, Value::Score(score)) => Some(MemoryValue::Zset(BTreeMap::from([(name, score)]))),
            _ => None,
        }
    }

    /// Takes the elements of another value of the same kind.
    fn join(&mut self, other: MemoryValue) {
        match (self, other) {
            (MemoryValue::Set(ours), MemoryValue::Set(theirs)) => ours.extend(theirs),
            (MemoryValue::Hash(ours), MemoryValue::Hash(theirs)) => ours.extend(theirs),
            (MemoryValue::Zset(ours), MemoryValue::Zset(theirs)) => ours.extend(theirs),
            (ours, theirs) => *ours = theirs,
        }
    }

    /// Removes one element; true when nothing is left.
    fn remove(&mut self, element: Element<'_>) -> bool {
        match (self, element.kind) {
            (MemoryValue::String(_), Kind::String) => true,
            (MemoryValue::Set(members), Kind::Set) => {
                members.remove(element.name);
                members.is_empty()
            }
            (MemoryValue::Hash(fields), Kind::Hash) => {
                fields.remove(element.name);
                fields.is_empty()
            }
            (MemoryValue::Zset(scores), Kind::Zset) => {
                scores.remove(element.name);
                scores.is_empty()
            }
            _ => false,
        }
    }
}

/// Keys by (database, name), in order.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct MemoryStore {
    keys: BTreeMap<(u32, Name), MemoryValue>,
    deadlines: BTreeMap<(u32, Name), u64>,
    left_out: BTreeSet<(u32, Name)>,
}

const SCANNED_AT_ONCE: usize = 4;

impl MemoryStore {
    pub fn get(&self, key: KeyRef<'_>) -> Option<&MemoryValue> {
        self.keys.get(&(key.db, key.name.into()))
    }

    pub fn keys(&self) -> &BTreeMap<(u32, Name), MemoryValue> {
        &self.keys
    }

    pub fn deadlines(&self) -> &BTreeMap<(u32, Name), u64> {
        &self.deadlines
    }

    fn set_deadline(&mut self, name: (u32, Name), value: Option<Value<'_>>) {
        match value {
            Some(Value::Deadline(at)) if at < NEVER && self.keys.contains_key(&name) => {
                self.deadlines.insert(name, at);
            }
            _ => drop(self.deadlines.remove(&name)),
        }
    }

    /// From now on the key is one that native writes do not replicate.
    pub fn leave_out(&mut self, key: KeyRef<'_>) {
        self.left_out.insert((key.db, key.name.into()));
    }

    /// Removes what is past its deadline, as a server does; gives the keys.
    pub fn expire(&mut self, now: u64) -> Vec<(u32, Name)> {
        let due = self.deadlines.iter().filter(|(_, at)| **at <= now);
        let due: Vec<(u32, Name)> = due.map(|(key, _)| key.clone()).collect();
        for key in &due {
            self.keys.remove(key);
            self.deadlines.remove(key);
        }
        due
    }
}

impl Store for MemoryStore {
    fn kind(&mut self, key: KeyRef<'_>) -> Option<Native> {
        self.get(key).map(|value| Native::Kind(value.kind()))
    }

    fn read(&mut self, key: KeyRef<'_>, element: Element<'_>) -> Option<OwnedValue> {
        if element.kind == Kind::Expiry {
            let at = self.deadlines.get(&(key.db, key.name.into()));
            return at.copied().map(OwnedValue::Deadline);
        }
        match (self.get(key)?, element.kind) {
            (MemoryValue::String(bytes), Kind::String) => Some(OwnedValue::Bytes(bytes.clone())),
            (MemoryValue::Set(members), Kind::Set) => members.contains(element.name).then_some(OwnedValue::Member),
            (MemoryValue::Hash(fields), Kind::Hash) => fields.get(element.name).cloned().map(OwnedValue::Bytes),
            (MemoryValue::Zset(scores), Kind::Zset) => scores.get(element.name).copied().map(OwnedValue::Score),
            _ => None,
        }
    }

    fn elements(&mut self, key: KeyRef<'_>, visit: &mut dyn FnMut(Element<'_>, Value<'_>)) {
        match self.get(key) {
            Some(MemoryValue::String(bytes)) => visit(Element::STRING, Value::Bytes(bytes)),
            Some(MemoryValue::Set(members)) => members.iter().for_each(|m| visit(Element::member(m), Value::Member)),
            Some(MemoryValue::Hash(fields)) => fields
                .iter()
                .for_each(|(f, v)| visit(Element::field(f), Value::Bytes(v))),
            Some(MemoryValue::Zset(scores)) => scores
                .iter()
                .for_each(|(m, s)| visit(Element::scored(m), Value::Score(*s))),
            None => {}
        }
    }

    fn write(&mut self, key: KeyRef<'_>, element: Element<'_>, value: Option<Value<'_>>) {
        let name = (key.db, Name::from(key.name));
        if element.kind == Kind::Expiry {
            return self.set_deadline(name, value);
        }
        match value.and_then(|value| MemoryValue::of(element, value)) {
            Some(value) => match self.keys.get_mut(&name) {
                Some(held) => held.join(value),
                None => drop(self.keys.insert(name, value)),
            },
            None => {
                let held = self.keys.get_mut(&name);
                if held.is_some_and(|held| held.remove(element)) {
                    self.delete(key);
                }
            }
        }
    }

    fn is_replicated(&self, key: KeyRef<'_>) -> bool {
        !self.left_out.contains(&(key.db, key.name.into()))
    }

    fn delete(&mut self, key: KeyRef<'_>) {
        let name = (key.db, Name::from(key.name));
        self.keys.remove(&name);
        self.deadlines.remove(&name);
    }

    /// In the order of a hash, so that keys that come and go do not move the others.
    fn scan_keys(&mut self, cursor: &mut Cursor, visit: &mut dyn FnMut(KeyRef<'_>, Kind)) -> bool {
        let rank = |key: &(u32, Box<[u8]>)| {
            let bytes = key.0.to_le_bytes().into_iter().chain(key.1.iter().copied());
            bytes.fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
                (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
            })
        };
        let mut ranks: Vec<u64> = self.keys.keys().map(rank).filter(|rank| *rank > cursor.at).collect();
        ranks.sort_unstable();
        let Some(last) = ranks.iter().take(SCANNED_AT_ONCE).next_back().copied() else {
            return false;
        };
        for (key, value) in self
            .keys
            .iter()
            .filter(|(key, _)| (cursor.at + 1..=last).contains(&rank(key)))
        {
            visit(
                KeyRef {
                    db: key.0,
                    name: &key.1,
                },
                value.kind(),
            );
        }
        cursor.at = last;
        ranks.len() > SCANNED_AT_ONCE
    }

    fn scan_elements(
        &mut self,
        key: KeyRef<'_>,
        _cursor: &mut u64,
        visit: &mut dyn FnMut(Element<'_>, Value<'_>),
    ) -> bool {
        self.elements(key, visit);
        false
    }

    fn key_count(&mut self) -> u64 {
        self.keys.len() as u64
    }
}
