//! What a recovering region took must end as if it had been given when the region knew what it lands on.

use std::collections::{BTreeMap, BTreeSet};

use redis_geo::crdt::{KeyRef, Kind, Meeting, Number, OwnedValue, Store};

use crate::commands::{Act, What};
use crate::sketch::Sketch;
use crate::spec::{Key, Shown, Spec, shown};
use crate::world::{NAMES, World};

/// Commands a region took while it recovered, by key; `None` where more than commands is noted: expiry, what is left of
/// a state that was given up, what a restart brought back.
#[derive(Default)]
pub struct Noted(BTreeMap<Key, Option<Vec<Act>>>);

impl Noted {
    /// What was done to the key by another road is noted as what it came to.
    pub fn forget(&mut self, key: &Key) {
        self.0.remove(key);
    }

    pub fn is_unclear(&mut self, key: &Key) {
        if let Some(acts) = self.0.get_mut(key) {
            *acts = None;
        }
    }

    pub fn all_unclear(&mut self) {
        self.0.values_mut().for_each(|acts| *acts = None);
    }
}

impl World {
    /// A command was carried out. `was_noted`: something was noted for its key before.
    pub fn note(&mut self, at: usize, was_noted: bool, act: &Act) {
        let node = &mut self.nodes[at];
        let key = KeyRef { db: 0, name: &act.key };
        if node.engine.is_noted(key) {
            let acts = node.noted.0.entry((0, act.key.to_vec())).or_default();
            // What recovery dealt with by itself since is no part of it.
            if !was_noted {
                *acts = Some(Vec::new());
            }
            acts.iter_mut().for_each(|acts| acts.push(act.clone()));
        }
    }

    /// A client asks for a key: what recovery left to do for it is done first.
    pub fn prepare(&mut self, at: usize, key: KeyRef<'_>) {
        let node = &mut self.nodes[at];
        if !node.engine.is_noted(key) {
            return self.during(at, |engine, store| engine.prepare(key, store));
        }
        let name: Key = (key.db, key.name.to_vec());
        let held = node.engine.state().history.cells.get(&name).cloned();
        let (issued, lacks) = (self.issued.len(), node.lacks(&name));
        self.during(at, |engine, store| engine.prepare(key, store));
        let node = &mut self.nodes[at];
        if node.engine.is_noted(key) {
            return;
        }
        let acts = node.noted.0.remove(&name).flatten();
        self.outputs(at, Vec::new());
        let Some(acts) = acts.filter(|_| !lacks) else { return };
        let known = held.map(|cells| BTreeMap::from([(name.clone(), cells)]));
        let known = [known.unwrap_or_default()];
        let before = self.issued[..issued].iter().filter(|op| op.key == name);
        let mut spec = Spec::of(before, known.as_slice(), self.scores);
        let there = spec.data.remove(&name).unwrap_or_default();
        // What a region began with is not in the past of one that lost its start.
        if self.had_data || differ_in_how(&acts) {
            return;
        }
        // Of values that are not shown together one that only the keyspace holds is lost when it is written over.
        if spec.mixed.contains(&name) || spec.beside.contains(&name) {
            return;
        }
        let expected = match clash(&there, &acts) {
            false => done(there.clone(), &acts),
            // A stamp that is too far ahead stays the later one.
            true if self.skewed => return,
            true => match beside(&there, &acts) {
                Some(expected) => expected,
                None => return,
            },
        };
        let expected = plain(expected);
        let store = &mut self.nodes[at].store;
        let after = plain(shown(store).remove(&name).unwrap_or_default());
        let lasts = store.deadline(key).is_none();
        if after == expected && !after.is_empty() && last_word(&acts).is_some_and(|expected| expected != lasts) {
            self.mishap = Some(format!(
                "at {}: {} took {acts:?} while it recovered, and that lasts forever: {lasts}",
                self.now, NAMES[at]
            ));
        }
        if after != expected {
            self.mishap = Some(format!(
                "at {}: {} took {acts:?} while it recovered, on top of {there:?} makes {expected:?}, not {after:?}",
                self.now, NAMES[at]
            ));
        }
        self.checked += 1;
    }

    /// Clients ask for some of the keys that were written while the region recovered.
    pub fn ask_for_noted(&mut self, at: usize) {
        for (db, name) in self.nodes[at].noted.0.keys().cloned().collect::<Vec<_>>() {
            self.prepare(at, KeyRef { db, name: &name });
        }
    }
}

