//! Who has shown when that it holds the writes of a life.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::history::{History, Life, Restart, Sighting, Time};

/// The holder holds all that the writer had written before `sent`.
#[derive(Clone, Copy)]
pub struct Proof<'a> {
    pub holder: &'a Sighting,
    pub writer: &'a Arc<Life>,
    pub sent: Time,
}

/// All proofs, in the order in which they were given.
pub fn of(history: &History) -> Vec<Proof<'_>> {
    let mut sightings: Vec<&Sighting> = history.sightings.iter().collect();
    sightings.sort_by_key(|sighting| sighting.seen);
    let mut reader = Reader {
        sent: history
            .beacons
            .iter()
            .map(|beacon| ((&*beacon.life, beacon.number), beacon.sent))
            .collect(),
        last: sightings
            .iter()
            .map(|sighting| (&*sighting.life, sighting.seen))
            .collect(),
        restarts: history
            .restarts
            .iter()
            .map(|restart| (restart.after.as_str(), restart))
            .collect(),
        before: HashMap::new(),
        primaries: HashMap::new(),
        active: HashSet::new(),
        proofs: Vec::new(),
    };
    sightings.into_iter().for_each(|sighting| reader.read(sighting));
    reader.proofs
}

struct Reader<'a> {
    /// When each beacon was sent.
    sent: HashMap<(&'a Life, u64), Time>,
    /// When each life was seen last.
    last: HashMap<&'a Life, Time>,
    /// By the process that began.
    restarts: HashMap<&'a str, &'a Restart>,
    /// The sighting of each life before this one.
    before: HashMap<&'a Life, &'a Sighting>,
    /// The primary that each region had at last.
    primaries: HashMap<&'a str, &'a Life>,
    /// Processes that have been active.
    active: HashSet<&'a str>,
    proofs: Vec<Proof<'a>>,
}

impl<'a> Reader<'a> {
    fn read(&mut self, sighting: &'a Sighting) {
        let before = self.before.insert(&sighting.life, sighting);
        for (writer, number) in &sighting.beacons {
            let applied = writer.history == sighting.life.history || before.is_some_and(|b| rose(b, sighting, writer));
            if let Some(sent) = self.sent.get(&(&**writer, *number)).filter(|_| applied) {
                self.proofs.push(Proof {
                    holder: sighting,
                    writer,
                    sent: *sent,
                });
            }
        }
        if sighting.transfers.is_some() && self.active.insert(&sighting.life.process) {
            self.inherit(sighting);
        }
        if sighting.primary {
            self.primaries.insert(region(&sighting.life), &sighting.life);
        }
    }

    /// A blank server that has become active has adopted from one of the others all that this one held.
    fn inherit(&mut self, heir: &'a Sighting) {
        let restart = self.restarts.get(heir.life.process.as_str());
        let Some(started) = restart.filter(|restart| restart.blank).map(|restart| restart.started) else {
            return;
        };
        let others = self.primaries.iter().filter(|(name, _)| **name != region(&heir.life));
        let others: Vec<&Life> = others.map(|(_, life)| *life).collect();
        if others.is_empty() || others.iter().any(|life| self.last[life] < heir.seen) {
            return;
        }
        let held = |life: &Life, writer: &Life| {
            let proofs = self.proofs.iter().filter(|proof| proof.holder.seen <= started);
            let proofs = proofs.filter(|proof| *proof.holder.life == *life && **proof.writer == *writer);
            proofs.map(|proof| proof.sent).max()
        };
        let writers: BTreeSet<&'a Arc<Life>> = self.proofs.iter().map(|proof| proof.writer).collect();
        let inherited = writers.into_iter().filter_map(|writer| {
            let least = others.iter().map(|life| held(life, writer)).min()??;
            Some(Proof {
                holder: heir,
                writer,
                sent: least,
            })
        });
        let inherited: Vec<Proof<'_>> = inherited.collect();
        self.proofs.extend(inherited);
    }
}

/// Whether the writer's beacon rose between two sightings of a life that received no transfer meanwhile: it was applied
/// as an operation, after all that was before it.
fn rose(before: &Sighting, now: &Sighting, writer: &Arc<Life>) -> bool {
    let number = |sighting: &Sighting| {
        sighting
            .beacons
            .iter()
            .find(|(life, _)| life == writer)
            .map(|(_, n)| *n)
    };
    now.transfers.is_some()
        && before.transfers == now.transfers
        && number(before).is_some_and(|n| Some(n) < number(now))
}

fn region(life: &Life) -> &str {
    life.node
        .rsplit_once('-')
        .map_or(life.node.as_str(), |(region, _)| region)
}
