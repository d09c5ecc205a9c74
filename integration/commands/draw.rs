//! Commands with random arguments, by a seed that is printed: `GEO_SEED=n GEO_STEPS=n cargo test --test commands random`.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::pair::has;
use crate::plain::{Client, strings};

const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "\u{0}"];
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

/// Members, fields and places that meet often.
const NAMES: [&str; 6] = ["m", "n", "o", "1", "2", ""];
const SCORES: [&str; 14] = [
    "0", "-0", "1", "1", "2", "3.5", "-7", "0.1", "1e300", "inf", "-inf", "nan", "x", "0x10",
];
/// Deadlines that no test run reaches, or that are past.
const UNTIL: [&str; 9] = [
    "EX 100000",
    "PX 100000000",
    "EXAT 4102444800",
    "PXAT 4102444800123",
    "EXAT 1",
    "PXAT 1",
    "EX 0",
    "EX -1",
    "EX x",
];

/// Draws commands and arguments.
pub struct Random {
    numbers: StdRng,
    /// Lines that only newer servers take.
    newer: Vec<&'static str>,
    /// How many commands to draw.
    pub steps: u64,
}

impl Random {
    /// What the server of this client knows, so many commands or as the environment says.
    pub fn new(client: &mut Client, steps: u64) -> Random {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let seed = number("GEO_SEED").unwrap_or_else(rand::random);
        let steps = number("GEO_STEPS").unwrap_or(steps);
        println!("GEO_SEED={seed} GEO_STEPS={steps}");
        Random {
            numbers: StdRng::seed_from_u64(seed),
            newer: NEWER.into_iter().filter(|line| has(client, line)).collect(),
            steps,
        }
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.numbers.random_range(0..bound)
    }

    pub fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    fn key(&mut self) -> &'static str {
        self.of(&KEYS)
    }

    fn name(&mut self) -> &'static str {
        self.of(&NAMES)
    }

    /// One of some lines.
    pub fn command(&mut self, client: &mut Client) -> Vec<Vec<u8>> {
        let line = match self.below(11) {
            0 if !self.newer.is_empty() => {
                let at = self.below(self.newer.len());
                self.newer[at]
            }
            0..3 => self.of(&STRINGS),
            3..5 => self.of(&SETS_AND_HASHES),
            5..8 => self.of(&SORTED),
            _ => self.of(&WHOLE),
        };
        self.filled(client, line)
    }

    /// The words of a line, of which some ask for something random, or for what the client's server has.
    pub fn filled(&mut self, client: &mut Client, line: &str) -> Vec<Vec<u8>> {
        let mut words: Vec<Vec<u8>> = Vec::new();
        for word in line.split(' ') {
            let number;
            let drawn = match word {
                "KEY" => self.key(),
                "VALUE" => self.of(&VALUES),
                "NAME" => self.name(),
                "SCORE" => self.of(&SCORES),
                "OFFSET" => {
                    number = self.below(80).to_string();
                    &number
                }
                "BIT" => self.of(&["0", "1", "0", "1", "2"]),
                "INDEX" => self.of(&["0", "1", "2", "-1", "-2", "5", "x"]),
                "HOWMANY" => self.of(&["0", "1", "2", "3", "-1", "x"]),
                "BOUND" => self.of(&["-inf", "+inf", "(1", "1", "2", "(3.5", "0", "x"]),
                "LEX" => self.of(&["-", "+", "[m", "(m", "[n", "(", "x"]),
                "UNTIL" => self.of(&UNTIL),
                "FLAGS" => self.of(&[
                    "", "", "NX", "XX", "GT", "LT", "CH", "XX GT", "LT CH", "NX GT", "INCR", "XX INCR", "nx ch",
                ]),
                "IF" => self.of(&["", "", "NX", "XX", "GT", "LT", "NX XX", "x"]),
                "ABSOLUTE" => self.of(&[
                    "4102444800",
                    "4102444900",
                    "5000000000",
                    "1",
                    "-1",
                    "x",
                    "9223372036854775807",
                ]),
                "RELATIVE" => self.of(&["100000", "200000", "0", "-1", "x", "9223372036854775807"]),
                "PLACE" => self.of(&["13.36 38.11", "15.08 37.50", "2 48", "181 0", "x 1"]),
                "FIELD" => self.of(&[
                    "GET u8 0",
                    "SET u8 8 200",
                    "INCRBY i5 100 1",
                    "OVERFLOW FAIL INCRBY u2 3 1",
                    "SET i64 #1 -1",
                    "SET u64 0 1",
                    "INCRBY i8 #2 100 GET u4 0",
                    "OVERFLOW x",
                ]),
                "DUMP" => {
                    let key = self.key();
                    let dump = strings(&client.command(&[b"DUMP", key.as_bytes()])).pop();
                    words.push(dump.unwrap_or_else(|| b"no dump".to_vec()));
                    continue;
                }
                other => other,
            };
            // Some stand for several words, or for none.
            match word {
                "KEY" | "VALUE" | "NAME" => words.push(drawn.as_bytes().to_vec()),
                _ => words.extend(
                    drawn
                        .split(' ')
                        .filter(|part| !part.is_empty())
                        .map(|part| part.as_bytes().to_vec()),
                ),
            }
        }
        words
    }
}

