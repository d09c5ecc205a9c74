//! Laws of the arithmetic, the encoding's bounds and Redis's texts. `integration/number.rs` compares with
//! a real server.

use num_bigint::BigInt;
use proptest::prelude::*;

use super::Number;
use super::dyadic::{BOUND, Dyadic, LEAST};

fn float(text: &str) -> Number {
    Number::parse_float(text.as_bytes()).unwrap_or_else(|| panic!("{text} is a float"))
}

fn number(text: &str) -> Number {
    Number::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text} is a number"))
}

fn shown(number: &Number) -> String {
    String::from_utf8(number.to_text()).expect("text is ASCII")
}

fn power(exponent: i64) -> Number {
    Number::sum(0, Dyadic::new(BigInt::from(1), exponent))
}

fn encoded(number: &Number) -> Vec<u8> {
    rmp_serde::to_vec(number).expect("a number can be encoded")
}

fn decoded(bytes: &[u8]) -> Option<Number> {
    rmp_serde::from_slice(bytes).ok()
}

/// Numbers of every kind, far enough from the bounds that a few sums do not saturate.
fn numbers() -> impl Strategy<Value = Number> {
    let whole = prop_oneof![
        Just(0i128),
        (-3i128..=3),
        any::<i64>().prop_map(i128::from),
        any::<i128>().prop_map(|i| i >> 4)
    ];
    let mantissa = prop_oneof![Just(0i128), (-3i128..=3), any::<i128>()];
    let exponent = prop_oneof![-70i64..70, LEAST..16_300];
    (whole, mantissa, exponent).prop_map(|(whole, m, e)| Number::sum(whole, Dyadic::new(BigInt::from(m), e)))
}

proptest! {
    #[test]
    fn sums_need_no_order(a in numbers(), b in numbers(), c in numbers()) {
        prop_assert_eq!(a.add(&b), b.add(&a));
        prop_assert_eq!(a.add(&b).add(&c), a.add(&b.add(&c)));
        prop_assert_eq!(a.add(&b).sub(&b), a.clone());
        prop_assert_eq!(a.sub(&b), Number::ZERO.sub(&b.sub(&a)));
        prop_assert_eq!(a.add(&Number::ZERO), a.clone());
        prop_assert!(a.sub(&a).is_zero());
    }

    #[test]
    fn order_follows_sums(a in numbers(), b in numbers(), c in numbers()) {
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        prop_assert_eq!(a.cmp(&b), a.add(&c).cmp(&b.add(&c)));
        prop_assert_eq!(a.cmp(&b).is_eq(), a == b);
        if a <= b && b <= c {
            prop_assert!(a <= c);
        }
    }

    #[test]
    fn one_encoding_per_number(a in numbers(), b in numbers()) {
        prop_assert_eq!(decoded(&encoded(&a)), Some(a.clone()));
        prop_assert_eq!(encoded(&a) == encoded(&b), a == b);
    }

    /// Whatever is accepted is the one encoding, so damaged bytes never become a second form of a number.
    #[test]
    fn other_bytes_are_refused(
        length in 0u8..20, middle in prop::collection::vec(any::<u8>(), 0..20), exponent in any::<i16>(),
        end in prop::collection::vec(prop_oneof![Just(0u8), Just(255), any::<u8>()], 0..20),
    ) {
        let bytes = [&[length], middle.as_slice(), &exponent.to_be_bytes(), &end].concat();
        if let Some(number) = Number::decode(&bytes) {
            prop_assert_eq!(number.encode(), bytes);
        }
    }

    #[test]
    fn any_bytes_decode_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = (decoded(&bytes), Number::decode(&bytes), Number::parse(&bytes));
    }

    /// A shown number is read back as what it showed, so the native value stands for the counter.
    #[test]
    fn shown_text_is_stable(a in numbers()) {
        let text = shown(&a);
        prop_assert_eq!(shown(&number(&text)), text);
    }
}

#[test]
fn floats_are_shown_as_redis_shows_them() {
    let sums = [
        ("10.5", "0.1", "10.6"),
        ("5.0e3", "2.0e2", "5200"),
        ("0.1", "0.2", "0.3"),
        ("3", "1.123456789012345678", "4.12345678901234568"),
        ("1", "-1.000000000000000001", "0"),
        ("-0", "-0", "0"),
        ("9223372036854775807", "1", "9223372036854775808"),
        ("18446744073709551615", "1", "18446744073709551616"),
        ("18446744073709551616", "1", "18446744073709551616"),
        ("1e30", "-1", "1000000000000000000024696061952"),
        ("0x1p63", "0.5", "9223372036854775808"),
        ("0x1p63", "1.5", "9223372036854775810"),
        ("1e-17", "1e-18", "0.00000000000000001"),
        ("-1e-18", "0", "0"),
    ];
    for (a, b, expected) in sums {
        assert_eq!(shown(&float(a).add(&float(b))), expected, "{a} + {b}");
    }
}

#[test]
fn mixed_sums_are_exact() {
    let texts = ["1", "1e30", "0.5", "-7"];
    let sum = texts.iter().fold(Number::ZERO, |sum, text| sum.add(&number(text)));
    assert_eq!(sum.sub(&number("1e30")), number("-6").add(&number("0.5")));
    assert_eq!(shown(&sum.sub(&number("1e30"))), "-5.5");
    assert!(float("3") < number("3") && number("3") < float("3.1") && float("2.9") < number("3"));
    assert_eq!(
        number("3").add(&float("-3")).cmp(&Number::ZERO),
        std::cmp::Ordering::Greater
    );
    assert_eq!(shown(&number("3").add(&float("-3"))), "0");
}

