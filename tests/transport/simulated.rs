//! The transport in simulated time: loss, cuts, backoff, flow control, refusals; repeatable by seed.

use std::time::Duration;

use redis_geo::replication::LinkId;
use redis_geo::replication::transport::{Command, PeerAddress, Settings};
use tempfile::{TempDir, tempdir};
// On a paused clock: nobody waits.
use tokio::time::sleep;

use crate::authority::{Authority, Flaw};
use crate::region::Region;
use crate::simulation::{Trace, World, settle};

/// Settings of two regions; us dials eu. The certificates live as long as the directory.
fn settings() -> (TempDir, Settings, Settings) {
    let (directory, authority) = (tempdir().unwrap(), Authority::new());
    let mut eu = authority.issue(directory.path(), "eu", &["eu"], Flaw::None);
    let mut us = authority.issue(directory.path(), "us", &["us"], Flaw::None);
    eu.listen = vec!["10.0.0.1:7001".parse().unwrap()];
    us.listen = vec!["10.0.0.2:7002".parse().unwrap()];
    us.peers = vec![PeerAddress {
        name: "eu".into(),
        host: "10.0.0.1".into(),
        port: 7001,
    }];
    (directory, eu, us)
}

/// Both regions with a link between them, and its number at each.
async fn pair(world: &World, eu: &Settings, us: &Settings) -> (Region, Region, LinkId, LinkId) {
    let (mut eu, mut us) = (world.start(eu), world.start(us));
    settle("a link", 30, [&mut eu, &mut us], |[eu, us]| {
        !eu.up().is_empty() && !us.up().is_empty()
    })
    .await;
    let (at_eu, at_us) = (eu.up()[0], us.up()[0]);
    (eu, us, at_eu, at_us)
}

/// Not compressible, so that sizes mean something.
fn frame(number: u32, size: usize) -> Vec<u8> {
    let mut state = u64::from(number);
    let noise = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 56) as u8
    });
    number.to_be_bytes().into_iter().chain(noise.take(size)).collect()
}

/// 300 frames each way, of 5 to 100,000 bytes, in this weather.
fn exchange(seed: u64, loss: f64, doubled: f64) -> Trace {
    let (_directory, eu, us) = settings();
    World::run(seed, |world| async move {
        world.wires(|wires| {
            (wires.weather.loss, wires.weather.doubled) = (loss, doubled);
            wires.weather.jitter = Duration::from_millis(2);
        });
        let (mut eu, mut us, at_eu, at_us) = pair(&world, &eu, &us).await;
        let size = |i: u32| (i as usize * 7919) % 100_000;
        for i in 0..300 {
            eu.send(at_eu, frame(i, size(i)));
            us.send(at_us, frame(i + 500, size(i)));
        }
        let mut seen = (0, 0);
        settle("all frames", 120, [&mut eu, &mut us], |[eu, us]| {
            for got in eu.take(at_eu) {
                assert!(got[..] == frame(seen.0 + 500, size(seen.0))[..]);
                seen.0 += 1;
            }
            for got in us.take(at_us) {
                assert!(got[..] == frame(seen.1, size(seen.1))[..]);
                seen.1 += 1;
            }
            seen == (300, 300)
        })
        .await;
        assert!(eu.down(at_eu).is_none() && us.down(at_us).is_none());
    })
}

#[test]
fn frames_arrive_in_order_through_loss_reordering_and_doubling() {
    for seed in 0..4 {
        for (loss, doubled) in [(0.0, 0.0), (0.01, 0.0), (0.02, 0.05), (0.05, 0.01)] {
            let trace = exchange(seed, loss, doubled);
            let lost = trace.iter().filter(|datagram| !datagram.4).count();
            assert!(
                loss == 0.0 || lost * 200 > trace.len(),
                "the weather was too good: {lost} of {}",
                trace.len()
            );
        }
    }
}

#[test]
fn equal_seeds_give_equal_traces() {
    let (first, second, other) = (
        exchange(7, 0.03, 0.01),
        exchange(7, 0.03, 0.01),
        exchange(8, 0.03, 0.01),
    );
    let differs = first.iter().zip(&second).position(|(a, b)| a != b);
    assert!(
        first == second,
        "at {differs:?} of {} and {}",
        first.len(),
        second.len()
    );
    assert!(first != other);
}

#[test]
fn a_link_outlives_a_short_cut() {
    let (_directory, eu, us) = settings();
    World::run(1, |world| async move {
        let (mut a, mut b, at_eu, at_us) = pair(&world, &eu, &us).await;
        for i in 0..50 {
            b.send(at_us, frame(i, 20_000));
            if i % 10 == 5 {
                world.cut(&eu, &us, true);
                sleep(Duration::from_secs(4)).await;
                world.cut(&eu, &us, false);
                sleep(Duration::from_secs(6)).await;
            }
        }
        settle("all frames", 60, [&mut a, &mut b], |[a, _]| {
            a.links[&at_eu].frames.len() == 50
        })
        .await;
        assert!(
            a.links[&at_eu]
                .frames
                .iter()
                .enumerate()
                .all(|(i, got)| got[..] == frame(i as u32, 20_000)[..])
        );
    });
}

