//! The native values, as the kernel sees them.

/// The native types that merge. The order is part of the wire format.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A string is one element, named "".
    String = 0,
    Set = 1,
}

impl Kind {
    pub const ALL: [Kind; 2] = [Kind::String, Kind::Set];

    pub fn from_code(code: u8) -> Option<Kind> {
        Kind::ALL.get(usize::from(code)).copied()
    }

    /// The name `TYPE` gives.
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::Set => "set",
        }
    }
}

/// What the keyspace holds under a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Native {
    Kind(Kind),
    /// A type that does not merge: not replicated, and it gives way to one that is.
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyRef<'a> {
    pub db: u32,
    pub name: &'a [u8],
}

/// One element of a key. The type is part of its name, so that two types created concurrently under
/// one key never mix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Element<'a> {
    pub kind: Kind,
    pub name: &'a [u8],
}

impl Element<'_> {
    pub const STRING: Element<'static> = Element {
        kind: Kind::String,
        name: b"",
    };
}

impl<'a> Element<'a> {
    pub fn member(name: &'a [u8]) -> Element<'a> {
        Element { kind: Kind::Set, name }
    }
}

/// The value of one element.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Value<'a> {
    /// A set member has no value beside its name.
    Member,
    Bytes(&'a [u8]),
}

/// A [`Value`] that the index owns.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum OwnedValue {
    Member,
    Bytes(Box<[u8]>),
}

impl OwnedValue {
    pub fn borrow(&self) -> Value<'_> {
        match self {
            OwnedValue::Member => Value::Member,
            OwnedValue::Bytes(bytes) => Value::Bytes(bytes),
        }
    }

    pub fn heap_size(&self) -> usize {
        match self {
            OwnedValue::Member => 0,
            OwnedValue::Bytes(bytes) => bytes.len(),
        }
    }
}

impl Value<'_> {
    pub fn to_owned(self) -> OwnedValue {
        match self {
            Value::Member => OwnedValue::Member,
            Value::Bytes(bytes) => OwnedValue::Bytes(bytes.into()),
        }
    }
}

/// The keyspace of one server. The kernel reads and writes values through it; nothing here can fail,
/// because commands decide before they apply.
pub trait Store {
    fn kind(&mut self, key: KeyRef<'_>) -> Option<Native>;
    /// The value shown under one element; `None` when the key is absent, has another type or lacks it.
    fn read(&mut self, key: KeyRef<'_>, element: Element<'_>) -> Option<OwnedValue>;
    /// Every element of a key that has a mergeable type.
    fn elements(&mut self, key: KeyRef<'_>, visit: &mut dyn FnMut(Element<'_>, Value<'_>));
    /// Shows `value` under the element, or removes the element; the key goes with its last element. The
    /// key is absent or has the element's type.
    fn write(&mut self, key: KeyRef<'_>, element: Element<'_>, value: Option<Value<'_>>);
    /// Removes a key of any type.
    fn delete(&mut self, key: KeyRef<'_>);
    /// Some more keys of mergeable types, with the guarantees of `SCAN`. Returns false at the end.
    fn scan_keys(&mut self, cursor: &mut Cursor, visit: &mut dyn FnMut(KeyRef<'_>, Kind)) -> bool;
    /// Some more elements of one key, with the guarantees of `SSCAN`. Returns false at the end.
    fn scan_elements(
        &mut self,
        key: KeyRef<'_>,
        cursor: &mut u64,
        visit: &mut dyn FnMut(Element<'_>, Value<'_>),
    ) -> bool;
    /// Number of keys, for choosing whose data starts a cluster.
    fn key_count(&mut self) -> u64;
}

/// Place in a scan over all databases; starts as the default.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Cursor {
    pub db: u32,
    pub at: u64,
}
