//! While it runs: certificates that change, applications that are behind, a thread that fails.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redis_geo::replication::transport::start;
use tempfile::tempdir;

use crate::authority::{Authority, Flaw};
use crate::region::{Region, wait};

#[test]
fn certificates_rotate_while_links_stand() {
    let (directory, authority) = (tempdir().unwrap(), Authority::new());
    let at = directory.path();
    let ours = authority.region(at, "eu");
    let mut eu = Region::start(ours.clone());
    let mut theirs = authority.region(at, "us");
    theirs.peers = vec![eu.address("eu")];
    let mut us = Region::start(theirs.clone());
    wait("up", [&mut eu, &mut us], |[eu, us]| {
        eu.up().len() == 1 && us.up().len() == 1
    });
    let (at_eu, at_us) = (eu.up()[0], us.up()[0]);

    // Half a change: the certificate without its key.
    let key = fs::read(&theirs.key).unwrap();
    authority.issue(at, "us", &["us", "us-new"], Flaw::None);
    let new_key = fs::read(&theirs.key).unwrap();
    fs::write(&theirs.key, key).unwrap();
    wait("a complaint", [&mut eu, &mut us], |[_, us]| {
        us.logged("the old ones stay")
    });
    us.send(at_us, *b"still here");
    wait("a frame", [&mut eu, &mut us], |[eu, _]| {
        eu.links[&at_eu].frames.len() == 1
    });

    fs::write(&theirs.key, new_key).unwrap();
    wait("the change", [&mut eu, &mut us], |[_, us]| {
        us.logged("new links use the new ones")
    });
    us.send(at_us, *b"still here");
    wait("a frame", [&mut eu, &mut us], |[eu, _]| {
        eu.links[&at_eu].frames.len() == 2
    });
    let close = redis_geo::replication::transport::Command::Close {
        link: at_us,
        reason: "again".into(),
    };
    us.handle.send(close);
    wait("a new link", [&mut eu, &mut us], |[eu, _]| {
        eu.links.len() == 2 && eu.up().len() == 1
    });
    let link = eu.up()[0];
    assert_eq!(eu.links[&link].certificate, ["us", "us-new"]);

    // eu moves to another CA: us is no longer welcome, and comes back with a certificate of the new one.
    let new = Authority::new();
    new.issue(at, "eu", &["eu"], Flaw::None);
    wait("the end", [&mut eu, &mut us], |[eu, _]| eu.down(link).is_some());
    assert_eq!(
        eu.down(link).unwrap(),
        "our CA no longer accepts the peer's certificate"
    );
    wait("refusals", [&mut eu, &mut us], |[_, us]| {
        us.failed_with("TLS handshake refused")
    });
    assert!(eu.up().is_empty());
    new.issue(at, "us", &["us"], Flaw::None);
    wait("welcome again", [&mut eu, &mut us], |[eu, us]| {
        eu.up().len() == 1 && us.up().len() == 1
    });
}

#[test]
fn a_symbolic_link_that_is_swapped_is_a_change() {
    let (directory, authority) = (tempdir().unwrap(), Authority::new());
    let (first, second, current) = ("..first", "..second", directory.path().join("..data"));
    for (name, san) in [(first, "us"), (second, "us-second")] {
        fs::create_dir(directory.path().join(name)).unwrap();
        authority.issue(&directory.path().join(name), "us", &["us", san], Flaw::None);
    }
    std::os::unix::fs::symlink(first, &current).unwrap();
    let mut settings = authority.issue(tempdir().unwrap().path(), "us", &["us"], Flaw::None);
    settings.listen = vec!["127.0.0.1:0".parse().unwrap()];
    (settings.certificate, settings.key, settings.ca) =
        (current.join("us.crt"), current.join("us.key"), current.join("us.ca"));
    let mut us = Region::start(settings);
    let next = directory.path().join("..next");
    std::os::unix::fs::symlink(second, &next).unwrap();
    fs::rename(&next, &current).unwrap();
    wait("the change", [&mut us], |[us]| us.logged("new links use the new ones"));
    let mut settings = authority.region(directory.path(), "eu");
    settings.peers = vec![us.address("us")];
    let mut eu = Region::start(settings);
    wait("up", [&mut eu, &mut us], |[eu, us]| {
        eu.up().len() == 1 && us.up().len() == 1
    });
    assert_eq!(eu.links.values().next().unwrap().certificate, ["us", "us-second"]);
}

