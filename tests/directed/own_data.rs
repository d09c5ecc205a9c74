//! A region that brings data of its own, never replicated, into a cluster that has some: what the cluster has stays, what
//! it lacks is written.

use std::time::Duration;

use redis_geo::crdt::{Change, Deadline, Element, Score, Store, Value};
use redis_geo::replication::Region;
use redis_geo::replication::wire::tag;

use crate::cluster::{Cluster, data, key, limits};

const A: usize = 0;
const B: usize = 1;

fn score(score: f64) -> Value<'static> {
    Value::Score(Score::new(score).unwrap())
}

/// a and b, not connected yet; a has more keys.
fn regions() -> Cluster {
    let mut cluster = Cluster::blank(&[("a", &["both", "1", "2", "3", "4"]), ("b", &["own"])], limits());
    let at = cluster.wall(A) + 1_000_000_000;
    let held: [(usize, &str, Element<'_>, Value<'_>); 10] = [
        (A, "set", Element::member(b"m"), Value::Member),
        (A, "zset", Element::scored(b"m"), score(5.0)),
        (A, "zset", Element::scored(b"n"), score(1.0)),
        (A, "hash", Element::field(b"f"), Value::Bytes(b"a")),
        (B, "both", Element::STRING, Value::Bytes(b"b")),
        (B, "set", Element::member(b"n"), Value::Member),
        (B, "zset", Element::scored(b"m"), score(2.0)),
        (B, "zset", Element::scored(b"n"), score(7.0)),
        (B, "hash", Element::field(b"f"), Value::Bytes(b"b")),
        (B, "hash", Element::field(b"g"), Value::Bytes(b"b")),
    ];
    for (region, name, element, value) in held {
        cluster.nodes[region].store.write(key(name), element, Some(value));
    }
    // Another type: the cluster's stays.
    cluster.nodes[A]
        .store
        .write(key("type"), Element::member(b"m"), Some(Value::Member));
    cluster.nodes[B]
        .store
        .write(key("type"), Element::STRING, Some(Value::Bytes(b"b")));
    // The deadline comes with a key, not to one.
    for name in ["own", "both"] {
        cluster.nodes[B]
            .store
            .write(key(name), Element::EXPIRY, Some(Value::Deadline(at)));
    }
    for node in &mut cluster.nodes {
        node.engine.bring_own_data();
    }
    cluster
}

const MERGED: [(&str, &str); 10] = [
    ("1", "base"),
    ("2", "base"),
    ("3", "base"),
    ("4", "base"),
    ("both", "base"),
    ("hash", "{f=a g=b}"),
    ("own", "base"),
    ("set", "{m n}"),
    ("type", "{m}"),
    ("zset", "{m:5 n:7}"),
];

fn check(mut cluster: Cluster) {
    cluster.rest();
    cluster.is(&data(&MERGED)).unwrap();
    for at in [A, B] {
        let store = &mut cluster.nodes[at].store;
        assert!(store.deadline(key("own")).is_some() && store.deadline(key("both")).is_none());
    }
}

#[test]
fn both_have_data() {
    check(regions());
}

#[test]
fn the_joining_is_cut_and_begins_again() {
    let mut cluster = regions();
    cluster.meet(A, B);
    for _ in 0..8 {
        cluster.work(A);
        cluster.work(B);
        while cluster.deliver(A, B).is_some_and(|which| which != tag::SLICE) {}
        while cluster.deliver(B, A).is_some() {}
        cluster.step(B);
    }
    let before = cluster.data(B);
    let begun = before["set"] == "{m}" && before.contains_key("own") && !before.contains_key("4");
    assert!(begun, "not in the middle of it: {before:?}");
    cluster.cut(A, B);
    check(cluster);
}

#[test]
fn a_restart_in_the_middle_loses_nothing() {
    for slices in [1, 3, 6, 9] {
        let mut cluster = regions();
        cluster.meet(A, B);
        for _ in 0..slices {
            cluster.work(A);
            cluster.work(B);
            while cluster.deliver(A, B).is_some_and(|which| which != tag::SLICE) {}
            while cluster.deliver(B, A).is_some() {}
            cluster.step(B);
        }
        let saved = cluster.save(B);
        cluster.restart(B, &saved, false);
        check(cluster);
    }
}

#[test]
fn what_is_written_meanwhile_comes_on_top() {
    let mut cluster = regions();
    cluster.set(B, "both", "new");
    cluster.add(B, "set", &["x"]);
    cluster.set(B, "fresh", "new");
    cluster.delete(B, "type");
    cluster.change(B, "own", Change::none().with_deadline(Deadline::Dropped));
    cluster.rest();
    let mut expected = data(&MERGED);
    for (name, value) in [("both", "new"), ("set", "{m n x}"), ("fresh", "new")] {
        expected.insert(name.to_owned(), value.to_owned());
    }
    expected.remove("type");
    cluster.is(&expected).unwrap();
}

#[test]
fn whoever_follows_ends_with_the_same() {
    let mut cluster = regions();
    let mut follower = (
        Region::blank("b", 0, Duration::from_secs(60)),
        cluster.nodes[B].store.clone(),
    );
    cluster.nodes[B].engine.set_logging(true);
    cluster.add(B, "set", &["x"]);
    for round in 0..6 {
        cluster.connect_all();
        cluster.exchange();
        if round > 2 {
            cluster.settle(1);
        }
        let log = cluster.nodes[B].engine.drain_log(<[u8]>::to_vec);
        follower.0.replay(&log, &mut follower.1).unwrap();
        assert_eq!(cluster.nodes[B].store, follower.1);
    }
    assert!(cluster.all_active());
    assert!(cluster.data(B).contains_key("own"));
}

/// Data of a region that has replicated before is what its cluster says it is.
#[test]
fn without_that_word_the_clusters_data_takes_its_place() {
    let mut cluster = Cluster::blank(&[("a", &["1", "2"]), ("b", &["own"])], limits());
    cluster.rest();
    cluster.is(&data(&[("1", "base"), ("2", "base")])).unwrap();
}
