//! The hybrid logical clock of one replica id, on `uhlc`.

use std::cell::Cell;
use std::time::Duration;

use uhlc::{HLC, HLCBuilder, ID, NTP64, Timestamp};

use super::dot::Hlc;

thread_local! {
    /// The wall clock that `uhlc` reads. The kernel reads no clock: its caller sets this one.
    static WALL: Cell<u64> = const { Cell::new(0) };
}

/// Hands out stamps that rise strictly, whatever the wall clock does.
pub struct Clock {
    hlc: HLC,
    peer: ID,
    wall: u64,
    drift: Duration,
}

impl Clock {
    /// `drift`: a stamp of a peer further ahead of our wall clock never moves this clock.
    pub fn new(drift: Duration) -> Clock {
        let id = |n: u8| ID::try_from([n]).unwrap_or_else(|_| ID::rand());
        let hlc = HLCBuilder::new()
            .with_id(id(1))
            .with_clock(|| NTP64(WALL.with(Cell::get)))
            .with_max_delta(drift)
            .build();
        Clock {
            hlc,
            peer: id(2),
            wall: 0,
            drift,
        }
    }

    /// Sets the wall clock (NTP64, see [`ntp64`]) that following calls see.
    pub fn set_wall(&mut self, wall: u64) {
        self.wall = wall;
    }

    pub fn wall(&self) -> u64 {
        self.wall
    }

    /// A fresh stamp, greater than all before it.
    pub fn stamp(&mut self) -> Hlc {
        WALL.with(|w| w.set(self.wall));
        self.hlc.new_timestamp().get_time().as_u64()
    }

    /// Takes note of a peer's stamp. False when it lies beyond the drift bound: it then moved nothing.
    pub fn observe(&mut self, stamp: Hlc) -> bool {
        if stamp > self.wall.saturating_add(NTP64::from(self.drift).as_u64()) {
            return false;
        }
        WALL.with(|w| w.set(self.wall));
        self.hlc
            .update_with_timestamp(&Timestamp::new(NTP64(stamp), self.peer))
            .is_ok()
    }
}

/// Seconds since the epoch as NTP64.
pub fn ntp64(since_epoch: Duration) -> u64 {
    NTP64::from(since_epoch).as_u64()
}

/// Milliseconds since the epoch.
pub fn unix_millis(wall: u64) -> u64 {
    ((u128::from(wall) * 1000) >> 32) as u64
}

/// Milliseconds from `earlier` to `later`, negative when they are the other way round.
pub fn millis_between(earlier: Hlc, later: Hlc) -> i64 {
    let millis = |span: u64| i64::try_from((u128::from(span) * 1000) >> 32).unwrap_or(i64::MAX);
    if later >= earlier {
        millis(later - earlier)
    } else {
        -millis(earlier - later)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRIFT: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> u64 {
        ntp64(Duration::from_secs(seconds))
    }

    fn clock(seconds: u64) -> Clock {
        let mut clock = Clock::new(DRIFT);
        clock.set_wall(at(seconds));
        clock
    }

    #[test]
    fn stamps_rise_though_the_wall_clock_stands_or_steps_back() {
        let mut clock = clock(1000);
        let mut last = clock.stamp();
        for seconds in [1000, 1000, 400, 999, 1001] {
            clock.set_wall(at(seconds));
            let stamp = clock.stamp();
            assert!(stamp > last);
            last = stamp;
        }
        assert!(last >= at(1001));
    }

    #[test]
    fn a_stamp_follows_every_stamp_observed() {
        let mut clock = clock(1000);
        let theirs = at(1050);
        assert!(clock.observe(theirs));
        assert!(clock.stamp() > theirs);
    }

    #[test]
    fn a_stamp_beyond_the_drift_moves_nothing() {
        let mut clock = clock(1000);
        assert!(!clock.observe(at(1061)) && !clock.observe(u64::MAX));
        assert!(clock.stamp() < at(1001));
    }

    #[test]
    fn milliseconds_between_stamps_have_a_sign() {
        let (earlier, later) = (at(10), ntp64(Duration::from_millis(12_500)));
        assert_eq!(
            (millis_between(earlier, later), millis_between(later, earlier)),
            (2500, -2500)
        );
        assert!(millis_between(0, u64::MAX) > 0 && millis_between(u64::MAX, 0) < 0);
    }
}
