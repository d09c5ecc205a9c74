//! Regions that start with nothing, or have to.

use redis_geo::crdt::{Change, Deadline, NEVER, Store};
use redis_geo::replication::wire::{Hello, Message, RegionEntry, encode, tag};

use crate::cluster::{Cluster, data, key, limits};

/// All regions are blank: whatever order they meet in, the one with the most keys is everybody's base.
#[test]
fn the_region_with_the_most_keys_starts_the_cluster() {
    let regions: [(&str, &[&str]); 3] = [
        ("a", &["one"]),
        ("b", &["one", "two", "three"]),
        ("c", &["two", "four"]),
    ];
    let orders = [
        [(0, 1), (1, 2), (0, 2)],
        [(0, 2), (0, 1), (1, 2)],
        [(1, 2), (0, 2), (0, 1)],
    ];
    for order in orders {
        let mut cluster = Cluster::blank(&regions, limits());
        for (a, b) in order {
            cluster.connect(a, b);
            cluster.exchange();
        }
        let expected = data(&[("one", "base"), ("two", "base"), ("three", "base")]);
        assert_eq!(cluster.finish(&expected), Ok(()), "{order:?}");
    }
}

/// With as many keys everywhere they still agree on one.
#[test]
fn a_tie_has_one_winner() {
    let regions: [(&str, &[&str]); 3] = [("a", &["x"]), ("b", &["y"]), ("c", &["z"])];
    let mut cluster = Cluster::blank(&regions, limits());
    cluster.rest();
    let starters = cluster
        .nodes
        .iter()
        .filter(|node| node.log.iter().any(|text| text.contains("starting the cluster")));
    assert_eq!(starters.count(), 1);
    assert_eq!(cluster.is(&cluster.data(0)), Ok(()));
    assert_eq!(cluster.data(0).len(), 1);
}

/// Keys are counted once each, whether settled, on their way to be, or half of both; removed ones are none.
#[test]
fn all_keys_that_are_adopted_are_counted() {
    const A: usize = 0;
    const B: usize = 1;
    const C: usize = 2;
    let mut cluster = Cluster::with_base(&["a", "b", "c"], &["settled"], limits());
    cluster.add(A, "half", &["w", "x", "y"]);
    cluster.set(A, "gone", "1");
    cluster.settle(3);
    cluster.cut(A, C);
    cluster.cut(B, C);
    cluster.add(A, "half", &["z", "zz"]);
    cluster.set(A, "unsettled", "1");
    cluster.increment(A, "n", 1);
    cluster.delete(A, "gone");
    cluster.exchange();
    cluster.crash(B);
    cluster.connect(A, B);
    cluster.settle(4);
    assert_eq!(cluster.data(B), cluster.data(A));
    assert_eq!(cluster.nodes[B].engine.status().adopted_keys, 4);
    let log = cluster.nodes[B].log.join("\n");
    assert!(log.contains("adopted 4 keys of region a"), "{log}");
}

/// A region whose past does not reach what a peer was compacted by adopts, and writes again what it alone had seen.
#[test]
fn a_region_that_must_adopt_issues_its_own_unseen_values_again() {
    const A: usize = 0;
    const B: usize = 1;
    let mut cluster = Cluster::with_base(&["a", "b"], &["settled"], limits());
    cluster.set(A, "shared", "1");
    cluster.increment(A, "n", 5);
    cluster.add(A, "t", &["x"]);
    let until = Deadline::At(cluster.wall(A) + 60_000);
    let names = ["lives", "persists", "written", "kept"];
    for name in names {
        cluster.change(A, name, Change::assign(b"1").with_deadline(until));
    }
    cluster.settle(3);
    cluster.cut(A, B);
    cluster.change(A, "lives", Change::assign(b"2").with_deadline(Deadline::Dropped));
    cluster.change(A, "persists", Change::none().with_deadline(Deadline::At(NEVER)));
    cluster.change(A, "written", Change::assign(b"2"));
    cluster.set(A, "mine", "new");
    cluster.set(A, "shared", "2");
    cluster.increment(A, "n", 2);
    cluster.add(A, "t", &["y"]);
    cluster.set(B, "theirs", "new");
    cluster.increment(B, "n", 100);
    // B, as if A had lost a past that B has compacted.
    let seen = cluster.nodes[B].engine.state().seen().clone();
    let mut hello = Hello::default().with_vectors(&seen, &seen);
    (hello.cluster, hello.region, hello.incarnation) = ("c".into(), "b".into(), 1);
    hello.regions = vec![RegionEntry("b".into(), 1)];
    cluster.stray(A, B, &encode(&Message::Hello(Box::new(hello))));
    cluster.work(A);
    assert!(!cluster.all_active());
    cluster.rest();
    let shown = names.map(|name| cluster.deadlines(name).iter().filter(|at| at.is_some()).count());
    assert_eq!(shown, [0, 0, 2, 2], "{names:?} have deadlines");
    // Of the counter, what A had added and B did not know is added again.
    let expected = data(&[
        ("lives", "2"),
        ("persists", "1"),
        ("written", "2"),
        ("kept", "1"),
        ("settled", "base"),
        ("mine", "new"),
        ("shared", "2"),
        ("n", "107"),
        ("t", "{x y}"),
        ("theirs", "new"),
    ]);
    assert_eq!(cluster.is(&expected), Ok(()));
    assert!(
        cluster.nodes[A]
            .log
            .iter()
            .any(|text| text.contains("adopting its state instead"))
    );
    assert_eq!(cluster.nodes[A].engine.status().replica, "a.2");
}

