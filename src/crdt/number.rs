//! Exact numbers for counters. (Interface fixed; body under construction.)

/// An exact number: an integer, or a binary fraction such as Redis's `long double` arithmetic yields.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Number {
    Int(i128),
}

impl Number {
    pub const ZERO: Number = Number::Int(0);
}
