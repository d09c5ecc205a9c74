//! The relay that stands for the network in the other tests: each of its conditions does what it says.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis_geo::lab::relay::{Conditions, Direction, Link, Relay};
use redis_geo::lab::wait_for;

const PATIENCE: Duration = Duration::from_secs(10);

/// Two ends, `a` dialing `b` through the link.
struct Ends {
    a: UdpSocket,
    b: UdpSocket,
    link: Link,
}

impl Ends {
    fn new(seed: u64) -> Ends {
        let (a, b) = (socket(), socket());
        let link = Link::new(a.local_addr().unwrap(), b.local_addr().unwrap(), seed).unwrap();
        Ends { a, b, link }
    }

    fn send(&self, count: u16) {
        for number in 0..count {
            self.a.send_to(&number.to_be_bytes(), self.link.address_of_b()).unwrap();
        }
    }

    /// Waits until the forward direction has decided on all of them, and gives what arrived.
    fn arrived(&self, count: u64) -> Vec<u16> {
        wait_for("the relay's decisions", PATIENCE, || {
            let counts = self.link.forth.counts();
            (counts.passed + counts.dropped >= count).then_some(())
        })
        .unwrap();
        let passed = self.link.forth.counts().passed;
        (0..passed).map(|_| receive(&self.b).0).collect()
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> (u16, SocketAddr) {
    let mut buffer = [0; 64];
    let (length, from) = socket.recv_from(&mut buffer).expect("a datagram");
    (
        u16::from_be_bytes(buffer[..length].try_into().expect("two bytes")),
        from,
    )
}

#[test]
fn a_perfect_link_hands_on_everything_in_order_and_brings_answers_back() {
    let ends = Ends::new(1);
    ends.send(200);
    assert_eq!(ends.arrived(200), (0..200).collect::<Vec<u16>>());

    ends.a.send_to(&7u16.to_be_bytes(), ends.link.address_of_b()).unwrap();
    let (_, from) = receive(&ends.b);
    ends.b.send_to(&8u16.to_be_bytes(), from).unwrap();
    assert_eq!(receive(&ends.a), (8, ends.link.address_of_b()));
}

#[test]
fn two_dialers_get_their_own_answers() {
    let ends = Ends::new(2);
    let other = socket();
    for (dialer, number) in [(&ends.a, 1u16), (&other, 2)] {
        dialer.send_to(&number.to_be_bytes(), ends.link.address_of_b()).unwrap();
        let (number, from) = receive(&ends.b);
        ends.b.send_to(&(number + 10).to_be_bytes(), from).unwrap();
    }
    assert_eq!(receive(&ends.a).0, 11);
    assert_eq!(receive(&other).0, 12);
}

#[test]
fn loss_loses_about_its_share_and_the_same_ones_for_the_same_seed() {
    let lossy = Conditions {
        loss: 0.3,
        ..Conditions::PERFECT
    };
    let run = |seed| {
        let ends = Ends::new(seed);
        ends.link.set(lossy);
        // No more than the socket of the other end holds.
        ends.send(200);
        ends.arrived(200)
    };
    let first = run(3);
    assert!((100..=180).contains(&first.len()), "{} of 200 arrived", first.len());
    assert_eq!(first, run(3));
    assert_ne!(first, run(4));
}

#[test]
fn duplicates_arrive_twice() {
    let ends = Ends::new(5);
    ends.link.forth.set(Conditions {
        duplicate: 1.0,
        ..Conditions::PERFECT
    });
    ends.send(50);
    let mut arrived = ends.arrived(100);
    arrived.sort_unstable();
    assert_eq!(
        arrived,
        (0..50).flat_map(|number| [number, number]).collect::<Vec<u16>>()
    );
}

#[test]
fn reordering_overtakes_and_jitter_does_not() {
    let ends = Ends::new(6);
    ends.link.forth.set(Conditions {
        jitter: Duration::from_millis(5),
        ..Conditions::PERFECT
    });
    ends.send(100);
    assert_eq!(ends.arrived(100), (0..100).collect::<Vec<u16>>());

    let ends = Ends::new(6);
    ends.link.forth.set(Conditions {
        reorder: 0.3,
        ..Conditions::PERFECT
    });
    ends.send(100);
    let arrived = ends.arrived(100);
    assert!(!arrived.is_sorted());
    assert_eq!(arrived.len(), 100);
}

#[test]
fn a_delay_delays_by_no_less_than_it_says() {
    let ends = Ends::new(7);
    let delay = Duration::from_millis(40);
    ends.link.forth.set(Conditions {
        delay,
        ..Conditions::PERFECT
    });
    let sent = Instant::now();
    ends.send(1);
    receive(&ends.b);
    assert!(sent.elapsed() >= delay);
}

#[test]
fn bandwidth_spreads_datagrams_and_drops_what_its_queue_cannot_hold() {
    let ends = Ends::new(8);
    // 2 bytes each: 10 ms each, so that the queue of 250 ms holds about 25.
    ends.link.forth.set(Conditions {
        bandwidth: Some(200),
        ..Conditions::PERFECT
    });
    let sent = Instant::now();
    ends.send(100);
    let arrived = ends.arrived(100);
    assert!(sent.elapsed() >= Duration::from_millis(10 * (arrived.len() as u64 - 1)));
    assert!(arrived.len() < 100);
}

#[test]
fn each_direction_is_cut_and_healed_on_its_own() {
    let ends = Ends::new(9);
    ends.send(1);
    let (_, from) = receive(&ends.b);

    ends.link.back.cut();
    ends.b.send_to(&1u16.to_be_bytes(), from).unwrap();
    ends.send(1);
    assert_eq!(receive(&ends.b).0, 0, "the other direction still works");
    wait_for("the cut to swallow the answer", PATIENCE, || {
        (ends.link.back.counts().dropped == 1).then_some(())
    })
    .unwrap();

    ends.link.heal();
    ends.b.send_to(&2u16.to_be_bytes(), from).unwrap();
    assert_eq!(receive(&ends.a).0, 2, "what the cut swallowed does not come back");
}

#[test]
fn a_cut_swallows_datagrams_on_their_way() {
    let ends = Ends::new(10);
    ends.link.forth.set(Conditions {
        delay: Duration::from_secs(2),
        ..Conditions::PERFECT
    });
    ends.send(3);
    // The first tells the relay that the dialer exists; none has left yet.
    ends.link.cut();
    assert_eq!(ends.arrived(3), Vec::<u16>::new());
    assert_eq!(ends.link.forth.counts().dropped, 3);
}

#[test]
fn a_relay_outlives_its_target_and_finds_it_again() {
    let target = socket();
    let address = target.local_addr().unwrap();
    let (forth, back) = (Arc::new(Direction::new(1)), Arc::new(Direction::new(2)));
    let relay = Relay::start(address, forth, back).unwrap();
    let dialer = socket();
    drop(target);
    dialer.send_to(&1u16.to_be_bytes(), relay.address).unwrap();
    let target = UdpSocket::bind(address).unwrap();
    target.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let number = wait_for("a datagram at the target", PATIENCE, || {
        dialer.send_to(&2u16.to_be_bytes(), relay.address).unwrap();
        let mut buffer = [0; 2];
        target.recv(&mut buffer).ok().map(|_| u16::from_be_bytes(buffer))
    });
    assert!(number.is_ok());
}
