//! Writes a recovering region accepted, by key: re-issued as new operations once it has adopted a state.

use std::collections::BTreeMap;

use super::capture::Found;
use super::change::{Change, Cleared, Deadline, Edit};
use super::meeting::Meeting;
use super::number::Number;
use super::op::Clear;
use super::orphans::{Added, Unseen, UnseenWrite};
use super::policy::ScoreRule;
use super::rules::{Rule, holds};
use super::store::{Element, KeyRef, Kind, Native, OwnedValue, Store, Value};

/// What is to be written again to one element.
#[derive(Clone, PartialEq, Debug)]
pub enum Pending {
    Assign(OwnedValue),
    Remove,
    /// On top of whatever is there. `met`: a value it was given first, and how that meets it. `sum`: what was added
    /// then. `before`: what the keyspace held before these (perhaps nothing), as long as it shows them. `unseen`: totals
    /// of earlier incarnations that the adopted state may lack.
    Onto {
        met: Option<(Meeting, OwnedValue)>,
        sum: Number,
        before: Option<Option<OwnedValue>>,
        unseen: Vec<Added>,
    },
}

#[derive(Clone, PartialEq, Default, Debug)]
pub struct KeyJournal {
    /// The key was removed before the elements were written.
    pub cleared: bool,
    /// What the keyspace holds under the key is all from here: it was absent, or removed or overwritten.
    pub alone: bool,
    /// The key expired before anything else noted here: what this region had seen of it then.
    pub expired: Option<Clear>,
    pub elements: BTreeMap<(Kind, Box<[u8]>), Pending>,
}

/// Bounded by the keys written, not by the number of writes.
///
/// The keyspace shows a provisional write at once, but the key's metadata, if any, does not know of it. So before
/// anything of the key arrives from a peer, [`Journal::withdraw`] takes out of the keyspace what could be mistaken
/// for the key's replicated value.
#[derive(Default, PartialEq, Debug)]
pub struct Journal {
    keys: BTreeMap<(u32, Box<[u8]>), KeyJournal>,
}

impl Journal {
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn contains(&self, key: KeyRef<'_>) -> bool {
        !self.is_empty() && self.keys.contains_key(&(key.db, key.name.into()))
    }

    pub fn first(&self) -> Option<(u32, Box<[u8]>)> {
        self.keys.keys().next().cloned()
    }

    pub fn iter(&self) -> impl Iterator<Item = (KeyRef<'_>, &KeyJournal)> {
        self.keys
            .iter()
            .map(|((db, name), noted)| (KeyRef { db: *db, name }, noted))
    }

    /// Forgets a key whose writes are now operations.
    pub fn end(&mut self, key: KeyRef<'_>, store: &mut dyn Store) -> Option<KeyJournal> {
        self.withdraw(key, store);
        self.keys.remove(&(key.db, key.name.into()))
    }

    /// Takes one key's notes back, as [`Journal::iter`] gave them.
    pub fn restore(&mut self, key: KeyRef<'_>, noted: KeyJournal) {
        self.keys.insert((key.db, key.name.into()), noted);
    }

    /// Forgets everything, or what is of one database: it was removed on purpose.
    pub fn flushed(&mut self, database: Option<u32>) {
        self.keys
            .retain(|(db, _), _| database.is_some_and(|flushed| flushed != *db));
    }

    /// Notes a change that the keyspace shows instead of an operation. `before`: what the key held.
    pub fn note(&mut self, key: KeyRef<'_>, before: Option<Native>, change: &Change<'_>) {
        let entry = self.keys.entry((key.db, key.name.into())).or_default();
        // All that was here of the key was from here, and has gone: what makes it again has no deadline.
        let anew = before.is_none() && entry.alone && !change.edits.is_empty();
        let replaces = change.replaces(before);
        let whole = change.kind() == Some(Kind::String) && !matches!(change.edits[..], [Edit::Add { .. }]);
        entry.alone |= before.is_none() || replaces || whole || change.clear != Cleared::No;
        if replaces || change.clear == Cleared::All {
            entry.cleared = true;
            entry.elements.clear();
        }
        let mut lands = true;
        for edit in &change.edits {
            lands &= entry.edit(edit);
        }
        let name = (Kind::Expiry, Box::default());
        match change.deadline {
            // It was to go with the value.
            _ if !lands => {}
            Deadline::Kept if anew => drop(entry.elements.remove(&name)),
            Deadline::Kept => {}
            Deadline::Dropped => {
                if !entry.yields(change) {
                    entry.elements.insert(name, Pending::Remove);
                }
            }
            Deadline::At(at) => {
                let at = OwnedValue::Deadline(at);
                let pending = match entry.yields(change) {
                    // It goes with the value.
                    true => Pending::meets(Meeting::IfAbsent, at, None),
                    false => Pending::Assign(at),
                };
                entry.elements.insert(name, pending);
            }
        }
    }

