//! Regions that take writes at the same time end with the same data.

use std::time::Duration;

use redis_geo::lab::regions::{Regions, Topology};
use redis_geo::lab::relay::Conditions;

use super::workload::{self, Tally};
use super::{NAMES, PATIENCE, mesh, run, start};

const CLIENTS: u64 = 3;
const OPERATIONS: u64 = 1_500;

fn converges(regions: &Regions, seed: u64) -> Tally {
    let tally = workload::finish(workload::start(regions, &NAMES, CLIENTS, seed, Some(OPERATIONS)));
    assert_eq!(tally.operations, OPERATIONS * CLIENTS * NAMES.len() as u64);
    let dump = regions.await_equal(PATIENCE).unwrap();
    tally.check(&dump);
    assert!(dump.0.len() > 20, "the workload left {} keys", dump.0.len());
    tally
}

#[test]
fn a_value_written_in_one_region_is_a_plain_value_in_all() {
    let regions = mesh(1);
    run::<()>(&regions, "eu", "GEO.SET city Paris");
    run::<()>(&regions, "us", "GEO.SADD tags tea rice");
    run::<()>(&regions, "ap", "GEO.INCRBY visits 7");
    let dump = regions.await_equal(PATIENCE).unwrap();
    assert_eq!(dump.0.len(), 3, "{:?}", dump.0);
    for name in NAMES {
        assert_eq!(run::<String>(&regions, name, "GET city"), "Paris");
        assert_eq!(run::<String>(&regions, name, "TYPE city"), "string");
        assert_eq!(run::<i64>(&regions, name, "SCARD tags"), 2);
        assert_eq!(run::<i64>(&regions, name, "GET visits"), 7);
    }
}

#[test]
fn three_regions_converge_under_concurrent_clients() {
    converges(&mesh(2), 2);
}

#[test]
fn they_converge_over_links_that_delay_lose_duplicate_and_reorder() {
    let regions = mesh(3);
    regions.set(Conditions {
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(10),
        loss: 0.03,
        duplicate: 0.02,
        reorder: 0.02,
        bandwidth: Some(4 << 20),
    });
    converges(&regions, 3);
    let lost: u64 = regions
        .links()
        .map(|(_, _, link)| link.forth.counts().dropped + link.back.counts().dropped)
        .sum();
    assert!(lost > 0, "the links lost nothing");
}

#[test]
fn spokes_that_never_meet_converge_through_the_hub() {
    let regions = start(Topology::Hub, 4);
    regions.await_links(PATIENCE).unwrap();
    assert_eq!(regions.links().count(), 2);
    converges(&regions, 4);
}

#[test]
fn links_are_cut_and_healed_again_and_again_under_load() {
    let regions = mesh(5);
    let clients = workload::start(&regions, &NAMES, 2, 5, None);
    for round in 0..6 {
        let isolated = NAMES[round % NAMES.len()];
        regions.isolate(isolated);
        progress(&clients);
        regions.heal();
        progress(&clients);
    }
    let tally = workload::stop(clients);
    tally.check(&regions.await_equal(PATIENCE).unwrap());
}

/// Waits until every client has done some more.
fn progress(clients: &[workload::Client]) {
    let goals: Vec<u64> = clients.iter().map(|client| client.done() + 300).collect();
    redis_geo::lab::wait_for("every client's progress", PATIENCE, || {
        clients
            .iter()
            .zip(&goals)
            .all(|(client, goal)| client.done() >= *goal)
            .then_some(())
    })
    .unwrap();
}

#[test]
fn concurrent_increments_are_counted_exactly() {
    let regions = mesh(6);
    let each = 2_000;
    let clients: Vec<_> = NAMES
        .iter()
        .map(|name| {
            let mut connection = regions.connect(name).unwrap();
            std::thread::spawn(move || {
                for _ in 0..each {
                    redis::cmd("GEO.INCR").arg("n").query::<i64>(&mut connection).unwrap();
                }
            })
        })
        .collect();
    regions.isolate("us");
    clients.into_iter().for_each(|client| client.join().unwrap());
    regions.heal();
    regions.await_equal(PATIENCE).unwrap();
    for name in NAMES {
        assert_eq!(run::<i64>(&regions, name, "GET n"), each * NAMES.len() as i64);
    }
}

