//! Which acknowledged writes some surviving server held: these may not be lost, all others may.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::history::{History, Life, Sighting, Time, Write};

/// Up to when the writes of each life are held by somebody who survived.
pub struct Possession {
    until: HashMap<Arc<Life>, Time>,
}

impl Possession {
    pub fn of(history: &History) -> Possession {
        let survival = Survival::of(history);
        let sent: HashMap<(&Life, u64), Time> = history
            .beacons
            .iter()
            .map(|beacon| ((&*beacon.life, beacon.number), beacon.sent))
            .collect();
        let mut until: HashMap<Arc<Life>, Time> = HashMap::new();
        for sighting in &history.sightings {
            if survival.until(&sighting.life) < Some(sighting.seen) {
                continue;
            }
            for (writer, number) in &sighting.beacons {
                let Some(sent) = sent.get(&(&**writer, *number)) else {
                    continue;
                };
                let known = until.entry(writer.clone()).or_default();
                *known = (*known).max(*sent);
            }
        }
        Possession { until }
    }

    /// Whether the write was acknowledged and is held by somebody who survived.
    pub fn includes(&self, write: &Write) -> bool {
        match (write.answered, self.until.get(&write.life)) {
            (Some(answered), Some(until)) => answered <= *until,
            _ => false,
        }
    }
}

/// Up to when what a life held is still held at the end of the run.
struct Survival<'a> {
    lives: BTreeMap<&'a Life, Option<Time>>,
}

impl<'a> Survival<'a> {
    fn of(history: &'a History) -> Survival<'a> {
        let mut sightings: Vec<&Sighting> = history.sightings.iter().collect();
        sightings.sort_by_key(|sighting| sighting.seen);
        let mut known: BTreeMap<&Life, Option<Time>> = BTreeMap::new();
        // The first sighting of each life.
        let mut first = sightings.clone();
        first.retain(|sighting| known.insert(&sighting.life, None).is_none());
        for sighting in &history.sightings {
            if sighting.seen >= history.end {
                known.insert(&sighting.life, Some(Time::MAX));
            }
        }
        let mut survival = Survival { lives: known };
        // A later life's survival is known before it is asked for.
        for index in (0..first.len()).rev() {
            let own = &*first[index].life;
            if survival.lives[own].is_none() {
                let found = survival.through_others(history, own, &first[index + 1..]);
                survival.lives.insert(own, found);
            }
        }
        survival
    }

    fn until(&self, life: &Life) -> Option<Time> {
        self.lives.get(life).copied().flatten()
    }

    /// What survives because another life took it over, among those first seen later.
    fn through_others(&self, history: &History, own: &Life, later: &[&Sighting]) -> Option<Time> {
        let same_process = later.iter().filter(|next| {
            next.life.node == own.node && next.life.process == own.process && next.continues == own.history
        });
        let promoted = same_process.filter_map(|next| self.until(&next.life));
        let restarted = history
            .restarts
            .iter()
            .filter(|restart| restart.before == own.process)
            .filter_map(|restart| {
                // The first life of the new process has what the files held; a replica has another's data.
                let next = later.iter().find(|next| next.life.process == restart.after)?;
                let until = self.until(&next.life).filter(|_| next.primary)?;
                Some(restart.kept?.min(until))
            });
        promoted.chain(restarted).max()
    }
}
