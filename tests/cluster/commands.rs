//! What clients do, as the module's command handlers do it, on the store in memory.

use rand::Rng;
use redis_geo::crdt::{
    Before, Change, Deadline, Edit, Element, KeyRef, Kind, Meeting, MemoryStore, NEVER, Native, Notice, Number,
    OwnedValue, Score, Store, Value,
};
use redis_geo::replication::Engine;

use crate::run::Options;
use crate::sketch::Sketch;
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
    /// The same in view of what is there: `PFADD`, `NX`, `GT`, `LT`. It may come to nothing.
    Meet(Meeting, OwnedValue, Option<u64>),
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
        let what = match kind {
            Kind::String if options.sketches && world.rng.random_bool(0.6) => Act::random_count(world),
            _ => Act::random_deed(world, kind, options.expiry),
        };
        Act {
            key: [b'k', b'0' + at],
            kind,
            element,
            what,
        }
    }

    /// `DEL`.
    pub fn delete(key: &[u8]) -> Act {
        Act {
            key: [key[0], key[1]],
            kind: Kind::String,
            element: Vec::new(),
            what: What::Delete,
        }
    }

    /// `PFADD`.
    fn random_count(world: &mut World) -> What {
        let register = world.rng.random_range(0..6) * 3000;
        let sketch = Sketch::of(register, world.rng.random_range(1..6));
        What::Meet(Meeting::Unite, sketch.sparse(), None)
    }

    /// How a command looks at what is there, if it does.
    fn random_meeting(world: &mut World, kind: Kind) -> Option<Meeting> {
        let ways: &[Meeting] = match kind {
            Kind::String | Kind::Hash => &[Meeting::IfAbsent],
            Kind::Zset => &[Meeting::AtLeast, Meeting::AtMost, Meeting::IfAbsent],
            Kind::Set | Kind::Expiry => &[],
        };
        let looks = !ways.is_empty() && world.rng.random_bool(0.4);
        looks.then(|| ways[world.rng.random_range(0..ways.len())])
    }

    fn random_deed(world: &mut World, kind: Kind, expiry: bool) -> What {
        let how = Act::random_meeting(world, kind);
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
            0..4 => {
                let lives = (expiry && rng.random_bool(0.3)).then_some(lives);
                match how {
                    Some(how) => What::Meet(how, value, lives),
                    None => What::Put(value, lives),
                }
            }
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
    /// What the command came to; `None` when it changed nothing.
    pub fn run(&mut self, act: &Act) -> Option<What> {
        if !self.behind {
            self.engine.prepare(self.key, self.store);
        }
        let before = Before {
            native: self.store.kind(self.key),
            deadline: self.store.deadline(self.key),
        };
        let element = Element::new(act.kind, &act.element);
        let fits = before.native.is_none_or(|native| native == Native::Kind(act.kind));
        let what = self.outcome(before, element, fits, &act.what)?;
        let shown = self.store.read(self.key, element);
        let shown = shown.as_ref().map(OwnedValue::borrow);
        let change = match &what {
            What::Put(value, lives) => {
                let edit = Edit::Put(element, value.borrow());
                let written = match element.kind {
                    Kind::String => Deadline::Dropped,
                    _ => Deadline::Kept,
                };
                Change::edit(edit).with_deadline(self.lives(element, *lives).unwrap_or(written))
            }
            What::Meet(how, value, lives) => {
                let edit = Edit::Meet {
                    element,
                    value: value.borrow(),
                    how: *how,
                    before: shown.filter(|_| element.kind != Kind::String),
                };
                Change::edit(edit).with_deadline(self.lives(element, *lives).unwrap_or_default())
            }
            What::Add(delta) => Change::edit(Edit::Add {
                element,
                delta: delta.clone(),
                before: shown,
            }),
            What::Remove => Change::remove(element.kind, &[element.name]),
            What::Delete => Change::clear(),
            What::Expire(lives) => Change::none().with_deadline(Deadline::At(self.now + lives)),
            What::Persist => Change::none().with_deadline(Deadline::At(NEVER)),
        };
        self.change(before, change);
        Some(what)
    }

    pub fn change(&mut self, before: Before, change: Change<'_>) {
        change.perform(self.key, self.store);
        if self.behind {
            let notice = match change.edits.is_empty() && change.deadline != Deadline::Kept {
                true => Notice::Deadline,
                false => Notice::Value,
            };
            self.engine.capture(self.key, notice, usize::MAX, self.store);
            return;
        }
        for (element, value) in self.engine.record(self.key, before, change) {
            self.store.write(self.key, element, Some(value.borrow()));
        }
    }

    fn lives(&self, element: Element<'_>, lives: Option<u64>) -> Option<Deadline> {
        let lives = lives.filter(|_| element.kind == Kind::String)?;
        Some(Deadline::At(self.now + lives))
    }

    /// What a server makes of the command. `fits`: the key has no other type.
    fn outcome(&mut self, before: Before, element: Element<'_>, fits: bool, what: &What) -> Option<What> {
        let shown = self.store.read(self.key, element);
        let does = match what {
            What::Meet(Meeting::IfAbsent, ..) if element.kind == Kind::String => before.native.is_none(),
            What::Meet(how, value, lives) if fits => {
                let value = met(*how, shown, value)?;
                return Some(What::Meet(*how, value, *lives));
            }
            What::Meet(..) => false,
            What::Put(..) => fits || element.kind == Kind::String,
            What::Add(_) => fits && shown.is_none_or(|value| value.borrow().number().is_some()),
            What::Remove => element.kind != Kind::String && shown.is_some(),
            What::Delete | What::Expire(_) => before.native.is_some(),
            What::Persist => before.deadline.is_some(),
        };
        does.then(|| what.clone())
    }

    /// What the server has let expire.
    pub fn expired(&mut self) {
        self.engine.record(self.key, None, Change::expired(self.now));
    }

    /// `FLUSHALL`, of one of the keys: the server removes it when all are recorded.
    pub fn flushed(&mut self) {
        self.engine.prepare(self.key, self.store);
        self.engine.record(self.key, None, Change::clear());
    }
}

/// What a command writes that looks at what is there; `None` when it writes nothing.
pub fn met(how: Meeting, there: Option<OwnedValue>, value: &OwnedValue) -> Option<OwnedValue> {
    let Some(there) = there else {
        return Some(value.clone());
    };
    let writes = match how {
        Meeting::Unite => {
            let known = Sketch::read(&there)?;
            let mut both = known.clone();
            both.join(&Sketch::read(value)?);
            return (both != known).then(|| both.sparse());
        }
        Meeting::AtLeast => *value > there,
        Meeting::AtMost => *value < there,
        // No client offers.
        Meeting::IfAbsent | Meeting::Offer => false,
    };
    writes.then(|| value.clone())
}

/// A value to start with.
pub fn first_value(kind: Kind) -> Value<'static> {
    match kind {
        Kind::Set => Value::Member,
        Kind::Zset => Value::Score(Score::new(2.0).expect("a number")),
        _ => Value::Bytes(b"7"),
    }
}