const STRINGS: [&str; 38] = [
    "SET KEY VALUE",
    "SET KEY VALUE NX",
    "SET KEY VALUE XX",
    "SET KEY VALUE GET",
    "SET KEY VALUE NX GET",
    "SET KEY VALUE UNTIL",
    "SET KEY VALUE KEEPTTL",
    "SET KEY VALUE XX KEEPTTL GET",
    "SET KEY VALUE NX UNTIL",
    "SET KEY VALUE UNTIL KEEPTTL",
    "SET KEY VALUE IFEQ VALUE",
    "SET KEY VALUE IFEQ VALUE GET",
    "SETNX KEY VALUE",
    "SETEX KEY RELATIVE VALUE",
    "PSETEX KEY 100000000 VALUE",
    "GETSET KEY VALUE",
    "GETDEL KEY",
    "GETEX KEY",
    "GETEX KEY UNTIL",
    "GETEX KEY PERSIST",
    "MSET KEY VALUE KEY VALUE",
    "MSETNX KEY VALUE KEY VALUE",
    "APPEND KEY VALUE",
    "SETRANGE KEY OFFSET VALUE",
    "SETBIT KEY OFFSET BIT",
    "INCR KEY",
    "DECR KEY",
    "INCRBY KEY VALUE",
    "DECRBY KEY VALUE",
    "INCRBYFLOAT KEY VALUE",
    "BITFIELD KEY FIELD",
    "BITFIELD KEY FIELD FIELD",
    "BITOP AND KEY KEY KEY",
    "BITOP XOR KEY KEY",
    "BITOP NOT KEY KEY",
    "PFADD KEY NAME NAME",
    "PFADD KEY",
    "PFMERGE KEY KEY KEY",
];

const NEWER: [&str; 9] = [
    "MSETEX 2 KEY VALUE KEY VALUE",
    "MSETEX 2 KEY VALUE KEY VALUE NX UNTIL",
    "MSETEX 2 KEY VALUE KEY VALUE XX KEEPTTL",
    "MSETEX HOWMANY KEY VALUE KEY VALUE UNTIL",
    "DELEX KEY",
    "DELEX KEY IFNE VALUE",
    "DELIFEQ KEY VALUE",
    "HGETDEL KEY FIELDS 2 NAME NAME",
    "HGETDEL KEY FIELDS HOWMANY NAME",
];

const SETS_AND_HASHES: [&str; 22] = [
    "SADD KEY NAME NAME",
    "SADD KEY VALUE VALUE NAME",
    "SREM KEY NAME VALUE",
    "SPOP KEY",
    "SPOP KEY 2",
    "SMOVE KEY KEY NAME",
    "SINTERSTORE KEY KEY KEY",
    "SUNIONSTORE KEY KEY KEY",
    "SDIFFSTORE KEY KEY KEY",
    "HSET KEY NAME VALUE",
    "HSET KEY NAME VALUE NAME VALUE NAME VALUE",
    "HSET KEY NAME VALUE NAME",
    "HMSET KEY NAME VALUE NAME VALUE",
    "HSETNX KEY NAME VALUE",
    "HDEL KEY NAME NAME",
    "HDEL KEY NAME",
    "HINCRBY KEY NAME VALUE",
    "HINCRBY KEY NAME 3",
    "HINCRBYFLOAT KEY NAME VALUE",
    "HINCRBYFLOAT KEY NAME 0.1",
    "SADD KEY NAME",
    "HSET KEY NAME 1",
];

