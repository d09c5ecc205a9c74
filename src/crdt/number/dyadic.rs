//! Binary fractions, exact, and their rounding to x87 `long double`.

use std::cmp::Ordering;

use num_bigint::{BigInt, BigUint, Sign};

/// Bits in the significand of a `long double`.
const PRECISION: i64 = 64;
/// The least positive `long double`, a subnormal, is 2 to this power.
pub const LEAST: i64 = -16445;
/// Every finite `long double` is below 2 to this power.
const LIMIT: i64 = 16384;
/// Sums saturate at 2 to this power: 2^63 of the greatest differences between two `long double`s.
pub const BOUND: i64 = LIMIT + 64;

/// `mantissa` x 2^`exponent`. Normalised, so equal values are equal: the mantissa is odd, or both are
/// zero. The exponent is at least [`LEAST`] and the magnitude at most 2^[`BOUND`], which takes no more
/// than 33 kbit; only [`Dyadic::add_unbounded`] may exceed that, for values that are not kept.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Dyadic {
    mantissa: BigInt,
    exponent: i64,
}

impl Dyadic {
    pub fn new(mantissa: BigInt, exponent: i64) -> Dyadic {
        match mantissa.trailing_zeros() {
            None => Dyadic::default(),
            Some(0) => Dyadic { mantissa, exponent },
            Some(zeros) => Dyadic {
                mantissa: mantissa >> zeros,
                exponent: exponent + zeros as i64,
            },
        }
    }

    pub fn mantissa(&self) -> &BigInt {
        &self.mantissa
    }

    pub fn exponent(&self) -> i64 {
        self.exponent
    }

    pub fn is_zero(&self) -> bool {
        self.mantissa.sign() == Sign::NoSign
    }

    /// Whether it lies on the grid and within the bound that sums keep to.
    pub fn is_bounded(&self) -> bool {
        let beyond = self.top() > BOUND && !(self.exponent == BOUND && self.mantissa.bits() == 1);
        self.exponent >= LEAST && !beyond
    }

    /// The sum, saturated at 2^[`BOUND`].
    pub fn add(&self, other: &Dyadic) -> Dyadic {
        self.add_unbounded(other).saturated()
    }

    /// The difference, saturated at 2^[`BOUND`].
    pub fn sub(&self, other: &Dyadic) -> Dyadic {
        self.add(&other.negated())
    }

    pub fn add_unbounded(&self, other: &Dyadic) -> Dyadic {
        if other.is_zero() {
            return self.clone();
        }
        let grid = self.exponent.min(other.exponent);
        Dyadic::new(self.scaled_to(grid) + other.scaled_to(grid), grid)
    }

    pub fn heap_size(&self) -> usize {
        (self.mantissa.bits() as usize).div_ceil(8)
    }

    fn negated(&self) -> Dyadic {
        Dyadic {
            mantissa: -&self.mantissa,
            exponent: self.exponent,
        }
    }

    /// The mantissa that goes with a smaller exponent.
    fn scaled_to(&self, exponent: i64) -> BigInt {
        &self.mantissa << (self.exponent - exponent).max(0)
    }

    /// The magnitude is below 2 to this power.
    fn top(&self) -> i64 {
        self.exponent + self.mantissa.bits() as i64
    }

    fn saturated(self) -> Dyadic {
        if self.is_bounded() {
            return self;
        }
        Dyadic {
            mantissa: BigInt::from_biguint(self.mantissa.sign(), BigUint::from(1u8)),
            exponent: BOUND,
        }
    }
}

impl From<i128> for Dyadic {
    fn from(value: i128) -> Dyadic {
        Dyadic::new(BigInt::from(value), 0)
    }
}

impl Ord for Dyadic {
    fn cmp(&self, other: &Dyadic) -> Ordering {
        self.add_unbounded(&other.negated()).mantissa.sign().cmp(&Sign::NoSign)
    }
}

impl PartialOrd for Dyadic {
    fn partial_cmp(&self, other: &Dyadic) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Rounds `magnitude` x 2^`exponent` to the nearest `long double`, ties to even, in the same form. None
/// when that is infinite.
pub fn round(magnitude: BigUint, exponent: i64) -> Option<(BigUint, i64)> {
    if magnitude.bits() == 0 {
        return Some((magnitude, 0));
    }
    let top = exponent + magnitude.bits() as i64;
    let grid = (top - PRECISION).max(LEAST).max(exponent);
    let rounded = shift_right(magnitude, (grid - exponent) as u64);
    (grid + rounded.bits() as i64 <= LIMIT).then_some((rounded, grid))
}

/// The greatest finite `long double`, in the form of [`round`].
pub fn greatest() -> (BigUint, i64) {
    (BigUint::from(u64::MAX), LIMIT - PRECISION)
}

/// `value` / 2^`bits`, rounded to the nearest integer, ties to even.
pub fn shift_right(value: BigUint, bits: u64) -> BigUint {
    let half = bits > 0 && value.bit(bits - 1);
    let tie = value.trailing_zeros().is_some_and(|zeros| zeros + 1 == bits);
    let quotient = value >> bits;
    if half && (!tie || quotient.bit(0)) {
        quotient + 1u8
    } else {
        quotient
    }
}
