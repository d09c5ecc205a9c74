//! What a region keeps: pieces of its saved memory, and the log that replicas and the AOF replay. `kept.txt` holds
//! those of this version, which later versions must be able to read; `GEO_BLESS=1` writes it anew.

use std::time::Duration;

use proptest::prelude::*;
use redis_geo::crdt::{
    Deadline, Edit, Element, KeyRef, Kind, Meeting, MemoryStore, Native, Number, Score, Store, Value,
};
use redis_geo::replication::{Change, Config, Engine, Guard, Limits, Loader, Now, Region};

use crate::memory::peak;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire/kept.txt");
/// What a claimed length may cost before its bytes are missed: serde reserves up to one MiB a sequence.
const BOUND: usize = 4 << 20;
const DRIFT: Duration = Duration::from_secs(60);

struct Kept {
    store: MemoryStore,
    /// Values and memory after the log, and the log from nothing up to there.
    pieces: Vec<Vec<u8>>,
    log: Vec<u8>,
}

fn pieces(region: &Region) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    region.save(&mut |piece| pieces.push(piece.to_vec()));
    pieces
}

fn key(name: &'static str) -> KeyRef<'static> {
    let name = name.as_bytes();
    KeyRef { db: 0, name }
}

struct Server {
    engine: Engine,
    store: MemoryStore,
}

impl Server {
    fn does(&mut self, name: &'static str, change: Change<'_>) {
        self.engine.prepare(key(name), &mut self.store);
        let before = self.store.kind(key(name));
        change.perform(key(name), &mut self.store);
        self.engine.record(key(name), before, change);
    }

    fn adds(&mut self, name: &'static str, delta: i64, before: Option<&str>) {
        let delta = Number::from(delta);
        let before = before.map(str::as_bytes);
        self.does(name, Change::increment(delta, before));
    }

    /// Writes that looked at what was there.
    fn meets(&mut self) {
        let score = |score| Value::Score(Score::new(score).expect("a number"));
        self.does("seen", Change::meet(b"HYLL sketch of old", Meeting::Unite));
        let lock = Change::meet(b"0", Meeting::IfAbsent).with_deadline(Deadline::At(1_800_000_000_000));
        self.does("lock", lock);
        self.adds("lock", 1, Some("0"));
        for (name, how, before, value) in [
            (b"up", Meeting::AtLeast, None, 7.0),
            (b"up", Meeting::AtLeast, Some(7.0), 9.0),
            (b"in", Meeting::AtMost, None, -0.5),
        ] {
            let edit = Edit::Meet {
                element: Element::scored(name),
                value: score(value),
                how,
                before: before.map(score),
            };
            self.does("z", Change::edit(edit));
        }
    }

    fn kept(mut self) -> Kept {
        Kept {
            pieces: pieces(self.engine.region()),
            log: self.engine.drain_log(<[u8]>::to_vec),
            store: self.store,
        }
    }
}

/// A region that recovers, and has been written to; and the same region when it has gone on alone.
fn samples() -> [(&'static str, Kept); 2] {
    [("recovering", server().kept()), ("active", active().kept())]
}

fn server() -> Server {
    let config = Config {
        cluster: "c".into(),
        region: "eu".into(),
        peers: vec!["us".into()],
        limits: Limits::default(),
        scores: Default::default(),
        salt: 0,
    };
    let now = Now {
        mono: Duration::from_secs(1),
        wall: 1 << 40,
    };
    let mut engine = Engine::new(config, None, false, 7, 0, now);
    engine.set_logging(true);
    let store = MemoryStore::default();
    let mut server = Server { engine, store };
    server.does("s", Change::assign(b"v\0\xff"));
    server.adds("n", 5, None);
    server.does("t", Change::add(&[b"a", b"b"]));
    server.does("t", Change::remove(Kind::Set, &[b"a"]));
    server.does("gone", Change::assign(b"1"));
    server.does("gone", Change::clear());
    server.does("s", Change::none().with_deadline(Deadline::At(1_700_000_000_000)));
    server.does(
        "lapsed",
        Change::assign(b"1").with_deadline(Deadline::At(1_600_000_000_000)),
    );
    server.does("lapsed", Change::expired(1_600_000_000_001));
    server.does("h", Change::put(Element::field(b"f"), Value::Bytes(b"5")));
    server.does(
        "z",
        Change::put(Element::scored(b"m"), Value::Score(Score::new(1.5).expect("a number"))),
    );
    server.meets();
    server
}

fn active() -> Server {
    let mut server = server();
    let mut out = Vec::new();
    server.engine.recover_alone(&mut out).expect("it recovers");
    while server.engine.step(&mut server.store, &mut out) {}
    server.adds("n", 2, Some("5"));
    server.does("n", Change::assign(b"x"));
    server.does("m", Change::assign(b"10"));
    server.adds("m", -3, Some("10"));
    server.does("t", Change::clear());
    server.does("t", Change::assign(b"now a string"));
    server.engine.set_guard(Guard {
        disk: true,
        replica: false,
    });
    let seen = server.engine.seen().clone();
    server.engine.confirm(&seen);
    server
}

fn load(pieces: &[Vec<u8>]) -> Result<Region, String> {
    let mut loader = Loader::new("eu", DRIFT);
    for piece in pieces {
        loader.piece(piece)?;
    }
    loader.finish()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits");
    (0..text.len()).step_by(2).map(digits).collect()
}

fn text() -> String {
    let mut text =
        "# Pieces of a saved region, and its log, in hexadecimal. Written by tests/wire/keeping.rs (GEO_BLESS=1).\n"
            .to_owned();
    for (name, kept) in samples() {
        for piece in &kept.pieces {
            text += &format!("{name} piece {}\n", hex(piece));
        }
        text += &format!("{name} log {}\n", hex(&kept.log));
    }
    text
}

/// The lines of one name and kind.
fn golden(name: &str, kind: &str) -> Vec<Vec<u8>> {
    let file = std::fs::read_to_string(FILE).expect("the golden file");
    let mark = format!("{name} {kind} ");
    let lines = file.lines().filter_map(|line| line.strip_prefix(&mark));
    lines.map(unhex).collect()
}

#[test]
fn what_is_kept_is_what_the_golden_file_has() {
    if std::env::var_os("GEO_BLESS").is_some() {
        std::fs::write(FILE, text()).expect("the golden file is writable");
    }
    assert_eq!(std::fs::read_to_string(FILE).expect("the golden file"), text());
}

#[test]
fn a_golden_region_loads_and_saves_the_same() {
    for (name, _) in samples() {
        let saved = golden(name, "piece");
        let region = load(&saved).expect("it loads");
        assert_eq!(pieces(&region), saved, "{name}");
    }
}

#[test]
fn a_golden_log_gives_the_same_region_and_values() {
    for (name, kept) in samples() {
        let mut region = Region::blank("eu", 0, DRIFT);
        let mut store = MemoryStore::default();
        for log in golden(name, "log") {
            region.replay(&log, &mut store).expect("it replays");
        }
        assert_eq!(store, kept.store, "{name}");
        assert_eq!(pieces(&region), kept.pieces, "{name}");
    }
}

#[test]
fn a_region_is_not_loaded_in_part_or_by_another() {
    let saved = samples()[1].1.pieces.clone();
    for missing in 0..saved.len() {
        let mut part = saved.clone();
        part.remove(missing);
        assert!(load(&part).is_err(), "without piece {missing}");
    }
    let mut loader = Loader::new("us", DRIFT);
    let refused = loader.piece(&saved[0]).expect_err("it is eu's");
    assert!(refused.contains("'eu'") && refused.contains("'us'"), "{refused}");
}

/// A piece with its checksum, whatever stands in it.
fn sealed(mut body: Vec<u8>) -> Vec<u8> {
    let sum = crc32fast::hash(&body);
    body.extend_from_slice(&sum.to_le_bytes());
    body
}

#[test]
fn later_versions_are_refused_and_their_optional_parts_skipped() {
    let saved = samples()[1].1.pieces.clone();
    let with = |tag: u8| {
        let mut pieces = saved.clone();
        pieces.insert(1, sealed(vec![tag, 1, 2, 3]));
        // The end counts what came before it.
        let last = pieces.len() - 1;
        pieces[last] = sealed(vec![4, 0x91, last as u8]);
        load(&pieces).map(drop)
    };
    assert_eq!(with(200), Ok(()));
    assert!(with(100).is_err_and(|why| why.contains("newer version")));
    let mut head = saved[0].clone();
    head.truncate(head.len() - 4);
    let at = head.windows(7).position(|w| w == b"\xa6format").expect("the format") + 7;
    head[at] = 99;
    let why = Loader::new("eu", DRIFT).piece(&sealed(head)).expect_err("it is newer");
    assert!(why.contains("newer version"), "{why}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes that a disk has spoilt, and whose checksum fits all the same.
    #[test]
    fn spoilt_pieces_are_survived(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        for (_, kept) in samples() {
            let mut spoilt = kept.pieces.clone();
            let piece = which.index(spoilt.len());
            let mut body = spoilt[piece].clone();
            let unsealed = body.clone();
            body.truncate(body.len() - 4);
            let place = at.index(body.len());
            body[place] = byte;
            spoilt[piece] = sealed(body);
            let (_, taken) = peak(|| drop(load(&spoilt)));
            prop_assert!(taken < BOUND, "{taken} bytes");
            let mut flipped = unsealed;
            flipped[place] ^= 1 | byte;
            spoilt[piece] = flipped;
            prop_assert!(load(&spoilt).is_err());
        }
    }

    #[test]
    fn spoilt_logs_are_survived(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        for (_, kept) in samples() {
            let mut log = kept.log.clone();
            let place = at.index(log.len());
            log[place] = byte;
            log.truncate(place.max(cut.index(log.len())));
            let mut region = Region::blank("eu", 0, DRIFT);
            let mut store = MemoryStore::default();
            let (_, taken) = peak(|| drop(region.replay(&log, &mut store)));
            prop_assert!(taken < BOUND, "{taken} bytes");
        }
    }
}

/// The samples say something: every kind of piece and most steps are in them.
#[test]
fn the_samples_have_values_of_every_kind() {
    let [(_, mut recovering), (_, mut active)] = samples();
    assert_eq!(recovering.store.kind(key("t")), Some(Native::Kind(Kind::Set)));
    assert_eq!(active.store.kind(key("t")), Some(Native::Kind(Kind::String)));
    let text = |store: &mut MemoryStore, name| store.read(key(name), Element::STRING);
    assert_eq!(
        text(&mut active.store, "m").as_ref().map(|v| v.borrow()),
        Some(Value::Bytes(b"7"))
    );
    assert_eq!(
        text(&mut recovering.store, "n").as_ref().map(|v| v.borrow()),
        Some(Value::Bytes(b"5"))
    );
    assert_eq!(recovering.store.kind(key("gone")), None);
}
