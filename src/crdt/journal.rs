//! Writes a recovering region accepted, by key: re-issued as new operations once it has adopted a state.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::local::Change;
use super::number::Number;
use super::op::{Effect, Emit};
use super::orphans::{Added, Unseen, UnseenWrite};
use super::rules::{Rule, holds};
use super::state::State;
use super::store::{Element, KeyRef, Kind, Native, OwnedValue, Store, Value};

/// What is to be written again to one element.
#[derive(Clone, PartialEq, Debug)]
pub enum Pending {
    Assign(OwnedValue),
    Remove,
    /// `before`: what the keyspace held before these increments (perhaps nothing), as long as it shows them.
    /// `unseen`: totals of earlier incarnations that the adopted state may lack.
    Add {
        sum: Number,
        before: Option<Option<Box<[u8]>>>,
        unseen: Vec<Added>,
    },
}

#[derive(Clone, PartialEq, Default, Debug)]
pub struct KeyJournal {
    /// The key was removed before the elements were written.
    pub cleared: bool,
    /// What the keyspace holds under the key is all from here: it was absent, or removed or overwritten.
    pub alone: bool,
    pub elements: BTreeMap<(Kind, Box<[u8]>), Pending>,
}

/// Bounded by the keys written, not by the number of writes.
///
/// The keyspace shows a provisional write at once, but the key's metadata, if any, does not know of it. So before
/// anything of the key arrives from a peer, [`Journal::withdraw`] takes out of the keyspace what could be mistaken
/// for the key's replicated value.
#[derive(Default, PartialEq, Debug)]
pub struct Journal {
    keys: BTreeMap<(u32, Box<[u8]>), KeyJournal>,
}

impl Journal {
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn contains(&self, key: KeyRef<'_>) -> bool {
        !self.is_empty() && self.keys.contains_key(&(key.db, key.name.into()))
    }

    pub fn first(&self) -> Option<(u32, Box<[u8]>)> {
        self.keys.keys().next().cloned()
    }

    pub fn iter(&self) -> impl Iterator<Item = (KeyRef<'_>, &KeyJournal)> {
        self.keys
            .iter()
            .map(|((db, name), noted)| (KeyRef { db: *db, name }, noted))
    }

    /// Forgets a key whose writes are now operations.
    pub fn end(&mut self, key: KeyRef<'_>, store: &mut dyn Store) -> Option<KeyJournal> {
        self.withdraw(key, store);
        self.keys.remove(&(key.db, key.name.into()))
    }

    /// Takes one key's notes back, as [`Journal::iter`] gave them.
    pub fn restore(&mut self, key: KeyRef<'_>, noted: KeyJournal) {
        self.keys.insert((key.db, key.name.into()), noted);
    }

    /// Forgets everything, or what is of one database: it was removed on purpose.
    pub fn flushed(&mut self, database: Option<u32>) {
        self.keys
            .retain(|(db, _), _| database.is_some_and(|flushed| flushed != *db));
    }

    /// Notes a change that the keyspace shows instead of an operation. `before`: what the key held.
    pub fn note(&mut self, key: KeyRef<'_>, before: Option<Native>, change: &Change<'_>) {
        let entry = self.keys.entry((key.db, key.name.into())).or_default();
        entry.alone |= before.is_none() || matches!(change, Change::Assign(_) | Change::Clear);
        match change {
            Change::Assign(value) => {
                entry.cleared |= !matches!(before, None | Some(Native::Kind(Kind::String)));
                entry.elements.retain(|(kind, _), _| *kind == Kind::String);
                let value = Pending::Assign(OwnedValue::Bytes((*value).into()));
                entry.elements.insert((Kind::String, Box::default()), value);
            }
            Change::Add(members) => entry.set_members(members, &Pending::Assign(OwnedValue::Member)),
            Change::Remove(members) => entry.set_members(members, &Pending::Remove),
            Change::Increment { delta, before } => entry.add(delta, *before),
            Change::Clear => {
                entry.cleared = true;
                entry.elements.clear();
            }
        }
    }

    /// Notes values to be written again because their state is given up. What was written since goes first.
    pub fn note_unseen(&mut self, writes: Vec<UnseenWrite>) {
        for UnseenWrite { db, key, element, what } in writes {
            let entry = self.keys.entry((db, key)).or_default();
            match what {
                _ if entry.cleared => {}
                Unseen::Value(value @ OwnedValue::Member) => entry.found(Kind::Set, element, value),
                Unseen::Value(value) => entry.found(Kind::String, element, value),
                Unseen::Added(added) => entry.found_added(added),
            }
        }
    }

    /// Takes provisional writes to a key out of the keyspace, as far as they could be mistaken for what its metadata
    /// speaks of. They are written again by [`State::reissue`].
    pub fn withdraw(&mut self, key: KeyRef<'_>, store: &mut dyn Store) {
        if self.is_empty() || !holds(Rule::Withdraw) {
            return;
        }
        let Some(noted) = self.keys.get_mut(&(key.db, key.name.into())) else {
            return;
        };
        let sum = noted.elements.get_mut(&(Kind::String, Box::default()));
        let before = match sum {
            Some(Pending::Add { before, .. }) => before.take(),
            _ => None,
        };
        if std::mem::take(&mut noted.alone) {
            if matches!(store.kind(key), Some(Native::Kind(_))) {
                store.delete(key);
            }
        } else if let (Some(text), Some(Native::Kind(Kind::String))) = (before, store.kind(key)) {
            store.write(key, Element::STRING, text.as_deref().map(Value::Bytes));
        }
    }
}

impl Pending {
    fn nothing_added() -> Pending {
        Pending::Add {
            sum: Number::ZERO,
            before: None,
            unseen: Vec::new(),
        }
    }
}

