//! Peers that are refused at the handshake: `GEO.STATUS` and the log say why, with both sides' facts.

use redis_geo::certificates::{Authority, Files, Request, authority_certificate};
use redis_geo::lab::regions::{Regions, Topology};
use redis_geo::lab::status::Fields;
use redis_geo::lab::wait_for;

use super::{PATIENCE, run};

/// Two regions with their settings still open.
fn pair(seed: u64) -> Regions {
    Regions::prepare(
        &redis_geo::lab::module::built(),
        &["eu", "us"],
        Topology::Mesh,
        true,
        seed,
    )
    .unwrap()
}

fn launch(regions: &mut Regions) {
    regions.launch("eu").unwrap();
    regions.launch("us").unwrap();
}

/// Waits until `region` gives a reason for not being linked with `peer` that holds all of `facts`.
fn await_reason(regions: &Regions, region: &str, peer: &str, facts: &[&str]) {
    let mut seen = Fields::default();
    let waited = wait_for("the reason in GEO.STATUS", PATIENCE, || {
        seen = regions.status(region).ok()?.peer(peer)?;
        let reason = seen.text("reason");
        (seen.text("state") != "up" && facts.iter().all(|fact| reason.contains(fact))).then_some(())
    });
    waited.unwrap_or_else(|timeout| panic!("{region} -> {peer}, {facts:?}: {timeout}: {seen:?}"));
}

/// Waits until some line of the region's log holds all of `facts`.
fn await_log(regions: &mut Regions, region: &str, facts: &[&str]) {
    let server = regions.server(region);
    let waited = wait_for("the reason in the log", PATIENCE, || {
        server
            .log()
            .lines()
            .any(|line| facts.iter().all(|fact| line.contains(fact)))
            .then_some(())
    });
    waited.unwrap_or_else(|timeout| panic!("{region}, {facts:?}: {timeout}\n{}", server.log_tail()));
}

/// The servers work, and nothing passed between them.
fn check_apart(regions: &Regions) {
    run::<()>(regions, "eu", "GEO.SET from:eu x");
    run::<()>(regions, "us", "GEO.SET from:us x");
    assert_eq!(run::<Vec<String>>(regions, "eu", "KEYS *"), ["from:eu"]);
    assert_eq!(run::<Vec<String>>(regions, "us", "KEYS *"), ["from:us"]);
}

/// A certificate for `region` with further `names`, from an authority of its own.
fn foreign(regions: &Regions, region: &str, names: &[&str]) -> (Files, std::path::PathBuf) {
    let directory = regions.directory().join(format!("other-{region}"));
    let names = names.iter().map(|name| name.to_string()).collect();
    let (authority, _) = Authority::open_or_create(&directory, 7).unwrap();
    let request = Request {
        region: region.into(),
        names,
        days: 7,
    };
    (
        authority.issue(&directory, &[request]).unwrap().remove(0),
        authority_certificate(&directory),
    )
}

#[test]
fn another_cluster_name() {
    let mut regions = pair(40);
    regions.settings("us").cluster = "other".into();
    launch(&mut regions);
    await_reason(&regions, "eu", "us", &["test", "other"]);
    await_reason(&regions, "us", "eu", &["test", "other"]);
    await_log(&mut regions, "eu", &["us", "test", "other"]);
    await_log(&mut regions, "us", &["eu", "test", "other"]);
    check_apart(&regions);
}

fn merge_scores(regions: &mut Regions, region: &str, rule: &str) {
    regions.settings(region).arguments = vec![("zset-merge".into(), rule.into())];
}

/// Together on the default's opposite, both work; one of them alone on it is refused, and says what the other has.
#[test]
fn another_rule_for_concurrent_scores() {
    let mut regions = pair(45);
    for region in ["eu", "us"] {
        merge_scores(&mut regions, region, "min");
    }
    launch(&mut regions);
    regions.await_links(PATIENCE).unwrap();
    regions.isolate("us");
    run::<()>(&regions, "eu", "ZADD laps 61 player 70 other");
    run::<()>(&regions, "us", "ZADD laps 65 player 69 other");
    regions.heal();
    regions.await_links(PATIENCE).unwrap();
    regions.await_equal(PATIENCE).unwrap();
    for region in ["eu", "us"] {
        assert_eq!(run::<f64>(&regions, region, "ZSCORE laps player"), 61.0);
        assert_eq!(run::<f64>(&regions, region, "ZSCORE laps other"), 69.0);
        let shown: Vec<String> = run(&regions, region, "CONFIG GET geo.zset-merge");
        assert_eq!(shown, ["geo.zset-merge", "min"]);
    }
    let server = regions.server("us");
    server.settings.arguments = vec![("zset-merge".into(), "last".into())];
    server.restart().unwrap();
    let facts = ["geo.zset-merge", "'min'", "'last'"];
    await_reason(&regions, "eu", "us", &facts);
    await_reason(&regions, "us", "eu", &facts);
    await_log(&mut regions, "us", &facts);
}

