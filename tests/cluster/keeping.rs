//! What a region keeps beside its primary: an RDB now and then, an AOF, an in-region replica.

use std::collections::VecDeque;
use std::time::Duration;

use redis_geo::crdt::history::History;
use redis_geo::crdt::{MemoryStore, ScoreRule, Vector};
use redis_geo::replication::{Guard, Loader, Region};

/// What survives the death of a region's primary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keeps {
    Nothing,
    /// Snapshots of any age.
    Snapshots,
    /// Every operation, once it is fsynced.
    Log,
}

const DRIFT: Duration = Duration::from_secs(60);

/// An RDB. What cells include is the specification's, and not in the file.
#[derive(Clone)]
pub struct Snapshot {
    pieces: Vec<Vec<u8>>,
    store: MemoryStore,
    history: History,
    /// A setting, given again whenever a server starts.
    scores: ScoreRule,
}

impl Snapshot {
    pub fn of(region: &Region, store: &MemoryStore) -> Snapshot {
        let mut pieces = Vec::new();
        region.save(&mut |piece| pieces.push(piece.to_vec()));
        let mut history = region.history().clone();
        history.log.clear();
        Snapshot {
            pieces,
            store: store.clone(),
            history,
            scores: region.state().scores,
        }
    }

    pub fn load(&self, name: &str) -> (Region, MemoryStore) {
        let mut loader = Loader::new(name, DRIFT).merging(self.scores);
        for (at, piece) in self.pieces.iter().enumerate() {
            let last = loader.piece(piece).expect("what was saved loads");
            assert_eq!(last, at + 1 == self.pieces.len());
        }
        let mut region = loader.finish().expect("all pieces were given");
        region.set_history(self.history.clone());
        (region, self.store.clone())
    }
}

/// A log entry and what its author had seen after it.
#[derive(Clone)]
struct Entry {
    log: Vec<u8>,
    seen: Vector,
}

/// A primary's files.
#[derive(Default)]
pub struct Disk {
    snapshots: Vec<Snapshot>,
    /// The AOF: what it begins with, and what came after.
    base: Option<Snapshot>,
    log: Vec<Entry>,
    synced: usize,
}

impl Disk {
    pub fn save(&mut self, snapshot: Snapshot) {
        self.snapshots.push(snapshot);
    }

    /// `BGREWRITEAOF`.
    pub fn rewrite(&mut self, snapshot: Snapshot) {
        self.snapshots.push(snapshot.clone());
        *self = Disk {
            snapshots: std::mem::take(&mut self.snapshots),
            base: Some(snapshot),
            ..Disk::default()
        };
    }

    pub fn append(&mut self, log: &[u8], seen: Vector) {
        let log = log.to_vec();
        self.log.push(Entry { log, seen });
    }

    /// What the AOF now holds for good.
    pub fn sync(&mut self) -> Option<Vector> {
        self.synced = self.log.len();
        self.log.last().map(|entry| entry.seen.clone())
    }

    pub fn snapshot(&self, at: usize) -> Option<&Snapshot> {
        self.snapshots.get(at)
    }

    pub fn snapshots(&self) -> usize {
        self.snapshots.len()
    }

    /// What can be replayed: what was fsynced, and `more` of what was not.
    pub fn replay(&self, name: &str, more: usize) -> Option<(Region, MemoryStore)> {
        let (mut region, mut store) = self.base.as_ref()?.load(name);
        for entry in self.log.iter().take(self.synced + more) {
            region.replay(&entry.log, &mut store).expect("a log replays");
        }
        Some((region, store))
    }

    pub fn unsynced(&self) -> usize {
        self.log.len() - self.synced
    }
}

/// An in-region replica, a little behind.
pub struct Replica {
    pub region: Region,
    pub store: MemoryStore,
    behind: VecDeque<Entry>,
}

impl Replica {
    /// A full sync.
    pub fn of(name: &str, snapshot: &Snapshot) -> Replica {
        let (region, store) = snapshot.load(name);
        let behind = VecDeque::new();
        Replica { region, store, behind }
    }

    pub fn send(&mut self, log: &[u8], seen: Vector) {
        let log = log.to_vec();
        self.behind.push_back(Entry { log, seen });
    }

    /// Replays some; gives what its primary had seen then.
    pub fn follow(&mut self, most: usize) -> Option<Vector> {
        let mut seen = None;
        for entry in self.behind.drain(..most.min(self.behind.len())) {
            self.region.replay(&entry.log, &mut self.store).expect("a log replays");
            seen = Some(entry.seen);
        }
        self.region.settle(8, &mut self.store);
        seen
    }
}

/// Where own acknowledgements may count from: what every road that the guard names has confirmed.
#[derive(Default)]
pub struct Confirmed {
    pub disk: Vector,
    pub replica: Vector,
}

impl Confirmed {
    pub fn by(&self, guard: Guard) -> Option<Vector> {
        match (guard.disk, guard.replica) {
            (false, false) => None,
            (true, false) => Some(self.disk.clone()),
            (false, true) => Some(self.replica.clone()),
            (true, true) => {
                let mut both = self.disk.clone();
                both.meet(&self.replica);
                Some(both)
            }
        }
    }
}
