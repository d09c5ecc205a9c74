//! Random commands in several regions: all end with the same data, whatever a command does to its keys.

use std::time::Duration;

use redis_geo::lab::module;
use redis_geo::lab::regions::{Regions as Linked, Topology};
use redis_geo::lab::shim::{Library, Shim};
use redis_geo::lab::wait_for;

use crate::draw::Random;
use crate::held::{Held, everything};
use crate::pair::{line, shown};
use crate::plain::{Client, PATIENCE, Server};
use crate::remote::Regions;

/// Commands between two looks.
const ROUND: u64 = 25;
/// In transparent mode all keys but this one replicate.
const OUTSIDE: &str = "c";
const KEYS: &str = "* !c";
const NAMES: [&str; 3] = ["eu", "us", "ap"];

/// What cannot be compared with a plain server: it depends on the time, or on which keys there are.
const FURTHER: [&str; 12] = [
    "PEXPIRE KEY 3",
    "PEXPIRE KEY 20 GT",
    "SET KEY VALUE PX 2",
    "GETEX KEY PX 1",
    "SETEX KEY 1 VALUE",
    "FLUSHDB",
    "FLUSHALL ASYNC",
    "GEO.PURGE [ab]",
    "EVAL redis.call('INCR',KEYS[1]);redis.call('PEXPIRE',KEYS[1],2);return(redis.call('INCR',KEYS[2])) 2 KEY KEY",
    "EVAL redis.call('DEL',KEYS[1]);return(redis.call('RENAME',KEYS[2],KEYS[1])) 2 KEY KEY",
    "EVAL redis.call('EXPIRE',KEYS[1],100000);return(redis.call('SADD',KEYS[1],ARGV[1],ARGV[2])) 1 KEY NAME NAME",
    "EVAL redis.call('SELECT',1);return(redis.call('ZADD',KEYS[1],ARGV[1],ARGV[2])) 1 KEY SCORE NAME",
];

/// A few more writes than deadlines.
const SHORT: [&str; 8] = [
    "SET KEY VALUE",
    "SET KEY VALUE",
    "HSET KEY NAME VALUE NAME VALUE",
    "SADD KEY NAME NAME",
    "ZADD KEY SCORE NAME SCORE NAME",
    "INCR KEY",
    "PEXPIRE KEY 20",
    "PEXPIRE KEY 100",
];

/// By one region alone, by the other alone, and by both at once; some in transactions. A replica follows.
#[test]
fn random_commands_of_two_regions_converge() {
    two_regions(&[], Names::Geo, 5_000);
}

#[test]
fn random_commands_of_two_regions_converge_under_their_native_names() {
    two_regions(&["keys", KEYS], Names::Native, 2_500);
}

fn two_regions(module: &[&str], names: Names, steps: u64) {
    let regions = Regions::start_with(&["--repl-diskless-sync-delay", "0"], module);
    let primary = regions.us.port.to_string();
    let replica = [&["region", "us"], module].concat();
    let replica = Server::start(&["--replicaof", "127.0.0.1", &primary], &replica);
    let mut places = [("eu", &regions.eu), ("us", &regions.us), ("the replica", &replica)]
        .map(|(name, server)| Place::new(name, server.client()));
    let mut random = Random::new(&mut places[0].client, steps);
    for round in 0..random.steps / ROUND {
        let writers = match round % 4 {
            only @ 0..2 => &[only as usize][..],
            _ => &[0, 1],
        };
        let mut sent = Sent::new(names);
        let unit = random.below(4) == 0;
        if unit {
            places[..2]
                .iter_mut()
                .for_each(|place| drop(place.client.text("MULTI")));
        }
        sent.round(&mut random, &mut places, writers);
        if unit {
            let ends = places[..2].iter_mut().map(|place| shown(&place.client.text("EXEC")));
            sent.lines.extend(ends);
        }
        converge(&mut places, &[1, 2], &sent);
    }
}

