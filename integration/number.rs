//! Compares `Number` with the arithmetic of a real server (x86-64).

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use redis_geo::crdt::Number;

#[path = "support/plain.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod plain;

use plain::{Client, Server};

/// The reply as text, or the error reply.
fn call(client: &mut Client, arguments: &[&[u8]]) -> Result<Vec<u8>, String> {
    let reply = client.command(arguments);
    let body = reply.strip_suffix(b"\r\n").unwrap_or(&reply);
    match body.split_first() {
        Some((b'+' | b':', text)) => Ok(text.into()),
        Some((b'-', text)) => Err(show(text)),
        Some((b'$', rest)) => Ok(rest
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(rest, |end| &rest[end + 1..])
            .into()),
        _ => panic!("unexpected reply {}", show(&reply)),
    }
}

/// Printed when a test fails; set NUMBER_SEED to run the same again.
fn random() -> StdRng {
    let seed = std::env::var("NUMBER_SEED").map_or_else(|_| rand::random(), |s| s.parse().expect("NUMBER_SEED"));
    println!("NUMBER_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

fn show(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

fn digits(rng: &mut StdRng, most: usize) -> String {
    (0..rng.random_range(1..=most))
        .map(|_| char::from(rng.random_range(b'0'..=b'9')))
        .collect()
}

fn sign(rng: &mut StdRng) -> &'static str {
    ["", "", "-", "+"].choose(rng).copied().unwrap_or_default()
}

/// What clients send: magnitudes from 1e-20 to 1e30, now and then anything a `long double` can be.
fn increment(rng: &mut StdRng) -> String {
    let sign = sign(rng);
    match rng.random_range(0..8) {
        0 => format!("{sign}{}", rng.random_range(0..1000)),
        1 => format!("{sign}{}", rng.random::<u64>() >> rng.random_range(0..64)),
        2 => format!("{sign}{}.{}", rng.random_range(0..1000), digits(rng, 3)),
        3 => format!("{sign}{}.{}", digits(rng, 20), digits(rng, 25)),
        4 => format!(
            "{sign}0x{:x}.{:x}p{}",
            rng.random::<u64>(),
            rng.random::<u64>(),
            rng.random_range(-150..40)
        ),
        5 if rng.random_ratio(1, 10) => format!("{sign}{}e{}", digits(rng, 30), rng.random_range(-4970..4935)),
        _ => format!(
            "{sign}{}.{}e{}",
            rng.random_range(1..10),
            digits(rng, 22),
            rng.random_range(-20..30)
        ),
    }
}

/// A counter in one region, beside the same key in Redis.
struct Counter {
    text: Vec<u8>,
    base: Number,
    total: Number,
}

impl Counter {
    /// Takes over what Redis made of it; the region must show the same.
    fn became(&mut self, text: Vec<u8>) {
        let number = |text: &[u8]| Number::parse(text).unwrap_or_else(|| panic!("{} is a number", show(text)));
        self.total = self.total.add(&number(&text).sub(&number(&self.text)));
        assert_eq!(
            show(&self.base.add(&self.total).to_text()),
            show(&text),
            "after {}",
            show(&self.text)
        );
        self.text = text;
    }

    fn add_integer(&mut self, client: &mut Client, delta: i64) {
        let reply = call(client, &[b"INCRBY", b"counter", delta.to_string().as_bytes()]);
        let expected = Number::parse_int(&self.text).and_then(|value| value.checked_add(delta));
        assert_eq!(
            reply.is_ok(),
            expected.is_some(),
            "{} INCRBY {delta}: {reply:?}",
            show(&self.text)
        );
        if let (Ok(text), Some(value)) = (reply, expected) {
            assert_eq!(show(&text), value.to_string());
            self.became(text);
        }
    }

    fn add_float(&mut self, client: &mut Client, delta: &str) {
        let reply = call(client, &[b"INCRBYFLOAT", b"counter", delta.as_bytes()]);
        let (Some(value), Some(change)) = (Number::parse_float(&self.text), Number::parse_float(delta.as_bytes()))
        else {
            assert!(reply.is_err(), "{} INCRBYFLOAT {delta}: {reply:?}", show(&self.text));
            return;
        };
        let what = || format!("{} INCRBYFLOAT {delta}", show(&self.text));
        match reply {
            Ok(text) => {
                assert_eq!(show(&value.add(&change).to_text()), show(&text), "{}", what());
                self.became(text);
            }
            Err(error) => assert!(error.contains("NaN or Infinity"), "{}: {error}", what()),
        }
    }

    fn step(&mut self, client: &mut Client, rng: &mut StdRng) {
        let delta = rng.random::<i64>() >> rng.random_range(0..64);
        match rng.random_range(0..10) {
            0..3 => self.add_integer(client, delta),
            // Back to about zero, so that what is left over shows.
            3 => {
                let text = show(&self.text);
                let back = text.strip_prefix('-').map_or_else(|| format!("-{text}"), str::to_owned);
                self.add_float(client, &back);
            }
            4 => self.add_float(client, &delta.to_string()),
            _ => self.add_float(client, &increment(rng)),
        }
    }
}

#[test]
fn a_region_alone_shows_what_redis_shows() {
    let (server, mut rng) = (Server::plain(&[]), random());
    let mut client = server.client();
    for _ in 0..400 {
        let start = if rng.random_bool(0.5) {
            "0".into()
        } else {
            increment(&mut rng)
        };
        let Some(base) = Number::parse(start.as_bytes()) else {
            continue;
        };
        call(&mut client, &[b"SET", b"counter", start.as_bytes()]).expect("SET");
        let mut counter = Counter {
            text: start.into(),
            base,
            total: Number::ZERO,
        };
        for _ in 0..rng.random_range(1..100) {
            counter.step(&mut client, &mut rng);
        }
    }
}

/// Text that is nearly a number.
fn nearly(rng: &mut StdRng) -> Vec<u8> {
    let mut text = match rng.random_range(0..4) {
        0 => format!("{}{}", sign(rng), digits(rng, 21)),
        1 => format!("{}0x{:x}", sign(rng), rng.random::<u64>()),
        _ => increment(rng),
    }
    .into_bytes();
    for _ in 0..rng.random_range(0..3) {
        let at = rng.random_range(0..=text.len());
        let piece = [
            ".", "e", "E-", "p", "P+", "x", "0", "-", "+", " ", "\t", "\0", "f", "9", "_", "\u{e9}", "inf",
        ];
        match rng.random_range(0..3) {
            0 => text.truncate(at),
            1 if at < text.len() => drop(text.remove(at)),
            _ => drop(text.splice(at..at, piece.choose(rng).copied().unwrap_or_default().bytes())),
        }
    }
    text
}

/// Whether `text` is taken as value and as increment, and what it then amounts to.
fn check_text(client: &mut Client, text: &[u8]) {
    let what = show(text);
    call(client, &[b"SET", b"text", text]).expect("SET");
    let integer = call(client, &[b"INCRBY", b"text", b"0"]).ok();
    assert_eq!(
        integer.as_deref().map(show),
        Number::parse_int(text).map(|value| value.to_string()),
        "INCRBY {what:?}"
    );
    let expected = Number::parse_float(text).map(|value| show(&value.to_text()));
    let as_value = call(client, &[b"INCRBYFLOAT", b"text", b"0"]).ok();
    assert_eq!(as_value.as_deref().map(show), expected, "value {what:?}");
    call(client, &[b"DEL", b"text"]).expect("DEL");
    let as_increment = call(client, &[b"INCRBYFLOAT", b"text", text]).ok();
    assert_eq!(as_increment.as_deref().map(show), expected, "increment {what:?}");
}

#[test]
fn texts_are_read_as_redis_reads_them() {
    let (server, mut rng) = (Server::plain(&[]), random());
    let mut client = server.client();
    let odd = "|0|-0|+0|00|01|-01|+1|1 | 1|\n1|1\n|-|+|.|5.|.5|-.5|1.|..|1.2.3|1e|1e+|1e-|e5|1e5|1E+05|1e 5|0x|0x.|0x.8|0x8.|\
               0x1p|0x1p+|0x1p4|0X1.8P-1|0x1P+3|0xp1|0x1e5|0x1.ffffffffffffffffp0|0x1.00000000000000008p0|nan|NaN|-nan|\
               nan(1)|inf|-inf|+inf|Infinity|infinit|9223372036854775807|9223372036854775808|-9223372036854775808|\
               -9223372036854775809|99999999999999999999|18446744073709551616|-18446744073709551617|1_000|1,5|0b1|1f|1L|\
               0.1|3.0|-0.0|1e-17|5e-18|4.9e-18|-4e-18|1e-4940|3.6e-4951|1.9e-4951|1.8e-4951|1e-4952|1e-99999|0e99999|\
               1.18973149535723176502e4932|1.18973149535723176506e4932|1.18973149535723176509e4932|1.2e4932|1e4933|1e99999|\
               0x1p16383|0x1p16384|0x1p-16445|0x1p-16446|0x1.0000000000000002p-16446|0x1p99999999999999999999|\
               0x0p99999999999999999999|1e-99999999999999999999|1e000000000000000000000000000000000001";
    for text in odd.split('|') {
        check_text(&mut client, text.as_bytes());
    }
    for length in [5118, 5119, 5120, 5121] {
        check_text(&mut client, &[b"1.".as_slice(), &vec![b'3'; length - 2]].concat());
        check_text(&mut client, &[b"0.".as_slice(), &vec![b'0'; length - 3], b"1"].concat());
        check_text(&mut client, &[vec![b'0'; length - 6], b"7e4930".to_vec()].concat());
        check_text(
            &mut client,
            &[b"0x.".as_slice(), &vec![b'0'; length - 10], b"7p20000"].concat(),
        );
        check_text(&mut client, &[vec![b'1'; length - 5], b"e-500".to_vec()].concat());
    }
    for _ in 0..10_000 {
        check_text(&mut client, &nearly(&mut rng));
    }
}
