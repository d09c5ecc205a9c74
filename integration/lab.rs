//! The laboratory's own tools, on plain servers: wrong clocks, power cuts, sentinels.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis_geo::certificates::Files;
use redis_geo::lab::ports;
use redis_geo::lab::sentinel::Sentinel;
use redis_geo::lab::server::{Server, Settings};
use redis_geo::lab::shim::{Library, Shim};
use redis_geo::lab::wait_for;

const PATIENCE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// A server without the module, and its shim.
fn start(directory: &Path, name: &str, lines: &[&str]) -> (Server, Shim) {
    let library = Library::build(directory).unwrap();
    let shim = Shim::new(&library, directory, name).unwrap();
    let settings = Settings {
        module: None,
        region: name.into(),
        cluster: "lab".into(),
        listen: ports::free(),
        peers: Vec::new(),
        certificate: Files::of(directory, name),
        authority: directory.into(),
        arguments: Vec::new(),
        lines: lines.iter().map(ToString::to_string).collect(),
        environment: shim.environment(),
    };
    (Server::start(&directory.join(name), settings).unwrap(), shim)
}

fn run<T: redis::FromRedisValue>(server: &Server, command: &str) -> T {
    let mut words = command.split(' ');
    let mut request = redis::cmd(words.next().unwrap_or_default());
    words.for_each(|word| {
        request.arg(word);
    });
    request.query(&mut server.connect().unwrap()).unwrap()
}

fn since_epoch(server: &Server) -> Duration {
    let (seconds, micros): (u64, u64) = run(server, "TIME");
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}

#[test]
fn a_clock_is_set_wrong_while_the_server_runs() {
    let directory = tempfile::tempdir().unwrap();
    let (server, shim) = start(directory.path(), "a", &[]);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    assert!(since_epoch(&server) < now() + HOUR / 2);
    shim.set_clock(HOUR, Duration::ZERO).unwrap();
    assert!(since_epoch(&server) > now() + HOUR / 2);
    shim.set_clock(Duration::ZERO, HOUR).unwrap();
    assert!(since_epoch(&server) < now() - HOUR / 2);
}

#[test]
fn a_power_cut_takes_what_was_not_synced() {
    let directory = tempfile::tempdir().unwrap();
    for (policy, left) in [("always", 100), ("no", 0)] {
        let lines = ["appendonly yes", &format!("appendfsync {policy}")];
        let (mut server, shim) = start(directory.path(), policy, &lines);
        for number in 0..100 {
            run::<()>(&server, &format!("SET key:{number} value"));
        }
        server.kill();
        server.restart().unwrap();
        assert_eq!(
            run::<u64>(&server, "DBSIZE"),
            100,
            "the kernel has what a killed server wrote"
        );
        server.kill();
        shim.cut_power(server.directory()).unwrap();
        server.restart().unwrap();
        assert_eq!(run::<u64>(&server, "DBSIZE"), left, "appendfsync {policy}");
    }
}

#[test]
fn a_sentinel_promotes_the_replica_of_a_dead_primary() {
    let directory = tempfile::tempdir().unwrap();
    let (mut primary, _) = start(directory.path(), "primary", &[]);
    let replicaof = format!("replicaof 127.0.0.1 {}", primary.address.port());
    let (replica, _) = start(directory.path(), "replica", &[&replicaof]);
    let patience = Duration::from_secs(1);
    let sentinel = Sentinel::start(&directory.path().join("sentinel"), "r", primary.address, patience).unwrap();
    assert_eq!(sentinel.primary(), Some(primary.address));
    wait_for("the sentinel to know the replica", PATIENCE, || {
        sentinel.knows_replicas(1).then_some(())
    })
    .unwrap();
    primary.kill();
    wait_for("the replica's promotion", PATIENCE, || {
        (sentinel.primary() == Some(replica.address)).then_some(())
    })
    .unwrap();
    run::<()>(&replica, "SET key value");
}
