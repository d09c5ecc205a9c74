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

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn lag_is_what_lies_above_and_how_old_that_is() {
        let mut marks = Marks::default();
        assert_eq!(marks.lag(0, seconds(5)), (0, Duration::ZERO));
        marks.add(10, 3, seconds(1));
        marks.add(20, 4, seconds(2));
        assert_eq!(marks.lag(0, seconds(5)), (7, seconds(4)));
        assert_eq!(marks.lag(10, seconds(5)), (4, seconds(3)));
        assert_eq!(marks.lag(15, seconds(5)), (4, seconds(3)));
        assert_eq!(marks.lag(20, seconds(5)), (0, Duration::ZERO));
    }

    #[test]
    fn trimming_changes_no_lag() {
        let mut marks = Marks::default();
        (1..=5).for_each(|at| marks.add(at * 10, 2, seconds(at)));
        let before: Vec<_> = (3..=5).map(|at| marks.lag(at * 10, seconds(9))).collect();
        marks.trim(35);
        assert_eq!(marks.marks.len(), 2);
        assert_eq!(
            (3..=5).map(|at| marks.lag(at * 10, seconds(9))).collect::<Vec<_>>(),
            before
        );
    }

    #[test]
    fn many_marks_are_thinned_and_only_get_coarse() {
        let mut marks = Marks::default();
        let many = 10 * MOST as u64;
        (1..=many).for_each(|at| marks.add(at, 1, seconds(at)));
        assert!(marks.marks.len() <= MOST);
        assert_eq!(marks.lag(0, seconds(many)).0, many);
        let half = marks.lag(many / 2, seconds(many)).0;
        // Each thinning doubles the distance of the older marks.
        assert!((many / 2..many / 2 + many / 16).contains(&half), "{half}");
        assert_eq!(marks.lag(many, seconds(many)), (0, Duration::ZERO));
    }
}