#[test]
fn frames_nobody_takes_stop_the_sender() {
    let (directory, authority) = (tempdir().unwrap(), Authority::new());
    let mut settings = authority.region(directory.path(), "eu");
    settings.inbound = 1 << 20;
    settings.compression = redis_geo::replication::transport::Compression::Off;
    let mut eu = Region::start(settings.clone());
    let mut other = authority.region(directory.path(), "us");
    other.peers = vec![eu.address("eu")];
    other.compression = settings.compression;
    let mut us = Region::start(other);
    wait("up", [&mut eu, &mut us], |[eu, us]| {
        eu.up().len() == 1 && us.up().len() == 1
    });
    let (at_eu, at_us) = (eu.up()[0], us.up()[0]);
    for i in 0..600u32 {
        us.send(at_us, [&i.to_be_bytes()[..], &[7; 100_000]].concat());
    }
    // eu pumps but keeps what it gets: ten frames fit its megabyte.
    wait("ten frames", [&mut eu, &mut us], |[eu, us]| {
        let figures = us.handle.statistics(at_us);
        eu.links[&at_eu].frames.len() == 10
            && figures.is_some_and(|figures| figures.queued > 40_000_000 && figures.goodput == 0)
    });
    // Dropping three lets three in.
    eu.links.get_mut(&at_eu).unwrap().frames.drain(..3);
    wait("three more", [&mut eu, &mut us], |[eu, _]| {
        eu.links[&at_eu].frames.len() == 10
    });
    let mut next = 3u32;
    while next < 600 {
        wait("more", [&mut eu, &mut us], |[eu, _]| {
            !eu.links[&at_eu].frames.is_empty()
        });
        for got in eu.take(at_eu) {
            assert_eq!(got[..4], next.to_be_bytes());
            next += 1;
        }
    }
}

#[test]
fn the_thread_starts_again_after_a_panic() {
    let (directory, authority) = (tempdir().unwrap(), Authority::new());
    let ours = authority.region(directory.path(), "eu");
    let fail = Arc::new(AtomicBool::new(false));
    let trap = fail.clone();
    // The only code of ours that runs on that thread.
    let wake = move || assert!(!trap.swap(false, Ordering::SeqCst), "as the test wants");
    let mut eu = Region::of(start(ours, wake).unwrap());
    let mut settings = authority.region(directory.path(), "us");
    settings.peers = vec![eu.address("eu")];
    let mut us = Region::start(settings);
    wait("up", [&mut eu, &mut us], |[eu, us]| {
        eu.up().len() == 1 && us.up().len() == 1
    });
    let (first, link) = (eu.up()[0], us.up()[0]);
    // In the link's task: that link ends, nothing else.
    fail.store(true, Ordering::SeqCst);
    us.send(link, *b"trap");
    wait("the link's end", [&mut eu, &mut us], |[eu, _]| eu.down(first).is_some());
    assert_eq!(eu.down(first).unwrap(), "internal error");
    wait("a new link", [&mut eu, &mut us], |[eu, us]| {
        eu.up().len() == 1 && us.up().len() == 1
    });
    assert!(!eu.logged("starts again"));
    // In the driver itself, which looks at the changed files.
    let (second, stale) = (eu.up()[0], us.up()[0]);
    fail.store(true, Ordering::SeqCst);
    authority.issue(directory.path(), "eu", &["eu"], Flaw::None);
    wait("the restart", [&mut eu, &mut us], |[eu, _]| {
        eu.logged("starts again in 100 ms: as the test wants")
    });
    wait("the link's end", [&mut eu, &mut us], |[eu, _]| {
        eu.down(second).is_some()
    });
    // us is told by a reset, which the new endpoint signs with the same key: it need not wait for its timeout.
    wait("us notices", [&mut eu, &mut us], |[_, us]| us.down(stale).is_some());
    assert!(
        us.down(stale).unwrap().contains("does not know this connection"),
        "{:?}",
        us.down(stale)
    );
    wait("a new link", [&mut eu, &mut us], |[eu, us]| {
        eu.up().len() == 1 && us.up().len() == 1
    });
    let link = us.up()[0];
    us.send(link, *b"works");
    wait("a frame", [&mut eu, &mut us], |[eu, _]| {
        eu.links
            .values()
            .any(|link| link.frames.iter().any(|f| f[..] == *b"works"))
    });
}
