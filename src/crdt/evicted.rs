//! Keys whose values this server has evicted while other regions keep theirs. See docs/decisions/0010.
//!
//! An evicted key is not removed. Of what the keyspace held of it nothing is known any more: an element without a cell
//! may have a base elsewhere, and a string's dot has lost its value ([`OwnedValue::Lost`]). Operations are applied to
//! the cells as ever; the key is then *wanted*, and what a peer holds of it is merged in like any transfer.

use std::collections::BTreeSet;

use hashbrown::{Equivalent, HashSet};
use smallvec::SmallVec;

use super::cell::Cell;
use super::index::{Hasher, KeyId, Target};
use super::merge::{CellRecord, Record};
use super::op::{Effect, Emit};
use super::rules::{Rule, holds};
use super::state::State;
use super::store::{Element, KeyRef, Kind, Native, OwnedValue, Store, Value};

/// A key by database and name.
pub type KeyName = (u32, Box<[u8]>);

impl Equivalent<KeyName> for KeyRef<'_> {
    fn equivalent(&self, key: &KeyName) -> bool {
        self.db == key.0 && *self.name == *key.1
    }
}

/// The marks of evicted keys.
#[derive(Default)]
pub struct Evicted {
    marks: HashSet<KeyName, Hasher>,
    /// Those whose values are wanted.
    wanted: BTreeSet<KeyName>,
    name_bytes: usize,
}

impl Evicted {
    pub fn contains(&self, key: KeyRef<'_>) -> bool {
        !self.marks.is_empty() && self.marks.contains(&key)
    }

    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// Bytes held, room for more included; without what is wanted.
    pub fn bytes(&self) -> usize {
        self.marks.allocation_size() + self.name_bytes
    }

    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// How many keys are wanted.
    pub fn wanted(&self) -> usize {
        self.wanted.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&KeyName, bool)> {
        self.marks.iter().map(|key| (key, self.wanted.contains(key)))
    }

    /// Some wanted keys that `skip` does not name.
    pub fn some_wanted(&self, most: usize, skip: impl Fn(&KeyName) -> bool) -> Vec<KeyName> {
        self.wanted
            .iter()
            .filter(|key| !skip(key))
            .take(most)
            .cloned()
            .collect()
    }

    pub fn mark(&mut self, key: KeyRef<'_>, wanted: bool) {
        let name: KeyName = (key.db, key.name.into());
        match wanted {
            true => self.wanted.insert(name.clone()),
            false => self.wanted.remove(&name),
        };
        if self.marks.insert(name) {
            self.name_bytes += key.name.len();
        }
    }

    pub fn remove(&mut self, key: KeyRef<'_>) {
        if let Some(name) = self.marks.take(&key) {
            self.wanted.remove(&name);
            self.name_bytes -= key.name.len();
        }
        if self.marks.is_empty() {
            self.marks.shrink_to_fit();
        }
    }

    /// Some of all that is evicted is wanted back.
    pub fn want_some(&mut self, most: usize) {
        let some = self.marks.iter().take(most).cloned();
        self.wanted.extend(some);
    }
}

impl State {
    pub fn evicted(&self) -> &Evicted {
        &self.evicted
    }

    pub fn want_evicted(&mut self, most: usize) {
        self.evicted.want_some(most);
    }

    /// The keyspace has dropped the key, and nobody else shall.
    pub fn evict(&mut self, key: KeyRef<'_>) {
        let id = self.index.find(key).filter(|_| holds(Rule::EvictionIsNoRemoval));
        for cell in id.map(|id| self.index.cells_of(id)).into_iter().flatten() {
            let (_, element, cell) = self.index.split(cell);
            if let Some(dot) = cell.native_dot().filter(|_| element.kind.in_keyspace()) {
                cell.set_value(dot, Some(OwnedValue::Lost));
            }
        }
        self.evicted.mark(key, false);
    }

    /// The mark of a key, from a saved state or a peer's.
    pub fn mark_evicted(&mut self, key: KeyRef<'_>, wanted: bool) {
        self.evicted.mark(key, wanted);
    }

