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

/// Milliseconds from `earlier` to `later`, negative when they are the other way round.
pub fn millis_between(earlier: Hlc, later: Hlc) -> i64 {
    let millis = |span: u64| i64::try_from(u128::from(span) * 1000 >> 32).unwrap_or(i64::MAX);
    if later >= earlier {
        millis(later - earlier)
    } else {
        -millis(earlier - later)
    }
}
