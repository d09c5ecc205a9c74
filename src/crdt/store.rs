//! The native values, as the kernel sees them.

use std::cmp::Ordering;

use super::number::Number;

/// What merges: the native types, and a key's deadline beside them. The order is part of the wire format.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A string is one element, named "".
    String = 0,
    Set = 1,
    Hash = 2,
    /// Sorted set.
    Zset = 3,
    /// When the key expires: one element, named "". No type of its own: it goes with whatever the key holds.
    Expiry = 4,
}

impl Kind {
    pub const ALL: [Kind; 5] = [Kind::String, Kind::Set, Kind::Hash, Kind::Zset, Kind::Expiry];

    pub fn from_code(code: u8) -> Option<Kind> {
        Kind::ALL.get(usize::from(code)).copied()
    }

    /// The name `TYPE` gives.
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::Set => "set",
            Kind::Hash => "hash",
            Kind::Zset => "zset",
            Kind::Expiry => "expiry",
        }
    }

    /// A type that a key can have.
    pub fn is_type(self) -> bool {
        self != Kind::Expiry
    }

    /// Whether all elements are named "".
    pub fn is_single(self) -> bool {
        matches!(self, Kind::String | Kind::Expiry)
    }

    /// Values may be large, so that the one shown is held once, by the keyspace. Other values are few bytes and
    /// always explicit.
    pub fn in_keyspace(self) -> bool {
        matches!(self, Kind::String | Kind::Hash)
    }

    /// Whether increments are summed.
    pub fn counts(self) -> bool {
        matches!(self, Kind::String | Kind::Hash | Kind::Zset)
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
    pub const EXPIRY: Element<'static> = Element {
        kind: Kind::Expiry,
        name: b"",
    };
}

