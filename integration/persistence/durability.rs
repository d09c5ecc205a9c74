//! What is acknowledged: only what cannot be forgotten any more.

use std::time::Duration;

use redis_geo::lab::module::built;
use redis_geo::lab::regions::{Regions, Topology};
use redis_geo::lab::wait_for;

use crate::plain::{Server, until};
use crate::replicas::replica_of;
use crate::state::{LONELY, confirmed, info, lonely, ok, status};

const PATIENCE: Duration = Duration::from_secs(60);

fn level(server: &Server, expected: &str) {
    until(&format!("durability {expected}"), || {
        (status(server, "durability") == expected).then_some(())
    });
}

#[test]
fn the_level_follows_what_the_server_has() {
    let server = lonely(&["--repl-diskless-sync-delay", "0"]);
    let mut client = server.client();
    level(&server, "volatile");
    ok(&mut client, "CONFIG SET appendonly yes");
    level(&server, "disk");
    for fsync in ["always", "everysec"] {
        ok(&mut client, &format!("CONFIG SET appendfsync {fsync}"));
        ok(&mut client, "GEO.SET k v");
        level(&server, "disk");
        confirmed(&server);
    }
    let replica = replica_of(&server, &[]);
    level(&server, "disk+replica");
    ok(&mut client, "GEO.SET k w");
    confirmed(&server);
    ok(&mut client, "CONFIG SET appendfsync no");
    level(&server, "replica");
    ok(&mut client, "GEO.SET k x");
    confirmed(&server);
    drop(replica);
    level(&server, "volatile");
    ok(&mut client, "CONFIG SET geo.durability disk");
    level(&server, "unavailable");
    ok(&mut client, "CONFIG SET geo.durability volatile");
    level(&server, "volatile");
    assert_eq!(info(&server, "geo_durability"), "volatile");
    assert_eq!(info(&server, "geo_durability_required"), "volatile");
}

#[test]
fn a_required_level_that_is_not_there_holds_everything_up() {
    let server = Server::start(&[], &[&LONELY[..], &["durability", "disk"]].concat());
    level(&server, "unavailable");
    until("the region goes on alone", || {
        server.client().text("GEO.RECOVER").starts_with(b"+OK").then_some(())
    });
    ok(&mut server.client(), "GEO.SET k v");
    until("it is not confirmed", || {
        (status(&server, "unconfirmed_ms") != "0").then_some(())
    });
    assert!(
        server
            .log()
            .contains("geo.durability requires disk, but this server has volatile")
    );
}

fn inspect(regions: &Regions, region: &str) -> String {
    let mut connection = regions.connect(region).unwrap();
    let answer: redis::Value = redis::cmd("GEO.INSPECT").arg("k").query(&mut connection).unwrap();
    format!("{answer:?}")
}

#[test]
fn peers_keep_what_is_not_durable_here() {
    let mut regions = Regions::prepare(&built(), &["eu", "us"], Topology::Mesh, false, 1).unwrap();
    regions
        .settings("eu")
        .arguments
        .push(("durability".into(), "disk".into()));
    for name in ["eu", "us"] {
        regions.launch(name).unwrap();
    }
    regions.await_links(PATIENCE).unwrap();
    let mut us = regions.connect("us").unwrap();
    redis::cmd("GEO.SET").arg("k").arg("v").exec(&mut us).unwrap();
    regions.await_equal(PATIENCE).unwrap();
    // A later change that settles would show that acknowledgements flow.
    let acknowledged = || regions.status("us").ok()?.peer("eu")?.number("unsettled_operations");
    wait_for("the peer to be counted", PATIENCE, || {
        acknowledged().filter(|count| *count > 0)
    })
    .unwrap();
    assert!(inspect(&regions, "us").contains("unsettled"));
    let mut eu = regions.connect("eu").unwrap();
    redis::cmd("CONFIG")
        .arg("SET")
        .arg("appendonly")
        .arg("yes")
        .exec(&mut eu)
        .unwrap();
    wait_for("eu to acknowledge", PATIENCE, || {
        (acknowledged() == Some(0)).then_some(())
    })
    .unwrap();
    wait_for("the key to settle", PATIENCE, || {
        (!inspect(&regions, "us").contains("unsettled")).then_some(())
    })
    .unwrap();
}
