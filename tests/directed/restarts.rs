//! Regions that start with what they kept.

use redis_geo::crdt::Deadline;
use redis_geo::crdt::rules::{Rule, break_rule};
use redis_geo::replication::wire::tag;
use redis_geo::replication::{Change, RegionState};

use crate::cluster::{Cluster, data, limits};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

fn state(cluster: &Cluster, at: usize) -> RegionState {
    cluster.nodes[at].engine.status().state
}

/// Two regions with a past, of which `a` has saved the first half; they are cut off from each other.
fn with_an_old_past() -> (Cluster, crate::cluster::Saved) {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.set(A, "early", "1");
    cluster.increment(A, "n", 5);
    cluster.settle(3);
    let saved = cluster.save(A);
    cluster.set(A, "late", "1");
    cluster.increment(A, "n", 2);
    cluster.settle(5);
    (cluster, saved)
}

/// A region that has acknowledged more than it kept does not go on alone: what it would write then had not seen what
/// others have settled.
#[test]
fn who_vouched_for_more_than_it_kept_waits_for_a_peer() {
    let alone = || {
        let (mut cluster, saved) = with_an_old_past();
        cluster.restart(A, &saved, false);
        cluster.wait(A, 10_000);
        state(&cluster, A)
    };
    assert_eq!(alone(), RegionState::Recovering);
    break_rule(Some(Rule::CatchUpFirst));
    let broken = alone();
    break_rule(None);
    assert_eq!(broken, RegionState::Active);
}

/// A region whose acknowledgements waited for what it kept goes on alone soon.
#[test]
fn who_kept_what_it_vouched_for_goes_on_alone() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.increment(A, "n", 5);
    cluster.settle(3);
    let saved = cluster.save(A);
    cluster.restart(A, &saved, true);
    cluster.increment(A, "n", 1);
    cluster.wait(A, 3_000);
    assert_eq!(state(&cluster, A), RegionState::Active);
    cluster.increment(A, "n", 1);
    cluster.increment(B, "n", 10);
    cluster.connect_all();
    assert_eq!(cluster.finish(&data(&[("n", "17")])), Ok(()));
}

/// An old backup that pretends to be current is refused also when it had said hello before it went on alone.
#[test]
fn who_goes_on_alone_says_hello_again() {
    let (mut cluster, saved) = with_an_old_past();
    assert_eq!(cluster.cells(B), 1, "the counter");
    cluster.restart(A, &saved, true);
    cluster.hold(B, A);
    cluster.connect(A, B);
    cluster.deliver_through(A, B, tag::HELLO);
    cluster.deliver_through(B, A, tag::HELLO);
    cluster.wait(A, 3_000);
    assert_eq!(state(&cluster, A), RegionState::Active);
    cluster.set(A, "late", "2");
    cluster.release(B, A);
    cluster.connect_all();
    cluster.exchange();
    assert_eq!(state(&cluster, A), RegionState::Recovering);
    cluster.connect_all();
    let expected = data(&[("early", "1"), ("late", "2"), ("n", "7")]);
    cluster.rest();
    assert_eq!(cluster.is(&expected), Ok(()));
}

/// An old snapshot catches up by what it lacks as long as nobody has compacted by more; and everything it had said comes
/// back from those who heard it.
#[test]
fn an_old_snapshot_gets_back_what_it_forgot() {
    let (mut cluster, saved) = with_an_old_past();
    cluster.restart(A, &saved, false);
    cluster.set(A, "while recovering", "x");
    cluster.increment(A, "n", 1);
    cluster.connect_all();
    let expected = data(&[("early", "1"), ("late", "1"), ("n", "8"), ("while recovering", "x")]);
    assert_eq!(cluster.finish(&expected), Ok(()));
}

/// A key that is made while its region recovers does not take over the deadline of an earlier life of the key.
#[test]
fn what_is_made_while_recovering_has_no_old_deadline() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    let until = cluster.wall(A) + 60_000;
    cluster.add(A, "t", &["m"]);
    cluster.change(A, "t", Change::none().with_deadline(Deadline::At(until)));
    cluster.settle(3);
    cluster.cut(A, C);
    cluster.cut(B, C);
    cluster.pass(60_000);
    cluster.expire(A);
    cluster.exchange();
    assert_eq!(cluster.data(B), data(&[]));
    cluster.crash(B);
    cluster.add(B, "t", &["n"]);
    cluster.connect(A, B);
    cluster.settle(10);
    assert_eq!(state(&cluster, B), RegionState::Active);
    cluster.pass(60_000);
    assert_eq!(cluster.deadlines("t")[..2], [None, None]);
    assert_eq!(cluster.finish(&data(&[("t", "{n}")])), Ok(()));
}

