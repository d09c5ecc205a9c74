//! Regions, links whose directions can be held, and a clock that moves only when told to.

mod clients;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use redis_geo::crdt::{
    Before, Element, KeyRef, Kind, MemoryStore, MemoryValue, Native, Number, OwnedValue, ScoreRule, Store, Value, ntp64,
};
use redis_geo::replication::wire::tag;
use redis_geo::replication::{Change, Config, Engine, Input, Limits, LinkId, Loader, Now, Output, Region, RegionState};

use crate::passing::Passing;

pub struct Node {
    pub engine: Engine,
    pub store: MemoryStore,
    incarnation: u64,
    pub log: Vec<String>,
}

struct Link {
    id: LinkId,
    ends: (usize, usize),
    /// From the first end, from the second.
    wires: [VecDeque<Vec<u8>>; 2],
}

/// Pieces of a region's memory, and its values.
pub type Saved = (Vec<Vec<u8>>, MemoryStore);

pub struct Cluster {
    names: Vec<&'static str>,
    pub nodes: Vec<Node>,
    links: Vec<Link>,
    held: BTreeSet<(usize, usize)>,
    limits: Limits,
    /// By how much the regions' clocks are ahead, in ms.
    pub skews: Vec<i64>,
    /// What concurrent scores merge to in each region, from its next start on.
    pub scores: Vec<ScoreRule>,
    /// Keys expire no sooner than something looks at them.
    pub lazy: bool,
    /// Bytes of the largest frame that was sent.
    pub largest: usize,
    /// Milliseconds.
    now: u64,
    next_link: u64,
}

/// Headers are sent exactly when the clock is moved by [`Cluster::settle`], relays never.
pub fn limits() -> Limits {
    Limits {
        heartbeat: Duration::from_secs(1),
        acknowledge: Duration::from_secs(1),
        relay_delay: Duration::from_secs(1 << 30),
        slice_cells: 1,
        slice_bytes: 1,
        ..Limits::default()
    }
}

pub fn key(name: &str) -> KeyRef<'_> {
    KeyRef {
        db: 0,
        name: name.as_bytes(),
    }
}

/// The data in readable form: a string as it is, a set in braces.
pub type Data = BTreeMap<String, String>;

