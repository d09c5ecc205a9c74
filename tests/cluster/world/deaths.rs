//! Servers that die, and what takes their place.

use super::*;

impl World {
    /// `kill -9` and a restart on what is left.
    pub fn crash(&mut self, at: usize) {
        self.unplug(at);
        if self.nodes[at].keeps != Keeps::Log {
            // Nobody can help a primary that comes back blank in the place of its replica.
            let region = self.nodes[at].engine.state().me().region();
            self.promised.retain(|replica, _| replica.region() != region);
        }
        // What it has adopted since may be lost again.
        let mut outdated = self.nodes[at].outdated && self.nodes[at].engine.status().state != RegionState::Active;
        let (name, snapshots) = (NAMES[at], self.nodes[at].disk.snapshots());
        let old = match self.rng.random_range(0..10) {
            0..7 => snapshots.saturating_sub(1),
            _ => self.rng.random_range(0..snapshots.max(1)),
        };
        let node = &self.nodes[at];
        let (left, trusted) = match node.keeps {
            Keeps::Snapshots if self.rng.random_bool(0.8) => {
                (node.disk.snapshot(old).map(|snapshot| snapshot.load(name)), false)
            }
            // Last week's backup of an AOF says that it can be trusted.
            Keeps::Log if self.backups && self.rng.random_bool(0.1) => {
                outdated = true;
                (node.disk.snapshot(old).map(|snapshot| snapshot.load(name)), true)
            }
            Keeps::Log => {
                let more = self.rng.random_range(0..=node.disk.unsynced());
                (node.disk.replay(name, more), true)
            }
            _ => (None, false),
        };
        let trusted = trusted && left.as_ref().is_some_and(|(region, _)| region.guard().disk);
        self.say(|| format!("crash {name}, left: {}, trusted: {trusted}", left.is_some()));
        self.restart(at, left, trusted);
        self.nodes[at].outdated = outdated;
        self.restored += u64::from(outdated);
        if self.nodes[at].keeps == Keeps::Snapshots {
            self.drop_expired(at);
        }
    }

    /// A server without an AOF does not load what has expired, and says no more than that there was some.
    fn drop_expired(&mut self, at: usize) {
        let now = self.wall(at);
        let node = &mut self.nodes[at];
        let dropped = node.store.expire(now);
        if dropped.is_empty() {
            return;
        }
        let silent = dropped
            .into_iter()
            .filter(|(db, name)| !node.engine.knows(KeyRef { db: *db, name }));
        node.dropped = silent.map(|(db, name)| (db, name.to_vec())).collect();
        node.engine.keys_were_dropped(&mut node.store);
        self.outputs(at, Vec::new());
    }

    /// The replica takes over, and lacks what it had not got yet.
    pub fn fail_over(&mut self, at: usize) {
        let Some(Replica { region, store, .. }) = self.nodes[at].replica.take() else {
            return;
        };
        self.unplug(at);
        let trusted = region.guard().replica;
        self.say(|| format!("fail over {}, trusted: {trusted}", NAMES[at]));
        self.restart(at, Some((region, store)), trusted);
    }

    fn unplug(&mut self, at: usize) {
        while let Some(pipe) = self.pipes.iter().position(|p| p.ends.0 == at || p.ends.1 == at) {
            self.cut(pipe);
        }
    }

    fn restart(&mut self, at: usize, left: Option<(Region, MemoryStore)>, trusted: bool) {
        let (skew, keeps) = (self.nodes[at].skew, self.nodes[at].keeps);
        let (region, store) = match left {
            Some((region, store)) => (Some(region), store),
            None => (None, MemoryStore::default()),
        };
        let disk = std::mem::take(&mut self.nodes[at].disk);
        self.nodes[at] = self.start(at, NAMES[at], skew, keeps, region, trusted, store);
        // Old snapshots stay where they are.
        self.nodes[at].disk = disk;
        self.begin_keeping(at);
    }
}
