//! What only an unfinished transfer brought, from an incarnation that then forgot it.
//!
//! A cut transfer from an incarnation that lost its last writes leaves cells ahead of everyone's vector. When
//! nobody can cover them any more, the holder re-issues what it shows there as its own operation: counters as
//! a number, never as increments, because two holders would add twice.

use smallvec::SmallVec;

use super::cell::Cell;
use super::dot::{Dot, Hlc, ReplicaId};
use super::index::{CellId, KeyId, PendingClear, Target};
use super::number::Number;
use super::op::{Effect, Emit};
use super::rules::{Rule, holds};
use super::state::State;
use super::store::{Element, KeyRef, Kind, Native, OwnedValue, Store};
use super::vector::Vector;

impl State {
    /// Re-issues what no connected peer's vector (`heard`) covers. Gives the pending clears it dropped for that: author
    /// and key.
    pub fn own_orphans(
        &mut self,
        heard: &[&Vector],
        store: &mut dyn Store,
        emit: &mut Emit<'_>,
    ) -> Vec<(ReplicaId, u32, Box<[u8]>)> {
        let mut dropped = Vec::new();
        if !holds(Rule::OwnOrphans) {
            return dropped;
        }
        let lost = |state: &State, dot: Dot| {
            state.superseded(dot.replica) && !state.seen.covers(dot) && !heard.iter().any(|v| v.covers(dot))
        };
        for replica in self.index.replicas_ahead(&self.seen) {
            if !self.superseded(replica) {
                continue;
            }
            for target in self.index.queued(replica) {
                let hlc = self.index.touch_of(target, replica);
                let orphan = (hlc > 0).then(|| Dot::new(replica, hlc));
                let owner = match target {
                    Target::Key(key) => Some(key),
                    Target::Cell(id) => self.index.get_cell(id).map(|node| node.key),
                };
                // What is not here cannot be written again yet.
                if orphan.is_some_and(|dot| lost(self, dot)) && !owner.is_some_and(|key| self.wants(key)) {
                    if let Target::Key(key) = target {
                        let (db, name) = self.owned_name(key);
                        dropped.push((replica, db, name));
                    }
                    self.own(target, replica, store, emit);
                }
            }
        }
        dropped
    }

    /// Drops a pending clear that [`State::own_orphans`] has issued again.
    pub fn drop_orphan(&mut self, author: ReplicaId, key: KeyRef<'_>) {
        if let Some(key) = self.index.find(key) {
            self.index.clears_mut(key).retain(|p| p.dot.replica != author);
            self.index.drop_if_empty(key);
        }
    }

    fn own(&mut self, target: Target, replica: ReplicaId, store: &mut dyn Store, emit: &mut Emit<'_>) {
        let key = match target {
            Target::Key(key) => key,
            Target::Cell(id) => self.index.node(id).key,
        };
        let (db, name) = self.owned_name(key);
        let owner = KeyRef { db, name: &name };
        self.has_expired(owner, store, emit);
        self.history.own();
        match target {
            Target::Key(key) => self.own_clear(key, owner, replica, store, emit),
            Target::Cell(id) => self.own_cell(id, owner, store, emit),
        }
    }

