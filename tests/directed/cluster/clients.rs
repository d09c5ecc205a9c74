//! What clients and servers do to one region.

use super::*;

impl Cluster {
    /// A client's command: the native effect, then its record, then the end of the turn.
    fn command(&mut self, at: usize, name: &str, act: impl FnOnce(&mut Engine, &mut MemoryStore, Option<Native>)) {
        let (time, mut out) = (self.time(at), Vec::new());
        let node = &mut self.nodes[at];
        node.engine.set_time(time);
        node.engine.prepare(key(name), &mut node.store);
        let before = node.store.kind(key(name));
        act(&mut node.engine, &mut node.store, before);
        node.engine.flush(&mut out);
        self.outputs(at, out);
    }

    /// Sets keys in one transaction.
    pub fn unit(&mut self, at: usize, names: &[String]) {
        let (time, mut out) = (self.time(at), Vec::new());
        let Node { engine, store, .. } = &mut self.nodes[at];
        engine.set_time(time);
        for name in names {
            store.write(key(name), Element::STRING, Some(Value::Bytes(b"v")));
            engine.join();
            engine.record(key(name), None, Change::assign(b"v"));
        }
        engine.flush(&mut out);
        self.outputs(at, out);
    }

    /// Removes one key and sets another to its value, in one transaction.
    pub fn rename(&mut self, at: usize, from: &str, to: &str) {
        let (time, mut out) = (self.time(at), Vec::new());
        let Node { engine, store, .. } = &mut self.nodes[at];
        engine.set_time(time);
        let Some(OwnedValue::Bytes(value)) = store.read(key(from), Element::STRING) else {
            panic!("{from} is no string");
        };
        store.delete(key(from));
        engine.record(key(from), Some(Native::Kind(Kind::String)), Change::clear());
        store.write(key(to), Element::STRING, Some(Value::Bytes(&value)));
        engine.join();
        engine.record(key(to), None, Change::assign(&value));
        engine.flush(&mut out);
        self.outputs(at, out);
    }

    /// A command that does this to a key.
    pub fn change(&mut self, at: usize, name: &str, change: Change<'_>) {
        self.command(at, name, |engine, store, native| {
            let deadline = store.deadline(key(name));
            change.perform(key(name), store);
            engine.record(key(name), Before { native, deadline }, change);
        });
    }

    /// The server takes a key's memory, and the other regions keep it.
    pub fn evict(&mut self, at: usize, name: &str) {
        self.command(at, name, |engine, store, _| {
            store.delete(key(name));
            engine.evict(key(name));
        });
    }

    /// When the key expires in each region.
    pub fn deadlines(&mut self, name: &str) -> Vec<Option<u64>> {
        let nodes = self.nodes.iter_mut();
        nodes.map(|node| node.store.deadline(key(name))).collect()
    }

    pub fn set(&mut self, at: usize, name: &str, value: &str) {
        self.command(at, name, |engine, store, before| {
            store.delete(key(name));
            store.write(key(name), Element::STRING, Some(Value::Bytes(value.as_bytes())));
            engine.record(key(name), before, Change::assign(value.as_bytes()));
        });
    }

    pub fn increment(&mut self, at: usize, name: &str, delta: i64) {
        self.command(at, name, |engine, store, before| {
            assert_ne!(before, Some(Native::Kind(Kind::Set)), "WRONGTYPE");
            let text = match store.read(key(name), Element::STRING) {
                Some(OwnedValue::Bytes(text)) => Some(text),
                _ => None,
            };
            let number = text
                .as_ref()
                .map_or(Number::ZERO, |text| Number::parse(text).expect("a number"));
            let delta = Number::from(delta);
            store.write(
                key(name),
                Element::STRING,
                Some(Value::Bytes(&number.add(&delta).to_text())),
            );
            engine.record(key(name), before, Change::increment(delta, text.as_deref()));
        });
    }

    pub fn add(&mut self, at: usize, name: &str, members: &[&str]) {
        self.command(at, name, |engine, store, before| {
            assert_ne!(before, Some(Native::Kind(Kind::String)), "WRONGTYPE");
            let members: Vec<&[u8]> = members.iter().map(|member| member.as_bytes()).collect();
            members
                .iter()
                .for_each(|m| store.write(key(name), Element::member(m), Some(Value::Member)));
            engine.record(key(name), before, Change::add(&members));
        });
    }

    pub fn remove(&mut self, at: usize, name: &str, member: &str) {
        self.command(at, name, |engine, store, before| {
            let element = Element::member(member.as_bytes());
            assert!(store.read(key(name), element).is_some(), "{member} is not there");
            store.write(key(name), element, None);
            engine.record(key(name), before, Change::remove(Kind::Set, &[member.as_bytes()]));
        });
    }

    pub fn delete(&mut self, at: usize, name: &str) {
        self.command(at, name, |engine, store, before| {
            assert!(before.is_some(), "{name} is not there");
            store.delete(key(name));
            engine.record(key(name), before, Change::clear());
        });
    }
}
