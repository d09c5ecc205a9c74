//! What is shown when the journal's word lands on values that it had not seen.

use std::time::Duration;

use super::*;
use crate::crdt::{MemoryStore, RegionTag, ReplicaId, Score, State, hyperloglog};

const KEY: KeyRef<'static> = KeyRef { db: 0, name: b"k" };
const PLAYER: Element<'static> = Element {
    kind: Kind::Zset,
    name: b"player",
};
const FIELD: Element<'static> = Element {
    kind: Kind::Hash,
    name: b"f",
};

type Elements<'a> = &'a [(Element<'a>, Value<'a>)];

fn write(store: &mut MemoryStore, elements: Elements<'_>) {
    elements
        .iter()
        .for_each(|(element, value)| store.write(KEY, *element, Some(*value)));
}

/// A region that holds `held` runs `changes` while it recovers, and adopts `adopted`. Gives what the element shows then,
/// and in how many operations that took.
fn landed(
    held: Elements<'_>,
    changes: &[Change<'_>],
    adopted: Elements<'_>,
    shown: Element<'_>,
) -> (Option<OwnedValue>, usize) {
    let (mut store, mut journal) = (MemoryStore::default(), Journal::default());
    write(&mut store, held);
    for change in changes {
        let before = store.kind(KEY);
        change.perform(KEY, &mut store);
        journal.note(KEY, before, change);
    }
    journal.withdraw(KEY, &mut store);
    for (element, value) in held {
        // What could be taken for the key's value elsewhere is the value there was, or none.
        let left = store.read(KEY, *element);
        assert!(left.is_none() || left == Some((*value).to_owned()), "{left:?} stays");
    }
    if store.kind(KEY).is_some() && !adopted.is_empty() {
        store.delete(KEY);
    }
    write(&mut store, adopted);
    let mut state = State::new(ReplicaId::new(RegionTag::of("eu"), 1), Duration::from_secs(60));
    let mut issued = 0;
    state.reissue(&mut journal, KEY, &mut store, &mut |_, _| issued += 1);
    assert_eq!(state.index().find(KEY).is_some(), issued > 0);
    (store.read(KEY, shown), issued)
}

fn score(score: f64) -> Value<'static> {
    Value::Score(Score::new(score).expect("a number"))
}

fn scored(how: Meeting, given: f64, before: Option<f64>) -> Change<'static> {
    Change::edit(Edit::Meet {
        element: PLAYER,
        value: score(given),
        how,
        before: before.map(score),
    })
}

fn added(element: Element<'static>, delta: i64, before: Value<'static>) -> Change<'static> {
    Change::edit(Edit::Add {
        element,
        delta: Number::from(delta),
        before: Some(before),
    })
}

