//! Replicas that issue operations, hand them to each other in causal order, and merge each other's state.

use std::time::Duration;

use proptest::prelude::*;
use redis_geo::crdt::{
    Change, Dot, Element, KeyRef, Kind, MemoryStore, Native, Number, Op, OwnedValue, RegionTag, ReplicaId, State,
    Store, Value, Vector, Walk, ntp64,
};
use redis_geo::replication::wire::{BatchReader, BatchWriter};

/// What a client asks of one key.
#[derive(Clone, Debug)]
pub enum Act {
    Set(String),
    Increment(&'static str),
    Add(u8),
    Remove(u8),
    Clear,
}

#[derive(Clone, Debug)]
pub enum Step {
    Command(usize, u8, Act),
    /// Some of one replica's stream reaches another.
    Deliver(usize, usize, usize),
    /// An operation arrives once more.
    Repeat(usize, usize, prop::sample::Index),
    /// What the second lacks of the first, cut after some records or to its end.
    Transfer(usize, usize, Option<usize>),
    /// A replica says what it has seen.
    Header(usize),
    /// A replica compacts by what it knows to be stable, looking at some targets.
    Compact(usize, usize),
}

/// One entry of a replica's stream.
#[derive(Clone)]
pub enum Item {
    /// A batch of one operation.
    Operation(Vec<u8>),
    Header(Vector),
}

/// One command as it was accepted: for the specification.
#[derive(Clone, Debug)]
pub struct Done {
    pub dot: Dot,
    /// What its author had seen.
    pub context: Vector,
    pub key: u8,
    pub act: Act,
}

pub struct Replica {
    pub state: State,
    pub store: MemoryStore,
    pub stream: Vec<Item>,
    /// How much of each replica's stream was taken.
    taken: Vec<usize>,
    acknowledged: Vec<Vector>,
    previous: u64,
    skew: u64,
}

pub struct World {
    pub replicas: Vec<Replica>,
    pub done: Vec<Done>,
    now: u64,
}

pub const KEYS: [&[u8]; 3] = [b"0", b"1", b"2"];

pub fn key(at: u8) -> KeyRef<'static> {
    KeyRef {
        db: 0,
        name: KEYS[usize::from(at) % KEYS.len()],
    }
}

fn append(stream: &mut Vec<Item>, previous: &mut u64, op: &Op<'_>, seen: &Vector) {
    let mut writer = BatchWriter::default();
    writer.start(op.dot.replica, seen, *previous);
    writer.push(op);
    stream.push(Item::Operation(writer.finish(op.dot.replica)));
    *previous = op.dot.hlc;
}

impl World {
    /// `skews`: one replica for each, its clock ahead by so many ms. All begin with the same settled values.
    pub fn new(skews: &[u64]) -> World {
        let mut base = MemoryStore::default();
        base.write(key(1), Element::STRING, Some(Value::Bytes(b"10")));
        base.write(key(2), Element::member(b"a"), Some(Value::Member));
        base.write(key(2), Element::member(b"b"), Some(Value::Member));
        let replica = |(at, skew): (usize, &u64)| Replica {
            state: State::new(
                ReplicaId::new(RegionTag::of(&format!("r{at}")), 1),
                Duration::from_secs(60),
            ),
            store: base.clone(),
            stream: Vec::new(),
            taken: vec![0; skews.len()],
            acknowledged: vec![Vector::new(); skews.len()],
            previous: 0,
            skew: *skew,
        };
        World {
            replicas: skews.iter().enumerate().map(replica).collect(),
            done: Vec::new(),
            now: 1_000_000,
        }
    }

    pub fn run(&mut self, steps: &[Step]) {
        let count = self.replicas.len();
        for step in steps {
            self.now += 1;
            match step {
                Step::Command(at, key, act) => self.command(at % count, *key, act),
                Step::Deliver(from, to, most) => {
                    for _ in 0..*most {
                        if !self.deliver(from % count, to % count) {
                            break;
                        }
                    }
                }
                Step::Repeat(from, to, which) => self.repeat(from % count, to % count, which),
                Step::Transfer(from, to, cut) => self.transfer(from % count, to % count, *cut),
                Step::Header(at) => self.header(at % count),
                Step::Compact(at, budget) => drop(self.compact(at % count, *budget)),
            }
        }
    }

