//! Dropping what every region durably has. Visits only what settled.

use smallvec::SmallVec;

use super::cell::Contribution;
use super::dot::{Dot, ReplicaId};
use super::index::{CellId, KeyId, Target};
use super::op::{Effect, Emit};
use super::rules::{Rule, holds};
use super::state::State;
use super::store::{Element, KeyRef, Kind, Native, Store};
use super::vector::Vector;

impl State {
    /// Compacts by the stable frontier, visiting at most `budget` targets; true when more is waiting. Removals of
    /// dormant types are issued as operations (`emit`): pruned silently, a peer that has not pruned yet
    /// would show them again when the visible type empties. Without `emit` (a replica) they wait for the primary's.
    pub fn compact(
        &mut self,
        stable: &Vector,
        budget: usize,
        store: &mut dyn Store,
        mut emit: Option<&mut Emit<'_>>,
    ) -> bool {
        self.compacted.join(stable);
        let mut left = budget;
        for target in std::mem::take(&mut self.index.revisit) {
            self.visit(target, stable, store, emit.as_deref_mut());
            self.leave_revisit(target, stable);
        }
        self.index.revisit.sort_unstable();
        self.index.revisit.dedup();
        while left > 0 {
            let Some((replica, target)) = self.index.pop_stable(stable) else {
                self.index.shrink();
                return false;
            };
            left -= 1;
            self.requeue(replica, target, stable);
            self.visit(target, stable, store, emit.as_deref_mut());
        }
        true
    }

    /// A key that no longer waits goes back in line for the clears that are not stable yet.
    fn leave_revisit(&mut self, target: Target, stable: &Vector) {
        let Target::Key(key) = target else { return };
        if self.index.get_key(key).is_none() || self.index.revisit.contains(&target) {
            return;
        }
        let pending = self
            .index
            .key(key)
            .clears()
            .iter()
            .map(|p| p.dot)
            .filter(|dot| !stable.covers(*dot));
        for dot in pending.collect::<SmallVec<[Dot; 2]>>() {
            self.index.enqueue(dot, target);
        }
    }

    /// A target whose queued touch is stable may have been touched again since.
    fn requeue(&mut self, replica: ReplicaId, target: Target, stable: &Vector) {
        let latest = self.index.touch_of(target, replica);
        if latest > stable.get(replica) {
            self.index.enqueue(Dot::new(replica, latest), target);
        }
    }

    fn visit(&mut self, target: Target, stable: &Vector, store: &mut dyn Store, emit: Option<&mut Emit<'_>>) {
        match target {
            Target::Cell(id) => {
                let Some(key) = self.index.get_cell(id).map(|node| node.key) else {
                    return;
                };
                self.clean(id, stable);
                if self.index.key(key).is_mixed() {
                    self.settle_mixed(key, stable, store, emit);
                } else {
                    self.settle(key, id, stable);
                }
                self.release_deadline(key, stable, store);
                self.index.drop_if_empty(key);
            }
            Target::Key(key) => {
                if self.index.get_key(key).is_none() {
                    return;
                }
                self.drop_clears(key, stable);
                for id in self.index.cells_of(key) {
                    self.clean(id, stable);
                }
                if self.index.key(key).is_mixed() {
                    self.settle_mixed(key, stable, store, emit);
                } else {
                    for id in self.index.cells_of(key) {
                        self.settle(key, id, stable);
                    }
                }
                self.release_deadline(key, stable, store);
                self.index.drop_if_empty(key);
            }
        }
    }

    fn drop_clears(&mut self, key: KeyId, stable: &Vector) {
        let clears = std::mem::take(self.index.clears_mut(key));
        let (mut kept, mut waits) = (Vec::new(), false);
        for pending in clears {
            let known = self.settled(&pending.clear.context);
            if stable.covers(pending.dot) && known {
                continue;
            }
            waits |= stable.covers(pending.dot);
            kept.push(pending);
        }
        *self.index.clears_mut(key) = kept;
        if waits {
            self.index.revisit.push(Target::Key(key));
        }
    }

    /// Drops the stable parts of one cell.
    fn clean(&mut self, id: CellId, stable: &Vector) {
        let pending_clear = !self.index.key(self.index.node(id).key).clears().is_empty();
        let forget_named = self.settled(self.index.cell(id).named());
        let gone = |state: &State, replica: ReplicaId, c: &Contribution| {
            let lost = state.superseded(replica) && c.hlc > state.seen.get(replica);
            stable.covers(Dot::new(replica, c.hlc)) || lost
        };
        let mut dead: SmallVec<[ReplicaId; 2]> = SmallVec::new();
        for (replica, c) in self.index.cell(id).contributions() {
            if !c.alive() && gone(self, *replica, c) {
                dead.push(*replica);
            }
        }
        let cell = self.index.cell_mut(id);
        cell.touched.retain(|replica, hlc| hlc > stable.get(replica));
        // Until the operation that named or reset them is stable, others may still send what it replaced.
        if cell.touched.is_empty() && !pending_clear {
            if forget_named {
                cell.forget_named();
            }
            cell.retain_contributions(|replica, _| !dead.contains(&replica));
        }
    }

    fn is_pending(&self, id: CellId, stable: &Vector) -> bool {
        let node = self.index.node(id);
        !self.index.key(node.key).clears().is_empty()
            || !node.cell.touched.is_empty()
            || !node.cell.named().is_empty()
            || node.cell.live.iter().any(|l| !stable.covers(l.dot))
    }

