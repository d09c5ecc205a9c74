//! Keys that one region has evicted while the others keep them.

use redis_geo::crdt::rules::Rule;
use redis_geo::crdt::{Deadline, Edit, Element, NEVER, Number, Score, Value, unix_millis};
use redis_geo::replication::Change;

use crate::cluster::{Cluster, Data, data};
use crate::decides::decides;

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

fn score(score: f64) -> Value<'static> {
    Value::Score(Score::new(score).expect("a number"))
}

fn later(cluster: &Cluster, millis: u64) -> u64 {
    unix_millis(cluster.time(A).wall) + millis
}

/// One settled key of every kind, each with a deadline, that B has evicted.
fn evicted() -> (Cluster, u64) {
    let mut cluster = Cluster::new(&["a", "b"]);
    let at = later(&cluster, 60_000_000);
    let deadline = Deadline::At(at);
    cluster.change(A, "s", Change::assign(b"1").with_deadline(deadline));
    cluster.change(A, "t", Change::add(&[b"m", b"n"]).with_deadline(deadline));
    for (name, value) in [(b"f", &b"1"[..]), (b"g", b"40")] {
        cluster.change(
            A,
            "h",
            Change::put(Element::field(name), Value::Bytes(value)).with_deadline(deadline),
        );
    }
    for (name, value) in [(b"m", 1.5), (b"n", 2.5)] {
        cluster.change(
            A,
            "z",
            Change::put(Element::scored(name), score(value)).with_deadline(deadline),
        );
    }
    cluster.settle(4);
    assert_eq!((cluster.cells(A), cluster.cells(B)), (0, 0));
    for name in ["s", "t", "h", "z"] {
        cluster.evict(B, name);
    }
    assert_eq!(cluster.data(B), data(&[]));
    (cluster, at)
}

fn add(element: Element<'static>, delta: i64) -> Change<'static> {
    Change {
        edits: [Edit::Add {
            element,
            delta: Number::from(delta),
            before: None,
        }]
        .into_iter()
        .collect(),
        ..Change::none()
    }
}

fn touched() -> Data {
    data(&[
        ("s", "12"),
        ("t", "{m n o}"),
        ("h", "{f=1 g=42}"),
        ("z", "{m:1.5 n:4.5}"),
    ])
}

fn expire_at(cluster: &mut Cluster, names: &[&str], at: u64) -> Result<(), String> {
    for name in names {
        let found = cluster.deadlines(name);
        if found.iter().any(|found| *found != Some(at)) {
            return Err(format!("{name} expires at {found:?} instead of {at}"));
        }
    }
    Ok(())
}

/// What a peer writes brings all of the key back, its deadline, too: also where the peer's word is a whole string.
fn a_peer_writes() -> Result<(), String> {
    let (mut cluster, at) = evicted();
    cluster.change(A, "s", Change::assign(b"12"));
    cluster.change(A, "t", Change::add(&[b"o"]));
    let g = Edit::Put(Element::field(b"g"), Value::Bytes(b"42"));
    cluster.change(
        A,
        "h",
        Change {
            edits: [g].into_iter().collect(),
            ..Change::none()
        },
    );
    cluster.change(A, "z", Change::put(Element::scored(b"n"), score(4.5)));
    cluster.settle(6);
    expire_at(&mut cluster, &["s", "t", "h", "z"], at)?;
    cluster.finish(&touched())
}

#[test]
fn unknown_deadline() {
    decides(Rule::UnknownDeadline, a_peer_writes);
}

/// A client here sees absent keys. What it adds is added to what the others have, and their deadlines stay.
#[test]
fn what_is_added_to_evicted_keys_here_keeps_their_deadlines() {
    let (mut cluster, at) = evicted();
    cluster.change(B, "t", Change::add(&[b"o"]));
    cluster.change(B, "h", add(Element::field(b"g"), 2));
    cluster.change(B, "z", add(Element::scored(b"n"), 2));
    cluster.change(B, "s", Change::assign(b"12"));
    cluster.settle(6);
    assert_eq!(expire_at(&mut cluster, &["t", "h", "z"], at), Ok(()));
    assert_eq!(cluster.deadlines("s"), [None, None], "an assignment drops it");
    assert_eq!(cluster.finish(&touched()), Ok(()));
}

/// What has expired elsewhere is not missed here any more.
#[test]
fn an_evicted_key_expires_elsewhere() {
    let (mut cluster, at) = evicted();
    for name in ["s", "t", "h", "z"] {
        cluster.change(A, name, Change::expired(at));
    }
    cluster.settle(6);
    assert_eq!(cluster.nodes[B].engine.status().evicted_keys, 0);
    assert_eq!((cluster.cells(A), cluster.cells(B)), (0, 0));
    assert_eq!(cluster.finish(&data(&[])), Ok(()));
}

/// C has evicted a counter, added to it, and extended what it shows. Who has the whole writes it again when it has
/// expired in B; C, which would write a part, does not.
#[test]
fn a_part_is_not_written_again() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    let at = later(&cluster, 60_000_000);
    cluster.change(A, "n", Change::assign(b"40").with_deadline(Deadline::At(at)));
    cluster.settle(4);
    cluster.evict(C, "n");
    cluster.hold(A, C);
    cluster.increment(C, "n", 2);
    cluster.exchange();
    assert_eq!(cluster.data(C), data(&[("n", "2")]));
    cluster.hold(C, B);
    cluster.change(C, "n", Change::none().with_deadline(Deadline::At(at + 1_000_000)));
    cluster.exchange();
    cluster.tick();
    cluster.change(B, "n", Change::expired(at));
    cluster.exchange();
    cluster.release(C, B);
    cluster.release(A, C);
    cluster.settle(6);
    assert_eq!(expire_at(&mut cluster, &["n"], at + 1_000_000), Ok(()));
    assert_eq!(cluster.finish(&data(&[("n", "42")])), Ok(()));
}

