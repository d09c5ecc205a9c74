//! An engine that is sent nonsense, before and after the handshake.

use std::time::Duration;

use proptest::prelude::*;
use redis_geo::crdt::{Element, KeyRef, MemoryStore, Store, Value};
use redis_geo::replication::wire::{Begin, Hello, Message, RegionEntry, encode, tag};
use redis_geo::replication::{Change, Config, Engine, Input, Limits, LinkId, Now, Output, RegionState};

use crate::memory::{held, peak};
use crate::samples::frames;

const LINK: LinkId = LinkId(1);

fn limits() -> Limits {
    Limits {
        stream_window: 4000,
        transfer_window: 4000,
        queue: 4000,
        frame: 20_000,
        ..Limits::default()
    }
}

struct Side {
    engine: Engine,
    store: MemoryStore,
}

impl Side {
    fn new(region: &str, peer: &str) -> Side {
        let config = Config {
            cluster: "c".into(),
            region: region.into(),
            peers: vec![peer.into()],
            limits: limits(),
            scores: Default::default(),
            salt: 0,
        };
        let engine = Engine::new(
            config,
            None,
            false,
            1,
            0,
            Now {
                mono: Duration::from_secs(1),
                wall: 1 << 40,
            },
        );
        let mut side = Side {
            engine,
            store: MemoryStore::default(),
        };
        side.take(Input::Up {
            link: LINK,
            dialed: None,
            certificate: &[peer.to_owned()],
            address: "test",
        });
        side
    }

    fn take(&mut self, input: Input<'_>) -> Vec<Output> {
        let mut out = Vec::new();
        self.engine.handle(input, &mut out);
        out
    }

    fn frame(&mut self, frame: &[u8]) -> Vec<Output> {
        self.take(Input::Frame { link: LINK, frame })
    }

    fn step(&mut self) -> Vec<Output> {
        let mut out = Vec::new();
        for _ in 0..20 {
            self.engine.step(&mut self.store, &mut out);
        }
        out
    }
}

fn sent(out: Vec<Output>) -> Vec<Vec<u8>> {
    let frame = |output| match output {
        Output::Send { frame, .. } => Some(frame.to_vec()),
        _ => None,
    };
    out.into_iter().filter_map(frame).collect()
}

/// Two regions that have met and are active; the first is the one to be sent nonsense.
fn met() -> Side {
    let (mut eu, mut us) = (Side::new("eu", "us"), Side::new("us", "eu"));
    // Their hellos went out with `Up`; say them again by connecting anew.
    let up = |side: &mut Side, peer: &str| {
        sent(side.take(Input::Up {
            link: LINK,
            dialed: None,
            certificate: &[peer.to_owned()],
            address: "test",
        }))
    };
    let (mut to_us, mut to_eu) = (up(&mut eu, "us"), up(&mut us, "eu"));
    for _ in 0..20 {
        let frames = std::mem::take(&mut to_us);
        to_eu.extend(frames.iter().flat_map(|frame| sent(us.frame(frame))));
        to_eu.extend(sent(us.step()));
        let frames = std::mem::take(&mut to_eu);
        to_us.extend(frames.iter().flat_map(|frame| sent(eu.frame(frame))));
        to_us.extend(sent(eu.step()));
    }
    assert_eq!(eu.engine.status().state, RegionState::Active);
    assert_eq!(eu.engine.status().peers[0].state, "up");
    eu
}

/// The region still works: it takes a write and says that it is active.
fn serves(side: &mut Side) {
    let key = KeyRef { db: 0, name: b"still" };
    side.engine.prepare(key, &mut side.store);
    let before = side.store.kind(key);
    side.store.delete(key);
    side.store.write(key, Element::STRING, Some(Value::Bytes(b"here")));
    side.engine.record(key, before, Change::assign(b"here"));
    side.step();
    assert_eq!(side.engine.status().state, RegionState::Active);
}

/// Bytes one queued frame costs beside its own, at most.
const PER_FRAME: usize = 400;

