//! Keys that expire: each region by its own clock, and all of them the same keys.

use std::time::Duration;

use redis_geo::lab::regions::Regions;
use redis_geo::lab::wait_for;

use crate::pair::{PATIENCE, await_settled, pair, run, shimmed_pair};

fn exists(regions: &Regions, region: &str, key: &str) -> bool {
    run(regions, region, &format!("EXISTS {key}"))
}

fn await_key(regions: &Regions, region: &str, key: &str, there: bool) {
    wait_for(&format!("{key} in {region}: {there}"), PATIENCE, || {
        (exists(regions, region, key) == there).then_some(())
    })
    .unwrap();
}

fn remaining(regions: &Regions, region: &str, key: &str) -> i64 {
    run(regions, region, &format!("PTTL {key}"))
}

#[test]
fn a_key_expires_everywhere_and_leaves_nothing_behind() {
    let regions = pair(&[]);
    for line in ["SET s v PX 1000000", "HSET h f v", "ZADD z 1 m"] {
        run::<()>(&regions, "eu", line);
    }
    for key in ["s", "h", "z"] {
        await_key(&regions, "us", key, true);
        run::<()>(&regions, "eu", &format!("PEXPIRE {key} 1500"));
        wait_for(&format!("the deadline of {key} in us"), PATIENCE, || {
            // Or it has passed already.
            let left = remaining(&regions, "us", key);
            (left != -1 && left <= 1500).then_some(())
        })
        .unwrap();
    }
    for region in ["eu", "us"] {
        for key in ["s", "h", "z"] {
            await_key(&regions, region, key, false);
        }
        let peer = if region == "eu" { "us" } else { "eu" };
        await_settled(&regions, region, peer);
    }
    assert_eq!(run::<i64>(&regions, "eu", "DBSIZE"), 0);
    // A new life of the key has nothing of the old one.
    run::<()>(&regions, "us", "SET s anew");
    await_key(&regions, "eu", "s", true);
    assert_eq!(remaining(&regions, "eu", "s"), -1);
}

/// What a client of one region keeps alive does not die because another region has not heard of it.
#[test]
fn a_session_that_one_region_extends_survives_its_expiry_in_the_other() {
    let regions = pair(&[]);
    run::<()>(&regions, "eu", "HSET session user anna visits 1");
    run::<()>(&regions, "eu", "PEXPIRE session 6000");
    await_key(&regions, "us", "session", true);
    regions.isolate("us");
    run::<()>(&regions, "us", "EXPIRE session 1000");
    run::<()>(&regions, "us", "HSET session visits 2");
    await_key(&regions, "eu", "session", false);
    regions.heal();
    await_key(&regions, "eu", "session", true);
    for (field, expected) in [("visits", "2"), ("user", "anna")] {
        wait_for(&format!("eu to have {field}"), PATIENCE, || {
            let shown: Option<String> = run(&regions, "eu", &format!("HGET session {field}"));
            (shown.as_deref() == Some(expected)).then_some(())
        })
        .unwrap();
    }
    for region in ["eu", "us"] {
        assert!((900_000..=1_000_000).contains(&remaining(&regions, region, "session")));
    }
}

