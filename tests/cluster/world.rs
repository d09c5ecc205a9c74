//! Regions, links between them, and a clock: everything a run can do to a cluster.

mod clients;
mod deadlines;
mod deaths;
mod founding;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redis_geo::crdt::history::{Issued, Wrote};
use redis_geo::crdt::rules::{Rule, holds};
use redis_geo::crdt::{
    Element, KeyRef, Kind, MemoryStore, OwnedValue, ScoreRule, Store, Value, Vector, ntp64, unix_millis,
};
use redis_geo::replication::{Config, Engine, Guard, Input, Limits, LinkId, Now, Output, Region, RegionState};

use crate::commands::first_value;
use crate::keeping::{Confirmed, Disk, Keeps, Replica, Snapshot};
use crate::provisional::Noted;
use crate::purge::Purge;
use crate::run::{Options, brief};
use crate::spec::{Extension, Key, deadlines, shown};

pub const NAMES: [&str; 5] = ["eu", "us", "ap", "sa", "af"];

pub struct Node {
    pub name: &'static str,
    pub engine: Engine,
    pub store: MemoryStore,
    /// Wall clock minus true time, ms.
    skew: i64,
    /// Asleep until then (a slow peer).
    pub asleep: u64,
    pub keeps: Keeps,
    pub disk: Disk,
    pub replica: Option<Replica>,
    pub purge: Option<Purge>,
    pub noted: Noted,
    /// Keys that were gone when it started, though nobody said that they had expired.
    dropped: Vec<Key>,
    /// It came by a road that its acknowledgements waited for.
    trusted: bool,
    confirmed: Confirmed,
    /// It came from an old backup.
    outdated: bool,
}

/// One direction of a link: frames in order, each with the time it arrives.
type Wire = VecDeque<(u64, Vec<u8>)>;

pub struct Pipe {
    id: LinkId,
    ends: (usize, usize),
    wires: [Wire; 2],
    /// Shortest and longest delay, ms: links differ, so operations overtake each other.
    delays: (u64, u64),
}

pub struct World {
    pub rng: StdRng,
    /// Keys expire while an engine works.
    pub passes: Option<StdRng>,
    pub now: u64,
    pub nodes: Vec<Node>,
    pub pipes: Vec<Pipe>,
    pub issued: Vec<Issued>,
    /// Pairs that may be connected.
    pub pairs: Vec<(usize, usize)>,
    pub keys: u8,
    pub members: u8,
    /// The kind of the first key, where each has its own.
    pub first_kind: u8,
    pub extensions: Vec<Extension>,
    pub skewed: bool,
    limits: Limits,
    backups: bool,
    next_link: u64,
    incarnations: Vec<u64>,
    first_bases: u64,
    /// How long a word has waited to be heard, at most.
    slowest: u64,
    pub trace: bool,
    pub forced: u64,
    /// What a check in the middle of a run found.
    pub mishap: Option<String>,
    /// Operations that their authors could not forget any more: the specification wants them.
    pub promised: Vector,
    /// Regions that were given an older past of theirs than they had vouched for.
    pub restored: u64,
    pub scores: ScoreRule,
    /// Regions may have started with data.
    pub had_data: bool,
    /// What recovering regions took, compared with what it came to.
    pub checked: u64,
}

/// Clocks that are not wrong differ by less than the module's tolerance.
const MOST_SKEW: i64 = 200;
/// More operations than any run needs: clients issue some hundreds, regions of their own accord fewer.
const MOST_OPERATIONS: usize = 5_000;
/// How near a deadline comes to what was meant when a clock is wrong, beside the time that words were on their way:
/// clocks that are not quite right.
const NEAR: u64 = 1000;

/// True time zero, seconds since the epoch.
const EPOCH: u64 = 1_700_000_000;

impl Node {
    /// Whether the key's values are not here, though others may have them.
    pub fn lacks(&self, (db, name): &Key) -> bool {
        let key = KeyRef { db: *db, name };
        self.engine.region().state().evicted().contains(key)
    }
}