#[test]
fn a_long_cut_ends_the_link_and_the_heal_brings_a_new_one() {
    let (_directory, eu, us) = settings();
    World::run(2, |world| async move {
        let (mut a, mut b, at_eu, at_us) = pair(&world, &eu, &us).await;
        world.cut(&eu, &us, true);
        b.send(at_us, frame(0, 1000));
        settle("both notice", 15, [&mut a, &mut b], |[a, b]| {
            a.down(at_eu).is_some() && b.down(at_us).is_some()
        })
        .await;
        assert_eq!(
            (a.down(at_eu), b.down(at_us)),
            (Some("no answer (timed out)"), Some("no answer (timed out)"))
        );
        settle("dialing goes on", 60, [&mut a, &mut b], |[_, b]| {
            b.dial_failures.len() >= 3
        })
        .await;
        assert!(b.failed_with("10.0.0.1:7001: no answer"));
        world.cut(&eu, &us, false);
        settle("a new link", 20, [&mut a, &mut b], |[a, b]| {
            a.up().len() == 1 && b.up().len() == 1
        })
        .await;
        let link = b.up()[0];
        b.send(link, frame(1, 1000));
        settle("a frame", 5, [&mut a, &mut b], |[a, _]| {
            a.links[&a.up()[0]].frames.len() == 1
        })
        .await;
    });
}

#[test]
fn a_cut_of_one_direction_ends_the_link_too() {
    let (_directory, eu, us) = settings();
    World::run(3, |world| async move {
        let (mut a, mut b, at_eu, at_us) = pair(&world, &eu, &us).await;
        let direction = (us.listen[0], eu.listen[0]);
        world.wires(|wires| wires.weather.cut.insert(direction));
        settle("both notice", 30, [&mut a, &mut b], |[a, b]| {
            a.down(at_eu).is_some() && b.down(at_us).is_some()
        })
        .await;
        world.wires(|wires| wires.weather.cut.clear());
        settle("a new link", 20, [&mut a, &mut b], |[a, b]| {
            a.up().len() == 1 && b.up().len() == 1
        })
        .await;
    });
}

#[test]
fn dialing_backs_off_with_jitter_and_starts_fresh_after_an_established_link() {
    let (_directory, eu, us) = settings();
    World::run(4, |world| async move {
        let mut b = world.start(&us);
        let mut times = Vec::new();
        settle("ten failures", 200, [&mut b], |[b]| {
            if b.dial_failures.len() > times.len() {
                times.push(world.now());
            }
            times.len() == 10
        })
        .await;
        // Each attempt takes 5 s; the pause is what is left.
        let pauses: Vec<_> = times
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).as_secs_f64() - 5.0)
            .collect();
        for (i, pause) in pauses.iter().enumerate() {
            let least = (0.2 * f64::from(1 << i)).min(5.0);
            assert!(*pause > least - 0.05 && *pause < 2.0 * least + 0.05, "{pauses:?}");
        }
        assert!(
            pauses.windows(2).any(|pair| (pair[0] - pair[1]).abs() > 0.1),
            "no jitter: {pauses:?}"
        );
        let mut a = world.start(&eu);
        settle("a link", 30, [&mut a, &mut b], |[_, b]| b.up().len() == 1).await;
        let link = b.up()[0];
        b.handle.send(Command::Established {
            link,
            region: "eu".into(),
        });
        sleep(Duration::from_secs(1)).await;
        let before = world.now();
        b.handle.send(Command::Close {
            link,
            reason: "again".into(),
        });
        settle("a new link", 5, [&mut a, &mut b], |[_, b]| b.links.len() == 2).await;
        assert!(world.now() - before < Duration::from_secs(2));
    });
}

#[test]
fn an_application_that_is_behind_stops_the_peer_and_loses_nothing() {
    let (_directory, mut eu, us) = settings();
    eu.inbound = 1 << 20;
    World::run(5, |world| async move {
        let (mut a, mut b, at_eu, at_us) = pair(&world, &eu, &us).await;
        let frames = 1000;
        for i in 0..frames {
            b.send(at_us, frame(i, 60_000));
        }
        // eu takes nothing for a minute: longer than the idle timeout and the watch's patience.
        sleep(Duration::from_secs(60)).await;
        let sent: usize = world.wires(|wires| wires.trace.iter().filter(|d| d.1 == us.listen[0]).map(|d| d.3).sum());
        // Its credit, eight full stream windows, and overhead.
        assert!(
            sent > 8 << 20 && sent < 10 << 20,
            "{sent} bytes sent to a peer that takes none"
        );
        b.pump(usize::MAX);
        assert!(b.down(at_us).is_none(), "{:?}", b.down(at_us));
        assert!(b.handle.statistics(at_us).unwrap().queued > 40 << 20);
        let mut seen = 0;
        settle("all frames", 60, [&mut a, &mut b], |[a, _]| {
            for got in a.take(at_eu) {
                assert!(got[..] == frame(seen, 60_000)[..]);
                seen += 1;
            }
            seen == frames
        })
        .await;
    });
}

