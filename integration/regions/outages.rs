//! Cuts, crashes and frozen servers: nothing is lost and nobody else waits.

use redis_geo::lab::dump::Shown;
use redis_geo::lab::regions::{Regions, Topology};
use redis_geo::lab::wait_for;

use super::workload;
use super::{NAMES, PATIENCE, mesh, run, start};

/// Waits until `region` does not see `peer` as up.
fn await_down(regions: &Regions, region: &str, peer: &str) {
    wait_for(&format!("{region} to notice that {peer} is away"), PATIENCE, || {
        let peer = regions.status(region).ok()?.peer(peer)?;
        (peer.text("state") != "up").then_some(())
    })
    .unwrap();
}

#[test]
fn both_sides_of_a_cut_write_and_agree_when_it_heals() {
    let regions = mesh(20);
    run::<()>(&regions, "eu", "GEO.SET city Paris");
    run::<()>(&regions, "eu", "GEO.SADD tags tea rice");
    run::<()>(&regions, "eu", "GEO.SET visits 10");
    regions.await_equal(PATIENCE).unwrap();

    regions.isolate("ap");
    run::<()>(&regions, "eu", "GEO.SET city Lyon");
    run::<()>(&regions, "eu", "GEO.SREM tags tea rice");
    run::<()>(&regions, "us", "GEO.INCRBY visits 5");
    run::<()>(&regions, "ap", "GEO.SADD tags tea");
    run::<()>(&regions, "ap", "GEO.INCRBY visits 100");
    wait_for("us to follow eu", PATIENCE, || {
        (run::<String>(&regions, "us", "GET city") == "Lyon" && run::<i64>(&regions, "eu", "GET visits") == 15)
            .then_some(())
    })
    .unwrap();
    assert_eq!(run::<String>(&regions, "ap", "GET city"), "Paris", "ap is cut off");
    assert_eq!(run::<i64>(&regions, "ap", "GET visits"), 110);

    regions.heal();
    regions.await_equal(PATIENCE).unwrap();
    assert_eq!(run::<String>(&regions, "ap", "GET city"), "Lyon");
    assert_eq!(run::<i64>(&regions, "ap", "GET visits"), 115, "every increment once");
    assert_eq!(
        run::<Vec<String>>(&regions, "ap", "SMEMBERS tags"),
        ["tea"],
        "the concurrent add survives, rice is gone"
    );
}

/// The table in the README, row by row.
#[test]
fn concurrent_writes_merge_as_promised() {
    let regions = mesh(32);
    for line in [
        "GEO.SET string before",
        "GEO.SET assigned 1",
        "GEO.INCRBY deleted 1",
        "GEO.SADD member here",
        "GEO.SET written before",
    ] {
        run::<redis::Value>(&regions, "eu", line);
    }
    regions.await_equal(PATIENCE).unwrap();
    regions.isolate("ap");
    let writes = [
        ("eu", "GEO.SET string earlier"),
        ("ap", "GEO.SET string later"),
        ("eu", "GEO.INCRBY counter 5"),
        ("us", "GEO.INCRBY counter 20"),
        ("ap", "GEO.INCRBY counter 100"),
        ("eu", "GEO.INCRBY assigned 5"),
        ("ap", "GEO.SET assigned 100"),
        ("eu", "GEO.DEL deleted"),
        ("ap", "GEO.INCRBY deleted 10"),
        ("eu", "GEO.SADD members tea"),
        ("ap", "GEO.SADD members rice"),
        ("eu", "GEO.SREM member here"),
        ("ap", "GEO.SADD member here"),
        ("eu", "GEO.DEL written"),
        ("ap", "GEO.SET written after"),
        ("eu", "GEO.SET type string"),
        ("ap", "GEO.SADD type set"),
    ];
    for (region, line) in writes {
        run::<redis::Value>(&regions, region, line);
    }
    regions.heal();
    let dump = regions.await_equal(PATIENCE).unwrap();
    let string = |text: &str| Shown::String(text.as_bytes().to_vec());
    let set = |members: &[&str]| Shown::Set(members.iter().map(|member| member.as_bytes().to_vec()).collect());
    let expected = [
        ("assigned", string("105")),
        ("counter", string("125")),
        ("deleted", string("10")),
        ("member", set(&["here"])),
        ("members", set(&["tea", "rice"])),
        ("string", string("later")),
        ("type", set(&["set"])),
        ("written", string("after")),
    ];
    let expected = expected.map(|(key, shown)| (key.as_bytes().to_vec(), shown));
    assert_eq!(dump.0, expected.into_iter().collect());
    for conflict in ["conflicts_siblings", "conflicts_types"] {
        let counted = |name: &&str| regions.status(name).unwrap().number(conflict) > Some(0);
        assert!(NAMES.iter().any(counted), "{conflict}");
    }
}

