//! What clients do, as the module's command handlers record it.

use redis_geo::crdt::{
    Before, Change, Deadline, Edit, Element, Kind, MemoryStore, NEVER, Number, OwnedValue, Score, Store, Value,
};
use redis_geo::replication::Engine;

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
const LONGER: u64 = 2000;
const WITH_VALUE: u64 = 1500;

pub struct Client<'a> {
    pub engine: &'a mut Engine,
    pub store: &'a mut MemoryStore,
    pub name: &'a str,
    /// Unix time in ms, by the server's clock.
    pub now: u64,
}

/// Where `RENAME` takes a key.
pub fn renamed(name: &str) -> String {
    format!("{name}'")
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

    fn set(&mut self, value: &str) {
        let dropped = Deadline::between(self.deadline(), None, false);
        self.change(Change::assign(value.as_bytes()).with_deadline(dropped));
    }

    fn set_ex(&mut self, value: &str) {
        let until = Deadline::At(self.now + WITH_VALUE * 1000);
        self.change(Change::assign(value.as_bytes()).with_deadline(until));
    }

    fn delete(&mut self) {
        self.change(Change::clear());
    }

    fn add(&mut self, element: Element<'_>, delta: i64) {
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

    fn append(&mut self, tail: &str) {
        let mut text = self.shown(Element::STRING).map_or(Vec::new(), |value| bytes(&value));
        text.extend_from_slice(tail.as_bytes());
        self.change(Change::assign(&text));
    }

    fn expire(&mut self, until: u64) {
        self.change(Change::none().with_deadline(Deadline::At(until)));
    }

    /// In the middle of what is left.
    fn expire_sooner(&mut self) {
        let left = self.deadline().unwrap_or(self.now) - self.now;
        self.expire(self.now + left / 2);
    }

    /// A clear of the one key and an assignment of the other, which other regions see as one step.
    fn rename(&mut self) {
        let value = self.shown(Element::STRING).map_or(Vec::new(), |value| bytes(&value));
        let until = self.deadline();
        self.delete();
        self.engine.join();
        let to = renamed(self.name);
        let mut there = Client {
            engine: self.engine,
            store: self.store,
            name: &to,
            now: self.now,
        };
        there.change(Change::assign(&value).with_deadline(until.map_or(Deadline::Kept, Deadline::At)));
    }

    fn members(&mut self, names: &[&str]) {
        let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        self.change(Change::add(&names));
    }

    fn put(&mut self, element: Element<'_>, value: Value<'_>) {
        self.change(Change::put(element, value));
    }

    fn remove(&mut self, kind: Kind, name: &str) {
        self.change(Change::remove(kind, &[name.as_bytes()]));
    }

    /// `PFADD` of what the sketch has not counted yet.
    fn count(&mut self, what: usize) {
        let mut sketch = self.shown(Element::STRING).map_or(Vec::new(), |value| bytes(&value));
        raise(&mut sketch, what);
        self.change(Change::assign(&sketch));
    }
}

fn bytes(value: &OwnedValue) -> Vec<u8> {
    value.bytes().unwrap_or_default().to_vec()
}

pub fn score(score: f64) -> Value<'static> {
    Value::Score(Score::new(score).expect("a number"))
}

const fn act(says: [&'static str; 2], claim: Claim, does: fn(&mut Client<'_>, usize)) -> Act {
    Act { says, claim, does }
}

pub const F: Element<'static> = Element {
    kind: Kind::Hash,
    name: b"f",
};
pub const M: Element<'static> = Element {
    kind: Kind::Zset,
    name: b"m",
};

const DEL: Act = act(["DEL"; 2], Claim::Nothing, |c, _| c.delete());

