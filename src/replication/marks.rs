//! How far peers lag behind our own operations.

use std::collections::VecDeque;
use std::time::Duration;

use crate::crdt::Hlc;

/// Milestones of our stream: (last stamp, operations so far, when). Thinned out when there are many, so a long
/// outage costs nothing and its figures get coarse.
#[derive(Default)]
pub struct Marks {
    marks: VecDeque<(Hlc, u64, Duration)>,
    total: u64,
    acknowledged: u64,
}

const MOST: usize = 4096;

impl Marks {
    pub fn add(&mut self, last: Hlc, operations: u64, now: Duration) {
        self.total += operations;
        self.marks.push_back((last, self.total, now));
        if self.marks.len() > MOST {
            let mut keep = false;
            self.marks.retain(|_| {
                keep = !keep;
                keep
            });
        }
    }

    /// Operations above `durable` and the age of the oldest of them.
    pub fn lag(&self, durable: Hlc, now: Duration) -> (u64, Duration) {
        let at = self.marks.partition_point(|mark| mark.0 <= durable);
        let before = if at == 0 {
            self.acknowledged
        } else {
            self.marks[at - 1].1
        };
        let age = self
            .marks
            .get(at)
            .map_or(Duration::ZERO, |mark| now.saturating_sub(mark.2));
        (self.total - before, age)
    }

    /// Forgets what everybody has.
    pub fn trim(&mut self, stable: Hlc) {
        while let Some((_, total, _)) = self.marks.front().filter(|mark| mark.0 <= stable).copied() {
            self.acknowledged = total;
            self.marks.pop_front();
        }
    }
}