    /// What the base of an element without a cell is on an evicted key. Under a pending clear everything alive has a
    /// cell.
    pub(super) fn unknown_base(&self, key: KeyId, element: Element<'_>) -> Option<Cell> {
        let node = self.index.key(key);
        if !self.evicted.contains(node.key()) || !holds(Rule::UnknownBase) {
            return None;
        }
        let lost = (element.kind != Kind::Set).then_some(OwnedValue::Lost);
        Some(match node.clears().is_empty() {
            true => Cell::base(lost),
            false => Cell::default(),
        })
    }

    /// Whether a value of the key is not here. Only of evicted keys: others have their mark with the first such value.
    pub(super) fn has_lost(&self, key: KeyId) -> bool {
        let mut cells = self.index.cells_of(key).into_iter();
        cells.any(|id| self.index.cell(id).has_lost())
    }

    /// After a change to a key's cells: what is not here is wanted. `lost`: a peer has sent a cell without its value.
    pub(super) fn want_if_evicted(&mut self, key: KeyId, lost: bool) {
        let name = self.index.key(key).key();
        if lost || self.evicted.contains(name) {
            self.evicted.mark(name, true);
        }
    }

    /// Whether nothing of the key's deadline is unknown here.
    pub(super) fn knows_deadline(&self, key: KeyId) -> bool {
        !self.index.deadlines || self.index.find_cell(key, Element::EXPIRY).is_some() || !holds(Rule::UnknownDeadline)
    }

    /// Whether the key is evicted. It is then wanted.
    pub(super) fn wants(&mut self, key: KeyId) -> bool {
        let name = self.index.key(key).key();
        let evicted = self.evicted.contains(name);
        if evicted {
            self.evicted.mark(name, true);
        }
        evicted
    }

    /// An operation has dropped every base of the key: nothing but its cells is left. True when that ends its mark.
    pub(super) fn base_is_gone(&mut self, key: KeyId) -> bool {
        let name = self.index.key(key).key();
        let ends = self.evicted.contains(name) && !self.has_lost(key);
        if ends {
            self.evicted.remove(name);
        }
        ends
    }

    /// All that this region holds of a key, for a peer that has evicted it; `None` when it is not all here.
    pub fn whole_record(&self, key: KeyRef<'_>, store: &mut dyn Store) -> Option<Record> {
        let id = self.index.find(key);
        if self.evicted.contains(key) || id.is_some_and(|id| self.has_lost(id)) {
            return None;
        }
        let mut record = Record {
            db: key.db,
            name: key.name.into(),
            ..Record::default()
        };
        let mut settled = Vec::new();
        let mut settle = |element: Element<'_>, value: Value<'_>| {
            if id.is_none_or(|id| self.index.find_cell(id, element).is_none()) {
                let value = Some(value.to_owned()).filter(|value| *value != OwnedValue::Member);
                settled.push((element.kind, Box::<[u8]>::from(element.name), Cell::base(value)));
            }
        };
        store.elements(key, &mut settle);
        if let Some(at) = store.deadline(key) {
            settle(Element::EXPIRY, Value::Deadline(at));
        }
        let cells = settled
            .into_iter()
            .map(|(kind, name, cell)| CellRecord { kind, name, cell });
        record.cells.extend(cells);
        if let Some(id) = id {
            record.clears = self.index.key(id).clears().to_vec();
            for id in self.index.cells_of(id) {
                let node = self.index.node(id);
                let element = node.element();
                record.cells.push(CellRecord {
                    kind: element.kind,
                    name: element.name.into(),
                    cell: node.cell.snapshot(key, element, store),
                });
            }
        }
        // The deadline comes when its key is there.
        record.cells.sort_by_key(|cell| cell.kind == Kind::Expiry);
        Some(record)
    }