    /// Does the native command, then records it, as the command handlers do.
    fn command(&mut self, at: usize, name: u8, act: &Act) {
        let replica = &mut self.replicas[at];
        replica
            .state
            .clock
            .set_wall(ntp64(Duration::from_millis(self.now + replica.skew)));
        let context = replica.state.seen().clone();
        if replica.command(key(name), act) {
            let me = replica.state.me();
            let dot = Dot::new(me, replica.state.seen().get(me));
            self.done.push(Done {
                dot,
                context,
                key: name % KEYS.len() as u8,
                act: act.clone(),
            });
        }
    }

    /// The next entry of a stream, if everything its author had seen is there.
    pub fn deliver(&mut self, from: usize, to: usize) -> bool {
        let at = self.replicas[to].taken[from];
        let Some(item) = self.replicas[from].stream.get(at).filter(|_| from != to).cloned() else {
            return false;
        };
        let replica = &mut self.replicas[to];
        let taken = match &item {
            Item::Operation(frame) => replica.apply(frame),
            Item::Header(seen) => {
                let ready = replica.state.seen().includes(seen);
                if ready {
                    replica.acknowledged[from].join(seen);
                }
                ready
            }
        };
        replica.taken[from] += usize::from(taken);
        taken
    }

    fn repeat(&mut self, from: usize, to: usize, which: &prop::sample::Index) {
        let taken = &self.replicas[from].stream[..if from == to { 0 } else { self.replicas[to].taken[from] }];
        if let Some(Item::Operation(frame)) = (!taken.is_empty()).then(|| which.get(taken).clone()) {
            self.replicas[to].apply(&frame);
        }
    }

    pub fn transfer(&mut self, from: usize, to: usize, cut: Option<usize>) {
        if from == to {
            return;
        }
        let floor = self.replicas[to].state.seen().clone();
        let sender = &mut self.replicas[from];
        let seen = sender.state.seen().clone();
        let mut walk = Walk::default();
        let mut records = Vec::new();
        let mut visits = usize::MAX;
        while let Some(mut record) = sender.state.walk(&mut walk, Some(&floor), 1, &mut visits) {
            record.make_explicit(usize::MAX, &mut sender.store);
            records.push(record);
        }
        let complete = cut.is_none_or(|cut| cut >= records.len());
        records.truncate(cut.unwrap_or(usize::MAX));
        let receiver = &mut self.replicas[to];
        records
            .iter()
            .for_each(|record| receiver.state.merge(record, &seen, &mut receiver.store));
        if complete {
            receiver.state.advance(&seen);
        }
    }

    pub fn header(&mut self, at: usize) {
        let seen = self.replicas[at].state.seen().clone();
        self.replicas[at].stream.push(Item::Header(seen));
    }

    /// True while more is waiting.
    pub fn compact(&mut self, at: usize, budget: usize) -> bool {
        let replica = &mut self.replicas[at];
        replica
            .state
            .clock
            .set_wall(ntp64(Duration::from_millis(self.now + replica.skew)));
        let mut stable = replica.state.seen().clone();
        for (other, acknowledged) in replica.acknowledged.iter().enumerate() {
            if other != at {
                stable.meet(acknowledged);
            }
        }
        let (stream, previous) = (&mut replica.stream, &mut replica.previous);
        replica.state.compact(
            &stable,
            budget,
            &mut replica.store,
            Some(&mut |op, seen| append(stream, previous, op, seen)),
        )
    }

    /// Delivers everything to everyone, in rounds that begin at `first`.
    pub fn drain(&mut self, first: usize) {
        let count = self.replicas.len();
        let mut busy = true;
        while busy {
            busy = false;
            for pair in 0..count * count {
                let pair = (pair + first) % (count * count);
                while self.deliver(pair / count, pair % count) {
                    busy = true;
                }
            }
        }
        let seen = self.replicas[0].state.seen();
        assert!(
            self.replicas.iter().all(|replica| replica.state.seen() == seen),
            "a stream hangs"
        );
    }
}

