//! Data that was there before it was replicated.

use std::fs;

use redis_geo::lab::regions::Regions;

use crate::capture::{both, captured, none, text};
use crate::pair::{PATIENCE, launch, pair, prepare, run};
use crate::plain::{Client, Server, until};
use crate::state::ok;

/// Some of each type, under names that begin so.
fn fill(client: &mut Client, name: &str, count: usize) {
    for number in 0..count {
        ok(client, &format!("SET {name}:s{number} v{number}"));
    }
    for line in [
        "SET n 7",
        "SADD t a b c",
        "HSET h f 1 g 2",
        "ZADD z 1.5 m 2 n",
        "SET e v PX 100000000",
    ] {
        let (command, rest) = line.split_once(' ').unwrap();
        ok(client, &format!("{command} {name}:{rest}"));
    }
}

/// Puts what the server holds where a region will find it when it starts.
fn seed(regions: &Regions, region: &str, server: &Server) {
    ok(&mut server.client(), "SAVE");
    let directory = regions.directory().join(region);
    fs::create_dir_all(&directory).unwrap();
    fs::copy(server.path("dump.rdb"), directory.join("dump.rdb")).unwrap();
}

fn adopted(regions: &mut Regions, pattern: &str, words: &str) {
    run::<()>(regions, "eu", &format!("GEO.ADOPT {pattern} COUNT 10"));
    until(&format!("{words} {pattern}"), || {
        let log = regions.server("eu").log();
        log.contains(&format!("{words} keys like '{pattern}'")).then_some(())
    });
}

#[test]
fn keys_that_were_outside_are_made_replicated() {
    let mut regions = pair(&["geo.keys app:*"]);
    let mut client = redis_client(&regions, "eu");
    for line in [
        "SET own:k 1 PX 100000000",
        "SADD own:s a b",
        "RPUSH own:list a",
        "SET app:k 1",
    ] {
        client.text(line);
    }
    for number in 0..300 {
        client.text(&format!("SET own:{number} v"));
    }
    both(&regions, "GET app:k", "'1'");
    assert_eq!(text(&regions, "us", "DBSIZE"), "int(1)");
    run::<()>(&regions, "eu", "CONFIG SET geo.keys app:*,own:*");
    adopted(&mut regions, "own:*", "adopted 302");
    both(&regions, "GET own:k", "'1'");
    both(&regions, "EXPIRETIME own:k", "int(1");
    both(&regions, "SCARD own:s", "int(2)");
    until("all are there", || {
        (text(&regions, "us", "DBSIZE") == "int(303)").then_some(())
    });
    assert_eq!(captured(&regions, "eu"), 302);
    // What is known to be replicated is not written again.
    regions.isolate("us");
    none(&regions, "eu", "SET own:new 1");
    adopted(&mut regions, "own:new", "adopted 0");
    // Wrong uses change nothing.
    for (line, error) in [
        ("GEO.ADOPT", "wrong number of arguments"),
        ("GEO.ADOPT x COUNT", "syntax error"),
        ("GEO.ADOPT x COUNT 0", "COUNT must be between"),
    ] {
        let reply = String::from_utf8_lossy(&client.text(line)).into_owned();
        assert!(reply.starts_with("-ERR") && reply.contains(error), "{line}: {reply}");
    }
}

fn redis_client(regions: &Regions, region: &str) -> Client {
    Client::of(regions.address(region))
}

#[test]
fn the_first_region_starts_with_the_data_that_is_there() {
    let mut regions = prepare(&["eu", "us"], &[]);
    let plain = Server::plain(&[]);
    fill(&mut plain.client(), "eu", 500);
    seed(&regions, "eu", &plain);
    launch(&mut regions, &["eu", "us"]);
    let dump = regions.await_equal(PATIENCE).unwrap();
    assert_eq!(dump.0.len(), 505);
    both(&regions, "EXPIRETIME eu:e", "int(1");
    assert_eq!(captured(&regions, "eu"), 0, "it is where it was");
    none(&regions, "us", "INCR eu:n");
    both(&regions, "GET eu:n", "'8'");
}

/// What the cluster has stays; what it lacks, the second region brings.
#[test]
fn two_regions_that_have_data_merge() {
    let mut regions = prepare(&["eu", "us"], &[]);
    let (first, second) = (Server::plain(&[]), Server::plain(&[]));
    let (mut eu, mut us) = (first.client(), second.client());
    fill(&mut eu, "eu", 600);
    fill(&mut us, "us", 200);
    for line in [
        "SET both eu",
        "SADD set a b",
        "ZADD zset 1 m",
        "HSET hash f eu",
        "PFADD hll a b c",
    ] {
        ok(&mut eu, line);
    }
    for line in [
        "SET both us",
        "SADD set b c",
        "ZADD zset 2 m",
        "HSET hash f us g us",
        "PFADD hll c d e",
    ] {
        ok(&mut us, line);
    }
    seed(&regions, "eu", &first);
    seed(&regions, "us", &second);
    launch(&mut regions, &["eu", "us"]);
    let dump = regions.await_equal(PATIENCE).unwrap();
    assert_eq!(dump.0.len(), 600 + 200 + 10 + 5);
    for (command, expected) in [
        ("GET both", "'eu'"),
        ("SCARD set", "int(3)"),
        ("ZSCORE zset m", "2"),
        ("HGET hash f", "'eu'"),
        ("HGET hash g", "'us'"),
        ("PFCOUNT hll", "int(5)"),
        ("EXPIRETIME us:e", "int(1"),
        ("GET us:n", "'7'"),
    ] {
        both(&regions, command, expected);
    }
    assert!(regions.server("us").log().contains("was never replicated"));
}
