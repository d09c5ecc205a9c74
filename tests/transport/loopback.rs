//! Real sockets on the loopback: links come up, carry frames in order, end with a reason, come again.

use std::time::Duration;

use redis_geo::replication::transport::{Command, Compression, PeerAddress, start};
use tempfile::tempdir;

use crate::authority::{Authority, Flaw};
use crate::region::{Region, wait};

/// Two regions; eu listens, us dials it. Gives both and their link's number at each.
fn pair(change: impl Fn(&mut redis_geo::replication::transport::Settings)) -> (Region, Region) {
    let (directory, authority) = (tempdir().unwrap(), Authority::new());
    let mut settings = authority.region(directory.path(), "eu");
    change(&mut settings);
    let mut eu = Region::start(settings);
    let mut settings = authority.region(directory.path(), "us");
    settings.peers = vec![eu.address("eu")];
    change(&mut settings);
    let mut us = Region::start(settings);
    wait("both up", [&mut eu, &mut us], |[eu, us]| {
        eu.up().len() == 1 && us.up().len() == 1
    });
    (eu, us)
}

/// Frame `i` of many: sizes from nothing to several chunks, some compressible and some not.
fn frame(i: u32) -> Vec<u8> {
    let size = match i % 7 {
        0 => 0,
        1 => 20,
        2 => 600,
        3 => 5_000,
        4 => 65_536,
        5 => 65_537,
        _ => 300_000,
    };
    let mut state = u64::from(i) + 1;
    let noise = |_| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        if i.is_multiple_of(2) {
            (state >> 56) as u8
        } else {
            (state >> 62) as u8
        }
    };
    i.to_be_bytes().into_iter().chain((0..size).map(noise)).collect()
}

#[test]
fn frames_arrive_in_order_both_ways() {
    for compression in [Compression::Off, Compression::Lz4, Compression::Zstd] {
        let (mut eu, mut us) = pair(|settings| settings.compression = compression);
        let (at_eu, at_us) = (eu.up()[0], us.up()[0]);
        for i in 0..500 {
            eu.send(at_eu, frame(i));
            us.send(at_us, frame(i + 1000));
        }
        let mut seen = (0, 0);
        while seen != (500, 500) {
            wait("frames", [&mut eu, &mut us], |[eu, us]| {
                !eu.links[&at_eu].frames.is_empty() || !us.links[&at_us].frames.is_empty()
            });
            for got in eu.take(at_eu) {
                assert!(got[..] == frame(seen.0 + 1000)[..], "frame {} at eu", seen.0);
                seen.0 += 1;
            }
            for got in us.take(at_us) {
                assert!(got[..] == frame(seen.1)[..], "frame {} at us", seen.1);
                seen.1 += 1;
            }
        }
    }
}

#[test]
fn up_tells_who_it_is() {
    let (eu, us) = pair(|_| {});
    let (at_eu, at_us) = (&eu.links[&eu.up()[0]], &us.links[&us.up()[0]]);
    assert_eq!((at_eu.dialed.as_deref(), at_us.dialed.as_deref()), (None, Some("eu")));
    assert_eq!(
        (&at_eu.certificate[..], &at_us.certificate[..]),
        (&["us".to_string()][..], &["eu".to_string()][..])
    );
    assert_eq!(at_eu.address, us.handle.addresses()[0].to_string());
    assert_eq!(at_us.address, eu.handle.addresses()[0].to_string());
}

#[test]
fn big_frames_pass() {
    let (mut eu, us) = pair(|_| {});
    let mut us = us;
    let (at_eu, at_us) = (eu.up()[0], us.up()[0]);
    let noise: Vec<u8> = (0..70).flat_map(|i| frame(14 * i + 6)).collect();
    let text = b"the same again and again ".repeat(800_000);
    assert!(noise.len() > 20_000_000 && text.len() == 20_000_000);
    us.send(at_us, noise.clone());
    us.send(at_us, text.clone());
    us.send(at_us, *b"small");
    let mut got = Vec::new();
    // More than the inbound limit: they come one after the other as they are dropped.
    while got.len() < 3 {
        wait("a frame", [&mut eu, &mut us], |[eu, _]| {
            !eu.links[&at_eu].frames.is_empty()
        });
        got.extend(eu.take(at_eu).iter().map(|frame| frame.to_vec()));
    }
    assert!(got[0] == noise && got[1] == text && got[2] == b"small");
}

