//! What one direction of a link does to datagrams.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Datagrams that would wait longer than this for bandwidth are dropped, as a router's queue does.
const QUEUE: Duration = Duration::from_millis(250);

/// Conditions of one direction. Probabilities are per datagram, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    pub delay: Duration,
    /// Up to this much is added to the delay; the order is kept.
    pub jitter: Duration,
    pub loss: f64,
    pub duplicate: f64,
    /// These are held back and overtaken by later ones.
    pub reorder: f64,
    /// Bytes per second.
    pub bandwidth: Option<u64>,
}

impl Conditions {
    pub const PERFECT: Conditions = Conditions {
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        loss: 0.0,
        duplicate: 0.0,
        reorder: 0.0,
        bandwidth: None,
    };
}

/// What a direction did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams handed on, duplicates included.
    pub passed: u64,
    pub dropped: u64,
    /// Payload bytes of the datagrams handed on.
    pub bytes: u64,
}

/// One direction of a link, shared by the relays that carry it.
pub struct Direction {
    state: Mutex<State>,
    passed: AtomicU64,
    dropped: AtomicU64,
    bytes: AtomicU64,
}

struct State {
    conditions: Conditions,
    cut: bool,
    random: Random,
    /// When the last datagram that kept its order leaves.
    last: Option<Instant>,
    /// When the line is free for the next byte.
    idle: Option<Instant>,
}

impl Direction {
    pub fn new(seed: u64) -> Direction {
        let state = State {
            conditions: Conditions::PERFECT,
            cut: false,
            random: Random(seed),
            last: None,
            idle: None,
        };
        Direction {
            state: Mutex::new(state),
            passed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Applies to datagrams that arrive from now on.
    pub fn set(&self, conditions: Conditions) {
        self.lock().conditions = conditions;
    }

    /// Nothing passes any more, datagrams on their way included.
    pub fn cut(&self) {
        self.lock().cut = true;
    }

    /// Undoes a cut; the other conditions stay.
    pub fn heal(&self) {
        self.lock().cut = false;
    }

    pub fn is_cut(&self) -> bool {
        self.lock().cut
    }

    pub fn counts(&self) -> Counts {
        Counts {
            passed: self.passed.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// When the copies of a datagram that arrives at `now` leave: none when it is lost, two when it is duplicated.
    pub(super) fn departures(&self, now: Instant, length: usize) -> [Option<Instant>; 2] {
        let departures = self.lock().departures(now, length);
        if departures[0].is_none() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        departures
    }

    /// Counts a datagram that leaves; false when the line was cut meanwhile.
    pub(super) fn leaves(&self, length: usize) -> bool {
        if self.is_cut() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.passed.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(length as u64, Ordering::Relaxed);
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    fn departures(&mut self, now: Instant, length: usize) -> [Option<Instant>; 2] {
        let Conditions {
            delay,
            jitter,
            loss,
            duplicate,
            reorder,
            bandwidth,
        } = self.conditions;
        if self.cut || self.random.chance(loss) {
            return [None, None];
        }
        let Some(sent) = self.transmit(now, length, bandwidth) else {
            return [None, None];
        };
        let arrival = sent + delay + jitter.mul_f64(self.random.unit());
        let first = if self.random.chance(reorder) {
            arrival + delay + Duration::from_millis(5)
        } else {
            let ordered = self.last.map_or(arrival, |last| last.max(arrival));
            self.last = Some(ordered);
            ordered
        };
        let second = self
            .random
            .chance(duplicate)
            .then(|| first + jitter.mul_f64(self.random.unit()));
        [Some(first), second]
    }

    /// When the last byte is on the line; `None` when the queue before it is full.
    fn transmit(&mut self, now: Instant, length: usize, bandwidth: Option<u64>) -> Option<Instant> {
        let Some(bandwidth) = bandwidth else { return Some(now) };
        let begin = self.idle.map_or(now, |idle| idle.max(now));
        if begin - now > QUEUE {
            return None;
        }
        let end = begin + Duration::from_secs_f64(length as f64 / bandwidth.max(1) as f64);
        self.idle = Some(end);
        Some(end)
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): the same seed gives the same line.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.unit() < probability
    }
}
