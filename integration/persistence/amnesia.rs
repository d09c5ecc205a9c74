//! Forgetting, of every kind, and coming back from the peers.

use std::fs;

use redis_geo::lab::regions::Regions;
use redis_geo::lab::wait_for;

use crate::pair::{PATIENCE, add_lines, agree, await_settled, copy_all, launch, pair, prepare, run, write};

#[test]
fn a_flush_that_the_module_does_not_see_is_undone_by_the_peers() {
    for flush in ["FLUSHALL", "FLUSHDB", "FLUSHALL ASYNC"] {
        let regions = pair(&["geo.transparent no"]);
        write(&regions, 0);
        agree(&regions, 20);
        run::<()>(&regions, "eu", flush);
        write(&regions, 1);
        agree(&regions, 40);
        assert_eq!(run::<i64>(&regions, "eu", "SCARD set"), 4, "{flush}");
    }
}

#[test]
fn a_region_that_restarts_without_data_gets_it_back() {
    let mut regions = pair(&[]);
    write(&regions, 0);
    agree(&regions, 20);
    regions.server("eu").restart().unwrap();
    write(&regions, 1);
    agree(&regions, 40);
}

#[test]
fn an_old_snapshot_is_brought_up_to_date() {
    let mut regions = pair(&[]);
    write(&regions, 0);
    agree(&regions, 20);
    run::<()>(&regions, "eu", "SAVE");
    write(&regions, 1);
    run::<()>(&regions, "us", "GEO.SREM set us-0");
    agree(&regions, 40);
    regions.server("eu").restart().unwrap();
    write(&regions, 2);
    agree(&regions, 60);
    assert_eq!(
        run::<i64>(&regions, "eu", "SISMEMBER set us-0"),
        0,
        "removed members stay removed"
    );
}

/// What a region keeps for itself is not replaced, and not given away, when a peer's whole state is.
#[test]
fn keys_outside_geo_keys_stay_when_a_state_is_adopted() {
    let mut regions = prepare(&["eu", "us"], &["geo.keys app:*"]);
    add_lines(&mut regions, "us", &["geo.keys app:*"]);
    launch(&mut regions, &["eu", "us"]);
    let has = |regions: &Regions, region: &str, count: i64| {
        wait_for(&format!("{region} to have {count}"), PATIENCE, || {
            (run::<i64>(regions, region, "SCARD app:t") == count).then_some(())
        })
        .unwrap();
    };
    run::<()>(&regions, "eu", "SET local:a eu");
    run::<()>(&regions, "us", "SET local:a us");
    run::<()>(&regions, "us", "SADD local:b x");
    run::<()>(&regions, "eu", "SADD app:t a");
    has(&regions, "us", 1);
    await_settled(&regions, "eu", "us");
    run::<()>(&regions, "eu", "SAVE");
    run::<()>(&regions, "us", "SADD app:t b");
    has(&regions, "eu", 2);
    await_settled(&regions, "us", "eu");
    regions.server("eu").restart().unwrap();
    regions.await_links(PATIENCE).unwrap();
    has(&regions, "eu", 2);
    wait_for("eu to be active", PATIENCE, || {
        (regions.status("eu").ok()?.text("state") == "active").then_some(())
    })
    .unwrap();
    assert!(regions.server("eu").log().contains("adopting the state"));
    for (region, other, shown) in [("eu", 0, "eu"), ("us", 1, "us")] {
        assert_eq!(run::<String>(&regions, region, "GET local:a"), shown);
        assert_eq!(run::<i64>(&regions, region, "EXISTS local:b"), other);
    }
}

#[test]
fn a_durable_region_goes_on_from_its_own_file() {
    let mut regions = pair(&["appendonly yes", "appendfsync always"]);
    write(&regions, 0);
    agree(&regions, 20);
    regions.server("us").kill();
    run::<()>(&regions, "eu", "GEO.INCRBY counter 5");
    wait_for("all to be on disk", PATIENCE, || {
        (regions.status("eu").ok()?.number("unconfirmed_ms") == Some(0)).then_some(())
    })
    .unwrap();
    regions.server("eu").restart().unwrap();
    // Alone: its own data counts again.
    wait_for("eu to go on", PATIENCE, || {
        (regions.status("eu").ok()?.text("state") == "active").then_some(())
    })
    .unwrap();
    assert_eq!(run::<i64>(&regions, "eu", "GET counter"), 25);
    regions.server("us").restart().unwrap();
    agree(&regions, 25);
}

#[test]
fn a_copied_directory_started_later_loses_nothing() {
    let mut regions = pair(&["appendonly yes", "appendfsync always"]);
    write(&regions, 0);
    agree(&regions, 20);
    let directory = regions.directory().join("eu");
    let copy = regions.directory().join("copy");
    copy_all(&directory, &copy);
    write(&regions, 1);
    agree(&regions, 40);
    regions.server("eu").kill();
    fs::remove_dir_all(&directory).unwrap();
    fs::rename(&copy, &directory).unwrap();
    regions.server("eu").restart().unwrap();
    write(&regions, 2);
    agree(&regions, 60);
}

#[test]
fn reads_are_refused_while_recovering_when_so_set() {
    let mut regions = pair(&[]);
    write(&regions, 0);
    agree(&regions, 20);
    regions.server("us").kill();
    regions
        .settings("eu")
        .arguments
        .push(("recovering-reads".into(), "no".into()));
    let settings = regions.settings("eu").clone();
    regions.server("eu").settings = settings;
    regions.server("eu").restart().unwrap();
    let mut client = regions.connect("eu").unwrap();
    for words in [
        vec!["GET", "counter"],
        vec!["smembers", "set"],
        vec!["DBSIZE"],
        vec!["EVAL", "return redis.call('GET', 'k')", "0"],
    ] {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(word);
        }
        let error = command.exec(&mut client).expect_err(words[0]).to_string();
        assert!(error.contains("recovering"), "{words:?}: {error}");
    }
    assert_eq!(run::<i64>(&regions, "eu", "GEO.INCRBY counter 1"), 1, "writes go on");
    run::<()>(&regions, "eu", "GEO.RECOVER");
    wait_for("reads are served", PATIENCE, || {
        redis::cmd("GET").arg("counter").query::<i64>(&mut client).ok()
    })
    .unwrap();
}

#[test]
fn a_recovery_may_have_a_time_limit() {
    let mut regions = prepare(&["eu", "us"], &[]);
    regions
        .settings("eu")
        .arguments
        .push(("recovery-timeout".into(), "1".into()));
    regions.launch("eu").unwrap();
    wait_for("eu to go on alone", PATIENCE, || {
        (regions.status("eu").ok()?.text("state") == "active").then_some(())
    })
    .unwrap();
    run::<()>(&regions, "eu", "GEO.SET alone 1");
    assert!(regions.server("eu").log().contains("geo.recovery-timeout has passed"));
}
