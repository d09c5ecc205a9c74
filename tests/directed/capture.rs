//! Changes that no command recorded: found in the keyspace, and written again as a whole.

use redis_geo::crdt::{Change, Deadline, Element, Found, Kind, NEVER, Notice, OwnedValue, Store, Value};
use redis_geo::replication::{Captured, Region};

use crate::cluster::{Cluster, data, key, limits};

const A: usize = 0;
const B: usize = 1;
/// Bytes that an element may have.
const MOST: usize = 1000;

/// Something changes a key behind the engine's back, which is then told to look.
fn behind(cluster: &mut Cluster, at: usize, name: &str, notice: Notice, change: Change<'_>) -> Captured {
    let mut captured = Captured::Nothing;
    cluster.act(at, |engine, store| {
        change.perform(key(name), store);
        captured = engine.capture(key(name), notice, MOST, store);
    });
    captured
}

fn looked_at(cluster: &mut Cluster, at: usize, name: &str) -> Captured {
    behind(cluster, at, name, Notice::None, Change::none())
}

fn deadline(cluster: &mut Cluster, at: usize, name: &str) -> Option<u64> {
    cluster.nodes[at].store.deadline(key(name))
}

#[test]
fn a_value_of_each_kind_reaches_the_other_region() {
    for settled in [false, true] {
        let mut cluster = Cluster::new(&["a", "b"]);
        cluster.set(A, "s", "old");
        cluster.add(A, "t", &["m", "n"]);
        cluster.change(A, "h", Change::put(Element::field(b"f"), Value::Bytes(b"1")));
        cluster.change(A, "other", Change::add(&[b"m"]));
        cluster.exchange();
        if settled {
            cluster.settle(4);
            assert_eq!(cluster.cells(A), 0);
        }
        for (name, change) in [
            ("s", Change::assign(b"new")),
            ("t", Change::remove(Kind::Set, &[b"m"])),
            ("h", Change::put(Element::field(b"g"), Value::Bytes(b"2"))),
            ("other", Change::assign(b"text")),
            ("fresh", Change::add(&[b"x"])),
        ] {
            assert_eq!(
                behind(&mut cluster, A, name, Notice::Value, change),
                Captured::Recorded,
                "{name}"
            );
        }
        let end = [
            ("s", "new"),
            ("t", "{n}"),
            ("h", "{f=1 g=2}"),
            ("other", "text"),
            ("fresh", "{x}"),
        ];
        cluster.finish(&data(&end)).unwrap();
    }
}

#[test]
fn a_removal_reaches_the_other_region_once() {
    for settled in [false, true] {
        let mut cluster = Cluster::new(&["a", "b"]);
        cluster.set(A, "k", "v");
        cluster.exchange();
        cluster.settle(if settled { 4 } else { 0 });
        assert_eq!(
            behind(&mut cluster, A, "k", Notice::Value, Change::clear()),
            Captured::Recorded
        );
        assert_eq!(
            behind(&mut cluster, A, "k", Notice::Value, Change::none()),
            Captured::Nothing,
            "it is known to be gone"
        );
        cluster.finish(&data(&[])).unwrap();
    }
}

/// What the other region does meanwhile is merged as with any write of a whole value.
#[test]
fn concurrent_writes() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.increment(A, "n", 10);
    cluster.add(A, "t", &["m", "n"]);
    cluster.exchange();
    cluster.settle(4);
    cluster.cut(A, B);
    behind(&mut cluster, A, "n", Notice::Value, Change::assign(b"11"));
    behind(&mut cluster, A, "t", Notice::Value, Change::add(&[b"x"]));
    cluster.increment(B, "n", 5);
    cluster.remove(B, "t", "m");
    cluster.add(B, "t", &["y"]);
    // The increment counts on top; the member that was removed is written again.
    cluster.finish(&data(&[("n", "16"), ("t", "{m n x y}")])).unwrap();
}

#[test]
fn a_deadline_alone_leaves_the_value_alone() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.increment(A, "n", 10);
    cluster.exchange();
    cluster.settle(4);
    cluster.cut(A, B);
    let at = cluster.wall(A) + 1_000_000;
    let expire = Change::none().with_deadline(Deadline::At(at));
    assert_eq!(
        behind(&mut cluster, A, "n", Notice::Deadline, expire),
        Captured::Recorded
    );
    cluster.increment(A, "n", 1);
    cluster.increment(B, "n", 2);
    cluster.rest();
    cluster.is(&data(&[("n", "13")])).unwrap();
    assert_eq!(deadline(&mut cluster, B, "n"), Some(at));
    let persist = Change::none().with_deadline(Deadline::At(NEVER));
    assert_eq!(
        behind(&mut cluster, A, "n", Notice::Deadline, persist),
        Captured::Recorded
    );
    cluster.rest();
    assert_eq!(deadline(&mut cluster, B, "n"), None);
}

#[test]
fn a_deadline_goes_with_the_value() {
    let mut cluster = Cluster::new(&["a", "b"]);
    let at = cluster.wall(A) + 1_000_000;
    cluster.change(A, "k", Change::assign(b"1").with_deadline(Deadline::At(at)));
    cluster.exchange();
    behind(
        &mut cluster,
        A,
        "k",
        Notice::Value,
        Change::assign(b"2").with_deadline(Deadline::Dropped),
    );
    cluster.rest();
    assert_eq!(deadline(&mut cluster, B, "k"), None);
    let change = Change::assign(b"3").with_deadline(Deadline::At(at));
    behind(&mut cluster, A, "k", Notice::Value, change);
    cluster.rest();
    assert_eq!(deadline(&mut cluster, B, "k"), Some(at));
    cluster.is(&data(&[("k", "3")])).unwrap();
}