/// Two regions increment, one does not: the settled counter keeps what the two have added.
/// Together they are beyond what a server can show, which a later command in one region has not seen.
#[test]
fn counters_beyond_the_limits_of_integers_converge() {
    let regions = mesh(5);
    let amounts = ["9000000000000000000", "8000000000000000000", "7000000000000000000"];
    for name in NAMES {
        regions.isolate(name);
    }
    for (name, amount) in NAMES.into_iter().zip(amounts) {
        run::<i64>(&regions, name, &format!("INCRBY n {amount}"));
        run::<i64>(&regions, name, &format!("HINCRBY h f -{amount}"));
    }
    regions.heal();
    regions.await_equal(PATIENCE).unwrap();
    assert_eq!(run::<i64>(&regions, "eu", "GET n"), i64::MAX);
    assert_eq!(run::<i64>(&regions, "eu", "HGET h f"), i64::MIN);
    run::<i64>(&regions, "eu", "DECRBY n 5");
    run::<i64>(&regions, "us", "HINCRBY h f 5");
    regions.await_equal(PATIENCE).unwrap();
    assert_eq!(run::<i64>(&regions, "eu", "GET n"), i64::MAX);
    assert_eq!(run::<i64>(&regions, "us", "HGET h f"), i64::MIN);
    for (name, amount) in NAMES.into_iter().zip(amounts) {
        run::<i64>(&regions, name, &format!("DECRBY n {amount}"));
        run::<i64>(&regions, name, &format!("HINCRBY h f {amount}"));
        regions.await_equal(PATIENCE).unwrap();
    }
    // Until the second of these all regions show the same limit, whatever has arrived.
    for (name, line, expected) in [("eu", "GET n", -5), ("ap", "HGET h f", 5)] {
        redis_geo::lab::wait_for("every increment to count", PATIENCE, || {
            (run::<i64>(&regions, name, line) == expected).then_some(())
        })
        .unwrap();
    }
    regions.await_equal(PATIENCE).unwrap();
}

/// The last command in one region has not seen what rounding hides.
#[test]
fn scores_whose_sums_are_rounded_converge() {
    let regions = mesh(9);
    for name in NAMES {
        regions.isolate(name);
    }
    for (name, amount) in NAMES.iter().zip(["1e16", "0.3", "0.1"]) {
        run::<f64>(&regions, name, &format!("ZINCRBY z {amount} a"));
        run::<f64>(&regions, name, &format!("HINCRBYFLOAT h a {amount}"));
        run::<f64>(&regions, name, &format!("INCRBYFLOAT n {amount}"));
    }
    regions.heal();
    regions.await_equal(PATIENCE).unwrap();
    assert_eq!(run::<f64>(&regions, "eu", "ZINCRBY z -1e16 a"), 0.0);
    run::<f64>(&regions, "eu", "HINCRBYFLOAT h a -1e16");
    run::<f64>(&regions, "eu", "INCRBYFLOAT n -1e16");
    regions.await_equal(PATIENCE).unwrap();
    assert_eq!(run::<f64>(&regions, "eu", "ZSCORE z a"), 0.4);
}

#[test]
fn a_settled_counter_keeps_an_entry_for_each_region_that_incremented_it() {
    let regions = mesh(8);
    for region in ["eu", "us", "eu"] {
        run::<()>(&regions, region, "GEO.INCR counter");
    }
    regions.await_equal(PATIENCE).unwrap();
    for name in NAMES {
        let kept = || format!("{:?}", run::<redis::Value>(&regions, name, "GEO.INSPECT counter"));
        let settled = redis_geo::lab::wait_for("a settled counter", PATIENCE, || {
            let unsettled = regions.status(name).ok()?.peers().into_iter();
            let pending: i64 = unsettled
                .filter_map(|(_, peer)| peer.number("unsettled_operations"))
                .sum();
            (pending == 0 && kept().matches(" adds ").count() == 2).then_some(())
        });
        settled.unwrap_or_else(|timeout| panic!("{name}: {timeout}: {}", kept()));
        assert_eq!(regions.status(name).unwrap().number("index_cells"), Some(1));
    }
}