#[test]
fn a_certificate_of_another_authority() {
    let mut regions = pair(41);
    let (certificate, authority) = foreign(&regions, "us", &[]);
    let us = regions.settings("us");
    (us.certificate, us.authority) = (certificate, authority);
    launch(&mut regions);
    await_reason(&regions, "eu", "us", &["certificate"]);
    await_reason(&regions, "us", "eu", &["certificate"]);
    await_log(&mut regions, "eu", &["us", "certificate"]);
    check_apart(&regions);
}

#[test]
fn a_certificate_that_names_another_region() {
    let mut regions = pair(42);
    let certificates = regions.directory().join("certificates");
    let (authority, _) = Authority::open_or_create(&certificates, 7).unwrap();
    let request = Request {
        region: "mars".into(),
        names: Vec::new(),
        days: 7,
    };
    let mars = authority.issue(&certificates, &[request]).unwrap().remove(0);
    regions.settings("us").certificate = mars;

    // Its own server does not even start with it.
    let refused = regions.launch("us").unwrap_err().to_string();
    assert!(refused.contains("mars") && refused.contains("\"us\""), "{refused}");

    // A server that says who it is does not pass for another one. It dials nobody: as mars it would be welcome.
    let mars = regions.settings("us");
    mars.region = "mars".into();
    mars.peers.clear();
    launch(&mut regions);
    await_reason(&regions, "eu", "us", &["certificate"]);
    await_log(&mut regions, "eu", &["us", "certificate"]);
    check_apart(&regions);
}

#[test]
fn itself() {
    let mut regions = pair(43);
    let certificates = regions.directory().join("certificates");
    let (authority, _) = Authority::open_or_create(&certificates, 7).unwrap();
    // The certificate passes for us, the hello does not.
    std::fs::create_dir(regions.directory().join("both")).unwrap();
    let request = Request {
        region: "eu".into(),
        names: vec!["us".into()],
        days: 7,
    };
    let both = authority
        .issue(&regions.directory().join("both"), &[request])
        .unwrap()
        .remove(0);
    let eu = regions.settings("eu");
    eu.certificate = both;
    eu.peers = vec![("us".into(), eu.listen)];
    regions.launch("eu").unwrap();
    await_reason(&regions, "eu", "us", &["eu", "itself"]);
    await_log(&mut regions, "eu", &["us", "itself"]);
    run::<()>(&regions, "eu", "GEO.SET still works");
}

#[test]
fn a_region_name_that_is_in_use() {
    let mut regions = Regions::prepare(
        &redis_geo::lab::module::built(),
        &["eu", "us", "ap"],
        Topology::Hub,
        true,
        44,
    )
    .unwrap();
    // A cluster begins when all regions that anyone is configured with are there.
    regions.settings("eu").peers.retain(|(peer, _)| peer == "us");
    launch(&mut regions);
    regions.await_links(PATIENCE).unwrap();
    // The third server says it is us too, with us's own certificate.
    let us = regions.settings("us").certificate.clone();
    let impostor = regions.settings("ap");
    (impostor.region, impostor.certificate) = ("us".into(), us);
    regions.launch("ap").unwrap();
    await_reason(&regions, "ap", "eu", &["duplicate region name", "us"]);
    await_log(&mut regions, "eu", &["duplicate region name", "us"]);
    run::<()>(&regions, "ap", "GEO.SET impostor x");
    run::<()>(&regions, "us", "GEO.SET genuine x");
    wait_for("the genuine us's write", PATIENCE, || {
        (run::<i64>(&regions, "eu", "EXISTS genuine") == 1).then_some(())
    })
    .unwrap();
    assert_eq!(run::<i64>(&regions, "eu", "EXISTS impostor"), 0);
}
