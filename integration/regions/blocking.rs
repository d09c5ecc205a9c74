//! Clients that wait in one region for what another writes.

use std::thread::{JoinHandle, spawn};

use redis_geo::lab::regions::Regions;
use redis_geo::lab::status::Fields;
use redis_geo::lab::wait_for;

use super::{NAMES, PATIENCE, mesh, run};

type Popped = Option<(String, String, f64)>;

/// A client that waits; once this returns, the server has it waiting.
fn waits(regions: &Regions, region: &str, command: &str) -> JoinHandle<Popped> {
    let before = waiting(regions, region);
    let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
    let mut connection = regions.connect(region).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let client = spawn(move || {
        let mut request = redis::cmd(&words[0]);
        request.arg(&words[1..]).query(&mut connection).unwrap()
    });
    wait_for("the client waits", PATIENCE, || {
        (waiting(regions, region) > before).then_some(())
    })
    .unwrap();
    client
}

fn waiting(regions: &Regions, region: &str) -> u64 {
    let info: String = run(regions, region, "INFO clients");
    let line = info.lines().find_map(|line| line.strip_prefix("blocked_clients:"));
    line.unwrap().trim().parse().unwrap()
}

fn member(popped: Popped) -> String {
    popped.expect("a member").1
}

#[test]
fn a_client_is_served_by_what_another_region_writes() {
    let regions = mesh(61);
    let clients =
        ["BZPOPMIN jobs 0", "BZPOPMAX none jobs 0", "BZPOPMIN jobs 0"].map(|line| waits(&regions, "eu", line));
    run::<()>(&regions, "us", "ZADD jobs 1 one 2 two 3 three 4 four");
    let members = clients.map(|client| member(client.join().unwrap()));
    assert_eq!(members, ["one", "four", "two"]);
    let dump = regions.await_equal(PATIENCE).unwrap();
    assert_eq!(dump.0.len(), 1, "{:?}", dump.0);
    for region in NAMES {
        assert_eq!(run::<Vec<String>>(&regions, region, "ZRANGE jobs 0 -1"), ["three"]);
    }
    // The last member, from a transaction, into a key of another type first.
    run::<()>(&regions, "eu", "DEL jobs");
    regions.await_equal(PATIENCE).unwrap();
    let client = waits(&regions, "eu", "BZPOPMIN jobs 0");
    run::<()>(&regions, "ap", "SET jobs text");
    wait_for("the text arrives", PATIENCE, || {
        run::<bool>(&regions, "eu", "EXISTS jobs").then_some(())
    })
    .unwrap();
    let script = "redis.call('DEL',KEYS[1]);redis.call('ZADD',KEYS[1],7,'last')";
    run::<()>(&regions, "ap", &format!("EVAL {script} 1 jobs"));
    assert_eq!(member(client.join().unwrap()), "last");
    let dump = regions.await_equal(PATIENCE).unwrap();
    assert_eq!(dump.0.len(), 0, "{:?}", dump.0);
}

/// The member may be taken in both, as by two `ZPOPMIN` at a time; then it is gone everywhere, and whoever was not
/// served goes on waiting.
#[test]
fn clients_of_two_regions_wait_for_the_same_member() {
    let regions = mesh(62);
    for round in 0..5 {
        let [eu, us] = ["eu", "us"].map(|region| waits(&regions, region, "BZPOPMIN jobs 0"));
        run::<()>(&regions, "ap", &format!("ZADD jobs 1 first{round}"));
        wait_for("one is served", PATIENCE, || {
            (eu.is_finished() || us.is_finished()).then_some(())
        })
        .unwrap();
        // Regions that have not heard of the member are equal, too.
        for name in NAMES {
            wait_for("all to be settled", PATIENCE, || {
                let peers = regions.status(name).ok()?.peers();
                let settled = |(_, peer): &(_, Fields)| peer.number("unsettled_operations") == Some(0);
                peers.iter().all(settled).then_some(())
            })
            .unwrap();
        }
        let dump = regions.await_equal(PATIENCE).unwrap();
        assert_eq!(dump.0.len(), 0, "{:?}", dump.0);
        // Whoever waits still is served by the next.
        for region in ["eu", "us"] {
            if waiting(&regions, region) > 0 {
                run::<()>(&regions, "ap", &format!("ZADD jobs 1 second{round}"));
            }
        }
        let members = [eu, us].map(|client| member(client.join().unwrap()));
        assert!(members.contains(&format!("first{round}")), "{members:?}");
        assert_eq!(regions.await_equal(PATIENCE).unwrap().0.len(), 0);
    }
}
