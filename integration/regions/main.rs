//! Real servers: several redis-server processes with the module, linked through relays that misbehave.
//!
//! The data is compared with plain `SCAN`, `TYPE`, `GET` and `SMEMBERS`, as any client sees it. Tests wait on conditions;
//! none asserts a time.

mod blocking;
mod catch_up;
mod concurrent;
mod convergence;
mod outages;
mod refusals;
mod strangers;
mod workload;

use std::time::Duration;

use redis_geo::lab::regions::{Regions, Topology};

/// How long the regions may take to agree: far more than they need, for busy machines.
const PATIENCE: Duration = Duration::from_secs(120);
const NAMES: [&str; 3] = ["eu", "us", "ap"];

/// Three regions, meshed, with all links up.
fn mesh(seed: u64) -> Regions {
    let regions = start(Topology::Mesh, seed);
    regions.await_links(PATIENCE).unwrap();
    regions
}

fn start(topology: Topology, seed: u64) -> Regions {
    Regions::start(&redis_geo::lab::module::built(), &NAMES, topology, seed).unwrap()
}

/// Runs one command in a region.
fn run<T: redis::FromRedisValue>(regions: &Regions, region: &str, command: &str) -> T {
    let mut words = command.split(' ');
    let mut request = redis::cmd(words.next().unwrap_or_default());
    words.for_each(|word| {
        request.arg(word);
    });
    request
        .query(&mut regions.connect(region).unwrap())
        .unwrap_or_else(|error| panic!("{region}> {command}: {error}"))
}