    /// Notes what the keyspace holds of a key, never replicated, for where the state that is adopted in its place has
    /// less. What was written since is no part of it.
    pub fn offer(&mut self, key: KeyRef<'_>, found: &Found) {
        let entry = self.keys.entry((key.db, key.name.into())).or_default();
        if entry.cleared || entry.alone {
            return;
        }
        for (kind, name, value) in found.elements() {
            let element = (*kind, name.clone());
            entry
                .elements
                .entry(element)
                .or_insert_with(|| Pending::offer(value.clone()));
        }
        if let Some(at) = found.deadline() {
            let element = (Kind::Expiry, Box::default());
            let deadline = || Pending::offer(OwnedValue::Deadline(at));
            entry.elements.entry(element).or_insert_with(deadline);
        }
    }

    /// Notes that the keyspace let a key expire: `clear` is what that removes, to be said later. Of what was noted for
    /// the key before only removals remain.
    pub fn note_expired(&mut self, key: KeyRef<'_>, mut clear: Clear) {
        let entry = self.keys.entry((key.db, key.name.into())).or_default();
        entry.alone = true;
        entry.keep_removals();
        // What arrived since may have expired in its turn.
        if let Some(older) = &entry.expired {
            clear.absorb(older);
        }
        entry.expired = Some(clear);
    }

    /// The keyspace let a key expire by a deadline that was given only where nothing was, and of which it held nothing but
    /// what was noted: that is nothing to others, and what was noted went with it. False of any other key.
    pub fn lapse(&mut self, key: KeyRef<'_>) -> bool {
        let Some(noted) = self.keys.get_mut(&(key.db, key.name.into())) else {
            return false;
        };
        let deadline = noted.elements.get(&(Kind::Expiry, Box::default()));
        let lapses = noted.alone && deadline.is_some_and(Pending::yields);
        if lapses {
            noted.keep_removals();
        }
        lapses
    }

    /// Whether the keyspace shows a string that was noted with the deadline that the key had before.
    pub(super) fn keeps_deadline(&self, key: KeyRef<'_>) -> bool {
        let noted = self.keys.get(&(key.db, key.name.into()));
        noted.is_some_and(|noted| noted.alone && !noted.elements.contains_key(&(Kind::Expiry, Box::default())))
    }

    /// Whether the key's deadline in the keyspace is one that was noted, whatever the state that is adopted holds.
    pub fn sets_deadline(&self, key: KeyRef<'_>) -> bool {
        let noted = self.keys.get(&(key.db, key.name.into()));
        let deadline = noted.and_then(|noted| noted.elements.get(&(Kind::Expiry, Box::default())));
        deadline.is_some_and(|pending| matches!(pending, Pending::Assign(_)))
    }

    /// What has arrived of a key lasts as long as it was told to. A deadline that was brought nearer is not shown yet.
    pub fn extend(&self, key: KeyRef<'_>, store: &mut dyn Store) {
        let noted = self.keys.get(&(key.db, key.name.into()));
        let deadline = match noted.and_then(|noted| noted.elements.get(&(Kind::Expiry, Box::default()))) {
            Some(Pending::Assign(at)) => Some(at.borrow()),
            Some(Pending::Remove) => None,
            _ => return,
        };
        let lasts = |shown| deadline.is_none_or(|until| until > Value::Deadline(shown));
        if store.deadline(key).is_some_and(lasts) {
            store.write(key, Element::EXPIRY, deadline);
        }
    }

    /// The keyspace has dropped the key, which says nothing of what was noted.
    pub fn dropped(&mut self, key: KeyRef<'_>) {
        if let Some(noted) = self.keys.get_mut(&(key.db, key.name.into())) {
            noted.alone = false;
            noted.take_sums();
        }
    }

    /// The state that expired keys were part of is given up.
    pub fn forget_expired(&mut self) {
        self.keys.retain(|_, noted| {
            noted.expired = None;
            noted.cleared || noted.alone || !noted.elements.is_empty()
        });
    }

    /// Notes values to be written again because their state is given up. What was written since goes first.
    pub fn note_unseen(&mut self, writes: Vec<UnseenWrite>, scores: ScoreRule) {
        for write in writes {
            let entry = self.keys.entry((write.db, write.key)).or_default();
            let name = (write.kind, write.element);
            match write.what {
                _ if entry.cleared => {}
                Unseen::Value(value) => entry.found(name, value, scores),
                Unseen::Removed => drop(entry.elements.entry(name).or_insert(Pending::Remove)),
                Unseen::Added(added) => entry.found_added(name, added),
            }
        }
    }

