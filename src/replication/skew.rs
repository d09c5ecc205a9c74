//! How far a peer's wall clock is from ours, for deadlines: 30 seconds are to be 30 seconds in every region although a
//! clock is wrong.
//!
//! Hellos and headers say what time it was at their sender. What it takes until we read them makes the peer's clock look
//! slow, by no more than the time in which we have heard nothing of the peer. So each says between what bounds the
//! difference lies. Only what all of them leave no doubt about is corrected, and not when it is small: equal deadlines
//! then are equal in all regions, to the millisecond.

use std::collections::VecDeque;
use std::time::Duration;

use super::wire::Slice;
use crate::crdt::{Effect, NEVER, Op, OwnedValue, Value};

/// Samples that are remembered. After a peer's clock was set back it takes so many until we believe it.
const SAMPLES: usize = 8;
/// Differences up to this, in ms, are not corrected.
pub const TOLERANCE: i64 = 1000;

/// Bounds of the difference between a peer's clock and ours, in ms: positive when the peer's is ahead.
#[derive(Default, Clone, Debug)]
pub struct Skew(VecDeque<(i64, i64)>);

impl Skew {
    /// A word of the peer was `ahead` of our clock, and on its way for at most `delay`.
    pub fn sample(&mut self, ahead: i64, delay: Duration) {
        if self.0.len() == SAMPLES {
            self.0.pop_front();
        }
        let delay = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        self.0.push_back((ahead, ahead.saturating_add(delay)));
    }

    /// Milliseconds by which the peer is at least ahead of us.
    pub fn ahead(&self) -> i64 {
        self.0.iter().map(|(least, _)| *least).max().unwrap_or(0)
    }

    /// What is to be taken from the peer's deadlines.
    pub fn correction(&self) -> i64 {
        let (least, most) = (self.ahead(), self.0.iter().map(|(_, most)| *most).min().unwrap_or(0));
        match (least, most) {
            (least, _) if least > TOLERANCE => least,
            (least, most) if most < -TOLERANCE => most.max(least),
            _ => 0,
        }
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

    fn of(samples: impl IntoIterator<Item = (i64, u64)>) -> Skew {
        let mut skew = Skew::default();
        for (ahead, delay) in samples {
            skew.sample(ahead, Duration::from_millis(delay));
        }
        skew
    }

    #[test]
    fn delay_is_not_taken_for_a_slow_clock() {
        assert_eq!(of([(-90, 100), (-4000, 4000), (-2500, 3000)]).correction(), 0);
        assert_eq!(of([(-4000, 5000)]).correction(), 0);
        let hour = 3_600_000;
        assert_eq!(of([(hour - 90, 1000), (hour - 4000, 5000)]).correction(), hour - 90);
        assert_eq!(of([(-hour - 90, 1000), (-hour - 20, 100)]).correction(), -hour + 80);
    }

    #[test]
    fn a_clock_that_was_set_is_believed() {
        assert_eq!(of([(0, 100), (0, 100), (5000, 100)]).correction(), 5000);
        let back = [(5000, 100)].into_iter().chain([(0, 100); SAMPLES]);
        assert_eq!(of(back).correction(), 0);
    }
}