/// A server without an append-only file leaves out what has expired when it loads its RDB, and does not say which keys.
/// Those that another region has kept alive come back whole.
#[test]
fn what_a_server_did_not_load_because_it_had_expired_comes_back() {
    let mut regions = pair(&[]);
    for line in [
        "SADD tags a b",
        "PEXPIRE tags 12000",
        "HSET session user anna",
        "PEXPIRE session 12000",
        "SET gone v PX 12000",
    ] {
        run::<()>(&regions, "eu", line);
    }
    await_key(&regions, "us", "gone", true);
    await_settled(&regions, "eu", "us");
    await_settled(&regions, "us", "eu");
    run::<()>(&regions, "eu", "SAVE");
    regions.server("eu").kill();
    for line in ["PERSIST tags", "SADD tags c", "EXPIRE session 1000"] {
        run::<i64>(&regions, "us", line);
    }
    await_key(&regions, "us", "gone", false);
    regions.server("eu").restart().unwrap();
    let loaded: String = run(&regions, "eu", "INFO persistence");
    assert!(loaded.contains("rdb_last_load_keys_expired:3"), "{loaded}");
    regions.await_links(PATIENCE).unwrap();
    run::<()>(&regions, "us", "SADD fresh m");
    for region in ["eu", "us"] {
        wait_for(&format!("{region} to have everything"), PATIENCE, || {
            let mut tags: Vec<String> = run(&regions, region, "SMEMBERS tags");
            tags.sort();
            let user: Option<String> = run(&regions, region, "HGET session user");
            let fresh = exists(&regions, region, "fresh");
            (tags == ["a", "b", "c"] && user.as_deref() == Some("anna") && fresh).then_some(())
        })
        .unwrap();
        assert_eq!(remaining(&regions, region, "tags"), -1);
        assert!((900_000..=1_000_000).contains(&remaining(&regions, region, "session")));
        assert!(!exists(&regions, region, "gone"));
    }
    await_settled(&regions, "eu", "us");
    assert_eq!(regions.status("eu").unwrap().number("evicted_keys"), Some(0));
}

#[test]
fn what_is_written_without_a_deadline_survives_the_old_one() {
    let regions = pair(&[]);
    run::<()>(&regions, "eu", "SET k old PX 6000");
    await_key(&regions, "us", "k", true);
    regions.isolate("us");
    run::<()>(&regions, "us", "SET k new");
    await_key(&regions, "eu", "k", false);
    regions.heal();
    await_key(&regions, "eu", "k", true);
    assert_eq!(run::<String>(&regions, "eu", "GET k"), "new");
    for region in ["eu", "us"] {
        assert_eq!(remaining(&regions, region, "k"), -1);
    }
}

/// A clock that is an hour wrong, either way: a deadline is as far ahead in both regions, give or take the time that the
/// write was on its way.
#[test]
fn half_a_minute_is_half_a_minute_although_a_clock_is_an_hour_wrong() {
    const HOUR: Duration = Duration::from_secs(3600);
    for (ahead, behind) in [(HOUR, Duration::ZERO), (Duration::ZERO, HOUR)] {
        let (mut regions, shim) = shimmed_pair(&[]);
        regions.server("eu").kill();
        shim.set_clock(ahead, behind).unwrap();
        regions.launch("eu").unwrap();
        regions.await_links(PATIENCE).unwrap();
        for (here, there) in [("eu", "us"), ("us", "eu")] {
            run::<()>(&regions, here, &format!("SET {here} v EX 300"));
            await_key(&regions, there, here, true);
            for region in [here, there] {
                let left = remaining(&regions, region, here);
                assert!((200_000..=302_000).contains(&left), "{here} in {region}: {left} ms");
            }
        }
    }
}

#[test]
fn everything_is_removed_in_all_regions_but_what_is_written_later() {
    let regions = pair(&[]);
    for line in ["SET a 1", "HSET h f v", "SADD t m", "ZADD z 1 m", "INCR n"] {
        run::<()>(&regions, "eu", line);
    }
    await_key(&regions, "us", "n", true);
    regions.isolate("us");
    run::<()>(&regions, "us", "SADD t other");
    run::<()>(&regions, "eu", "FLUSHALL");
    assert_eq!(run::<i64>(&regions, "eu", "DBSIZE"), 0);
    run::<()>(&regions, "eu", "INCR n");
    regions.heal();
    let dump = regions.await_equal(PATIENCE);
    for region in ["eu", "us"] {
        wait_for(&format!("{region} to hold what is left"), PATIENCE, || {
            let keys: Vec<String> = run(&regions, region, "KEYS *");
            let members: Vec<String> = run(&regions, region, "SMEMBERS t");
            let number: Option<i64> = run(&regions, region, "GET n");
            (keys.len() == 2 && members == ["other"] && number == Some(1)).then_some(())
        })
        .unwrap();
    }
    dump.unwrap();
}

