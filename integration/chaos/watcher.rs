//! Watchers: each looks at one server again and again, and marks what its primary has written.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use redis::{Connection, RedisResult};
use redis_geo::lab::status::Fields;

use crate::client::Clock;
use crate::history::{Beacon, Life, Sighting};
use crate::place::{Place, text};

/// Between two looks: often enough to see every primary, seldom enough not to be its load.
const PACE: Duration = Duration::from_millis(100);

/// The lives that have written beacons.
pub type Writers = Arc<Mutex<Vec<Arc<Life>>>>;

/// What a watcher saw and wrote.
#[derive(Default)]
pub struct Record {
    pub sightings: Vec<Sighting>,
    pub beacons: Vec<Beacon>,
}

pub struct Watcher {
    place: Place,
    clock: Arc<Clock>,
    writers: Writers,
    /// The newest beacon of each life that was written here.
    numbers: BTreeMap<Arc<Life>, u64>,
    pub record: Record,
}

impl Watcher {
    pub fn new(place: Place, clock: Arc<Clock>, writers: Writers) -> Watcher {
        Watcher {
            place,
            clock,
            writers,
            numbers: BTreeMap::new(),
            record: Record::default(),
        }
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Watches until the clock is stopped.
    pub fn start(mut self) -> JoinHandle<Watcher> {
        thread::spawn(move || {
            while !self.clock.stopped() {
                let connected = self.place.connect();
                let _ = connected.and_then(|mut connection| self.watch(&mut connection));
                thread::sleep(PACE);
            }
            self
        })
    }

    fn watch(&mut self, connection: &mut Connection) -> RedisResult<()> {
        while !self.clock.stopped() {
            if self.look(connection)?.primary {
                self.mark(connection)?;
            }
            thread::sleep(PACE);
        }
        Ok(())
    }

    /// Looks at the server once.
    pub fn look(&mut self, connection: &mut Connection) -> RedisResult<Sighting> {
        let writers = self.writers.lock().expect("no watcher panics").clone();
        let mut read = redis::pipe();
        read.cmd("GEO.STATUS");
        for life in &writers {
            read.cmd("GET").arg(key(life));
        }
        let (identity, shown) = self.place.identify(connection, read)?;
        let numbered = writers.into_iter().zip(&shown[1..]);
        let beacons = numbered.filter_map(|(life, shown)| Some((life, text(shown).parse().ok()?)));
        let sighting = Sighting {
            life: identity.life,
            continues: identity.continues,
            primary: identity.primary,
            transfers: transfers(&Fields::read(&shown[0])?),
            seen: self.clock.now(),
            beacons: beacons.collect(),
        };
        self.record.sightings.push(sighting.clone());
        Ok(sighting)
    }

    /// Writes a beacon, unless the region is recovering: what it took meanwhile is re-issued in no particular order.
    /// False when it was not written.
    pub fn mark(&mut self, connection: &mut Connection) -> RedisResult<bool> {
        if Fields::of(connection)?.text("state") != "active" {
            return Ok(false);
        }
        let (identity, _) = self.place.identify(connection, redis::pipe())?;
        let life = identity.life;
        let number = self.numbers.get(&life).map_or(1, |number| number + 1);
        // An unanswered write may have happened: its number is not used again.
        self.numbers.insert(life.clone(), number);
        let sent = self.clock.now();
        let mut write = redis::pipe();
        write.cmd("GEO.SET").arg(key(&life)).arg(number);
        let (meanwhile, _) = self.place.identify(connection, write)?;
        if meanwhile.life != life {
            return Ok(false);
        }
        let mut writers = self.writers.lock().expect("no watcher panics");
        if !writers.contains(&life) {
            writers.push(life.clone());
        }
        drop(writers);
        self.record.beacons.push(Beacon { life, number, sent });
        Ok(true)
    }
}

/// Complete transfers, unless one is being received.
fn transfers(status: &Fields) -> Option<u64> {
    let peers = status.peers();
    let receiving = peers
        .iter()
        .any(|(_, peer)| ["receiving", "both"].contains(&peer.text("transfer")));
    let received = peers.iter().filter_map(|(_, peer)| peer.number("transfers_received"));
    (status.text("state") == "active" && !receiving).then(|| received.sum::<i64>() as u64)
}

fn key(life: &Life) -> String {
    format!("beacon:{}:{}:{}", life.node, life.process, life.history)
}