/// The player's score, and whether it was written again.
fn player(held: Option<f64>, changes: &[Change<'_>], adopted: Option<f64>) -> (Option<f64>, bool) {
    let (held, adopted) = (
        held.map(|held| [(PLAYER, score(held))]),
        adopted.map(|a| [(PLAYER, score(a))]),
    );
    let slice = |of: &Option<[(Element<'static>, Value<'static>); 1]>| of.iter().flatten().copied().collect::<Vec<_>>();
    let (shown, issued) = landed(&slice(&held), changes, &slice(&adopted), PLAYER);
    let shown = shown.map(|shown| match shown {
        OwnedValue::Score(score) => score.get(),
        other => panic!("{other:?} is no score"),
    });
    (shown, issued > 0)
}

#[test]
fn a_score_given_only_if_greater_leaves_a_greater_one() {
    let given = [scored(Meeting::AtLeast, 100.0, None)];
    assert_eq!(player(None, &given, Some(300.0)), (Some(300.0), false));
    assert_eq!(player(None, &given, Some(50.0)), (Some(100.0), true));
    assert_eq!(player(None, &given, None), (Some(100.0), true));
    let twice = [
        scored(Meeting::AtLeast, 60.0, Some(50.0)),
        scored(Meeting::AtLeast, 100.0, Some(60.0)),
    ];
    assert_eq!(player(Some(50.0), &twice, Some(300.0)), (Some(300.0), false));
    assert_eq!(player(Some(50.0), &twice, Some(70.0)), (Some(100.0), true));
}

#[test]
fn a_score_given_only_if_less_leaves_a_lower_one() {
    let given = [scored(Meeting::AtMost, 100.0, None)];
    assert_eq!(player(None, &given, Some(300.0)), (Some(100.0), true));
    assert_eq!(player(None, &given, Some(50.0)), (Some(50.0), false));
}

#[test]
fn a_score_that_was_simply_given_is_the_later_one() {
    assert_eq!(
        player(None, &[Change::put(PLAYER, score(100.0))], Some(300.0)),
        (Some(100.0), true)
    );
    // Also when it goes before one given only if greater.
    let both = [
        Change::put(PLAYER, score(1.0)),
        scored(Meeting::AtLeast, 100.0, Some(1.0)),
    ];
    assert_eq!(player(None, &both, Some(300.0)), (Some(100.0), true));
}

#[test]
fn what_is_added_counts_on_top_of_either() {
    let given = [scored(Meeting::AtLeast, 100.0, None), added(PLAYER, 5, score(100.0))];
    assert_eq!(player(None, &given, Some(300.0)), (Some(305.0), true));
    assert_eq!(player(None, &given, Some(50.0)), (Some(105.0), true));
    let after = [
        added(PLAYER, 5, score(50.0)),
        scored(Meeting::AtLeast, 100.0, Some(55.0)),
    ];
    assert_eq!(player(Some(50.0), &after, Some(300.0)), (Some(305.0), true));
    assert_eq!(player(Some(50.0), &after, Some(50.0)), (Some(100.0), true));
}

/// The server's form, in dense encoding, of one that has counted something that raised this register.
fn sketch(register: usize) -> Vec<u8> {
    let mut sketch = b"HYLL".to_vec();
    sketch.resize(16 + 16384 * 6 / 8, 0);
    sketch[15] = 0x80;
    sketch[16 + register / 4 * 3] = 1;
    sketch
}

#[test]
fn visitors_add_to_those_counted_elsewhere() {
    let (ours, theirs) = (sketch(0), sketch(4));
    let mut both = ours.clone();
    both[16 + 3] = 1;
    let counted = [Change::meet(&ours, Meeting::Unite)];
    let shown = |adopted: Elements<'_>, changes: &[Change<'_>]| {
        let bytes = landed(&[], changes, adopted, Element::STRING).0;
        bytes.and_then(|shown| shown.bytes().map(<[u8]>::to_vec))
    };
    let there = [(Element::STRING, Value::Bytes(&theirs))];
    assert_eq!(shown(&there, &counted).as_deref(), Some(&both[..]));
    assert_eq!(shown(&[], &counted).as_deref(), Some(&ours[..]));
    // Removed first: what is counted begins anew.
    let again = [Change::clear(), Change::meet(&ours, Meeting::Unite)];
    assert_eq!(shown(&there, &again).as_deref(), Some(&ours[..]));
    let text = [(Element::STRING, Value::Bytes(b"30"))];
    assert_eq!(shown(&text, &counted).as_deref(), Some(&ours[..]));
}

/// What a peer has arrives between two commands, so that the second does not see the first.
#[test]
fn what_was_noted_first_counts_when_it_is_not_shown_any_more() {
    let shown = |first: Change<'_>, there: (Element<'static>, Value<'_>), second: Change<'_>| {
        let (mut store, mut journal) = (MemoryStore::default(), Journal::default());
        first.perform(KEY, &mut store);
        journal.note(KEY, None, &first);
        journal.withdraw(KEY, &mut store);
        write(&mut store, &[there]);
        let before = store.kind(KEY);
        second.perform(KEY, &mut store);
        journal.note(KEY, before, &second);
        journal.withdraw(KEY, &mut store);
        write(&mut store, &[there]);
        let mut state = State::new(ReplicaId::new(RegionTag::of("eu"), 1), Duration::from_secs(60));
        state.reissue(&mut journal, KEY, &mut store, &mut |_, _| {});
        store.read(KEY, there.0)
    };
    let scores = |how, first, there, second| {
        let second = scored(how, second, Some(there));
        shown(scored(how, first, None), (PLAYER, score(there)), second)
    };
    assert_eq!(scores(Meeting::AtLeast, 5.0, 3.0, 4.0), Some(score(5.0).to_owned()));
    assert_eq!(scores(Meeting::AtMost, 5.0, 8.0, 7.0), Some(score(5.0).to_owned()));
    let after = scored(Meeting::AtLeast, 4.0, Some(3.0));
    let assigned = shown(Change::put(PLAYER, score(5.0)), (PLAYER, score(3.0)), after);
    assert_eq!(assigned, Some(score(5.0).to_owned()));
    let [ours, theirs, later] = [0, 4, 8].map(sketch);
    let mut seen = theirs.clone();
    seen[16 + 6] = 1;
    let mut all = seen.clone();
    all[16] = 1;
    assert_eq!(hyperloglog::union(&[&theirs, &later]).as_deref(), Some(&seen[..]));
    let counted = shown(
        Change::meet(&ours, Meeting::Unite),
        (Element::STRING, Value::Bytes(&theirs)),
        Change::meet(&seen, Meeting::Unite),
    );
    assert_eq!(counted, Some(OwnedValue::Bytes(all.into())));
}

