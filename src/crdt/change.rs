//! What a local command did to one key.

use smallvec::SmallVec;

use super::meeting::Meeting;
use super::number::Number;
use super::store::{Element, KeyRef, Kind, Native, Store, Value};

/// Of so many elements, or of so many bytes and one more, one operation tells at most. What changes more is told in
/// several, which are one unit.
const PORTION: usize = 1024;
const PORTION_BYTES: usize = 1 << 20;

/// What a command did, told after it did it. In this order: the clear, the edits, the deadline.
#[derive(Clone, Default, Debug)]
pub struct Change<'a> {
    pub clear: Cleared,
    /// Elements of one kind. When the key held another one, that is gone.
    pub edits: SmallVec<[Edit<'a>; 1]>,
    pub deadline: Deadline,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Cleared {
    #[default]
    No,
    /// The key was removed.
    All,
    /// The key expired; what time it was here, Unix time in ms.
    Expired(u64),
}

/// What happened to one element.
#[derive(Clone, Debug)]
pub enum Edit<'a> {
    /// It now has this value, whatever it had.
    Put(Element<'a>, Value<'a>),
    /// It was given this value in view of the one it had, which a region that does not know its peers' state may have
    /// lacked; `before`: that one, `None` when it was absent. A whole string is not asked what it was.
    Meet {
        element: Element<'a>,
        value: Value<'a>,
        how: Meeting,
        before: Option<Value<'a>>,
    },
    Remove(Element<'a>),
    /// The number shown grew by `delta`; `before`: what was shown before, `None` when it was absent.
    Add {
        element: Element<'a>,
        delta: Number,
        before: Option<Value<'a>>,
    },
}

/// What happened to the key's deadline.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Deadline {
    #[default]
    Kept,
    /// The key was written anew without one, whether it had one or not: what was known of it is gone, what another region
    /// sets meanwhile is not.
    Dropped,
    /// Unix time in ms by this server's clock; [`super::NEVER`] for a key that was told to persist.
    At(u64),
}

/// What a key held before a command.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Before {
    pub native: Option<Native>,
    /// Its deadline, Unix time in ms.
    pub deadline: Option<u64>,
}

impl From<Option<Native>> for Before {
    fn from(native: Option<Native>) -> Before {
        Before { native, deadline: None }
    }
}