#[test]
fn three_regions_in_a_mesh() {
    let (directory, authority) = (tempdir().unwrap(), Authority::new());
    let mut eu = Region::start(authority.region(directory.path(), "eu"));
    let mut settings = authority.region(directory.path(), "us");
    settings.peers = vec![eu.address("eu")];
    let mut us = Region::start(settings);
    let mut settings = authority.region(directory.path(), "ap");
    settings.peers = vec![eu.address("eu"), us.address("us")];
    let mut ap = Region::start(settings);
    wait("a mesh", [&mut eu, &mut us, &mut ap], |all| {
        all.iter().all(|region| region.up().len() == 2)
    });
    for (i, region) in [&eu, &us, &ap].into_iter().enumerate() {
        for n in 0..50 {
            let frame = frame(n * 3 + i as u32).into();
            region.handle.send(Command::Send {
                links: region.up().into(),
                frame,
            });
        }
    }
    wait("all frames", [&mut eu, &mut us, &mut ap], |all| {
        all.iter()
            .all(|region| region.links.values().all(|link| link.frames.len() == 50))
    });
    for region in [&eu, &us, &ap] {
        for link in region.links.values() {
            let sender = ["eu", "us", "ap"]
                .iter()
                .position(|name| link.certificate == [name.to_string()])
                .unwrap();
            for (n, got) in link.frames.iter().enumerate() {
                assert!(got[..] == frame(n as u32 * 3 + sender as u32)[..]);
            }
        }
    }
}

#[test]
fn the_goodbyes_reason_arrives_after_the_frames_before_it() {
    let (mut eu, mut us) = pair(|_| {});
    let (at_eu, at_us) = (eu.up()[0], us.up()[0]);
    for i in 0..20 {
        us.send(at_us, frame(i));
    }
    us.handle.send(Command::Close {
        link: at_us,
        reason: "another cluster: \u{2018}a\u{2019}\nnot b".into(),
    });
    us.send(at_us, *b"too late");
    wait("down", [&mut eu, &mut us], |[eu, us]| {
        eu.down(at_eu).is_some() && us.down(at_us).is_some()
    });
    assert_eq!(
        eu.down(at_eu).unwrap(),
        "closed by the peer: another cluster: \u{2018}a\u{2019} not b"
    );
    assert_eq!(us.down(at_us).unwrap(), "another cluster: \u{2018}a\u{2019}\nnot b");
    assert_eq!(eu.links[&at_eu].frames.len(), 20);
}

#[test]
fn a_closed_link_is_dialed_again() {
    let (mut eu, mut us) = pair(|_| {});
    for round in 2..5 {
        let link = us.up()[0];
        if round == 4 {
            us.handle.send(Command::Established {
                link,
                region: "eu".into(),
            });
        }
        us.handle.send(Command::Close {
            link,
            reason: "try again".into(),
        });
        wait("again", [&mut eu, &mut us], |[_, us]| {
            us.links.len() == round && us.up().len() == 1
        });
    }
}

#[test]
fn both_sides_may_say_goodbye_at_once() {
    let (mut eu, mut us) = pair(|_| {});
    let (at_eu, at_us) = (eu.up()[0], us.up()[0]);
    eu.handle.send(Command::Close {
        link: at_eu,
        reason: "eu leaves".into(),
    });
    us.handle.send(Command::Close {
        link: at_us,
        reason: "us leaves".into(),
    });
    wait("down", [&mut eu, &mut us], |[eu, us]| {
        eu.down(at_eu).is_some() && us.down(at_us).is_some()
    });
    assert!(["eu leaves", "closed by the peer: us leaves"].contains(&eu.down(at_eu).unwrap()));
    assert!(["us leaves", "closed by the peer: eu leaves"].contains(&us.down(at_us).unwrap()));
}

#[test]
fn names_are_resolved_and_unknown_ones_reported() {
    let (directory, authority) = (tempdir().unwrap(), Authority::new());
    let mut eu = Region::start(authority.region(directory.path(), "eu"));
    let mut settings = authority.region(directory.path(), "us");
    settings.peers = vec![
        PeerAddress {
            host: "localhost".into(),
            ..eu.address("eu")
        },
        PeerAddress {
            name: "ap".into(),
            host: "no-such-host.invalid".into(),
            port: 1,
        },
    ];
    let mut us = Region::start(settings);
    wait("a link and a failure", [&mut eu, &mut us], |[eu, us]| {
        eu.up().len() == 1 && us.up().len() == 1 && us.dial_failures.iter().any(|(peer, _)| peer == "ap")
    });
    assert!(us.failed_with("no-such-host.invalid:1: "), "{:?}", us.dial_failures);
}

