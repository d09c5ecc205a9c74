//! One region's replicated state: what it has seen, and how an operation changes it.

use std::collections::BTreeMap;
use std::time::Duration;

use smallvec::SmallVec;

use super::cell::{Cell, Contribution, Live, Observed};
use super::clock::Clock;
use super::dot::{Dot, Hlc, RegionTag, ReplicaId};
use super::evicted::Evicted;
use super::history::History;
use super::index::{CellId, Index, KeyId, PendingClear, Target};
use super::number::Number;
use super::op::{Clear, Effect, Op};
use super::policy::ScoreRule;
use super::reassert::Rescue;
use super::rules::{Rule, holds};
use super::store::{Element, KeyRef, Kind, Native, OwnedValue, Store, Value};
use super::vector::Vector;

/// How often concurrent writes met.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Conflicts {
    /// Concurrent assignments of one string or hash field: one is shown, the others are siblings.
    pub siblings: u64,
    /// Concurrent types under one key.
    pub types: u64,
}

/// The state of one region: native values in a [`Store`], everything else here.
pub struct State {
    pub(super) me: ReplicaId,
    pub clock: Clock,
    /// Replica id -> greatest HLC applied.
    pub(super) seen: Vector,
    /// The highest stable frontier this state was compacted by.
    pub(super) compacted: Vector,
    pub scores: ScoreRule,
    pub(super) index: Index,
    /// Newest incarnation heard of, per region.
    pub(super) newest: BTreeMap<RegionTag, u64>,
    pub(super) conflicts: Conflicts,
    pub(super) rescues: Vec<Rescue>,
    pub(super) evicted: Evicted,
    pub history: History,
}

impl State {
    /// An empty state under a fresh replica id.
    pub fn new(me: ReplicaId, drift: Duration) -> State {
        State {
            me,
            clock: Clock::new(drift),
            seen: Vector::new(),
            compacted: Vector::new(),
            scores: ScoreRule::default(),
            index: Index::default(),
            newest: BTreeMap::from([(me.region(), me.incarnation())]),
            conflicts: Conflicts::default(),
            rescues: Vec::new(),
            evicted: Evicted::default(),
            history: History::default(),
        }
    }

    pub fn me(&self) -> ReplicaId {
        self.me
    }

    /// What has been seen of a key's operations. One vector serves all keys until slots move on their own.
    pub fn vector_for(&self, _key: KeyRef<'_>) -> &Vector {
        &self.seen
    }

    pub fn seen(&self) -> &Vector {
        &self.seen
    }

    pub fn compacted(&self) -> &Vector {
        &self.compacted
    }

    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Whether a deadline may be among what has been seen.
    pub fn knows_deadlines(&self) -> bool {
        self.index.deadlines
    }

    pub fn learn_deadlines(&mut self) {
        self.index.deadlines = true;
    }

    pub fn conflicts(&self) -> Conflicts {
        self.conflicts
    }

    /// Takes a greater incarnation of our own region: everything seen stays, new operations get new names.
    pub fn rename(&mut self, incarnation: u64) {
        self.me = ReplicaId::new(self.me.region(), incarnation);
        self.learn_incarnation(self.me.region(), incarnation);
    }

    pub fn newest(&self) -> &BTreeMap<RegionTag, u64> {
        &self.newest
    }

    pub fn learn_incarnation(&mut self, region: RegionTag, incarnation: u64) {
        let newest = self.newest.entry(region).or_insert(0);
        *newest = (*newest).max(incarnation);
    }

    /// Whether a newer incarnation of its region is known.
    pub fn superseded(&self, replica: ReplicaId) -> bool {
        self.newest
            .get(&replica.region())
            .is_some_and(|newest| *newest > replica.incarnation())
    }

    /// Whether a vector names nothing that may still arrive.
    pub(super) fn settled(&self, named: &Vector) -> bool {
        named
            .iter()
            .all(|(replica, hlc)| hlc <= self.seen.get(replica) || self.superseded(replica))
    }

    /// Forgets everything but which incarnations there were; operations issued from here on have new names.
    pub fn go_blank(&mut self, incarnation: u64) {
        self.rename(incarnation);
        (self.seen, self.compacted) = (Vector::new(), Vector::new());
        (self.index, self.evicted) = (Index::default(), Evicted::default());
        self.history.forget();
    }

    /// An adopted state is complete: `seen` and `compacted` are the peer's.
    pub fn complete(&mut self, seen: &Vector, compacted: &Vector) {
        (self.seen, self.compacted) = (seen.clone(), compacted.clone());
    }

    /// Advances the vector after a transfer: everything up to `to` has arrived.
    pub fn advance(&mut self, to: &Vector) {
        self.seen.join(to);
    }