/// What a purge was to remove is what the region had seen: when that is forgotten, there is nothing left to remove.
#[test]
fn a_purge_ends_with_the_state_it_began_in() {
    let mut cluster = Cluster::with_base(&["a", "b"], &["x"], limits());
    cluster.settle(3);
    let node = &mut cluster.nodes[0];
    assert_eq!(node.engine.begin_purge(), Ok(()));
    node.engine.forget(None, &mut Vec::new());
    assert!(!node.engine.is_purging());
    assert!(node.engine.begin_purge().is_err());
}

/// A has a string of B, whose clock is ahead, from a transfer that was cut: A's vector does not tell of it. What C took
/// while it recovered is written on top of that string, and so later than it.
#[test]
fn a_provisional_write_is_later_than_what_it_lands_on() {
    const A: usize = 0;
    const B: usize = 1;
    const C: usize = 2;
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.skews[B] = 30_000;
    cluster.cut(A, B);
    cluster.cut(B, C);
    cluster.set(B, "k", "s");
    cluster.hold(B, A);
    cluster.meet(A, B);
    cluster.exchange();
    cluster.deliver_through(B, A, tag::SLICE);
    cluster.work(A);
    cluster.cut(A, B);
    assert_eq!(cluster.data(A), data(&[("k", "s")]));
    cluster.crash(C);
    cluster.add(C, "k", &["m"]);
    cluster.connect(A, C);
    cluster.exchange();
    assert_eq!(cluster.data(C), data(&[("k", "{m}")]));
    assert_eq!(cluster.finish(&data(&[("k", "{m}")])), Ok(()));
}

/// A key expires while C adopts it from A, where it has settled; in B it has not, for B has not heard C's acknowledgement.
/// What C then says must mean the same in both: A makes the key anew, and without a deadline what is left lives on.
#[test]
fn what_expires_while_it_is_adopted_was_seen() {
    const A: usize = 0;
    const B: usize = 1;
    const C: usize = 2;
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.skews[C] = 900;
    cluster.hold(C, B);
    let until = cluster.wall(A) + 60_000;
    cluster.change(A, "t", Change::add(&[b"m"]).with_deadline(Deadline::At(until)));
    cluster.settle(3);
    assert_eq!(cluster.cells(A), 0);
    assert_ne!(cluster.cells(B), 0);
    cluster.crash(C);
    cluster.hold(A, C);
    cluster.adopt_through(A, C, tag::SLICE);
    assert_eq!(cluster.data(C), data(&[("t", "{m}")]));
    cluster.pass(until - cluster.wall(C));
    cluster.expire(C);
    cluster.release(A, C);
    cluster.release(C, B);
    cluster.connect(B, C);
    cluster.exchange();
    cluster.add(A, "t", &["n"]);
    assert_eq!(cluster.finish(&data(&[("t", "{n}")])), Ok(()));
}

/// What was written while B recovers is out of sight once something of the key has arrived. It can be removed all the same,
/// and so that B is the only one to know of it: A removed the key before.
#[test]
fn what_is_hidden_while_a_region_recovers_can_be_removed() {
    const A: usize = 0;
    const B: usize = 1;
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.set(A, "k", "old");
    cluster.settle(3);
    cluster.hold(B, A);
    cluster.delete(A, "k");
    cluster.crash(B);
    cluster.set(B, "k", "new");
    cluster.set(B, "kept", "new");
    cluster.adopt_through(A, B, tag::SLICE);
    assert_eq!(cluster.data(B), data(&[("kept", "new")]));
    let engine = &cluster.nodes[B].engine;
    assert!(["k", "kept"].iter().all(|name| engine.region().is_noted(key(name))));
    assert_eq!(engine.hidden_in(0, |name| name == b"k").len(), 1);
    assert_eq!(engine.hidden_in(1, |_| true).len(), 0);
    cluster.change(B, "k", Change::clear());
    assert_eq!(cluster.finish(&data(&[("kept", "new")])), Ok(()));
}

/// What a recovering region evicts of old data is no word on the key: what it adopts has another value.
#[test]
fn the_eviction_of_old_data_removes_nothing() {
    const A: usize = 0;
    const B: usize = 1;
    let mut cluster = Cluster::with_base(&["a", "b"], &["k"], limits());
    cluster.settle(3);
    let saved = cluster.save(B);
    cluster.cut(A, B);
    cluster.set(A, "k", "new");
    cluster.crash(B);
    cluster.nodes[B].store = saved.1;
    cluster.act(B, |engine, store| {
        store.delete(key("k"));
        assert!(engine.drops_given_up(key("k")));
    });
    assert_eq!(cluster.finish(&data(&[("k", "new")])), Ok(()));
}
