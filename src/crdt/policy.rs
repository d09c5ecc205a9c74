//! What readers see of a cell, by its kind: the only place where kinds differ.

use super::cell::{Cell, Live};
use super::hyperloglog;
use super::store::{Kind, OwnedValue};

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
    /// Which of the surviving concurrent assignments is shown: the greatest score or deadline, otherwise the one with
    /// the greatest dot.
    pub fn winner_at(&self, kind: Kind) -> Option<usize> {
        let last = self.live.len().checked_sub(1);
        if self.live.len() < 2 || kind.in_keyspace() {
            return last;
        }
        let by_value = self.live.iter().enumerate();
        by_value.max_by(|a, b| a.1.value.cmp(&b.1.value)).map(|(at, _)| at)
    }

    pub fn winner(&self, kind: Kind) -> Option<&Live> {
        self.winner_at(kind).map(|at| &self.live[at])
    }

    /// What readers see when the cell's kind is the visible one.
    pub fn show(&self, kind: Kind) -> Shown {
        if !self.shown() {
            return Shown::Nothing;
        }
        if kind == Kind::Set {
            return Shown::Combined(OwnedValue::Member);
        }
        if let Some(value) = self.sum_shown(kind).or_else(|| self.union_shown(kind)) {
            return Shown::Combined(value);
        }
        match self.winner_at(kind) {
            None => Shown::Nothing,
            Some(at) if self.live[at].value.is_none() => Shown::Held,
            Some(at) => Shown::Winner(at),
        }
    }

    /// What readers see as a value, of a cell whose values are explicit.
    pub fn value_shown(&self, kind: Kind) -> Option<OwnedValue> {
        match self.show(kind) {
            Shown::Nothing | Shown::Held => None,
            Shown::Winner(at) => self.live[at].value.clone(),
            Shown::Combined(value) => Some(value),
        }
    }

    /// The register and what was added to it. An assignment that is no number is shown as it is.
    fn sum_shown(&self, kind: Kind) -> Option<OwnedValue> {
        if !self.has_alive_contribution() {
            return None;
        }
        let sum = self.sum();
        let sum = match self.winner(kind) {
            None => sum,
            Some(register) => register.value.as_ref()?.borrow().number()?.add(&sum),
        };
        Some(kind.show_number(&sum))
    }

    /// HyperLogLogs that were written concurrently show what all of them have counted.
    fn union_shown(&self, kind: Kind) -> Option<OwnedValue> {
        if kind != Kind::String || self.live.len() < 2 {
            return None;
        }
        let sketches = self.live.iter().map(|live| live.value.as_ref()?.bytes());
        let sketches: Vec<&[u8]> = sketches.collect::<Option<_>>()?;
        hyperloglog::union(&sketches).map(|sketch| OwnedValue::Bytes(sketch.into()))
    }

    /// Whether several values may have to be shown as one, which needs all of them.
    pub fn may_unite(&self, kind: Kind) -> bool {
        let sketch =
            |live: &Live| matches!(&live.value, Some(OwnedValue::Bytes(bytes)) if hyperloglog::is_sketch(bytes));
        kind == Kind::String && self.live.len() > 1 && self.live.iter().any(sketch)
    }
}
