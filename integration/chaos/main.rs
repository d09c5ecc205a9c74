//! A long day for three regions: everything that can happen to servers and links happens, drawn from a seed, while
//! clients write; then a specification looks at what is left.
//!
//! * [`faults`]: the schedule; [`operator`]: carries it out
//! * [`client`]: clients that remember their writes; [`watcher`]: who held what, and when
//! * [`history`]: all that was done and seen; [`possession`], [`spec`]: what must be true of it
//!
//! `CHAOS_SEED` and `CHAOS_SECONDS` choose the run; the same seed gives the same faults at the same times.

mod client;
mod faults;
mod history;
mod operator;
mod place;
mod possession;
mod run;
mod spec;
mod watcher;

use std::env;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SECONDS: u64 = 180;

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is not a number: {text}")),
    )
}

#[test]
fn a_long_day() {
    // Another one every day: what a run finds is repeated with its seed.
    let today = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs() / 86_400)
    };
    let seed = number("CHAOS_SEED").unwrap_or_else(today);
    let length = Duration::from_secs(number("CHAOS_SECONDS").unwrap_or(SECONDS));
    println!("chaos: CHAOS_SEED={seed} CHAOS_SECONDS={}", length.as_secs());
    run::run(seed, length);
}
