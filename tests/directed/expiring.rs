//! Keys that expire while their region is busy with something else.

use redis_geo::crdt::{Change, Deadline, Element, NEVER, Store, Value};

use crate::cluster::{Cluster, Data, data, key};

const A: usize = 0;
const B: usize = 1;

/// What one turn does not issue at once.
fn many() -> Data {
    (0..100).map(|at| (format!("{at:02}"), "1".to_owned())).collect()
}

/// B issues what was written while it recovered, and has not come to the last key yet.
fn installing(wrote: impl FnOnce(&mut Cluster)) -> Cluster {
    let mut cluster = Cluster::new(&["a", "b"]);
    let until = cluster.wall(A) + 60_000;
    cluster.change(A, "t", Change::add(&[b"m"]).with_deadline(Deadline::At(until)));
    cluster.settle(3);
    cluster.crash(B);
    many().keys().for_each(|name| cluster.set(B, name, "1"));
    wrote(&mut cluster);
    cluster.connect(A, B);
    let noted = |cluster: &Cluster, name: &str| cluster.nodes[B].engine.is_noted(key(name));
    while many().keys().all(|name| noted(&cluster, name)) {
        while cluster.deliver(A, B).is_some() || cluster.deliver(B, A).is_some() {}
        cluster.step(A);
        cluster.step(B);
    }
    assert!(many().keys().any(|name| noted(&cluster, name)));
    cluster
}

/// What was written to a key before it expired goes with it, although it is issued later: without the deadline it would
/// live on.
fn expires_before_it_is_issued(lazy: bool) {
    let mut cluster = installing(|cluster| cluster.add(B, "t", &["n"]));
    assert!(cluster.nodes[B].engine.is_noted(key("t")));
    cluster.lazy = lazy;
    cluster.pass(60_000);
    assert_eq!(cluster.finish(&many()), Ok(()));
}

#[test]
fn what_expires_before_it_is_issued_is_gone() {
    expires_before_it_is_issued(false);
}

#[test]
fn what_expires_when_it_is_to_be_issued_is_gone() {
    expires_before_it_is_issued(true);
}

/// B gives a key a deadline while it recovers, although the key was told to persist, and lets it expire; A has written to
/// it meanwhile. That expires, too, as it does when B is active.
#[test]
fn a_deadline_that_was_given_while_recovering_stays() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.add(A, "t", &["m"]);
    cluster.change(A, "t", Change::none().with_deadline(Deadline::At(NEVER)));
    cluster.exchange();
    let saved = cluster.save(B);
    cluster.restart(B, &saved, false);
    let until = cluster.wall(B) + 1_000;
    cluster.change(B, "t", Change::none().with_deadline(Deadline::At(until)));
    cluster.add(A, "t", &["n"]);
    cluster.pass(1_000);
    cluster.expire(B);
    assert_eq!(cluster.data(B), Data::new());
    cluster.connect(A, B);
    assert_eq!(cluster.finish(&Data::new()), Ok(()));
}

/// It is nothing to what is made of the key after it has expired.
#[test]
fn what_is_made_after_an_expiry_while_recovering_has_no_deadline() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.add(A, "t", &["m"]);
    cluster.settle(3);
    let saved = cluster.save(B);
    cluster.restart(B, &saved, false);
    let until = cluster.wall(B) + 1_000;
    cluster.change(B, "t", Change::none().with_deadline(Deadline::At(until)));
    cluster.pass(1_000);
    cluster.expire(B);
    cluster.add(B, "t", &["n"]);
    cluster.connect(A, B);
    cluster.settle(5);
    assert_eq!(cluster.deadlines("t"), [None, None]);
    assert_eq!(cluster.finish(&data(&[("t", "{n}")])), Ok(()));
}

/// Another region has a key of its own of the same name.
#[test]
fn the_expiry_of_a_key_that_does_not_replicate_is_nothing_to_others() {
    let mut cluster = installing(|_| {});
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
