//! Memory and disk run out.

use std::time::Duration;

use redis_geo::lab::module::built;
use redis_geo::lab::regions::{Regions, Topology};
use redis_geo::lab::wait_for;

use crate::plain::until;
use crate::state::{info, lonely, ok, shown};

const PATIENCE: Duration = Duration::from_secs(60);

fn config(regions: &Regions, region: &str, name: &str, value: &str) {
    let mut connection = regions.connect(region).unwrap();
    redis::cmd("CONFIG")
        .arg("SET")
        .arg(name)
        .arg(value)
        .exec(&mut connection)
        .unwrap();
}

fn pair() -> Regions {
    let mut regions = Regions::prepare(&built(), &["eu", "us"], Topology::Mesh, false, 1).unwrap();
    for name in ["eu", "us"] {
        regions.launch(name).unwrap();
    }
    regions.await_links(PATIENCE).unwrap();
    regions
}

fn fill(regions: &Regions, region: &str, from: usize, count: usize) {
    let mut connection = regions.connect(region).unwrap();
    for number in from..from + count {
        let key = format!("key{number}");
        redis::cmd("GEO.SET")
            .arg(key)
            .arg(vec![b'x'; 10_000])
            .exec(&mut connection)
            .unwrap();
    }
}

#[test]
fn what_is_evicted_here_is_removed_everywhere() {
    let regions = pair();
    fill(&regions, "eu", 0, 300);
    regions.await_equal(PATIENCE).unwrap();
    config(&regions, "eu", "maxmemory-policy", "allkeys-lru");
    let used = used_memory(&regions, "eu");
    config(&regions, "eu", "maxmemory", &(used - 1_000_000).to_string());
    fill(&regions, "eu", 300, 10);
    regions.await_equal(PATIENCE).unwrap();
    let keys: i64 = redis::cmd("DBSIZE").query(&mut regions.connect("us").unwrap()).unwrap();
    let evicted = wait_for("evictions", PATIENCE, || {
        field(&regions, "eu", "evicted_keys").filter(|count| *count > 0)
    });
    assert!(evicted.unwrap() > 0 && keys < 310, "{keys} keys");
}

/// What is evicted stays elsewhere, and comes back when it is written to, here or there.
#[test]
fn what_is_evicted_here_only_stays_elsewhere_and_comes_back() {
    let regions = pair();
    fill(&regions, "eu", 0, 300);
    for member in ["a", "b", "c"] {
        run(&regions, "us", &["GEO.SADD", "set", member]);
    }
    run(&regions, "us", &["GEO.INCRBY", "n", "40"]);
    regions.await_equal(PATIENCE).unwrap();
    evict_all(&regions);
    let keys: i64 = redis::cmd("DBSIZE").query(&mut regions.connect("us").unwrap()).unwrap();
    assert!(keys >= 302, "us has {keys}");
    let evicted = regions.status("eu").unwrap().number("evicted_keys").unwrap();
    assert!(evicted >= 302, "{evicted} are evicted");
    // By a peer, and by a client here, who sees an absent key.
    run(&regions, "us", &["GEO.SADD", "set", "d"]);
    assert_eq!(run(&regions, "eu", &["GEO.INCRBY", "n", "2"]), redis::Value::Int(2));
    run(&regions, "eu", &["GEO.SET", "key7", "new"]);
    wait_for("what was touched to come back", PATIENCE, || {
        let members = run(&regions, "eu", &["SCARD", "set"]) == redis::Value::Int(4);
        let sum = run(&regions, "eu", &["GET", "n"]) == redis::Value::BulkString(b"42".to_vec());
        (members && sum).then_some(())
    })
    .unwrap();
    wait_for("us to have it all", PATIENCE, || {
        let sum = run(&regions, "us", &["GET", "n"]) == redis::Value::BulkString(b"42".to_vec());
        let set = run(&regions, "us", &["GET", "key7"]) == redis::Value::BulkString(b"new".to_vec());
        (sum && set).then_some(())
    })
    .unwrap();
    // Everything comes back to a region that is to hold everything.
    config(&regions, "eu", "geo.eviction", "replicate");
    regions.await_equal(PATIENCE).unwrap();
    assert_eq!(regions.status("eu").unwrap().number("evicted_keys"), Some(0));
}

