//! One run of all pairs of a table, each on a key of its own.

use std::collections::BTreeMap;

use redis_geo::crdt::{Element, Kind, MemoryStore, OwnedValue, Store, Value};
use redis_geo::replication::Limits;

use super::Table;
use super::acts::{Client, PLACES, TTL, place};
use super::sketch::counted;
use crate::cluster::{Cluster, key, limits};

pub const EU: usize = 0;
pub const US: usize = 1;
/// It does nothing itself.
const AP: usize = 2;

/// Clocks differ by so many ms, too little to be corrected.
const AHEAD: i64 = 300;

/// How what was done reaches the others.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Road {
    /// Everybody hears of eu's acts, then of us's.
    EuFirst,
    UsFirst,
    /// The links were cut: transfers.
    Transfer,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Run {
    settled: bool,
    pub ahead: usize,
    road: Road,
}

/// By row and column of the table.
pub type Cells = BTreeMap<(usize, usize), String>;

pub fn runs() -> Vec<Run> {
    let roads = [Road::EuFirst, Road::UsFirst, Road::Transfer];
    let with = |settled, ahead| roads.map(|road| Run { settled, ahead, road });
    [with(true, EU), with(true, US), with(false, EU), with(false, US)].concat()
}

fn name(row: usize, column: usize) -> String {
    format!("{row}-{column}")
}

impl Table {
    /// How long after the acts the pair's key is due, in ms by a right clock. Where it is to expire in one region, the
    /// other acts before it is due there: a server whose clock is behind still has the key when it hears of that.
    fn due(&self, (row, column): (usize, usize), ahead: usize) -> Option<u64> {
        let expire = [self.acts[row].is_expiry(), self.acts[column].is_expiry()];
        match expire {
            [false, false] => self.expires.then_some(TTL * 1000),
            expire if expire[ahead] && !expire[1 - ahead] => Some(EXPIRES + AHEAD as u64 - 150),
            _ => Some(AHEAD as u64 + 100),
        }
    }

    /// What all regions show in the end, and already showed when they had heard of everything.
    pub fn run(&self, run: Run) -> Result<Cells, String> {
        let limits = Limits {
            slice_cells: 7,
            slice_bytes: 500,
            ..limits()
        };
        let mut cluster = Cluster::with_base(&["eu", "us", "ap"], &[], limits);
        cluster.skews[run.ahead] = AHEAD;
        let acted = cluster.wall(AP) + SETTLING + PAUSE;
        for pair in self.pairs() {
            let until = self.due(pair, run.ahead).map(|due| acted + due);
            client(&mut cluster, AP, pair, |client| client.start(&self.start, until));
        }
        self.spread(&mut cluster, run);
        assert_eq!(cluster.wall(AP), acted);
        part(&mut cluster, run.road);
        for (row, column) in self.pairs() {
            for (at, act) in [(EU, row), (US, column)] {
                client(&mut cluster, at, (row, column), |client| {
                    assert!(client.store.kind(key(client.name)).is_some(), "too late to act");
                    (self.acts[act].does)(client, at)
                });
            }
        }
        cluster.pass(EXPIRES);
        (0..3).for_each(|at| cluster.expire(at));
        self.has_expired(&mut cluster);
        let before = transfers(&cluster);
        meet(&mut cluster, run.road);
        assert_eq!(transfers(&cluster) > before, run.road == Road::Transfer);
        let early = self.read(&cluster, acted)?;
        cluster.rest();
        let end = self.read(&cluster, acted)?;
        match end.iter().find(|(pair, text)| early[*pair] != **text) {
            Some((pair, text)) => Err(format!("{}: first {}, then {text}", self.says(*pair), early[pair])),
            None => Ok(end),
        }
    }

    fn has_expired(&self, cluster: &mut Cluster) {
        for (row, column) in self.pairs() {
            for (at, act) in [(EU, row), (US, column)] {
                let held = cluster.nodes[at].store.kind(key(&name(row, column)));
                assert!(!self.acts[act].is_expiry() || held.is_none(), "it does not expire");
            }
        }
    }

    /// All regions come to know the start.
    fn spread(&self, cluster: &mut Cluster, run: Run) {
        cluster.exchange();
        if run.settled {
            cluster.settle((SETTLING / 1100) as usize);
        } else {
            cluster.pass(SETTLING);
        }
        cluster.pass(PAUSE);
        let cells: Vec<usize> = (0..3).map(|at| cluster.cells(at)).collect();
        assert_eq!(run.settled, cells == [0, 0, 0], "{cells:?}");
    }

