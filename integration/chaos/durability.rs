//! What a region loses when its primary dies under load, by configuration: at first, from its own files or replica, and
//! in the end, when its peer has given back what it had.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use redis::Connection;
use redis_geo::lab::fleet::{Fleet, Plan};
use redis_geo::lab::relay::Conditions;
use redis_geo::lab::status::Fields;
use redis_geo::lab::wait_for;

use crate::operator::{Result, replicate};
use crate::place::Place;

const PATIENCE: Duration = Duration::from_secs(120);
/// One way, between the regions: what is on its way when the server dies is lost with it.
const DELAY: Duration = Duration::from_millis(20);
/// Acknowledged writes before the primary dies.
const WRITES: usize = 2_000;
const CLIENTS: usize = 4;
const SET: &str = "writes";

/// How the primary ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// SIGKILL: the kernel still writes what the process has handed over.
    Kill,
    /// Files are left as they were last synced.
    PowerCut,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Configuration {
    /// `appendfsync`; `None`: no append-only file.
    pub fsync: Option<&'static str>,
    /// There is a replica, which is promoted.
    pub replica: bool,
    pub death: Death,
}

impl Configuration {
    pub fn all() -> impl Iterator<Item = Configuration> {
        let policies = [None, Some("no"), Some("everysec"), Some("always")];
        let alone = policies.into_iter().flat_map(|fsync| {
            [Death::Kill, Death::PowerCut].map(|death| Configuration {
                fsync,
                replica: false,
                death,
            })
        });
        let promoted = policies.into_iter().map(|fsync| Configuration {
            fsync,
            replica: true,
            death: Death::PowerCut,
        });
        alone.chain(promoted)
    }

    fn lines(self) -> Vec<String> {
        self.fsync.map_or_else(Vec::new, |policy| {
            vec!["appendonly yes".into(), format!("appendfsync {policy}")]
        })
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self
            .fsync
            .map_or("no files".into(), |policy| format!("appendfsync {policy}"));
        let replica = if self.replica { "promoted" } else { "none" };
        let death = if self.death == Death::Kill {
            "killed"
        } else {
            "power cut"
        };
        write!(f, "| {files} | {replica} | {death} |")
    }
}

/// Sums over all deaths.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    /// What `GEO.STATUS` called `durability` before the primary died.
    pub level: String,
    pub acknowledged: usize,
    /// Not there when the region came back, cut off from its peer.
    pub at_first: usize,
    /// Not there when all was well again, in any region.
    pub in_the_end: usize,
}

/// Lets the primary die `deaths` times.
pub fn measure(configuration: Configuration, deaths: usize) -> Result<Losses> {
    let mut sum = Losses::default();
    for _ in 0..deaths {
        let losses = Scene::start(configuration)?.die()?;
        sum.level = losses.level;
        sum.acknowledged += losses.acknowledged;
        sum.at_first += losses.at_first;
        sum.in_the_end += losses.in_the_end;
    }
    Ok(sum)
}

/// A region that is about to lose its primary, and its peer.
struct Scene {
    configuration: Configuration,
    fleet: Fleet,
    places: Vec<Vec<Place>>,
}

impl Scene {
    fn start(configuration: Configuration) -> Result<Scene> {
        let plan = |name: &str, nodes| Plan {
            name: name.into(),
            nodes,
            told: nodes,
            lines: configuration.lines(),
        };
        let plans = [plan("eu", 1 + usize::from(configuration.replica)), plan("us", 1)];
        let fleet = Fleet::start(&redis_geo::lab::module::built(), &plans, 1)?;
        fleet.link(0, 1).set(Conditions {
            delay: DELAY,
            ..Conditions::PERFECT
        });
        let places = Place::all(&fleet);
        let scene = Scene {
            configuration,
            fleet,
            places,
        };
        scene.await_active(0)?;
        if configuration.replica {
            scene.await_replica()?;
        }
        Ok(scene)
    }

