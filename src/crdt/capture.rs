//! Capture: a key that was changed by a road that nobody records is compared with its metadata, and what it holds is
//! recorded as a new write.
//!
//! What exactly was done to the key is not known, and a settled element has no metadata to tell it by. So the whole key
//! is written again: a clear of what was seen, and every element as an assignment.

use super::change::{Before, Change, Cleared, Deadline, Edit};
use super::index::KeyId;
use super::policy::Shown;
use super::state::State;
use super::store::{Element, KeyRef, Kind, NEVER, Native, OwnedValue, Store};

/// What is known of a change that nobody recorded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Notice {
    /// Nothing: the key may never have been replicated.
    None,
    /// Only the deadline was changed.
    Deadline,
    /// The value was.
    Value,
}

/// What a key holds.
#[derive(Debug)]
pub struct Found {
    native: Option<Native>,
    elements: Vec<(Kind, Box<[u8]>, OwnedValue)>,
    /// Unix time in ms.
    deadline: Option<u64>,
}

impl Found {
    pub fn read(key: KeyRef<'_>, store: &mut dyn Store) -> Found {
        let native = store.kind(key);
        let mut elements = Vec::new();
        if matches!(native, Some(Native::Kind(_))) {
            store.elements(key, &mut |element, value| {
                elements.push((element.kind, element.name.into(), value.to_owned()));
            });
        }
        Found {
            native,
            elements,
            deadline: store.deadline(key),
        }
    }

    pub fn native(&self) -> Option<Native> {
        self.native
    }

    pub fn elements(&self) -> &[(Kind, Box<[u8]>, OwnedValue)] {
        &self.elements
    }

    /// Unix time in ms.
    pub fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// Bytes of its greatest element, name and value.
    pub fn greatest(&self) -> usize {
        let size = |(_, name, value): &(Kind, Box<[u8]>, OwnedValue)| name.len() + value.heap_size();
        self.elements.iter().map(size).max().unwrap_or(0)
    }

    /// The change that makes a key what was found.
    fn change(&self) -> Change<'_> {
        Change {
            clear: Cleared::All,
            edits: self
                .elements
                .iter()
                .map(|(kind, name, value)| Edit::Put(Element::new(*kind, name), value.borrow()))
                .collect(),
            deadline: self.deadline.map_or(Deadline::Kept, Deadline::At),
        }
    }

    /// Makes a key again what was found.
    pub fn restore(&self, key: KeyRef<'_>, store: &mut dyn Store) {
        self.change().perform(key, store);
    }

    /// Tells what is to be recorded, in portions, each with what the key held before it.
    pub fn tell(&self, notice: Notice, tell: &mut dyn FnMut(Before, Change<'_>)) {
        if notice == Notice::Deadline && self.native.is_some() {
            let deadline = Deadline::At(self.deadline.unwrap_or(NEVER));
            return tell(self.native.into(), Change::none().with_deadline(deadline));
        }
        // What it held is not known: it counts as created, which ends the deadline of an earlier life for good.
        let mut before = Before::default();
        self.change().in_portions(&mut |portion| {
            tell(before, portion);
            before.native = self.native;
        });
    }
}

impl State {
    /// Whether the metadata shows what was found already.
    pub fn agrees(&self, key: KeyRef<'_>, found: &Found, notice: Notice) -> bool {
        let Some(id) = self.index.find(key) else {
            return false;
        };
        match (found.native, notice) {
            (None, _) => self.is_gone(id),
            (Some(_), Notice::Value) => false,
            (Some(_), Notice::Deadline) => {
                let known = self.index.find_cell(id, Element::EXPIRY).is_some();
                known && self.has_deadline(id, found.deadline)
            }
            (Some(_), Notice::None) => self.has_deadline(id, found.deadline) && self.has_elements(id, &found.elements),
        }
    }

    /// A clear has removed what had settled, and nothing came after it.
    fn is_gone(&self, key: KeyId) -> bool {
        let cells = self.index.cells_of(key);
        let mut nodes = cells.iter().map(|id| self.index.node(*id));
        !self.index.key(key).clears().is_empty() && !nodes.any(|n| n.element().kind.is_type() && n.cell.shown())
    }

    fn has_deadline(&self, key: KeyId, found: Option<u64>) -> bool {
        let cell = self.index.find_cell(key, Element::EXPIRY).map(|id| self.index.cell(id));
        let known = cell.and_then(|cell| cell.value_shown(Kind::Expiry, self.scores));
        found.map(OwnedValue::Deadline) == known.filter(|known| *known != OwnedValue::Deadline(NEVER))
    }

    /// Whether these elements, and no others, are shown. Of a value that only the keyspace holds it is believed.
    fn has_elements(&self, key: KeyId, found: &[(Kind, Box<[u8]>, OwnedValue)]) -> bool {
        let shows = |(kind, name, value): &(Kind, Box<[u8]>, OwnedValue)| {
            let cell = self.index.find_cell(key, Element::new(*kind, name));
            let cell = cell.map(|id| self.index.cell(id));
            cell.is_some_and(|cell| match cell.show(*kind, self.scores) {
                Shown::Nothing => false,
                Shown::Held => true,
                Shown::Winner(at) => cell.live[at].value.as_ref() == Some(value),
                Shown::Combined(shown) => shown == *value,
            })
        };
        let cells = self.index.cells_of(key);
        let nodes = cells.iter().map(|id| self.index.node(*id));
        let shown = nodes.filter(|node| node.element().kind.is_type() && node.cell.shown());
        shown.count() == found.len() && found.iter().all(shows)
    }
}
