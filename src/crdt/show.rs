//! Writing what readers see into the keyspace.
//!
//! A value is held once: the winning dot of a visible string without increments has no value of its own
//! (`None`), the keyspace has it. Everything else, siblings, registers under increments and dormant
//! types, is explicit in the index.

use super::cell::Cell;
use super::dot::Dot;
use super::index::{CellId, KeyId};
use super::state::State;
use super::store::{Element, KeyRef, Kind, Native, OwnedValue, Store, Value};

impl State {
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
        let alone = !node.has_other_kind(kind) && store.kind(node.key()).is_none_or(|n| n == Native::Kind(kind));
        let (name, element, cell) = self.index.split(id);
        if alone {
            show_cell(name, element, cell, native, incoming, store);
            return;
        }
        if let Some((dot, value)) = incoming.filter(|_| kind == Kind::String) {
            cell.set_value(dot, Some(value.to_owned()));
        }
        self.make_explicit(key, store);
        self.show_key(key, false, store);
    }

    /// Copies the value that only the keyspace holds into the index, before the keyspace changes.
    pub(super) fn make_explicit(&mut self, key: KeyId, store: &mut dyn Store) {
        let Some(id) = self.index.find_cell(key, Element::STRING) else {
            return;
        };
        let (name, element, cell) = self.index.split(id);
        if let Some(dot) = cell.native_dot() {
            copy_native(name, element, cell, dot, store);
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
            store.delete(self.index.key(key).key());
        }
        for id in self.index.cells_of(key) {
            let (name, element, cell) = self.index.split(id);
            if Some(element.kind) == shown {
                show_explicit(name, element, cell, store);
            }
        }
    }

    /// The kind holding the greatest live dot; a native value without a cell counts as base.
    fn visible_kind(&mut self, key: KeyId, native: Option<Native>, store: &mut dyn Store) -> Option<Kind> {
        let mut best: [Option<Dot>; Kind::ALL.len()] = Default::default();
        if let Some(Native::Kind(kind)) = native {
            best[kind as usize] = self.has_base(key, store).then_some(Dot::BASE);
        }
        for id in self.index.cells_of(key) {
            let node = self.index.node(id);
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
                let explicit = (kind == Kind::String).then_some(value);
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
    native: Option<Dot>,
    incoming: Option<(Dot, Value<'_>)>,
    store: &mut dyn Store,
) {
    if element.kind != Kind::String {
        store.write(key, element, cell.shown().then_some(Value::Member));
        return;
    }
    let counter = cell.has_alive_contribution();
    let remains = |cell: &Cell, dot| !counter && cell.winner().is_some_and(|winner| winner.dot == dot);
    if let Some(dot) = native.filter(|dot| cell.live_at(*dot) && !remains(cell, *dot)) {
        copy_native(key, element, cell, dot, store);
    }
    match incoming {
        Some((dot, value)) if remains(cell, dot) => store.write(key, element, Some(value)),
        Some((dot, value)) => {
            cell.set_value(dot, Some(value.to_owned()));
            show_explicit(key, element, cell, store);
        }
        None => show_explicit(key, element, cell, store),
    }
}

/// Shows a cell whose values are explicit, but for a winner that is already shown.
fn show_explicit(key: KeyRef<'_>, element: Element<'_>, cell: &mut Cell, store: &mut dyn Store) {
    if element.kind != Kind::String {
        store.write(key, element, cell.shown().then_some(Value::Member));
        return;
    }
    if let Some(text) = cell.number_shown(element.kind) {
        store.write(key, element, Some(Value::Bytes(&text)));
        return;
    }
    let counter = cell.has_alive_contribution();
    match cell.live.last_mut() {
        None => store.write(key, element, None),
        Some(winner) => {
            if let Some(value) = &winner.value {
                store.write(key, element, Some(value.borrow()));
            }
            if !counter {
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