const SORTED: [&str; 33] = [
    "ZADD KEY SCORE NAME",
    "ZADD KEY SCORE NAME SCORE NAME SCORE NAME",
    "ZADD KEY FLAGS SCORE NAME",
    "ZADD KEY FLAGS SCORE NAME SCORE NAME",
    "ZADD KEY FLAGS SCORE",
    "ZINCRBY KEY SCORE NAME",
    "ZREM KEY NAME NAME",
    "ZREMRANGEBYSCORE KEY BOUND BOUND",
    "ZREMRANGEBYLEX KEY LEX LEX",
    "ZREMRANGEBYRANK KEY INDEX INDEX",
    "ZPOPMIN KEY",
    "ZPOPMIN KEY HOWMANY",
    "ZPOPMAX KEY HOWMANY",
    "ZMPOP 2 KEY KEY MIN",
    "ZMPOP 1 KEY MAX COUNT HOWMANY",
    "BZPOPMIN KEY KEY 0.001",
    "BZPOPMAX KEY 0.001",
    "BZMPOP 0.001 2 KEY KEY MIN COUNT HOWMANY",
    "ZMPOP HOWMANY KEY KEY MAX",
    "ZRANGESTORE KEY KEY INDEX INDEX",
    "ZRANGESTORE KEY KEY BOUND BOUND BYSCORE",
    "ZUNIONSTORE KEY 2 KEY KEY",
    "ZUNIONSTORE KEY 2 KEY KEY WEIGHTS SCORE 2 AGGREGATE MAX",
    "ZUNIONSTORE KEY HOWMANY KEY KEY",
    "ZINTERSTORE KEY 2 KEY KEY",
    "ZDIFFSTORE KEY 2 KEY KEY",
    "GEOADD KEY PLACE NAME",
    "GEOADD KEY FLAGS PLACE NAME PLACE NAME",
    "GEOSEARCHSTORE KEY KEY FROMLONLAT 14 38 BYRADIUS 300 km ASC",
    "GEOSEARCHSTORE KEY KEY FROMMEMBER NAME BYBOX 300 300 km STOREDIST",
    "GEORADIUS KEY 14 38 300 km STORE KEY",
    "GEORADIUSBYMEMBER KEY NAME 300 km COUNT HOWMANY STOREDIST KEY",
    "GEORADIUS KEY 14 38 300 km WITHDIST ASC",
];

const WHOLE: [&str; 31] = [
    "DEL KEY KEY",
    "DEL KEY",
    "UNLINK KEY KEY",
    "EXPIRE KEY RELATIVE",
    "EXPIRE KEY RELATIVE NX",
    "PEXPIRE KEY 100000000",
    "EXPIREAT KEY ABSOLUTE IF",
    "PEXPIREAT KEY 4102444800000 IF",
    "PEXPIREAT KEY ABSOLUTE",
    "PERSIST KEY",
    "RENAME KEY KEY",
    "RENAMENX KEY KEY",
    "MOVE KEY 1",
    "MOVE KEY 99",
    "MOVE KEY x",
    "COPY KEY KEY",
    "COPY KEY KEY REPLACE",
    "COPY KEY KEY DB 1",
    "COPY KEY KEY DB 1 REPLACE",
    "COPY KEY KEY DB x",
    "COPY KEY KEY DB 2 REPLACE DB 1",
    "RESTORE KEY 0 DUMP",
    "RESTORE KEY 0 DUMP REPLACE",
    "RESTORE KEY 100000000 DUMP REPLACE",
    "RESTORE KEY 4102444800000 DUMP REPLACE ABSTTL",
    "RESTORE KEY 1 DUMP REPLACE ABSTTL",
    "RESTORE KEY x DUMP",
    "SORT KEY ALPHA",
    "SORT KEY LIMIT 0 HOWMANY DESC",
    "SORT KEY BY w* STORE KEY",
    "RPUSH KEY VALUE",
];