#[test]
fn integers_saturate() {
    let greatest = Number::from(i64::MAX);
    assert_eq!(shown(&greatest.add(&Number::from(1))), i64::MAX.to_string());
    assert_eq!(shown(&Number::from(i64::MIN).sub(&greatest)), i64::MIN.to_string());
    assert_eq!(greatest.add(&greatest).sub(&greatest), greatest);
    assert_eq!(Number::Int(i128::MAX).add(&greatest), Number::Int(i128::MAX));
    assert_eq!(Number::Int(i128::MIN).sub(&greatest), Number::Int(i128::MIN));
    let real = Number::sum(i128::MIN, Dyadic::new(BigInt::from(1), -1));
    assert_eq!(
        Number::ZERO.sub(&real),
        Number::sum(i128::MAX, Dyadic::new(BigInt::from(-1), -1))
    );
}

#[test]
fn floats_saturate() {
    let bound = power(BOUND);
    assert_eq!(bound.add(&power(LEAST)), bound);
    assert_eq!(bound.add(&bound), bound);
    assert_eq!(Number::ZERO.sub(&bound).sub(&bound), Number::ZERO.sub(&bound));
    assert!(bound.sub(&power(LEAST)) < bound);
    assert!(power(BOUND - 1) < bound && bound < bound.add(&Number::from(1)));
    let greatest = shown(&bound);
    assert_eq!(greatest.len(), 4933);
    assert!(greatest.starts_with("118973149535723176502126385303"));
    assert_eq!(shown(&Number::ZERO.sub(&bound)), format!("-{greatest}"));
    assert_eq!(shown(&number(&greatest)), greatest);
}

#[test]
fn encodings_are_compact_and_bounded() {
    assert_eq!(encoded(&Number::from(5)), [5]);
    assert_eq!(encoded(&Number::from(i64::MIN)).len(), 9);
    assert_eq!(encoded(&number("0.5")), [0xc4, 5, 1, 0, 0xff, 0xff, 1]);
    let widest = power(BOUND).sub(&power(LEAST)).add(&Number::Int(i128::MIN));
    assert_eq!(decoded(&encoded(&widest)), Some(widest.clone()));
    assert_eq!(Number::decode(&power(BOUND).encode()), Some(power(BOUND)));
    for number in [
        power(BOUND + 1),
        power(LEAST - 1),
        Number::sum(0, Dyadic::new(BigInt::from(3), BOUND - 1)),
    ] {
        assert_eq!(Number::decode(&number.encode()), None, "{number:?}");
    }
    assert_eq!(Number::decode(&[widest.encode(), vec![1]].concat()), None);
}

#[test]
fn other_encodings_are_refused() {
    let bytes: [&[u8]; 9] = [
        &[],
        &[0],
        &[1, 5],                   // fits 64 bits
        &[2, 0, 0, 0, 0, 1],       // integer not the shortest
        &[1, 0, 0xff, 0xff],       // no mantissa
        &[1, 0, 0xff, 0xff, 2],    // mantissa even
        &[1, 0, 0xff, 0xff, 0],    // mantissa zero
        &[1, 0, 0xff, 0xff, 0, 1], // mantissa not the shortest
        &[1, 0, 0xff],             // cut short
    ];
    for bytes in bytes {
        assert_eq!(Number::decode(bytes), None, "{bytes:?}");
    }
    assert_eq!(decoded(&rmp_serde::to_vec(&u64::MAX).expect("encoded")), None);
    assert_eq!(decoded(&rmp_serde::to_vec(&0.5).expect("encoded")), None);
    assert_eq!(decoded(&rmp_serde::to_vec("5").expect("encoded")), None);
}

#[test]
fn what_is_a_number() {
    for text in ["0", "7", "-7", "9223372036854775807", "-9223372036854775808"] {
        assert_eq!(Number::parse_int(text.as_bytes()), text.parse().ok());
    }
    for text in [
        "",
        "-",
        "-0",
        "00",
        "01",
        "+1",
        " 1",
        "1 ",
        "1.0",
        "9223372036854775808",
        "-9223372036854775809",
    ] {
        assert_eq!(Number::parse_int(text.as_bytes()), None, "{text:?}");
    }
    for (text, value) in [
        ("+1", "1"),
        (".5", "0.5"),
        ("5.", "5"),
        ("0x.8", "0.5"),
        ("0X1P-1", "0.5"),
        ("00", "0"),
    ] {
        assert_eq!(float(text), float(value), "{text:?}");
    }
    for text in [
        "",
        " 1",
        "1 ",
        "1e",
        ".",
        "0x",
        "nan",
        "inf",
        "-Infinity",
        "1e4933",
        "1e-4952",
        "1\0",
        "0x1p-16446",
    ] {
        assert_eq!(Number::parse(text.as_bytes()), None, "{text:?}");
    }
    assert_eq!(float("0x1.8p-16446"), power(LEAST));
}

proptest! {
    #[test]
    fn doubles_are_taken_exactly_and_given_back(value in any::<f64>()) {
        let taken = Number::from_double(value);
        prop_assert_eq!(taken.is_some(), value.is_finite());
        if let Some(number) = taken {
            // Numbers have one zero.
            prop_assert_eq!(number.to_double().to_bits(), (value + 0.0).to_bits());
        }
    }

    #[test]
    fn a_sum_of_doubles_is_rounded_as_the_processor_does(a in any::<f64>(), b in any::<f64>()) {
        if let (Some(x), Some(y)) = (Number::from_double(a), Number::from_double(b)) {
            prop_assert_eq!(x.add(&y).to_double(), a + b);
        }
    }
}
