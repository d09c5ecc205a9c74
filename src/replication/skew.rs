//! How far a peer's wall clock is from ours, for deadlines: 30 seconds are to be 30 seconds in every region although a
//! clock is wrong.
//!
//! Every header says what time it was at its sender. What it takes until we read it makes the peer's clock look slow,
//! never fast, so the greatest difference of the last few headers is the best. Small differences are left alone: they
//! are no more than the delay may explain, and equal deadlines then are equal in all regions, to the millisecond.

use std::collections::VecDeque;

use super::wire::Slice;
use crate::crdt::{Effect, NEVER, Op, OwnedValue, Value};

/// Samples that are remembered. After a peer's clock was set back it takes so many headers until we believe it.
const SAMPLES: usize = 8;
/// Differences up to this, in ms, are not corrected.
pub const TOLERANCE: i64 = 1000;

/// Differences between a peer's clock and ours, in ms: positive when the peer's is ahead.
#[derive(Default, Clone, Debug)]
pub struct Skew(VecDeque<i64>);

impl Skew {
    pub fn sample(&mut self, ahead: i64) {
        if self.0.len() == SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back(ahead);
    }

    /// Milliseconds by which the peer is ahead of us.
    pub fn ahead(&self) -> i64 {
        self.0.iter().copied().max().unwrap_or(0)
    }

    /// What is to be taken from the peer's deadlines.
    pub fn correction(&self) -> i64 {
        let ahead = self.ahead();
        if ahead.abs() > TOLERANCE { ahead } else { 0 }
    }
}

/// A peer's time by our clock; `ahead`: see [`Skew::correction`].
fn here(at: u64, ahead: i64) -> u64 {
    match at {
        NEVER => NEVER,
        at => at.saturating_add_signed(ahead.saturating_neg()).min(NEVER - 1),
    }
}

/// Puts the deadlines of a peer's operation into our time.
pub fn correct_op(op: &mut Op<'_>, ahead: i64) {
    if ahead == 0 {
        return;
    }
    for effect in &mut op.effects {
        match effect {
            Effect::Replace {
                value: Some(Value::Deadline(at)),
                ..
            } => *at = here(*at, ahead),
            Effect::Clear(clear) => clear.expired = clear.expired.map(|at| here(at, ahead)),
            Effect::Replace { .. } | Effect::Increment { .. } => {}
        }
    }
}

/// Puts the deadlines in a slice into our time.
pub fn correct_slice(slice: &mut Slice, ahead: i64) {
    if ahead == 0 {
        return;
    }
    for base in &mut slice.base {
        base.deadline = base.deadline.map(|at| here(at, ahead));
    }
    for record in &mut slice.records {
        for pending in &mut record.clears {
            pending.clear.expired = pending.clear.expired.map(|at| here(at, ahead));
        }
        let lives = record.cells.iter_mut().flat_map(|cell| &mut cell.cell.live);
        for live in lives {
            if let Some(OwnedValue::Deadline(at)) = &mut live.value {
                *at = here(*at, ahead);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(samples: impl IntoIterator<Item = i64>) -> Skew {
        let mut skew = Skew::default();
        samples.into_iter().for_each(|ahead| skew.sample(ahead));
        skew
    }

    #[test]
    fn delay_is_not_taken_for_a_slow_clock() {
        assert_eq!(of([-90, -4000, -2500]).correction(), 0);
        assert_eq!(of([3_600_000 - 90, 3_600_000 - 4000]).correction(), 3_600_000 - 90);
        assert_eq!(of([-3_600_000 - 90, -3_600_000 - 900]).correction(), -3_600_000 - 90);
    }

    #[test]
    fn a_clock_that_was_set_is_believed() {
        assert_eq!(of([0, 0, 5000]).correction(), 5000);
        let back = [5000].into_iter().chain([0; SAMPLES]);
        assert_eq!(of(back).correction(), 0);
    }
}
