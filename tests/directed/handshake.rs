//! Hellos that are not accepted.

use redis_geo::replication::wire::{Message, Refusal, encode, tag};

use crate::cluster::{Cluster, data};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

/// How B shows a peer.
fn state(cluster: &Cluster, of: usize) -> (&'static str, String) {
    let peer = cluster.nodes[B].engine.status().peers.remove(of);
    (peer.state, peer.reason)
}

/// While a hello is on its way, its author goes on and third regions tell so: we compact by more than the hello has.
#[test]
fn a_hello_that_was_overtaken_is_not_shown_as_refused() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.settle(3);
    cluster.cut(A, B);
    cluster.hold(A, B);
    cluster.hold(B, A);
    cluster.connect(A, B);
    cluster.set(A, "k", "1");
    cluster.settle(1);
    cluster.cut(B, C);
    cluster.connect(B, C);
    cluster.settle(6);
    assert_eq!(cluster.data(B), data(&[("k", "1")]));
    assert_eq!(cluster.cells(B), 0, "what a wrote after its hello is compacted");
    let before = state(&cluster, A);
    cluster.deliver_through(A, B, tag::HELLO);
    assert!(log_of(&cluster, B).contains("as this hello has it"));
    assert_eq!(state(&cluster, A), before);
    cluster.rest();
    assert_eq!(state(&cluster, A).0, "up");
    assert_eq!(cluster.is(&data(&[("k", "1")])), Ok(()));
}

/// What the refusing side says of it decides, not the words of the reason.
#[test]
fn the_other_side_shows_only_a_refusal_that_lasts() {
    for (refusal, shown) in [
        (Refusal::lasting("whatever"), ("refused", "whatever")),
        (Refusal::passing("whatever"), ("handshake", "")),
    ] {
        let mut cluster = Cluster::new(&["a", "b"]);
        cluster.cut(A, B);
        cluster.stray(B, A, &encode(&Message::Refuse(refusal)));
        assert_eq!(state(&cluster, A), (shown.0, shown.1.to_owned()));
        assert!(log_of(&cluster, B).contains("no link with region a at elsewhere: whatever"));
    }
}

fn log_of(cluster: &Cluster, at: usize) -> String {
    cluster.nodes[at].log.join("\n")
}
