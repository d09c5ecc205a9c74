//! Whole clusters under one seed, in simulated time: real engines and real frames, without a server or a
//! network. Run more with `GEO_SEEDS=20000`, replay one with `GEO_SEED=17 GEO_TRACE=1`.

mod broken;
mod commands;
mod keeping;
mod passing;
mod provisional;
mod purge;
mod rename;
mod run;
mod sketch;
mod spec;
mod world;

use run::{Options, run};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

fn traces() -> bool {
    std::env::var_os("GEO_TRACE").is_some()
}

fn check(first: u64, count: u64) {
    let mut failed = Vec::new();
    for seed in first..first + count {
        let options = Options::of_seed(seed);
        if let Err(why) = run(seed, &options, traces()) {
            println!("seed {seed} ({options:?}): {why}");
            failed.push(seed);
        }
    }
    assert!(
        failed.is_empty(),
        "failing seeds (replay with GEO_SEED=<seed> GEO_TRACE=1): {failed:?}"
    );
}

/// Seeds that failed once.
#[test]
fn regressions() {
    for seed in [
        9, 128, 368, 426, 476, 819, 2054, 2103, 2787, 2954, 3538, 3808, 4370, 6663, 7371, 14337, 18191,
    ] {
        check(seed, 1);
    }
}

fn share(part: u64) {
    if let Some(seed) = std::env::var("GEO_SEED").ok().and_then(|text| text.parse().ok()) {
        if part == 0 {
            check(seed, 1);
        }
        return;
    }
    let seeds = number("GEO_SEEDS", 10_000);
    check(number("GEO_FIRST", 0) + part * seeds / 2, seeds / 2);
}

#[test]
fn seeds_first_half() {
    share(0);
}

#[test]
fn seeds_second_half() {
    share(1);
}

/// `failed`: seeds that failed once.
fn check_all(failed: &[u64], of_seed: impl Fn(u64) -> Options) {
    let first = number("GEO_FIRST", 0);
    let seeds = first..first + number("GEO_SEEDS", 500);
    for seed in failed.iter().copied().chain(seeds) {
        let options = of_seed(seed);
        if let Err(why) = run(seed, &options, traces()) {
            panic!("seed {seed} ({options:?}): {why}");
        }
    }
}

/// Half of the writes are not recorded, but captured.
#[test]
fn by_other_roads() {
    check_all(&[1025], |seed| Options {
        roads: 0.5,
        ..Options::of_seed(seed)
    });
}

/// Regions start with data of their own, which the cluster that they join then has, too.
#[test]
fn data_of_their_own() {
    check_all(&[354, 1872], |seed| Options {
        data: 0.7,
        brings: true,
        ..Options::of_seed(seed)
    });
}

/// Keys take the names of others, of the same type or another.
#[test]
fn renaming() {
    check_all(&[], |seed| Options {
        types: true,
        renames: 0.15,
        ..Options::of_seed(seed)
    });
}

/// Keys expire at any moment, also between two looks of the engine at them.
#[test]
fn expiring_at_any_moment() {
    check_all(&[587, 2123, 2420], |seed| Options {
        expiry: true,
        passes: true,
        roads: if seed.is_multiple_of(3) { 0.3 } else { 0.0 },
        brings: seed.is_multiple_of(4),
        data: if seed % 4 < 2 { 0.7 } else { 0.0 },
        ..Options::of_seed(seed)
    });
}
