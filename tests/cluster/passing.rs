//! A keyspace whose keys expire at any moment, also while the engine is at work on it: no server's clock stands still.

use std::collections::BTreeSet;

use rand::Rng;
use rand::rngs::StdRng;
use redis_geo::crdt::{Cursor, Element, KeyRef, Kind, MemoryStore, Native, OwnedValue, Store, Value};
use redis_geo::replication::{Change, Engine};

type Key = (u32, Vec<u8>);

pub struct Passing<'a> {
    store: &'a mut MemoryStore,
    /// Without, the time stands still.
    rng: Option<&'a mut StdRng>,
    /// Unix time in ms, by the server's clock.
    pub now: u64,
    until: u64,
    /// What the engine is at work on.
    held: BTreeSet<Key>,
    /// What has expired since, and the engine has not asked about.
    unasked: Vec<Key>,
    /// Everything that has expired.
    pub expired: Vec<Key>,
    pub mishap: Option<String>,
}

/// How likely the time goes on at a look, by how many ms, and by how many in all.
const PASSES: f64 = 0.03;
const MOST: u64 = 500;
const IN_ALL: u64 = 1000;

impl<'a> Passing<'a> {
    pub fn new(store: &'a mut MemoryStore, rng: Option<&'a mut StdRng>, now: u64) -> Passing<'a> {
        Passing {
            store,
            rng,
            now,
            until: now + IN_ALL,
            held: BTreeSet::new(),
            unasked: Vec::new(),
            expired: Vec::new(),
            mishap: None,
        }
    }

    /// When the engine is done, it hears of what has expired that it has not asked about.
    pub fn tell(&mut self, engine: &mut Engine) {
        for (db, name) in std::mem::take(&mut self.unasked) {
            let key = KeyRef { db, name: &name };
            if self.store.is_replicated(key) || engine.knows(key) {
                engine.record(key, None, Change::expired(self.now));
            }
        }
    }

    fn pass(&mut self) {
        if let Some(rng) = &mut self.rng
            && rng.random_bool(PASSES)
        {
            self.now = self.until.min(self.now + rng.random_range(1..=MOST));
        }
        let deadlines = self.store.deadlines().iter();
        let due = deadlines
            .filter(|(_, at)| **at <= self.now)
            .map(|((db, name), _)| (*db, name.to_vec()));
        let due: Vec<Key> = due.filter(|key| !self.held.contains(key)).collect();
        for (db, name) in &due {
            self.store.delete(KeyRef { db: *db, name });
        }
        self.unasked.extend_from_slice(&due);
        self.expired.extend(due);
    }
}

fn owned(key: KeyRef<'_>) -> Key {
    (key.db, key.name.to_vec())
}

impl Store for Passing<'_> {
    fn kind(&mut self, key: KeyRef<'_>) -> Option<Native> {
        self.pass();
        self.store.kind(key)
    }

    fn read(&mut self, key: KeyRef<'_>, element: Element<'_>) -> Option<OwnedValue> {
        self.pass();
        self.store.read(key, element)
    }

    fn elements(&mut self, key: KeyRef<'_>, visit: &mut dyn FnMut(Element<'_>, Value<'_>)) {
        self.pass();
        self.store.elements(key, visit);
    }

    fn write(&mut self, key: KeyRef<'_>, element: Element<'_>, value: Option<Value<'_>>) {
        if element.kind == Kind::Expiry {
            self.held.insert(owned(key));
        }
        self.pass();
        if self.unasked.contains(&owned(key)) {
            self.mishap = Some(format!("writes {key:?} without asking whether it has expired"));
        }
        self.store.write(key, element, value);
    }

    fn has_expired(&mut self, key: KeyRef<'_>) -> bool {
        self.pass();
        let name = owned(key);
        let asked = self.unasked.iter().position(|gone| *gone == name);
        match asked {
            Some(at) => drop(self.unasked.swap_remove(at)),
            None => drop(self.held.insert(name)),
        }
        asked.is_some()
    }

    fn release(&mut self) {
        self.held.clear();
    }

    fn is_replicated(&self, key: KeyRef<'_>) -> bool {
        self.store.is_replicated(key)
    }

    fn delete(&mut self, key: KeyRef<'_>) {
        self.pass();
        self.store.delete(key);
    }

    fn scan_keys(&mut self, cursor: &mut Cursor, visit: &mut dyn FnMut(KeyRef<'_>, Kind)) -> bool {
        self.pass();
        self.store.scan_keys(cursor, visit)
    }

    fn scan_elements(
        &mut self,
        key: KeyRef<'_>,
        cursor: &mut u64,
        visit: &mut dyn FnMut(Element<'_>, Value<'_>),
    ) -> bool {
        self.pass();
        self.store.scan_elements(key, cursor, visit)
    }

    fn key_count(&mut self) -> u64 {
        self.store.key_count()
    }
}
