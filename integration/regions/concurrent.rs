//! The tables of `docs/semantics.md`, which a simulation makes, on real servers: each pair of commands in two regions whose
//! link is cut, each on keys of its own.

use redis::{Connection, FromRedisValue};
use redis_geo::lab::regions::Regions;
use redis_geo::lab::wait_for;

use super::{PATIENCE, mesh};

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/semantics.md"));
const START: [(&str, &str); 7] = [
    ("strings", "SET 10 EX 1000"),
    ("hashes", "HSET f 10 g 1"),
    ("sets", "SADD m n"),
    ("sorted sets", "ZADD 10 m 1 n"),
    ("HyperLogLogs", "PFADD s"),
    ("odd strings", "SET 10"),
    ("odd sets", "SADD m n"),
];
/// Seconds by which a deadline may be nearer than when it was given.
const PASSED: i64 = 200;

/// A cell of a table.
struct Pair {
    table: &'static str,
    eu: &'static str,
    us: &'static str,
    /// What both regions show in the end. The later write is us's.
    shown: &'static str,
    key: String,
}

impl Pair {
    /// The key that a cell or a command calls by this name.
    fn key(&self, place: &str) -> String {
        match place {
            "" => self.key.clone(),
            place => format!("{}:{place}", self.key),
        }
    }

    fn run(&self, client: &mut Connection, commands: &str) {
        for command in commands.split(", ") {
            let words: Vec<&str> = command.split(' ').collect();
            let (words, to) = match &words[..] {
                [words @ .., "to", place] => (words, Some(self.key(place))),
                words => (words, None),
            };
            let mut request = redis::cmd(words[0]);
            request.arg(&self.key).arg(to).arg(&words[1..]);
            let answer = request.query::<redis::Value>(client);
            answer.unwrap_or_else(|error| panic!("{}: {command}: {error}", self.table));
        }
    }

    /// Whether commands are more than words.
    fn is_plain(&self) -> bool {
        [self.eu, self.us]
            .iter()
            .all(|act| *act != "expiry" && !act.contains("gives"))
    }

    /// What is to be under one of the keys.
    fn told(&self, place: &str) -> &str {
        let mut parts = self
            .shown
            .split("; ")
            .map(|part| part.split_once(": ").unwrap_or(("", part)));
        parts.find(|(of, _)| *of == place).map_or("gone", |(_, told)| told)
    }

    fn check(&self, client: &mut Connection) -> Result<(), String> {
        for place in ["", "other", "another"] {
            let told = self.told(place);
            let (value, until) = told.split_once(", TTL ").unwrap_or((told, "-1"));
            let key = self.key(place);
            let shown = shown(client, &key, value);
            let left: i64 = ask(client, &["TTL", &key]);
            let until: i64 = until.parse().map_err(|_| format!("{told} tells no deadline"))?;
            let lasts = match until {
                -1 => left < 0,
                until => (until - PASSED..=until).contains(&left),
            };
            if shown != value.trim_matches('`') || !lasts {
                return Err(format!(
                    "{}: eu: {}, us: {}: {place} {shown}, TTL {left} instead of {told}",
                    self.table, self.eu, self.us
                ));
            }
        }
        Ok(())
    }
}