#[test]
fn a_long_cut_is_noticed_said_and_healed() {
    let regions = mesh(21);
    regions.isolate("ap");
    await_down(&regions, "eu", "ap");
    await_down(&regions, "us", "ap");
    let reason = regions
        .status("eu")
        .unwrap()
        .peer("ap")
        .unwrap()
        .text("reason")
        .to_string();
    assert!(!reason.is_empty(), "GEO.STATUS says why ap is down");
    let tally = workload::finish(workload::start(&regions, &NAMES, 2, 21, Some(500)));
    regions.heal();
    regions.await_links(PATIENCE).unwrap();
    tally.check(&regions.await_equal(PATIENCE).unwrap());
}

#[test]
fn a_killed_region_comes_back_empty_and_gets_its_data_back() {
    let mut regions = mesh(22);
    let before = workload::finish(workload::start(&regions, &NAMES, 2, 22, Some(500)));
    regions.await_equal(PATIENCE).unwrap();
    // Counters of the lost server's own increments stay with the others.
    regions.server("us").kill();
    let meanwhile = workload::finish(workload::start(&regions, &["eu", "ap"], 2, 23, Some(300)));
    regions.server("us").restart().unwrap();
    regions.await_links(PATIENCE).unwrap();
    let mut tally = workload::finish(workload::start(&regions, &NAMES, 1, 24, Some(300)));
    tally.add(before);
    tally.add(meanwhile);
    tally.check(&regions.await_equal(PATIENCE).unwrap());
}

/// A replica id that is used twice destroys data: the new incarnation's operations pass for old ones.
#[test]
fn a_region_that_restarts_within_a_second_is_a_new_replica() {
    let mut regions = mesh(31);
    let mut seen = std::collections::BTreeSet::new();
    for round in 1..=5 {
        run::<i64>(&regions, "us", "GEO.INCR visits");
        regions.await_equal(PATIENCE).unwrap();
        let replica = regions.status("us").unwrap().text("replica").to_string();
        assert!(seen.insert(replica.clone()), "{replica} is used again");
        regions.server("us").kill();
        regions.server("us").restart().unwrap();
        regions.await_links(PATIENCE).unwrap();
        regions.await_equal(PATIENCE).unwrap();
        assert_eq!(run::<i64>(&regions, "us", "GET visits"), round);
    }
}

#[test]
fn a_region_killed_under_load_leaves_the_others_equal_and_joins_them_again() {
    let mut regions = mesh(25);
    let clients = workload::start(&regions, &["eu", "ap"], 2, 25, None);
    for round in 0..3 {
        run::<()>(&regions, "us", &format!("GEO.SET last:{round} words"));
        regions.server("us").kill();
        regions.server("us").restart().unwrap();
        regions.await_links(PATIENCE).unwrap();
    }
    let tally = workload::stop(clients);
    tally.check(&regions.await_equal(PATIENCE).unwrap());
}