impl<'a> Element<'a> {
    pub fn new(kind: Kind, name: &'a [u8]) -> Element<'a> {
        Element { kind, name }
    }

    pub fn member(name: &'a [u8]) -> Element<'a> {
        Element::new(Kind::Set, name)
    }

    pub fn field(name: &'a [u8]) -> Element<'a> {
        Element::new(Kind::Hash, name)
    }

    pub fn scored(name: &'a [u8]) -> Element<'a> {
        Element::new(Kind::Zset, name)
    }
}

/// A sorted set's score: any double but NaN. Ordered by value, and -0 before 0.
#[derive(Clone, Copy, Debug)]
pub struct Score(f64);

impl Score {
    /// `None` for NaN.
    pub fn new(score: f64) -> Option<Score> {
        (!score.is_nan()).then_some(Score(score))
    }

    pub fn get(self) -> f64 {
        self.0
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Score) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Score {}

impl Ord for Score {
    fn cmp(&self, other: &Score) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Score) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The deadline of a key that was told to persist: later than any other.
pub const NEVER: u64 = u64::MAX;

/// The value of one element.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Value<'a> {
    /// A set member has no value beside its name.
    Member,
    /// A string, or a hash field's.
    Bytes(&'a [u8]),
    Score(Score),
    /// Unix time in ms by this server's clock, or [`NEVER`].
    Deadline(u64),
}

/// A [`Value`] that the index owns.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum OwnedValue {
    Member,
    Bytes(Box<[u8]>),
    Score(Score),
    Deadline(u64),
    /// Of a key that was evicted here: other regions have it. Never shown.
    Lost,
}

impl OwnedValue {
    pub fn borrow(&self) -> Value<'_> {
        match self {
            OwnedValue::Member => Value::Member,
            OwnedValue::Bytes(bytes) => Value::Bytes(bytes),
            OwnedValue::Score(score) => Value::Score(*score),
            OwnedValue::Deadline(at) => Value::Deadline(*at),
            OwnedValue::Lost => Value::Bytes(&[]),
        }
    }

    pub fn heap_size(&self) -> usize {
        match self {
            OwnedValue::Bytes(bytes) => bytes.len(),
            _ => 0,
        }
    }

    /// The bytes of a string or of a hash field.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            OwnedValue::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

impl<'a> Value<'a> {
    pub fn to_owned(self) -> OwnedValue {
        match self {
            Value::Member => OwnedValue::Member,
            Value::Bytes(bytes) => OwnedValue::Bytes(bytes.into()),
            Value::Score(score) => OwnedValue::Score(score),
            Value::Deadline(at) => OwnedValue::Deadline(at),
        }
    }

    /// The value as bytes, whose meaning the kind of its element gives: nothing for a member, eight bytes, greatest
    /// first, for scores and deadlines.
    pub fn encode(self) -> Encoded<'a> {
        match self {
            Value::Member => Encoded::Nothing,
            Value::Bytes(bytes) => Encoded::Bytes(bytes),
            Value::Score(score) => Encoded::Eight(score.get().to_bits().to_be_bytes()),
            Value::Deadline(at) => Encoded::Eight(at.to_be_bytes()),
        }
    }

    /// Reads what [`Value::encode`] wrote; `None` when it does not fit the kind.
    pub fn decode(kind: Kind, bytes: Option<&'a [u8]>) -> Option<Value<'a>> {
        let eight = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
        match (kind, bytes) {
            (Kind::Set, None) => Some(Value::Member),
            (Kind::String | Kind::Hash, Some(bytes)) => Some(Value::Bytes(bytes)),
            (Kind::Zset, Some(bytes)) => Score::new(f64::from_bits(eight(bytes)?)).map(Value::Score),
            (Kind::Expiry, Some(bytes)) => eight(bytes).map(Value::Deadline),
            _ => None,
        }
    }

    /// The number it counts as when it is incremented.
    pub fn number(self) -> Option<Number> {
        match self {
            Value::Bytes(text) => Number::parse(text),
            Value::Score(score) => Number::from_double(score.get()),
            Value::Member | Value::Deadline(_) => None,
        }
    }
}

/// What [`Value::encode`] gives.
pub enum Encoded<'a> {
    Nothing,
    Bytes(&'a [u8]),
    Eight([u8; 8]),
}

impl Encoded<'_> {
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Encoded::Nothing => None,
            Encoded::Bytes(bytes) => Some(bytes),
            Encoded::Eight(bytes) => Some(bytes),
        }
    }
}

impl Kind {
    /// How a sum is shown.
    pub fn show_number(self, number: &Number) -> OwnedValue {
        match self {
            Kind::Zset => OwnedValue::Score(Score(number.to_double())),
            _ => OwnedValue::Bytes(number.to_text().into()),
        }
    }
}

/// The keyspace of one server. The kernel reads and writes values through it; nothing here can fail,
/// because commands decide before they apply.
pub trait Store {
    fn kind(&mut self, key: KeyRef<'_>) -> Option<Native>;
    /// The value shown under one element; `None` when the key is absent, has another type or lacks it. For
    /// [`Kind::Expiry`] the key's deadline.
    fn read(&mut self, key: KeyRef<'_>, element: Element<'_>) -> Option<OwnedValue>;
    /// Every element of a key that has a mergeable type, without its deadline.
    fn elements(&mut self, key: KeyRef<'_>, visit: &mut dyn FnMut(Element<'_>, Value<'_>));
    /// Shows `value` under the element, or removes the element; the key goes with its last element, and otherwise
    /// keeps its deadline. The key is absent or has the element's type. For [`Kind::Expiry`]: the key, if there is
    /// one, expires then, or never.
    fn write(&mut self, key: KeyRef<'_>, element: Element<'_>, value: Option<Value<'_>>);
    /// Whether the server has let the key expire since it was last asked, or does so now; then it is gone. To be asked
    /// before the key is written: what has expired had not seen that. If it has not, it does not expire before
    /// [`Store::release`], nor does it by a deadline that is written meanwhile.
    fn has_expired(&mut self, _key: KeyRef<'_>) -> bool {
        false
    }
    /// Keys may expire again.
    fn release(&mut self) {}
    /// Whether the key is one that native writes replicate.
    fn is_replicated(&self, _key: KeyRef<'_>) -> bool {
        true
    }
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
    /// When the key expires, Unix time in ms; `None` when it does not, or is absent.
    fn deadline(&mut self, key: KeyRef<'_>) -> Option<u64> {
        match self.read(key, Element::EXPIRY) {
            Some(OwnedValue::Deadline(at)) => Some(at),
            _ => None,
        }
    }
    /// Number of keys, for choosing whose data starts a cluster.
    fn key_count(&mut self) -> u64;
}

/// Place in a scan over all databases; starts as the default.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Cursor {
    pub db: u32,
    pub at: u64,
}