    /// Waits until the replica has acknowledged a write: with its first acknowledgement its primary begins to stream.
    fn await_replica(&self) -> Result<()> {
        let place = &self.places[0][0];
        let acknowledged = || {
            let mut write = redis::pipe();
            write
                .cmd("GEO.SET")
                .arg("ready")
                .arg(1)
                .ignore()
                .cmd("WAIT")
                .arg(1)
                .arg(1000);
            let (replicas,): (usize,) = write.query(&mut place.connect().ok()?).ok()?;
            let status = Fields::of(&mut place.connect().ok()?).ok()?;
            (replicas > 0 && status.text("durability").contains("replica")).then_some(())
        };
        Ok(wait_for("the replica", PATIENCE, acknowledged)?)
    }

    fn await_active(&self, node: usize) -> Result<()> {
        let place = &self.places[0][node];
        let active = || {
            let status = Fields::of(&mut place.connect().ok()?).ok()?;
            let up = status.peer("us")?.text("state") == "up";
            (up && status.text("state") == "active").then_some(())
        };
        Ok(wait_for("the region to be active", PATIENCE, active)?)
    }

    fn die(mut self) -> Result<Losses> {
        let level = Fields::of(&mut self.places[0][0].connect()?)?
            .text("durability")
            .to_string();
        let acknowledged = self.load_and_kill()?;
        let peer = self.places[1][0].clone();
        // What was sent is allowed to arrive: whatever is on its way has when nothing is new for four times the way.
        let mut before = BTreeSet::new();
        wait_for("the peer to have applied what arrived", PATIENCE, || {
            thread::sleep(4 * DELAY);
            let now = members(&mut peer.connect().ok()?)?;
            let still = now == before;
            before = now;
            still.then_some(())
        })?;
        self.fleet.link(0, 1).cut();
        let node = usize::from(self.configuration.replica);
        if self.configuration.replica {
            replicate(&self.places[0][node], None)?;
        } else {
            self.fleet.node(0, 0).restart(None)?;
        }
        let own = self.places[0][node].clone();
        let at_first = wait_for("the region's data", PATIENCE, || members(&mut own.connect().ok()?))?;
        self.fleet.link(0, 1).heal();
        self.await_active(node)?;
        let mut in_the_end = BTreeSet::new();
        wait_for("equal data", PATIENCE, || {
            in_the_end = members(&mut own.connect().ok()?)?;
            (members(&mut peer.connect().ok()?)? == in_the_end).then_some(())
        })?;
        Ok(Losses {
            level,
            acknowledged: acknowledged.len(),
            at_first: acknowledged.difference(&at_first).count(),
            in_the_end: acknowledged.difference(&in_the_end).count(),
        })
    }

    /// Writes until enough is acknowledged, and ends the primary in the middle of it. Gives what was acknowledged.
    fn load_and_kill(&mut self) -> Result<BTreeSet<String>> {
        let (done, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (place, done, stop) = (self.places[0][0].clone(), done.clone(), stop.clone());
                thread::spawn(move || write(&place, client, &done, &stop))
            })
            .collect();
        let enough = wait_for("enough writes", PATIENCE, || {
            (done.load(Ordering::Relaxed) >= WRITES).then_some(())
        });
        match self.configuration.death {
            Death::Kill => self.fleet.node(0, 0).server.kill(),
            Death::PowerCut => self.fleet.node(0, 0).cut_power()?,
        }
        stop.store(true, Ordering::Relaxed);
        enough?;
        let members = clients
            .into_iter()
            .map(|client| client.join().map_err(|_| "a client failed"));
        Ok(members
            .collect::<std::result::Result<Vec<_>, _>>()?
            .into_iter()
            .flatten()
            .collect())
    }
}

/// Adds members until the server is gone. Gives those that were acknowledged.
fn write(place: &Place, client: usize, done: &AtomicUsize, stop: &AtomicBool) -> Vec<String> {
    let Ok(mut connection) = place.connect() else {
        return Vec::new();
    };
    let mut acknowledged = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let member = format!("{client}-{}", acknowledged.len());
        if redis::cmd("GEO.SADD")
            .arg(SET)
            .arg(&member)
            .query::<i64>(&mut connection)
            .is_err()
        {
            break;
        }
        acknowledged.push(member);
        done.fetch_add(1, Ordering::Relaxed);
    }
    acknowledged
}

fn members(connection: &mut Connection) -> Option<BTreeSet<String>> {
    redis::cmd("SMEMBERS").arg(SET).query(connection).ok()
}
