//! The README's way into redis.conf, followed to the letter but for places and addresses.

#[path = "support/plain.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod plain;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use plain::{Server, until};
use redis_geo::lab::{module, ports};

const README: &str = include_str!("../README.md");

/// The README's line that starts like this.
fn line(start: &str) -> &'static str {
    README
        .lines()
        .find(|line| line.starts_with(start))
        .unwrap_or_else(|| panic!("the README has no line '{start}'"))
}

fn geoctl(arguments: &[&str], directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_geoctl"))
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("geoctl runs")
}

/// redis.conf of `region`, whose peer is `peer`, from the README's line for eu and us.
fn configuration(directory: &Path, region: (&str, SocketAddr), peer: (&str, SocketAddr)) -> String {
    let certificates = directory.join("certificates");
    let mut loadmodule = line("loadmodule ").to_owned();
    for (shown, ours) in [
        (
            "/usr/lib/redis/modules/libredis_geo.so",
            module::built().to_string_lossy().into_owned(),
        ),
        ("region eu", format!("region {}", region.0)),
        ("0.0.0.0:7379", region.1.to_string()),
        ("us@us.example.org:7379", format!("{}@{}", peer.0, peer.1)),
        ("/etc/redis/geo/eu.", format!("/etc/redis/geo/{}.", region.0)),
        ("/etc/redis/geo", certificates.to_string_lossy().into_owned()),
    ] {
        assert!(loadmodule.contains(shown), "{loadmodule} has no {shown}");
        loadmodule = loadmodule.replace(shown, &ours);
    }
    format!("{loadmodule}\nsave \"\"\nappendonly no\n")
}

#[test]
fn two_regions_configured_as_it_says_meet() {
    let directory = tempfile::tempdir().expect("a directory");
    let certs = line("$ target/release/geoctl certs");
    let words: Vec<&str> = certs.split(' ').skip(2).collect();
    let made = geoctl(&words, directory.path());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let ends = [("eu", ports::free()), ("us", ports::free())];
    let servers = [(ends[0], ends[1]), (ends[1], ends[0])].map(|(region, peer)| {
        let file = directory.path().join(format!("{}.conf", region.0));
        fs::write(&file, configuration(directory.path(), region, peer)).expect("a file");
        Server::plain(&[&file.to_string_lossy()])
    });
    let addresses = servers.each_ref().map(|server| format!("127.0.0.1:{}", server.port));
    until("both are active and linked", || {
        let status = geoctl(&["status", &addresses[0], &addresses[1]], directory.path());
        let said = String::from_utf8_lossy(&status.stdout).into_owned();
        (status.status.success() && said.matches("active").count() == 2 && said.matches("up, rtt").count() == 2)
            .then_some(())
    });
    let [mut eu, mut us] = servers.each_ref().map(Server::client);
    assert_eq!(eu.text("SET city Paris"), b"+OK\r\n");
    until("the value is in us", || {
        (us.text("GET city") == b"$5\r\nParis\r\n").then_some(())
    });
}