#[test]
fn writes_taken_while_recovering_are_kept() {
    let mut regions = mesh(26);
    run::<()>(&regions, "eu", "GEO.SET kept before");
    run::<()>(&regions, "eu", "GEO.INCRBY visits 10");
    run::<()>(&regions, "eu", "GEO.SADD tags tea");
    regions.await_equal(PATIENCE).unwrap();

    regions.isolate("us");
    regions.server("us").kill();
    regions.server("us").restart().unwrap();
    assert_eq!(regions.status("us").unwrap().text("state"), "recovering");
    run::<()>(&regions, "us", "GEO.SET new words");
    run::<()>(&regions, "us", "GEO.INCRBY visits 5");
    run::<()>(&regions, "us", "GEO.SADD tags rice");
    regions.heal();
    regions.await_links(PATIENCE).unwrap();
    let dump = regions.await_equal(PATIENCE).unwrap();
    let string = |text: &str| Some(Shown::String(text.as_bytes().to_vec()));
    assert_eq!(dump.0.get(&b"kept"[..]).cloned(), string("before"));
    assert_eq!(dump.0.get(&b"new"[..]).cloned(), string("words"));
    assert_eq!(dump.0.get(&b"visits"[..]).cloned(), string("15"));
    let tags = [b"tea".to_vec(), b"rice".to_vec()].into_iter().collect();
    assert_eq!(dump.0.get(&b"tags"[..]).cloned(), Some(Shown::Set(tags)));
}

/// What a recovering region took is out of sight once something of its key has arrived. `HDEL` and `DEL` have nothing to
/// remove then, and remove it all the same.
#[test]
fn what_is_hidden_while_a_region_recovers_can_be_removed() {
    const KEYS: usize = 20_000;
    let mut regions = mesh(33);
    let all = |regions: &Regions, region: &str, words: &[&str]| {
        let mut pipeline = redis::pipe();
        for at in 0..KEYS {
            pipeline.cmd(words[0]).arg(format!("h:{at}")).arg(&words[1..]);
        }
        let mut connection = regions.connect(region).unwrap();
        pipeline.query::<Vec<Option<String>>>(&mut connection).unwrap()
    };
    let value = "v".repeat(1000);
    all(&regions, "eu", &["HSET", "theirs", &value]);
    regions.await_equal(PATIENCE).unwrap();
    regions.isolate("us");
    regions.server("us").kill();
    regions.server("us").restart().unwrap();
    all(&regions, "us", &["HSET", "ours", "1"]);
    regions.links_of("us").for_each(|link| link.heal());
    let mut connection = regions.connect("us").unwrap();
    let mut sample = redis::pipe();
    (0..KEYS).step_by(KEYS / 50).for_each(|at| {
        sample.cmd("HEXISTS").arg(format!("h:{at}")).arg("theirs");
    });
    wait_for("something to arrive", PATIENCE, || {
        let arrived: Vec<bool> = sample.query(&mut connection).unwrap();
        arrived.contains(&true).then_some(())
    })
    .unwrap();
    regions.isolate("us");
    await_down(&regions, "us", "eu");
    await_down(&regions, "us", "ap");
    assert_eq!(regions.status("us").unwrap().text("state"), "recovering");
    let ours = all(&regions, "us", &["HGET", "ours"]);
    let theirs = all(&regions, "us", &["HGET", "theirs"]);
    let is_hidden = |at: &usize| ours[*at].is_none() && theirs[*at].is_some();
    let hidden: Vec<usize> = (0..KEYS).filter(is_hidden).collect();
    assert!((1..KEYS).contains(&hidden.len()), "{} are hidden", hidden.len());
    for at in &hidden {
        assert_eq!(run::<i64>(&regions, "us", &format!("HDEL h:{at} ours")), 0);
    }
    regions.heal();
    regions.await_links(PATIENCE).unwrap();
    regions.await_equal(PATIENCE).unwrap();
    let ours = all(&regions, "us", &["HGET", "ours"]);
    let theirs = all(&regions, "us", &["HGET", "theirs"]);
    assert!(theirs.iter().all(Option::is_some));
    for (at, shown) in ours.iter().enumerate() {
        assert_eq!(shown.is_none(), hidden.contains(&at), "h:{at}");
    }
}

