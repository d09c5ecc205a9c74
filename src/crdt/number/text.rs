//! Numbers as text: what Redis 7 reads (`string2ll`, `string2ld`) and writes (`ld2string`, human form), on
//! x86-64 with glibc.

use num_bigint::{BigInt, BigUint, Sign};

use super::dyadic::{self, Dyadic};

/// Redis takes no longer text for a float (`MAX_LONG_DOUBLE_CHARS`), terminator included.
const MAX_TEXT: usize = 5 * 1024;
/// Digits Redis writes after the point.
const DECIMALS: u32 = 17;
/// Exponents beyond this overflow or underflow whatever [`MAX_TEXT`] digits they scale.
const MAX_EXPONENT: i64 = 1_000_000;

pub fn parse_int(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let shortest = text == b"0" || matches!(digits.first(), Some(b'1'..=b'9'));
    if !shortest || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Correctly rounded. glibc 2.36 is not in one spot: it refuses the hexadecimal 0x1.0000000000000001p-16446,
/// 1.8e-4951, which lies above half the least `long double` and is taken as that here.
pub fn parse_float(text: &[u8]) -> Option<Dyadic> {
    if text.len() >= MAX_TEXT {
        return None;
    }
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (Sign::Minus, rest),
        [b'+', rest @ ..] => (Sign::Plus, rest),
        _ => (Sign::Plus, text),
    };
    let literal = match digits {
        [b'0', b'x' | b'X', rest @ ..] => Literal::scan(rest, 16, b'p')?,
        _ => Literal::scan(digits, 10, b'e')?,
    };
    if literal.digits.bits() == 0 {
        return Some(Dyadic::default());
    }
    let (magnitude, exponent) = literal.magnitude()?;
    let (rounded, exponent) = dyadic::round(magnitude, exponent)?;
    (rounded.bits() > 0).then(|| Dyadic::new(BigInt::from_biguint(sign, rounded), exponent))
}

pub fn write_int(value: i128, out: &mut Vec<u8>) {
    let saturated = value.clamp(i64::MIN.into(), i64::MAX.into());
    out.extend_from_slice(saturated.to_string().as_bytes());
}

pub fn write_float(value: &Dyadic, out: &mut Vec<u8>) {
    let (magnitude, exponent) =
        dyadic::round(value.mantissa().magnitude().clone(), value.exponent()).unwrap_or_else(dyadic::greatest);
    let shown = if exponent >= 0 {
        (magnitude << exponent).to_string()
    } else {
        decimals(magnitude, exponent)
    };
    if value.mantissa().sign() == Sign::Minus && shown != "0" {
        out.push(b'-');
    }
    out.extend_from_slice(shown.as_bytes());
}

/// `magnitude` x 2^`exponent`, the exponent negative, as `%.17Lf` without trailing zeros.
fn decimals(magnitude: BigUint, exponent: i64) -> String {
    let scaled = dyadic::shift_right(magnitude * 10u64.pow(DECIMALS), exponent.unsigned_abs());
    let mut shown = format!("{:0>1$}", scaled.to_string(), DECIMALS as usize + 1);
    shown.insert(shown.len() - DECIMALS as usize, '.');
    shown.trim_end_matches('0').trim_end_matches('.').into()
}

/// A number as written: `digits` / `radix`^`places`, times 10 (decimal) or 2 (hexadecimal) to `exponent`.
struct Literal {
    digits: BigUint,
    /// How many digits there are, without leading zeros.
    length: i64,
    radix: u8,
    places: i64,
    exponent: i64,
}

impl Literal {
    /// All of `text`: digits with at most one point among them, at least one digit, then perhaps the
    /// letter `mark` and a decimal exponent.
    fn scan(text: &[u8], radix: u8, mark: u8) -> Option<Literal> {
        let end = text
            .iter()
            .position(|c| c.eq_ignore_ascii_case(&mark))
            .unwrap_or(text.len());
        let exponent = if end < text.len() {
            scan_exponent(&text[end + 1..])?
        } else {
            0
        };
        let point = text[..end].iter().position(|c| *c == b'.');
        let (whole, fraction) = point.map_or((&text[..end], &[][..]), |at| (&text[..at], &text[at + 1..end]));
        let digits = whole
            .iter()
            .chain(fraction)
            .map(|c| Some(char::from(*c).to_digit(radix.into())? as u8));
        let digits: Vec<u8> = digits.collect::<Option<_>>()?;
        if digits.is_empty() {
            return None;
        }
        let length = digits.iter().skip_while(|digit| **digit == 0).count() as i64;
        let places = fraction.len() as i64;
        Some(Literal {
            digits: BigUint::from_radix_be(&digits, radix.into())?,
            length,
            radix,
            places,
            exponent,
        })
    }

    /// The magnitude as `mantissa` x 2^`exponent`, exact or such that it rounds alike. None when it lies
    /// far outside `long double`, either way.
    fn magnitude(self) -> Option<(BigUint, i64)> {
        if self.radix == 16 {
            return Some((self.digits, self.exponent - 4 * self.places));
        }
        let power = self.exponent - self.places;
        // The least is 3.6e-4951, the greatest 1.2e4932.
        if !(-4960..=4960).contains(&(power + self.length)) {
            return None;
        }
        let scale = BigUint::from(10u8).pow(power.unsigned_abs() as u32);
        Some(if power >= 0 {
            (self.digits * scale, 0)
        } else {
            divide(self.digits, &scale)
        })
    }
}

/// `dividend` / `divisor` to at least 67 bits, the last of which stands for all that follow it.
fn divide(dividend: BigUint, divisor: &BigUint) -> (BigUint, i64) {
    let shift = (67 + divisor.bits()).saturating_sub(dividend.bits());
    let dividend = dividend << shift;
    let quotient = &dividend / divisor;
    let inexact = &quotient * divisor != dividend;
    ((quotient << 1u8) + u8::from(inexact), -(shift as i64) - 1)
}

fn scan_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let size = digits
        .iter()
        .fold(0, |size, digit| (size * 10 + i64::from(digit - b'0')).min(MAX_EXPONENT));
    Some(if negative { -size } else { size })
}
