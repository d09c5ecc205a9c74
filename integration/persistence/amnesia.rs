//! Forgetting, of every kind, and coming back from the peers.

use std::fs;
use std::time::Duration;

use redis_geo::lab::module::built;
use redis_geo::lab::regions::{Regions, Topology};
use redis_geo::lab::wait_for;

const PATIENCE: Duration = Duration::from_secs(60);

fn pair(lines: &[&str]) -> Regions {
    let mut regions = Regions::prepare(&built(), &["eu", "us"], Topology::Mesh, false, 1).unwrap();
    regions
        .settings("eu")
        .lines
        .extend(lines.iter().map(|line| (*line).to_owned()));
    for name in ["eu", "us"] {
        regions.launch(name).unwrap();
    }
    regions.await_links(PATIENCE).unwrap();
    regions
}

fn run<T: redis::FromRedisValue>(regions: &Regions, region: &str, command: &str) -> T {
    let mut words = command.split(' ');
    let mut request = redis::cmd(words.next().unwrap_or_default());
    for word in words {
        request.arg(word);
    }
    request
        .query(&mut regions.connect(region).unwrap())
        .unwrap_or_else(|error| panic!("{region}> {command}: {error}"))
}

fn write(regions: &Regions, round: u32) {
    for region in ["eu", "us"] {
        run::<()>(regions, region, &format!("GEO.SET {region}-{round} value"));
        run::<()>(regions, region, "GEO.INCRBY counter 10");
        run::<()>(regions, region, &format!("GEO.SADD set {region}-{round}"));
    }
}

fn agree(regions: &Regions, counter: i64) {
    regions.await_links(PATIENCE).unwrap();
    wait_for("all increments", PATIENCE, || {
        (run::<Option<i64>>(regions, "eu", "GET counter") == Some(counter)).then_some(())
    })
    .unwrap();
    regions.await_equal(PATIENCE).unwrap();
    assert_eq!(
        run::<i64>(regions, "eu", "GET counter"),
        counter,
        "every increment once"
    );
}

#[test]
fn a_flush_that_the_module_does_not_see_is_undone_by_the_peers() {
    for flush in ["FLUSHALL", "FLUSHDB", "FLUSHALL ASYNC"] {
        let regions = pair(&[]);
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

fn copy_all(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_all(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
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
    let mut regions = Regions::prepare(&built(), &["eu", "us"], Topology::Mesh, false, 1).unwrap();
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
