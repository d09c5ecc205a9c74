//! Random commands, by a printed seed: `GEO_SEED=n GEO_STEPS=n cargo test --test commands random`.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::pair::{Pair, line, shown};
use crate::plain::strings;

const KEYS: [&str; 5] = ["a", "b", "c", "d", "\u{0}"];
const VALUES: [&str; 14] = [
    "",
    "0",
    "1",
    "-1",
    "7",
    "1.5",
    "1e10",
    "x",
    "9223372036854775807",
    "-9223372036854775808",
    "0.1",
    "-3.25",
    "10",
    "a value of more than forty-four bytes, which is stored in plain encoding",
];

#[test]
fn random_commands_agree() {
    agree(Pair::start());
}

#[test]
fn random_commands_agree_under_their_native_names() {
    agree(Pair::transparent("* !c"));
}

/// On keys that replicate, and in transparent mode on one that does not.
fn agree(mut pair: Pair) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("GEO_SEED").unwrap_or_else(rand::random);
    let steps = number("GEO_STEPS").unwrap_or(20_000);
    println!("GEO_SEED={seed} GEO_STEPS={steps}");
    let mut random = StdRng::seed_from_u64(seed);
    for step in 0..steps {
        one(&mut pair, &mut random);
        if step % 500 == 0 {
            pair.same_data();
        }
    }
    pair.same_data();
}

fn one(pair: &mut Pair, random: &mut StdRng) {
    let command = command(random);
    let arguments: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
    match arguments[0] {
        b"SPOP" => pop(pair, &arguments),
        // Lists are in nobody's way where they replicate, and the same where they do not.
        b"RPUSH" if pair.is_transparent() && arguments[1] != b"c" => {
            assert!(
                pair.module
                    .command(&arguments)
                    .starts_with(b"-ERR 'rpush' is not replicated")
            );
        }
        b"RPUSH" => {
            assert_eq!(
                pair.native.command(&arguments),
                pair.module.command(&arguments),
                "{}",
                line(&arguments)
            );
        }
        _ => {
            pair.same(&arguments);
        }
    }
}

/// The plain server removes what the other has popped.
fn pop(pair: &mut Pair, arguments: &[&[u8]]) {
    let reply = pair.ours(arguments);
    let popped = strings(&reply);
    if popped.is_empty() {
        assert_eq!(
            shown(&pair.native.command(arguments)),
            shown(&reply),
            "{}",
            line(arguments)
        );
        return;
    }
    let mut remove: Vec<&[u8]> = vec![b"SREM", arguments[1]];
    remove.extend(popped.iter().map(Vec::as_slice));
    let removed = pair.native.command(&remove);
    assert_eq!(
        removed,
        format!(":{}\r\n", popped.len()).into_bytes(),
        "{} popped strangers",
        line(arguments)
    );
}

fn command(random: &mut StdRng) -> Vec<Vec<u8>> {
    let key = KEYS[random.random_range(0..KEYS.len())];
    let other = KEYS[random.random_range(0..KEYS.len())];
    let value = VALUES[random.random_range(0..VALUES.len())];
    let more = VALUES[random.random_range(0..VALUES.len())];
    let offset = random.random_range(0..80u32).to_string();
    let bit = random.random_range(0..2u32).to_string();
    let words: &[&str] = match random.random_range(0..26u32) {
        0 => &["SET", key, value],
        1 => &["SET", key, value, "NX"],
        2 => &["SET", key, value, "XX"],
        3 => &["SET", key, value, "GET"],
        4 => &["SET", key, value, "NX", "GET"],
        5 => &["SETNX", key, value],
        6 => &["GETSET", key, value],
        7 => &["GETDEL", key],
        8 => &["MSET", key, value, other, more],
        9 => &["MSETNX", key, value, other, more],
        10 => &["APPEND", key, value],
        11 => &["SETRANGE", key, &offset, value],
        12 => &["SETBIT", key, &offset, &bit],
        13 => &["INCR", key],
        14 => &["DECR", key],
        15 => &["INCRBY", key, value],
        16 => &["DECRBY", key, value],
        17 => &["INCRBYFLOAT", key, value],
        18 | 19 => &["SADD", key, value, more],
        20 => &["SREM", key, value, more],
        21 => &["SPOP", key],
        22 => &["SPOP", key, "2"],
        23 => &["SMOVE", key, other, value],
        24 => &["DEL", key, other],
        _ if random.random_range(0..4u32) == 0 => &["RPUSH", key, value],
        _ => &["UNLINK", key, other],
    };
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}