/// The clients' writes are kept even when the region dies again before it could issue them.
#[test]
fn provisional_writes_are_saved_too() {
    let (mut cluster, saved) = with_an_old_past();
    cluster.restart(A, &saved, false);
    cluster.set(A, "p", "x");
    cluster.increment(A, "n", 1);
    cluster.delete(A, "early");
    let again = cluster.save(A);
    cluster.restart(A, &again, false);
    cluster.increment(A, "n", 1);
    cluster.connect_all();
    let expected = data(&[("late", "1"), ("n", "9"), ("p", "x")]);
    assert_eq!(cluster.finish(&expected), Ok(()));
}

/// Both come back with nothing but old snapshots: the later one is everybody's past.
#[test]
fn of_two_old_pasts_the_later_one_counts() {
    let (mut cluster, saved) = with_an_old_past();
    let later = cluster.save(B);
    cluster.restart(A, &saved, false);
    cluster.restart(B, &later, false);
    cluster.connect_all();
    let expected = data(&[("early", "1"), ("late", "1"), ("n", "7")]);
    assert_eq!(cluster.finish(&expected), Ok(()));
}

/// An operator may decide that nobody is coming.
#[test]
fn an_operator_ends_the_waiting() {
    let (mut cluster, saved) = with_an_old_past();
    cluster.restart(A, &saved, false);
    cluster.increment(A, "n", 1);
    let mut out = Vec::new();
    assert_eq!(cluster.nodes[A].engine.recover_alone(&mut out), Ok(()));
    cluster.wait(A, 100);
    assert_eq!(state(&cluster, A), RegionState::Active);
    assert_eq!(cluster.data(A), data(&[("early", "1"), ("n", "6")]));
    assert!(cluster.nodes[A].engine.recover_alone(&mut out).is_err());
}

/// A keyspace that was emptied behind the module's back comes back, under a name never used before.
#[test]
fn an_emptied_region_comes_back() {
    let (mut cluster, _) = with_an_old_past();
    let before = cluster.nodes[A].engine.status().replica;
    cluster.nodes[A].store = Default::default();
    let mut out = Vec::new();
    cluster.nodes[A].engine.forget(None, &mut out);
    (0..2).for_each(|other| cluster.cut(A, other));
    assert_ne!(cluster.nodes[A].engine.status().replica, before);
    cluster.increment(A, "n", 1);
    cluster.connect_all();
    let expected = data(&[("early", "1"), ("late", "1"), ("n", "8")]);
    assert_eq!(cluster.finish(&expected), Ok(()));
}

/// A snapshot of before what others compacted: what only it had added to a counter is added once, even when the same
/// snapshot comes back twice.
#[test]
fn what_only_an_old_snapshot_had_added_is_added_once() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.increment(A, "n", 5);
    cluster.settle(3);
    cluster.cut(A, B);
    cluster.increment(A, "n", 1);
    let saved = cluster.save(A);
    cluster.connect_all();
    cluster.settle(3);
    cluster.increment(A, "n", 100);
    cluster.increment(B, "n", 1000);
    cluster.settle(5);
    for _ in 0..2 {
        cluster.restart(A, &saved, false);
        cluster.connect_all();
        cluster.settle(5);
        cluster.increment(B, "n", 10_000);
        cluster.settle(5);
    }
    assert_eq!(cluster.finish(&data(&[("n", "21106")])), Ok(()));
}

/// A cut adoption goes on from where it was: the peer's state does not begin to arrive again.
#[test]
fn a_cut_adoption_goes_on_from_where_it_was() {
    let names: Vec<String> = (0..60).map(|at| format!("k{at}")).collect();
    let base: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut cluster = Cluster::with_base(&["a", "b"], &base, limits());
    cluster.settle(3);
    cluster.crash(B);
    let begun = cluster.nodes[B].log.len();
    let mut arrived = Vec::new();
    for _ in 0..3 {
        cluster.connect(A, B);
        let mut slices = 0;
        while slices < 12 {
            cluster.work(A);
            slices += usize::from(cluster.deliver(A, B) == Some(tag::SLICE));
            cluster.work(B);
            cluster.deliver(B, A);
        }
        cluster.cut(A, B);
        arrived.push(cluster.data(B).len());
    }
    assert!(arrived.windows(2).all(|two| two[0] < two[1]), "{arrived:?}");
    assert!(arrived[2] < names.len(), "nothing was left to go on with");
    cluster.rest();
    let expected: Vec<(&str, &str)> = base.iter().map(|name| (*name, "base")).collect();
    assert_eq!(cluster.is(&data(&expected)), Ok(()));
    let log = &cluster.nodes[B].log[begun..];
    let adoptions = log.iter().filter(|text| text.contains("adopting the state")).count();
    assert_eq!(adoptions, 1, "{log:?}");
}

