//! A long day for three regions: everything that can happen to servers and links happens, drawn from a seed, while
//! clients write; then a specification looks at what is left.
//!
//! * [`sites`]: what the regions are; [`faults`]: the schedule; [`operator`]: carries it out
//! * [`client`]: clients that remember their writes; [`watcher`]: who held what, and when
//! * [`history`]: all that was done and seen; [`proofs`], [`possession`]: which writes may not be lost; [`spec`]: what must be
//!   true of it
//! * [`durability`]: a measurement beside it: what is lost in which configuration
//!
//! `CHAOS_REGIONS`, `CHAOS_SEED` and `CHAOS_SECONDS` choose the run; the same seed gives the same faults at the same times.

mod client;
mod durability;
mod faults;
mod history;
mod operator;
mod place;
mod possession;
mod proofs;
mod run;
mod sites;
mod spec;
mod watcher;

use std::env;
use std::time::Duration;

const SECONDS: u64 = 180;

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is not a number: {text}")),
    )
}

/// Without a choice of regions each kind has half of the time.
#[test]
fn a_long_day() {
    let seed = number("CHAOS_SEED").unwrap_or(1);
    let seconds = number("CHAOS_SECONDS").unwrap_or(SECONDS);
    let kinds: &[sites::Kind] = match env::var("CHAOS_REGIONS").unwrap_or_default().to_lowercase().as_str() {
        "volatile" => &[sites::Kind::Volatile],
        "durable" => &[sites::Kind::Durable],
        "" => &[sites::Kind::Volatile, sites::Kind::Durable],
        other => panic!("CHAOS_REGIONS is {other}: it must be volatile or durable"),
    };
    let share = seconds / kinds.len() as u64;
    for kind in kinds {
        println!("chaos: CHAOS_REGIONS={kind:?} CHAOS_SEED={seed} CHAOS_SECONDS={share}");
        run::run(*kind, seed, Duration::from_secs(share));
    }
}

#[test]
#[ignore = "a measurement: make durability"]
fn what_is_lost_in_which_configuration() {
    let deaths = number("CHAOS_DEATHS").unwrap_or(10) as usize;
    println!("| files | replica | death | `durability` | deaths | acknowledged | lost at first | lost in the end |");
    println!("|---|---|---|---|---|---|---|---|");
    for configuration in durability::Configuration::all() {
        let losses = durability::measure(configuration, deaths).expect("the region comes back");
        let durability::Losses {
            level,
            acknowledged,
            at_first,
            in_the_end,
        } = losses;
        println!("{configuration} {level} | {deaths} | {acknowledged} | {at_first} | {in_the_end} |");
    }
}
