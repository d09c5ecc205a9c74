//! What a plain client sees of a server's data: `SCAN`, `TYPE`, `GET`, `SMEMBERS`, `HGETALL`, `ZRANGE`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use redis::{Connection, RedisResult};

const PAGE: usize = 5_000;
/// Differences that a comparison names.
const NAMED: usize = 5;

#[derive(Clone, PartialEq, Eq)]
pub enum Shown {
    String(Vec<u8>),
    Set(BTreeSet<Vec<u8>>),
    /// Fields with their values, or members with their scores.
    Map(BTreeMap<Vec<u8>, Vec<u8>>),
    /// A type that nothing here writes.
    Other(String),
    /// Gone between `SCAN` and `TYPE`.
    Absent,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shown::String(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Shown::Set(members) => f
                .debug_set()
                .entries(members.iter().map(|m| m.escape_ascii().to_string()))
                .finish(),
            Shown::Map(elements) => f
                .debug_map()
                .entries(
                    elements
                        .iter()
                        .map(|(name, value)| (name.escape_ascii().to_string(), value.escape_ascii().to_string())),
                )
                .finish(),
            Shown::Other(kind) => write!(f, "a {kind}"),
            Shown::Absent => write!(f, "nothing"),
        }
    }
}

/// All keys of a server with their values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Dump(pub BTreeMap<Vec<u8>, Shown>);

impl Dump {
    /// Reads the whole keyspace, page by page; writes meanwhile may be seen or not.
    pub fn of(connection: &mut Connection) -> RedisResult<Dump> {
        let mut dump = Dump::default();
        let mut cursor = 0u64;
        loop {
            let (next, keys): (u64, Vec<Vec<u8>>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("COUNT")
                .arg(PAGE)
                .query(connection)?;
            dump.read_page(connection, keys)?;
            cursor = next;
            if cursor == 0 {
                return Ok(dump);
            }
        }
    }

    fn read_page(&mut self, connection: &mut Connection, keys: Vec<Vec<u8>>) -> RedisResult<()> {
        let kinds: Vec<String> = pipelined(connection, &keys, |_| "TYPE")?;
        let of_kind = |kind: &str| -> Vec<Vec<u8>> {
            keys.iter()
                .zip(&kinds)
                .filter(|(_, known)| *known == kind)
                .map(|(key, _)| key.clone())
                .collect()
        };
        let (strings, sets) = (of_kind("string"), of_kind("set"));
        let values: Vec<Option<Vec<u8>>> = pipelined(connection, &strings, |_| "GET")?;
        let members: Vec<BTreeSet<Vec<u8>>> = pipelined(connection, &sets, |_| "SMEMBERS")?;
        let strings = strings.into_iter().zip(
            values
                .into_iter()
                .map(|value| value.map_or(Shown::Absent, Shown::String)),
        );
        let sets = sets.into_iter().zip(members.into_iter().map(Shown::Set));
        let mut maps = Vec::new();
        for (kind, words) in [
            ("hash", &["HGETALL"][..]),
            ("zset", &["ZRANGE", "0", "-1", "WITHSCORES"][..]),
        ] {
            let named = of_kind(kind);
            let found: Vec<BTreeMap<Vec<u8>, Vec<u8>>> = asked(connection, &named, words)?;
            maps.extend(named.into_iter().zip(found.into_iter().map(Shown::Map)));
        }
        let others = keys
            .iter()
            .zip(&kinds)
            .filter(|(_, kind)| !["string", "set", "hash", "zset", "none"].contains(&kind.as_str()));
        let others = others.map(|(key, kind)| (key.clone(), Shown::Other(kind.clone())));
        self.0.extend(
            strings
                .chain(sets)
                .chain(maps)
                .chain(others)
                .filter(|(_, shown)| *shown != Shown::Absent),
        );
        Ok(())
    }

    /// Where two dumps differ, in words; `None` when they are equal.
    pub fn difference(&self, other: &Dump) -> Option<String> {
        if self == other {
            return None;
        }
        let keys: BTreeSet<&Vec<u8>> = self.0.keys().chain(other.0.keys()).collect();
        let differing: Vec<_> = keys
            .into_iter()
            .filter(|key| self.0.get(*key) != other.0.get(*key))
            .collect();
        let named = differing.iter().take(NAMED).map(|key| {
            let shown = |dump: &Dump| dump.0.get(*key).cloned().unwrap_or(Shown::Absent);
            format!("{}: {:?} / {:?}", key.escape_ascii(), shown(self), shown(other))
        });
        let named: Vec<String> = named.collect();
        Some(format!(
            "{} of {}/{} keys differ, as {}",
            differing.len(),
            self.0.len(),
            other.0.len(),
            named.join("; ")
        ))
    }
}

/// The answers to one command on each key; words behind the key may follow its name.
fn asked<T: redis::FromRedisValue>(
    connection: &mut Connection,
    keys: &[Vec<u8>],
    words: &[&str],
) -> RedisResult<Vec<T>> {
    let (Some((name, rest)), false) = (words.split_first(), keys.is_empty()) else {
        return Ok(Vec::new());
    };
    let mut pipeline = redis::pipe();
    for key in keys {
        pipeline.cmd(name).arg(key).arg(rest);
    }
    pipeline.query(connection)
}

fn pipelined<T: redis::FromRedisValue>(
    connection: &mut Connection,
    keys: &[Vec<u8>],
    command: impl Fn(&[u8]) -> &'static str,
) -> RedisResult<Vec<T>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let mut pipeline = redis::pipe();
    for key in keys {
        pipeline.cmd(command(key)).arg(key);
    }
    pipeline.query(connection)
}