impl World {
    pub fn new(seed: u64, options: &Options, trace: bool) -> World {
        let (regions, hub, skewed) = (options.regions, options.hub, options.skewed);
        let mut rng = StdRng::seed_from_u64(seed);
        let limits = Limits {
            stream_window: rng.random_range(4000..30_000),
            transfer_window: rng.random_range(200..4000),
            queue: rng.random_range(2500..30_000),
            relay_delay: Duration::from_millis(60),
            heartbeat: Duration::from_millis(200),
            acknowledge: Duration::from_millis(30),
            drift: Duration::from_secs(60),
            frame: 1 << 20,
            slice_cells: rng.random_range(1..4),
            slice_bytes: rng.random_range(1..400),
        };
        let pairs: Vec<(usize, usize)> = (0..regions)
            .flat_map(|a| (a + 1..regions).map(move |b| (a, b)))
            .filter(|(a, _)| !hub || *a == 0)
            .collect();
        let (keys, members) = (rng.random_range(1..=3), rng.random_range(1..=3));
        let first_kind = rng.random_range(0..4);
        redis_geo::replication::tracing::clear();
        let mut world = World {
            rng,
            passes: options.passes.then(|| StdRng::seed_from_u64(seed)),
            now: 1000,
            nodes: Vec::new(),
            pipes: Vec::new(),
            issued: Vec::new(),
            pairs,
            keys,
            members,
            first_kind,
            extensions: Vec::new(),
            skewed,
            limits,
            backups: options.backups,
            next_link: 0,
            incarnations: vec![0; regions],
            first_bases: 0,
            slowest: 0,
            trace,
            forced: 0,
            mishap: None,
            promised: Vector::new(),
            restored: 0,
            scores: options.scores,
            had_data: options.data > 0.0,
            checked: 0,
        };
        for (at, name) in NAMES.iter().take(regions).enumerate() {
            let skew = if skewed && at == 1 {
                3_600_000
            } else {
                world.rng.random_range(-MOST_SKEW..MOST_SKEW)
            };
            let mut store = MemoryStore::default();
            if world.rng.random_bool(options.data) {
                world.fill(&mut store);
            }
            let keeps = options.keeps[at % options.keeps.len()];
            let node = world.start(at, name, skew, keeps, None, false, store);
            world.nodes.push(node);
            if options.brings && world.nodes[at].store.key_count() > 0 {
                world.nodes[at].engine.bring_own_data();
            }
            world.begin_keeping(at);
        }
        world
    }

