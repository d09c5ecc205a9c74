//! Hellos that are not accepted.

use redis_geo::crdt::{Edit, Element, Kind, Number, OwnedValue, Score, ScoreRule, Store, Value};
use redis_geo::replication::Change;
use redis_geo::replication::wire::{Message, Refusal, encode, tag};

use crate::cluster::{Cluster, data, key};

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

/// Regions that merged scores differently would not converge.
#[test]
fn another_rule_for_scores_is_refused_by_both() {
    let mut cluster = Cluster::new(&["a", "b"]);
    let saved = cluster.save(A);
    cluster.scores[A] = ScoreRule::Min;
    cluster.restart(A, &saved, true);
    cluster.connect(A, B);
    cluster.exchange();
    let (shown, reason) = state(&cluster, A);
    assert_eq!(shown, "refused");
    for word in ["geo.zset-merge", "'min'", "'max'"] {
        assert!(reason.contains(word), "{reason}");
    }
    cluster.set(B, "k", "1");
    cluster.settle(2);
    assert_eq!(cluster.data(A), data(&[]));

    let saved = cluster.save(B);
    cluster.scores[B] = ScoreRule::Min;
    cluster.restart(B, &saved, true);
    cluster.connect(A, B);
    cluster.rest();
    assert_eq!(state(&cluster, A).0, "up");
    assert_eq!(cluster.is(&data(&[("k", "1")])), Ok(()));
}

/// What concurrent scores merge to, in all regions, once settled and before.
#[test]
fn concurrent_scores_merge_by_the_setting() {
    for (rule, expected) in [(ScoreRule::Max, 20.0), (ScoreRule::Min, 10.0), (ScoreRule::Last, 10.0)] {
        let mut cluster = Cluster::ruled(&["a", "b"], rule);
        meet(&mut cluster, 20.0, 10.0);
        for round in 0..2 {
            for at in [A, B] {
                assert_eq!(score(&mut cluster, at), Some(expected), "{rule:?} {round}");
            }
            cluster.settle(6);
            assert_eq!(cluster.cells(A) + cluster.cells(B), 0);
        }
    }
}

/// A region that had settled what another still knows the siblings of: both keep what they showed.
#[test]
fn scores_that_met_under_another_rule_stay_as_they_were_shown() {
    let mut cluster = Cluster::new(&["a", "b"]);
    meet(&mut cluster, 20.0, 10.0);
    let early = cluster.save(A);
    cluster.settle(6);
    let late = cluster.save(B);
    assert_eq!(cluster.cells(B), 0, "settled");
    cluster.scores = vec![ScoreRule::Min; 2];
    cluster.restart(A, &early, true);
    cluster.restart(B, &late, true);
    assert!(cluster.cells(A) > 0, "not settled");
    cluster.wait(A, 3_000);
    let before = score(&mut cluster, A).and_then(Score::new).map(Value::Score);
    let one = Edit::Add {
        element: PLAYER,
        delta: Number::from(1),
        before,
    };
    cluster.change(A, "best", Change::edit(one));
    cluster.connect(A, B);
    cluster.rest();
    for at in [A, B] {
        assert_eq!(score(&mut cluster, at), Some(21.0));
    }
    // From now on by the new one, also after another start.
    meet(&mut cluster, 40.0, 30.0);
    let saved = [cluster.save(A), cluster.save(B)];
    cluster.restart(A, &saved[A], true);
    cluster.restart(B, &saved[B], true);
    cluster.connect(A, B);
    cluster.rest();
    for at in [A, B] {
        assert_eq!(score(&mut cluster, at), Some(30.0));
    }
}

const PLAYER: Element<'static> = Element {
    kind: Kind::Zset,
    name: b"player",
};

/// Gives a player two scores concurrently, that of `b` later.
fn meet(cluster: &mut Cluster, a: f64, b: f64) {
    cluster.hold(A, B);
    cluster.hold(B, A);
    for (at, given) in [(A, a), (B, b)] {
        cluster.tick();
        let score = Value::Score(Score::new(given).expect("a number"));
        cluster.change(at, "best", Change::put(PLAYER, score));
    }
    cluster.release(A, B);
    cluster.release(B, A);
    cluster.exchange();
}

fn score(cluster: &mut Cluster, at: usize) -> Option<f64> {
    match cluster.nodes[at].store.read(key("best"), PLAYER) {
        Some(OwnedValue::Score(score)) => Some(score.get()),
        _ => None,
    }
}

fn log_of(cluster: &Cluster, at: usize) -> String {
    cluster.nodes[at].log.join("\n")
}
