//! Local commands: the change is in the keyspace already; here it gets its dot and its metadata.

use smallvec::SmallVec;

use super::cell::{Cell, Contribution, Live, Observed};
use super::change::{Before, Change, Cleared, Deadline, Edit};
use super::clock::unix_millis;
use super::dot::{Dot, Hlc};
use super::index::KeyId;
use super::number::Number;
use super::op::{Clear, ClearedCell, Effect, Emit, Op};
use super::rules::{Rule, holds};
use super::state::State;
use super::store::{Element, KeyRef, Kind, Native, OwnedValue, Store, Value};
use super::vector::Vector;

/// Elements named by the index itself, kept alive while an operation mentions them.
type Names = Vec<(Kind, Box<[u8]>)>;

impl State {
    /// Stamps a change that the keyspace already shows and notes it in the index; `emit` gets the operation.
    /// `before`: what the key held before the command.
    pub fn record(&mut self, key: KeyRef<'_>, before: impl Into<Before>, change: &Change<'_>, emit: &mut Emit<'_>) {
        let Before { native, deadline } = before.into();
        let dot = Dot::new(self.me, self.clock.stamp());
        let id = self.index.obtain(key);
        let visible = native.and_then(|native| match native {
            Native::Kind(kind) => Some(kind),
            Native::Other => None,
        });
        let evicted = self.evicted.contains(key);
        let visible = visible.or(change.kind().filter(|_| evicted));
        let names = match evicted && visible.is_none() {
            true => Names::new(),
            false => self.dormant(id, visible),
        };
        let assigns = evicted && change.assigns();
        let mut effects: SmallVec<[Effect<'_>; 1]> = SmallVec::new();
        let cleared = match change.clear {
            Cleared::No => (change.replaces(native) || assigns && holds(Rule::AssignmentClearsEvicted)).then_some(None),
            Cleared::All => Some(None),
            Cleared::Expired(now) => Some(Some(now)),
        };
        if let Some(expired) = cleared {
            effects.push(self.clear_effect(id, expired));
        } else {
            for (kind, name) in &names {
                effects.push(self.replace_effect(id, Element { kind: *kind, name }, None));
            }
            self.keep_deadline(id, deadline, change);
        }
        // Before the values: a key that comes to life elsewhere must not take up a deadline that this ends.
        // An evicted key is only as if absent: elsewhere its deadline goes on. Whoever assigns it keeps what it shows.
        let creates = native.is_none() && !change.edits.is_empty() && !evicted;
        let after = match (change.deadline.after(deadline), deadline) {
            (Deadline::Kept, Some(at)) if assigns => Deadline::At(at),
            (after, _) => after,
        };
        effects.extend(self.deadline_effect(id, after, creates));
        for edit in &change.edits {
            effects.push(self.edit_effect(id, dot.hlc, edit));
        }
        let op = Op { dot, key, effects };
        self.history.issued(&op);
        self.note(id, &op);
        if !self.evicted.is_empty() {
            self.want_if_evicted(id, false);
        }
        self.history.applied(&op);
        self.seen.raise(dot.replica, dot.hlc);
        emit(&op, &self.seen);
    }

    /// What a counter shows after an increment, where that is not what the server's own addition to the shown number came
    /// to: the sum has more digits than were shown, or is beyond the greatest number.
    pub fn corrected(&self, key: KeyRef<'_>, edit: &Edit<'_>) -> Option<OwnedValue> {
        let Edit::Add { element, delta, before } = edit else {
            return None;
        };
        let cell = self.index.find_cell(self.index.find(key)?, *element)?;
        let total = self.index.cell(cell).total(element.kind, self.scores)?;
        let shown = before.map_or(Some(Number::ZERO), Value::number)?.add(delta);
        if total == shown {
            return None;
        }
        let [total, shown] = [total, shown].map(|number| element.kind.show_number(&number));
        (total != shown).then_some(total)
    }

    fn edit_effect<'a>(&mut self, key: KeyId, now: Hlc, edit: &Edit<'a>) -> Effect<'a> {
        match edit {
            Edit::Put(element, value) | Edit::Meet { element, value, .. } => {
                self.replace_effect(key, *element, Some(*value))
            }
            Edit::Remove(element) => self.replace_effect(key, *element, None),
            Edit::Add { element, delta, before } => {
                self.make_register_explicit(key, *element, *before);
                let cell = self.index.find_cell(key, *element).map(|id| self.index.cell(id));
                let (birth, total) = self.next_total(cell, now, delta);
                Effect::Increment {
                    element: *element,
                    birth,
                    total,
                }
            }
        }
    }

    /// A write that creates a key drops the deadline it saw. It says so even when nothing is known of one here any more:
    /// where the end of an earlier life of the key has not settled yet, its deadline would end the new one.
    pub(super) fn deadline_effect(&self, key: KeyId, deadline: Deadline, creates: bool) -> Option<Effect<'static>> {
        let drops = creates && self.index.deadlines && holds(Rule::CreateClearsExpiry);
        let changes = deadline != Deadline::Kept || drops;
        changes.then(|| self.replace_effect(key, Element::EXPIRY, deadline.value()))
    }

    /// A removal may have taken the key, and with it a deadline that only the keyspace held.
    fn keep_deadline(&mut self, key: KeyId, deadline: Option<u64>, change: &Change<'_>) {
        let removes = change.edits.iter().any(|edit| matches!(edit, Edit::Remove(_)));
        if let Some(at) = deadline.filter(|_| removes && self.index.find_cell(key, Element::EXPIRY).is_none()) {
            self.add_deadline(key, at);
        }
    }

    /// Before an operation that no client asked for: records that the key has expired, if it has. If not, it stays while
    /// it is written.
    pub(super) fn has_expired(&mut self, key: KeyRef<'_>, store: &mut dyn Store, emit: &mut Emit<'_>) -> bool {
        store.release();
        let known = store.is_replicated(key) || self.index.find(key).is_some();
        let expired = store.has_expired(key) && known;
        if expired {
            let now = unix_millis(self.clock.wall());
            self.record(key, None, &Change::expired(now), emit);
        }
        expired
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

    /// A clear of everything seen, of the deadline unless the key has `expired`. It takes over pending clears above our
    /// vector, to stand for them too.
    pub(super) fn clear_effect<'a>(&self, key: KeyId, expired: Option<u64>) -> Effect<'a> {
        Effect::Clear(Box::new(self.clear_of(key, expired)))
    }

    /// What the expiry of a key removes, to be said later.
    pub fn expired_clear(&mut self, key: KeyRef<'_>, now: u64) -> Clear {
        let id = self.index.obtain(key);
        let clear = self.clear_of(id, Some(now));
        self.index.drop_if_empty(id);
        clear
    }

    fn clear_of(&self, key: KeyId, expired: Option<u64>) -> Clear {
        let mut clear = Clear {
            context: self.seen.clone(),
            cells: Vec::new(),
            expired,
        };
        for id in self.index.cells_of(key) {
            let node = self.index.node(id);
            if clear.spares(node.element().kind) {
                continue;
            }
            let extra = self.extra(&node.cell);
            let observed = node.cell.observed(!extra.is_empty());
            if !extra.is_empty() || !observed.is_empty() {
                let element = node.element();
                clear.cells.push(ClearedCell {
                    kind: element.kind,
                    name: element.name.into(),
                    observed,
                    extra,
                });
            }
        }
        clear.cells.sort_by(|a, b| a.element().cmp(&b.element()));
        for pending in self.index.key(key).clears() {
            // A full clear cannot stand behind one that spares the deadline, nor the other way round.
            let stands = clear.expired.is_some() || pending.clear.expired.is_none();
            if !self.seen.covers(pending.dot) && stands && holds(Rule::AbsorbClears) {
                clear.absorb(&pending.clear);
            }
        }
        clear
    }

    /// What a local operation on this cell must name besides the vector: dots merged above it.
    pub(super) fn extra(&self, cell: &Cell) -> Vector {
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
        let dormant = nodes.filter(|n| {
            let kind = n.element().kind;
            kind.is_type() && Some(kind) != visible && n.cell.shown()
        });
        dormant.map(|n| (n.element().kind, n.element().name.into())).collect()
    }

    /// Before an increment: the register the keyspace shows becomes the index's own.
    fn make_register_explicit(&mut self, key: KeyId, element: Element<'_>, before: Option<Value<'_>>) {
        let value = before.map(Value::to_owned);
        let Some(id) = self.index.find_cell(key, element) else {
            if let Some(unknown) = self.unknown_base(key, element) {
                self.index.add_cell(key, element, unknown);
                return;
            }
            let live = value.map(|value| Live {
                dot: Dot::BASE,
                value: Some(value),
            });
            self.index.add_cell(key, element, Cell::of(live));
            return;
        };
        let cell = self.index.cell_mut(id);
        if let Some(dot) = cell.native_dot() {
            match value {
                Some(value) => cell.set_value(dot, Some(value)),
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
                    cell.replace_live(value.map(|value| Live::assigned(op.dot, element.kind, value)));
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
            if clear.spares(element.kind) {
                continue;
            }
            cell.live.clear();
            if let Some(named) = clear.cell(element) {
                cell.reset(&named.observed);
                cell.name(&named.extra);
            }
            if !holds(Rule::ClearTouchesKeyOnly) {
                self.index.touch(id, dot);
            }
        }
        self.base_is_gone(key);
        self.pend(key, dot, clear.clone());
        // The keyspace has dropped the deadline with the key.
        if let Some(at) = clear.expired.filter(|_| holds(Rule::ExpiryStays))
            && self.index.find_cell(key, Element::EXPIRY).is_none()
        {
            self.add_deadline(key, at);
        }
    }
}
