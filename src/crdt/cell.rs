//! The CRDT state of one element.

use smallvec::SmallVec;

use super::dot::{Dot, Hlc, ReplicaId};
use super::number::Number;
use super::rules::{Rule, holds};
use super::store::{Kind, OwnedValue, Value};
use super::vector::Vector;

/// What one replica id added to a counter. Only its owner writes `birth`, `hlc` and `total`; a reset
/// records the total it observed. A new `birth` starts the total at zero again, so a fully reset and
/// stable contribution may be forgotten by everyone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contribution {
    pub birth: Hlc,
    pub hlc: Hlc,
    pub total: Number,
    pub reset_hlc: Hlc,
    pub reset_total: Number,
}

impl Contribution {
    pub fn new(birth: Hlc, hlc: Hlc, total: Number) -> Contribution {
        Contribution {
            birth,
            hlc,
            total,
            reset_hlc: 0,
            reset_total: Number::ZERO,
        }
    }

    /// Whether something of it is not yet reset.
    pub fn alive(&self) -> bool {
        self.hlc > self.reset_hlc
    }

    pub fn value(&self) -> Number {
        if self.reset_hlc >= self.birth {
            self.total.sub(&self.reset_total)
        } else {
            self.total.clone()
        }
    }

    /// Keeps the entry with the greater `hlc` and, separately, the greater reset.
    pub fn merge(&mut self, other: Contribution) {
        if other.hlc > self.hlc {
            (self.birth, self.hlc, self.total) = (other.birth, other.hlc, other.total);
        }
        if other.reset_hlc > self.reset_hlc {
            (self.reset_hlc, self.reset_total) = (other.reset_hlc, other.reset_total);
        }
    }
}

/// Counter totals that a replacing operation saw: replica id -> (hlc, total).
pub type Observed = SmallVec<[(ReplicaId, Hlc, Number); 0]>;

/// One surviving assignment or addition. `None` as value: it is what the keyspace shows (and always for
/// set members, which have no value), so that no value is held twice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Live {
    pub dot: Dot,
    pub value: Option<OwnedValue>,
}

impl Live {
    /// A new assignment. A large value is left to the keyspace.
    pub fn assigned(dot: Dot, kind: Kind, value: Value<'_>) -> Live {
        let small = !kind.in_keyspace() && value != Value::Member;
        Live {
            dot,
            value: small.then(|| value.to_owned()),
        }
    }
}

/// What few cells have, kept out of line.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Rare {
    named: Vector,
    contributions: Vec<(ReplicaId, Contribution)>,
}

/// `live`: surviving dots. `touched`: the last operation of each replica id on this cell, removals
/// included. `named`: dots above our vector that a local operation replaced. A cell holding touches above
/// the vector is *ahead*: it came in a transfer that has not finished.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Cell {
    pub live: SmallVec<[Live; 1]>,
    pub touched: Vector,
    rare: Option<Box<Rare>>,
}

static NO_DOTS: Vector = Vector::EMPTY;

impl Cell {
    /// A cell of a settled element: what is there has been seen by every operation that can still come.
    pub fn base(value: Option<OwnedValue>) -> Cell {
        Cell {
            live: smallvec::smallvec![Live { dot: Dot::BASE, value }],
            ..Cell::default()
        }
    }

    /// A cell with at most one surviving dot and no touches yet.
    pub fn of(live: Option<Live>) -> Cell {
        Cell {
            live: live.into_iter().collect(),
            ..Cell::default()
        }
    }

    pub fn named(&self) -> &Vector {
        self.rare.as_ref().map_or(&NO_DOTS, |rare| &rare.named)
    }

    pub fn contributions(&self) -> &[(ReplicaId, Contribution)] {
        self.rare.as_ref().map_or(&[], |rare| &rare.contributions)
    }

    /// Whether all regions have all of it, and it stays for what its counter will be given.
    pub fn only_counts(&self) -> bool {
        let counts = !self.contributions().is_empty() && self.contributions().iter().all(|(_, c)| c.alive());
        counts && self.touched.is_empty() && self.named().is_empty() && self.live.iter().all(|l| l.dot.is_base())
    }

    pub fn contribution(&self, replica: ReplicaId) -> Option<&Contribution> {
        self.contributions()
            .iter()
            .find(|entry| entry.0 == replica)
            .map(|entry| &entry.1)
    }

    pub fn has_alive_contribution(&self) -> bool {
        self.contributions().iter().any(|entry| entry.1.alive())
    }

    pub fn live_at(&self, dot: Dot) -> bool {
        self.live.iter().any(|l| l.dot == dot)
    }

    /// The dot whose value the keyspace shows unchanged, for kinds that have values.
    pub fn native_dot(&self) -> Option<Dot> {
        self.live.iter().find(|l| l.value.is_none()).map(|l| l.dot)
    }

