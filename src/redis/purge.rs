//! `GEO.PURGE`: removes the keys that match a pattern in all regions, in slices between commands.

use super::api::{Context, Text};
use super::reply::{Refusal, Tree};
use super::settings;
use super::site::{self, Site};
use super::store::RedisStore;
use super::walk::{self, Walk};
use crate::crdt::KeyRef;
use crate::replication::Level;

/// A purge that is running.
pub struct Purge {
    walk: Walk,
    removed: u64,
    /// What this server has evicted, which the others may have: at the beginning, and after the walk once more.
    evicted: Vec<Box<[u8]>>,
    walked: bool,
}

impl Purge {
    /// Names of some more keys; `None` at the end.
    fn next(&mut self, site: &Site, store: &mut RedisStore<'_>) -> Option<Vec<Vec<u8>>> {
        if let Some(names) = self.some_evicted().or_else(|| self.walk.step(store)) {
            return Some(names);
        }
        if !std::mem::replace(&mut self.walked, true) {
            self.evicted = evicted(site, &self.walk);
        }
        self.some_evicted()
    }

    fn some_evicted(&mut self) -> Option<Vec<Vec<u8>>> {
        let rest = self.evicted.len().saturating_sub(self.walk.count());
        let some = self.evicted.split_off(rest);
        (!some.is_empty()).then(|| some.into_iter().map(Vec::from).collect())
    }
}

fn evicted(site: &Site, walk: &Walk) -> Vec<Box<[u8]>> {
    site.engine.hidden_in(walk.database, walk.means())
}

/// # Errors
/// When another purge is running, or the region is not there to say what it has seen.
pub fn begin(ctx: Context<'_>, pattern: Text<'_>, count: u64) -> Result<(), Refusal> {
    walk::begin(ctx, pattern, count, |site, walk| {
        site.engine.begin_purge()?;
        site.purge = Some(Purge {
            evicted: evicted(site, &walk),
            walk,
            removed: 0,
            walked: false,
        });
        Ok(())
    })
}

/// One step; true while more are to come.
pub fn step(ctx: Context<'_>, site: &mut Site, store: &mut RedisStore<'_>) -> bool {
    let Some(mut purge) = site.purge.take() else {
        return false;
    };
    if !site.engine.is_purging() {
        let text = format!(
            "a purge has ended early, because the region has given up the state in which it began: {} removed of {}",
            purge.removed,
            purge.walk.summary()
        );
        site::log(ctx, Level::Warning, &text);
        return false;
    }
    let Some(names) = purge.next(site, store) else {
        site.engine.end_purge();
        let text = format!("purged {} {}", purge.removed, purge.walk.summary());
        site::log(ctx, Level::Notice, &text);
        return false;
    };
    let db = purge.walk.database;
    for name in names.iter().filter(|name| settings::has_key(name)) {
        site.engine.purge(KeyRef { db, name }, store);
        purge.removed += 1;
    }
    site.purge = Some(purge);
    true
}

/// For `GEO.STATUS`.
pub fn report(site: &Site) -> Tree {
    match &site.purge {
        None => Tree::Text("none".to_owned()),
        Some(purge) => purge.walk.report("removed", purge.removed),
    }
}