/// Three regions, and what a replica of `a` had that lags behind what `a` acknowledged after another had confirmed it:
/// `k`, the removal of `m` and three of the counter are missing.
fn with_a_lagging_replica(prepare: fn(&mut Cluster)) -> (Cluster, crate::cluster::Saved) {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.set(A, "k", "old");
    cluster.add(A, "t", &["m", "n"]);
    cluster.increment(A, "n", 5);
    cluster.settle(4);
    let lagging = cluster.save(A);
    prepare(&mut cluster);
    cluster.set(B, "k", "acknowledged");
    cluster.remove(B, "t", "m");
    cluster.increment(A, "n", 3);
    cluster.settle(4);
    (cluster, lagging)
}

/// Promoted by hand and alone, it goes on as if it could be trusted, and writes with a past that is too old.
fn promote_alone(cluster: &mut Cluster, lagging: &crate::cluster::Saved) {
    cluster.restart(A, lagging, true);
    cluster.wait(A, 3_000);
    assert_eq!(state(cluster, A), RegionState::Active);
    cluster.add(A, "t", &["z"]);
    cluster.increment(A, "n", 1);
}

fn adoptions(cluster: &Cluster) -> usize {
    let forced = |text: &&String| text.contains("compacted by: adopting");
    cluster.nodes[A].log.iter().filter(forced).count()
}

/// What was acknowledged but is not compacted is still in the peers' indexes, whoever acknowledged it: it comes back
/// by a transfer, and meets what was written without it as concurrent.
#[test]
fn what_a_lagging_replica_lacks_and_nobody_compacted_comes_back_by_a_transfer() {
    let (mut cluster, lagging) = with_a_lagging_replica(|cluster| {
        cluster.hold(C, B);
        cluster.cut(A, C);
    });
    let before = cluster.cells(B);
    promote_alone(&mut cluster, &lagging);
    cluster.connect(A, B);
    cluster.exchange();
    assert!(before > 1, "b has compacted");
    cluster.rest();
    let expected = data(&[("k", "acknowledged"), ("t", "{n z}"), ("n", "9")]);
    assert_eq!(cluster.is(&expected), Ok(()));
    assert_eq!(adoptions(&cluster), 0);
}

/// What was compacted is in no index any more. The frontier in the peer's hello says so: V >= F does not hold.
#[test]
fn what_a_lagging_replica_lacks_and_a_peer_compacted_is_adopted() {
    let (mut cluster, lagging) = with_a_lagging_replica(|_| ());
    assert_eq!(cluster.cells(B), 1, "only the counter is left");
    promote_alone(&mut cluster, &lagging);
    cluster.rest();
    let expected = data(&[("k", "acknowledged"), ("t", "{n z}"), ("n", "9")]);
    assert_eq!(cluster.is(&expected), Ok(()));
    assert_eq!(adoptions(&cluster), 1);
}

/// It meets a peer that has not compacted first, and gives it what it wrote with too old a past; then one that has. By
/// then it has seen what that one was compacted by.
#[test]
fn a_lagging_replica_is_caught_up_by_one_peer_before_it_meets_one_that_compacted() {
    let (mut cluster, lagging) = with_a_lagging_replica(|cluster| cluster.hold(C, B));
    assert_eq!(cluster.cells(C), 1, "c has compacted");
    assert!(cluster.cells(B) > 1, "b lacks c's word");
    promote_alone(&mut cluster, &lagging);
    cluster.connect(A, B);
    cluster.exchange();
    cluster.connect(A, C);
    cluster.exchange();
    cluster.rest();
    let expected = data(&[("k", "acknowledged"), ("t", "{n z}"), ("n", "9")]);
    assert_eq!(cluster.is(&expected), Ok(()));
    assert_eq!(adoptions(&cluster), 0);
}

/// What is still in the keyspace of the data that is given up expires before the adopted state has come to it. That is no
/// word on the keys, which were extended since and live, nor on what was added to one meanwhile.
#[test]
fn what_is_given_up_expires_alone() {
    let mut cluster = Cluster::new(&["a", "b"]);
    let until = cluster.wall(A) + 60_000;
    cluster.change(A, "t", Change::add(&[b"m"]).with_deadline(Deadline::At(until)));
    cluster.increment(A, "n", 10);
    cluster.change(A, "n", Change::none().with_deadline(Deadline::At(until)));
    cluster.settle(3);
    let saved = cluster.save(A);
    for name in ["n", "t"] {
        cluster.change(B, name, Change::none().with_deadline(Deadline::At(until + 600_000)));
    }
    cluster.settle(5);
    assert_eq!(
        (cluster.cells(A), cluster.cells(B)),
        (1, 1),
        "only what was added is left"
    );
    cluster.restart(A, &saved, false);
    cluster.hold(B, A);
    cluster.adopt_through(B, A, tag::BEGIN);
    cluster.increment(A, "n", 1);
    cluster.pass(until - cluster.wall(A));
    cluster.expire(A);
    assert_eq!(cluster.data(A), data(&[]));
    cluster.release(B, A);
    assert_eq!(cluster.finish(&data(&[("n", "11"), ("t", "{m}")])), Ok(()));
}
