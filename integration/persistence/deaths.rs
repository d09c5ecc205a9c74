//! Servers that are killed while one brings the other up to date.

use std::fs;

use redis_geo::lab::regions::Regions;
use redis_geo::lab::relay::Conditions;
use redis_geo::lab::wait_for;

use crate::pair::{PATIENCE, add_lines, agree, await_settled, fill, filled, launch, prepare, run, write};

const ALWAYS: [&str; 2] = ["appendonly yes", "appendfsync always"];
const KEYS: usize = 5_000;
/// So slow that a transfer takes some seconds.
const SLOW: Conditions = Conditions {
    bandwidth: Some(100_000),
    ..Conditions::PERFECT
};

fn keys(regions: &Regions, region: &str) -> usize {
    run(regions, region, "DBSIZE")
}

/// Waits until us has some of the keys that it lacked, of `all`.
fn await_middle(regions: &Regions, all: usize) {
    let before = keys(regions, "us");
    wait_for("the middle of a transfer", PATIENCE, || {
        (keys(regions, "us") > before + 200).then_some(())
    })
    .unwrap();
    assert!(keys(regions, "us") < all, "the transfer is over");
}

/// Kills a server while us does not have `all` keys, and starts it again. Then the link is a good one.
fn die(regions: &mut Regions, victim: &str, all: usize) {
    regions.server(victim).kill();
    regions.server(victim).restart().unwrap();
    assert!(keys(regions, "us") < all, "the transfer was over");
    regions.set(Conditions::PERFECT);
}

/// us has lost its files and takes over all that eu has.
fn adoption(files_of_us: &[&str], victim: &str) {
    let mut regions = prepare(&["eu", "us"], &ALWAYS);
    add_lines(&mut regions, "us", files_of_us);
    launch(&mut regions, &["eu", "us"]);
    write(&regions, 0);
    fill(&regions, "eu", "settled", KEYS);
    agree(&regions, 20);
    filled(&regions, "settled", KEYS);
    await_settled(&regions, "eu", "us");
    regions.server("us").kill();
    let directory = regions.server("us").directory().to_owned();
    fs::remove_dir_all(&directory).unwrap();
    fs::create_dir_all(&directory).unwrap();
    fill(&regions, "eu", "unsettled", KEYS / 10);
    let all = keys(&regions, "eu");

    regions.set(SLOW);
    regions.server("us").restart().unwrap();
    await_middle(&regions, all);
    assert_eq!(regions.status("us").unwrap().text("state"), "recovering");
    // Taken while recovering. Without a file it dies with the server.
    let kept = victim == "eu" || !files_of_us.is_empty();
    let expected = if kept { 27 } else { 20 };
    if kept {
        run::<()>(&regions, "us", "GEO.INCRBY counter 7");
    }
    die(&mut regions, victim, all);
    agree(&regions, expected);
    write(&regions, 1);
    agree(&regions, expected + 20);
    filled(&regions, "settled", KEYS);
    filled(&regions, "unsettled", KEYS / 10);
    await_settled(&regions, "eu", "us");
    await_settled(&regions, "us", "eu");
}

#[test]
fn a_region_killed_while_it_adopts() {
    adoption(&[], "us");
    adoption(&ALWAYS, "us");
}

#[test]
fn a_region_killed_while_it_is_adopted_from() {
    adoption(&[], "eu");
    adoption(&ALWAYS, "eu");
}

#[test]
fn a_region_killed_while_it_catches_up_or_is_caught_up_from() {
    for victim in ["us", "eu"] {
        let mut regions = prepare(&["eu", "us"], &ALWAYS);
        add_lines(&mut regions, "us", &ALWAYS);
        launch(&mut regions, &["eu", "us"]);
        write(&regions, 0);
        agree(&regions, 20);
        regions.isolate("us");
        fill(&regions, "eu", "theirs", KEYS);
        fill(&regions, "us", "ours", KEYS / 10);
        write(&regions, 1);
        let all = keys(&regions, "eu") + KEYS / 10;
        regions.set(SLOW);
        regions.heal();
        await_middle(&regions, all);
        run::<()>(&regions, "us", "GEO.INCRBY counter 7");
        die(&mut regions, victim, all);
        agree(&regions, 47);
        filled(&regions, "theirs", KEYS);
        filled(&regions, "ours", KEYS / 10);
        await_settled(&regions, "eu", "us");
        await_settled(&regions, "us", "eu");
    }
}
