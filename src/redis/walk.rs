//! A walk over the keys of one database that match a pattern, some at a time, between commands.

use std::time::Instant;

use super::api::{Context, OwnedText, Text};
use super::glob::Glob;
use super::reply::{Refusal, Tree};
use super::site::{self, Site};
use super::store::RedisStore;
use super::wake;

/// Keys looked at in one step, unless the command says how many.
pub const COUNT: u64 = 100;

pub struct Walk {
    pattern: OwnedText,
    count: u64,
    pub database: u32,
    cursor: Vec<u8>,
    begun: Instant,
    /// Of the database, when it began.
    keys: u64,
    /// Looked at so far, as far as the server does in one step what it is asked for.
    seen: u64,
}

/// Begins a walk, unless `keep`, which takes it, says why not.
pub fn begin(
    ctx: Context<'_>,
    pattern: Text<'_>,
    count: u64,
    keep: impl FnOnce(&mut Site, Walk) -> Result<(), &'static str>,
) -> Result<(), Refusal> {
    let walk = Walk::new(ctx, pattern, count);
    site::with(|site| keep(site, walk))
        .ok_or_else(site::closed)?
        .map_err(|why| Refusal::from(format!("ERR {why}")))?;
    wake::due();
    Ok(())
}

impl Walk {
    fn new(ctx: Context<'_>, pattern: Text<'_>, count: u64) -> Walk {
        Walk {
            pattern: OwnedText::new(pattern.bytes()),
            count,
            database: ctx.database(),
            cursor: b"0".to_vec(),
            begun: Instant::now(),
            keys: ctx.keys(),
            seen: 0,
        }
    }

    /// Keys of one step.
    pub fn count(&self) -> usize {
        usize::try_from(self.count).unwrap_or(usize::MAX)
    }

    /// Whether the pattern means a key.
    pub fn means(&self) -> impl Fn(&[u8]) -> bool {
        let pattern = Glob::new(self.pattern.text().bytes());
        move |name| pattern.matches(name)
    }

    /// Some more keys; `None` at the end.
    pub fn step(&mut self, store: &mut RedisStore<'_>) -> Option<Vec<Vec<u8>>> {
        if self.cursor.is_empty() {
            return None;
        }
        let count = OwnedText::new(self.count.to_string().as_bytes());
        let answer = store.scan_matching(self.database, &self.cursor, self.pattern.text(), count.text())?;
        self.seen = (self.seen + self.count).min(self.keys);
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
            ("looked_at".to_owned(), number(self.seen.into())),
            ("keys".to_owned(), number(self.keys.into())),
            ("running_ms".to_owned(), number(self.begun.elapsed().as_millis())),
        ])
    }
}
