//! Arguments of commands as `COMMAND DOCS` shows them, named as the native commands name theirs.

use std::ffi::c_int;

pub struct Arg {
    pub name: &'static str,
    pub kind: ArgKind,
    /// The word that stands before the argument, or is the argument.
    pub token: &'static str,
    pub optional: bool,
    pub multiple: bool,
}

pub enum ArgKind {
    /// A key, and which of the row's key specs finds it.
    Key(c_int),
    Text,
    Integer,
    Double,
    UnixTime,
    Token,
    OneOf(&'static [Arg]),
    Block(&'static [Arg]),
}

const fn arg(name: &'static str, kind: ArgKind) -> Arg {
    Arg {
        name,
        kind,
        token: "",
        optional: false,
        multiple: false,
    }
}

const fn token(name: &'static str, token: &'static str) -> Arg {
    Arg {
        token,
        ..arg(name, ArgKind::Token)
    }
}

const fn after(token: &'static str, name: &'static str, kind: ArgKind) -> Arg {
    Arg {
        token,
        ..arg(name, kind)
    }
}

const fn optional(arg: Arg) -> Arg {
    Arg { optional: true, ..arg }
}

const fn multiple(arg: Arg) -> Arg {
    Arg { multiple: true, ..arg }
}

const THE_KEY: Arg = arg("key", ArgKind::Key(0));
const VALUE: Arg = arg("value", ArgKind::Text);
const MEMBER: Arg = arg("member", ArgKind::Text);

pub const ENTRIES: &[Arg] = &[arg("entries", ArgKind::Text)];
pub const ANY: &[Arg] = &[multiple(optional(arg("argument", ArgKind::Text)))];
pub const STATE: &[Arg] = &[arg("role", ArgKind::Text), optional(arg("piece", ArgKind::Text))];
pub const KEY: &[Arg] = &[THE_KEY];
pub const KEYS: &[Arg] = &[multiple(THE_KEY)];
pub const KEY_VALUE: &[Arg] = &[THE_KEY, VALUE];
pub const KEY_VALUES: &[Arg] = &[multiple(arg("key_value", ArgKind::Block(&[THE_KEY, VALUE])))];
pub const KEY_OFFSET_VALUE: &[Arg] = &[THE_KEY, arg("offset", ArgKind::Integer), VALUE];
pub const KEY_OFFSET_BIT: &[Arg] = &[THE_KEY, arg("offset", ArgKind::Integer), arg("value", ArgKind::Integer)];
pub const KEY_INCREMENT: &[Arg] = &[THE_KEY, arg("increment", ArgKind::Integer)];
pub const KEY_DECREMENT: &[Arg] = &[THE_KEY, arg("decrement", ArgKind::Integer)];
pub const KEY_FLOAT: &[Arg] = &[THE_KEY, arg("increment", ArgKind::Double)];
pub const KEY_MEMBERS: &[Arg] = &[THE_KEY, multiple(MEMBER)];
pub const KEY_COUNT: &[Arg] = &[THE_KEY, optional(arg("count", ArgKind::Integer))];
pub const MOVE: &[Arg] = &[
    arg("source", ArgKind::Key(0)),
    arg("destination", ArgKind::Key(1)),
    MEMBER,
];
pub const SET: &[Arg] = &[
    THE_KEY,
    VALUE,
    optional(arg(
        "condition",
        ArgKind::OneOf(&[token("nx", "NX"), token("xx", "XX")]),
    )),
    optional(token("get", "GET")),
    optional(arg("expiration", ArgKind::OneOf(EXPIRATION))),
];
const EXPIRATION: &[Arg] = &[
    after("EX", "seconds", ArgKind::Integer),
    after("PX", "milliseconds", ArgKind::Integer),
    after("EXAT", "unix-time-seconds", ArgKind::UnixTime),
    after("PXAT", "unix-time-milliseconds", ArgKind::UnixTime),
    token("keepttl", "KEEPTTL"),
];
