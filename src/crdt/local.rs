//! Local commands: the change is in the keyspace already; here it gets its dot and its metadata.

use smallvec::SmallVec;

use super::cell::{Cell, Contribution, Live, Observed};
use super::dot::{Dot, Hlc};
use super::index::KeyId;
use super::number::Number;
use super::op::{Clear, ClearedCell, Effect, Emit, Op};
use super::rules::{Rule, holds};
use super::state::State;
use super::store::{Element, KeyRef, Kind, Native, OwnedValue, Store, Value};
use super::vector::Vector;

/// What a local command did to one key, after it did it.
#[derive(Clone, Debug)]
pub enum Change<'a> {
    /// The key is now a string with this value, whatever it was.
    Assign(&'a [u8]),
    /// These members were asked to be added, present before or not.
    Add(&'a [&'a [u8]]),
    /// These members were removed.
    Remove(&'a [&'a [u8]]),
    /// The number shown grew by `delta`; `before` is the string's value before, `None` when absent.
    Increment { delta: Number, before: Option<&'a [u8]> },
    /// The key was removed.
    Clear,
}

impl Change<'_> {
    /// Does to the keyspace what the command did.
    pub fn perform(&self, key: KeyRef<'_>, store: &mut dyn Store) {
        match self {
            Change::Assign(value) => {
                if !matches!(store.kind(key), None | Some(Native::Kind(Kind::String))) {
                    store.delete(key);
                }
                store.write(key, Element::STRING, Some(Value::Bytes(value)));
            }
            Change::Add(members) => {
                for member in *members {
                    store.write(key, Element::member(member), Some(Value::Member));
                }
            }
            Change::Remove(members) => {
                for member in *members {
                    store.write(key, Element::member(member), None);
                }
            }
            Change::Increment { delta, before } => {
                let before = before.and_then(Number::parse).unwrap_or(Number::ZERO);
                store.write(key, Element::STRING, Some(Value::Bytes(&before.add(delta).to_text())));
            }
            Change::Clear => store.delete(key),
        }
    }
}

/// Elements named by the index itself, kept alive while an operation mentions them.
type Names = Vec<(Kind, Box<[u8]>)>;