/// What makes an element is not shown any more when a value is given that is only for where none is.
#[test]
fn what_was_noted_first_is_there_for_what_comes_after() {
    let text = |text: &'static str| Value::Bytes(text.as_bytes());
    let gives = |element, value, deadline| {
        let edit = Edit::Meet {
            element,
            value: text(value),
            how: Meeting::IfAbsent,
            before: None,
        };
        Change::edit(edit).with_deadline(deadline)
    };
    let adds = |element| {
        Change::edit(Edit::Add {
            element,
            delta: Number::from(2),
            before: None,
        })
    };
    let shown = |changes: [&Change<'_>; 2], there: Elements<'_>, element| {
        let (mut store, mut journal) = (MemoryStore::default(), Journal::default());
        for change in changes {
            let before = store.kind(KEY);
            change.perform(KEY, &mut store);
            journal.note(KEY, before, change);
            journal.withdraw(KEY, &mut store);
            assert_eq!(store.read(KEY, element), None);
        }
        write(&mut store, there);
        let mut state = State::new(ReplicaId::new(RegionTag::of("eu"), 1), Duration::from_secs(60));
        state.reissue(&mut journal, KEY, &mut store, &mut |_, _| {});
        (store.read(KEY, element), store.deadline(KEY))
    };
    let at = |value: &'static str| (Some(text(value).to_owned()), None);
    for element in [FIELD, Element::STRING] {
        let ten = &[(element, text("10"))][..];
        for later in ["3", "v"] {
            let later = gives(element, later, Deadline::Kept);
            assert_eq!(shown([&adds(element), &later], &[], element), at("2"));
            assert_eq!(shown([&adds(element), &later], ten, element), at("12"));
            let first = gives(element, "1", Deadline::Kept);
            assert_eq!(shown([&first, &later], &[], element), at("1"));
            assert_eq!(shown([&first, &later], ten, element), at("10"));
        }
    }
    let later = gives(Element::STRING, "3", Deadline::At(1 << 40));
    let assigned = Change::put(Element::STRING, text("1"));
    assert_eq!(shown([&adds(Element::STRING), &later], &[], Element::STRING), at("2"));
    assert_eq!(shown([&assigned, &later], &[], Element::STRING), at("1"));
}

#[test]
fn a_value_from_a_given_up_state_meets_what_was_concurrent() {
    let unseen = |kind, value: Value<'_>| UnseenWrite {
        db: 0,
        key: KEY.name.into(),
        kind,
        element: if kind == Kind::String {
            b"".as_slice()
        } else {
            PLAYER.name
        }
        .into(),
        what: Unseen::Value(value.to_owned()),
    };
    let shown_by = |scores: ScoreRule, element: Element<'_>, ours: Value<'_>, theirs: Value<'_>| {
        let (mut store, mut journal) = (MemoryStore::default(), Journal::default());
        journal.note_unseen(vec![unseen(element.kind, ours)], scores);
        write(&mut store, &[(element, theirs)]);
        let mut state = State::new(ReplicaId::new(RegionTag::of("eu"), 1), Duration::from_secs(60));
        state.reissue(&mut journal, KEY, &mut store, &mut |_, _| {});
        store.read(KEY, element)
    };
    let shown = |element, ours, theirs| shown_by(ScoreRule::Max, element, ours, theirs);
    assert_eq!(shown(PLAYER, score(100.0), score(300.0)), Some(score(300.0).to_owned()));
    assert_eq!(shown(PLAYER, score(300.0), score(100.0)), Some(score(300.0).to_owned()));
    for (rule, expected) in [(ScoreRule::Min, 100.0), (ScoreRule::Last, 300.0)] {
        let shown = shown_by(rule, PLAYER, score(300.0), score(100.0));
        assert_eq!(shown, Some(score(expected).to_owned()), "{rule:?}");
    }
    let (ours, theirs) = (sketch(0), sketch(4));
    let mut both = ours.clone();
    both[16 + 3] = 1;
    assert_eq!(
        shown(Element::STRING, Value::Bytes(&ours), Value::Bytes(&theirs)),
        Some(OwnedValue::Bytes(both.into()))
    );
    let (ours, theirs) = (Value::Bytes(b"20"), Value::Bytes(b"30"));
    assert_eq!(shown(Element::STRING, ours, theirs), Some(ours.to_owned()));
}

