//! What the journal's word comes to on top of what was adopted.

use std::time::Duration;

use super::*;
use crate::crdt::{MemoryStore, MemoryValue, RegionTag, ReplicaId, State};

const KEY: KeyRef<'static> = KeyRef { db: 0, name: b"k" };

/// The journal's word on top of an adopted value; gives what is then shown and how many operations that took.
fn reissued(adopted: Option<MemoryValue>, changes: &[Change<'_>]) -> (Option<MemoryValue>, usize) {
    let mut store = MemoryStore::default();
    match adopted {
        Some(MemoryValue::String(text)) => store.write(KEY, Element::STRING, Some(Value::Bytes(&text))),
        Some(MemoryValue::Set(members)) => {
            members
                .iter()
                .for_each(|m| store.write(KEY, Element::member(m), Some(Value::Member)));
        }
        _ => {}
    }
    let mut journal = Journal::default();
    for change in changes {
        let before = store.kind(KEY);
        change.perform(KEY, &mut store);
        journal.note(KEY, before, change);
    }
    assert_eq!((journal.len(), journal.contains(KEY)), (1, true));
    let mut state = State::new(ReplicaId::new(RegionTag::of("eu"), 1), Duration::from_secs(60));
    let mut issued = 0;
    state.reissue(&mut journal, KEY, &mut store, &mut |_, _| issued += 1);
    assert!(journal.is_empty());
    state.reissue(&mut journal, KEY, &mut store, &mut |_, _| panic!("issued twice"));
    (store.get(KEY).cloned(), issued)
}

fn string(text: &str) -> Option<MemoryValue> {
    Some(MemoryValue::String(text.as_bytes().into()))
}

fn set(members: &[&str]) -> Option<MemoryValue> {
    Some(MemoryValue::Set(members.iter().map(|m| m.as_bytes().into()).collect()))
}

fn increment(delta: i64, before: Option<&'static str>) -> Change<'static> {
    Change::increment(Number::from(delta), before.map(str::as_bytes))
}

#[test]
fn increments_add_to_what_was_adopted() {
    let twice = [increment(2, Some("10")), increment(3, Some("12"))];
    assert_eq!(reissued(string("10"), &twice), (string("15"), 1));
    assert_eq!(reissued(None, &[increment(2, None)]), (string("2"), 1));
}

#[test]
fn an_assignment_absorbs_what_came_before_and_after() {
    let changes = [increment(2, Some("100")), Change::assign(b"7"), increment(1, Some("7"))];
    assert_eq!(reissued(string("100"), &changes), (string("8"), 1));
}

#[test]
fn only_the_last_word_on_a_member_is_issued() {
    let changes = [
        Change::add(&[b"a", b"b"]),
        Change::remove(Kind::Set, &[b"a"]),
        Change::remove(Kind::Set, &[b"c"]),
    ];
    assert_eq!(reissued(set(&["c", "d"]), &changes), (set(&["b", "d"]), 3));
}

#[test]
fn a_clear_comes_before_what_followed_it() {
    assert_eq!(
        reissued(set(&["old"]), &[Change::clear(), Change::add(&[b"new"])]),
        (set(&["new"]), 2)
    );
    assert_eq!(
        reissued(string("5"), &[Change::clear(), increment(1, None)]),
        (string("1"), 2)
    );
    assert_eq!(reissued(None, &[Change::clear()]), (None, 1));
}

#[test]
fn a_string_replaces_an_adopted_set() {
    assert_eq!(reissued(set(&["m"]), &[Change::assign(b"v")]), (string("v"), 2));
}