    /// What all regions show.
    fn read(&self, cluster: &Cluster, acted: u64) -> Result<Cells, String> {
        let mut cells = Cells::new();
        for (row, column) in self.pairs() {
            let shown = |at: usize| shows(&cluster.nodes[at].store, &name(row, column));
            if shown(EU) != shown(US) || shown(EU) != shown(AP) {
                let says = [shown(EU), shown(US), shown(AP)];
                return Err(format!("{}: the regions differ: {says:?}", self.says((row, column))));
            }
            let parts: Vec<String> = shown(EU).into_iter().map(|shown| shown.say(acted)).collect();
            let text = if parts.is_empty() {
                "gone".to_owned()
            } else {
                parts.join("; ")
            };
            cells.insert((row, column), text);
        }
        Ok(cells)
    }
}

/// In ms: until a start has settled, then until the acts, then until keys expire.
const SETTLING: u64 = 3300;
const PAUSE: u64 = 900;
const EXPIRES: u64 = 700;

fn client(cluster: &mut Cluster, at: usize, (row, column): (usize, usize), does: impl FnOnce(&mut Client<'_>)) {
    let (name, now) = (name(row, column), cluster.wall(at));
    cluster.act(at, |engine, store| {
        let name = &name;
        does(&mut Client {
            engine,
            store,
            name,
            now,
        });
    });
}

fn transfers(cluster: &Cluster) -> u64 {
    let peers = |at: usize| cluster.nodes[at].engine.status().peers;
    (0..3).flat_map(peers).map(|peer| peer.transfers_sent).sum()
}

const PAIRS: [(usize, usize); 3] = [(EU, US), (EU, AP), (US, AP)];

/// From now on nobody hears of anybody.
fn part(cluster: &mut Cluster, road: Road) {
    for (a, b) in PAIRS {
        if road == Road::Transfer {
            cluster.cut(a, b);
        } else {
            cluster.hold(a, b);
            cluster.hold(b, a);
        }
    }
}

fn meet(cluster: &mut Cluster, road: Road) {
    let order = match road {
        Road::Transfer => {
            cluster.connect_all();
            return cluster.exchange();
        }
        Road::EuFirst => [EU, US, AP],
        Road::UsFirst => [US, EU, AP],
    };
    for from in order {
        (0..3).filter(|to| *to != from).for_each(|to| cluster.release(from, to));
        cluster.exchange();
    }
}

#[derive(PartialEq, Debug)]
struct Shown {
    /// Of [`PLACES`].
    place: &'static str,
    value: String,
    deadline: Option<u64>,
}

impl Shown {
    /// With the time to live that the key had when the acts were done.
    fn say(&self, acted: u64) -> String {
        let place = match self.place {
            "" => String::new(),
            place => format!("{place}: "),
        };
        let ttl = self.deadline.map_or(String::new(), |at| {
            format!(", TTL {}", (at.saturating_sub(acted) + 500) / 1000)
        });
        format!("{place}{}{ttl}", self.value)
    }
}

/// What a pair's keys show.
fn shows(store: &MemoryStore, name: &str) -> Vec<Shown> {
    let mut store = store.clone();
    let mut all = Vec::new();
    for (at, place_name) in PLACES.into_iter().enumerate() {
        let name = place(name, at);
        let name = key(&name);
        let mut elements = Vec::new();
        store.elements(name, &mut |element, value| elements.push(says(element, value)));
        if !elements.is_empty() {
            let value = format!("`{}`", elements.join(" "));
            let deadline = store.deadline(name);
            all.push(Shown {
                place: place_name,
                value,
                deadline,
            });
        }
    }
    all
}

fn says(element: Element<'_>, value: Value<'_>) -> String {
    let text = |bytes: &[u8]| counted(bytes).unwrap_or_else(|| String::from_utf8_lossy(bytes).into_owned());
    let name = text(element.name);
    match value.to_owned() {
        OwnedValue::Bytes(bytes) if element.kind == Kind::String => text(&bytes),
        OwnedValue::Bytes(bytes) => format!("{name}={}", text(&bytes)),
        OwnedValue::Score(score) => format!("{name}:{}", score.get()),
        OwnedValue::Member | OwnedValue::Deadline(_) => name,
        OwnedValue::Lost => panic!("the keyspace holds what is not there"),
    }
}
