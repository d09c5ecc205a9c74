//! Writing what readers see into the keyspace.
//!
//! A large value is held once: the winning dot of a visible string or hash field without increments has no value of
//! its own (`None`), the keyspace has it. Everything else, siblings, registers under increments, dormant types, scores
//! and deadlines, is explicit in the index.

use super::cell::Cell;
use super::dot::Dot;
use super::evicted::KeyName;
use super::hyperloglog::is_sketch;
use super::index::{CellId, KeyId, Target};
use super::policy::{ScoreRule, Shown};
use super::state::State;
use super::store::{Element, KeyRef, Kind, Native, OwnedValue, Store, Value};

impl State {
    /// Keys that the keyspace should hold: something of theirs is known to be alive.
    pub fn keys_shown(&self) -> impl Iterator<Item = KeyName> + '_ {
        let mut next = 0;
        let keys = std::iter::from_fn(move || {
            let key = self.index.next_key(next)?;
            next = key + 1;
            Some(key)
        });
        keys.filter(|key| self.is_alive(*key)).map(|key| self.owned_name(key))
    }

    /// Whether the index knows of a value, or of a deadline that is not just what a clear has spared.
    fn is_alive(&self, key: KeyId) -> bool {
        let cleared = !self.index.key(key).clears().is_empty();
        self.index.cells_of(key).into_iter().any(|id| {
            let node = self.index.node(id);
            node.cell.shown() && (node.element().kind.is_type() || !cleared)
        })
    }

    /// Shows one changed cell. `native`: the dot whose value only the keyspace held before the change.
    /// `incoming`: a new dot whose value nobody holds yet.
    pub(super) fn show(
        &mut self,
        key: KeyId,
        id: CellId,
        native: Option<Dot>,
        incoming: Option<(Dot, Value<'_>)>,
        store: &mut dyn Store,
    ) {
        let node = self.index.key(key);
        let kind = self.index.node(id).element().kind;
        let held = store.kind(node.key());
        let alone = !kind.is_type() || !node.has_other_kind(kind) && held.is_none_or(|n| n == Native::Kind(kind));
        if !alone {
            let cell = self.index.cell_mut(id);
            if let Some((dot, value)) = incoming.filter(|_| kind.in_keyspace()) {
                cell.set_value(dot, Some(value.to_owned()));
            }
            self.make_explicit(key, store);
            self.show_key(key, false, store);
            return;
        }
        if kind.is_type() && !self.index.cell(id).shown() {
            self.index_deadline(key, store);
        }
        let scores = self.scores;
        let (name, element, cell) = self.index.split(id);
        show_cell(name, element, cell, scores, native, incoming, store);
        if held.is_none() && kind.is_type() {
            self.show_deadline(key, store);
        }
    }

    /// A key that was written beside the index takes up the deadline that the index knows for it, otherwise this one.
    pub fn take_up_deadline(&mut self, key: KeyRef<'_>, deadline: Option<u64>, store: &mut dyn Store) {
        self.index.deadlines |= deadline.is_some();
        let known = self.index.find(key);
        match known.filter(|id| self.index.find_cell(*id, Element::EXPIRY).is_some()) {
            Some(id) => self.show_deadline(id, store),
            None if store.kind(key).is_some() => store.write(key, Element::EXPIRY, deadline.map(Value::Deadline)),
            None => {
                if let Some(at) = deadline {
                    self.await_key(key, at);
                }
            }
        }
    }

    /// Keeps a deadline for a key that is still to come.
    fn await_key(&mut self, key: KeyRef<'_>, at: u64) {
        let key = self.index.obtain(key);
        self.add_deadline(key, at);
        let cell = self.index.find_cell(key, Element::EXPIRY);
        self.index.revisit.extend(cell.map(Target::Cell));
    }

    /// A key that comes into being takes up the deadline that is known for it.
    pub(super) fn show_deadline(&mut self, key: KeyId, store: &mut dyn Store) {
        let scores = self.scores;
        if let Some(id) = self.index.find_cell(key, Element::EXPIRY) {
            let (name, element, cell) = self.index.split(id);
            show_explicit(name, element, cell, scores, store);
        }
    }

    /// Takes a deadline that only the keyspace holds into the index, before the key may go: what is concurrently
    /// written to it keeps the deadline.
    pub(super) fn index_deadline(&mut self, key: KeyId, store: &mut dyn Store) {
        if self.index.find_cell(key, Element::EXPIRY).is_some() {
            return;
        }
        if let Some(at) = store.deadline(self.index.key(key).key()) {
            self.add_deadline(key, at);
        }
    }

    /// Nothing announces it to compaction: it goes with the last of what may bring its key back.
    pub(super) fn add_deadline(&mut self, key: KeyId, at: u64) {
        let cell = Cell::base(Some(OwnedValue::Deadline(at)));
        self.index.add_cell(key, Element::EXPIRY, cell);
    }

    /// Copies the values that only the keyspace holds into the index, before the keyspace changes.
    pub(super) fn make_explicit(&mut self, key: KeyId, store: &mut dyn Store) {
        for id in self.index.cells_of(key) {
            let (name, element, cell) = self.index.split(id);
            if let Some(dot) = cell.native_dot().filter(|_| element.kind.in_keyspace()) {
                copy_native(name, element, cell, dot, store);
            }
        }
    }

    /// Shows a whole key whose values are explicit: the type holding the greatest live dot is visible, the
    /// others are dormant. `wipe`: elements without a cell are gone.
    pub(super) fn show_key(&mut self, key: KeyId, wipe: bool, store: &mut dyn Store) {
        let native = store.kind(self.index.key(key).key());
        let shown = self.visible_kind(key, native.filter(|_| !wipe), store);
        let same = native == shown.map(Native::Kind);
        if let Some(Native::Kind(kind)) = native.filter(|_| !wipe && !same) {
            self.index_base(key, kind, store);
        }
        let gone = match native {
            None => false,
            Some(Native::Other) => shown.is_some(),
            Some(Native::Kind(_)) => wipe || !same,
        };
        if gone {
            if !wipe {
                self.index_deadline(key, store);
            }
            store.delete(self.index.key(key).key());
        }
        let scores = self.scores;
        for id in self.index.cells_of(key) {
            let (name, element, cell) = self.index.split(id);
            if Some(element.kind) == shown {
                show_explicit(name, element, cell, scores, store);
            }
        }
        self.show_deadline(key, store);
    }

    /// The kind holding the greatest live dot; a native value without a cell counts as base.
    fn visible_kind(&mut self, key: KeyId, native: Option<Native>, store: &mut dyn Store) -> Option<Kind> {
        let mut best: [Option<Dot>; Kind::ALL.len()] = Default::default();
        if let Some(Native::Kind(kind)) = native {
            best[kind as usize] = self.has_base(key, store).then_some(Dot::BASE);
        }
        for id in self.index.cells_of(key) {
            let node = self.index.node(id);
            if !node.element().kind.is_type() {
                continue;
            }
            let slot = &mut best[node.element().kind as usize];
            *slot = (*slot).max(node.cell.rank());
        }
        let ranked = Kind::ALL
            .iter()
            .filter_map(|kind| best[*kind as usize].map(|dot| (dot, *kind)));
        let clash = ranked.clone().count() > 1;
        self.conflicts.types += u64::from(self.index.note_clash(key, clash));
        ranked.max().map(|(_, kind)| kind)
    }

    /// Whether the native value has elements that the index does not know.
    fn has_base(&self, key: KeyId, store: &mut dyn Store) -> bool {
        let mut found = false;
        store.elements(self.index.key(key).key(), &mut |e, _| {
            found |= self.index.find_cell(key, e).is_none()
        });
        found
    }

    /// Gives every native element a cell, before its kind goes dormant.
    fn index_base(&mut self, key: KeyId, kind: Kind, store: &mut dyn Store) {
        let mut found: Vec<(Box<[u8]>, OwnedValue)> = Vec::new();
        store.elements(self.index.key(key).key(), &mut |e, value| {
            found.push((e.name.into(), value.to_owned()))
        });
        for (name, value) in found {
            let element = Element { kind, name: &name };
            if self.index.find_cell(key, element).is_none() {
                let explicit = Some(value).filter(|value| *value != OwnedValue::Member);
                self.index.add_cell(key, element, Cell::base(explicit));
            }
        }
    }
}

