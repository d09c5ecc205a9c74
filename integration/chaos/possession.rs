//! Which acknowledged writes some surviving server held: these may not be lost, all others may.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::history::{History, Life, Sighting, Time, Write};
use crate::proofs::{self, Proof};

/// Up to when the writes of each life are held by somebody who survived, and who showed that.
pub struct Possession<'a> {
    until: HashMap<Arc<Life>, (Time, &'a Sighting)>,
}

impl<'a> Possession<'a> {
    pub fn of(history: &'a History) -> Possession<'a> {
        let survival = Survival::of(history);
        let mut until: HashMap<Arc<Life>, (Time, &Sighting)> = HashMap::new();
        for Proof { holder, writer, sent } in proofs::of(history) {
            if survival.until(&holder.life) < Some(holder.seen) {
                continue;
            }
            let known = until.entry(writer.clone()).or_insert((sent, holder));
            if known.0 < sent {
                *known = (sent, holder);
            }
        }
        Possession { until }
    }

    /// Who survived and held the acknowledged write.
    pub fn holder(&self, write: &Write) -> Option<&'a Sighting> {
        let (until, holder) = self.until.get(&write.life)?;
        write.answered.filter(|answered| answered <= until).map(|_| *holder)
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
                let found = survival.through_others(history, first[index], &first[index + 1..]);
                survival.lives.insert(own, found);
            }
        }
        survival
    }

    fn until(&self, life: &Life) -> Option<Time> {
        self.lives.get(life).copied().flatten()
    }

    /// What survives because another life took it over, among those first seen later.
    fn through_others(&self, history: &History, first: &Sighting, later: &[&Sighting]) -> Option<Time> {
        let Sighting { life: own, primary, .. } = first;
        let same_process = later.iter().filter(|next| {
            let known = next.life.node == own.node && next.life.process == own.process;
            known && (next.continues == own.history || *primary && next.primary && continues_nothing(next))
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

/// A primary that was not a replica before: the first replica that comes makes it begin a new history.
fn continues_nothing(sighting: &Sighting) -> bool {
    sighting.continues.bytes().all(|digit| digit == b'0')
}
