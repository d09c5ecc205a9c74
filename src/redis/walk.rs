//! A walk over the keys of one database that match a pattern, some at a time, between commands.

use std::time::Instant;

use super::api::{Context, OwnedText, Text};
use super::reply::{Refusal, Tree};
use super::site::{self, Site};
use super::store::RedisStore;
use super::wake;

/// Keys looked at in one step, unless the command says how many.
pub const COUNT: u64 = 100;

pub struct Walk {
    pattern: OwnedText,
    count: OwnedText,
    pub database: u32,
    cursor: Vec<u8>,
    begun: Instant,
}

/// Begins a walk, unless `keep`, which takes it, says why not.
pub fn begin(
    ctx: Context<'_>,
    pattern: Text<'_>,
    count: u64,
    keep: impl FnOnce(&mut Site, Walk) -> Result<(), &'static str>,
) -> Result<(), Refusal> {
    let walk = Walk::new(ctx.database(), pattern, count);
    site::with(|site| keep(site, walk))
        .ok_or_else(site::closed)?
        .map_err(|why| Refusal::from(format!("ERR {why}")))?;
    wake::due();
    Ok(())
}

impl Walk {
    fn new(database: u32, pattern: Text<'_>, count: u64) -> Walk {
        Walk {
            pattern: OwnedText::new(pattern.bytes()),
            count: OwnedText::new(count.to_string().as_bytes()),
            database,
            cursor: b"0".to_vec(),
            begun: Instant::now(),
        }
    }

    /// Some more keys; `None` at the end.
    pub fn step(&mut self, store: &mut RedisStore<'_>) -> Option<Vec<Vec<u8>>> {
        if self.cursor.is_empty() {
            return None;
        }
        let (pattern, count) = (self.pattern.text(), self.count.text());
        let answer = store.scan_matching(self.database, &self.cursor, pattern, count)?;
        self.cursor = answer.nested(0).bytes().unwrap_or(b"0").to_vec();
        if self.cursor == b"0" {
            self.cursor.clear();
        }
        Some(answer.nested(1).strings().map(<[u8]>::to_vec).collect())
    }

    /// For the log: what it was about, and how long it took.
    pub fn summary(&self) -> String {
        let pattern = String::from_utf8_lossy(self.pattern.text().bytes()).into_owned();
        format!("keys like '{pattern}' in {:.1} s", self.begun.elapsed().as_secs_f64())
    }

    /// For `GEO.STATUS`: with how many keys were changed so far, and what that is called.
    pub fn report(&self, name: &str, count: u64) -> Tree {
        let number = |value: u128| Tree::Integer(i64::try_from(value).unwrap_or(i64::MAX));
        Tree::Map(vec![
            ("pattern".to_owned(), Tree::Bytes(self.pattern.text().bytes().to_vec())),
            (name.to_owned(), number(count.into())),
            ("running_ms".to_owned(), number(self.begun.elapsed().as_millis())),
        ])
    }
}