#[test]
fn a_peer_is_looked_for_at_all_its_places() {
    let (directory, authority) = (tempdir().unwrap(), Authority::new());
    // Nobody answers there.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut first = Region::start(authority.region(directory.path(), "eu"));
    let mut second = Region::start(authority.region(directory.path(), "eu"));
    let dead = PeerAddress {
        port: silent.local_addr().unwrap().port(),
        ..first.address("eu")
    };
    let mut settings = authority.region(directory.path(), "us");
    settings.peers = vec![dead, first.address("eu"), second.address("eu")];
    let mut us = Region::start(settings);
    wait("a link to the first that answers", [&mut first, &mut us], |[eu, us]| {
        eu.up().len() == 1 && us.up().len() == 1
    });
    assert!(us.failed_with("no answer"), "{:?}", us.dial_failures);
    let link = us.up()[0];
    us.handle.send(Command::Established {
        link,
        region: "eu".into(),
    });
    drop(first);
    wait("a link to the next", [&mut second, &mut us], |[eu, us]| {
        eu.up().len() == 1 && us.up().len() == 1
    });
}

#[test]
fn a_region_without_a_listener_dials() {
    let (directory, authority) = (tempdir().unwrap(), Authority::new());
    let mut eu = Region::start(authority.region(directory.path(), "eu"));
    let mut settings = authority.issue(directory.path(), "us", &["us"], Flaw::None);
    settings.peers = vec![eu.address("eu")];
    (settings.gso, settings.max_mtu, settings.streams) = (false, Some(1200), 1);
    let mut us = Region::start(settings);
    wait("up", [&mut eu, &mut us], |[eu, us]| {
        eu.up().len() == 1 && us.up().len() == 1
    });
    let (at_eu, at_us) = (eu.up()[0], us.up()[0]);
    for i in 0..50 {
        us.send(at_us, frame(i));
        eu.send(at_eu, frame(i));
    }
    wait("frames", [&mut eu, &mut us], |[eu, us]| {
        eu.links[&at_eu].frames.len() == 50 && us.links[&at_us].frames.len() == 50
    });
}

#[test]
fn an_incoming_link_that_is_established_stops_our_dialing() {
    let (directory, authority) = (tempdir().unwrap(), Authority::new());
    // A port where nobody answers yet.
    let reserved = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let place = reserved.local_addr().unwrap();
    let mut settings = authority.region(directory.path(), "eu");
    settings.peers = vec![PeerAddress {
        name: "us".into(),
        host: "127.0.0.1".into(),
        port: place.port(),
    }];
    let mut eu = Region::start(settings);
    let mut settings = authority.region(directory.path(), "us");
    settings.peers = vec![eu.address("eu")];
    let mut us = Region::start(settings);
    wait("us dialed", [&mut eu, &mut us], |[eu, us]| {
        eu.up().len() == 1 && us.up().len() == 1
    });
    let link = eu.up()[0];
    eu.handle.send(Command::Established {
        link,
        region: "us".into(),
    });
    // The attempt under way is given up; then nothing more comes to the reserved port.
    reserved.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
    let mut buffer = [0; 2048];
    let mut datagrams = 0;
    while reserved.recv(&mut buffer).is_ok() {
        datagrams += 1;
        assert!(datagrams < 50, "still dialing");
    }
    assert!(datagrams > 0, "never dialed");
    assert!(eu.dial_failures.is_empty());
}

#[test]
fn a_restarted_peer_is_found_again() {
    let (directory, authority) = (tempdir().unwrap(), Authority::new());
    let mut settings = authority.region(directory.path(), "eu");
    // Where no other test takes the port while nobody has it.
    settings.listen = vec!["127.0.0.2:0".parse().unwrap()];
    let eu = Region::start(settings.clone());
    let place = eu.handle.addresses()[0];
    settings.listen = vec![place];
    let mut other = authority.region(directory.path(), "us");
    other.peers = vec![eu.address("eu")];
    let mut us = Region::start(other);
    let mut eu = eu;
    wait("up", [&mut eu, &mut us], |[_, us]| us.up().len() == 1);
    let first = us.up()[0];
    eu.handle.stop();
    wait("down", [&mut us], |[us]| us.down(first).is_some());
    assert_eq!(us.down(first).unwrap(), "closed by the peer: the server shuts down");
    wait("a failure", [&mut us], |[us]| !us.dial_failures.is_empty());
    let mut eu = Region::start(settings);
    wait("up again", [&mut eu, &mut us], |[_, us]| us.up().len() == 1);
    let link = us.up()[0];
    us.send(link, *b"hello again");
    wait("the frame", [&mut eu, &mut us], |[eu, _]| {
        eu.links.values().any(|link| link.frames.len() == 1)
    });
}