    fn own_clear(
        &mut self,
        key: KeyId,
        owner: KeyRef<'_>,
        replica: ReplicaId,
        store: &mut dyn Store,
        emit: &mut Emit<'_>,
    ) {
        let clears = self.index.key(key).clears().iter();
        let lost: SmallVec<[Option<u64>; 2]> = clears
            .filter(|p| p.dot.replica == replica)
            .map(|p| p.clear.expired)
            .collect();
        for expired in lost {
            let shown = self.shown_elements(key, owner, expired.is_none(), store);
            let mut effects: SmallVec<[Effect<'_>; 1]> = smallvec::smallvec![self.clear_effect(key, expired)];
            for (kind, element, value) in &shown {
                let element = Element::new(*kind, element);
                effects.push(self.replace_effect(key, element, Some(value.borrow())));
            }
            let same = |p: &PendingClear| p.dot.replica == replica && p.clear.expired.is_some() == expired.is_some();
            self.index.clears_mut(key).retain(|p| !same(p));
            self.issue(owner, effects, store, emit);
        }
    }

    fn own_cell(&mut self, id: CellId, owner: KeyRef<'_>, store: &mut dyn Store, emit: &mut Emit<'_>) {
        let node = self.index.node(id);
        let (key, kind, element) = (node.key, node.element().kind, Box::<[u8]>::from(node.element().name));
        // Among types the later one is visible: what is visible stays so, and what is not shown is not written.
        let visible = store.kind(owner);
        let dormant = kind.is_type() && visible.is_some_and(|native| native != Native::Kind(kind));
        self.follow(owner);
        let cell = self
            .index
            .cell(id)
            .snapshot(owner, Element { kind, name: &element }, store);
        let value = cell.value_shown(kind, self.scores).filter(|_| !dormant);
        let value = value.as_ref().map(OwnedValue::borrow);
        let effect = self.replace_effect(key, Element { kind, name: &element }, value);
        self.issue(owner, smallvec::smallvec![effect], store, emit);
    }

    pub(super) fn owned_name(&self, key: KeyId) -> (u32, Box<[u8]>) {
        let KeyRef { db, name } = self.index.key(key).key();
        (db, name.into())
    }

    /// What the key shows; its deadline, too, when the index knows of one and `deadline` asks for it.
    fn shown_elements(
        &self,
        key: KeyId,
        name: KeyRef<'_>,
        deadline: bool,
        store: &mut dyn Store,
    ) -> Vec<(Kind, Box<[u8]>, OwnedValue)> {
        let mut shown = Vec::new();
        store.elements(name, &mut |e, value| {
            shown.push((e.kind, e.name.into(), value.to_owned()))
        });
        let id = self.index.find_cell(key, Element::EXPIRY).filter(|_| deadline);
        let at = id.and_then(|id| self.index.cell(id).value_shown(Kind::Expiry, self.scores));
        shown.extend(at.map(|at| (Kind::Expiry, Box::default(), at)));
        shown
    }

    /// What this region wrote that a peer with vector `theirs` lacks, kept when this state must be given up for the
    /// peer's: values as they are shown; of counters, what was added. When the peer has heard of a later life of this
    /// region than this state, that life has had its chance to say what was added before it, and that is not added twice.
    pub fn unseen_writes(&self, theirs: &Vector, store: &mut dyn Store) -> Vec<UnseenWrite> {
        let later_life = self.has_later_life(theirs);
        let mut unseen = Vec::new();
        let mut next = 0;
        while let Some(key) = self.index.next_key(next) {
            next = key + 1;
            let node = self.index.key(key);
            let visible = match store.kind(node.key()) {
                Some(Native::Kind(visible)) => Some(visible),
                _ if self.evicted.contains(node.key()) => None,
                _ => continue,
            };
            for id in self.index.cells_of(key) {
                let cell = self.index.node(id);
                let mine = |(replica, hlc): (ReplicaId, u64)| {
                    replica.region() == self.me.region() && hlc > theirs.get(replica)
                };
                let kind = cell.element().kind;
                let dormant = kind.is_type() && visible.is_some_and(|visible| visible != kind);
                if dormant || !cell.cell.touched.iter().any(mine) {
                    continue;
                }
                let KeyRef { db, name } = node.key();
                let mut keep = |what: Unseen| {
                    unseen.push(UnseenWrite {
                        db,
                        key: name.into(),
                        kind,
                        element: cell.element().name.into(),
                        what,
                    });
                };
                let assigned = cell.cell.live.iter().any(|live| mine((live.dot.replica, live.dot.hlc)));
                if !cell.cell.contributions().is_empty() && !assigned {
                    for (replica, c) in cell.cell.contributions() {
                        if mine((*replica, c.hlc)) && c.alive() && (*replica == self.me || !later_life) {
                            let whole = c.birth > theirs.get(*replica);
                            keep(Unseen::Added(Added::new(*replica, c.birth, c.total.clone(), whole)));
                        }
                    }
                } else if let Some(value) = store.read(node.key(), cell.element()) {
                    keep(Unseen::Value(value));
                } else if kind == Kind::Expiry && visible.is_some() {
                    match cell.cell.value_shown(kind, self.scores) {
                        Some(never) => keep(Unseen::Value(never)),
                        None if visible == Some(Kind::String) && self.assigned(key, mine) => keep(Unseen::Removed),
                        None => {}
                    }
                } else if visible.is_none()
                    && let Some(value) = cell.cell.value_shown(kind, self.scores)
                    && value != OwnedValue::Lost
                {
                    keep(Unseen::Value(value));
                }
            }
        }
        unseen
    }

    /// Whether the key's string, if it has one, is one that an operation of `whose` assigned.
    fn assigned(&self, key: KeyId, whose: impl Fn((ReplicaId, u64)) -> bool) -> bool {
        let cell = self.index.find_cell(key, Element::STRING).map(|id| self.index.cell(id));
        let live = cell.iter().flat_map(|cell| &cell.live);
        live.map(|live| live.dot).any(|dot| whose((dot.replica, dot.hlc)))
    }

    /// Whether `theirs` has operations of a later incarnation of this region than any we know operations of.
    fn has_later_life(&self, theirs: &Vector) -> bool {
        let own = |vector: &Vector| {
            let ids = vector.iter().map(|(replica, _)| replica);
            ids.filter(|replica| replica.region() == self.me.region()).max()
        };
        own(theirs) > own(&self.seen)
    }
}

/// Something to be written again after adoption.
pub struct UnseenWrite {
    pub db: u32,
    pub key: Box<[u8]>,
    pub kind: Kind,
    pub element: Box<[u8]>,
    pub what: Unseen,
}

pub enum Unseen {
    Value(OwnedValue),
    /// The deadline went when the string was assigned.
    Removed,
    Added(Added),
}

/// A running total that a peer may know only in part.
#[derive(Clone, PartialEq, Debug)]
pub struct Added {
    pub replica: ReplicaId,
    pub birth: Hlc,
    pub total: Number,
    /// The peer knew nothing of it.
    pub whole: bool,
}

impl Added {
    pub fn new(replica: ReplicaId, birth: Hlc, total: Number, whole: bool) -> Added {
        Added {
            replica,
            birth,
            total,
            whole,
        }
    }

    /// What of it the adopted cell lacks. A total that the peer knew and has dropped was reset there: that goes first.
    pub fn missing(&self, cell: Option<&Cell>) -> Number {
        match cell.and_then(|cell| cell.contribution(self.replica)) {
            Some(known) if known.birth == self.birth => self.total.sub(&known.total),
            Some(known) if known.birth > self.birth => Number::ZERO,
            _ if self.whole => self.total.clone(),
            _ => Number::ZERO,
        }
    }
}