    /// Data from before the module was loaded.
    fn fill(&mut self, store: &mut MemoryStore) {
        for key in 0..self.keys {
            let name = [b'k', b'0' + key];
            let key = KeyRef { db: 0, name: &name };
            let element = match self.rng.random_range(0..6) {
                0 => Element::STRING,
                1 => Element::member(b"x"),
                2 => Element::field(b"x"),
                3 => Element::scored(b"x"),
                _ => continue,
            };
            store.write(key, element, Some(first_value(element.kind)));
            if self.rng.random_bool(0.2) {
                let at = unix_millis(now_of(self.now + 2000, 0).wall);
                store.write(key, Element::EXPIRY, Some(Value::Deadline(at)));
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn start(
        &mut self,
        at: usize,
        name: &'static str,
        skew: i64,
        keeps: Keeps,
        region: Option<Region>,
        trusted: bool,
        mut store: MemoryStore,
    ) -> Node {
        self.incarnations[at] += u64::from(holds(Rule::FreshIncarnation) || self.incarnations[at] == 0);
        let incarnation = self.incarnations[at];
        let others = self.pairs.iter().filter(|(a, b)| *a == at || *b == at);
        let peers = others
            .map(|(a, b)| NAMES[if *a == at { *b } else { *a }].to_owned())
            .collect();
        let config = Config {
            cluster: "sim".into(),
            region: name.into(),
            peers,
            limits: self.limits.clone(),
            scores: self.scores,
            salt: 0,
        };
        let weight = store.key_count();
        let engine = Engine::new(config, region, trusted, incarnation, weight, now_of(self.now, skew));
        Node {
            name,
            engine,
            store,
            skew,
            asleep: 0,
            keeps,
            disk: Disk::default(),
            replica: None,
            purge: None,
            noted: Noted::default(),
            dropped: Vec::new(),
            trusted,
            confirmed: Confirmed::default(),
            outdated: false,
        }
    }

    /// What a server does once it writes: its AOF begins with what is there.
    fn begin_keeping(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let snapshot = Snapshot::of(node.engine.region(), &node.store);
        match node.keeps {
            Keeps::Nothing => {}
            Keeps::Snapshots => node.disk.save(snapshot),
            Keeps::Log => node.disk.rewrite(snapshot),
        }
        self.set_guard(at);
    }

    fn set_guard(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let guard = node.guard();
        node.engine.set_guard(guard);
        node.engine.set_logging(guard != Guard::VOLATILE);
        self.outputs(at, Vec::new());
    }

    /// `BGSAVE` or `BGREWRITEAOF`.
    pub fn save(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let snapshot = Snapshot::of(node.engine.region(), &node.store);
        match node.keeps {
            Keeps::Nothing => return,
            Keeps::Snapshots => node.disk.save(snapshot),
            Keeps::Log => {
                node.confirmed.disk = node.engine.seen().clone();
                node.disk.rewrite(snapshot);
                self.confirm(at);
            }
        }
        self.say(|| format!("{} saves", NAMES[at]));
    }

    pub fn sync(&mut self, at: usize) {
        if let Some(seen) = self.nodes[at]
            .disk
            .sync()
            .filter(|_| self.nodes[at].keeps == Keeps::Log)
        {
            self.nodes[at].confirmed.disk = seen;
            self.confirm(at);
        }
    }

    /// Attaches an in-region replica (a full sync).
    pub fn attach(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.replica.is_some() {
            return;
        }
        let snapshot = Snapshot::of(node.engine.region(), &node.store);
        node.confirmed.replica = node.engine.seen().clone();
        node.replica = Some(Replica::of(node.name, &snapshot));
        self.say(|| format!("{} has a replica", NAMES[at]));
        self.set_guard(at);
        self.confirm(at);
    }

    pub fn follow(&mut self, at: usize, most: usize) {
        let seen = self.nodes[at].replica.as_mut().and_then(|replica| replica.follow(most));
        if let Some(seen) = seen {
            self.nodes[at].confirmed.replica = seen;
            self.confirm(at);
        }
    }

    fn confirm(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if let Some(upto) = node.confirmed.by(node.guard()) {
            node.engine.confirm(&upto);
            let me = node.engine.state().me();
            self.promised.raise(me, upto.get(me));
        }
        self.outputs(at, Vec::new());
    }

    pub fn say(&self, text: impl FnOnce() -> String) {
        if self.trace {
            println!("{:6} {}", self.now, text());
        }
    }

    pub fn is_connected(&self, a: usize, b: usize) -> bool {
        self.pipes.iter().any(|pipe| pipe.ends == (a, b))
    }

    pub fn connect(&mut self, a: usize, b: usize) {
        if self.is_connected(a, b) {
            return;
        }
        self.next_link += 1;
        let id = LinkId(self.next_link);
        self.say(|| format!("link {} {} as {id:?}", NAMES[a], NAMES[b]));
        let slow = self.rng.random_bool(0.3);
        let delays = if slow {
            (40, self.rng.random_range(50..300))
        } else {
            (0, self.rng.random_range(1..30))
        };
        self.pipes.push(Pipe {
            id,
            ends: (a, b),
            wires: [Wire::new(), Wire::new()],
            delays,
        });
        for (at, other) in [(a, b), (b, a)] {
            let names = [NAMES[other].to_owned()];
            let dialed = (at == a).then_some(NAMES[other]);
            self.input(
                at,
                Input::Up {
                    link: id,
                    dialed,
                    certificate: &names,
                    address: "sim",
                },
            );
        }
    }

    pub fn cut(&mut self, at: usize) {
        if at >= self.pipes.len() {
            return;
        }
        let pipe = self.pipes.remove(at);
        self.say(|| format!("cut {} {}", NAMES[pipe.ends.0], NAMES[pipe.ends.1]));
        for end in [pipe.ends.0, pipe.ends.1] {
            self.input(
                end,
                Input::Down {
                    link: pipe.id,
                    reason: "cut",
                },
            );
        }
    }

    fn input(&mut self, at: usize, input: Input<'_>) {
        let mut out = Vec::new();
        let node = &mut self.nodes[at];
        node.engine.set_time(now_of(self.now, node.skew));
        node.engine.handle(input, &mut out);
        self.outputs(at, out);
    }

    pub fn step(&mut self, at: usize) -> bool {
        if self.nodes[at].asleep > self.now {
            return false;
        }
        let mut out = Vec::new();
        let node = &mut self.nodes[at];
        node.engine.set_time(now_of(self.now, node.skew));
        self.expire(at);
        if self.rng.random_bool(0.5) {
            self.ask_for_noted(at);
        }
        let purges = self.nodes[at].purge.is_some() && self.rng.random_bool(0.3);
        let purges = purges && self.purge_some(at);
        let node = &mut self.nodes[at];
        let before = self.trace.then(|| crate::run::dump(&node.store, &mut node.engine));
        let busy = self.during(at, |engine, store| engine.step(store, &mut out));
        let node = &mut self.nodes[at];
        if let Some(before) = before {
            let after = crate::run::dump(&node.store, &mut node.engine);
            if before != after {
                println!("{:6}   {} now {after}", self.now, node.name);
            }
        }
        self.outputs(at, out);
        busy || purges
    }

    /// Delivers the oldest frame of one direction, when it has arrived.
    pub fn deliver(&mut self, pipe: usize, direction: usize) -> bool {
        let Some(p) = self.pipes.get_mut(pipe) else {
            return false;
        };
        let to = if direction == 0 { p.ends.1 } else { p.ends.0 };
        if self.nodes[to].asleep > self.now || p.wires[direction].front().is_none_or(|(when, _)| *when > self.now) {
            return false;
        }
        let link = p.id;
        let Some((when, frame)) = p.wires[direction].pop_front() else {
            return false;
        };
        self.slowest = self.slowest.max(self.now - when);
        self.input(to, Input::Frame { link, frame: &frame });
        true
    }

    /// What the clock of a server says, Unix time in ms.
    fn wall(&self, at: usize) -> u64 {
        unix_millis(now_of(self.now, self.nodes[at].skew).wall)
    }

    pub fn outputs(&mut self, at: usize, out: Vec<Output>) {
        self.keep(at);
        for output in out {
            match output {
                Output::Send { links, frame } => links.iter().for_each(|link| self.transmit(at, *link, &frame)),
                Output::Close { link, .. } => {
                    if let Some(pipe) = self.pipes.iter().position(|p| p.id == link) {
                        self.close_after_flight(at, pipe);
                    }
                }
                Output::Established { .. } => {}
                Output::Log { text, .. } => self.logged(at, &text),
            }
        }
        let log = std::mem::take(&mut self.nodes[at].engine.state().history.log);
        self.note_extensions(at, &log);
        for op in &log {
            let effects = || brief(&format!("{:?}", op.effects));
            self.say(|| format!("{} issues {:?} {:?} {}", NAMES[at], op.dot, op.key, effects()));
        }
        self.issued.extend(log);
        if self.issued.len() > MOST_OPERATIONS {
            self.mishap
                .get_or_insert_with(|| "the regions write without end".into());
        }
    }

    /// Hands the log to the AOF and the replica.
    fn keep(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let log = node.engine.drain_log(<[u8]>::to_vec);
        if log.is_empty() {
            return;
        }
        let seen = node.engine.seen().clone();
        if node.keeps == Keeps::Log {
            node.disk.append(&log, seen.clone());
        }
        if let Some(replica) = &mut node.replica {
            replica.send(&log, seen);
        }
    }

    /// The goodbye arrives behind what was sent before: a refusal is read.
    fn close_after_flight(&mut self, at: usize, pipe: usize) {
        let p = &mut self.pipes[pipe];
        let direction = usize::from(p.ends.0 != at);
        let to = if direction == 0 { p.ends.1 } else { p.ends.0 };
        let (link, frames) = (p.id, std::mem::take(&mut p.wires[direction]));
        for (_, frame) in frames {
            self.input(to, Input::Frame { link, frame: &frame });
        }
        if let Some(pipe) = self.pipes.iter().position(|p| p.id == link) {
            self.cut(pipe);
        }
    }

    fn transmit(&mut self, at: usize, link: LinkId, frame: &[u8]) {
        let Some(pipe) = self.pipes.iter_mut().find(|p| p.id == link) else {
            return;
        };
        let when = self.now + self.rng.random_range(pipe.delays.0..=pipe.delays.1);
        let wire = &mut pipe.wires[usize::from(pipe.ends.0 != at)];
        // Links keep order.
        let when = wire.back().map_or(when, |(last, _)| when.max(*last));
        wire.push_back((when, frame.to_vec()));
    }

    fn logged(&mut self, at: usize, text: &str) {
        self.say(|| format!("{}: {text}", NAMES[at]));
        // A region that vouches for its past is never told that it does not fit.
        let unfit = self.nodes[at].trusted && text.contains("whose past ours does not fit");
        self.forced += u64::from(unfit || text.contains("was compacted by: adopting"));
        if [
            "whose past ours does not fit",
            "was compacted by: adopting",
            "our own data",
            "with our data",
        ]
        .iter()
        .any(|text_of| text.contains(text_of))
        {
            self.nodes[at].noted.all_unclear();
        }
        // Without a peer, in the middle of the adoption that an old backup forced on it: it has to adopt once more.
        self.restored += u64::from(self.nodes[at].outdated && text.contains("our own data"));
        if text.contains("adopting the state of") {
            self.nodes[at].dropped.clear();
        }
        if text.contains("starting the cluster with our data") {
            self.first_base(at);
        }
    }

    pub fn all_active(&self) -> bool {
        self.nodes
            .iter()
            .all(|node| node.engine.status().state == RegionState::Active)
    }

    pub fn seen(&mut self, at: usize) -> Vector {
        self.nodes[at].engine.state().seen().clone()
    }
}

impl Node {
    pub fn guard(&self) -> Guard {
        Guard {
            disk: self.keeps == Keeps::Log,
            replica: self.replica.is_some(),
        }
    }
}

fn now_of(now: u64, skew: i64) -> Now {
    let wall = (EPOCH * 1000).saturating_add_signed(now as i64 + skew);
    Now {
        mono: Duration::from_millis(now),
        wall: ntp64(Duration::from_millis(wall)),
    }
}
