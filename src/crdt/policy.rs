//! What readers see of a cell, by its kind: the only place where kinds differ.

use serde::{Deserialize, Serialize};

use super::cell::{Cell, Live};
use super::hyperloglog;
use super::number::Number;
use super::rules::{Rule, holds};
use super::store::{Kind, OwnedValue};

/// What concurrent scores of one member merge to. A rule of convergence: the same in all regions of a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScoreRule {
    /// The higher.
    #[default]
    Max,
    /// The lower.
    Min,
    /// That of the later write.
    Last,
}

impl ScoreRule {
    pub const ALL: [ScoreRule; 3] = [ScoreRule::Max, ScoreRule::Min, ScoreRule::Last];

    pub fn name(self) -> &'static str {
        match self {
            ScoreRule::Max => "max",
            ScoreRule::Min => "min",
            ScoreRule::Last => "last",
        }
    }

    pub fn of_name(name: &str) -> Option<ScoreRule> {
        ScoreRule::ALL.into_iter().find(|rule| rule.name() == name)
    }

    pub fn is_default(&self) -> bool {
        *self == ScoreRule::default()
    }
}

/// What the keyspace is to show of a cell.
#[derive(Debug)]
pub enum Shown {
    Nothing,
    /// The keyspace shows it already: the value is held there only.
    Held,
    /// The value of this one of the live dots.
    Winner(usize),
    /// Nobody's own value: a sum, or several values as one.
    Combined(OwnedValue),
}

impl Cell {
    /// Which of the surviving concurrent assignments is shown: the furthest deadline, the score that the rule says,
    /// otherwise the one with the greatest dot.
    pub fn winner_at(&self, kind: Kind, scores: ScoreRule) -> Option<usize> {
        let last = self.live.len().checked_sub(1);
        let by_dot = kind.in_keyspace() || kind == Kind::Zset && scores == ScoreRule::Last;
        if self.live.len() < 2 || by_dot {
            return last;
        }
        let by_value = self.live.iter().enumerate();
        let order = |a: &(usize, &Live), b: &(usize, &Live)| a.1.value.cmp(&b.1.value);
        let winner = match (kind, scores) {
            (Kind::Zset, ScoreRule::Min) => by_value.min_by(order),
            _ => by_value.max_by(order),
        };
        winner.map(|(at, _)| at)
    }

    pub fn winner(&self, kind: Kind, scores: ScoreRule) -> Option<&Live> {
        self.winner_at(kind, scores).map(|at| &self.live[at])
    }

    /// What readers see when the cell's kind is the visible one.
    pub fn show(&self, kind: Kind, scores: ScoreRule) -> Shown {
        if !self.shown() {
            return Shown::Nothing;
        }
        if kind == Kind::Set {
            return Shown::Combined(OwnedValue::Member);
        }
        if let Some(value) = self.sum_shown(kind, scores).or_else(|| self.union_shown(kind)) {
            return Shown::Combined(value);
        }
        match self.winner_at(kind, scores) {
            None => Shown::Nothing,
            Some(at) if self.live[at].value.is_none() => Shown::Held,
            Some(at) => Shown::Winner(at),
        }
    }

    /// What readers see as a value, of a cell whose values are explicit.
    pub fn value_shown(&self, kind: Kind, scores: ScoreRule) -> Option<OwnedValue> {
        match self.show(kind, scores) {
            Shown::Nothing | Shown::Held => None,
            Shown::Winner(at) => self.live[at].value.clone(),
            Shown::Combined(value) => Some(value),
        }
    }

    /// The register and what was added to it. An assignment that is no number is shown as it is.
    fn sum_shown(&self, kind: Kind, scores: ScoreRule) -> Option<OwnedValue> {
        self.total(kind, scores).map(|total| kind.show_number(&total))
    }

    /// The exact number of which a counter shows as much as its kind can; `None` when it is no counter.
    pub fn total(&self, kind: Kind, scores: ScoreRule) -> Option<Number> {
        if !self.has_alive_contribution() {
            return None;
        }
        let sum = self.sum();
        match self.winner(kind, scores) {
            None => Some(sum),
            Some(register) => Some(register.value.as_ref()?.borrow().number()?.add(&sum)),
        }
    }

    /// HyperLogLogs that were written concurrently show what all of them have counted.
    fn union_shown(&self, kind: Kind) -> Option<OwnedValue> {
        if kind != Kind::String || self.live.len() < 2 || !holds(Rule::Unite) {
            return None;
        }
        let sketches = self.live.iter().map(|live| live.value.as_ref()?.bytes());
        let sketches: Vec<&[u8]> = sketches.collect::<Option<_>>()?;
        hyperloglog::union(&sketches).map(|sketch| OwnedValue::Bytes(sketch.into()))
    }

    /// What is left of several values that are one from now on, if they are: [`OwnedValue::Lost`] when it takes one
    /// that is not here.
    pub fn united(&self, kind: Kind) -> Option<OwnedValue> {
        let counted = |live: &Live| match &live.value {
            Some(OwnedValue::Bytes(bytes)) => hyperloglog::is_sketch(bytes),
            value => *value == Some(OwnedValue::Lost),
        };
        if self.may_unite(kind) && self.has_lost() && self.live.iter().all(counted) {
            return Some(OwnedValue::Lost);
        }
        self.union_shown(kind)
    }

    /// Whether several values may have to be shown as one, which needs all of them.
    pub fn may_unite(&self, kind: Kind) -> bool {
        let sketch =
            |live: &Live| matches!(&live.value, Some(OwnedValue::Bytes(bytes)) if hyperloglog::is_sketch(bytes));
        kind == Kind::String && self.live.len() > 1 && self.live.iter().any(sketch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::{Dot, RegionTag, ReplicaId, Score};

    #[test]
    fn concurrent_scores_merge_by_the_rule() {
        let score = |score| OwnedValue::Score(Score::new(score).expect("a number"));
        let lives = |scores: &[f64]| {
            let replica = |at| ReplicaId::new(RegionTag::of("eu"), at);
            let mut cell = Cell::default();
            for (at, given) in scores.iter().enumerate() {
                let dot = Dot::new(replica(at as u64 + 1), at as u64 + 1);
                let value = Some(score(*given));
                cell.add_live(Live { dot, value });
            }
            cell
        };
        for (given, max, min, last) in [
            (&[5.0, 20.0, 10.0][..], 20.0, 5.0, 10.0),
            (
                &[f64::INFINITY, f64::NEG_INFINITY],
                f64::INFINITY,
                f64::NEG_INFINITY,
                f64::NEG_INFINITY,
            ),
            (&[0.0, -0.0], 0.0, -0.0, -0.0),
            (&[7.0], 7.0, 7.0, 7.0),
        ] {
            for (rule, shown) in ScoreRule::ALL.into_iter().zip([max, min, last]) {
                assert_eq!(
                    lives(given).value_shown(Kind::Zset, rule),
                    Some(score(shown)),
                    "{rule:?} of {given:?}"
                );
            }
        }
        // The rule is about scores only.
        let mut deadlines = Cell::default();
        for at in [9, 4] {
            let dot = Dot::new(ReplicaId::new(RegionTag::of("eu"), 1), 10 - at);
            let value = Some(OwnedValue::Deadline(at));
            deadlines.add_live(Live { dot, value });
        }
        for rule in ScoreRule::ALL {
            assert_eq!(deadlines.value_shown(Kind::Expiry, rule), Some(OwnedValue::Deadline(9)));
        }
    }
}
