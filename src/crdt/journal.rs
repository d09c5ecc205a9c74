//! Writes a recovering region accepted, by key: re-issued as new operations once it has adopted a state.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::local::Change;
use super::number::Number;
use super::op::{Effect, Emit};
use super::orphans::UnseenWrite;
use super::rules::{Rule, holds};
use super::state::State;
use super::store::{Element, KeyRef, Kind, Native, OwnedValue, Store};

/// What is to be written again to one element.
#[derive(Clone, Debug)]
enum Pending {
    Assign(OwnedValue),
    Remove,
    Add(Number),
}

#[derive(Default, Clone, Debug)]
struct KeyJournal {
    /// The key was removed before the elements were written.
    cleared: bool,
    elements: BTreeMap<(Kind, Box<[u8]>), Pending>,
}

/// Bounded by the keys written, not by the number of writes.
#[derive(Default, Debug)]
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
        self.keys.contains_key(&(key.db, key.name.into()))
    }

    pub fn first(&self) -> Option<(u32, Box<[u8]>)> {
        self.keys.keys().next().cloned()
    }

    /// Notes a change instead of an operation.
    pub fn note(&mut self, key: KeyRef<'_>, change: &Change<'_>) {
        let entry = self.keys.entry((key.db, key.name.into())).or_default();
        match change {
            Change::Assign(value) => {
                entry.elements.retain(|(kind, _), _| *kind == Kind::String);
                let value = Pending::Assign(OwnedValue::Bytes((*value).into()));
                entry.elements.insert((Kind::String, Box::default()), value);
            }
            Change::Add(members) => entry.set_members(members, &Pending::Assign(OwnedValue::Member)),
            Change::Remove(members) => entry.set_members(members, &Pending::Remove),
            Change::Increment { delta, .. } => entry.add(delta),
            Change::Clear => {
                *entry = KeyJournal {
                    cleared: true,
                    elements: BTreeMap::new(),
                }
            }
        }
    }

    /// Notes values to be written again after this state was given up.
    pub fn note_unseen(&mut self, writes: Vec<UnseenWrite>) {
        for UnseenWrite {
            db,
            key,
            element,
            value,
        } in writes
        {
            let kind = match value {
                OwnedValue::Member => Kind::Set,
                OwnedValue::Bytes(_) => Kind::String,
            };
            let entry = self.keys.entry((db, key)).or_default();
            entry.elements.insert((kind, element), Pending::Assign(value));
        }
    }
}

impl KeyJournal {
    fn set_members(&mut self, members: &[&[u8]], pending: &Pending) {
        for member in members {
            self.elements.insert((Kind::Set, (*member).into()), pending.clone());
        }
    }

    fn add(&mut self, delta: &Number) {
        let pending = self
            .elements
            .entry((Kind::String, Box::default()))
            .or_insert(Pending::Add(Number::ZERO));
        match pending {
            Pending::Add(sum) => *sum = sum.add(delta),
            Pending::Assign(OwnedValue::Bytes(text)) => {
                if let Some(number) = Number::parse(text) {
                    *text = number.add(delta).to_text().into();
                }
            }
            other => *other = Pending::Assign(OwnedValue::Bytes(delta.to_text().into())),
        }
    }
}

impl State {
    /// Re-issues the writes noted for one key, on top of what was adopted.
    pub fn reissue(&mut self, journal: &mut Journal, key: KeyRef<'_>, store: &mut dyn Store, emit: &mut Emit<'_>) {
        let Some(noted) = journal.keys.remove(&(key.db, key.name.into())) else {
            return;
        };
        if !holds(Rule::Reissue) {
            return;
        }
        let overwrites = noted.elements.contains_key(&(Kind::String, Box::default()))
            && matches!(store.kind(key), Some(native) if native != Native::Kind(Kind::String));
        let present = store.kind(key).is_some() || self.index.find(key).is_some();
        if noted.cleared && present || overwrites {
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
                Pending::Add(delta) => self.reissued_increment(id, element, delta),
            };
            let effects: SmallVec<[Effect<'_>; 1]> = smallvec::smallvec![effect];
            self.issue(key, effects, store, emit);
        }
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
    use crate::crdt::{MemoryStore, MemoryValue, RegionTag, ReplicaId, Value};

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
        changes.iter().for_each(|change| journal.note(KEY, change));
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

    fn increment(delta: i64) -> Change<'static> {
        Change::Increment {
            delta: Number::from(delta),
            before: None,
        }
    }

    #[test]
    fn increments_add_to_what_was_adopted() {
        assert_eq!(reissued(string("10"), &[increment(2), increment(3)]), (string("15"), 1));
        assert_eq!(reissued(None, &[increment(2)]), (string("2"), 1));
    }

    #[test]
    fn an_assignment_absorbs_what_came_before_and_after() {
        let changes = [increment(2), Change::Assign(b"7"), increment(1)];
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
        assert_eq!(reissued(string("5"), &[Change::Clear, increment(1)]), (string("1"), 2));
        assert_eq!(reissued(None, &[Change::Clear]), (None, 0));
    }

    #[test]
    fn a_string_replaces_an_adopted_set() {
        assert_eq!(reissued(set(&["m"]), &[Change::Assign(b"v")]), (string("v"), 2));
    }
}