/// What a command would have looked at, it meets when its region knows it again.
#[test]
fn writes_taken_while_recovering_meet_what_they_had_not_seen() {
    let mut regions = mesh(32);
    for line in [
        "PFADD visitors a b c",
        "ZADD best 300 player 50 other",
        "ZADD laps 61 player",
        "SET lock eu",
        "SET hits 10 EX 10000",
        "HSET user name eu",
        "SET text one",
    ] {
        run::<()>(&regions, "eu", line);
    }
    regions.await_equal(PATIENCE).unwrap();

    regions.isolate("us");
    regions.server("us").kill();
    regions.server("us").restart().unwrap();
    assert_eq!(regions.status("us").unwrap().text("state"), "recovering");
    for line in [
        "PFADD visitors d e f",
        "ZADD best GT 100 player 100 other",
        "ZADD best NX 1 other 2 third",
        "ZADD laps LT 90 player",
        "SET lock us NX EX 10000",
        "SET hits 0 EX 500 NX",
        "INCR hits",
        "HSETNX user name us",
        "HSETNX user mail us",
        "SET text two",
    ] {
        run::<()>(&regions, "us", line);
    }
    regions.heal();
    regions.await_links(PATIENCE).unwrap();
    regions.await_equal(PATIENCE).unwrap();
    for name in NAMES {
        let number = |line: &str| run::<f64>(&regions, name, line);
        let text = |line: &str| run::<Option<String>>(&regions, name, line);
        assert_eq!(number("PFCOUNT visitors"), 6.0, "{name}");
        assert_eq!(number("ZSCORE best player"), 300.0, "{name}");
        assert_eq!(number("ZSCORE best other"), 100.0, "{name}");
        assert_eq!(number("ZSCORE best third"), 2.0, "{name}");
        assert_eq!(number("ZSCORE laps player"), 61.0, "{name}");
        assert_eq!(number("GET hits"), 11.0, "{name}");
        assert!(number("TTL hits") > 1_000.0, "{name}");
        assert_eq!(text("GET lock").as_deref(), Some("eu"), "{name}");
        assert_eq!(number("TTL lock"), -1.0, "{name}");
        assert_eq!(text("HGET user name").as_deref(), Some("eu"), "{name}");
        assert_eq!(text("HGET user mail").as_deref(), Some("us"), "{name}");
        assert_eq!(text("GET text").as_deref(), Some("two"), "{name}");
    }
}

#[test]
fn all_regions_start_empty_at_once_and_agree() {
    let mut regions = start(Topology::Mesh, 27);
    // Written before anyone has met anyone.
    for name in NAMES {
        run::<()>(&regions, name, &format!("GEO.SADD tags {name}"));
    }
    regions.await_links(PATIENCE).unwrap();
    regions.await_equal(PATIENCE).unwrap();
    assert_eq!(run::<i64>(&regions, "eu", "SCARD tags"), 3);
    for name in NAMES {
        regions.server(name).kill();
    }
    for name in NAMES {
        regions.server(name).restart().unwrap();
    }
    regions.await_links(PATIENCE).unwrap();
    assert!(
        regions.await_equal(PATIENCE).unwrap().0.is_empty(),
        "nobody had anything on disk"
    );
}

#[test]
fn a_frozen_region_holds_up_nobody() {
    let regions = mesh(28);
    let mut regions = regions;
    regions.server("ap").freeze();
    let mut tally = workload::finish(workload::start(&regions, &["eu", "us"], 3, 28, Some(1_000)));
    assert_eq!(tally.operations, 6_000, "every operation was answered");
    await_down(&regions, "eu", "ap");
    tally.add(workload::finish(workload::start(
        &regions,
        &["eu", "us"],
        3,
        29,
        Some(500),
    )));
    assert_eq!(tally.operations, 9_000);
    regions.server("ap").thaw();
    regions.await_links(PATIENCE).unwrap();
    tally.check(&regions.await_equal(PATIENCE).unwrap());
}

#[test]
fn a_region_that_shuts_down_says_goodbye() {
    let mut regions = mesh(30);
    regions.server("ap").stop().unwrap();
    await_down(&regions, "eu", "ap");
    let tally = workload::finish(workload::start(&regions, &["eu", "us"], 1, 30, Some(300)));
    regions.server("ap").restart().unwrap();
    regions.await_links(PATIENCE).unwrap();
    tally.check(&regions.await_equal(PATIENCE).unwrap());
}