    /// Applies one operation of a peer, delivered causally: `context` (its author's vector when it was made,
    /// the author's own previous operation included) is covered by ours.
    pub fn apply(&mut self, op: &Op<'_>, context: &Vector, store: &mut dyn Store) {
        if op.dot.hlc <= self.seen.get(op.dot.replica) {
            return;
        }
        if let Some(key) = self.index.find(op.key) {
            for effect in &op.effects {
                if let Effect::Clear(clear) = effect {
                    self.endangered(key, clear, store);
                }
            }
        }
        self.apply_effects(op, context, store);
        self.seen.raise(op.dot.replica, op.dot.hlc);
    }

    pub(super) fn apply_effects(&mut self, op: &Op<'_>, context: &Vector, store: &mut dyn Store) {
        let key = self.index.obtain(op.key);
        let brought = |state: &State, effect: &Effect<'_>| match effect {
            Effect::Replace { element, .. } | Effect::Increment { element, .. } => {
                state.includes(key, *element, op.dot)
            }
            Effect::Clear(_) => false,
        };
        let mut included: SmallVec<[bool; 8]> = SmallVec::new();
        for effect in &op.effects {
            included.push(brought(self, effect));
        }
        for (effect, included) in op.effects.iter().zip(included) {
            match effect {
                Effect::Replace {
                    element,
                    value,
                    observed,
                    extra,
                } => {
                    // Who assigns a string has seen and dropped every other base, but for the deadline's.
                    let whole = element.kind == Kind::String && value.is_some() && !included;
                    let replace = Replacement {
                        dot: op.dot,
                        context,
                        value: *value,
                        observed,
                        extra,
                        included,
                    };
                    self.apply_replace(key, *element, replace, store);
                    if whole && self.knows_deadline(key) && self.base_is_gone(key) {
                        // What was written to the evicted key does not show it.
                        self.show_deadline(key, store);
                    }
                }
                Effect::Increment { element, birth, total } => {
                    let contribution = Contribution::new(*birth, op.dot.hlc, total.clone());
                    self.apply_increment(key, *element, op.dot, contribution, store);
                }
                Effect::Clear(clear) => self.apply_clear(key, op.dot, clear, store),
            }
        }
        if !self.evicted.is_empty() {
            self.want_if_evicted(key, false);
        }
        self.history.applied(op);
        self.index.drop_if_empty(key);
    }

    /// Whether the cell already includes the operation: through the vector, or because an unfinished
    /// transfer brought it (touches, named dots and clears are prefixes per replica id for this cell).
    fn includes(&self, key: KeyId, element: Element<'_>, dot: Dot) -> bool {
        if self.seen.covers(dot) || holds(Rule::ClearContext) && self.index.cleared(key, element.kind).covers(dot) {
            return true;
        }
        let Some(id) = self.index.find_cell(key, element) else {
            return false;
        };
        let cell = self.index.cell(id);
        holds(Rule::AheadContext) && (cell.touched.covers(dot) || cell.named().covers(dot))
    }

    fn apply_replace(&mut self, key: KeyId, element: Element<'_>, r: Replacement<'_>, store: &mut dyn Store) {
        let needs_base = r.included || !holds(Rule::KillBase);
        let id = match self.index.find_cell(key, element) {
            Some(id) => id,
            None if needs_base => self.cell_with_base(key, element, store),
            None => self.index.add_cell(key, element, Cell::default()),
        };
        let cell = self.index.cell_mut(id);
        let native = cell.native_dot();
        cell.reset(r.observed);
        if !r.included {
            cell.kill_covered(|dot| match dot.is_base() {
                true => holds(Rule::KillBase),
                false => r.context.covers(dot) || r.extra.covers(dot),
            });
            if let Some(value) = r.value {
                self.conflicts.siblings += u64::from(element.kind.in_keyspace() && !cell.live.is_empty());
                cell.add_live(Live::assigned(r.dot, element.kind, value));
            }
        }
        cell.name(r.extra);
        if r.value.is_some() || holds(Rule::TouchRemovals) {
            self.index.touch(id, r.dot);
        }
        let large = !r.included && element.kind.in_keyspace();
        let incoming = r.value.filter(|_| large).map(|value| (r.dot, value));
        self.show(key, id, native, incoming, store);
    }

    fn apply_increment(
        &mut self,
        key: KeyId,
        element: Element<'_>,
        dot: Dot,
        contribution: Contribution,
        store: &mut dyn Store,
    ) {
        let id = self.cell_with_base(key, element, store);
        let cell = self.index.cell_mut(id);
        let native = cell.native_dot();
        cell.merge_contribution(dot.replica, contribution);
        self.index.touch(id, dot);
        self.show(key, id, native, None, store);
    }

    /// Applies a clear that an operation or a transfer brought. It changes every cell but touches none.
    pub(super) fn apply_clear(&mut self, key: KeyId, dot: Dot, clear: &Clear, store: &mut dyn Store) {
        let news = self
            .index
            .key(key)
            .clear_like(dot, clear)
            .is_none_or(|p| dot.hlc > p.dot.hlc);
        self.make_explicit(key, store);
        self.spare_deadline(key, dot, clear, store);
        for named in &clear.cells {
            if self.index.find_cell(key, named.element()).is_none() {
                self.index.add_cell(key, named.element(), Cell::default());
            }
        }
        for id in self.index.cells_of(key) {
            let (_, element, cell) = self.index.split(id);
            if clear.spares(element.kind) {
                continue;
            }
            if news {
                cell.kill_covered(|dot| dot.is_base() || clear.context.covers(dot));
            }
            if let Some(named) = clear.cell(element) {
                // Also when a transfer already brought the clear itself.
                cell.kill_covered(|dot| !dot.is_base() && named.extra.covers(dot));
                cell.reset(&named.observed);
                cell.name(&named.extra);
            }
            if !holds(Rule::ClearTouchesKeyOnly) {
                self.index.touch(id, dot);
            }
        }
        if news {
            self.pend(key, dot, clear.clone());
        }
        if news {
            self.base_is_gone(key);
        }
        self.show_key(key, news, store);
    }

    /// A key that has expired elsewhere keeps its deadline, also when only the keyspace has it. Whoever follows the
    /// author of the clear may find the key gone already: the author's word is enough then.
    fn spare_deadline(&mut self, key: KeyId, dot: Dot, clear: &Clear, store: &mut dyn Store) {
        let Some(at) = clear.expired.filter(|_| clear.spares(Kind::Expiry)) else {
            return;
        };
        let name = self.index.key(key).key();
        let own = dot.replica.region() == self.me.region();
        let known = self.index.find_cell(key, Element::EXPIRY).is_some();
        let gone = store.kind(name).is_none();
        // What has expired while its region recovered may have gone by a deadline that nobody else knows.
        let shown = store.deadline(name);
        let word = (own && gone || self.evicted.contains(name)).then_some(at);
        if let Some(at) = shown.or(word).filter(|_| !known) {
            self.add_deadline(key, at);
        }
    }

    /// Keeps a clear on its key until it is stable.
    pub(super) fn pend(&mut self, key: KeyId, dot: Dot, mut clear: Clear) {
        let clears = self.index.clears_mut(key);
        match clears.binary_search_by_key(&PendingClear::slot_of(dot, &clear), PendingClear::slot) {
            Ok(at) => {
                clear.absorb(&clears[at].clear);
                clears[at] = PendingClear { dot, clear };
                self.index.note_touch(dot);
            }
            Err(at) => {
                clears.insert(at, PendingClear { dot, clear });
                self.index.enqueue(dot, Target::Key(key));
            }
        }
    }

    /// The cell of an element, made from the native value when the index has none.
    pub(super) fn cell_with_base(&mut self, key: KeyId, element: Element<'_>, store: &mut dyn Store) -> CellId {
        if let Some(id) = self.index.find_cell(key, element) {
            return id;
        }
        if let Some(unknown) = self.unknown_base(key, element) {
            return self.index.add_cell(key, element, unknown);
        }
        let name = self.index.key(key).key();
        let cell = match element.kind {
            Kind::String if store.kind(name) == Some(Native::Kind(Kind::String)) => Cell::base(None),
            Kind::String => Cell::default(),
            kind => match store.read(name, element) {
                None => Cell::default(),
                Some(_) if kind.in_keyspace() => Cell::base(None),
                Some(value) => Cell::base(Some(value).filter(|value| *value != OwnedValue::Member)),
            },
        };
        self.index.add_cell(key, element, cell)
    }
}

/// A [`Effect::Replace`] on its way into a cell.
struct Replacement<'a> {
    dot: Dot,
    context: &'a Vector,
    value: Option<Value<'a>>,
    observed: &'a Observed,
    extra: &'a Vector,
    included: bool,
}

/// Greatest stamp of a vector, zero when empty.
pub fn greatest(vector: &Vector) -> Hlc {
    vector.iter().map(|(_, hlc)| hlc).max().unwrap_or(0)
}

impl State {
    /// Running total of this replica's increments of a cell: (birth, total) after adding `delta`. A fully reset
    /// contribution starts a new birth, so that everyone may forget the old one.
    pub(super) fn next_total(&self, cell: Option<&Cell>, now: Hlc, delta: &Number) -> (Hlc, Number) {
        match cell.and_then(|cell| cell.contribution(self.me)) {
            Some(own) if own.alive() || !holds(Rule::FreshBirth) => (own.birth, own.total.add(delta)),
            _ => (now, delta.clone()),
        }
    }
}
