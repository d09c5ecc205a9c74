//! A region that is short of memory: what needs some waits, in order; the rest goes on.

use redis_geo::crdt::{Deadline, Element, Score, Store, Value, unix_millis};
use redis_geo::replication::{Change, RegionState};

use crate::cluster::{Cluster, data, key, limits};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

fn set_room(cluster: &mut Cluster, room: bool) {
    cluster.nodes[B].engine.set_room(room);
}

/// What it wrote itself settles, whoever acknowledges it, also over a link that came up meanwhile.
#[test]
fn acknowledgements_free_memory_while_changes_wait() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.cut(B, C);
    set_room(&mut cluster, false);
    cluster.set(B, "k", "1");
    cluster.settle(3);
    assert_eq!(cluster.cells(B), 1, "c has not acknowledged it");
    cluster.connect(B, C);
    cluster.settle(4);
    assert_eq!(cluster.cells(B), 0, "what all regions have is settled");
    assert_eq!(cluster.finish(&data(&[("k", "1")])), Ok(()));
}

/// An acknowledgement that follows a waiting change waits with it: the change may be concurrent with what is
/// acknowledged, and must meet it unsettled.
#[test]
fn an_acknowledgement_never_overtakes_a_change() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.hold(B, A);
    cluster.tick();
    cluster.set(A, "k", "a");
    cluster.tick();
    cluster.set(B, "k", "b");
    set_room(&mut cluster, false);
    cluster.exchange();
    cluster.release(B, A);
    cluster.settle(3);
    assert_eq!(
        cluster.cells(B),
        1,
        "a's change waits, and what a acknowledged after it"
    );
    assert_eq!(cluster.data(B), data(&[("k", "b")]));
    set_room(&mut cluster, true);
    cluster.exchange();
    assert_eq!(cluster.nodes[B].engine.status().conflicts.siblings, 1, "they met");
    assert_eq!(cluster.finish(&data(&[("k", "b")])), Ok(()));
}

/// Removals are applied up to the first change that needs memory; a unit waits whole.
#[test]
fn removals_need_no_room() {
    let mut cluster = Cluster::new(&["a", "b"]);
    let all = data(&[("k", "1"), ("l", "1"), ("t", "{m n}")]);
    cluster.set(A, "k", "1");
    cluster.set(A, "l", "1");
    cluster.add(A, "t", &["m", "n"]);
    cluster.settle(3);
    assert_eq!(cluster.data(B), all);
    set_room(&mut cluster, false);
    cluster.delete(A, "k");
    cluster.remove(A, "t", "m");
    cluster.set(A, "new", "1");
    cluster.delete(A, "l");
    cluster.exchange();
    assert_eq!(cluster.data(B), data(&[("l", "1"), ("t", "{n}")]), "up to the addition");
    set_room(&mut cluster, true);
    assert_eq!(cluster.finish(&data(&[("new", "1"), ("t", "{n}")])), Ok(()));
}

/// A deadline takes a few bytes, and what has expired gives memory back. A field or a score takes as much as any value.
#[test]
fn deadlines_need_no_room() {
    let additions = [
        (Change::put(Element::field(b"f"), Value::Bytes(b"2")), "{f=2}"),
        (Change::put(Element::scored(b"m"), score(2.0)), "{m:2}"),
    ];
    for (addition, shown) in additions {
        let mut cluster = Cluster::new(&["a", "b"]);
        cluster.set(A, "k", "1");
        cluster.set(A, "l", "1");
        cluster.settle(3);
        set_room(&mut cluster, false);
        let at = unix_millis(cluster.time(0).wall) + 60_000;
        for name in ["k", "l"] {
            cluster.change(A, name, Change::none().with_deadline(Deadline::At(at)));
        }
        cluster.change(A, "l", Change::expired(at));
        cluster.change(A, "new", addition);
        cluster.change(A, "k", Change::clear());
        cluster.exchange();
        assert_eq!(cluster.nodes[B].store.deadline(key("k")), Some(at));
        assert_eq!(cluster.data(B), data(&[("k", "1")]), "up to the addition");
        set_room(&mut cluster, true);
        assert_eq!(cluster.finish(&data(&[("new", shown)])), Ok(()));
    }
}

fn score(score: f64) -> Value<'static> {
    Value::Score(Score::new(score).expect("a number"))
}

#[test]
fn a_unit_of_removals_and_additions_waits_whole() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.set(A, "k", "1");
    cluster.settle(3);
    set_room(&mut cluster, false);
    cluster.rename(A, "k", "l");
    cluster.exchange();
    assert_eq!(cluster.data(B), data(&[("k", "1")]));
    set_room(&mut cluster, true);
    assert_eq!(cluster.finish(&data(&[("l", "1")])), Ok(()));
}

/// A transfer waits, and so does what its sender acknowledges after it.
#[test]
fn a_transfer_waits_for_room() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.cut(A, B);
    cluster.set(A, "k", "1");
    cluster.set(B, "mine", "1");
    set_room(&mut cluster, false);
    cluster.connect(A, B);
    cluster.settle(4);
    assert_eq!(cluster.data(B), data(&[("mine", "1")]));
    assert_eq!(cluster.cells(B), 1, "a acknowledged it after the slice");
    set_room(&mut cluster, true);
    assert_eq!(cluster.finish(&data(&[("k", "1"), ("mine", "1")])), Ok(()));
}

/// An adoption needs memory from its beginning.
#[test]
fn an_adoption_waits_for_room() {
    let mut cluster = Cluster::with_base(&["a", "b"], &["x", "y"], limits());
    cluster.crash(B);
    set_room(&mut cluster, false);
    cluster.connect(A, B);
    cluster.settle(4);
    assert_eq!(cluster.data(B), data(&[]));
    assert_eq!(cluster.nodes[B].engine.status().state, RegionState::Recovering);
    set_room(&mut cluster, true);
    assert_eq!(cluster.finish(&data(&[("x", "base"), ("y", "base")])), Ok(()));
}
