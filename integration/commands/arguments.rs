//! Argument by argument.

use crate::pair::{Pair, commands, has};

const BINARY: &[u8] = b"\xff\xfe\x00bin\x00\r\n\x80";

/// Values of every sort that a command may meet.
fn values() -> Vec<Vec<u8>> {
    let mut values: Vec<Vec<u8>> = [
        "",
        "0",
        "-0",
        "1",
        "+1",
        "01",
        " 1",
        "1 ",
        "-1",
        "2",
        "8",
        "abc",
        "1.5",
        "-1.5",
        "1e3",
        "nan",
        "inf",
        "-inf",
        "0x10",
        "1e400",
        "1.0000000000000000001",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "-9223372036854775809",
        "4294967295",
        "4294967296",
        "536870911",
        "536870912",
        "17976931348623157e292",
        "NX",
        "xx",
        "get",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    values.push(BINARY.to_vec());
    values.extend([43, 44, 45, 100, 20_000].map(|length| vec![b'x'; length]));
    values
}

/// Keys of every type, the same on both.
fn fill(pair: &mut Pair) {
    for line in [
        "FLUSHALL",
        "SET int 10",
        "SET float 10.5",
        "SET text abc",
        "SET max 9223372036854775807",
        "SET min -9223372036854775808",
        "SADD set a b c",
        "SADD numbers 1 2 3",
        "RPUSH list a",
        "HSET hash f v",
        "ZADD zset 1 a",
        "XADD stream 1-1 f v",
        "SET deadline 5 EX 1000",
    ] {
        pair.both(line);
    }
}

const KEYS: [&[u8]; 13] = [
    b"int", b"float", b"text", b"max", b"min", b"set", b"numbers", b"list", b"hash", b"zset", b"stream", b"absent",
    BINARY,
];

#[test]
fn wrong_arities() {
    for mut pair in Pair::each() {
        for command in commands(&mut pair.native) {
            // With more it would wait.
            let most = if command.starts_with("BZPOP") { 2 } else { 6 };
            for count in 0..most {
                let mut arguments: Vec<&[u8]> = vec![command.as_bytes()];
                arguments.extend(std::iter::repeat_n(&b"1"[..], count));
                pair.same(&arguments);
            }
            pair.both("FLUSHALL");
        }
    }
}

#[test]
fn every_type_of_key_with_one_argument() {
    each_key_and_value(&[
        "SETNX",
        "GETSET",
        "APPEND",
        "INCRBY",
        "DECRBY",
        "INCRBYFLOAT",
        "SADD",
        "SREM",
        "SET",
    ]);
}

fn each_key_and_value(commands: &[&str]) {
    for mut pair in Pair::each() {
        for command in commands {
            for value in values() {
                fill(&mut pair);
                for key in KEYS {
                    pair.same(&[command.as_bytes(), key, &value]);
                }
                pair.same_data();
            }
        }
    }
}

#[test]
fn every_type_of_key_without_arguments() {
    for mut pair in Pair::each() {
        for command in ["GETDEL", "INCR", "DECR", "DEL", "UNLINK"] {
            fill(&mut pair);
            for key in KEYS {
                pair.same(&[command.as_bytes(), key]);
                pair.same(&[command.as_bytes(), key]);
            }
            pair.same_data();
        }
    }
}

#[test]
fn every_type_of_key_with_an_offset() {
    for mut pair in Pair::each() {
        let offsets: [&[u8]; 12] = [
            b"0",
            b"1",
            b"2",
            b"7",
            b"8",
            b"100",
            b"-1",
            b"abc",
            b"",
            b"9223372036854775807",
            b"4294967296",
            b"01",
        ];
        for command in ["SETRANGE", "SETBIT"] {
            for value in ["0", "1", "2", "", "xyz"] {
                fill(&mut pair);
                for key in KEYS {
                    for offset in offsets {
                        pair.same(&[command.as_bytes(), key, offset, value.as_bytes()]);
                    }
                }
                pair.same_data();
            }
        }
    }
}

#[test]
fn moves_between_every_pair_of_types() {
    for mut pair in Pair::each() {
        for member in [&b"a"[..], b"1", b"missing", b"", BINARY] {
            for from in KEYS {
                for to in KEYS {
                    fill(&mut pair);
                    pair.same(&[b"SMOVE", from, to, member]);
                    pair.same_data();
                }
            }
        }
    }
}

#[test]
fn options_of_set() {
    let mut pair = Pair::start();
    let options: [&[&str]; 16] = [
        &["NX"],
        &["XX"],
        &["GET"],
        &["nx", "get"],
        &["XX", "GET"],
        &["GET", "GET"],
        &["NX", "XX"],
        &["XX", "NX"],
        &["BAD"],
        &["NX", "BAD"],
        &["EX"],
        &["PX"],
        &["EX", "1", "PX", "1"],
        &["KEEPTTL", "EX", "1"],
        &["NX", "NX"],
        &[""],
    ];
    for option in options {
        fill(&mut pair);
        for key in KEYS.into_iter().chain([&b"deadline"[..]]) {
            for value in [&b"12"[..], b"text", BINARY] {
                let mut arguments: Vec<&[u8]> = vec![b"SET", key, value];
                arguments.extend(option.iter().map(|word| word.as_bytes()));
                pair.same(&arguments);
            }
        }
        pair.same_data();
    }
}

#[test]
fn a_write_without_options_ends_a_deadline() {
    let mut pair = Pair::start();
    for line in [
        "SET k 1",
        "GETSET k 1",
        "MSET k 1",
        "SET k x",
        "SET k 1 XX",
        "SET k 1 GET",
    ] {
        pair.both("SET k 5 EX 1000");
        pair.same_text(line);
        pair.both("PTTL k");
    }
}

#[test]
fn several_keys_and_members() {
    each_after_filling(&[
        "MSET a 1 b two a 3",
        "MSET a 1 b",
        "MSETNX a 1 z 2",
        "MSETNX y 1 z 2 y 3",
        "MSETNX y 1",
        "DEL a a b nothing",
        "UNLINK y z y",
        "SADD s a b a c",
        "SADD s",
        "SREM s a x a",
        "SREM s b c",
        "SADD n 1 2 3",
        "SADD n x",
        "SREM n 1 2 3 x",
        "DEL list set text",
        "MSET int x list y set 5 hash 12",
    ]);
}

#[test]
fn several_keys_with_options() {
    each_after_filling(&[
        "MSETEX 2 a 1 b two",
        "MSETEX 2 a 1 a text",
        "MSETEX 2 int 5 list x",
        "MSETEX 2 a 1 b 2 NX",
        "MSETEX 2 a 1 a 2 nx EX 100000",
        "MSETEX 2 a 1 int 2 NX",
        "MSETEX 2 a 1 int 2 NX WRONG",
        "MSETEX 2 a 1 int 2 NX EX 0",
        "MSETEX 2 int 1 text 2 XX",
        "MSETEX 2 int 1 int 2 XX PXAT 1",
        "MSETEX 2 int 1 a 2 XX",
        "MSETEX 2 list 1 deadline 2 XX KEEPTTL",
        "MSETEX 1 deadline 2",
        "MSETEX 2 deadline 2 deadline x KEEPTTL",
        "MSETEX 2 deadline 2 a 1 PX 100000000",
        "MSETEX 2 deadline 2 a 1 EXAT 4102444800",
        "MSETEX 2 deadline 2 a 1 EXAT 1",
        "MSETEX 1 a 1 NX XX",
        "MSETEX 1 int 1 NX XX",
        "MSETEX 1 a 1 EX",
        "MSETEX 1 a 1 EX NX",
        "MSETEX 1 a 1 EX 1 PX 1",
        "MSETEX 1 a 1 KEEPTTL EX 1",
        "MSETEX 1 a 1 b 2",
        "MSETEX 2 a 1 b",
        "MSETEX 0 a 1",
        "MSETEX -1 a 1",
        "MSETEX x a 1",
        "MSETEX 9223372036854775807 a 1",
        "MSETEX 9223372036854775808 a 1",
    ]);
}

/// Of these commands those that the server has.
fn each_after_filling(lines: &[&str]) {
    for mut pair in Pair::each() {
        for line in lines {
            if has(&mut pair.native, line) {
                fill(&mut pair);
                pair.same_text(line);
                pair.same_data();
            }
        }
    }
}

/// What is popped is random: a count that takes all, or none, is not.
#[test]
fn pops() {
    let mut pair = Pair::start();
    for tail in [
        &[][..],
        &["0"],
        &["-1"],
        &["abc"],
        &["1", "2"],
        &["9223372036854775808"],
        &[""],
    ] {
        fill(&mut pair);
        pair.both("SADD one only");
        for key in [&b"one"[..], b"list", b"int", b"absent", BINARY] {
            let mut arguments: Vec<&[u8]> = vec![b"SPOP", key];
            arguments.extend(tail.iter().map(|word| word.as_bytes()));
            pair.same(&arguments);
        }
        pair.same_data();
    }
    for version in ["HELLO 2", "HELLO 3"] {
        pair.native.text(version);
        pair.module.text(version);
        fill(&mut pair);
        let mut popped = [
            pair.native.text("SPOP numbers 10"),
            pair.module.text("GEO.SPOP numbers 10"),
        ];
        assert_eq!(popped[0][0], popped[1][0], "the type of reply differs after {version}");
        popped.iter_mut().for_each(|reply| reply.sort_unstable());
        assert_eq!(popped[0], popped[1]);
        pair.same_data();
    }
}

#[test]
fn replies_in_resp3() {
    for mut pair in Pair::each() {
        pair.native.text("HELLO 3");
        pair.module.text("HELLO 3");
        fill(&mut pair);
        for line in [
            "SET new 1 GET",
            "SET new 2 XX GET",
            "SET new 2 NX",
            "SET absent 1 XX",
            "GETSET other 1",
            "GETSET other 2",
            "GETDEL other",
            "GETDEL other",
            "SPOP absent",
            "SPOP absent 1",
            "SPOP list",
            "INCRBYFLOAT float 1.5",
            "INCR text",
            "SADD set x",
            "SMOVE set numbers x",
            "SETNX int 1",
            "APPEND text x",
        ] {
            pair.same_text(line);
        }
        pair.same_data();
    }
}

#[test]
fn great_values() {
    for mut pair in Pair::each() {
        let value = vec![b'v'; 5 << 20];
        for command in ["SET", "GETSET", "APPEND", "SADD"] {
            let key = format!("great {command}");
            pair.same(&[command.as_bytes(), key.as_bytes(), &value]);
            pair.same(&[command.as_bytes(), key.as_bytes(), &value]);
            pair.same_data();
        }
        pair.same(&[b"SETRANGE", b"range", b"3000000", &value]);
        pair.same(&[b"SETBIT", b"bit", b"30000000", b"1"]);
        pair.same_data();
    }
}

/// A long value put in the place of another, of every length around the compact encodings.
#[test]
fn values_in_place_of_others() {
    let mut pair = Pair::start();
    let lengths = [0, 1, 43, 44, 45, 46, 64, 255, 256, 257, 300, 5000];
    for deadline in [false, true] {
        for before in lengths {
            for after in lengths {
                pair.both(&format!("SET k {}", "b".repeat(before)));
                if deadline {
                    pair.both("EXPIRE k 1000");
                }
                pair.same(&[b"SET", b"k", &vec![b'a'; after]]);
                pair.same_data();
            }
        }
    }
}
