//! Transfers that are needed, cut and begun again.

use redis_geo::replication::Limits;
use redis_geo::replication::wire::tag;

use crate::cluster::{Cluster, data, limits};

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