/// Links are cut and healed again, and a region loads its own data again, or dies and comes back.
#[test]
fn random_commands_of_three_regions_converge_over_cut_links() {
    let mut regions = prepare();
    for name in NAMES {
        let lines = &mut regions.settings(name).lines;
        lines.extend(["appendonly yes", "enable-debug-command local"].map(String::from));
    }
    let mut places = launch(&mut regions);
    over_cut_links(&mut regions, &mut places, Names::Native, 1_000);
}

fn over_cut_links(regions: &mut Linked, places: &mut [Place], names: Names, steps: u64) {
    let mut random = Random::new(&mut places[0].client, steps);
    for _ in 0..random.steps / ROUND {
        let mut sent = Sent::new(names);
        if random.below(3) > 0 {
            let apart = NAMES[random.below(3)];
            regions.isolate(apart);
            sent.lines.push(format!("{apart} is alone"));
        }
        sent.round(&mut random, places, &[0, 1, 2]);
        let which = random.below(3);
        match random.below(6) {
            0 => {
                let reply = shown(&places[which].client.text("DEBUG RELOAD"));
                assert_eq!(reply, "+OK\\r\\n");
                sent.lines.push(format!("{} has loaded its data again", NAMES[which]));
            }
            1 => {
                regions.server(NAMES[which]).restart().expect("a server");
                places[which].client = Client::of(regions.address(NAMES[which]));
                sent.lines.push(format!("{} was killed", NAMES[which]));
            }
            _ => {}
        }
        sent.round(&mut random, places, &[0, 1, 2]);
        regions.heal();
        converge(places, &[], &sent);
    }
}

/// Each look at the clock takes long, so that keys expire between any two things that are done to them.
#[test]
fn keys_that_expire_at_any_moment_converge() {
    let (_regions, mut places) = hurried(prepare());
    let mut random = Random::new(&mut places[0].client, 5_000);
    for _ in 0..random.steps / ROUND {
        let mut sent = Sent::new(Names::Short);
        sent.round(&mut random, &mut places, &[0, 1, 2]);
        converge(&mut places, &[], &sent);
    }
}

/// The same while state is transferred: a region that was killed has kept what it had when it last loaded its own data
/// again, if it did, and has the rest, or everything, from the others.
#[test]
fn keys_that_expire_at_any_moment_converge_over_cut_links() {
    let mut regions = prepare();
    for name in NAMES {
        let lines = &mut regions.settings(name).lines;
        lines.push("enable-debug-command local".into());
    }
    let (mut regions, mut places) = hurried(regions);
    over_cut_links(&mut regions, &mut places, Names::Short, 1_000);
}

fn hurried(mut regions: Linked) -> (Linked, [Place; 3]) {
    let library = Library::build(&regions.directory()).expect("a library");
    let shims = NAMES.map(|name| Shim::new(&library, &regions.directory(), name).expect("a shim"));
    for (name, shim) in NAMES.into_iter().zip(&shims) {
        regions.settings(name).environment = shim.environment();
    }
    let places = launch(&mut regions);
    for shim in &shims {
        shim.hurry_clock(Duration::from_millis(1)).expect("a shim");
    }
    (regions, places)
}

fn prepare() -> Linked {
    let mut regions = Linked::prepare(&module::built(), &NAMES, Topology::Mesh, true, 0).expect("regions");
    for name in NAMES {
        let setting = ("keys".into(), KEYS.into());
        regions.settings(name).arguments.push(setting);
    }
    regions
}

fn launch(regions: &mut Linked) -> [Place; 3] {
    for name in NAMES {
        regions.launch(name).expect("a server");
    }
    regions.await_links(PATIENCE).expect("links");
    NAMES.map(|name| Place::new(name, Client::of(regions.address(name))))
}

#[derive(Clone, Copy)]
enum Names {
    Geo,
    Native,
    /// Native ones, and only commands with deadlines that pass.
    Short,
}

/// A server that is compared with the others.
struct Place {
    name: &'static str,
    client: Client,
}

impl Place {
    fn new(name: &'static str, client: Client) -> Place {
        Place { name, client }
    }
}

/// What was sent since the last look, with its replies.
struct Sent {
    names: Names,
    lines: Vec<String>,
}

impl Sent {
    fn new(names: Names) -> Sent {
        Sent {
            names,
            lines: Vec::new(),
        }
    }

