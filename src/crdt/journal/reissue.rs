//! What was noted lands on what was adopted, as new operations.

use smallvec::SmallVec;

use super::{Journal, Pending, add_to};
use crate::crdt::change::Deadline;
use crate::crdt::index::KeyId;
use crate::crdt::meeting::Meeting;
use crate::crdt::number::Number;
use crate::crdt::op::{Effect, Emit};
use crate::crdt::orphans::Added;
use crate::crdt::rules::{Rule, holds};
use crate::crdt::state::State;
use crate::crdt::store::{Element, KeyRef, Kind, Native, OwnedValue, Store};

impl Element<'_> {
    /// Whether it would not have been written had the key held `there`: beside another type, a string or what is offered;
    /// a deadline that came with it.
    fn gives_way_to(&self, how: Meeting, there: Option<Native>) -> bool {
        let clashes = there.is_some_and(|native| native != Native::Kind(self.kind));
        match (how, self.kind) {
            (Meeting::IfAbsent | Meeting::Offer, Kind::Expiry) => there.is_some(),
            (Meeting::IfAbsent, Kind::String) | (Meeting::Offer, _) => clashes,
            _ => false,
        }
    }
}

/// What a pending write comes to on top of what is there.
enum Landing {
    Value(Option<OwnedValue>),
    /// What is there stays, and this is added to it.
    Sum(Number),
}

impl State {
    /// Re-issues the writes noted for one key, on top of what was adopted.
    pub fn reissue(&mut self, journal: &mut Journal, key: KeyRef<'_>, store: &mut dyn Store, emit: &mut Emit<'_>) {
        let keeps = self.keep_deadline_of(journal, key, store);
        let Some(mut noted) = journal.end(key, store) else {
            return;
        };
        if !holds(Rule::Reissue) {
            return;
        }
        self.follow(key);
        if let Some(mut clear) = noted.expired.take() {
            // What was settled in the state that was being adopted has expired with the rest. Where it is not settled yet
            // only the context tells.
            clear.context.join(&self.compacted);
            let effect = Effect::Clear(Box::new(clear));
            self.issue(key, smallvec::smallvec![effect], store, emit);
        }
        let string = noted.elements.get(&(Kind::String, Box::default()));
        let string = string.filter(|pending| !pending.yields());
        let overwrites =
            string.is_some() && matches!(store.kind(key), Some(native) if native != Native::Kind(Kind::String));
        let assigns = matches!(string, Some(Pending::Assign(_)));
        if noted.cleared || overwrites || assigns && self.evicted.contains(key) {
            let id = self.index.obtain(key);
            let effect = self.clear_effect(id, None);
            self.issue(key, smallvec::smallvec![effect], store, emit);
        }
        if noted.creates() && !keeps && store.kind(key).is_none() && !self.evicted.contains(key) {
            let id = self.index.obtain(key);
            match self.deadline_effect(id, Deadline::Kept, true) {
                Some(effect) => self.issue(key, smallvec::smallvec![effect], store, emit),
                None => self.index.drop_if_empty(id),
            }
        }
        let there = store.kind(key);
        for ((kind, name), pending) in noted.in_order() {
            let element = Element { kind: *kind, name };
            if element == Element::EXPIRY && *pending == Pending::Remove && !self.index.deadlines {
                continue;
            }
            if pending.meeting().is_some_and(|how| element.gives_way_to(how, there)) {
                continue;
            }
            let id = self.index.obtain(key);
            let landing = self.landing(id, element, pending, store);
            let effect = match &landing {
                Landing::Value(value) => self.replace_effect(id, element, value.as_ref().map(OwnedValue::borrow)),
                Landing::Sum(Number::ZERO) => {
                    self.index.drop_if_empty(id);
                    continue;
                }
                Landing::Sum(delta) => self.reissued_increment(id, element, delta),
            };
            let effects: SmallVec<[Effect<'_>; 1]> = smallvec::smallvec![effect];
            self.issue(key, effects, store, emit);
        }
    }

    /// Before [`Journal::withdraw`] takes a string out of the keyspace that was written over one with a deadline, which
    /// only the keyspace held: the key keeps it. True when there is one.
    pub fn keep_deadline_of(&mut self, journal: &Journal, key: KeyRef<'_>, store: &mut dyn Store) -> bool {
        let keeps = journal.keeps_deadline(key) && store.deadline(key).is_some();
        if keeps {
            let id = self.index.obtain(key);
            self.index_deadline(id, store);
        }
        keeps
    }

    /// What is issued from now on is later than all that is alive under the key, also than what no vector tells of yet.
    pub(in crate::crdt) fn follow(&mut self, key: KeyRef<'_>) {
        let cells = self.index.find(key).map(|id| self.index.cells_of(id));
        let ranks = cells.iter().flatten().filter_map(|id| self.index.cell(*id).rank());
        if let Some(latest) = ranks.map(|dot| dot.hlc).max() {
            // Beyond the bound of drift it stays the later one, as any stamp from there.
            self.clock.observe(latest);
        }
    }

    fn landing(&self, key: KeyId, element: Element<'_>, pending: &Pending, store: &mut dyn Store) -> Landing {
        let (met, sum, unseen) = match pending {
            Pending::Assign(value) => return Landing::Value(Some(value.clone())),
            Pending::Remove => return Landing::Value(None),
            Pending::Onto { met, sum, unseen, .. } => (met, sum, unseen),
        };
        let delta = self.with_unseen(key, element, sum, unseen);
        let there = met
            .as_ref()
            .and_then(|_| store.read(self.index.key(key).key(), element));
        match met.as_ref().and_then(|(how, value)| how.meet(there.as_ref(), value)) {
            Some(mut value) => {
                add_to(element.kind, &mut value, &delta);
                Landing::Value(Some(value))
            }
            None => Landing::Sum(delta),
        }
    }

    fn with_unseen(&self, key: KeyId, element: Element<'_>, sum: &Number, unseen: &[Added]) -> Number {
        let cell = self.index.find_cell(key, element).map(|id| self.index.cell(id));
        unseen
            .iter()
            .fold(sum.clone(), |sum, added| sum.add(&added.missing(cell)))
    }

    fn reissued_increment<'a>(&mut self, key: KeyId, element: Element<'a>, delta: &Number) -> Effect<'a> {
        let cell = self.index.find_cell(key, element).map(|id| self.index.cell(id).clone());
        let birth = self.clock.stamp();
        let (birth, total) = self.next_total(cell.as_ref(), birth, delta);
        Effect::Increment { element, birth, total }
    }
}
