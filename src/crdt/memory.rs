//! A keyspace in memory, for whole clusters without a server.

use std::collections::{BTreeMap, BTreeSet};

use super::store::{Cursor, Element, KeyRef, Kind, Native, OwnedValue, Store, Value};

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum MemoryValue {
    String(Box<[u8]>),
    Set(BTreeSet<Box<[u8]>>),
}

impl MemoryValue {
    pub fn kind(&self) -> Kind {
        match self {
            MemoryValue::String(_) => Kind::String,
            MemoryValue::Set(_) => Kind::Set,
        }
    }
}

/// Keys by (database, name), in order.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct MemoryStore {
    keys: BTreeMap<(u32, Box<[u8]>), MemoryValue>,
}

const SCANNED_AT_ONCE: usize = 4;

impl MemoryStore {
    pub fn get(&self, key: KeyRef<'_>) -> Option<&MemoryValue> {
        self.keys.get(&(key.db, key.name.into()))
    }

    pub fn keys(&self) -> &BTreeMap<(u32, Box<[u8]>), MemoryValue> {
        &self.keys
    }
}

impl Store for MemoryStore {
    fn kind(&mut self, key: KeyRef<'_>) -> Option<Native> {
        self.get(key).map(|value| Native::Kind(value.kind()))
    }

    fn read(&mut self, key: KeyRef<'_>, element: Element<'_>) -> Option<OwnedValue> {
        match (self.get(key)?, element.kind) {
            (MemoryValue::String(bytes), Kind::String) => Some(OwnedValue::Bytes(bytes.clone())),
            (MemoryValue::Set(members), Kind::Set) => members.contains(element.name).then_some(OwnedValue::Member),
            _ => None,
        }
    }

    fn elements(&mut self, key: KeyRef<'_>, visit: &mut dyn FnMut(Element<'_>, Value<'_>)) {
        match self.get(key) {
            Some(MemoryValue::String(bytes)) => visit(Element::STRING, Value::Bytes(bytes)),
            Some(MemoryValue::Set(members)) => members.iter().for_each(|m| visit(Element::member(m), Value::Member)),
            None => {}
        }
    }

    fn write(&mut self, key: KeyRef<'_>, element: Element<'_>, value: Option<Value<'_>>) {
        let name = (key.db, Box::<[u8]>::from(key.name));
        match value {
            Some(Value::Bytes(bytes)) => drop(self.keys.insert(name, MemoryValue::String(bytes.into()))),
            Some(Value::Member) => {
                let held = self
                    .keys
                    .entry(name)
                    .or_insert_with(|| MemoryValue::Set(BTreeSet::new()));
                if let MemoryValue::Set(members) = held {
                    members.insert(element.name.into());
                }
            }
            None => {
                let empty = match self.keys.get_mut(&name) {
                    Some(MemoryValue::Set(members)) if element.kind == Kind::Set => {
                        members.remove(element.name);
                        members.is_empty()
                    }
                    Some(MemoryValue::String(_)) => element.kind == Kind::String,
                    _ => false,
                };
                if empty {
                    self.keys.remove(&name);
                }
            }
        }
    }

    fn delete(&mut self, key: KeyRef<'_>) {
        self.keys.remove(&(key.db, key.name.into()));
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