#[test]
fn figures_are_there() {
    let (mut eu, mut us) = pair(|_| {});
    let (at_eu, at_us) = (eu.up()[0], us.up()[0]);
    us.send(at_us, frame(6));
    wait("figures", [&mut eu, &mut us], |[eu, us]| {
        let (eu, us) = (eu.handle.statistics(at_eu), us.handle.statistics(at_us));
        us.is_some_and(|us| us.bytes_out > 300_000 && us.rtt_us > 0 && us.cwnd > 0 && us.datagrams_out > 100)
            && eu.is_some_and(|eu| eu.bytes_in > 300_000)
    });
    us.handle.send(Command::Close {
        link: at_us,
        reason: "enough".into(),
    });
    wait("no figures", [&mut eu, &mut us], |[_, us]| {
        us.handle.statistics(at_us).is_none()
    });
}

#[test]
fn wake_is_called_when_something_waits() {
    let (directory, authority) = (tempdir().unwrap(), Authority::new());
    let (woken, wakes) = std::sync::mpsc::channel();
    let wake = move || woken.send(()).unwrap_or_default();
    let eu = Region::of(start(authority.region(directory.path(), "eu"), wake).unwrap());
    let mut settings = authority.region(directory.path(), "us");
    settings.peers = vec![eu.address("eu")];
    let mut us = Region::start(settings);
    let mut eu = eu;
    wakes
        .recv_timeout(Duration::from_secs(60))
        .expect("nobody was woken for the link");
    wait("up", [&mut eu, &mut us], |[eu, us]| {
        eu.up().len() == 1 && us.up().len() == 1
    });
    while wakes.try_recv().is_ok() {}
    let link = us.up()[0];
    us.send(link, *b"frame");
    wakes
        .recv_timeout(Duration::from_secs(60))
        .expect("nobody was woken for the frame");
}

#[test]
fn a_fork_leaves_the_links_alone() {
    let (mut eu, mut us) = pair(|_| {});
    let (at_eu, at_us) = (eu.up()[0], us.up()[0]);
    for round in 1..=10 {
        us.send(at_us, frame(5));
        // SAFETY: the child ends at once, as the server's does when it has saved; it runs no destructors.
        let child = unsafe {
            match libc::fork() {
                0 => libc::_exit(0),
                child => child,
            }
        };
        assert!(child > 0);
        // SAFETY: our own child, no status wanted.
        assert_eq!(unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) }, child);
        wait("a frame", [&mut eu, &mut us], |[eu, _]| {
            eu.links[&at_eu].frames.len() == round
        });
    }
    assert!(eu.down(at_eu).is_none());
}

#[test]
fn signals_are_not_for_the_replication_thread() {
    let (directory, authority) = (tempdir().unwrap(), Authority::new());
    let _eu = Region::start(authority.region(directory.path(), "eu"));
    // Other tests' threads of this name have the same mask.
    let of_ours = |task: std::fs::DirEntry| {
        let status = std::fs::read_to_string(task.path().join("status")).ok()?;
        let field = |name: &str| {
            Some(
                status
                    .lines()
                    .find_map(|line| line.strip_prefix(name))?
                    .trim()
                    .to_string(),
            )
        };
        (field("Name:")? == "geo-replication").then(|| u64::from_str_radix(&field("SigBlk:")?, 16).ok())?
    };
    let blocked = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .flatten()
        .find_map(of_ours)
        .expect("no such thread");
    let has = |signal: i32| blocked >> (signal - 1) & 1 == 1;
    assert!(
        [
            libc::SIGTERM,
            libc::SIGALRM,
            libc::SIGCHLD,
            libc::SIGUSR1,
            libc::SIGPIPE
        ]
        .into_iter()
        .all(has)
    );
    assert!(![libc::SIGSEGV, libc::SIGBUS, libc::SIGABRT].into_iter().any(has));
}

/// Not a test of anything: `cargo test --release --features net --test transport -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn measure_loopback() {
    let (mut eu, us) = pair(|settings| settings.compression = Compression::Off);
    let mut us = us;
    let (at_eu, at_us) = (eu.up()[0], us.up()[0]);
    for size in [200usize, 4 << 10, 64 << 10, 1 << 20] {
        let count = ((200 << 20) / size).min(100_000);
        let frame: std::sync::Arc<[u8]> = vec![7; size].into();
        let start = std::time::Instant::now();
        let (mut sent, mut got) = (0, 0);
        while got < count {
            eu.pump(usize::MAX);
            got += eu.take(at_eu).len();
            while sent < count && (sent - got) * size < 8 << 20 && sent - got < 20_000 {
                us.send(at_us, frame.clone());
                sent += 1;
            }
            us.pump(usize::MAX);
            // Both ends have threads of their own, which need the cores.
            std::thread::sleep(Duration::from_micros(200));
        }
        let seconds = start.elapsed().as_secs_f64();
        eprintln!(
            "{size:8} B frames: {:8.0}/s {:6.1} MB/s",
            count as f64 / seconds,
            (count * size) as f64 / seconds / 1e6
        );
    }
}