#[test]
fn a_purge_removes_what_matched_when_it_was_called() {
    let regions = pair(&[]);
    let names: Vec<String> = (0..2000).map(|at| format!("page:{at}")).collect();
    let mut pipeline = redis::pipe();
    for name in &names {
        pipeline.cmd("SET").arg(name).arg("old").ignore();
    }
    pipeline.cmd("SET").arg("kept").arg("v").ignore();
    pipeline.query::<()>(&mut regions.connect("eu").unwrap()).unwrap();
    await_key(&regions, "us", "kept", true);
    let mut pipeline = redis::pipe();
    pipeline.cmd("GEO.PURGE").arg("page:*").ignore();
    pipeline.cmd("SET").arg("page:7").arg("new").ignore();
    pipeline.query::<()>(&mut regions.connect("eu").unwrap()).unwrap();
    for region in ["us", "eu"] {
        wait_for(&format!("{region} to be purged"), PATIENCE, || {
            (run::<i64>(&regions, region, "DBSIZE") == 2).then_some(())
        })
        .unwrap();
        assert_eq!(run::<String>(&regions, region, "GET page:7"), "new");
    }
    // Its progress is shown: of many keys that it looks at one by one.
    fill(&regions);
    let shown = |line: &str| {
        let info: String = redis::cmd("INFO")
            .arg("geo")
            .query(&mut regions.connect("eu").ok()?)
            .ok()?;
        info.lines()
            .find_map(|found| found.strip_prefix(line))
            .map(str::to_owned)
    };
    let mut asked = redis::pipe();
    asked.cmd("GEO.PURGE").arg(&["nothing,like:*", "COUNT", "1"]);
    asked.cmd("INFO").arg("geo").cmd("GEO.PURGE").arg("*");
    asked.ignore_errors();
    let replies: Vec<redis::RedisResult<redis::Value>> = asked.query(&mut regions.connect("eu").unwrap()).unwrap();
    let [begun, info, again] = <[_; 3]>::try_from(replies).unwrap();
    begun.unwrap();
    let info: String = redis::from_redis_value(info.unwrap()).unwrap();
    let progress = info.lines().find_map(|line| line.strip_prefix("geo_purge:")).unwrap();
    assert!(
        progress.starts_with("pattern=nothing like:*,removed=0,looked_at="),
        "{progress}"
    );
    let field = |name: &str| -> Option<u64> {
        let mut fields = progress.split(',').filter_map(|field| field.split_once('='));
        fields.find(|(field, _)| *field == name)?.1.parse().ok()
    };
    assert!(
        field("looked_at") <= field("keys") && field("keys") == Some(MANY + 2),
        "{progress}"
    );
    assert!(field("running_ms").is_some(), "{progress}");
    let again = again.unwrap_err();
    assert!(again.to_string().contains("a purge is running"), "{again}");
    wait_for("its end", PATIENCE, || (shown("geo_purge:")? == "none").then_some(())).unwrap();
    for wrong in ["GEO.PURGE p COUNT 0", "GEO.PURGE p COUNT x", "GEO.PURGE p LIMIT 5"] {
        let reply = crate::pair::try_run::<()>(&regions, "eu", wrong);
        assert!(reply.is_err(), "{wrong}");
    }
}

/// Keys that a purge looks at for a while.
const MANY: u64 = 40_000;

fn fill(regions: &Regions) {
    let mut pipeline = redis::pipe();
    for at in 0..MANY {
        pipeline.cmd("SET").arg(format!("other:{at}")).arg("v").ignore();
    }
    pipeline.query::<()>(&mut regions.connect("eu").unwrap()).unwrap();
}