fn text(text: &'static str) -> Value<'static> {
    Value::Bytes(text.as_bytes())
}

#[test]
fn what_was_written_only_if_absent_leaves_what_is_there() {
    let lock = [Change::meet(b"us", Meeting::IfAbsent).with_deadline(Deadline::At(5))];
    let held = [(Element::STRING, text("eu")), (Element::EXPIRY, Value::Deadline(9))];
    assert_eq!(
        landed(&[], &lock, &held, Element::STRING),
        (Some(text("eu").to_owned()), 0)
    );
    assert_eq!(
        landed(&[], &lock, &held, Element::EXPIRY).0,
        Some(OwnedValue::Deadline(9))
    );
    assert_eq!(
        landed(&[], &lock, &[], Element::STRING),
        (Some(text("us").to_owned()), 2)
    );
    assert_eq!(
        landed(&[], &lock, &[], Element::EXPIRY).0,
        Some(OwnedValue::Deadline(5))
    );
    let set = [(Element::member(b"m"), Value::Member)];
    assert_eq!(landed(&[], &lock, &set, set[0].0), (Some(OwnedValue::Member), 0));
    let released = [Change::clear(), lock[0].clone()];
    assert_eq!(
        landed(&[], &released, &held, Element::STRING).0,
        Some(text("us").to_owned())
    );
    assert_eq!(
        landed(&[], &released, &held, Element::EXPIRY).0,
        Some(OwnedValue::Deadline(5))
    );

    let field = Change::edit(Edit::Meet {
        element: FIELD,
        value: text("ours"),
        how: Meeting::IfAbsent,
        before: None,
    });
    let there = [(FIELD, text("theirs"))];
    let other = [(Element::field(b"g"), text("1"))];
    for held in [&[][..], &other] {
        let landed = |adopted| landed(held, std::slice::from_ref(&field), adopted, FIELD);
        assert_eq!(landed(&there), (Some(text("theirs").to_owned()), 0));
        assert_eq!(landed(&other), (Some(text("ours").to_owned()), 1));
    }
}

/// `SET hits 0 EX 60 NX`, `INCR hits`: every hit counts, and the window stays the one that was open.
#[test]
fn a_counter_that_was_begun_only_if_absent_adds_to_the_one_there() {
    let hit = [
        Change::meet(b"0", Meeting::IfAbsent).with_deadline(Deadline::At(60)),
        Change::increment(Number::from(1), Some(b"0")),
        Change::increment(Number::from(1), Some(b"1")),
    ];
    let open = [(Element::STRING, text("10")), (Element::EXPIRY, Value::Deadline(30))];
    assert_eq!(
        landed(&[], &hit, &open, Element::STRING),
        (Some(text("12").to_owned()), 1)
    );
    assert_eq!(
        landed(&[], &hit, &open, Element::EXPIRY).0,
        Some(OwnedValue::Deadline(30))
    );
    assert_eq!(landed(&[], &hit, &[], Element::STRING).0, Some(text("2").to_owned()));
    assert_eq!(
        landed(&[], &hit, &[], Element::EXPIRY).0,
        Some(OwnedValue::Deadline(60))
    );
}

/// Seen only after the state has begun to arrive: the keyspace showed both then.
#[test]
fn what_is_added_to_an_adopted_value_is_added_once() {
    let (mut store, mut journal) = (MemoryStore::default(), Journal::default());
    let mut run = |store: &mut MemoryStore, change: Change<'_>| {
        let before = store.kind(KEY);
        change.perform(KEY, store);
        journal.note(KEY, before, &change);
        journal.withdraw(KEY, store);
    };
    run(&mut store, Change::meet(b"0", Meeting::IfAbsent));
    run(&mut store, Change::increment(Number::from(1), Some(b"0")));
    write(&mut store, &[(Element::STRING, text("10"))]);
    run(&mut store, Change::increment(Number::from(1), Some(b"10")));
    let mut state = State::new(ReplicaId::new(RegionTag::of("eu"), 1), Duration::from_secs(60));
    state.reissue(&mut journal, KEY, &mut store, &mut |_, _| {});
    assert_eq!(store.read(KEY, Element::STRING), Some(text("12").to_owned()));
}