    /// A settled element of an evicted key comes back: it needs no cell. False when it must be merged.
    pub(super) fn bring_back(&mut self, key: KeyId, record: &CellRecord, store: &mut dyn Store) -> bool {
        let node = self.index.key(key);
        let name = node.key();
        let settled = record.cell.touched.is_empty()
            && record.cell.contributions().is_empty()
            && record.cell.live.iter().all(|live| live.dot.is_base());
        let plain = settled
            && record.kind.is_type()
            && self.evicted.contains(name)
            && node.clears().is_empty()
            && !node.has_other_kind(record.kind)
            && self.index.find_cell(key, record.element()).is_none()
            && store
                .kind(name)
                .is_none_or(|native| native == Native::Kind(record.kind));
        if !plain {
            return false;
        }
        for live in &record.cell.live {
            match &live.value {
                Some(OwnedValue::Lost) => return false,
                Some(value) => store.write(name, record.element(), Some(value.borrow())),
                None => store.write(name, record.element(), Some(Value::Member)),
            }
        }
        true
    }

    /// A cell that came from a peer, and that nothing touched, would wait for ever; a settled counter waits for nothing.
    pub(super) fn revisit_untouched(&mut self, key: KeyId, element: Element<'_>) {
        if let Some(id) = self.index.find_cell(key, element)
            && self.index.cell(id).touched.is_empty()
            && (!self.index.cell(id).only_counts() || self.index.key(key).is_mixed())
        {
            self.index.revisit.push(Target::Cell(id));
        }
    }

    /// All that a peer held of a wanted key has been merged.
    pub fn brought_back(&mut self, key: KeyRef<'_>, store: &mut dyn Store) {
        self.evicted.remove(key);
        let Some(id) = self.index.find(key) else { return };
        self.make_explicit(id, store);
        self.show_key(id, false, store);
        if self.has_lost(id) {
            self.evicted.mark(key, true);
        }
        if self.index.find_cell(id, Element::EXPIRY).is_some() {
            // It waited for the key to be there.
            self.index.revisit.push(Target::Key(id));
        }
        self.index.drop_if_empty(id);
    }

    /// No region holds the values of a wanted key any more. What is known of it is written again, and nothing else: a
    /// counter as the number that was added.
    pub fn write_known(&mut self, key: KeyRef<'_>, store: &mut dyn Store, emit: &mut Emit<'_>) {
        self.has_expired(key, store, emit);
        let id = self.index.obtain(key);
        let mut shown: Vec<(Kind, Box<[u8]>, OwnedValue)> = Vec::new();
        store.elements(key, &mut |element, value| {
            if self.index.find_cell(id, element).is_none() {
                shown.push((element.kind, element.name.into(), value.to_owned()));
            }
        });
        for cell in self.index.cells_of(id) {
            let node = self.index.node(cell);
            let cell = node.cell.snapshot(key, node.element(), store);
            let kind = node.element().kind;
            let value = match cell.value_shown(kind, self.scores) {
                Some(OwnedValue::Lost) if cell.has_alive_contribution() => Some(kind.show_number(&cell.sum())),
                value => value,
            };
            if let Some(value) = value.filter(|value| *value != OwnedValue::Lost) {
                shown.push((node.element().kind, node.element().name.into(), value));
            }
        }
        let ranks = self.index.cells_of(id).into_iter();
        let ranks = ranks.map(|cell| (self.index.cell(cell).rank(), self.index.node(cell).element().kind));
        let kind = ranks
            .filter(|(_, kind)| kind.is_type())
            .max()
            .map(|(_, kind)| kind)
            .or(shown.first().map(|(kind, ..)| *kind));
        let mut effects: SmallVec<[Effect<'_>; 1]> = smallvec::smallvec![self.clear_effect(id, None)];
        shown.retain(|(of, ..)| Some(*of) == kind || *of == Kind::Expiry);
        if !shown.iter().any(|(of, ..)| of.is_type()) {
            // A deadline alone would end what is created elsewhere.
            shown.clear();
        }
        for (of, name, value) in &shown {
            effects.push(self.replace_effect(id, Element { kind: *of, name }, Some(value.borrow())));
        }
        self.history.own();
        self.issue(key, effects, store, emit);
    }
}