/// Shows a cell of the only kind its key has.
fn show_cell(
    key: KeyRef<'_>,
    element: Element<'_>,
    cell: &mut Cell,
    scores: ScoreRule,
    native: Option<Dot>,
    incoming: Option<(Dot, Value<'_>)>,
    store: &mut dyn Store,
) {
    let kind = element.kind;
    if !kind.in_keyspace() {
        return show_explicit(key, element, cell, scores, store);
    }
    let sketch = |value: Value<'_>| matches!(value, Value::Bytes(bytes) if is_sketch(bytes));
    let unites = cell.may_unite(kind) || cell.live.len() > 1 && incoming.is_some_and(|(_, value)| sketch(value));
    let combined = cell.has_alive_contribution() || unites;
    let remains = |cell: &Cell, dot| !combined && cell.winner(kind, scores).is_some_and(|winner| winner.dot == dot);
    if let Some(dot) = native.filter(|dot| cell.live_at(*dot) && !remains(cell, *dot)) {
        copy_native(key, element, cell, dot, store);
    }
    match incoming {
        Some((dot, value)) if remains(cell, dot) => store.write(key, element, Some(value)),
        Some((dot, value)) => {
            cell.set_value(dot, Some(value.to_owned()));
            show_explicit(key, element, cell, scores, store);
        }
        None => show_explicit(key, element, cell, scores, store),
    }
}

/// Shows a cell whose values are explicit, but for a winner that is already shown.
fn show_explicit(key: KeyRef<'_>, element: Element<'_>, cell: &mut Cell, scores: ScoreRule, store: &mut dyn Store) {
    match cell.show(element.kind, scores) {
        Shown::Nothing => store.write(key, element, None),
        Shown::Held => {}
        Shown::Combined(value) => store.write(key, element, Some(value.borrow())),
        Shown::Winner(at) if cell.live[at].value == Some(OwnedValue::Lost) => {}
        Shown::Winner(at) => {
            let counter = cell.has_alive_contribution();
            let winner = &mut cell.live[at];
            if let Some(value) = &winner.value {
                store.write(key, element, Some(value.borrow()));
            }
            if element.kind.in_keyspace() && !counter {
                winner.value = None;
            }
        }
    }
}

/// A value that vanished from the keyspace behind our back counts as removed.
fn copy_native(key: KeyRef<'_>, element: Element<'_>, cell: &mut Cell, dot: Dot, store: &mut dyn Store) {
    match store.read(key, element) {
        Some(value) => cell.set_value(dot, Some(value)),
        None => cell.kill_covered(|live| live == dot),
    }
}
