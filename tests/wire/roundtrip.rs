//! Whatever may be said comes back as it was.

use proptest::collection::vec;
use proptest::prelude::*;
use redis_geo::crdt::{
    Cell, CellRecord, Clear, ClearedCell, Contribution, Cursor, Dot, Effect, Element, KeyRef, Kind, Live, Number,
    Observed, Op, OwnedValue, PendingClear, Record, RegionTag, ReplicaId, Score, Value, Vector,
};
use redis_geo::replication::wire::{
    Acknowledged, BatchReader, BatchWriter, Header, Message, RegionEntry, Slice, decode, encode,
};

use crate::samples::eu;

fn region() -> impl Strategy<Value = RegionTag> {
    prop::sample::select(vec!["eu", "us", "ap", "a region of a long name"]).prop_map(RegionTag::of)
}

fn replica() -> impl Strategy<Value = ReplicaId> {
    let incarnation = prop_oneof![0_u64..4, Just(ReplicaId::MAX_INCARNATION - 1)];
    (region(), incarnation).prop_map(|(region, incarnation)| ReplicaId::new(region, incarnation))
}

fn hlc() -> impl Strategy<Value = u64> {
    prop_oneof![1_u64..200, any::<u64>().prop_map(|hlc| hlc.max(1))]
}

fn vector() -> impl Strategy<Value = Vector> {
    vec((replica(), hlc()), 0..6).prop_map(|entries| entries.into_iter().collect())
}

fn number() -> impl Strategy<Value = Number> {
    let float = any::<f64>().prop_map(|f| Number::parse(format!("{f:e}").as_bytes()).unwrap_or(Number::ZERO));
    let number = || prop_oneof![any::<i64>().prop_map(Number::from), float.clone()];
    (number(), number()).prop_map(|(a, b)| a.add(&b))
}

fn observed() -> impl Strategy<Value = Observed> {
    vec((replica(), hlc(), number()), 0..3).prop_map(|entries| entries.into_iter().collect())
}

fn name() -> impl Strategy<Value = Box<[u8]>> {
    vec(any::<u8>(), 0..40).prop_map(Into::into)
}

fn kind_and_name() -> impl Strategy<Value = (Kind, Box<[u8]>)> {
    prop_oneof![
        Just((Kind::String, Box::default())),
        Just((Kind::Expiry, Box::default())),
        name().prop_map(|name| (Kind::Set, name)),
        name().prop_map(|name| (Kind::Hash, name)),
        name().prop_map(|name| (Kind::Zset, name)),
    ]
}

fn cleared() -> impl Strategy<Value = ClearedCell> {
    (kind_and_name(), observed(), vector()).prop_map(|((kind, name), observed, extra)| ClearedCell {
        kind,
        name,
        observed,
        extra,
    })
}

fn clear() -> impl Strategy<Value = Clear> {
    let expired = prop::option::of(1..u64::MAX);
    (vector(), vec(cleared(), 0..3), expired).prop_map(|(context, mut cells, expired)| {
        cells.sort_by(|a, b| a.element().cmp(&b.element()));
        cells.dedup_by(|a, b| a.element() == b.element());
        Clear {
            context,
            cells,
            expired,
        }
    })
}

/// An effect that owns its names.
#[derive(Clone, Debug)]
enum Said {
    Replace((Kind, Box<[u8]>), Option<Box<[u8]>>, Observed, Vector),
    Increment(u64, Number),
    Clear(Clear),
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        (kind_and_name(), prop::option::of(name()), observed(), vector())
            .prop_map(|(at, value, observed, extra)| Said::Replace(at, value, observed, extra)),
        (hlc(), number()).prop_map(|(birth, total)| Said::Increment(birth, total)),
        clear().prop_map(Said::Clear),
    ]
}

/// A value of the kind, made of some bytes.
fn value_of(kind: Kind, bytes: &[u8]) -> Value<'_> {
    let number = bytes.iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    match kind {
        Kind::Set => Value::Member,
        Kind::String | Kind::Hash => Value::Bytes(bytes),
        Kind::Zset => Value::Score(Score::new(number as f64).expect("a number")),
        Kind::Expiry => Value::Deadline(number),
    }
}

fn effect(said: &Said) -> Effect<'_> {
    match said {
        Said::Replace((kind, name), value, observed, extra) => Effect::Replace {
            element: Element { kind: *kind, name },
            value: value.as_deref().map(|bytes| value_of(*kind, bytes)),
            observed: observed.clone(),
            extra: extra.clone(),
        },
        Said::Increment(birth, total) => Effect::Increment {
            element: Element::STRING,
            birth: *birth,
            total: total.clone(),
        },
        Said::Clear(clear) => Effect::Clear(Box::new(clear.clone())),
    }
}

