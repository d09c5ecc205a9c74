//! Numbers in replication messages and in the saved index.
//!
//! A number that fits 64 bits is an integer. Every other is a byte string: the length of the integer sum
//! (one byte), the integer sum, then, if floats remain, the exponent of their sum (two bytes) and its
//! mantissa. All big-endian two's complement, as short as can be. There is one encoding per number.

use std::fmt;

use num_bigint::BigInt;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

use super::Number;
use super::dyadic::{BOUND, Dyadic, LEAST};

const MAX_MANTISSA: usize = ((BOUND - LEAST) as usize + 2).div_ceil(8);
const MAX_ENCODED: usize = 1 + size_of::<i128>() + size_of::<i16>() + MAX_MANTISSA;

impl Number {
    pub(super) fn encode(&self) -> Vec<u8> {
        let integers = BigInt::from(self.integers()).to_signed_bytes_be();
        let mut bytes = vec![integers.len() as u8];
        bytes.extend_from_slice(&integers);
        if let Number::Real(real) = self {
            bytes.extend_from_slice(&(real.floats.exponent() as i16).to_be_bytes());
            bytes.extend_from_slice(&real.floats.mantissa().to_signed_bytes_be());
        }
        bytes
    }

    /// None for what [`Number::encode`] never makes of a number that needs it.
    pub(super) fn decode(bytes: &[u8]) -> Option<Number> {
        if bytes.len() > MAX_ENCODED {
            return None;
        }
        let (length, rest) = bytes.split_first()?;
        let (integers, rest) = rest.split_at_checked(usize::from(*length))?;
        let integers = i128::try_from(BigInt::from_signed_bytes_be(integers)).ok()?;
        let floats = match rest.split_first_chunk::<2>() {
            Some((exponent, mantissa)) => Dyadic::new(
                BigInt::from_signed_bytes_be(mantissa),
                i16::from_be_bytes(*exponent).into(),
            ),
            None => Dyadic::default(),
        };
        let number = Number::sum(integers, floats.is_bounded().then_some(floats)?);
        (number.as_i64().is_none() && number.encode() == bytes).then_some(number)
    }

    /// The number where it is an integer of 64 bits; it then travels as one.
    pub(crate) fn as_i64(&self) -> Option<i64> {
        match self {
            Number::Int(value) => i64::try_from(*value).ok(),
            Number::Real(_) => None,
        }
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.as_i64() {
            Some(value) => serializer.serialize_i64(value),
            None => serializer.serialize_bytes(&self.encode()),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number: a 64-bit integer or its bytes")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Number, E> {
        Ok(Number::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Number, E> {
        i64::try_from(value)
            .map(Number::from)
            .map_err(|_| E::custom("number: integer out of range"))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Number, E> {
        Number::decode(bytes).ok_or_else(|| E::custom("number: out of bounds or not in the one valid form"))
    }
}
