//! `GEO.PURGE`: removes the keys that match a pattern in all regions, in slices between commands.

use std::time::Instant;

use super::api::{Context, OwnedText, Text};
use super::reply::{Refusal, Tree};
use super::settings;
use super::site::{self, Site};
use super::store::RedisStore;
use super::wake;
use crate::crdt::KeyRef;
use crate::replication::Level;

/// Keys looked at in one step, unless the command says how many.
pub const COUNT: u64 = 100;

/// A purge that is running.
pub struct Purge {
    pattern: OwnedText,
    count: OwnedText,
    database: u32,
    cursor: Vec<u8>,
    removed: u64,
    begun: Instant,
}

/// # Errors
/// When another purge is running, or the region is not there to say what it has seen.
pub fn begin(ctx: Context<'_>, pattern: Text<'_>, count: u64) -> Result<(), Refusal> {
    let database = ctx.database();
    let begun = site::with(|site| {
        site.engine.begin_purge()?;
        site.purge = Some(Purge {
            pattern: OwnedText::new(pattern.bytes()),
            count: OwnedText::new(count.to_string().as_bytes()),
            database,
            cursor: b"0".to_vec(),
            removed: 0,
            begun: Instant::now(),
        });
        Ok(())
    });
    let closed = || Refusal::from(c"ERR the region is not open here: GEO.STATUS says why");
    begun
        .ok_or_else(closed)?
        .map_err(|why: &str| Refusal::from(format!("ERR {why}")))?;
    wake::due();
    Ok(())
}

/// One step; true while more are to come.
pub fn step(ctx: Context<'_>, site: &mut Site, store: &mut RedisStore<'_>) -> bool {
    let Some(mut purge) = site.purge.take() else {
        return false;
    };
    let more = purge.step(site, store);
    if more {
        site.purge = Some(purge);
    } else {
        site.engine.end_purge();
        let pattern = String::from_utf8_lossy(purge.pattern.text().bytes()).into_owned();
        let text = format!(
            "purged {} keys like '{pattern}' in {:.1} s",
            purge.removed,
            purge.begun.elapsed().as_secs_f64()
        );
        site::log(ctx, Level::Notice, &text);
    }
    more
}

impl Purge {
    fn step(&mut self, site: &mut Site, store: &mut RedisStore<'_>) -> bool {
        // The region has given up the state in which it began.
        if !site.engine.is_purging() {
            return false;
        }
        let (pattern, count) = (self.pattern.text(), self.count.text());
        let Some(answer) = store.scan_matching(self.database, &self.cursor, pattern, count) else {
            return false;
        };
        for name in answer.nested(1).strings().filter(|name| settings::has_key(name)) {
            let db = self.database;
            site.engine.purge(KeyRef { db, name }, store);
            self.removed += 1;
        }
        self.cursor = answer.nested(0).bytes().unwrap_or(b"0").to_vec();
        self.cursor != b"0"
    }
}

/// For `GEO.STATUS`.
pub fn report(site: &Site) -> Tree {
    match &site.purge {
        None => Tree::Text("none".to_owned()),
        Some(purge) => Tree::Map(vec![
            ("pattern".to_owned(), Tree::Bytes(purge.pattern.text().bytes().to_vec())),
            (
                "removed".to_owned(),
                Tree::Integer(i64::try_from(purge.removed).unwrap_or(i64::MAX)),
            ),
            (
                "running_ms".to_owned(),
                Tree::Integer(i64::try_from(purge.begun.elapsed().as_millis()).unwrap_or(i64::MAX)),
            ),
        ]),
    }
}