pub const STRINGS: &[Act] = &[
    act(["SET 20", "SET 30"], Claim::Value, |c, at| c.set(["20", "30"][at])),
    act(["SET 21 EX 1500", "SET 31 EX 1500"], Claim::Value, |c, at| {
        c.set_ex(["21", "31"][at])
    }),
    DEL,
    act(["INCRBY 1", "INCRBY 2"], Claim::Count, |c, at| {
        c.add(Element::STRING, [1, 2][at])
    }),
    act(["APPEND 5", "APPEND 7"], Claim::Value, |c, at| c.append(["5", "7"][at])),
    act(["EXPIRE 2000"; 2], Claim::Nothing, |c, _| {
        c.expire(c.now + LONGER * 1000)
    }),
    act(["EXPIRE 500"; 2], Claim::Nothing, |c, _| c.expire_sooner()),
    act(["PERSIST"; 2], Claim::Nothing, |c, _| c.expire(NEVER)),
    act([EXPIRY; 2], Claim::Nothing, |_, _| {}),
    act(["RENAME to other"; 2], Claim::Nothing, |c, _| c.rename()),
    act(["DEL, SADD a", "DEL, SADD b"], Claim::Apart, |c, at| {
        c.delete();
        c.members(&[["a", "b"][at]]);
    }),
];

pub const HASHES: &[Act] = &[
    act(["HSET f 20", "HSET f 30"], Claim::Value, |c, at| {
        c.put(F, Value::Bytes([b"20", b"30"][at]))
    }),
    act(["HDEL f"; 2], Claim::Nothing, |c, _| c.remove(Kind::Hash, "f")),
    act(["HINCRBY f 1", "HINCRBY f 2"], Claim::Count, |c, at| {
        c.add(F, [1, 2][at])
    }),
    DEL,
];

pub const SETS: &[Act] = &[
    act(["SADD m"; 2], Claim::Nothing, |c, _| c.members(&["m"])),
    act(["SADD x", "SADD y"], Claim::Nothing, |c, at| {
        c.members(&[["x", "y"][at]])
    }),
    act(["SREM m"; 2], Claim::Nothing, |c, _| c.remove(Kind::Set, "m")),
    DEL,
];

pub const ZSETS: &[Act] = &[
    act(["ZADD 20 m", "ZADD 30 m"], Claim::Nothing, |c, at| {
        c.put(M, score([20.0, 30.0][at]))
    }),
    act(["ZADD 5 m", "ZADD 3 m"], Claim::Nothing, |c, at| {
        c.put(M, score([5.0, 3.0][at]))
    }),
    act(["ZINCRBY 1 m", "ZINCRBY 2 m"], Claim::Nothing, |c, at| {
        c.add(M, [1, 2][at])
    }),
    act(["ZREM m"; 2], Claim::Nothing, |c, _| c.remove(Kind::Zset, "m")),
    DEL,
];

pub const SKETCHES: &[Act] = &[
    act(["PFADD a", "PFADD b"], Claim::Apart, |c, at| c.count(1 + at)),
    act(["SET 20", "SET 30"], Claim::Value, |c, at| c.set(["20", "30"][at])),
    DEL,
];

/// What sketches have counted: each raises a register of its own.
const COUNTED: [&str; 3] = ["s", "a", "b"];
const SKETCH: &[u8] = b"HYLL\0\0\0\0\0\0\0\0\0\0\0\x80";
const REGISTERS: usize = 16384 * 6 / 8;

/// A dense HyperLogLog that has counted `s`.
pub fn sketch() -> Vec<u8> {
    let mut sketch = SKETCH.to_vec();
    sketch.resize(SKETCH.len() + REGISTERS, 0);
    raise(&mut sketch, 0);
    sketch
}

/// Registers have six bits, lowest bits first.
fn raise(sketch: &mut [u8], what: usize) {
    sketch[SKETCH.len() + what * 6 / 8] |= 1 << (what * 6 % 8);
}

/// What a sketch has counted; `None` for any other string.
pub fn counted(bytes: &[u8]) -> Option<String> {
    let registers = bytes.strip_prefix(SKETCH).filter(|rest| rest.len() == REGISTERS)?;
    let raised = |what: &usize| registers[what * 6 / 8] & 1 << (what * 6 % 8) != 0;
    let names: Vec<&str> = (0..COUNTED.len()).filter(raised).map(|what| COUNTED[what]).collect();
    Some(format!("counted {}", names.join(" ")))
}
