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

impl Dyadic {
    /// Exactly this double, which is finite.
    pub fn from_double(value: f64) -> Dyadic {
        let bits = value.to_bits();
        let (fraction, power) = (bits & ((1 << 52) - 1), (bits >> 52 & 0x7ff) as i64);
        let mantissa = if power == 0 { fraction } else { fraction | 1 << 52 };
        let sign = if bits >> 63 == 1 { Sign::Minus } else { Sign::Plus };
        Dyadic::new(BigInt::from_biguint(sign, BigUint::from(mantissa)), power.max(1) - 1075)
    }

    /// The nearest double, ties to even; infinite when it is too great.
    pub fn to_double(&self) -> f64 {
        const DIGITS: i64 = 53;
        const LEAST: i64 = -1074;
        let magnitude = self.mantissa.magnitude().clone();
        let grid = (self.top() - DIGITS).max(LEAST).max(self.exponent);
        let rounded = shift_right(magnitude, (grid - self.exponent) as u64);
        // At most 53 bits are left, or a power of two.
        let value = scale(rounded.iter_u64_digits().next().unwrap_or(0) as f64, grid);
        if self.mantissa.sign() == Sign::Minus {
            -value
        } else {
            value
        }
    }
}

/// `value` x 2^`power`, in steps that stay exact.
fn scale(mut value: f64, mut power: i64) -> f64 {
    let two = |power: i64| f64::from_bits(((power + 1023) as u64) << 52);
    while power > 1023 {
        if value == 0.0 || value.is_infinite() {
            return value;
        }
        value *= two(1023);
        power -= 1023;
    }
    // Downwards one step at most leaves the normal range, and what is left of the digits was rounded for that.
    while power < -1022 {
        value *= two(-969);
        power += 969;
    }
    value * two(power)
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