    /// Whether a value of it is not here.
    pub fn has_lost(&self) -> bool {
        self.live.iter().any(|l| l.value == Some(OwnedValue::Lost))
    }

    pub fn set_value(&mut self, dot: Dot, value: Option<OwnedValue>) {
        if let Some(l) = self.live.iter_mut().find(|l| l.dot == dot) {
            l.value = value;
        }
    }

    pub fn add_live(&mut self, live: Live) {
        let dot = live.dot;
        let at = self.live.iter().position(|l| l.dot >= dot).unwrap_or(self.live.len());
        if self.live.get(at).is_none_or(|l| l.dot != dot) {
            self.live.insert(at, live);
        }
    }

    /// Drops every live dot for this one.
    pub fn replace_live(&mut self, live: Option<Live>) {
        self.live.clear();
        self.live.extend(live);
    }

    /// Whether readers see the element when its kind is the visible one.
    pub fn shown(&self) -> bool {
        !self.live.is_empty() || self.has_alive_contribution()
    }

    /// The greatest dot alive here: decides the visible type of a key.
    pub fn rank(&self) -> Option<Dot> {
        let contributed = self
            .contributions()
            .iter()
            .filter(|e| e.1.alive())
            .map(|e| Dot::new(e.0, e.1.hlc))
            .max();
        contributed.max(self.live.last().map(|l| l.dot))
    }

    /// Sum of what is not reset. Exact, so no order matters.
    pub fn sum(&self) -> Number {
        let alive = self.contributions().iter().filter(|entry| entry.1.alive());
        alive.fold(Number::ZERO, |sum, entry| sum.add(&entry.1.value()))
    }

    pub fn kill_covered(&mut self, seen: impl Fn(Dot) -> bool) {
        self.live.retain(|l| !seen(l.dot));
    }

    pub fn merge_contribution(&mut self, replica: ReplicaId, contribution: Contribution) {
        let contributions = &mut self.rare.get_or_insert_default().contributions;
        match contributions.binary_search_by_key(&replica, |entry| entry.0) {
            Ok(at) => contributions[at].1.merge(contribution),
            Err(at) => contributions.insert(at, (replica, contribution)),
        }
    }

    pub fn retain_contributions(&mut self, keep: impl Fn(ReplicaId, &Contribution) -> bool) {
        if let Some(rare) = &mut self.rare {
            rare.contributions.retain(|entry| keep(entry.0, &entry.1));
        }
        self.drop_empty_rare();
    }

    /// A reset may arrive before the increments it observed: it then stands in for them.
    #[inline]
    pub fn reset(&mut self, observed: &Observed) {
        if !observed.is_empty() {
            self.reset_totals(observed);
        }
    }

    fn reset_totals(&mut self, observed: &Observed) {
        if !holds(Rule::ResetTotals) {
            return;
        }
        for (replica, hlc, total) in observed {
            let stand_in = Contribution {
                birth: 0,
                hlc: *hlc,
                total: total.clone(),
                reset_hlc: *hlc,
                reset_total: total.clone(),
            };
            self.merge_contribution(*replica, stand_in);
        }
    }

    /// Totals that a reset must name. On an ahead cell also those already reset: whoever receives our
    /// operation may lack the reset we saw, and our operation now stands for it.
    pub fn observed(&self, ahead: bool) -> Observed {
        if self.rare.is_none() {
            return Observed::new();
        }
        let dead_too = ahead && holds(Rule::PassOnResets);
        let entry = |(replica, c): &(ReplicaId, Contribution)| match c.alive() {
            true => Some((*replica, c.hlc, c.total.clone())),
            false if dead_too => Some((*replica, c.reset_hlc, c.reset_total.clone())),
            false => None,
        };
        self.contributions().iter().filter_map(entry).collect()
    }

    /// Remembers replaced dots above our vector until it covers them; their touches are now the
    /// replacing operation's business.
    pub fn name(&mut self, extra: &Vector) {
        if extra.is_empty() {
            return;
        }
        self.rare.get_or_insert_default().named.join(extra);
        self.touched.retain(|replica, hlc| hlc > extra.get(replica));
    }

    pub fn forget_named(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.named.clear();
        }
        self.drop_empty_rare();
    }

    /// Bytes held beside the struct itself.
    pub fn heap_size(&self) -> usize {
        let values: usize = self
            .live
            .iter()
            .filter_map(|l| l.value.as_ref())
            .map(OwnedValue::heap_size)
            .sum();
        let rare = self.rare.as_ref().map_or(0, |r| {
            size_of::<Rare>() + r.contributions.capacity() * size_of::<(ReplicaId, Contribution)>()
        });
        values + rare + self.touched.heap_size()
    }

    fn drop_empty_rare(&mut self) {
        if self
            .rare
            .as_ref()
            .is_some_and(|r| r.named.is_empty() && r.contributions.is_empty())
        {
            self.rare = None;
        }
    }
}
