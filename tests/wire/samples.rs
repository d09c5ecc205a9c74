//! One value of every kind of frame, effect and record.

use redis_geo::crdt::{
    Cell, CellRecord, Clear, ClearedCell, Contribution, Cursor, Dot, Effect, Element, KeyRef, Kind, Live, NEVER,
    Number, Op, OwnedValue, PendingClear, Record, RegionTag, ReplicaId, Score, Value, Vector,
};
use redis_geo::replication::wire::{
    Acknowledged, BaseKey, BatchWriter, Begin, Fetched, Found, Header, Hello, Message, Refusal, RegionEntry, Request,
    Slice, Want, encode,
};
use serde_bytes::ByteBuf;

pub fn eu() -> ReplicaId {
    ReplicaId::new(RegionTag::of("eu"), 7)
}

pub fn us() -> ReplicaId {
    ReplicaId::new(RegionTag::of("us"), 9)
}

pub fn vector(entries: &[(ReplicaId, u64)]) -> Vector {
    entries.iter().copied().collect()
}

pub fn bytes(text: &str) -> OwnedValue {
    OwnedValue::Bytes(text.as_bytes().into())
}

fn fraction() -> Number {
    Number::parse(b"0.25").expect("a number").add(&Number::from(3))
}

fn hello() -> Message {
    let mut hello = Hello::default();
    (hello.cluster, hello.region) = ("shop".into(), "eu".into());
    (hello.incarnation, hello.weight, hello.wall) = (7, 12, 1 << 40);
    hello.regions = vec![RegionEntry("eu".into(), 7), RegionEntry("us".into(), 0)];
    Message::Hello(Box::new(
        hello.with_vectors(&vector(&[(eu(), 5), (us(), 300)]), &vector(&[(us(), 2)])),
    ))
}

fn header() -> Message {
    Message::Header(Box::new(Header {
        replica: Some(eu()),
        seen: vector(&[(eu(), 70_000), (us(), 5)]),
        durable: vector(&[(eu(), 70_000)]),
        regions: vec![RegionEntry("us".into(), 9)],
        acknowledged: vec![Acknowledged {
            region: RegionTag::of("us"),
            incarnation: 9,
            durable: vector(&[(us(), 5)]),
            known: vec![(RegionTag::of("eu"), 7)],
        }],
        wall: u64::MAX,
        heard: vec![(RegionTag::of("us"), 1 << 40)],
    }))
}

fn named_clear() -> Clear {
    let name: Box<[u8]> = Box::default();
    let observed = smallvec(&[(us(), 5, Number::from(-2))]);
    let cell = ClearedCell {
        kind: Kind::String,
        name,
        observed,
        extra: vector(&[(us(), 6)]),
    };
    Clear {
        context: vector(&[(eu(), 4)]),
        cells: vec![cell],
        expired: None,
    }
}

fn smallvec<T, V: FromIterator<T>>(items: &[T]) -> V
where
    T: Clone,
{
    items.iter().cloned().collect()
}

fn live(dot: Dot, value: Option<OwnedValue>) -> Live {
    Live { dot, value }
}

fn expired() -> Clear {
    Clear {
        context: vector(&[(us(), 6)]),
        cells: Vec::new(),
        expired: Some(1_700_000_000_123),
    }
}

fn scored() -> Cell {
    let mut cell = Cell::default();
    cell.add_live(live(Dot::new(eu(), 5), Some(OwnedValue::Score(score(-0.5)))));
    cell.touched = vector(&[(eu(), 5)]);
    cell
}

fn deadline() -> Cell {
    let mut cell = Cell::default();
    cell.add_live(live(Dot::BASE, Some(OwnedValue::Deadline(1_700_000_000_000))));
    cell.add_live(live(Dot::new(us(), 7), Some(OwnedValue::Deadline(NEVER))));
    cell.touched = vector(&[(us(), 7)]);
    cell
}

fn score(score: f64) -> Score {
    Score::new(score).expect("a number")
}

fn counter() -> Cell {
    let mut cell = Cell::default();
    cell.add_live(live(Dot::BASE, Some(bytes("10"))));
    cell.add_live(live(Dot::new(us(), 8), Some(bytes("v"))));
    cell.name(&vector(&[(us(), 9)]));
    cell.touched = vector(&[(eu(), 6)]);
    let mut contribution = Contribution::new(3, 6, fraction());
    (contribution.reset_hlc, contribution.reset_total) = (4, Number::from(i64::MAX).add(&Number::from(1)));
    cell.merge_contribution(eu(), contribution);
    cell
}