fn ask<T: FromRedisValue>(client: &mut Connection, words: &[&str]) -> T {
    let answer = redis::cmd(words[0]).arg(&words[1..]).query(client);
    answer.unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// What a key holds, as the tables have it. `like`: of a HyperLogLog, what it is to have counted.
fn shown(client: &mut Connection, key: &str, like: &str) -> String {
    let kind: String = ask(client, &["TYPE", key]);
    let pairs = |flat: Vec<String>, between: &str| {
        let mut pairs: Vec<String> = flat.chunks(2).map(|pair| pair.join(between)).collect();
        pairs.sort();
        pairs.join(" ")
    };
    match kind.as_str() {
        "none" => "gone".into(),
        "hash" => pairs(ask(client, &["HGETALL", key]), "="),
        "zset" => pairs(ask(client, &["ZRANGE", key, "0", "-1", "WITHSCORES"]), ":"),
        "set" => {
            let mut members: Vec<String> = ask(client, &["SMEMBERS", key]);
            members.sort();
            members.join(" ")
        }
        _ => match like.trim_matches('`').strip_prefix("counted ") {
            Some(counted) => counts(client, key, counted),
            None => text(&ask::<Vec<u8>>(client, &["GET", key])),
        },
    }
}

/// The page shows bytes that are no text by their numbers.
fn text(bytes: &[u8]) -> String {
    match bytes.iter().all(|byte| byte.is_ascii_graphic()) {
        true => String::from_utf8_lossy(bytes).into_owned(),
        false => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// That a sketch has counted these and nothing else, if it has.
fn counts(client: &mut Connection, key: &str, counted: &str) -> String {
    let same = format!("{key}:same");
    let words: Vec<&str> = counted.split(' ').collect();
    let add: Vec<&str> = ["PFADD", &same].into_iter().chain(words.iter().copied()).collect();
    ask::<i64>(client, &add);
    let both: i64 = ask(client, &["PFCOUNT", key, &same]);
    let one: i64 = ask(client, &["PFCOUNT", key]);
    ask::<i64>(client, &["DEL", &same]);
    match (one, both) == (words.len() as i64, words.len() as i64) {
        true => format!("counted {counted}"),
        false => format!("counted {one}, with {counted} {both}"),
    }
}

fn pairs() -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (table, _) in START {
        let mark = format!("<!-- table: {table} -->\n");
        let (_, rest) = PAGE.split_once(&mark).unwrap_or_else(|| panic!("no {mark}"));
        let (lines, _) = rest.split_once("<!-- end -->").expect("the end of the table");
        let mut rows = lines.lines().map(|line| -> Vec<&str> {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().trim_matches('*')).collect()
        });
        let heads = rows.next().unwrap_or_default();
        for row in rows.skip(1) {
            let mut add = |eu, us, shown: &'static str| {
                let shown = shown.rsplit_once(" *or* ").map_or(shown, |(_, later)| later);
                let key = format!("pair:{}", pairs.len());
                pairs.push(Pair {
                    table,
                    eu,
                    us,
                    shown,
                    key,
                });
            };
            match heads[0] {
                "eu" => add(row[0], row[1], row[2]),
                _ => (1..row.len()).for_each(|at| add(row[0], heads[at], row[at])),
            }
        }
    }
    pairs.retain(Pair::is_plain);
    pairs
}

fn await_settled(regions: &Regions) {
    let settled = || {
        let peer = regions.status("eu").ok()?.peer("us")?;
        (peer.number("unsettled_operations") == Some(0)).then_some(())
    };
    wait_for("eu's writes to be everywhere", PATIENCE, settled).unwrap();
}

#[test]
fn what_the_tables_say_is_what_servers_do() {
    let regions = mesh(8);
    let [mut eu, mut us] = ["eu", "us"].map(|name| regions.connect(name).unwrap());
    let pairs = pairs();
    assert!(pairs.len() > 150, "{} pairs", pairs.len());
    let start = |table| {
        START
            .iter()
            .find(|(name, _)| *name == table)
            .map_or("", |(_, start)| start)
    };
    pairs.iter().for_each(|pair| pair.run(&mut eu, start(pair.table)));
    regions.await_equal(PATIENCE).unwrap();
    await_settled(&regions);
    regions.isolate("us");
    pairs.iter().for_each(|pair| pair.run(&mut eu, pair.eu));
    pairs.iter().for_each(|pair| pair.run(&mut us, pair.us));
    regions.heal();
    regions.await_links(PATIENCE).unwrap();
    regions.await_equal(PATIENCE).unwrap();
    let mut wrong = Vec::new();
    for client in [&mut eu, &mut us] {
        wrong.extend(pairs.iter().filter_map(|pair| pair.check(client).err()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