    /// Takes provisional writes to a key out of the keyspace, as far as they could be mistaken for what its metadata
    /// speaks of. They are written again by [`State::reissue`].
    pub fn withdraw(&mut self, key: KeyRef<'_>, store: &mut dyn Store) {
        if self.is_empty() || !holds(Rule::Withdraw) {
            return;
        }
        let Some(noted) = self.keys.get_mut(&(key.db, key.name.into())) else {
            return;
        };
        let sums: Vec<(Kind, Box<[u8]>, Option<OwnedValue>)> = noted.take_sums();
        if std::mem::take(&mut noted.alone) {
            if matches!(store.kind(key), Some(Native::Kind(_))) {
                store.delete(key);
            }
            return;
        }
        for (kind, name, before) in sums {
            if store.kind(key) == Some(Native::Kind(kind)) {
                let before = before.as_ref().map(OwnedValue::borrow);
                store.write(key, Element::new(kind, &name), before);
            }
        }
    }
}

impl Pending {
    fn nothing_added() -> Pending {
        Pending::Onto {
            met: None,
            sum: Number::ZERO,
            before: None,
            unseen: Vec::new(),
        }
    }

    fn meets(how: Meeting, value: OwnedValue, before: Option<Option<OwnedValue>>) -> Pending {
        Pending::Onto {
            met: Some((how, value)),
            sum: Number::ZERO,
            before,
            unseen: Vec::new(),
        }
    }

    fn meeting(&self) -> Option<Meeting> {
        match self {
            Pending::Onto { met, .. } => met.as_ref().map(|(how, _)| *how),
            Pending::Assign(_) | Pending::Remove => None,
        }
    }

    /// Whether it leaves alone what is there.
    fn yields(&self) -> bool {
        matches!(self.meeting(), Some(Meeting::IfAbsent | Meeting::Offer))
    }

    fn offer(value: OwnedValue) -> Pending {
        Pending::Onto {
            met: Some((Meeting::Offer, value)),
            sum: Number::ZERO,
            before: None,
            unseen: Vec::new(),
        }
    }
}

impl KeyJournal {
    /// False when it comes to nothing, whatever there is.
    fn edit(&mut self, edit: &Edit<'_>) -> bool {
        let element = edit.element();
        let name = (element.kind, element.name.into());
        match edit {
            Edit::Put(_, value) => drop(self.elements.insert(name, Pending::Assign((*value).to_owned()))),
            Edit::Meet { value, .. } if !holds(Rule::Meet) => {
                drop(self.elements.insert(name, Pending::Assign((*value).to_owned())));
            }
            Edit::Meet {
                how: Meeting::IfAbsent,
                before,
                ..
            } if self.puts(&name) => {
                self.show_instead(&name, *before);
                return false;
            }
            Edit::Meet { value, how, before, .. } => self.meet(name, *how, (*value).to_owned(), *before),
            Edit::Remove(_) => drop(self.elements.insert(name, Pending::Remove)),
            Edit::Add { delta, before, .. } => self.add(name, delta, *before),
        }
        true
    }

    fn keep_removals(&mut self) {
        let removed = |kind: Kind, pending: &Pending| kind.is_type() && *pending == Pending::Remove;
        self.elements.retain(|(kind, _), pending| removed(*kind, pending));
    }

    /// Whether the change gave a string that is nothing where there is another.
    fn yields(&self, change: &Change<'_>) -> bool {
        let string = self.elements.get(&(Kind::String, Box::default()));
        change.kind() == Some(Kind::String) && string.is_some_and(Pending::yields)
    }

    /// Whether the element is there, once it is written again, although it may not be shown now: see
    /// [`Journal::withdraw`].
    fn puts(&self, name: &(Kind, Box<[u8]>)) -> bool {
        match self.elements.get(name) {
            None | Some(Pending::Remove) => false,
            Some(Pending::Assign(_)) => true,
            Some(Pending::Onto { met, sum, .. }) => met.is_some() || !sum.is_zero(),
        }
    }

    /// The keyspace shows a value that comes to nothing, where it held `shown`. (A string goes as a whole.)
    fn show_instead(&mut self, name: &(Kind, Box<[u8]>), shown: Option<Value<'_>>) {
        let pending = self.elements.get_mut(name).filter(|_| name.0 != Kind::String);
        if let Some(Pending::Onto { before, .. }) = pending {
            before.get_or_insert_with(|| shown.map(Value::to_owned));
        }
    }