    fn round(&mut self, random: &mut Random, places: &mut [Place], writers: &[usize]) {
        for _ in 0..ROUND {
            let writer = writers[random.below(writers.len())];
            self.one(random, &mut places[writer]);
        }
    }

    /// What has no GEO command is only sent under its native name.
    fn one(&mut self, random: &mut Random, place: &mut Place) {
        let mut command = match self.names {
            Names::Native if random.below(25) == 0 => {
                let line = random.of(&FURTHER);
                random.filled(&mut place.client, line)
            }
            Names::Short => {
                let line = random.of(&SHORT);
                random.filled(&mut place.client, line)
            }
            _ => random.command(&mut place.client),
        };
        match self.names {
            Names::Geo if command[0] == b"RPUSH" => return,
            Names::Geo => drop(command[0].splice(0..0, *b"GEO.")),
            Names::Native | Names::Short => {}
        }
        let command: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
        let reply = shown(&place.client.command(&command));
        self.lines.push(format!("{} {} -> {reply}", place.name, line(&command)));
    }
}

/// By database and key.
type Data = Vec<(&'static str, Vec<u8>, Held)>;

/// All replicate the same; `together` are servers of one region, which hold the same of everything.
fn converge(places: &mut [Place], together: &[usize], sent: &Sent) {
    let mut last = Vec::new();
    let same = wait_for("the same data everywhere", PATIENCE, || {
        last = places.iter_mut().map(|place| held(&mut place.client)).collect();
        let whole = together.windows(2).all(|two| last[two[0]] == last[two[1]]);
        let replicated = last.iter().map(|data| replicated(data, sent.names));
        (whole && all_equal(replicated)).then_some(())
    });
    if same.is_err() {
        let others = |at: usize| last.iter().enumerate().filter(move |(other, _)| *other != at);
        let differences: String = (0..places.len())
            .map(|at| {
                let differs = |held: &_| others(at).any(|(_, other)| !other.contains(held));
                only(&mut places[at], last[at].iter().filter(|held| differs(held)))
            })
            .collect();
        panic!("after {:#?}\n{differences}", sent.lines);
    }
}

fn all_equal<T: PartialEq>(mut all: impl Iterator<Item = T>) -> bool {
    let first = all.next();
    all.all(|one| first.as_ref() == Some(&one))
}

fn replicated(data: &Data, names: Names) -> Data {
    let inside = |key: &[u8]| matches!(names, Names::Geo) || key != OUTSIDE.as_bytes();
    data.iter().filter(|(_, key, _)| inside(key)).cloned().collect()
}

/// What a server has and others have not, and what it knows of it.
fn only<'a>(place: &mut Place, only: impl Iterator<Item = &'a (&'static str, Vec<u8>, Held)>) -> String {
    let text = |(database, key, held): &(&str, Vec<u8>, Held)| {
        place.client.text(database);
        let value: Vec<String> = held.value.iter().map(|part| shown(part)).collect();
        let known = shown(&place.client.command(&[b"GEO.INSPECT", key]));
        let (key, kind, deadline) = (shown(key), &held.kind, held.deadline);
        format!("    {database}: {key} {kind} {value:?} until {deadline}\n    {known}\n")
    };
    let texts: String = only.map(text).collect();
    format!("{} has\n{texts}", place.name)
}

/// Of two databases. A small sorted set holds -0 as 0, a great one does not, and that it was great once depends on the
/// order of what came.
fn held(client: &mut Client) -> Data {
    let mut all = Vec::new();
    for database in ["SELECT 1", "SELECT 0"] {
        client.text(database);
        for (key, mut held) in everything(client) {
            held.value = held.value.iter().map(|part| positive(part)).collect();
            all.push((database, key, held));
        }
    }
    all
}

/// With 0 for each score of -0.
fn positive(reply: &[u8]) -> Vec<u8> {
    let text: String = reply.iter().map(|byte| char::from(*byte)).collect();
    let text = text.replace("$2\r\n-0\r\n", "$1\r\n0\r\n");
    text.chars().map(|one| one as u8).collect()
}