/// The server of eu evicts all it has.
fn evict_all(regions: &Regions) {
    config(regions, "eu", "geo.eviction", "local");
    config(regions, "eu", "maxmemory-policy", "allkeys-random");
    config(regions, "eu", "maxmemory", "1");
    // A command that needs memory makes room for itself, until nothing is left.
    wait_for("everything to be evicted", PATIENCE, || {
        let mut connection = regions.connect("eu").ok()?;
        let _ = redis::cmd("GEO.SET").arg("probe").arg("x").exec(&mut connection);
        let keys: i64 = redis::cmd("DBSIZE").query(&mut connection).ok()?;
        (keys == 0).then_some(())
    })
    .unwrap();
    config(regions, "eu", "maxmemory", "0");
}

/// What this region had seen is removed everywhere, whether its own server has it or not.
#[test]
fn what_is_evicted_is_flushed_and_purged_all_the_same() {
    for (removes, left) in [("GEO.FLUSHALL", 0), ("GEO.FLUSHDB", 0), ("GEO.PURGE key1*", 300 - 111)] {
        let regions = pair();
        fill(&regions, "eu", 0, 300);
        regions.await_equal(PATIENCE).unwrap();
        evict_all(&regions);
        let words: Vec<&str> = removes.split(' ').collect();
        run(&regions, "eu", &words);
        wait_for(&format!("{removes} to be heard of"), PATIENCE, || {
            let kept = run(&regions, "us", &["KEYS", "key*"]);
            (kept.as_sequence()?.len() == left).then_some(())
        })
        .unwrap();
        config(&regions, "eu", "geo.eviction", "replicate");
        regions.await_equal(PATIENCE).unwrap();
        wait_for("nothing to be evicted", PATIENCE, || {
            (regions.status("eu").ok()?.number("evicted_keys") == Some(0)).then_some(())
        })
        .unwrap();
    }
}

fn run(regions: &Regions, region: &str, words: &[&str]) -> redis::Value {
    let mut command = redis::cmd(words[0]);
    for word in &words[1..] {
        command.arg(*word);
    }
    command.query(&mut regions.connect(region).unwrap()).unwrap()
}

fn used_memory(regions: &Regions, region: &str) -> u64 {
    field(regions, region, "used_memory").expect("used_memory")
}

fn field(regions: &Regions, region: &str, name: &str) -> Option<u64> {
    let mut connection = regions.connect(region).ok()?;
    let text: String = redis::cmd("INFO").query(&mut connection).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?
        .trim()
        .parse()
        .ok()
}

#[test]
fn remote_changes_wait_beyond_the_reserve_and_go_on_below() {
    let regions = pair();
    let used = used_memory(&regions, "us");
    // Full for clients, and for peers when the reserve is used up.
    config(&regions, "us", "maxmemory", &(used * 3 / 4).to_string());
    config(&regions, "us", "geo.memory-reserve", "0");
    let refused = redis::cmd("GEO.SET")
        .arg("k")
        .arg("v")
        .exec(&mut regions.connect("us").unwrap());
    assert!(refused.unwrap_err().to_string().contains("OOM"));
    wait_for("remote changes to wait", PATIENCE, || {
        (regions.status("us").ok()?.text("remote_changes") == "paused").then_some(())
    })
    .unwrap();
    fill(&regions, "eu", 0, 20);
    let keys = |region: &str| {
        redis::cmd("DBSIZE")
            .query::<i64>(&mut regions.connect(region).unwrap())
            .unwrap()
    };
    assert_eq!((keys("eu"), keys("us")), (20, 0));
    config(&regions, "us", "geo.memory-reserve", "100");
    regions.await_equal(PATIENCE).unwrap();
    assert_eq!(keys("us"), 20, "above maxmemory, within the reserve");
    config(&regions, "us", "maxmemory", "0");
    assert_eq!(regions.status("us").unwrap().text("remote_changes"), "running");
}

/// A save fails because its directory is gone; then the server refuses writes, ours before they are stamped.
#[test]
fn a_failed_save_refuses_writes_and_stamps_nothing() {
    let server = lonely(&["--save", "1000 1000"]);
    let mut client = server.client();
    ok(&mut client, "GEO.SET k v");
    let issued = crate::state::status(&server, "operations_issued");
    // A directory stands where the file should be.
    let path = server.path("dump.rdb");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("full"), b"").unwrap();
    client.text("BGSAVE");
    until("the save fails", || {
        (info(&server, "rdb_last_bgsave_status") == "err").then_some(())
    });
    let reply = shown(&client.text("GEO.SET k w"));
    assert!(reply.starts_with("-MISCONF"), "{reply}");
    assert_eq!(client.text("GET k"), b"$1\r\nv\r\n");
    assert_eq!(crate::state::status(&server, "operations_issued"), issued);
}