impl KeyJournal {
    fn set_members(&mut self, members: &[&[u8]], pending: &Pending) {
        for member in members {
            self.elements.insert((Kind::Set, (*member).into()), pending.clone());
        }
    }

    fn add(&mut self, delta: &Number, shown: Option<&[u8]>) {
        let fresh = Pending::nothing_added();
        match self.elements.entry((Kind::String, Box::default())).or_insert(fresh) {
            Pending::Add { sum, before, .. } => {
                *sum = sum.add(delta);
                before.get_or_insert_with(|| shown.map(Into::into));
            }
            Pending::Assign(OwnedValue::Bytes(text)) => add_to(text, delta),
            other => *other = Pending::Assign(OwnedValue::Bytes(delta.to_text().into())),
        }
    }

    fn found_added(&mut self, added: Added) {
        let fresh = Pending::nothing_added();
        if let Pending::Add { unseen, .. } = self.elements.entry((Kind::String, Box::default())).or_insert(fresh) {
            unseen.push(added);
        }
    }

    /// A value from before everything noted here.
    fn found(&mut self, kind: Kind, element: Box<[u8]>, value: OwnedValue) {
        let pending = self
            .elements
            .entry((kind, element))
            .or_insert(Pending::Assign(value.clone()));
        if let (Pending::Add { sum, .. }, OwnedValue::Bytes(mut text)) = (&*pending, value) {
            add_to(&mut text, sum);
            *pending = Pending::Assign(OwnedValue::Bytes(text));
        }
    }
}

fn add_to(text: &mut Box<[u8]>, delta: &Number) {
    if let Some(number) = Number::parse(text) {
        *text = number.add(delta).to_text().into();
    }
}

impl State {
    /// Re-issues the writes noted for one key, on top of what was adopted.
    pub fn reissue(&mut self, journal: &mut Journal, key: KeyRef<'_>, store: &mut dyn Store, emit: &mut Emit<'_>) {
        let Some(noted) = journal.end(key, store) else {
            return;
        };
        if !holds(Rule::Reissue) {
            return;
        }
        let overwrites = noted.elements.contains_key(&(Kind::String, Box::default()))
            && matches!(store.kind(key), Some(native) if native != Native::Kind(Kind::String));
        if noted.cleared || overwrites {
            let id = self.index.obtain(key);
            let effect = self.clear_effect(id);
            self.issue(key, smallvec::smallvec![effect], store, emit);
        }
        for ((kind, name), pending) in &noted.elements {
            let id = self.index.obtain(key);
            let element = Element { kind: *kind, name };
            let effect = match pending {
                Pending::Assign(value) => self.replace_effect(id, element, Some(value.borrow())),
                Pending::Remove => self.replace_effect(id, element, None),
                Pending::Add { sum, unseen, .. } => {
                    let delta = self.with_unseen(id, element, sum, unseen);
                    if delta == Number::ZERO {
                        continue;
                    }
                    self.reissued_increment(id, element, &delta)
                }
            };
            let effects: SmallVec<[Effect<'_>; 1]> = smallvec::smallvec![effect];
            self.issue(key, effects, store, emit);
        }
    }

    fn with_unseen(&self, key: super::index::KeyId, element: Element<'_>, sum: &Number, unseen: &[Added]) -> Number {
        let cell = self.index.find_cell(key, element).map(|id| self.index.cell(id));
        unseen
            .iter()
            .fold(sum.clone(), |sum, added| sum.add(&added.missing(cell)))
    }

    fn reissued_increment<'a>(&mut self, key: super::index::KeyId, element: Element<'a>, delta: &Number) -> Effect<'a> {
        let cell = self.index.find_cell(key, element).map(|id| self.index.cell(id).clone());
        let birth = self.clock.stamp();
        let (birth, total) = self.next_total(cell.as_ref(), birth, delta);
        Effect::Increment { element, birth, total }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::crdt::{MemoryStore, MemoryValue, RegionTag, ReplicaId};

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
            None => {}
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
        Change::Increment {
            delta: Number::from(delta),
            before: before.map(str::as_bytes),
        }
    }

    #[test]
    fn increments_add_to_what_was_adopted() {
        let twice = [increment(2, Some("10")), increment(3, Some("12"))];
        assert_eq!(reissued(string("10"), &twice), (string("15"), 1));
        assert_eq!(reissued(None, &[increment(2, None)]), (string("2"), 1));
    }

    #[test]
    fn an_assignment_absorbs_what_came_before_and_after() {
        let changes = [increment(2, Some("100")), Change::Assign(b"7"), increment(1, Some("7"))];
        assert_eq!(reissued(string("100"), &changes), (string("8"), 1));
    }

    #[test]
    fn only_the_last_word_on_a_member_is_issued() {
        let changes = [
            Change::Add(&[b"a", b"b"]),
            Change::Remove(&[b"a"]),
            Change::Remove(&[b"c"]),
        ];
        assert_eq!(reissued(set(&["c", "d"]), &changes), (set(&["b", "d"]), 3));
    }

    #[test]
    fn a_clear_comes_before_what_followed_it() {
        assert_eq!(
            reissued(set(&["old"]), &[Change::Clear, Change::Add(&[b"new"])]),
            (set(&["new"]), 2)
        );
        assert_eq!(
            reissued(string("5"), &[Change::Clear, increment(1, None)]),
            (string("1"), 2)
        );
        assert_eq!(reissued(None, &[Change::Clear]), (None, 1));
    }

    #[test]
    fn a_string_replaces_an_adopted_set() {
        assert_eq!(reissued(set(&["m"]), &[Change::Assign(b"v")]), (string("v"), 2));
    }
}
