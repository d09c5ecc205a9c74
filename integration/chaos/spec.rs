//! What must be true of every run, whatever the faults were.
//!
//! A write *counts surely* when it was acknowledged and somebody who survived held it; all others may have been lost. A
//! removal *surely saw* what the same server had done before, and what its answer names; it *may have seen* whatever was
//! sent before it was answered, and anything while its region was recovering. Then, at the end:
//!
//! * **sets**: a member is present when a sure addition was not seen by any removal; it is absent when every addition was
//!   surely seen by a sure removal;
//! * **strings**: the value was assigned, and no sure write saw it; there is one when a sure assignment was not seen by any
//!   deletion;
//! * **counters**: the sum of the sure increments, and of any part of the others;
//! * **servers**: all show the same.

mod counters;
mod sets;
mod strings;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::history::{History, Life, Sighting, Time, Write};
use crate::possession::Possession;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

/// How much a run could prove.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    pub acknowledged: usize,
    /// Writes that may not be lost.
    pub sure: usize,
    /// Without an answer.
    pub unknown: usize,
    pub must_be_present: usize,
    pub must_be_absent: usize,
    pub counters: usize,
    /// Counters with only one right value.
    pub exact: usize,
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} writes acknowledged ({} of them may not be lost), {} unanswered; {} elements must be present, {} absent; \
             {} of {} counters exact",
            self.acknowledged,
            self.sure,
            self.unknown,
            self.must_be_present,
            self.must_be_absent,
            self.exact,
            self.counters
        )
    }
}

/// A write and whether it counts surely.
#[derive(Clone, Copy)]
struct Known<'a> {
    write: &'a Write,
    sure: bool,
    holder: Option<&'a Sighting>,
}

impl Known<'_> {
    /// It came after `earlier` on the same server.
    fn follows(self, earlier: Known<'_>) -> bool {
        let answered = earlier.write.answered.filter(|_| self.write.life == earlier.write.life);
        answered.is_some_and(|answered| answered <= self.write.sent)
    }

    fn may_have_seen(self, other: Known<'_>) -> bool {
        self.write.provisional || self.write.answered.is_none_or(|answered| other.write.sent < answered)
    }
}

/// Every way in which the run broke the rules.
pub fn check(history: &History) -> (Vec<Violation>, Coverage) {
    let possession = Possession::of(history);
    let known: Vec<Known<'_>> = history
        .writes
        .iter()
        .map(|write| Known {
            write,
            sure: possession.holder(write).is_some(),
            holder: possession.holder(write),
        })
        .collect();
    let mut coverage = Coverage {
        acknowledged: known.iter().filter(|known| known.write.answered.is_some()).count(),
        sure: known.iter().filter(|known| known.sure).count(),
        unknown: known.iter().filter(|known| known.write.answered.is_none()).count(),
        ..Coverage::default()
    };
    let mut violations = equality(history);
    if let Some((_, dump)) = history.dumps.first() {
        violations.extend(sets::check(&known, dump, &mut coverage));
        violations.extend(strings::check(&known, dump, &mut coverage));
        violations.extend(counters::check(&known, dump, &mut coverage));
    }
    (violations, coverage)
}

fn equality(history: &History) -> Vec<Violation> {
    let Some((first, dump)) = history.dumps.first() else {
        return vec![Violation("nothing was read at the end".into())];
    };
    let others = history.dumps[1..].iter();
    others
        .filter_map(|(name, other)| Some(Violation(format!("{first} / {name}: {}", dump.difference(other)?))))
        .collect()
}

/// A server, by its name and its process and history.
fn server(life: &Life) -> String {
    format!("{} ({:.8}/{:.8})", life.node, life.process, life.history)
}

/// A write in words.
fn told(known: Known<'_>) -> String {
    let Write {
        life,
        sent,
        answered,
        provisional,
        effect,
    } = known.write;
    let recovering = if *provisional { ", recovering" } else { "" };
    let time = |at: &Time| format!("{:.3} s", at.as_secs_f64());
    let answered = answered
        .as_ref()
        .map_or("unanswered".into(), |at| format!("answered at {}", time(at)));
    let holder = known
        .holder
        .map(|holder| format!("; {} held it at {}", server(&holder.life), time(&holder.seen)));
    let sent = format!("sent at {}, {answered}{}", time(sent), holder.unwrap_or_default());
    format!("{effect:?} at {}{recovering}, {sent}", server(life))
}
