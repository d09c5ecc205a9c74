//! `GEO.ADOPT`: makes keys that are in the server, but were never replicated, replicated keys, where they are.

use super::api::{Context, Text};
use super::capture;
use super::memory;
use super::reply::{Refusal, Tree};
use super::settings;
use super::site::{self, Site};
use super::store::RedisStore;
use super::walk::{self, Walk};
use crate::crdt::{KeyRef, Notice};
use crate::replication::{Level, RegionState};

/// An adoption that is running.
pub struct Adopt {
    walk: Walk,
    written: u64,
}

/// # Errors
/// When one is running, or the region recovers.
pub fn begin(ctx: Context<'_>, pattern: Text<'_>, count: u64) -> Result<(), Refusal> {
    walk::begin(ctx, pattern, count, |site, walk| {
        if site.engine.region_state() != RegionState::Active {
            return Err("the region recovers: GEO.STATUS shows how far it is");
        }
        if site.adopt.is_some() {
            return Err("GEO.ADOPT is running: GEO.STATUS shows how far it is");
        }
        site.adopt = Some(Adopt { walk, written: 0 });
        Ok(())
    })
}

/// One step; true while more are to come at once. It waits while the region recovers, and for memory.
pub fn step(ctx: Context<'_>, site: &mut Site, store: &mut RedisStore<'_>) -> bool {
    if site.adopt.is_none() || site.engine.region_state() != RegionState::Active || memory::is_paused() {
        return false;
    }
    let Some(mut adopt) = site.adopt.take() else {
        return false;
    };
    let Some(names) = adopt.walk.step(store) else {
        let text = format!("adopted {} {}", adopt.written, adopt.walk.summary());
        site::log(ctx, Level::Notice, &text);
        return false;
    };
    let db = adopt.walk.database;
    for name in names.iter().filter(|name| settings::has_key(name)) {
        let key = KeyRef { db, name };
        adopt.written += u64::from(capture::capture(ctx, site, store, key, Notice::None));
    }
    site.adopt = Some(adopt);
    true
}

/// For `GEO.STATUS`.
pub fn report(site: &Site) -> Tree {
    match &site.adopt {
        None => Tree::Text("none".to_owned()),
        Some(adopt) => adopt.walk.report("written", adopt.written),
    }
}
