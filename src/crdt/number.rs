//! Exact numbers for counters. (Interface fixed; body under construction.)

/// An exact number: an integer, or a binary fraction such as Redis's `long double` arithmetic yields.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum Number {
    Int(i128),
}

impl Number {
    pub const ZERO: Number = Number::Int(0);

    pub fn parse(text: &[u8]) -> Option<Number> {
        std::str::from_utf8(text).ok()?.parse().ok().map(Number::Int)
    }

    pub fn add(&self, other: &Number) -> Number {
        let (Number::Int(a), Number::Int(b)) = (self, other);
        Number::Int(a + b)
    }

    pub fn sub(&self, other: &Number) -> Number {
        let (Number::Int(a), Number::Int(b)) = (self, other);
        Number::Int(a - b)
    }

    pub fn to_text(&self) -> Vec<u8> {
        let Number::Int(n) = self;
        n.to_string().into_bytes()
    }
}
