//! Waiting for a condition instead of for a time.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at a condition.
const POLL: Duration = Duration::from_millis(10);

/// A condition that did not come true before its deadline.
#[derive(Debug)]
pub struct Timeout {
    pub what: String,
    pub waited: Duration,
}

impl std::error::Error for Timeout {}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waited {:.1} s in vain for {}", self.waited.as_secs_f64(), self.what)
    }
}

/// Asks `probe` again and again until it answers, for at most `patience`.
pub fn wait_for<T>(what: &str, patience: Duration, mut probe: impl FnMut() -> Option<T>) -> Result<T, Timeout> {
    let start = Instant::now();
    loop {
        if let Some(answer) = probe() {
            return Ok(answer);
        }
        if start.elapsed() >= patience {
            return Err(Timeout {
                what: what.into(),
                waited: start.elapsed(),
            });
        }
        thread::sleep(POLL);
    }
}