    fn add(&mut self, name: (Kind, Box<[u8]>), delta: &Number, shown: Option<Value<'_>>) {
        let kind = name.0;
        match self.elements.entry(name).or_insert_with(Pending::nothing_added) {
            Pending::Onto { sum, before, .. } => {
                *sum = sum.add(delta);
                before.get_or_insert_with(|| shown.map(Value::to_owned));
            }
            Pending::Assign(value) => add_to(kind, value, delta),
            other => *other = Pending::Assign(kind.show_number(delta)),
        }
    }

    /// Whether the key is there after this, and with no deadline of its own.
    fn creates(&self) -> bool {
        let writes = self.elements.values().any(|pending| *pending != Pending::Remove);
        writes && !self.elements.contains_key(&(Kind::Expiry, Box::default()))
    }

    /// A deadline that was taken away goes first: a region that has the values but not this could let them expire.
    fn in_order(&self) -> impl Iterator<Item = (&(Kind, Box<[u8]>), &Pending)> {
        let first =
            |(name, pending): &(&(Kind, Box<[u8]>), &Pending)| name.0 == Kind::Expiry && **pending == Pending::Remove;
        let rest = move |entry: &(&(Kind, Box<[u8]>), &Pending)| !first(entry);
        self.elements
            .iter()
            .filter(first)
            .chain(self.elements.iter().filter(rest))
    }

    /// A value that was shown, at first or on top of what is noted.
    fn meet(&mut self, name: (Kind, Box<[u8]>), how: Meeting, value: OwnedValue, shown: Option<Value<'_>>) {
        let kind = name.0;
        let pending = self.elements.entry(name).or_insert_with(Pending::nothing_added);
        // What is noted may not have been shown any more: see `Journal::withdraw`.
        let joined = |noted: &OwnedValue, value: OwnedValue| how.meet(Some(noted), &value).unwrap_or(noted.clone());
        let Pending::Onto { met, sum, before, .. } = pending else {
            *pending = Pending::Assign(match &*pending {
                Pending::Assign(assigned) => joined(assigned, value),
                _ => value,
            });
            return;
        };
        // A HyperLogLog that is still shown has all that is noted; that is cheaper to know than to unite.
        let tells = how == Meeting::Unite && before.is_some();
        // As if it had been given before the sum was added.
        let given = match sum.is_zero() {
            true => Some(value.clone()),
            false => value.borrow().number().map(|number| kind.show_number(&number.sub(sum))),
        };
        let given = given.map(|given| match &*met {
            Some((first, noted)) if *first == how && !tells => joined(noted, given),
            _ => given,
        });
        let how = met.as_ref().map_or(Some(how), |(first, _)| first.then(how));
        match (how, given) {
            (Some(how), Some(given)) => {
                *met = Some((how, given));
                before.get_or_insert_with(|| shown.map(Value::to_owned));
            }
            _ => *pending = Pending::Assign(value),
        }
    }

    /// What was shown before the sums noted, which the keyspace shows no more after this.
    fn take_sums(&mut self) -> Vec<(Kind, Box<[u8]>, Option<OwnedValue>)> {
        let mut sums = Vec::new();
        for ((kind, name), pending) in &mut self.elements {
            if let Pending::Onto { before, .. } = pending
                && let Some(before) = before.take()
            {
                sums.push((*kind, name.clone(), before));
            }
        }
        sums
    }

    fn found_added(&mut self, name: (Kind, Box<[u8]>), added: Added) {
        if let Pending::Onto { unseen, .. } = self.elements.entry(name).or_insert_with(Pending::nothing_added) {
            unseen.push(added);
        }
    }

    /// A value from before everything noted here.
    fn found(&mut self, name: (Kind, Box<[u8]>), mut value: OwnedValue, scores: ScoreRule) {
        let kind = name.0;
        match self.elements.get_mut(&name) {
            None => {
                let pending = match Meeting::of_concurrent(&value, scores) {
                    Some(how) => Pending::meets(how, value, None),
                    None => Pending::Assign(value),
                };
                self.elements.insert(name, pending);
            }
            Some(pending) => {
                if let Pending::Onto { met, sum, .. } = &*pending {
                    let then = met.as_ref().and_then(|(how, later)| how.meet(Some(&value), later));
                    value = then.unwrap_or(value);
                    add_to(kind, &mut value, sum);
                    *pending = Pending::Assign(value);
                }
            }
        }
    }
}

fn add_to(kind: Kind, value: &mut OwnedValue, delta: &Number) {
    if let Some(number) = value.borrow().number() {
        *value = kind.show_number(&number.add(delta));
    }
}

mod reissue;

#[cfg(test)]
mod landing;

#[cfg(test)]
mod tests;
