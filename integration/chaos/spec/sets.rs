//! Members of sets: additions survive removals that had not seen them.

use std::collections::{BTreeMap, BTreeSet};

use redis_geo::lab::dump::{Dump, Shown};

use super::{Coverage, Known, Violation, told};
use crate::history::Effect;

/// The writes to one set.
#[derive(Default)]
struct Set<'a> {
    additions: BTreeMap<&'a str, Vec<Known<'a>>>,
    removals: BTreeMap<&'a str, Vec<Known<'a>>>,
    /// Of nobody knows what.
    others: Vec<Known<'a>>,
}

impl<'a> Set<'a> {
    fn additions(&self, member: &str) -> &[Known<'a>] {
        self.additions.get(member).map_or(&[], Vec::as_slice)
    }

    fn removals(&self, member: &str) -> &[Known<'a>] {
        self.removals.get(member).map_or(&[], Vec::as_slice)
    }

    /// A sure addition that no removal can have seen.
    fn kept(&self, member: &str) -> Option<Known<'a>> {
        let removals = || self.removals(member).iter().chain(&self.others);
        let mut sure = self.additions(member).iter().filter(|addition| addition.sure);
        sure.find(|addition| !removals().any(|removal| removal.may_have_seen(**addition)))
            .copied()
    }

    /// A sure removal after which nothing was added that it may not have seen.
    fn removed(&self, member: &str) -> Option<Known<'a>> {
        let additions = self.additions(member);
        // Its answer names what was there: with one addition there is no doubt which.
        let named = |removal: &Known<'_>| removal.write.answered.is_some() && additions.len() == 1;
        let mut sure = self.removals(member).iter().filter(|removal| removal.sure);
        sure.find(|removal| named(removal) || additions.iter().all(|addition| removal.follows(*addition)))
            .copied()
    }
}

pub fn check(known: &[Known<'_>], dump: &Dump, coverage: &mut Coverage) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (key, set) in sets(known) {
        let empty = BTreeSet::new();
        let shown = match dump.0.get(key.as_bytes()) {
            Some(Shown::Set(members)) => members,
            None => &empty,
            Some(other) => {
                violations.push(Violation(format!("{key} should be a set: {other:?}")));
                continue;
            }
        };
        let invented = shown.iter().filter(|shown| {
            let known = std::str::from_utf8(shown).is_ok_and(|member| set.additions.contains_key(member));
            !known
        });
        violations.extend(invented.map(|m| Violation(format!("{key}: nobody added {}", m.escape_ascii()))));
        for member in set.additions.keys() {
            let present = shown.contains(member.as_bytes());
            if let Some(addition) = set.kept(member) {
                coverage.must_be_present += 1;
                if !present {
                    violations.push(Violation(format!("{key}: {member} is lost: {}", told(addition))));
                }
            } else if let Some(removal) = set.removed(member) {
                coverage.must_be_absent += 1;
                if present {
                    violations.push(Violation(format!("{key}: {member} is back: {}", told(removal))));
                }
            }
        }
    }
    violations
}

fn sets<'a>(known: &[Known<'a>]) -> BTreeMap<&'a str, Set<'a>> {
    let mut sets: BTreeMap<&str, Set<'_>> = BTreeMap::new();
    for known in known {
        match &known.write.effect {
            Effect::Add { key, member } => {
                let set = sets.entry(key).or_default();
                set.additions.entry(member).or_default().push(*known);
            }
            Effect::Remove { key, members, whole } => {
                let set = sets.entry(key).or_default();
                if *whole && known.write.provisional {
                    set.others.push(*known);
                }
                for member in members {
                    set.removals.entry(member).or_default().push(*known);
                }
            }
            Effect::RemoveAny { key } => sets.entry(key).or_default().others.push(*known),
            _ => {}
        }
    }
    sets
}