/// What is added here while the key expires elsewhere survives that, and takes over the deadline, which has passed.
#[test]
fn what_survives_an_expiry_elsewhere_expires_too() {
    let (mut cluster, at) = evicted();
    cluster.hold(A, B);
    cluster.hold(B, A);
    cluster.change(B, "t", Change::add(&[b"o"]));
    cluster.change(A, "t", Change::expired(at));
    cluster.release(B, A);
    cluster.release(A, B);
    cluster.settle(6);
    assert_eq!(expire_at(&mut cluster, &["t"], at), Ok(()));
    assert_eq!(
        cluster.data(A),
        data(&[("h", "{f=1 g=40}"), ("s", "1"), ("t", "{o}"), ("z", "{m:1.5 n:2.5}")])
    );
    assert_eq!(cluster.data(B), data(&[("t", "{o}")]));
}

/// A command that assigns a string and leaves its deadline leaves the one that is shown.
#[test]
fn a_deadline_set_on_a_part_stays_when_the_key_is_assigned() {
    let (mut cluster, at) = evicted();
    cluster.hold(A, B);
    cluster.increment(B, "s", 1);
    cluster.change(B, "s", Change::none().with_deadline(Deadline::At(at - 1000)));
    cluster.change(B, "s", Change::assign(b"1 and more"));
    cluster.release(A, B);
    cluster.settle(6);
    assert_eq!(expire_at(&mut cluster, &["s"], at - 1000), Ok(()));
    assert_eq!(cluster.data(B), data(&[("s", "1 and more")]));
    assert_eq!(cluster.data(A).get("s").map(String::as_str), Some("1 and more"));
}

/// A deadline that was taken away while the key was not here leaves nothing behind when it is back.
#[test]
fn a_deadline_taken_away_meanwhile_leaves_no_metadata() {
    let mut cluster = Cluster::new(&["a", "b"]);
    let at = later(&cluster, 60_000_000);
    cluster.increment(A, "n", 40);
    cluster.change(A, "n", Change::none().with_deadline(Deadline::At(at)));
    cluster.settle(4);
    cluster.change(A, "n", Change::none().with_deadline(Deadline::At(NEVER)));
    cluster.exchange();
    cluster.evict(B, "n");
    cluster.settle(4);
    assert_eq!(cluster.cells(A), 1, "a counter");
    cluster.increment(A, "n", 2);
    cluster.settle(6);
    assert_eq!((cluster.cells(A), cluster.cells(B)), (1, 1));
    assert_eq!(cluster.deadlines("n"), [None, None]);
    assert_eq!(cluster.finish(&data(&[("n", "42")])), Ok(()));
}

/// SET on an evicted set replaces all of it, although a member added elsewhere at the same time is what is shown then.
fn an_assignment_meets_a_member() -> Result<(), String> {
    let (mut cluster, _) = evicted();
    cluster.hold(A, B);
    cluster.hold(B, A);
    cluster.change(B, "t", Change::assign(b"x"));
    cluster.tick();
    cluster.add(A, "t", &["o"]);
    cluster.release(A, B);
    cluster.release(B, A);
    cluster.settle(6);
    match cluster.data(A).get("t").map(String::as_str) {
        Some("{o}") => Ok(()),
        other => Err(format!("a shows {other:?}")),
    }
}