/// Whether commands looked at one element in different ways. What they come to together is noted as one of them.
fn differ_in_how(acts: &[Act]) -> bool {
    let mut ways = BTreeMap::new();
    acts.iter().any(|act| match act.what {
        What::Meet(how, ..) => *ways.entry((act.kind, &act.element)).or_insert(how) != how,
        _ => false,
    })
}

/// Whether elements are written beside another type: the later is shown. A string takes its place.
fn clash(there: &Shown, acts: &[Act]) -> bool {
    let written: BTreeSet<Kind> = acts.iter().filter(writes).map(|act| act.kind).collect();
    let beside = |kind: &Kind| there.keys().any(|(other, _)| other != kind);
    written.len() > 1 || written.iter().any(|kind| *kind != Kind::String && beside(kind))
}

/// What commands on elements of one type come to beside another type, which they are later than; `None` when they are
/// on several types.
fn beside(there: &Shown, acts: &[Act]) -> Option<Shown> {
    let written: BTreeSet<Kind> = acts.iter().filter(writes).map(|act| act.kind).collect();
    if written.len() > 1 || there.keys().any(|(kind, _)| written.contains(kind)) {
        return None;
    }
    let alone = done(Shown::new(), acts);
    let deletes = acts.iter().any(|act| matches!(act.what, What::Delete));
    Some(if alone.is_empty() && !deletes {
        there.clone()
    } else {
        alone
    })
}

/// Whether commands have said that the key is to last forever, if they said anything of that.
fn last_word(acts: &[Act]) -> Option<bool> {
    let word = |act: &Act| match &act.what {
        What::Expire(_) => Some(false),
        What::Persist => Some(true),
        What::Put(_, lives) if act.kind == Kind::String => Some(lives.is_none()),
        _ => None,
    };
    // What is only for where nothing is brings its own deadline, or nothing. What was emptied may have been made anew.
    let clear = |act: &Act| {
        !matches!(
            act.what,
            What::Meet(Meeting::IfAbsent, ..) | What::Delete | What::Remove
        )
    };
    acts.iter().all(clear).then(|| acts.iter().rev().find_map(word))?
}

fn writes(act: &&Act) -> bool {
    !matches!(act.what, What::Delete | What::Expire(_) | What::Persist)
}

/// HyperLogLogs that have counted the same are the same.
fn plain(mut shown: Shown) -> Shown {
    for value in shown.values_mut() {
        if let Some(sketch) = Sketch::read(value) {
            *value = sketch.dense();
        }
    }
    shown
}

/// What commands come to, one after the other, on top of what is there.
fn done(mut shown: Shown, acts: &[Act]) -> Shown {
    // A string that gave way to another type; what was added to it goes with it.
    let mut gave_way = false;
    for act in acts {
        let name = (act.kind, act.element.clone());
        let string = act.kind == Kind::String;
        let other = shown.keys().any(|(kind, _)| *kind != act.kind);
        let there = shown.get(&name);
        let value = match &act.what {
            What::Delete => {
                gave_way = false;
                shown.clear();
                continue;
            }
            What::Remove => {
                shown.remove(&name);
                continue;
            }
            What::Expire(_) | What::Persist => continue,
            What::Meet(Meeting::IfAbsent, ..) if string && !shown.is_empty() => {
                gave_way = other;
                continue;
            }
            What::Add(_) if gave_way => continue,
            What::Put(value, _) => Some(value.clone()),
            What::Add(delta) => sum(act.kind, there, delta),
            What::Meet(how, value, _) => meet(*how, there, value),
        };
        if string {
            shown.retain(|(kind, _), _| *kind == Kind::String);
            gave_way = false;
        }
        shown.extend(value.map(|value| (name, value)));
    }
    shown
}

/// Nothing is added to a text.
fn sum(kind: Kind, there: Option<&OwnedValue>, delta: &Number) -> Option<OwnedValue> {
    let number = there.map_or(Some(Number::ZERO), |value| value.borrow().number())?;
    Some(kind.show_number(&number.add(delta)))
}

fn meet(how: Meeting, there: Option<&OwnedValue>, value: &OwnedValue) -> Option<OwnedValue> {
    let Some(there) = there else {
        return Some(value.clone());
    };
    match how {
        Meeting::Unite => match (Sketch::read(there), Sketch::read(value)) {
            (Some(mut both), Some(counted)) => {
                both.join(&counted);
                Some(both.dense())
            }
            _ => Some(value.clone()),
        },
        Meeting::AtLeast => Some(value.max(there).clone()),
        Meeting::AtMost => Some(value.min(there).clone()),
        Meeting::IfAbsent | Meeting::Offer => None,
    }
}