#[test]
fn frames_that_are_not_consumed_are_bounded() {
    let samples = frames();
    let small = [vec![tag::SLICE], vec![tag::END], vec![tag::BEGIN]];
    for frame in samples.iter().chain(&small) {
        let mut side = met();
        let bound = 2 * (limits().stream_window + limits().transfer_window) + limits().frame;
        let (_, taken) = peak(|| {
            for _ in 0..200_000 {
                drop(side.frame(frame));
                #[cfg(feature = "sim")]
                redis_geo::replication::tracing::clear();
            }
        });
        assert!(taken < bound * PER_FRAME, "{taken} bytes held for frames {frame:02x?}");
    }
}

#[test]
fn frames_before_the_hello_are_not_kept() {
    for frame in frames().iter().filter(|frame| frame[0] != tag::HELLO) {
        let mut side = Side::new("eu", "us");
        let before = held();
        for _ in 0..1000 {
            side.take(Input::Up {
                link: LINK,
                dialed: None,
                certificate: &["us".to_owned()],
                address: "test",
            });
            side.frame(frame);
        }
        assert!(
            held() - before < 20_000,
            "{} bytes kept of {frame:02x?}",
            held() - before
        );
    }
}

/// A name for new operations that leaves none after it would be taken for our own next one.
#[test]
fn an_incarnation_out_of_range_is_refused() {
    for incarnation in [u64::MAX, 1 << 40] {
        let entry = |name: &str| RegionEntry(name.into(), incarnation);
        for (own, regions) in [(1, vec![entry("eu")]), (incarnation, vec![]), (1, vec![entry("ap")])] {
            let mut hello = Hello::default();
            (hello.cluster, hello.region) = ("c".into(), "us".into());
            (hello.incarnation, hello.regions) = (own, regions);
            let mut side = Side::new("eu", "us");
            let out = side.frame(&encode(&Message::Hello(Box::new(hello))));
            assert!(
                out.iter().any(|output| matches!(output, Output::Close { .. })),
                "{out:?}"
            );
            assert_eq!(side.engine.status().replica, "eu.1");
        }
    }
}

/// A state that we did not ask for is not adopted, and costs us nothing.
#[test]
fn an_adoption_nobody_asked_for_is_an_error() {
    let mut side = met();
    let begin = Message::Begin(Box::new(Begin {
        id: 9,
        adopting: true,
        ..Begin::default()
    }));
    side.frame(&encode(&begin));
    side.frame(&encode(&Message::End { id: 9 }));
    side.step();
    serves(&mut side);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nonsense_is_survived(
        handshaken in any::<bool>(),
        script in prop::collection::vec(
            (any::<prop::sample::Index>(), prop::option::of((any::<prop::sample::Index>(), any::<u8>())), any::<bool>()),
            1..20,
        ),
    ) {
        let frames = frames();
        let mut side = if handshaken { met() } else { Side::new("eu", "us") };
        for (which, change, step) in script {
            let mut frame = which.get(&frames).clone();
            if let Some((at, byte)) = change {
                let at = at.index(frame.len());
                frame[at] = byte;
            }
            let (_, taken) = peak(|| {
                side.frame(&frame);
                if step {
                    side.step();
                }
            });
            prop_assert!(taken < 16 << 20, "{} bytes for {:02x?}", taken, frame);
        }
        if handshaken {
            serves(&mut side);
        }
    }

    #[test]
    fn arbitrary_frames_are_survived(
        handshaken in any::<bool>(),
        script in prop::collection::vec((0_u8..12, prop::collection::vec(any::<u8>(), 0..60)), 1..20),
    ) {
        let mut side = if handshaken { met() } else { Side::new("eu", "us") };
        for (tag, rest) in script {
            let frame: Vec<u8> = std::iter::once(tag).chain(rest).collect();
            side.frame(&frame);
            side.step();
        }
        if handshaken {
            serves(&mut side);
        }
    }
}