fn member() -> Cell {
    let mut cell = Cell::default();
    cell.add_live(live(Dot::new(eu(), 5), None));
    cell.touched = vector(&[(eu(), 5)]);
    cell
}

/// A string of which one value is not where it was sent from.
fn lost() -> Message {
    let mut cell = Cell::default();
    cell.add_live(Live {
        dot: Dot::new(eu(), 5),
        value: Some(OwnedValue::Lost),
    });
    cell.add_live(Live {
        dot: Dot::new(us(), 6),
        value: Some(bytes("here")),
    });
    let record = Record {
        name: b"k".as_slice().into(),
        cells: vec![CellRecord {
            kind: Kind::String,
            name: Box::default(),
            cell,
        }],
        ..Record::default()
    };
    Message::Slice(Box::new(Slice {
        id: 3,
        number: 1,
        records: vec![record],
        ..Slice::default()
    }))
}

fn slice() -> Message {
    let clear = PendingClear {
        dot: Dot::new(us(), 8),
        clear: named_clear(),
    };
    let lapsed = PendingClear {
        dot: Dot::new(us(), 9),
        clear: expired(),
    };
    let cells = vec![
        CellRecord {
            kind: Kind::String,
            name: Box::default(),
            cell: counter(),
        },
        CellRecord {
            kind: Kind::Set,
            name: b"m".as_slice().into(),
            cell: member(),
        },
        CellRecord {
            kind: Kind::Hash,
            name: b"f".as_slice().into(),
            cell: counter(),
        },
        CellRecord {
            kind: Kind::Zset,
            name: b"m".as_slice().into(),
            cell: scored(),
        },
        CellRecord {
            kind: Kind::Expiry,
            name: Box::default(),
            cell: deadline(),
        },
    ];
    let record = Record {
        db: 1,
        name: b"key".as_slice().into(),
        clears: vec![clear, lapsed],
        cells,
    };
    Message::Slice(Box::new(Slice {
        id: 3,
        number: 1,
        seen: vector(&[(eu(), 6), (us(), 8)]),
        records: vec![record],
        ..Slice::default()
    }))
}

fn base() -> Message {
    let string = BaseKey {
        db: 0,
        name: b"s".as_slice().into(),
        kind: Kind::String,
        elements: vec![(Box::default(), bytes("v"))],
        deadline: Some(1_700_000_000_000),
    };
    let members = vec![
        (b"a".as_slice().into(), OwnedValue::Member),
        (b"b".as_slice().into(), OwnedValue::Member),
    ];
    let set = BaseKey {
        db: 0,
        name: b"t".as_slice().into(),
        kind: Kind::Set,
        elements: members,
        deadline: None,
    };
    let hash = BaseKey {
        db: 0,
        name: b"h".as_slice().into(),
        kind: Kind::Hash,
        elements: vec![(b"f".as_slice().into(), bytes("v"))],
        deadline: None,
    };
    let zset = BaseKey {
        db: 0,
        name: b"z".as_slice().into(),
        kind: Kind::Zset,
        elements: vec![(b"m".as_slice().into(), OwnedValue::Score(score(f64::INFINITY)))],
        deadline: None,
    };
    Message::Slice(Box::new(Slice {
        id: 4,
        number: 2,
        base: vec![string, set, hash, zset],
        reached: Cursor { db: 0, at: 77 },
        ..Slice::default()
    }))
}

pub fn messages() -> Vec<(&'static str, Message)> {
    vec![
        ("hello", hello()),
        (
            "accept",
            Message::Accept {
                wall: 1 << 40,
                heard: 1 << 39,
            },
        ),
        ("refuse", Message::Refuse(Refusal::lasting("another cluster"))),
        ("header", header()),
        (
            "request a relay",
            Message::Request(Box::new(Request {
                want: Want::Missing,
                seen: vector(&[(eu(), 5), (us(), 1 << 33)]),
                compacted: vector(&[(eu(), 3)]),
                resume: None,
            })),
        ),
        (
            "request to join",
            Message::Request(Box::new(Request {
                want: Want::Join,
                seen: vector(&[(us(), 1 << 33)]),
                compacted: Vector::new(),
                resume: None,
            })),
        ),
        (
            "request to go on adopting",
            Message::Request(Box::new(Request {
                want: Want::Adopt,
                seen: Vector::new(),
                compacted: Vector::new(),
                resume: Some((us(), Cursor { db: 3, at: 1 << 40 })),
            })),
        ),
        (
            "begin",
            Message::Begin(Box::new(Begin {
                id: 3,
                upto: vector(&[(eu(), 9)]),
                compacted: vector(&[(us(), 1)]),
                adopting: false,
                resumed: false,
                deadlines: true,
            })),
        ),
        ("slice of records", slice()),
        ("slice of settled values", base()),
        ("end", Message::End { id: 3 }),
        (
            "credit",
            Message::Credit {
                stream: 65_536,
                transfer: 0,
            },
        ),
        (
            "fetch",
            Message::Fetch {
                id: 4,
                keys: vec![(0, ByteBuf::from("k")), (3, ByteBuf::from("l"))],
            },
        ),
        (
            "fetched",
            Message::Fetched(Fetched {
                id: 4,
                found: Found::Whole,
                frame: encode(&lost()),
            }),
        ),
        ("evicted", Message::Evicted(vec![(1, ByteBuf::from("gone"))])),
        (
            "pledge",
            Message::Pledge {
                to: us(),
                members: vec![RegionTag::of("eu")],
            },
        ),
    ]
}