pub fn data(entries: &[(&str, &str)]) -> Data {
    entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

impl Cluster {
    /// Regions that are not connected yet, each with some strings to begin with.
    pub fn blank(regions: &[(&'static str, &[&str])], limits: Limits) -> Cluster {
        let names = regions.iter().map(|(name, _)| *name).collect();
        let mut cluster = Cluster {
            names,
            nodes: Vec::new(),
            links: Vec::new(),
            held: BTreeSet::new(),
            limits,
            skews: vec![0; regions.len()],
            scores: vec![ScoreRule::default(); regions.len()],
            lazy: false,
            largest: 0,
            now: 1000,
            next_link: 0,
        };
        for (at, (_, keys)) in regions.iter().enumerate() {
            let mut store = MemoryStore::default();
            for name in *keys {
                store.write(key(name), Element::STRING, Some(Value::Bytes(b"base")));
            }
            let engine = cluster.engine(at, 1, keys.len() as u64);
            cluster.nodes.push(Node {
                engine,
                store,
                incarnation: 1,
                log: Vec::new(),
            });
        }
        cluster
    }

    /// Regions that are connected, active and without data but for the strings of the first.
    pub fn with_base(names: &[&'static str], base: &[&str], limits: Limits) -> Cluster {
        let regions: Vec<(&'static str, &[&str])> = names
            .iter()
            .enumerate()
            .map(|(at, name)| (*name, if at == 0 { base } else { &[] }))
            .collect();
        let mut cluster = Cluster::blank(&regions, limits);
        cluster.begin();
        cluster
    }

    /// Regions that are connected, active and without data, and merge scores by this rule.
    pub fn ruled(names: &[&'static str], scores: ScoreRule) -> Cluster {
        let regions: Vec<(&'static str, &[&str])> = names.iter().map(|name| (*name, &[][..])).collect();
        let mut cluster = Cluster::blank(&regions, limits());
        cluster.scores = vec![scores; names.len()];
        (0..names.len()).for_each(|at| cluster.crash(at));
        cluster.begin();
        cluster
    }

    fn begin(&mut self) {
        // An election may end a link: links are dialed again, as the transport does.
        for _ in 0..3 {
            self.connect_all();
            self.settle(10);
        }
        assert!(self.all_active(), "the cluster does not start");
    }

    pub fn new(names: &[&'static str]) -> Cluster {
        Cluster::with_base(names, &[], limits())
    }

    fn engine(&self, at: usize, incarnation: u64, weight: u64) -> Engine {
        self.engine_of(at, None, false, incarnation, weight)
    }

    fn engine_of(&self, at: usize, region: Option<Region>, trusted: bool, incarnation: u64, weight: u64) -> Engine {
        let peers = self.names.iter().enumerate().filter(|(other, _)| *other != at);
        let peers = peers.map(|(_, name)| (*name).to_owned()).collect();
        let (name, limits) = (self.names[at].to_owned(), self.limits.clone());
        Engine::new(
            Config {
                cluster: "c".into(),
                region: name,
                peers,
                limits,
                scores: self.scores[at],
                salt: 0,
            },
            region,
            trusted,
            incarnation,
            weight,
            self.time(at),
        )
    }

    pub fn time(&self, at: usize) -> Now {
        Now {
            mono: Duration::from_millis(self.now),
            wall: ntp64(Duration::from_millis(self.wall(at))),
        }
    }

    /// What a region's clock says, Unix time in ms.
    pub fn wall(&self, at: usize) -> u64 {
        (1_700_000_000_000 + self.now).saturating_add_signed(self.skews[at])
    }

    /// Time passes while nobody works.
    pub fn pass(&mut self, millis: u64) {
        self.now += millis;
    }

    /// Lets clocks move, too little for a header.
    pub fn tick(&mut self) {
        self.now += 5;
    }

    pub fn all_active(&self) -> bool {
        self.nodes
            .iter()
            .all(|node| node.engine.status().state == RegionState::Active)
    }

    /// Sudden death: everything is forgotten.
    pub fn crash(&mut self, at: usize) {
        (0..self.nodes.len()).for_each(|other| self.cut(at, other));
        let incarnation = self.nodes[at].incarnation + 1;
        let engine = self.engine(at, incarnation, 0);
        let log = std::mem::take(&mut self.nodes[at].log);
        self.nodes[at] = Node {
            engine,
            store: MemoryStore::default(),
            incarnation,
            log,
        };
    }

    /// What a region saves.
    pub fn save(&mut self, at: usize) -> Saved {
        let mut pieces = Vec::new();
        let node = &self.nodes[at];
        node.engine.region().save(&mut |piece| pieces.push(piece.to_vec()));
        (pieces, node.store.clone())
    }

    /// Sudden death, and a start with what was saved. `trusted`: acknowledgements waited for that.
    pub fn restart(&mut self, at: usize, (pieces, store): &Saved, trusted: bool) {
        self.crash(at);
        let mut loader = Loader::new(self.names[at], Duration::from_secs(60));
        for piece in pieces {
            loader.piece(piece).expect("what was saved loads");
        }
        let region = loader.finish().expect("all pieces were given");
        let incarnation = self.nodes[at].incarnation;
        self.nodes[at].engine = self.engine_of(at, Some(region), trusted, incarnation, 0);
        self.nodes[at].store = store.clone();
    }

    /// Lets a region work while time goes by.
    pub fn wait(&mut self, at: usize, millis: u64) {
        for _ in 0..millis / 50 {
            self.now += 50;
            self.step(at);
        }
    }

    fn input(&mut self, at: usize, input: Input<'_>) {
        let (time, mut out) = (self.time(at), Vec::new());
        self.nodes[at].engine.set_time(time);
        self.nodes[at].engine.handle(input, &mut out);
        self.outputs(at, out);
    }

    fn outputs(&mut self, at: usize, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Send { links, frame } => {
                    self.largest = self.largest.max(frame.len());
                    for link in self.links.iter_mut().filter(|link| links.contains(&link.id)) {
                        link.wires[usize::from(link.ends.0 != at)].push_back(frame.to_vec());
                    }
                }
                Output::Close { link, .. } => self.close_after_flight(at, link),
                Output::Established { .. } => {}
                Output::Log { text, .. } => self.nodes[at].log.push(text),
            }
        }
    }

    /// The goodbye arrives behind what was sent before it: a hello and a refusal are read.
    fn close_after_flight(&mut self, at: usize, id: LinkId) {
        let Some(link) = self.links.iter_mut().find(|link| link.id == id) else {
            return;
        };
        let (first, second) = link.ends;
        let frames = std::mem::take(&mut link.wires[usize::from(first != at)]);
        let to = if first == at { second } else { first };
        if !self.held.contains(&(at, to)) {
            for frame in frames {
                self.input(
                    to,
                    Input::Frame {
                        link: id,
                        frame: &frame,
                    },
                );
            }
        }
        self.drop_link(id);
    }

    fn drop_link(&mut self, id: LinkId) {
        let Some(place) = self.links.iter().position(|link| link.id == id) else {
            return;
        };
        let link = self.links.remove(place);
        for end in [link.ends.0, link.ends.1] {
            self.input(
                end,
                Input::Down {
                    link: id,
                    reason: "cut",
                },
            );
        }
    }

    fn find(&self, a: usize, b: usize) -> Option<usize> {
        let ends = (a.min(b), a.max(b));
        self.links.iter().position(|link| link.ends == ends)
    }

    pub fn connect(&mut self, a: usize, b: usize) {
        let ends = (a.min(b), a.max(b));
        if self.find(a, b).is_some() {
            return;
        }
        self.next_link += 1;
        let id = LinkId(self.next_link);
        self.links.push(Link {
            id,
            ends,
            wires: Default::default(),
        });
        for (at, other) in [ends, (ends.1, ends.0)] {
            let peer = self.names[other];
            let dialed = (at == ends.0).then_some(peer);
            self.input(
                at,
                Input::Up {
                    link: id,
                    dialed,
                    certificate: &[peer.to_owned()],
                    address: "here",
                },
            );
        }
    }

    pub fn connect_all(&mut self) {
        let count = self.nodes.len();
        (0..count).for_each(|a| (a + 1..count).for_each(|b| self.connect(a, b)));
    }

    /// Connects and delivers the handshake, nothing more.
    pub fn meet(&mut self, a: usize, b: usize) {
        self.connect(a, b);
        for which in [tag::HELLO, tag::ACCEPT] {
            self.deliver_through(a, b, which);
            self.deliver_through(b, a, which);
        }
    }

    /// `to` asks `from` for its state, and gets it through the first word of this kind.
    pub fn adopt_through(&mut self, from: usize, to: usize, which: u8) {
        self.meet(from, to);
        self.work(to);
        self.deliver_through(to, from, tag::REQUEST);
        self.work(from);
        self.deliver_through(from, to, which);
        self.work(to);
    }

    pub fn cut(&mut self, a: usize, b: usize) {
        if let Some(at) = self.find(a, b) {
            self.drop_link(self.links[at].id);
        }
    }

    /// From now on only [`Cluster::deliver_through`] moves frames this way.
    pub fn hold(&mut self, from: usize, to: usize) {
        self.held.insert((from, to));
    }

    pub fn release(&mut self, from: usize, to: usize) {
        self.held.remove(&(from, to));
    }

    /// One frame; gives its tag.
    pub fn deliver(&mut self, from: usize, to: usize) -> Option<u8> {
        let at = self.find(from, to)?;
        let link = &mut self.links[at];
        let (id, frame) = (link.id, link.wires[usize::from(link.ends.0 != from)].pop_front()?);
        self.input(
            to,
            Input::Frame {
                link: id,
                frame: &frame,
            },
        );
        frame.first().copied()
    }

    /// Delivers frames up to and with the first of this kind, held or not.
    pub fn deliver_through(&mut self, from: usize, to: usize, which: u8) {
        while let Some(tag) = self.deliver(from, to) {
            if tag == which {
                return;
            }
        }
        panic!(
            "no frame with tag {which} from {} to {}",
            self.names[from], self.names[to]
        );
    }

    /// What is due expires, as a server does it by itself.
    pub fn expire(&mut self, at: usize) {
        let now = self.wall(at);
        let due = self.nodes[at].store.expire(now);
        if due.is_empty() {
            return;
        }
        self.act(at, |engine, _| {
            for (db, name) in &due {
                engine.record(KeyRef { db: *db, name }, None, Change::expired(now));
            }
        });
    }

    /// One turn of a region: what its clients do, then the end of the turn.
    pub fn act(&mut self, at: usize, act: impl FnOnce(&mut Engine, &mut MemoryStore)) {
        let (time, mut out) = (self.time(at), Vec::new());
        let node = &mut self.nodes[at];
        node.engine.set_time(time);
        act(&mut node.engine, &mut node.store);
        node.engine.flush(&mut out);
        self.outputs(at, out);
    }

    /// The engine is at work on the keyspace.
    pub fn during<T>(&mut self, at: usize, act: impl FnOnce(&mut Engine, &mut dyn Store) -> T) -> T {
        let (time, now) = (self.time(at), self.wall(at));
        let node = &mut self.nodes[at];
        node.engine.set_time(time);
        if !self.lazy {
            return act(&mut node.engine, &mut node.store);
        }
        let mut passing = Passing::new(&mut node.store, None, now);
        let done = act(&mut node.engine, &mut passing);
        passing.tell(&mut node.engine);
        assert_eq!(passing.mishap, None);
        done
    }

    pub fn step(&mut self, at: usize) -> bool {
        if !self.lazy {
            self.expire(at);
        }
        let mut out = Vec::new();
        let busy = self.during(at, |engine, store| engine.step(store, &mut out));
        let quiet = out.is_empty();
        self.outputs(at, out);
        busy || !quiet
    }

    /// Lets a region do all it can.
    pub fn work(&mut self, at: usize) {
        (0..200).any(|_| !self.step(at));
    }

    /// Delivers and works until nothing moves; time stands still, so nothing is acknowledged.
    pub fn exchange(&mut self) {
        for _ in 0..100 {
            let mut moved = false;
            let count = self.nodes.len();
            for from in 0..count {
                for to in (0..count).filter(|to| *to != from) {
                    while !self.held.contains(&(from, to)) && self.deliver(from, to).is_some() {
                        moved = true;
                    }
                }
                self.work(from);
            }
            if !moved && !self.is_under_way() {
                return;
            }
        }
    }

    /// Whether a frame is on a wire that nobody holds.
    fn is_under_way(&self) -> bool {
        self.links.iter().any(|link| {
            [(link.ends.0, link.ends.1), (link.ends.1, link.ends.0)]
                .iter()
                .zip(&link.wires)
                .any(|(ends, wire)| !wire.is_empty() && !self.held.contains(ends))
        })
    }

    /// Time passes: everyone acknowledges, once per round.
    pub fn settle(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.now += 1100;
            (0..self.nodes.len()).for_each(|at| self.work(at));
            self.exchange();
        }
    }

    /// Connects everyone anew and lets time pass. The regions must then show this, each without having been forced to
    /// give anything up.
    pub fn finish(mut self, expected: &Data) -> Result<(), String> {
        self.rest();
        self.is(expected)?;
        for (name, node) in self.names.iter().zip(&self.nodes) {
            let forced = |text: &&String| text.contains("compacted by");
            if let Some(text) = node.log.iter().find(forced) {
                return Err(format!("{name}: {text}"));
            }
        }
        Ok(())
    }

    pub fn rest(&mut self) {
        self.held.clear();
        self.exchange();
        let count = self.nodes.len();
        (0..count).for_each(|a| (0..count).for_each(|b| self.cut(a, b)));
        for _ in 0..10 {
            self.connect_all();
            self.settle(4);
        }
    }

    pub fn is(&self, expected: &Data) -> Result<(), String> {
        if !self.all_active() {
            return Err("not every region is active".into());
        }
        for at in 0..self.nodes.len() {
            let found = self.data(at);
            if found != *expected {
                return Err(format!("{} shows {found:?} instead of {expected:?}", self.names[at]));
            }
        }
        Ok(())
    }

    pub fn data(&self, at: usize) -> Data {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let value = |value: &MemoryValue| match value {
            MemoryValue::String(bytes) => text(bytes),
            MemoryValue::Set(members) => {
                let members: Vec<String> = members.iter().map(|member| text(member)).collect();
                format!("{{{}}}", members.join(" "))
            }
            MemoryValue::Hash(fields) => {
                let fields: Vec<String> = fields.iter().map(|(f, v)| format!("{}={}", text(f), text(v))).collect();
                format!("{{{}}}", fields.join(" "))
            }
            MemoryValue::Zset(scores) => {
                let scores: Vec<String> = scores.iter().map(|(m, s)| format!("{}:{}", text(m), s.get())).collect();
                format!("{{{}}}", scores.join(" "))
            }
        };
        self.nodes[at]
            .store
            .keys()
            .iter()
            .map(|(key, held)| (text(&key.1), value(held)))
            .collect()
    }

    pub fn cells(&mut self, at: usize) -> usize {
        self.nodes[at].engine.state().index().cell_count()
    }

    /// A first frame by hand, on a link of its own that was dialed.
    pub fn stray(&mut self, at: usize, from: usize, frame: &[u8]) {
        self.next_link += 1;
        let link = LinkId(self.next_link);
        let names = [self.names[from].to_owned()];
        self.input(
            at,
            Input::Up {
                link,
                dialed: Some(self.names[from]),
                certificate: &names,
                address: "elsewhere",
            },
        );
        self.input(at, Input::Frame { link, frame });
    }
}