/// Without notice, a key is written only when its metadata does not show it.
#[test]
fn what_is_known_is_not_written_again() {
    let mut cluster = Cluster::with_base(&["a", "b"], &["base"], limits());
    cluster.cut(A, B);
    for (name, change) in [
        ("t", Change::add(&[b"m", b"n"])),
        ("s", Change::assign(b"v")),
        ("z", Change::put(Element::scored(b"m"), score(1.5))),
        ("e", Change::assign(b"v").with_deadline(Deadline::At(2_000_000_000_000))),
        ("base", Change::none()),
    ] {
        assert_eq!(
            behind(&mut cluster, A, name, Notice::None, change),
            Captured::Recorded,
            "{name}"
        );
        assert_eq!(looked_at(&mut cluster, A, name), Captured::Nothing, "{name}");
    }
    // Something else than is known:
    for (name, change) in [
        ("t", Change::add(&[b"x"])),
        ("t", Change::remove(Kind::Set, &[b"n"])),
        ("z", Change::put(Element::scored(b"m"), score(2.5))),
        ("e", Change::none().with_deadline(Deadline::Dropped)),
        ("s", Change::add(&[b"m"])),
    ] {
        assert_eq!(
            behind(&mut cluster, A, name, Notice::None, change),
            Captured::Recorded,
            "{name}"
        );
    }
    let end = [
        ("t", "{m x}"),
        ("s", "{m}"),
        ("z", "{m:2.5}"),
        ("e", "v"),
        ("base", "base"),
    ];
    cluster.finish(&data(&end)).unwrap();
}

fn score(score: f64) -> Value<'static> {
    Value::Score(redis_geo::crdt::Score::new(score).unwrap())
}

#[test]
fn while_the_region_recovers_it_is_kept_and_written_afterwards() {
    let mut cluster = Cluster::with_base(&["a", "b"], &["k", "gone"], limits());
    cluster.crash(B);
    behind(&mut cluster, B, "k", Notice::Value, Change::assign(b"new"));
    behind(&mut cluster, B, "t", Notice::Value, Change::add(&[b"m"]));
    behind(&mut cluster, B, "gone", Notice::Value, Change::clear());
    cluster.finish(&data(&[("k", "new"), ("t", "{m}")])).unwrap();
}

#[test]
fn a_great_key_is_one_unit_of_several_operations() {
    let mut cluster = Cluster::new(&["a", "b"]);
    let names: Vec<String> = (0..3000).map(|n| format!("m{n}")).collect();
    let members: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
    let before = cluster.nodes[A].engine.status().operations_issued;
    behind(&mut cluster, A, "t", Notice::Value, Change::add(&members));
    assert_eq!(cluster.nodes[A].engine.status().operations_issued - before, 3);
    let mut seen = Vec::new();
    let count = |cluster: &Cluster| {
        Found::read(key("t"), &mut cluster.nodes[B].store.clone())
            .elements()
            .len()
    };
    while cluster.deliver(A, B).is_some() {}
    for _ in 0..50 {
        cluster.step(B);
        seen.push(count(&cluster));
    }
    assert!(seen.iter().all(|count| [0, 3000].contains(count)), "{seen:?}");
    assert_eq!(seen.last(), Some(&3000));
}

#[test]
fn what_is_too_large_stays_here() {
    let mut cluster = Cluster::new(&["a", "b"]);
    let large = vec![b'x'; MOST + 1];
    assert_eq!(
        behind(&mut cluster, A, "k", Notice::Value, Change::assign(&large)),
        Captured::TooLarge(MOST + 1)
    );
    cluster.exchange();
    assert_eq!(cluster.data(B), data(&[]));
}

/// The server sends the change itself to its replicas and its file, and then what was captured.
#[test]
fn whoever_follows_ends_with_the_same_metadata() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.cut(A, B);
    let mut follower = (
        Region::blank("a", 0, std::time::Duration::from_secs(60)),
        cluster.nodes[A].store.clone(),
    );
    cluster.nodes[A].engine.set_logging(true);
    let at = cluster.wall(A) + 1_000_000;
    let mut step = |name: &str, change: Change<'_>, road: bool| {
        if road {
            change.perform(key(name), &mut follower.1);
            behind(&mut cluster, A, name, Notice::Value, change);
        } else {
            cluster.change(A, name, change);
        }
        let log = cluster.nodes[A].engine.drain_log(<[u8]>::to_vec);
        follower.0.replay(&log, &mut follower.1).unwrap();
        assert_eq!(cluster.nodes[A].store, follower.1, "{name}");
        let saved = [cluster.nodes[A].engine.region(), &follower.0].map(|region| {
            let mut pieces = Vec::new();
            region.save(&mut |piece| pieces.push(piece.to_vec()));
            pieces
        });
        assert_eq!(saved[0][1..], saved[1][1..], "{name}");
    };
    step("k", Change::assign(b"1"), false);
    step("k", Change::assign(b"2"), true);
    step("k", Change::assign(b"3").with_deadline(Deadline::At(at)), true);
    step("k", Change::add(&[b"m", b"n"]), true);
    step("k", Change::add(&[b"o"]), false);
    step("k", Change::remove(Kind::Set, &[b"m"]), true);
    step("k", Change::clear(), true);
    step("h", Change::put(Element::field(b"f"), Value::Bytes(b"1")), true);
    assert_eq!(
        follower.1.read(key("h"), Element::field(b"f")),
        Some(OwnedValue::Bytes((*b"1").into()))
    );
}