    /// Turns a settled cell of a key with one type into a base; counters keep their live contributions.
    fn settle(&mut self, key: KeyId, id: CellId, stable: &Vector) {
        if self.is_pending(id, stable) {
            self.wait(key, id);
        } else if self.index.node(id).element().kind.is_type() {
            self.leave_base(id);
        }
    }

    /// The deadline of a key that is there is left to the keyspace. Without a key it waits for what may still bring the
    /// key back, whose visits announce it, and then goes.
    fn release_deadline(&mut self, key: KeyId, stable: &Vector, store: &mut dyn Store) {
        let Some(id) = self.index.find_cell(key, Element::EXPIRY) else {
            return;
        };
        if self.is_pending(id, stable) || self.index.key(key).is_mixed() {
            return;
        }
        let alone = self.index.cells_of(key).len() == 1;
        if alone || store.kind(self.index.key(key).key()).is_some() {
            self.index.remove_cell(id);
        }
    }

    fn leave_base(&mut self, id: CellId) {
        let kind = self.index.node(id).element().kind;
        let scores = self.scores;
        let cell = self.index.cell_mut(id);
        if cell.contributions().is_empty() {
            self.index.remove_cell(id);
        } else if let Some(at) = cell.winner_at(kind, scores) {
            let united = cell.united(kind);
            let mut winner = cell.live.swap_remove(at);
            winner.dot = Dot::BASE;
            winner.value = united.or(winner.value);
            cell.live.clear();
            cell.live.push(winner);
            self.revisit_dead(id);
        } else {
            self.revisit_dead(id);
        }
    }

    /// Fully reset contributions that are not yet stable keep their cell in line.
    fn revisit_dead(&mut self, id: CellId) {
        if self.index.cell(id).contributions().iter().any(|(_, c)| !c.alive()) {
            self.index.revisit.push(Target::Cell(id));
        }
    }

    /// A pending cell without a touch waits for something that no queue announces; one under a pending clear
    /// is visited with its key.
    fn wait(&mut self, key: KeyId, id: CellId) {
        if self.is_unannounced(key, id) {
            self.index.revisit.push(Target::Cell(id));
        }
    }

    fn is_unannounced(&self, key: KeyId, id: CellId) -> bool {
        self.index.cell(id).touched.is_empty() && self.index.key(key).clears().is_empty()
    }

    /// A key with several types settles only as a whole: a base would lose to a dormant dot.
    fn settle_mixed(&mut self, key: KeyId, stable: &Vector, store: &mut dyn Store, emit: Option<&mut Emit<'_>>) {
        if holds(Rule::WholeBeforeTidy) && self.wants(key) {
            // Which type is visible cannot be told.
            self.index.revisit.push(Target::Key(key));
            return;
        }
        let cells = self.index.cells_of(key);
        let pending = cells.iter().any(|id| self.is_pending(*id, stable));
        let shown = match store.kind(self.index.key(key).key()) {
            Some(Native::Kind(kind)) => Some(kind),
            _ => None,
        };
        if pending {
            let mut waits = false;
            for id in cells {
                let idle = !self.is_pending(id, stable) && self.index.node(id).element().kind.is_type();
                let dormant = self.is_dormant(id, shown);
                let hidden = !self.index.cell(id).shown();
                if idle && (hidden || !(dormant || self.clashes(key, shown) && holds(Rule::MixedSettlesWhole))) {
                    self.leave_base(id);
                } else {
                    waits |= self.is_unannounced(key, id);
                }
            }
            if waits {
                self.index.revisit.push(Target::Key(key));
            }
            return;
        }
        let dormant = self.dormant(key, shown);
        if !dormant.is_empty() && holds(Rule::TidyIsAnOperation) {
            match emit {
                Some(emit) => self.tidy(key, dormant, store, emit),
                // The primary's operation will come.
                None => self.index.revisit.push(Target::Key(key)),
            }
            return;
        }
        for id in cells {
            if self.is_dormant(id, shown) {
                self.index.remove_cell(id);
            } else if self.index.node(id).element().kind.is_type() {
                self.leave_base(id);
            }
        }
    }

    fn is_dormant(&self, id: CellId, shown: Option<Kind>) -> bool {
        let kind = self.index.node(id).element().kind;
        kind.is_type() && Some(kind) != shown
    }

    fn clashes(&self, key: KeyId, shown: Option<Kind>) -> bool {
        self.index
            .cells_of(key)
            .iter()
            .any(|id| self.is_dormant(*id, shown) && self.index.cell(*id).shown())
    }

    fn tidy(&mut self, key: KeyId, dormant: Vec<(Kind, Box<[u8]>)>, store: &mut dyn Store, emit: &mut Emit<'_>) {
        let name: Box<[u8]> = self.index.key(key).key().name.into();
        let owner = KeyRef {
            db: self.index.key(key).key().db,
            name: &name,
        };
        if self.has_expired(owner, store, emit) {
            return;
        }
        let mut effects: SmallVec<[Effect<'_>; 1]> = SmallVec::new();
        for (kind, name) in &dormant {
            effects.push(self.replace_effect(key, Element { kind: *kind, name }, None));
        }
        self.history.own();
        self.issue(owner, effects, store, emit);
    }
}
