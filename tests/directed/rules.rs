//! Each rule in a scenario where it decides: kept, the regions end as they must; broken, they do not.

use redis_geo::crdt::rules::Rule;
use redis_geo::crdt::{Change, Deadline, Store};
use redis_geo::replication::Limits;
use redis_geo::replication::wire::tag;

use crate::cluster::{Cluster, data, key, limits};
use crate::decides::decides;

/// A removal overtakes the addition it saw.
fn overtaking() -> Result<(), String> {
    const A: usize = 0;
    const B: usize = 1;
    const C: usize = 2;
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.hold(A, C);
    cluster.add(A, "t", &["m"]);
    cluster.exchange();
    cluster.remove(B, "t", "m");
    cluster.exchange();
    cluster.release(A, C);
    cluster.exchange();
    cluster.finish(&data(&[]))
}

#[test]
fn causal() {
    decides(Rule::Causal, overtaking);
}

/// A transfer brings a key's clear, and is cut before the second member's cell; then the addition that the clear
/// saw arrives live.
fn clear_ahead_of_its_past() -> Result<(), String> {
    const A: usize = 0;
    const B: usize = 1;
    const C: usize = 2;
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.hold(A, C);
    cluster.cut(B, C);
    cluster.add(A, "t", &["m", "n"]);
    cluster.delete(A, "t");
    cluster.exchange();
    cluster.meet(B, C);
    cluster.work(B);
    cluster.deliver_through(B, C, tag::SLICE);
    cluster.work(C);
    cluster.cut(B, C);
    cluster.release(A, C);
    cluster.exchange();
    cluster.finish(&data(&[]))
}

#[test]
fn clear_context() {
    decides(Rule::ClearContext, clear_ahead_of_its_past);
}

/// D replaces a value of C that only an unfinished transfer brought it, and so also stands for the counter reset in
/// it: C's own operation reaches B as known, never as itself (counterexample 11).
fn reset_seen_ahead() -> Result<(), String> {
    const B: usize = 0;
    const C: usize = 1;
    const D: usize = 2;
    let mut cluster = Cluster::new(&["b", "c", "d"]);
    cluster.increment(B, "n", 5);
    cluster.exchange();
    cluster.cut(C, B);
    cluster.cut(C, D);
    cluster.set(C, "n", "1");
    cluster.hold(C, D);
    cluster.meet(C, D);
    cluster.exchange();
    cluster.deliver_through(C, D, tag::SLICE);
    cluster.work(D);
    cluster.tick();
    cluster.set(D, "n", "2");
    cluster.exchange();
    cluster.release(C, D);
    cluster.exchange();
    cluster.cut(B, D);
    cluster.connect(B, D);
    cluster.exchange();
    cluster.finish(&data(&[("n", "2")]))
}

#[test]
fn pass_on_resets() {
    decides(Rule::PassOnResets, reset_seen_ahead);
}

/// C's clear reaches D in an unfinished transfer and dies with C. D issues it again, as a clear of its own that must
/// still name the totals which the lost one reset (counterexample 12).
fn orphaned_clear() -> Result<(), String> {
    const B: usize = 0;
    const C: usize = 1;
    const D: usize = 2;
    let mut cluster = Cluster::new(&["b", "c", "d"]);
    cluster.increment(B, "n", 5);
    cluster.exchange();
    cluster.cut(C, B);
    cluster.cut(C, D);
    cluster.delete(C, "n");
    cluster.hold(C, D);
    cluster.meet(C, D);
    cluster.exchange();
    cluster.deliver_through(C, D, tag::SLICE);
    cluster.work(D);
    cluster.crash(C);
    cluster.connect(B, C);
    cluster.exchange();
    cluster.finish(&data(&[]))
}

#[test]
fn absorb_clears() {
    decides(Rule::AbsorbClears, orphaned_clear);
}

/// Q's slice to X is on its way while P tells X that Q has acknowledged the removal of what the slice holds.
fn relayed_acknowledgement() -> Result<(), String> {
    const X: usize = 0;
    const P: usize = 1;
    const Q: usize = 2;
    let mut cluster = Cluster::new(&["x", "p", "q"]);
    cluster.cut(X, P);
    cluster.cut(X, Q);
    cluster.add(P, "t", &["m"]);
    cluster.exchange();
    cluster.hold(Q, X);
    cluster.meet(X, Q);
    cluster.exchange();
    cluster.connect(X, P);
    cluster.exchange();
    cluster.remove(P, "t", "m");
    cluster.exchange();
    cluster.settle(4);
    cluster.release(Q, X);
    cluster.exchange();
    cluster.finish(&data(&[]))
}

#[test]
fn first_hand_acknowledgement() {
    decides(Rule::FirstHand, relayed_acknowledgement);
}

/// X has forgotten A's contribution, which was reset; A has not, and counts on.
fn counting_on_after_a_reset() -> Result<(), String> {
    const A: usize = 0;
    const X: usize = 1;
    let mut cluster = Cluster::new(&["a", "x"]);
    cluster.increment(A, "n", 5);
    cluster.exchange();
    cluster.set(X, "n", "10");
    cluster.exchange();
    cluster.hold(X, A);
    cluster.settle(3);
    assert_eq!((cluster.cells(A), cluster.cells(X)), (1, 0), "only X has compacted");
    cluster.increment(A, "n", 1);
    cluster.release(X, A);
    cluster.finish(&data(&[("n", "11")]))
}

#[test]
fn fresh_birth() {
    decides(Rule::FreshBirth, counting_on_after_a_reset);
}

