//! Arguments of our own commands as `COMMAND DOCS` shows them.

pub struct Arg {
    pub name: &'static str,
    /// A key, found by the first key spec.
    pub key: bool,
    pub optional: bool,
    pub multiple: bool,
}

const fn text(name: &'static str) -> Arg {
    Arg {
        name,
        key: false,
        optional: false,
        multiple: false,
    }
}

const fn optional(arg: Arg) -> Arg {
    Arg { optional: true, ..arg }
}

const fn multiple(arg: Arg) -> Arg {
    Arg { multiple: true, ..arg }
}

pub const KEY: &[Arg] = &[Arg {
    key: true,
    ..text("key")
}];
pub const PATTERN_COUNT: &[Arg] = &[text("pattern"), optional(text("count"))];
pub const REGION: &[Arg] = &[text("region")];
pub const ENTRIES: &[Arg] = &[text("entries")];
pub const ANY: &[Arg] = &[multiple(optional(text("argument")))];
pub const STATE: &[Arg] = &[text("role"), optional(text("piece"))];