#[test]
fn too_long_a_queue_closes_the_link() {
    let (_directory, eu, mut us) = settings();
    us.max_frame = 1 << 20;
    World::run(6, |world| async move {
        let (mut a, mut b, at_eu, at_us) = pair(&world, &eu, &us).await;
        world.cut(&eu, &us, true);
        for i in 0..80 {
            b.send(at_us, frame(i, 1_000_000));
        }
        settle("the end", 5, [&mut a, &mut b], |[_, b]| b.down(at_us).is_some()).await;
        assert!(
            b.down(at_us).unwrap().contains("queued for the peer"),
            "{:?}",
            b.down(at_us)
        );
        settle("its end", 15, [&mut a, &mut b], |[a, _]| a.down(at_eu).is_some()).await;
    });
}

#[test]
fn a_goodbye_gets_through_a_congested_link() {
    for seed in 0..5 {
        let (_directory, eu, us) = settings();
        World::run(seed, |world| async move {
            world.wires(|wires| (wires.weather.loss, wires.weather.rate) = (0.02, 1e6));
            let (mut a, mut b, at_eu, at_us) = pair(&world, &eu, &us).await;
            for i in 0..400 {
                b.send(at_us, frame(i, 60_000));
            }
            sleep(Duration::from_secs(3)).await;
            b.handle.send(Command::Close {
                link: at_us,
                reason: "wrong cluster".into(),
            });
            settle("the reason", 15, [&mut a, &mut b], |[a, _]| a.down(at_eu).is_some()).await;
            assert_eq!(a.down(at_eu), Some("closed by the peer: wrong cluster"));
        });
    }
}

#[test]
fn a_link_that_became_slow_is_opened_again() {
    let (_directory, eu, us) = settings();
    World::run(9, |world| async move {
        let (mut a, mut b, at_eu, at_us) = pair(&world, &eu, &us).await;
        // Ten seconds of full speed, then a trickle that still keeps the link alive.
        for i in 0..1000 {
            b.send(at_us, frame(i, 60_000));
        }
        let mut seen = 0;
        settle("full speed", 60, [&mut a, &mut b], |[a, _]| {
            seen += a.take(at_eu).len();
            seen == 1000
        })
        .await;
        world.wires(|wires| wires.weather.rate = 20_000.0);
        for i in 0..1000 {
            b.send(at_us, frame(i, 60_000));
        }
        settle("the watch", 60, [&mut a, &mut b], |[_, b]| b.down(at_us).is_some()).await;
        assert!(b.down(at_us).unwrap().contains("stalled"), "{:?}", b.down(at_us));
        assert!(b.logged("with frames waiting"));
        world.wires(|wires| wires.weather.rate = 25e6);
        settle("a new link", 30, [&mut a, &mut b], |[_, b]| b.up().len() == 1).await;
    });
}

#[test]
fn a_strange_certificate_is_refused() {
    let (_directory, eu, us) = settings();
    let elsewhere = tempdir().unwrap();
    let stranger = Authority::new().issue(elsewhere.path(), "us", &["us"], Flaw::None);
    let stranger = Settings {
        listen: us.listen,
        peers: us.peers,
        ..stranger
    };
    World::run(10, |world| async move {
        world.wires(|wires| wires.weather.loss = 0.02);
        let (mut a, mut b) = (world.start(&eu), world.start(&stranger));
        settle("refusals", 60, [&mut a, &mut b], |[_, b]| b.dial_failures.len() >= 3).await;
        assert!(b.failed_with("TLS handshake refused"), "{:?}", b.dial_failures);
        assert!(a.links.is_empty() && b.links.is_empty());
    });
}

/// Not a test of anything: goodput by loss at 80 ms and 25 MB/s, in simulated time.
#[test]
#[ignore = "a measurement"]
fn measure_goodput() {
    for loss in [0.0, 0.001, 0.01, 0.05] {
        for seed in 0..5 {
            let (_directory, eu, us) = settings();
            World::run(seed, |world| async move {
                world.wires(|wires| {
                    wires.weather.delay = Duration::from_millis(40);
                    wires.weather.loss = loss;
                });
                let (mut a, mut b, at_eu, at_us) = pair(&world, &eu, &us).await;
                let start = world.now();
                let (mut sent, mut got) = (0, 0);
                while world.now() - start < Duration::from_secs(20) {
                    // More waits than the windows take.
                    while sent - got < 400 {
                        b.send(at_us, frame(sent, 60_000));
                        sent += 1;
                    }
                    sleep(Duration::from_millis(20)).await;
                    a.pump(usize::MAX);
                    b.pump(usize::MAX);
                    assert!(b.down(at_us).is_none(), "{:?}", b.down(at_us));
                    got += a.take(at_eu).len() as u32;
                }
                let figures = b.handle.statistics(at_us).unwrap();
                let rate = f64::from(got) * 0.06 / 20.0;
                eprintln!(
                    "loss {loss}: {rate:5.1} MB/s, lost packets {}, cwnd {}",
                    figures.lost_packets, figures.cwnd
                );
            });
        }
    }
}
