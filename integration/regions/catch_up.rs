//! A new region gets everything while clients keep working.

use redis::Connection;
use redis_geo::lab::regions::{Regions, Topology};
use redis_geo::lab::wait_for;

use super::{NAMES, PATIENCE, run, workload};

const KEYS: u64 = 1_000_000;
const PER_COMMAND: u64 = 100;
const PER_PIPELINE: u64 = 50;

/// Fills a region with `KEYS` strings.
fn fill(connection: &mut Connection) {
    let mut number = 0;
    while number < KEYS {
        let mut pipeline = redis::pipe();
        for _ in 0..PER_PIPELINE {
            let command = pipeline.cmd("GEO.MSET");
            for _ in 0..PER_COMMAND {
                command.arg(format!("key:{number:07}")).arg(number);
                number += 1;
            }
            command.ignore();
        }
        pipeline.query::<()>(connection).unwrap();
    }
}

#[test]
fn a_new_region_catches_up_a_million_keys_while_clients_work() {
    let module = redis_geo::lab::module::built();
    let mut regions = Regions::prepare(&module, &NAMES, Topology::Mesh, true, 80).unwrap();
    // The others do not know of the new region: it dials them.
    for name in ["eu", "us"] {
        regions.settings(name).peers.retain(|(peer, _)| peer != "ap");
        regions.launch(name).unwrap();
    }
    regions.await_links(PATIENCE).unwrap();
    fill(&mut regions.connect("eu").unwrap());
    wait_for("us to have all keys", PATIENCE, || {
        (run::<u64>(&regions, "us", "DBSIZE") == KEYS).then_some(())
    })
    .unwrap();

    let clients = workload::start(&regions, &["eu", "us"], 2, 80, None);
    let before: Vec<u64> = clients.iter().map(workload::Client::done).collect();
    regions.launch("ap").unwrap();
    regions.await_links(PATIENCE).unwrap();
    wait_for("ap to have all keys", PATIENCE, || {
        (run::<u64>(&regions, "ap", "DBSIZE") >= KEYS).then_some(())
    })
    .unwrap();
    for (client, before) in clients.iter().zip(before) {
        assert!(client.done() > before, "a client did nothing while ap caught up");
    }
    let tally = workload::stop(clients);
    let dump = regions.await_equal(PATIENCE).unwrap();
    tally.check(&dump);
    assert!(dump.0.len() as u64 >= KEYS);
}
