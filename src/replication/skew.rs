//! How far a peer's wall clock is from ours, for deadlines: 30 seconds are to be 30 seconds in every region although a
//! clock is wrong.
//!
//! A peer's word says what time it was at the peer when it was sent: before now, and after we had said what the peer
//! says to have heard of our clock. So each word bounds the difference, however long it was on its way. Only what the
//! bounds leave no doubt about is corrected, and not when it is small: equal deadlines then are equal in all regions, to
//! the millisecond.
//!
//! Compare NTP (RFC 5905), whose offset lies between the same bounds.

use std::collections::VecDeque;

use super::wire::Slice;
use crate::crdt::{Effect, Hlc, NEVER, Op, OwnedValue, Value, millis_between};

/// Samples that are remembered.
const SAMPLES: usize = 8;
/// Differences up to this, in ms, are not corrected.
pub const TOLERANCE: i64 = 1000;

/// Bounds of the difference between a peer's clock and ours, in ms: positive when the peer's is ahead.
#[derive(Default, Clone, Debug)]
pub struct Skew {
    bounds: VecDeque<(i64, i64)>,
    heard: Hlc,
}

impl Skew {
    /// A word of the peer that arrived at our time `now` was said at its time `theirs`, and after it had heard our time
    /// `ours`.
    pub fn sample(&mut self, now: Hlc, theirs: Hlc, ours: Option<Hlc>) {
        if self.bounds.len() == SAMPLES {
            self.bounds.pop_front();
        }
        let most = ours
            .filter(|ours| *ours > 0)
            .map_or(i64::MAX, |ours| millis_between(ours, theirs));
        self.bounds.push_back((millis_between(now, theirs), most));
        self.heard = theirs;
        // Bounds that exclude each other: a clock was set in between, and what is older is not true any more.
        while self.ahead() > self.most() {
            self.bounds.pop_front();
        }
    }

    /// The peer's clock when we last heard of it.
    pub fn heard(&self) -> Hlc {
        self.heard
    }

    /// Milliseconds by which the peer is at least ahead of us.
    pub fn ahead(&self) -> i64 {
        self.bounds.iter().map(|(least, _)| *least).max().unwrap_or(0)
    }

    fn most(&self) -> i64 {
        self.bounds.iter().map(|(_, most)| *most).min().unwrap_or(i64::MAX)
    }

    /// What is to be taken from the peer's deadlines.
    pub fn correction(&self) -> i64 {
        match (self.ahead(), self.most()) {
            (least, _) if least > TOLERANCE => least,
            (_, most) if most < -TOLERANCE => most,
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
    use std::time::Duration;

    use super::*;

    use crate::crdt::ntp64;

    fn at(millis: u64) -> Hlc {
        ntp64(Duration::from_millis(millis))
    }

    /// Words of a peer whose clock is `ahead`: when each was said by our clock, and how long it was on its way there and
    /// what it answers had been here.
    fn of(ahead: i64, words: &[(u64, u64, u64)]) -> Skew {
        let mut skew = Skew::default();
        for (said, there, here) in words {
            let theirs = at(said.saturating_add_signed(ahead));
            skew.sample(at(said + there), theirs, Some(at(said - here)));
        }
        skew
    }

    #[test]
    fn delay_is_not_taken_for_a_wrong_clock() {
        let words = [(10_000, 90, 80), (10_000, 4000, 5000), (20_000, 9000, 30)];
        assert_eq!(of(0, &words).correction(), 0);
        assert_eq!(of(900, &words).correction(), 0);
        let slow = [(10_000, 4000, 5000), (20_000, 9000, 6000)];
        assert_eq!((of(0, &slow).correction(), of(-4000, &slow).correction()), (0, 0));
    }

    #[test]
    fn an_hour_is_corrected_to_what_the_bounds_leave_open() {
        let hour = 3_600_000;
        for ahead in [hour, -hour] {
            let corrected = of(ahead, &[(9_000_000, 90, 80), (9_001_000, 4000, 5000)]).correction();
            assert!((ahead - 91..=ahead + 91).contains(&corrected), "{corrected}");
        }
    }

    #[test]
    fn a_peer_that_has_not_heard_us_may_be_slow_for_any_reason() {
        let mut skew = Skew::default();
        skew.sample(at(9_000_000), at(1000), None);
        assert_eq!(skew.correction(), 0);
        skew.sample(at(9_000_100), at(1050), Some(at(9_000_050)));
        assert!(skew.correction() < -8_990_000);
    }

    #[test]
    fn a_clock_that_was_set_is_believed() {
        let mut skew = of(5000, &[(10_000, 50, 50)]);
        for word in 0..SAMPLES as u64 {
            let said = 20_000 + 100 * word;
            skew.sample(at(said + 50), at(said), Some(at(said - 50)));
        }
        assert_eq!(skew.correction(), 0);
    }

    #[test]
    fn a_clock_that_is_set_back_is_believed_at_once() {
        let mut skew = of(0, &[(9_000_000, 50, 50), (9_001_000, 50, 50)]);
        skew.sample(at(9_002_050), at(5_402_000), Some(at(9_001_950)));
        assert!(
            (-3_600_000..=-3_599_949).contains(&skew.correction()),
            "{}",
            skew.correction()
        );
    }
}
