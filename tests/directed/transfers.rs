//! Transfers that are needed, cut and begun again.

use redis_geo::crdt::{Change, Element, Value};
use redis_geo::replication::Limits;
use redis_geo::replication::wire::tag;

use crate::cluster::{Cluster, Data, data, limits};

const A: usize = 0;
const B: usize = 1;

#[test]
fn an_overflowing_queue_becomes_a_transfer() {
    let limits = Limits {
        stream_window: 400,
        queue: 1000,
        ..limits()
    };
    let mut cluster = Cluster::with_base(&["a", "b"], &[], limits);
    cluster.settle(2);
    let transfers = |cluster: &Cluster| cluster.nodes[A].engine.status().peers[0].transfers_sent;
    let before = transfers(&cluster);
    cluster.hold(A, B);
    for number in 0..100 {
        cluster.set(A, &format!("k{}", number % 30), &number.to_string());
        cluster.add(A, "t", &[&number.to_string()]);
        assert!(cluster.nodes[A].engine.status().peers[0].queue_bytes <= 1000);
    }
    assert_eq!(transfers(&cluster), before);
    cluster.release(A, B);
    cluster.exchange();
    assert_eq!(transfers(&cluster), before + 1);
    assert_eq!(cluster.data(B), cluster.data(A));
    let expected = cluster.data(A);
    assert_eq!(expected.len(), 31);
    assert_eq!(cluster.finish(&expected), Ok(()));
}

#[test]
fn a_cut_transfer_begins_again() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.add(A, "t", &["0", "1"]);
    cluster.increment(A, "n", 1);
    cluster.exchange();
    cluster.cut(A, B);
    cluster.add(A, "t", &["2", "3", "4", "5"]);
    cluster.increment(A, "n", 2);
    cluster.remove(A, "t", "0");
    // Each time some more arrives, both sides go on writing to what did and what did not, then the link is cut.
    for (round, slices) in [1, 3, 2].into_iter().enumerate() {
        cluster.meet(A, B);
        cluster.work(A);
        (0..slices).for_each(|_| cluster.deliver_through(A, B, tag::SLICE));
        cluster.work(B);
        cluster.cut(A, B);
        let seen = cluster.nodes[B].engine.state().seen().clone();
        assert!(
            !seen.includes(cluster.nodes[A].engine.state().seen()),
            "only a whole transfer counts"
        );
        cluster.remove(A, "t", ["2", "3", "4"][round]);
        cluster.increment(A, "n", 10);
        cluster.increment(B, "n", 100);
        cluster.add(B, "t", &["6"]);
    }
    assert_eq!(cluster.finish(&data(&[("n", "333"), ("t", "{1 5 6}")])), Ok(()));
}

/// However large the elements of one key are together, in a cell or settled.
#[test]
fn large_elements_travel_in_frames_of_bounded_size() {
    const ELEMENT: usize = 20_000;
    let limits = Limits {
        slice_cells: 64,
        slice_bytes: 1_000,
        ..limits()
    };
    let mut cluster = Cluster::with_base(&["a", "b"], &[], limits);
    let value = vec![b'v'; ELEMENT];
    cluster.cut(A, B);
    for field in 0..32_u8 {
        let field = [field];
        cluster.change(A, "h", Change::put(Element::field(&field), Value::Bytes(&value)));
    }
    cluster.largest = 0;
    cluster.connect(A, B);
    cluster.exchange();
    assert_eq!(cluster.data(B), cluster.data(A));
    assert!(
        (ELEMENT..10 * ELEMENT).contains(&cluster.largest),
        "{}",
        cluster.largest
    );
    cluster.settle(3);
    assert_eq!(cluster.cells(A), 0);
    cluster.crash(B);
    cluster.largest = 0;
    let expected = cluster.data(A);
    cluster.rest();
    assert_eq!(cluster.is(&expected), Ok(()));
    assert!(
        (ELEMENT..10 * ELEMENT).contains(&cluster.largest),
        "{}",
        cluster.largest
    );
}

/// What is one unit is seen at once, however long, and nothing of it before.
#[test]
fn a_unit_is_applied_at_once() {
    let mut cluster = Cluster::new(&["a", "b"]);
    let names: Vec<String> = (0..100).map(|at| format!("k{at}")).collect();
    let before = cluster.data(B).len();
    cluster.unit(A, &names);
    let mut shown = vec![0];
    for _ in 0..20 {
        cluster.deliver(A, B);
        cluster.step(B);
        shown.push(cluster.data(B).len() - before);
    }
    shown.dedup();
    assert_eq!(shown, [0, names.len()]);
}

/// A string that `b` lost reaches A only, by a transfer that was cut, the set beside it, older or later than the string, with a
/// second slice. Gives what A shows before it makes the string its own, and what all do in the end.
fn orphaned_beside_a_set(skew_of_the_string: i64, skew_of_the_set: i64, slices: usize) -> (Data, Data) {
    const A: usize = 0;
    const B: usize = 1;
    const C: usize = 2;
    const D: usize = 3;
    let mut cluster = Cluster::new(&["a", "b", "c", "d"]);
    (cluster.skews[B], cluster.skews[C]) = (skew_of_the_string, skew_of_the_set);
    for (one, other) in [(A, B), (A, C), (B, D), (C, D)] {
        cluster.cut(one, other);
    }
    cluster.hold(B, C);
    cluster.set(B, "k", "s");
    cluster.add(C, "k", &["m"]);
    cluster.exchange();
    cluster.hold(B, A);
    cluster.meet(A, B);
    cluster.exchange();
    for _ in 0..slices {
        cluster.deliver_through(B, A, tag::SLICE);
    }
    cluster.work(A);
    cluster.cut(A, B);
    let shown = cluster.data(A);
    cluster.crash(B);
    cluster.release(B, C);
    cluster.connect(B, C);
    cluster.exchange();
    cluster.hold(B, D);
    cluster.meet(B, D);
    cluster.cut(B, D);
    cluster.release(B, D);
    cluster.settle(1);
    let by_a = cluster.nodes[A].engine.state().me();
    assert!(
        cluster.nodes[D].engine.state().seen().get(by_a) > 0,
        "nothing was issued"
    );
    cluster.rest();
    assert_eq!(cluster.is(&cluster.data(A)), Ok(()));
    (shown, cluster.data(A))
}

/// What is lost elsewhere and issued again is as visible, or as hidden, as it was.
#[test]
fn an_orphan_keeps_its_place_among_types() {
    let (string, set) = (data(&[("k", "s")]), data(&[("k", "{m}")]));
    for slices in [1, 2] {
        let both = (string.clone(), string.clone());
        assert_eq!(orphaned_beside_a_set(40_000, 30_000, slices), both);
    }
    assert_eq!(orphaned_beside_a_set(30_000, 40_000, 1), (string, set.clone()));
    assert_eq!(orphaned_beside_a_set(30_000, 40_000, 2), (set.clone(), set));
}