fn contribution() -> impl Strategy<Value = (ReplicaId, Contribution)> {
    (replica(), (hlc(), hlc(), number(), any::<u64>(), number())).prop_map(
        |(replica, (birth, hlc, total, at, reset))| {
            (
                replica,
                Contribution {
                    birth,
                    hlc,
                    total,
                    reset_hlc: at,
                    reset_total: reset,
                },
            )
        },
    )
}

fn cell() -> impl Strategy<Value = CellRecord> {
    let live = vec((replica(), hlc(), name(), any::<bool>()), 0..3);
    (kind_and_name(), live, vector(), vector(), vec(contribution(), 0..3)).prop_map(
        |((kind, name), live, touched, named, contributions)| {
            let mut cell = Cell::default();
            for (replica, hlc, value, base) in live {
                let dot = if base { Dot::BASE } else { Dot::new(replica, hlc) };
                let value = Some(value_of(kind, &value).to_owned()).filter(|value| *value != OwnedValue::Member);
                cell.add_live(Live { dot, value });
            }
            cell.name(&named);
            cell.touched = touched;
            contributions
                .into_iter()
                .for_each(|(replica, c)| cell.merge_contribution(replica, c));
            CellRecord { kind, name, cell }
        },
    )
}

fn record() -> impl Strategy<Value = Record> {
    let pending = (replica(), hlc(), clear()).prop_map(|(replica, hlc, clear)| PendingClear {
        dot: Dot::new(replica, hlc),
        clear,
    });
    (any::<u32>(), name(), vec(pending, 0..3), vec(cell(), 0..4)).prop_map(|(db, name, clears, cells)| Record {
        db,
        name,
        clears,
        cells,
    })
}

fn header() -> impl Strategy<Value = Header> {
    let incarnation = || 0..ReplicaId::MAX_INCARNATION;
    let regions = vec(
        ("[a-z]{1,9}", incarnation()).prop_map(|(name, at)| RegionEntry(name, at)),
        0..4,
    );
    let acknowledged = (region(), incarnation(), vector(), vec((region(), incarnation()), 0..3));
    let acknowledged = acknowledged.prop_map(|(region, incarnation, durable, known)| Acknowledged {
        region,
        incarnation,
        durable,
        known,
    });
    (
        replica(),
        vector(),
        vector(),
        regions,
        vec(acknowledged, 0..4),
        any::<u64>(),
    )
        .prop_map(|(replica, seen, durable, regions, acknowledged, wall)| Header {
            replica: Some(replica),
            seen,
            durable,
            regions,
            acknowledged,
            wall,
            heard: vec![(RegionTag::of("eu"), wall / 2)],
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn headers_come_back(header in header()) {
        let message = Message::Header(Box::new(header));
        prop_assert_eq!(decode(&encode(&message)), Ok(message));
    }

    #[test]
    fn slices_come_back(id in any::<u64>(), seen in vector(), records in vec(record(), 0..4)) {
        let message = Message::Slice(Box::new(Slice { id, number: 1, seen, records, base: Vec::new(), reached: Cursor { db: 1, at: id } }));
        prop_assert_eq!(decode(&encode(&message)), Ok(message));
    }

    #[test]
    fn operations_come_back(
        context in vector(),
        previous in 0_u64..1 << 40,
        said in vec((1_u64..1 << 30, 0_u32..1 << 31, name(), vec(said(), 0..4)), 1..6),
        joined in vec(any::<bool>(), 6),
    ) {
        let mut hlc = previous;
        let operations: Vec<Op<'_>> = said.iter().map(|(step, db, name, effects)| {
            hlc += step;
            let effects = effects.iter().map(effect).collect();
            Op { dot: Dot::new(eu(), hlc), key: KeyRef { db: *db, name }, effects }
        }).collect();
        let mut writer = BatchWriter::default();
        writer.start(eu(), &context, previous);
        for (op, joined) in operations.iter().zip(&joined) {
            if *joined { writer.join(op) } else { writer.push(op) }
        }
        let frame = writer.finish(eu());
        let mut reader = BatchReader::open(&frame).expect("a header");
        let mut without_own = context;
        without_own.set(eu(), 0);
        prop_assert_eq!(&reader.context, &without_own);
        for (op, joined) in operations.into_iter().zip(joined) {
            prop_assert_eq!(reader.is_joined(&frame), joined);
            let read = reader.peek(&frame).expect("an operation");
            prop_assert_eq!((read.dot, read.key, read.effects.as_slice()), (op.dot, op.key, op.effects.as_slice()));
            reader.advance(&frame, op.dot.hlc).expect("an operation");
        }
        prop_assert!(reader.is_done(&frame));
    }
}