impl Replica {
    /// True when the operation was applied, or skipped because it is known.
    fn apply(&mut self, frame: &[u8]) -> bool {
        let reader = BatchReader::open(frame).expect("a batch");
        let mut context = reader.context.clone();
        context.raise(reader.replica, reader.previous);
        if !self.state.seen().includes(&context) {
            return false;
        }
        let op = reader.peek(frame).expect("an operation");
        self.state.apply(&op, &context, &mut self.store);
        true
    }

    fn command(&mut self, key: KeyRef<'_>, act: &Act) -> bool {
        let before = self.store.kind(key);
        let held = self.store.read(key, Element::STRING);
        let text = match &held {
            Some(OwnedValue::Bytes(text)) => Some(&**text),
            _ => None,
        };
        let member = [match act {
            Act::Add(member) | Act::Remove(member) => *member,
            _ => 0,
        }];
        let element = Element::member(&member);
        let members: [&[u8]; 1] = [&member];
        let change = match act {
            Act::Set(value) => {
                self.store.delete(key);
                self.store
                    .write(key, Element::STRING, Some(Value::Bytes(value.as_bytes())));
                Change::assign(value.as_bytes())
            }
            Act::Increment(_) | Act::Remove(_) | Act::Clear
                if before.is_none() && !matches!(act, Act::Increment(_)) =>
            {
                return false;
            }
            Act::Increment(delta) => {
                let delta = Number::parse(delta.as_bytes()).expect("a number");
                let number = text.map_or(Some(Number::ZERO), Number::parse);
                let Some(number) = number.filter(|_| before != Some(Native::Kind(Kind::Set))) else {
                    return false;
                };
                self.store
                    .write(key, Element::STRING, Some(Value::Bytes(&number.add(&delta).to_text())));
                Change::increment(delta, text)
            }
            Act::Add(_) if before == Some(Native::Kind(Kind::String)) => return false,
            Act::Add(_) => {
                self.store.write(key, element, Some(Value::Member));
                Change::add(&members)
            }
            Act::Remove(_) if self.store.read(key, element).is_none() => return false,
            Act::Remove(_) => {
                self.store.write(key, element, None);
                Change::remove(Kind::Set, &members)
            }
            Act::Clear => {
                self.store.delete(key);
                Change::clear()
            }
        };
        let (stream, previous) = (&mut self.stream, &mut self.previous);
        self.state
            .record(key, before, &change, &mut |op, seen| append(stream, previous, op, seen));
        true
    }
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => prop::sample::select(vec!["v", "w", "7", "-3", "1.5"]).prop_map(|text| Act::Set(text.to_owned())),
        3 => prop::sample::select(vec!["1", "2", "-5", "0.25", "1e-3"]).prop_map(Act::Increment),
        3 => prop::sample::select(b"abc".to_vec()).prop_map(Act::Add),
        2 => prop::sample::select(b"abc".to_vec()).prop_map(Act::Remove),
        1 => Just(Act::Clear),
    ]
}

/// Commands, deliveries and repetitions.
pub fn live() -> BoxedStrategy<Step> {
    prop_oneof![
        4 => (0..4_usize, 0..KEYS.len() as u8, act()).prop_map(|(at, key, act)| Step::Command(at, key, act)),
        4 => (0..4_usize, 0..4_usize, 1..4_usize).prop_map(|(from, to, most)| Step::Deliver(from, to, most)),
        1 => (0..4_usize, 0..4_usize, any::<prop::sample::Index>()).prop_map(|(a, b, which)| Step::Repeat(a, b, which)),
    ]
    .boxed()
}

pub fn transfer() -> BoxedStrategy<Step> {
    (0..4_usize, 0..4_usize, prop::option::of(0..3_usize))
        .prop_map(|(a, b, cut)| Step::Transfer(a, b, cut))
        .boxed()
}

pub fn whole_transfer() -> BoxedStrategy<Step> {
    (0..4_usize, 0..4_usize)
        .prop_map(|(from, to)| Step::Transfer(from, to, None))
        .boxed()
}

pub fn compaction() -> BoxedStrategy<Step> {
    let compact = (0..4_usize, 1..4_usize).prop_map(|(at, budget)| Step::Compact(at, budget));
    prop_oneof![(0..4_usize).prop_map(Step::Header), compact].boxed()
}

pub fn skews() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(prop::sample::select(vec![0, 3, 40, 5_000]), 2..=4)
}

pub fn steps(step: BoxedStrategy<Step>) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step, 1..70)
}