/// C acknowledged a value, forgot it with everything else, and adopts A's state: meanwhile the last other region
/// acknowledges too, and the value must not slip from the part still to be sent into the part already sent.
fn forgotten_acknowledgement() -> Result<(), String> {
    const A: usize = 0;
    const B: usize = 1;
    const C: usize = 2;
    let limits = Limits {
        transfer_window: 1,
        slice_bytes: 10_000,
        ..limits()
    };
    let mut cluster = Cluster::with_base(&["a", "b", "c"], &["settled"], limits);
    cluster.hold(B, A);
    cluster.set(A, "k", "v");
    cluster.settle(3);
    cluster.crash(C);
    cluster.meet(A, C);
    cluster.work(C);
    cluster.deliver_through(C, A, tag::REQUEST);
    cluster.work(A);
    cluster.hold(C, A);
    cluster.release(B, A);
    cluster.exchange();
    cluster.settle(3);
    cluster.release(C, A);
    cluster.exchange();
    cluster.finish(&data(&[("settled", "base"), ("k", "v")]))
}

#[test]
fn newest_acknowledgement() {
    decides(Rule::RestartsKnown, forgotten_acknowledgement);
}

/// A clear reaches one region only before its author loses everything. The author comes back with a state in which
/// what the clear had not seen is there, and acknowledges that: nobody may take it for settled until the one region has
/// passed the clear on.
fn clear_of_a_lost_life() -> Result<(), String> {
    const A: usize = 0;
    const B: usize = 1;
    const C: usize = 2;
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.add(A, "t", &["old"]);
    cluster.settle(3);
    cluster.hold(A, C);
    cluster.hold(C, A);
    cluster.hold(B, C);
    cluster.add(A, "t", &["new"]);
    cluster.settle(2);
    cluster.delete(C, "t");
    cluster.exchange();
    cluster.cut(A, B);
    cluster.crash(C);
    cluster.release(A, C);
    cluster.release(C, A);
    cluster.release(B, C);
    cluster.connect(A, C);
    cluster.settle(3);
    cluster.connect(A, B);
    cluster.connect(B, C);
    cluster.exchange();
    cluster.finish(&data(&[("t", "{new}")]))
}

#[test]
fn restarts_are_known() {
    decides(Rule::RestartsKnown, clear_of_a_lost_life);
}

/// A string that won over a concurrent set is stable, the set is not yet: as a base the string would lose to it
/// wherever the key is looked at anew, here by a region that adopts.
fn winner_settles_first() -> Result<(), String> {
    const A: usize = 0;
    const B: usize = 1;
    const C: usize = 2;
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.hold(B, C);
    cluster.add(B, "k", &["m"]);
    cluster.tick();
    cluster.set(A, "k", "s");
    cluster.exchange();
    cluster.settle(3);
    cluster.crash(B);
    cluster.connect(A, B);
    cluster.exchange();
    cluster.finish(&data(&[("k", "s")]))
}

#[test]
fn mixed_settles_whole() {
    decides(Rule::MixedSettlesWhole, winner_settles_first);
}

/// What a recovering region was told is issued on top of what it adopts: exactly once, although the first adoption
/// is cut and some commands come while the adopted values move into the keyspace.
fn written_while_recovering() -> Result<(), String> {
    const A: usize = 0;
    const B: usize = 1;
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.set(A, "s", "old");
    cluster.increment(A, "n", 10);
    cluster.add(A, "t", &["x", "y"]);
    cluster.set(A, "gone", "1");
    cluster.settle(2);
    cluster.increment(A, "n", 20);
    cluster.crash(B);
    cluster.set(B, "s", "new");
    cluster.increment(B, "n", 2);
    cluster.set(B, "gone", "2");
    cluster.delete(B, "gone");
    cluster.adopt_through(A, B, tag::SLICE);
    cluster.cut(A, B);
    cluster.add(B, "t", &["y", "z"]);
    cluster.remove(B, "t", "y");
    cluster.increment(B, "n", 3);
    cluster.meet(A, B);
    cluster.step(B);
    cluster.deliver_through(B, A, tag::REQUEST);
    cluster.work(A);
    cluster.deliver_through(A, B, tag::END);
    while !cluster.nodes[B].log.iter().any(|text| text.contains("adopted")) {
        cluster.step(B);
    }
    cluster.increment(B, "n", 1);
    cluster.finish(&data(&[("s", "new"), ("n", "36"), ("t", "{x z}")]))
}

#[test]
fn reissue_provisional() {
    decides(Rule::Reissue, written_while_recovering);
}

/// A member is added to a key while the key expires elsewhere, where the clock is a little ahead: what survives the
/// clear still has the deadline, and goes with it.
fn survivor_of_an_expiry() -> Result<(), String> {
    const A: usize = 0;
    const B: usize = 1;
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.skews[B] = -900;
    cluster.add(A, "t", &["m"]);
    let until = cluster.wall(A) + 60_000;
    cluster.act(A, |engine, store| {
        let change = Change::none().with_deadline(Deadline::At(until));
        let before = store.kind(key("t"));
        change.perform(key("t"), store);
        engine.record(key("t"), before, change);
    });
    cluster.settle(3);
    cluster.hold(A, B);
    cluster.hold(B, A);
    cluster.add(B, "t", &["n"]);
    cluster.pass(until - cluster.wall(A));
    cluster.expire(A);
    cluster.release(A, B);
    cluster.release(B, A);
    cluster.exchange();
    cluster.pass(10_000);
    cluster.finish(&data(&[]))
}

#[test]
fn expiry_stays() {
    decides(Rule::ExpiryStays, survivor_of_an_expiry);
}
