//! Exact numbers for counters.
//!
//! Redis adds floats in x87 `long double`, whose sums depend on their order. Counters sum the
//! contributions of several replicas, so they are summed exactly here and rounded once, when shown. Every
//! region therefore shows the same bytes on every platform, and a region alone shows what Redis would.

mod dyadic;
#[cfg(test)]
mod tests;
mod text;
mod wire;

use std::cmp::Ordering;

use dyadic::Dyadic;

/// An exact number. Integer operations and float operations are summed apart, because they are shown
/// differently beyond 64 bits: integers saturate there, floats do not. Equal sums of the same kinds of
/// operations are equal, in memory and in their encoding; the integer 3 and a float sum of 3.0 differ,
/// though both are shown as `3`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Number {
    /// A sum of integers. Saturates at 128 bits, which 2^63 of the greatest increments do not reach.
    Int(i128),
    /// A sum in which floats remain.
    Real(Box<Real>),
}

/// A sum of integers and floats; the floats do not sum to zero.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Real {
    integers: i128,
    floats: Dyadic,
}

impl Number {
    pub const ZERO: Number = Number::Int(0);

    /// The number that `text` holds for `INCRBY`: what `string2ll` accepts, that is the one shortest
    /// decimal form of a 64-bit integer.
    pub fn parse_int(text: &[u8]) -> Option<i64> {
        text::parse_int(text)
    }

    /// The number that `text` holds for `INCRBYFLOAT`, always counted as a float: what `string2ld` accepts
    /// (decimal or hexadecimal, no space around it, shorter than 5120 bytes), rounded to a `long double`.
    /// None also for infinity, which Redis parses but never lets into a sum ("increment would produce NaN
    /// or Infinity"), and for what underflows to zero.
    pub fn parse_float(text: &[u8]) -> Option<Number> {
        Some(Number::sum(0, text::parse_float(text)?))
    }

    /// The number a string value counts as: an integer where it is one, otherwise a float.
    pub fn parse(text: &[u8]) -> Option<Number> {
        Number::parse_int(text)
            .map(Number::from)
            .or_else(|| Number::parse_float(text))
    }

    /// Exactly this double, counted as a float; `None` when it is not finite.
    pub fn from_double(value: f64) -> Option<Number> {
        value.is_finite().then(|| Number::sum(0, Dyadic::from_double(value)))
    }

    /// The nearest double, ties to even.
    pub fn to_double(&self) -> f64 {
        self.value().to_double()
    }

    pub fn add(&self, other: &Number) -> Number {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => Number::Int(a.saturating_add(*b)),
            _ => Number::sum(
                self.integers().saturating_add(other.integers()),
                self.floats().add(&other.floats()),
            ),
        }
    }

    pub fn sub(&self, other: &Number) -> Number {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => Number::Int(a.saturating_sub(*b)),
            _ => Number::sum(
                self.integers().saturating_sub(other.integers()),
                self.floats().sub(&other.floats()),
            ),
        }
    }

    /// Whether adding this number changes nothing.
    pub fn is_zero(&self) -> bool {
        *self == Number::ZERO
    }

    /// Appends the text Redis would show. A sum of integers saturates at 64 bits, any other sum at the
    /// greatest `long double`.
    pub fn display(&self, out: &mut Vec<u8>) {
        match self {
            Number::Int(value) => text::write_int(*value, out),
            Number::Real(real) => text::write_float(&real.value(), out),
        }
    }

    /// The text Redis would show, see [`Number::display`].
    pub fn to_text(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.display(&mut out);
        out
    }

    /// Bytes held beside the number itself.
    pub fn heap_size(&self) -> usize {
        match self {
            Number::Int(_) => 0,
            Number::Real(real) => size_of::<Real>() + real.floats.heap_size(),
        }
    }

    fn sum(integers: i128, floats: Dyadic) -> Number {
        if floats.is_zero() {
            Number::Int(integers)
        } else {
            Number::Real(Box::new(Real { integers, floats }))
        }
    }

    fn integers(&self) -> i128 {
        match self {
            Number::Int(value) => *value,
            Number::Real(real) => real.integers,
        }
    }

    fn floats(&self) -> Dyadic {
        match self {
            Number::Int(_) => Dyadic::default(),
            Number::Real(real) => real.floats.clone(),
        }
    }

    fn value(&self) -> Dyadic {
        match self {
            Number::Int(value) => Dyadic::from(*value),
            Number::Real(real) => real.value(),
        }
    }
}

impl Real {
    fn value(&self) -> Dyadic {
        self.floats.add_unbounded(&Dyadic::from(self.integers))
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Number {
        Number::Int(value.into())
    }
}

/// By value; of equal values, the one with the smaller integer sum comes first.
impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => a.cmp(b),
            _ => self
                .value()
                .cmp(&other.value())
                .then_with(|| self.integers().cmp(&other.integers())),
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