/// Native writes are for all regions, but for those on keys outside `geo.keys`: a later one arrives, they do not.
#[test]
fn a_native_write_goes_where_its_key_goes() {
    let regions = mesh(9);
    run::<()>(&regions, "eu", "CONFIG SET geo.keys !local");
    run::<()>(&regions, "eu", "SET local value");
    run::<()>(&regions, "eu", "MSET local other everywhere value");
    for region in ["us", "ap"] {
        redis_geo::lab::wait_for("the geo write", PATIENCE, || {
            run::<bool>(&regions, region, "EXISTS everywhere").then_some(())
        })
        .unwrap();
        assert!(!run::<bool>(&regions, region, "EXISTS local"));
    }
}

#[test]
fn a_settled_key_leaves_no_metadata() {
    let regions = mesh(7);
    for number in 0..200 {
        run::<()>(&regions, NAMES[number % 3], &format!("GEO.SET key:{number} value"));
        run::<()>(&regions, NAMES[number % 3], &format!("GEO.SADD set:{number} a b"));
    }
    regions.await_equal(PATIENCE).unwrap();
    for name in NAMES {
        let settled = redis_geo::lab::wait_for("an empty index", PATIENCE, || {
            let status = regions.status(name).ok()?;
            (status.number("index_keys") == Some(0) && status.number("index_cells") == Some(0)).then_some(())
        });
        let statuses = || NAMES.map(|name| regions.status(name).unwrap());
        settled.unwrap_or_else(|timeout| panic!("{name}: {timeout}: {:#?}", statuses()));
    }
}

/// Transactions, scripts and commands on several keys: a reader elsewhere sees all of one or nothing of it.
#[test]
fn what_is_one_unit_is_seen_as_one() {
    const KEYS: usize = 60;
    const UNITS: usize = 150;
    let regions = mesh(7);
    let names: Vec<String> = (0..KEYS).map(|at| format!("unit:{at}")).collect();
    let mut writer = regions.connect("eu").unwrap();
    let mut reader = regions.connect("us").unwrap();
    let mut all = redis::cmd("MGET");
    all.arg(&names);
    let mut seen = std::collections::BTreeSet::new();
    let mut look = |reader: &mut redis::Connection| {
        let values: Vec<Option<String>> = all.query(reader).unwrap();
        assert!(
            values.iter().all(|value| *value == values[0]),
            "a unit was seen in part: {values:?}"
        );
        seen.extend(values[0].clone());
        seen.len()
    };
    for round in 0..UNITS {
        let value = round.to_string();
        match round % 3 {
            0 => {
                let mut pipe = redis::pipe();
                pipe.atomic();
                for name in &names {
                    pipe.cmd("GEO.SET").arg(name).arg(&value).ignore();
                }
                pipe.query::<()>(&mut writer).unwrap();
            }
            1 => {
                let script = "for _, key in ipairs(KEYS) do redis.call('GEO.SET', key, ARGV[1]) end";
                let mut eval = redis::cmd("EVAL");
                eval.arg(script).arg(KEYS).arg(&names).arg(&value);
                eval.query::<()>(&mut writer).unwrap();
            }
            _ => {
                let pairs: Vec<(&String, &String)> = names.iter().map(|name| (name, &value)).collect();
                redis::cmd("GEO.MSET").arg(pairs).query::<()>(&mut writer).unwrap();
            }
        }
        look(&mut reader);
    }
    regions.await_equal(PATIENCE).unwrap();
    assert!(look(&mut reader) > 1, "the reader saw one value only");
}
