//! Keys that expire while their region has still to issue what was written when it recovered.

use redis_geo::crdt::{Change, Deadline, Element, Kind, Meeting, NEVER, Store, Value};
use redis_geo::replication::wire::tag;

use crate::cluster::{Cluster, Data, data, key, limits};

const A: usize = 0;
const B: usize = 1;

fn member(until: u64) -> Change<'static> {
    Change::add(&[b"m"]).with_deadline(Deadline::At(until))
}

/// `SET NX EX`
fn lock(value: &'static str, until: u64) -> Change<'static> {
    Change::meet(value.as_bytes(), Meeting::IfAbsent).with_deadline(Deadline::At(until))
}

/// B, in recovery, adopts what A has, and does not do more.
fn adopt(cluster: &mut Cluster) {
    cluster.connect(A, B);
    let adopted = |cluster: &Cluster| cluster.nodes[B].log.iter().any(|line| line.starts_with("adopted"));
    for round in 0.. {
        if adopted(cluster) {
            return;
        }
        assert!(round < 100, "it never adopts");
        while cluster.deliver(A, B).is_some() || cluster.deliver(B, A).is_some() {}
        cluster.step(A);
        cluster.step(B);
    }
}

/// B adopts key `t`, which has a deadline, after something was written to it.
fn adopting(wrote: impl FnOnce(&mut Cluster)) -> Cluster {
    let mut cluster = Cluster::new(&["a", "b"]);
    let until = cluster.wall(A) + 60_000;
    cluster.change(A, "t", member(until));
    cluster.settle(3);
    cluster.crash(B);
    wrote(&mut cluster);
    adopt(&mut cluster);
    cluster
}

/// What was written to a key before it expired goes with it, although it is issued later: without the deadline it would
/// live on.
fn expires_before_it_is_issued(lazy: bool) {
    let mut cluster = adopting(|cluster| cluster.add(B, "t", &["n"]));
    assert!(cluster.nodes[B].engine.is_noted(key("t")));
    cluster.lazy = lazy;
    cluster.pass(60_000);
    assert_eq!(cluster.finish(&Data::new()), Ok(()));
}

#[test]
fn what_expires_before_it_is_issued_is_gone() {
    expires_before_it_is_issued(false);
}

#[test]
fn what_expires_when_it_is_to_be_issued_is_gone() {
    expires_before_it_is_issued(true);
}

/// Old data that the cluster has no more expires: that is nothing to what was written meanwhile.
fn old_data_expires(lazy: bool) {
    let mut cluster = Cluster::new(&["a", "b"]);
    let until = cluster.wall(A) + 60_000;
    cluster.change(A, "t", member(until));
    cluster.settle(3);
    let saved = cluster.save(B);
    cluster.delete(A, "t");
    cluster.settle(5);
    cluster.restart(B, &saved, false);
    cluster.add(B, "t", &["n"]);
    adopt(&mut cluster);
    assert!(cluster.nodes[B].engine.is_noted(key("t")));
    cluster.lazy = lazy;
    cluster.pass(60_000);
    assert_eq!(cluster.finish(&data(&[("t", "{n}")])), Ok(()));
}

#[test]
fn what_is_written_to_old_data_that_expires_stays() {
    old_data_expires(false);
}

#[test]
fn what_is_written_to_old_data_that_expires_late_stays() {
    old_data_expires(true);
}

/// What says of a key how long it is to live, while the region recovers, keeps it although what is adopted of it would
/// not have lasted that long.
fn adopts_what_is_kept(deadline: impl FnOnce(u64) -> u64) {
    let mut cluster = Cluster::new(&["a", "b"]);
    let until = cluster.wall(A) + 60_000;
    cluster.change(A, "t", member(until));
    cluster.settle(3);
    let saved = cluster.save(B);
    // What B comes back with is older than what the cluster has settled.
    cluster.add(A, "other", &["m"]);
    cluster.delete(A, "other");
    cluster.settle(5);
    cluster.restart(B, &saved, false);
    let deadline = deadline(until);
    cluster.change(B, "t", Change::none().with_deadline(Deadline::At(deadline)));
    adopt(&mut cluster);
    assert!(cluster.nodes[B].engine.is_noted(key("t")));
    cluster.pass(60_000);
    cluster.settle(5);
    let shown = (deadline < NEVER).then_some(deadline);
    assert_eq!(cluster.deadlines("t"), [shown, shown]);
    assert_eq!(cluster.finish(&data(&[("t", "{m}")])), Ok(()));
}

#[test]
fn what_is_kept_alive_while_it_is_adopted_lives() {
    adopts_what_is_kept(|until| until + 60_000);
}

#[test]
fn what_is_to_persist_while_it_is_adopted_lives() {
    adopts_what_is_kept(|_| NEVER);
}

/// `SET` without a deadline, in a region that then adopts what had one.
#[test]
fn what_is_written_without_a_deadline_lives() {
    let mut cluster = adopting(|cluster| {
        let set = Change::assign(b"v").with_deadline(Deadline::Dropped);
        cluster.change(B, "t", set);
    });
    cluster.pass(60_000);
    assert_eq!(cluster.finish(&data(&[("t", "v")])), Ok(()));
}

/// `SET NX EX` where nothing was yet, in a region that then adopts: the key of the cluster stays.
#[test]
fn what_yields_expires_for_nobody_else() {
    let mut cluster = Cluster::with_base(&["a", "b"], &["t"], limits());
    cluster.crash(B);
    let until = cluster.wall(B) + 1_000;
    cluster.change(B, "t", lock("1", until));
    cluster.pass(1_000);
    cluster.expire(B);
    cluster.connect(A, B);
    assert_eq!(cluster.finish(&data(&[("t", "base")])), Ok(()));
}

/// In B, while it recovers and A adds `others` to the key.
fn expires_and_is_made_again(others: &[&str], expected: &str) {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.add(A, "t", &["m"]);
    cluster.settle(3);
    let saved = cluster.save(B);
    cluster.restart(B, &saved, false);
    others.iter().for_each(|other| cluster.add(A, "t", &[other]));
    let until = cluster.wall(B) + 1_000;
    cluster.change(B, "t", Change::none().with_deadline(Deadline::At(until)));
    cluster.pass(1_000);
    cluster.expire(B);
    cluster.add(B, "t", &["n"]);
    cluster.connect(A, B);
    cluster.settle(5);
    assert_eq!(cluster.deadlines("t"), [None, None]);
    assert_eq!(cluster.finish(&data(&[("t", expected)])), Ok(()));
}

/// A deadline that was given while recovering is nothing to what is made of the key after it has expired.
#[test]
fn what_is_made_after_an_expiry_while_recovering_has_no_deadline() {
    expires_and_is_made_again(&[], "{n}");
}

/// Another region has a key of its own of the same name.
#[test]
fn the_expiry_of_a_key_that_does_not_replicate_is_nothing_to_others() {
    let mut cluster = adopting(|_| {});
    let (past, local) = (cluster.wall(B), key("local"));
    for node in &mut cluster.nodes {
        node.store.leave_out(local);
        node.store.write(local, Element::STRING, Some(Value::Bytes(b"own")));
    }
    let deadline = Some(Value::Deadline(past));
    cluster.nodes[B].store.write(local, Element::EXPIRY, deadline);
    cluster.lazy = true;
    // A command names it.
    cluster.during(B, |engine, store| engine.prepare(local, store));
    assert_eq!(cluster.nodes[B].store.get(local), None);
    cluster.settle(5);
    assert_ne!(cluster.nodes[A].store.get(local), None);
}

fn text(text: &'static str) -> Change<'static> {
    Change::assign(text.as_bytes())
}

/// A deadline that was given while recovering, and has passed, is nothing to what is written after it, and to what others
/// have written.
#[test]
fn what_is_made_after_an_expiry_while_recovering_joins_what_others_made() {
    expires_and_is_made_again(&["x"], "{n x}");
}

/// `APPEND`, `SET KEEPTTL` and the like, in a region that comes back with its data.
fn keeps_its_deadline(others: impl FnOnce(&mut Cluster), expected: &str) {
    let mut cluster = Cluster::new(&["a", "b"]);
    let until = cluster.wall(A) + 60_000;
    cluster.change(A, "s", text("1").with_deadline(Deadline::At(until)));
    cluster.settle(5);
    let saved = cluster.save(B);
    cluster.restart(B, &saved, false);
    others(&mut cluster);
    cluster.change(B, "s", text("12"));
    cluster.connect(A, B);
    cluster.settle(5);
    assert_eq!(cluster.deadlines("s"), [Some(until), Some(until)]);
    assert_eq!(cluster.is(&data(&[("s", expected)])), Ok(()));
    cluster.change(B, "s", text("z").with_deadline(Deadline::Dropped));
    cluster.pass(60_000);
    assert_eq!(cluster.finish(&data(&[("s", "z")])), Ok(()));
}

#[test]
fn what_is_written_over_a_string_while_recovering_keeps_its_deadline() {
    keeps_its_deadline(|_| {}, "12");
}

#[test]
fn what_is_written_over_a_string_that_others_change_keeps_its_deadline() {
    keeps_its_deadline(|cluster| cluster.increment(A, "s", 1), "12");
}

/// The second of two locks that are taken one after the other while the region recovers is the one that is held.
#[test]
fn what_yields_and_has_expired_makes_room_for_the_next() {
    let mut cluster = Cluster::with_base(&["a", "b"], &["other"], limits());
    cluster.crash(B);
    let first = cluster.wall(B) + 1_000;
    cluster.change(B, "lock", lock("1", first));
    cluster.pass(1_000);
    cluster.expire(B);
    let second = cluster.wall(B) + 60_000;
    cluster.change(B, "lock", lock("2", second));
    cluster.connect(A, B);
    cluster.settle(5);
    assert_eq!(cluster.deadlines("lock"), [Some(second), Some(second)]);
    assert_eq!(cluster.finish(&data(&[("lock", "2"), ("other", "base")])), Ok(()));
}

/// Also when it expires in the middle of the adoption of the key that others hold.
#[test]
fn what_yields_expires_for_nobody_else_while_its_region_adopts() {
    let mut cluster = Cluster::with_base(&["a", "b"], &["lock"], limits());
    cluster.crash(B);
    cluster.adopt_through(A, B, tag::BEGIN);
    let until = cluster.wall(B) + 1_000;
    cluster.change(B, "lock", lock("1", until));
    cluster.pass(1_000);
    cluster.expire(B);
    assert_eq!(cluster.finish(&data(&[("lock", "base")])), Ok(()));
}

/// A key that was emptied and made again while its region recovered.
#[test]
fn what_is_made_again_while_recovering_has_no_deadline() {
    let mut cluster = Cluster::with_base(&["a", "b"], &["other"], limits());
    cluster.crash(B);
    let until = cluster.wall(B) + 60_000;
    cluster.change(B, "t", member(until));
    cluster.change(B, "t", Change::remove(Kind::Set, &[b"m"]));
    cluster.add(B, "t", &["n"]);
    cluster.connect(A, B);
    cluster.settle(5);
    assert_eq!(cluster.deadlines("t"), [None, None]);
    assert_eq!(cluster.finish(&data(&[("t", "{n}"), ("other", "base")])), Ok(()));
}

/// What an expiry costs: one operation by each region that lets the key expire, and none by one that heard of it before.
#[test]
fn an_expiry_is_told_once_at_most_by_each_region() {
    let issued = |cluster: &Cluster| -> Vec<u64> {
        let nodes = cluster.nodes.iter();
        nodes.map(|node| node.engine.status().operations_issued).collect()
    };
    for hears in [false, true] {
        let mut cluster = Cluster::new(&["a", "b"]);
        let until = cluster.wall(A) + 60_000;
        cluster.change(A, "t", member(until));
        cluster.settle(3);
        cluster.connect_all();
        let before = issued(&cluster);
        if hears {
            // A's clock is ahead.
            cluster.skews[A] = 500;
            cluster.pass(until - cluster.wall(B) - 300);
            cluster.expire(A);
            cluster.exchange();
            assert_eq!(cluster.deadlines("t"), [None, None]);
        }
        cluster.pass(60_000);
        (A..=B).for_each(|at| cluster.expire(at));
        cluster.settle(5);
        let told: Vec<u64> = issued(&cluster)
            .iter()
            .zip(&before)
            .map(|(now, then)| now - then)
            .collect();
        assert_eq!(told, if hears { [1, 0] } else { [1, 1] });
        assert_eq!(cluster.finish(&Data::new()), Ok(()));
    }
}