#[test]
fn assignment_clears_evicted() {
    decides(Rule::AssignmentClearsEvicted, an_assignment_meets_a_member);
}

/// A key has two types: A's string, and B's set, which is later.
fn clash(names: &[&'static str]) -> Cluster {
    let mut cluster = Cluster::new(names);
    cluster.hold(A, B);
    cluster.hold(B, A);
    cluster.set(A, "k", "s");
    cluster.tick();
    cluster.add(B, "k", &["m"]);
    cluster.release(A, B);
    cluster.release(B, A);
    cluster.exchange();
    cluster
}

/// Two types meet, and the key is evicted before they have settled: which one is shown cannot be told here.
fn a_clash_is_evicted() -> Result<(), String> {
    let mut cluster = clash(&["a", "b"]);
    cluster.evict(B, "k");
    cluster.settle(8);
    cluster.finish(&data(&[("k", "{m}")]))
}

#[test]
fn whole_before_tidy() {
    decides(Rule::WholeBeforeTidy, a_clash_is_evicted);
}

/// B has the clash back, but must wait for C's acknowledgement; C takes over from B just then. Nothing will touch the
/// cells again, so they settle in C only if it comes back to them.
#[test]
fn what_waits_untouched_is_adopted() {
    let mut cluster = clash(&["a", "b", "c"]);
    cluster.nodes[B].engine.set_room(false);
    cluster.evict(B, "k");
    cluster.settle(8);
    assert_eq!((cluster.cells(A), cluster.cells(C)), (0, 0));
    cluster.crash(C);
    cluster.hold(B, C);
    cluster.connect(B, C);
    cluster.exchange();
    cluster.nodes[B].engine.set_room(true);
    cluster.settle(1);
    assert_eq!(cluster.data(B), data(&[("k", "{m}")]));
    assert_ne!(cluster.cells(B), 0);
    cluster.release(B, C);
    cluster.rest();
    assert_eq!((cluster.cells(A), cluster.cells(B), cluster.cells(C)), (0, 0, 0));
    assert_eq!(cluster.finish(&data(&[("k", "{m}")])), Ok(()));
}

/// B does not load a key because it has expired by then; A has extended it meanwhile, and added to it.
fn a_key_is_not_loaded() -> Result<(), String> {
    let mut cluster = Cluster::new(&["a", "b"]);
    let at = later(&cluster, 60_000);
    cluster.add(A, "t", &["m"]);
    cluster.change(A, "t", Change::none().with_deadline(Deadline::At(at)));
    cluster.settle(4);
    let (pieces, mut store) = cluster.save(B);
    cluster.cut(A, B);
    cluster.change(A, "t", Change::none().with_deadline(Deadline::At(at + 3_600_000)));
    cluster.add(A, "t", &["n"]);
    cluster.pass(60_000);
    let now = cluster.wall(B);
    assert_eq!(store.expire(now).len(), 1);
    cluster.restart(B, &(pieces, store), false);
    cluster.act(B, |engine, store| engine.keys_were_dropped(store));
    cluster.connect_all();
    cluster.settle(8);
    assert!(!cluster.nodes[B].engine.has_gaps(), "everyone has spoken");
    expire_at(&mut cluster, &["t"], at + 3_600_000)?;
    cluster.finish(&data(&[("t", "{m n}")]))
}

#[test]
fn gaps() {
    decides(Rule::Gaps, a_key_is_not_loaded);
}

/// B adopts from A, over old data of a key that has expired by its old deadline; that was extended since, and A has evicted
/// the key. Only C holds it.
#[test]
fn old_data_of_an_evicted_key_expires_for_nobody() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    let at = later(&cluster, 60_000);
    cluster.add(A, "t", &["m"]);
    cluster.change(A, "t", Change::none().with_deadline(Deadline::At(at)));
    cluster.settle(4);
    let old = cluster.save(B);
    cluster.change(A, "t", Change::none().with_deadline(Deadline::At(at + 3_600_000)));
    cluster.set(A, "other", "1");
    cluster.settle(5);
    cluster.evict(A, "t");
    cluster.restart(B, &old, false);
    cluster.hold(B, C);
    cluster.lazy = true;
    cluster.pass(60_000);
    cluster.connect(A, B);
    cluster.exchange();
    cluster.release(B, C);
    cluster.connect(B, C);
    cluster.settle(10);
    assert_eq!(cluster.data(C), data(&[("other", "1"), ("t", "{m}")]));
}
