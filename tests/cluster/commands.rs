//! What clients do, as the module's command handlers do it, on the store in memory.

use rand::Rng;
use redis_geo::crdt::{
    Before, Change, Deadline, Edit, Element, KeyRef, Kind, MemoryStore, NEVER, Native, Notice, Number, OwnedValue,
    Score, Store, Value,
};
use redis_geo::replication::Engine;

use crate::run::Options;
use crate::world::World;

#[derive(Clone, Debug)]
pub struct Act {
    pub key: [u8; 2],
    pub kind: Kind,
    pub element: Vec<u8>,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    /// Writes a value; a string takes the place of anything, and then `lives` so many ms.
    Put(OwnedValue, Option<u64>),
    Add(Number),
    Remove,
    Delete,
    /// The key expires in so many ms.
    Expire(u64),
    Persist,
}

/// Nearly all deadlines are at most so many ms ahead, and the others much further.
pub const SHORT: u64 = 3000;

const KINDS: [Kind; 4] = [Kind::String, Kind::Set, Kind::Hash, Kind::Zset];

impl Act {
    pub fn random(world: &mut World, options: &Options) -> Act {
        let at = world.rng.random_range(0..world.keys);
        // Without type clashes, each key has its type.
        let kind = match options.types {
            true => KINDS[world.rng.random_range(0..KINDS.len())],
            false => KINDS[usize::from(at + world.first_kind) % KINDS.len()],
        };
        let element = match kind {
            Kind::String => Vec::new(),
            _ => vec![b'x' + world.rng.random_range(0..world.members)],
        };
        let what = Act::random_deed(world, kind, options.expiry);
        Act {
            key: [b'k', b'0' + at],
            kind,
            element,
            what,
        }
    }

    fn random_deed(world: &mut World, kind: Kind, expiry: bool) -> What {
        let rng = &mut world.rng;
        let number: i64 = rng.random_range(1..5);
        let text = match rng.random_bool(0.5) {
            true => number.to_string().into_bytes(),
            false => format!("v{}", rng.random_range(0..100)).into_bytes(),
        };
        let value = match kind {
            Kind::Set => OwnedValue::Member,
            Kind::Zset => OwnedValue::Score(Score::new(number as f64 / 2.0).expect("a number")),
            _ => OwnedValue::Bytes(text.into()),
        };
        let lives = rng.random_range(1..SHORT);
        let lives = if rng.random_bool(0.1) { 1_000_000 + lives } else { lives };
        let counts = kind.counts();
        let sort = rng.random_range(0..if expiry { 14 } else { 10 });
        match sort {
            0..4 => What::Put(value, (expiry && rng.random_bool(0.3)).then_some(lives)),
            4..9 if counts && sort < 7 => What::Add(Number::from(number)),
            4..9 if counts && sort < 8 => What::Add(Number::from_double(0.25).expect("a number")),
            4..6 => What::Put(value, None),
            6..9 => What::Remove,
            9 => What::Delete,
            10..13 => What::Expire(lives),
            _ => What::Persist,
        }
    }
}

pub struct Client<'a> {
    pub engine: &'a mut Engine,
    pub store: &'a mut MemoryStore,
    pub key: KeyRef<'a>,
    /// Unix time in ms, by the server's clock.
    pub now: u64,
    /// Nobody records what it does: the engine is told to look at the key afterwards.
    pub behind: bool,
}

impl Client<'_> {
    pub fn run(&mut self, act: &Act) {
        if !self.behind {
            self.engine.prepare(self.key, self.store);
        }
        let before = Before {
            native: self.store.kind(self.key),
            deadline: self.store.deadline(self.key),
        };
        let element = Element::new(act.kind, &act.element);
        let fits = before.native.is_none_or(|native| native == Native::Kind(act.kind));
        match &act.what {
            What::Put(value, lives) if fits || act.kind == Kind::String => self.put(before, element, value, *lives),
            What::Add(delta) if fits => self.add(before, element, delta),
            What::Remove if fits => self.remove(before, element),
            What::Delete if before.native.is_some() => self.change(before, Change::clear()),
            What::Expire(lives) if before.native.is_some() => self.deadline(before, self.now + lives),
            What::Persist if before.deadline.is_some() => self.deadline(before, NEVER),
            _ => {}
        }
    }

    fn change(&mut self, before: Before, change: Change<'_>) {
        change.perform(self.key, self.store);
        if self.behind {
            let notice = match change.edits.is_empty() && change.deadline != Deadline::Kept {
                true => Notice::Deadline,
                false => Notice::Value,
            };
            self.engine.capture(self.key, notice, usize::MAX, self.store);
            return;
        }
        self.engine.record(self.key, before, change);
    }

    fn deadline(&mut self, before: Before, at: u64) {
        self.change(before, Change::none().with_deadline(Deadline::At(at)));
    }

    fn put(&mut self, before: Before, element: Element<'_>, value: &OwnedValue, lives: Option<u64>) {
        let edit = Edit::Put(element, value.borrow());
        let deadline = match lives {
            Some(lives) if element.kind == Kind::String => Deadline::At(self.now + lives),
            _ if element.kind == Kind::String && before.deadline.is_some() => Deadline::Dropped,
            _ => Deadline::Kept,
        };
        let change = Change {
            edits: [edit].into_iter().collect(),
            deadline,
            ..Change::none()
        };
        self.change(before, change);
    }

    fn add(&mut self, before: Before, element: Element<'_>, delta: &Number) {
        let shown = self.store.read(self.key, element);
        let number = shown
            .as_ref()
            .map_or(Some(Number::ZERO), |value| value.borrow().number());
        if number.is_some() {
            let edit = Edit::Add {
                element,
                delta: delta.clone(),
                before: shown.as_ref().map(OwnedValue::borrow),
            };
            let change = Change {
                edits: [edit].into_iter().collect(),
                ..Change::none()
            };
            self.change(before, change);
        }
    }

    fn remove(&mut self, before: Before, element: Element<'_>) {
        if element.kind != Kind::String && self.store.read(self.key, element).is_some() {
            self.change(before, Change::remove(element.kind, &[element.name]));
        }
    }

    /// What the server has let expire.
    pub fn expired(&mut self) {
        self.engine.record(self.key, None, Change::expired(self.now));
    }
}

/// A value to start with.
pub fn first_value(kind: Kind) -> Value<'static> {
    match kind {
        Kind::Set => Value::Member,
        Kind::Zset => Value::Score(Score::new(2.0).expect("a number")),
        _ => Value::Bytes(b"7"),
    }
}
