//! What the engine adds to one local write, without a server: `Engine::record`, shipped every 32 operations.
//!
//! `cargo bench --no-default-features --bench record` prints times. To count instructions, run one case under
//! `valgrind --tool=callgrind` with two numbers of operations and compare, e.g. `record set hot 100000`.

use std::time::{Duration, Instant};

use redis_geo::crdt::{Cursor, Element, KeyRef, Kind, Native, Number, OwnedValue, Store, Value, ntp64};
use redis_geo::replication::{Change, Config, Engine, Limits, Now};

const KEYS: usize = 1000;
/// Operations of one event-loop turn.
const TURN: usize = 32;
const VALUE: &[u8] = b"xxx";

/// A keyspace that holds nothing: what the server itself does is not measured here.
struct Nothing;

impl Store for Nothing {
    fn kind(&mut self, _key: KeyRef<'_>) -> Option<Native> {
        None
    }
    fn read(&mut self, _key: KeyRef<'_>, _element: Element<'_>) -> Option<OwnedValue> {
        None
    }
    fn elements(&mut self, _key: KeyRef<'_>, _visit: &mut dyn FnMut(Element<'_>, Value<'_>)) {}
    fn write(&mut self, _key: KeyRef<'_>, _element: Element<'_>, _value: Option<Value<'_>>) {}
    fn delete(&mut self, _key: KeyRef<'_>) {}
    fn scan_keys(&mut self, _cursor: &mut Cursor, _visit: &mut dyn FnMut(KeyRef<'_>, Kind)) -> bool {
        false
    }
    fn scan_elements(
        &mut self,
        _key: KeyRef<'_>,
        _cursor: &mut u64,
        _visit: &mut dyn FnMut(Element<'_>, Value<'_>),
    ) -> bool {
        false
    }
    fn key_count(&mut self) -> u64 {
        0
    }
}

/// A region alone: everything is stable at once, so that `settle` empties the index.
fn engine(now: Now) -> Engine {
    let config = Config {
        cluster: "bench".into(),
        region: "eu".into(),
        peers: Vec::new(),
        limits: Limits::default(),
        scores: Default::default(),
        salt: 0,
    };
    Engine::new(config, None, false, 1, 0, now)
}

#[derive(Clone, Copy)]
enum Command {
    Set,
    Incr,
    Sadd,
}

/// `settle`: the index is emptied after every turn, so that every operation meets a key without metadata.
fn run(command: Command, settle: bool, operations: usize) {
    let mut now = Now {
        mono: Duration::ZERO,
        wall: ntp64(Duration::from_secs(1_800_000_000)),
    };
    let mut engine = engine(now);
    let mut out = Vec::new();
    let keys: Vec<String> = (0..KEYS).map(|key| format!("key:{key:012}")).collect();
    let members = [&b"element:000000000042"[..]];
    for at in 0..operations {
        let key = KeyRef {
            db: 0,
            name: keys[at * 7 % KEYS].as_bytes(),
        };
        let (kind, change) = match command {
            Command::Set => (Kind::String, Change::assign(VALUE)),
            Command::Sadd => (Kind::Set, Change::add(&members)),
            Command::Incr => {
                let (delta, before) = (Number::Int(1), Some(&b"1234"[..]));
                (Kind::String, Change::increment(delta, before))
            }
        };
        engine.record(key, Some(Native::Kind(kind)), change);
        if at % TURN == TURN - 1 {
            engine.flush(&mut out);
            out.clear();
            now.mono += Duration::from_micros(100);
            now.wall += ntp64(Duration::from_micros(100));
            engine.set_time(now);
            while settle && engine.step(&mut Nothing, &mut out) {}
            out.clear();
        }
    }
}

const COMMANDS: [(&str, Command); 3] = [("set", Command::Set), ("incr", Command::Incr), ("sadd", Command::Sadd)];
const INDEXES: [(&str, bool); 2] = [("hot", false), ("settled", true)];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |at: usize, name: &str| arguments.get(at).is_none_or(|word| word == name);
    let operations = arguments
        .get(2)
        .and_then(|count| count.parse().ok())
        .unwrap_or(1_000_000);
    for (name, command) in COMMANDS.into_iter().filter(|(name, _)| wanted(0, name)) {
        for (index, settle) in INDEXES.into_iter().filter(|(index, _)| wanted(1, index)) {
            let start = Instant::now();
            run(command, settle, operations);
            let each = start.elapsed().as_nanos() as f64 / operations as f64;
            println!("{name} {index}: {each:.0} ns");
        }
    }
}