impl State {
    /// Stamps a change that the keyspace already shows and notes it in the index; `emit` gets the operation.
    /// `before`: what the key held before the command.
    pub fn record(&mut self, key: KeyRef<'_>, before: Option<Native>, change: &Change<'_>, emit: &mut Emit<'_>) {
        let dot = Dot::new(self.me, self.clock.stamp());
        let id = self.index.obtain(key);
        let visible = before.and_then(|native| match native {
            Native::Kind(kind) => Some(kind),
            Native::Other => None,
        });
        let names = self.dormant(id, visible);
        let mut effects: SmallVec<[Effect<'_>; 1]> = SmallVec::new();
        let replaces =
            matches!(change, Change::Assign(_)) && !matches!(before, None | Some(Native::Kind(Kind::String)));
        if replaces || matches!(change, Change::Clear) {
            effects.push(self.clear_effect(id));
        } else {
            for (kind, name) in &names {
                effects.push(self.replace_effect(id, Element { kind: *kind, name }, None));
            }
        }
        match change {
            Change::Assign(value) => {
                effects.push(self.replace_effect(id, Element::STRING, Some(Value::Bytes(value))));
            }
            Change::Add(members) => {
                for member in *members {
                    effects.push(self.replace_effect(id, Element::member(member), Some(Value::Member)));
                }
            }
            Change::Remove(members) => {
                for member in *members {
                    effects.push(self.replace_effect(id, Element::member(member), None));
                }
            }
            Change::Increment { delta, before } => {
                self.make_register_explicit(id, *before);
                effects.push(self.increment_effect(id, dot.hlc, delta));
            }
            Change::Clear => {}
        }
        let op = Op { dot, key, effects };
        self.history.issued(&op);
        self.note(id, &op);
        self.history.applied(&op);
        self.seen.raise(dot.replica, dot.hlc);
        emit(&op, &self.seen);
    }

    /// Issues effects that the keyspace does not show yet.
    pub(super) fn issue<'a>(
        &mut self,
        key: KeyRef<'a>,
        effects: SmallVec<[Effect<'a>; 1]>,
        store: &mut dyn Store,
        emit: &mut Emit<'_>,
    ) {
        let op = Op {
            dot: Dot::new(self.me, self.clock.stamp()),
            key,
            effects,
        };
        self.history.issued(&op);
        let context = self.seen.clone();
        self.apply_effects(&op, &context, store);
        self.seen.raise(op.dot.replica, op.dot.hlc);
        emit(&op, &self.seen);
    }

    pub(super) fn replace_effect<'a>(&self, key: KeyId, element: Element<'a>, value: Option<Value<'a>>) -> Effect<'a> {
        let (mut observed, mut extra) = (Observed::new(), Vector::new());
        if let Some(id) = self.index.find_cell(key, element) {
            let cell = self.index.cell(id);
            extra = self.extra(cell);
            observed = cell.observed(!extra.is_empty());
        }
        Effect::Replace {
            element,
            value,
            observed,
            extra,
        }
    }

    fn increment_effect<'a>(&self, key: KeyId, now: Hlc, delta: &Number) -> Effect<'a> {
        let cell = self.index.find_cell(key, Element::STRING).map(|id| self.index.cell(id));
        let (birth, total) = self.next_total(cell, now, delta);
        Effect::Increment {
            element: Element::STRING,
            birth,
            total,
        }
    }

    /// A clear of everything seen. It takes over pending clears above our vector, to stand for them too.
    pub(super) fn clear_effect<'a>(&self, key: KeyId) -> Effect<'a> {
        let mut cells: Vec<ClearedCell> = Vec::new();
        for id in self.index.cells_of(key) {
            let node = self.index.node(id);
            let extra = self.extra(&node.cell);
            let observed = node.cell.observed(!extra.is_empty());
            if !extra.is_empty() || !observed.is_empty() {
                let element = node.element();
                cells.push(ClearedCell {
                    kind: element.kind,
                    name: element.name.into(),
                    observed,
                    extra,
                });
            }
        }
        cells.sort_by(|a, b| a.element().cmp(&b.element()));
        let mut clear = Clear {
            context: self.seen.clone(),
            cells,
        };
        for pending in self.index.key(key).clears() {
            if !self.seen.covers(pending.dot) && holds(Rule::AbsorbClears) {
                clear.absorb(&pending.clear);
            }
        }
        Effect::Clear(Box::new(clear))
    }

    /// What a local operation on this cell must name besides the vector: dots merged above it.
    fn extra(&self, cell: &Cell) -> Vector {
        let ahead = !self.seen.includes(&cell.touched) || !self.seen.includes(cell.named());
        if !ahead || !holds(Rule::NameAheadDots) {
            return Vector::new();
        }
        let mut extra = cell.touched.above(&self.seen);
        extra.join(&cell.named().above(&self.seen));
        extra
    }

    /// Every write also removes the dormant types it saw: otherwise emptying the visible type would revive
    /// a dormant one where it is not yet pruned, and nothing where it is.
    pub(super) fn dormant(&self, key: KeyId, visible: Option<Kind>) -> Names {
        let node = self.index.key(key);
        if visible.is_some_and(|kind| !node.has_other_kind(kind)) || !holds(Rule::WriteClearsDormant) {
            return Names::new();
        }
        let cells = self.index.cells_of(key);
        let nodes = cells.iter().map(|id| self.index.node(*id));
        let dormant = nodes.filter(|n| Some(n.element().kind) != visible && n.cell.shown());
        dormant.map(|n| (n.element().kind, n.element().name.into())).collect()
    }

    /// Before an increment: the register the keyspace shows becomes the index's own.
    fn make_register_explicit(&mut self, key: KeyId, before: Option<&[u8]>) {
        let text = before.map(|text| OwnedValue::Bytes(text.into()));
        let Some(id) = self.index.find_cell(key, Element::STRING) else {
            let live = text.map(|text| Live {
                dot: Dot::BASE,
                value: Some(text),
            });
            self.index.add_cell(key, Element::STRING, Cell::of(live));
            return;
        };
        let cell = self.index.cell_mut(id);
        if let Some(dot) = cell.native_dot() {
            match text {
                Some(text) => cell.set_value(dot, Some(text)),
                None => cell.kill_covered(|live| live == dot),
            }
        }
    }

    /// The metadata of an own operation, which has seen all there is in its cells.
    fn note(&mut self, key: KeyId, op: &Op<'_>) {
        for effect in &op.effects {
            match effect {
                Effect::Replace {
                    element,
                    value,
                    observed,
                    extra,
                } => {
                    let found = self.index.find_cell(key, *element);
                    let id = found.unwrap_or_else(|| self.index.add_cell(key, *element, Cell::default()));
                    let cell = self.index.cell_mut(id);
                    cell.reset(observed);
                    cell.replace_live(value.is_some().then_some(op.dot));
                    cell.name(extra);
                    if value.is_some() || holds(Rule::TouchRemovals) {
                        self.index.touch(id, op.dot);
                    }
                }
                Effect::Increment { element, birth, total } => {
                    let Some(id) = self.index.find_cell(key, *element) else {
                        continue;
                    };
                    let contribution = Contribution::new(*birth, op.dot.hlc, total.clone());
                    self.index.cell_mut(id).merge_contribution(op.dot.replica, contribution);
                    self.index.touch(id, op.dot);
                }
                Effect::Clear(clear) => self.note_clear(key, op.dot, clear),
            }
        }
    }

    fn note_clear(&mut self, key: KeyId, dot: Dot, clear: &Clear) {
        for id in self.index.cells_of(key) {
            let (_, element, cell) = self.index.split(id);
            cell.live.clear();
            if let Some(named) = clear.cell(element) {
                cell.reset(&named.observed);
                cell.name(&named.extra);
            }
            if !holds(Rule::ClearTouchesKeyOnly) {
                self.index.touch(id, dot);
            }
        }
        self.pend(key, dot, clear.clone());
    }
}