impl<'a> Change<'a> {
    /// Nothing yet.
    pub fn none() -> Change<'a> {
        Change::default()
    }

    /// The element now has this value.
    pub fn put(element: Element<'a>, value: Value<'a>) -> Change<'a> {
        Change::edit(Edit::Put(element, value))
    }

    pub fn edit(edit: Edit<'a>) -> Change<'a> {
        Change {
            edits: smallvec::smallvec![edit],
            ..Change::default()
        }
    }

    /// The key is now a string with this value, whatever it was.
    pub fn assign(value: &'a [u8]) -> Change<'a> {
        Change::put(Element::STRING, Value::Bytes(value))
    }

    /// The key is now a string with this value, in view of what it was.
    pub fn meet(value: &'a [u8], how: Meeting) -> Change<'a> {
        Change::edit(Edit::Meet {
            element: Element::STRING,
            value: Value::Bytes(value),
            how,
            before: None,
        })
    }

    /// These members were asked to be added to a set, present before or not.
    pub fn add(members: &[&'a [u8]]) -> Change<'a> {
        let added = |name: &&'a [u8]| Edit::Put(Element::member(name), Value::Member);
        Change {
            edits: members.iter().map(added).collect(),
            ..Change::default()
        }
    }

    /// These elements were removed.
    pub fn remove(kind: Kind, names: &[&'a [u8]]) -> Change<'a> {
        let removed = |name: &&'a [u8]| Edit::Remove(Element::new(kind, name));
        Change {
            edits: names.iter().map(removed).collect(),
            ..Change::default()
        }
    }

    /// The string's number grew by `delta`; `before` is its value before, `None` when absent.
    pub fn increment(delta: Number, before: Option<&'a [u8]>) -> Change<'a> {
        Change::edit(Edit::Add {
            element: Element::STRING,
            delta,
            before: before.map(Value::Bytes),
        })
    }

    /// The key was removed.
    pub fn clear() -> Change<'a> {
        Change {
            clear: Cleared::All,
            ..Change::default()
        }
    }

    /// The key expired at `now`, Unix time in ms.
    pub fn expired(now: u64) -> Change<'a> {
        Change {
            clear: Cleared::Expired(now),
            ..Change::default()
        }
    }

    pub fn with_deadline(mut self, deadline: Deadline) -> Change<'a> {
        self.deadline = deadline;
        self
    }

    /// The same change as several, none of them greater than one operation should be.
    pub fn in_portions(self, each: &mut dyn FnMut(Change<'a>)) {
        let mut portion = Change {
            edits: SmallVec::new(),
            ..self
        };
        let mut bytes = 0;
        for edit in self.edits {
            if portion.edits.len() >= PORTION || bytes >= PORTION_BYTES {
                each(std::mem::take(&mut portion));
                bytes = 0;
            }
            bytes += edit.size();
            portion.edits.push(edit);
        }
        each(portion);
    }

    /// The kind of its edits.
    pub fn kind(&self) -> Option<Kind> {
        self.edits.first().map(|edit| edit.element().kind)
    }

    /// Whether a string is given a value that does not depend on what others have.
    pub fn assigns(&self) -> bool {
        let string = |edit: &Edit<'_>| matches!(edit, Edit::Put(element, _) if element.kind == Kind::String);
        self.edits.iter().any(string)
    }

    /// Whether the edits put a value of one kind in the place of another type.
    pub fn replaces(&self, before: Option<Native>) -> bool {
        self.kind()
            .is_some_and(|kind| before.is_some_and(|native| native != Native::Kind(kind)))
    }

    /// Does to the keyspace what the command did.
    pub fn perform(&self, key: KeyRef<'_>, store: &mut dyn Store) {
        if self.clear != Cleared::No || self.replaces(store.kind(key)) {
            store.delete(key);
        }
        for edit in &self.edits {
            store.write(key, edit.element(), edit.result().as_ref().map(|v| v.borrow()));
        }
        match self.deadline {
            Deadline::Kept => {}
            Deadline::Dropped => store.write(key, Element::EXPIRY, None),
            Deadline::At(at) => store.write(key, Element::EXPIRY, Some(Value::Deadline(at))),
        }
    }
}

impl Edit<'_> {
    pub fn element(&self) -> Element<'_> {
        match self {
            Edit::Put(element, _) | Edit::Meet { element, .. } | Edit::Remove(element) | Edit::Add { element, .. } => {
                *element
            }
        }
    }

    /// Bytes of its name and value.
    fn size(&self) -> usize {
        let value = match self {
            Edit::Put(_, Value::Bytes(bytes))
            | Edit::Meet {
                value: Value::Bytes(bytes),
                ..
            } => bytes.len(),
            _ => 0,
        };
        self.element().name.len() + value
    }

    /// What the element shows afterwards.
    fn result(&self) -> Option<super::store::OwnedValue> {
        match self {
            Edit::Put(_, value) | Edit::Meet { value, .. } => Some((*value).to_owned()),
            Edit::Remove(_) => None,
            Edit::Add { element, delta, before } => {
                let before = before.and_then(Value::number).unwrap_or(Number::ZERO);
                Some(element.kind.show_number(&before.add(delta)))
            }
        }
    }
}

impl Deadline {
    pub fn value(self) -> Option<Value<'static>> {
        match self {
            Deadline::At(at) => Some(Value::Deadline(at)),
            Deadline::Kept | Deadline::Dropped => None,
        }
    }

    /// The same where it is known what the key had before.
    pub(super) fn after(self, before: Option<u64>) -> Deadline {
        match (before, self) {
            (None, Deadline::Dropped) => Deadline::Kept,
            (_, deadline) => deadline,
        }
    }
}
