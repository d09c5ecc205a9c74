//! What clients do, as the module's command handlers record it.

use redis_geo::crdt::{
    Before, Change, Deadline, Edit, Element, Found, Kind, MemoryStore, Number, OwnedValue, Store, Value,
};
use redis_geo::replication::Engine;

use super::sketch;
use crate::cluster::key;

/// What concurrent acts can take from each other.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Claim {
    /// Merges with everything, or only removes what it saw.
    Nothing,
    /// A value, in the place of any other.
    Value,
    /// Adds to any value.
    Count,
    /// A type or a sketch: merges with its like, and takes the place of anything else.
    Apart,
    /// Another type, in the place of anything.
    Type,
}

impl Claim {
    /// Whether of two such acts the later one wins.
    pub fn contends(self, other: Claim) -> bool {
        use Claim::{Apart, Count, Nothing, Value};
        !matches!(
            (self, other),
            (Nothing, _) | (_, Nothing) | (Count, Count | Value) | (Value, Count) | (Apart, Apart)
        )
    }
}

/// One act, done by each of two regions with operands of its own.
pub struct Act {
    /// As the table's heads have it, with the first and the second region's operands.
    pub says: [&'static str; 2],
    pub claim: Claim,
    pub does: fn(&mut Client<'_>, which: usize),
}

impl Act {
    /// The server's own: nobody does it.
    pub fn is_expiry(&self) -> bool {
        self.says[0] == EXPIRY
    }
}

pub const EXPIRY: &str = "expiry";

/// In seconds: what a key has to begin with, and what acts give it.
pub const TTL: u64 = 1000;
pub const LONGER: u64 = 2000;
const WITH_VALUE: u64 = 1500;

pub struct Client<'a> {
    pub engine: &'a mut Engine,
    pub store: &'a mut MemoryStore,
    pub name: &'a str,
    /// Unix time in ms, by the server's clock.
    pub now: u64,
}

/// The keys of a pair of acts, by the names that the tables have for them: where it is, and where acts take it.
pub const PLACES: [&str; 3] = ["", "other", "another"];

/// The key at one of the places.
pub fn place(name: &str, place: usize) -> String {
    format!("{name}{}", "'".repeat(place))
}

impl Client<'_> {
    fn deadline(&mut self) -> Option<u64> {
        let key = key(self.name);
        self.store.deadline(key)
    }

    fn change(&mut self, change: Change<'_>) {
        let key = key(self.name);
        self.engine.prepare(key, self.store);
        let before = Before {
            native: self.store.kind(key),
            deadline: self.store.deadline(key),
        };
        change.perform(key, self.store);
        self.engine.record(key, before, change);
    }

    fn shown(&mut self, element: Element<'_>) -> Option<OwnedValue> {
        let key = key(self.name);
        self.engine.prepare(key, self.store);
        self.store.read(key, element)
    }

    pub fn start(&mut self, elements: &[(Element<'_>, Value<'_>)], until: Option<u64>) {
        let edits = elements.iter().map(|(element, value)| Edit::Put(*element, *value));
        let change = Change {
            edits: edits.collect(),
            ..Change::none()
        };
        self.change(change.with_deadline(until.map_or(Deadline::Kept, Deadline::At)));
    }

    pub fn set(&mut self, value: &str) {
        self.change(Change::assign(value.as_bytes()).with_deadline(Deadline::Dropped));
    }

    pub fn set_ex(&mut self, value: &str) {
        let until = Deadline::At(self.now + WITH_VALUE * 1000);
        self.change(Change::assign(value.as_bytes()).with_deadline(until));
    }

    pub fn delete(&mut self) {
        self.change(Change::clear());
    }

    pub fn add(&mut self, element: Element<'_>, delta: i64) {
        let shown = self.shown(element);
        let edit = Edit::Add {
            element,
            delta: Number::from(delta),
            before: shown.as_ref().map(OwnedValue::borrow),
        };
        self.change(Change {
            edits: [edit].into_iter().collect(),
            ..Change::none()
        });
    }

    pub fn append(&mut self, tail: &str) {
        let mut text = self.shown(Element::STRING).map_or(Vec::new(), |value| bytes(&value));
        text.extend_from_slice(tail.as_bytes());
        self.change(Change::assign(&text));
    }

    /// As commands do that keep the deadline.
    pub fn assign(&mut self, value: &str) {
        self.change(Change::assign(value.as_bytes()));
    }

    pub fn expire(&mut self, until: u64) {
        self.change(Change::none().with_deadline(Deadline::At(until)));
    }

    /// In the middle of what is left.
    pub fn expire_sooner(&mut self) {
        let left = self.deadline().unwrap_or(self.now) - self.now;
        self.expire(self.now + left / 2);
    }

    /// A clear of the one key and an assignment of the other, which other regions see as one step.
    pub fn rename(&mut self, to: usize) {
        let source = key(self.name);
        self.engine.prepare(source, self.store);
        let found = Found::read(source, self.store);
        self.delete();
        self.engine.join();
        let name = place(self.name, to);
        let elements = found.elements().iter();
        let edits = elements.map(|(kind, name, value)| Edit::Put(Element::new(*kind, name), value.borrow()));
        self.other(&name).change(Change {
            edits: edits.collect(),
            deadline: found.deadline().map_or(Deadline::Kept, Deadline::At),
            ..Change::none()
        });
    }

    pub fn move_member(&mut self, member: &str, to: usize) {
        self.remove(Kind::Set, member);
        self.engine.join();
        let name = place(self.name, to);
        self.other(&name).members(&[member]);
    }

    fn other<'b>(&'b mut self, name: &'b str) -> Client<'b> {
        Client {
            engine: self.engine,
            store: self.store,
            name,
            now: self.now,
        }
    }

    pub fn members(&mut self, names: &[&str]) {
        let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        self.change(Change::add(&names));
    }

    pub fn put(&mut self, element: Element<'_>, value: Value<'_>) {
        self.change(Change::put(element, value));
    }

    pub fn remove(&mut self, kind: Kind, name: &str) {
        self.change(Change::remove(kind, &[name.as_bytes()]));
    }

    /// `PFADD` of what the sketch has not counted yet.
    pub fn count(&mut self, what: usize) {
        let mut sketch = self.shown(Element::STRING).map_or(Vec::new(), |value| bytes(&value));
        sketch::raise(&mut sketch, what);
        self.change(Change::assign(&sketch));
    }
}

fn bytes(value: &OwnedValue) -> Vec<u8> {
    value.bytes().unwrap_or_default().to_vec()
}