fn op(hlc: u64, name: &'static [u8], effect: Effect<'static>) -> Op<'static> {
    Op {
        dot: Dot::new(eu(), hlc),
        key: KeyRef { db: 0, name },
        effects: std::iter::once(effect).collect(),
    }
}

fn replace(element: Element<'static>, value: Option<Value<'static>>) -> Effect<'static> {
    Effect::Replace {
        element,
        value,
        observed: smallvec(&[]),
        extra: Vector::new(),
    }
}

/// One operation of every effect; stamps rise.
pub fn operations() -> Vec<(&'static str, Op<'static>)> {
    let naming = Effect::Replace {
        element: Element::STRING,
        value: Some(Value::Bytes(b"v")),
        observed: smallvec(&[(us(), 5, Number::from(4))]),
        extra: vector(&[(us(), 6)]),
    };
    let whole = Effect::Increment {
        element: Element::STRING,
        birth: 15,
        total: Number::from(-1),
    };
    let real = Effect::Increment {
        element: Element::STRING,
        birth: 15,
        total: fraction(),
    };
    vec![
        (
            "assign",
            op(11, b"s", replace(Element::STRING, Some(Value::Bytes(b"hi")))),
        ),
        ("assign naming what it replaced", op(12, b"s", naming)),
        ("remove a string", op(13, b"s", replace(Element::STRING, None))),
        ("increment", op(15, b"n", whole)),
        ("increment by a float", op(16, b"n", real)),
        ("add", op(17, b"t", replace(Element::member(b"m"), Some(Value::Member)))),
        ("remove", op(1 << 34, b"t", replace(Element::member(b"m"), None))),
        ("clear", op(1 << 35, b"t", Effect::Clear(Box::new(named_clear())))),
        ("expired", op((1 << 35) + 1, b"t", Effect::Clear(Box::new(expired())))),
        (
            "set a hash field",
            op(
                (1 << 35) + 2,
                b"h",
                replace(Element::field(b"f"), Some(Value::Bytes(b"v"))),
            ),
        ),
        (
            "score a member",
            op(
                (1 << 35) + 3,
                b"z",
                replace(Element::scored(b"m"), Some(Value::Score(score(1.5)))),
            ),
        ),
        (
            "set a deadline",
            op(
                (1 << 35) + 4,
                b"h",
                replace(Element::EXPIRY, Some(Value::Deadline(1_700_000_000_000))),
            ),
        ),
        (
            "persist",
            op(
                (1 << 35) + 5,
                b"h",
                replace(Element::EXPIRY, Some(Value::Deadline(NEVER))),
            ),
        ),
        (
            "drop a deadline",
            op((1 << 35) + 6, b"h", replace(Element::EXPIRY, None)),
        ),
    ]
}

/// Context of every sample batch; its author's own entry does not travel.
pub fn context() -> Vector {
    vector(&[(eu(), 10), (us(), 4)])
}

pub fn batch(operations: &[Op<'_>]) -> Vec<u8> {
    let mut writer = BatchWriter::default();
    writer.start(eu(), &context(), 10);
    operations.iter().for_each(|op| writer.push(op));
    writer.finish(eu())
}

/// Every sample as a frame.
pub fn frames() -> Vec<Vec<u8>> {
    let mut frames: Vec<Vec<u8>> = messages().iter().map(|(_, message)| encode(message)).collect();
    let operations = operations();
    frames.extend(operations.iter().map(|(_, op)| batch(std::slice::from_ref(op))));
    frames.push(batch(&operations.iter().map(|(_, op)| op.clone()).collect::<Vec<_>>()));
    frames
}
