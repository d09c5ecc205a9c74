//! A keyspace that was emptied without the module: the region has forgotten, and its peers give the data back.

use std::cell::{Cell, RefCell};

use redis_module::raw;

use super::api::Context;
use super::capture;
use super::kept;
use super::log;
use super::site::{FLAGS, MainThread, Site};

/// Databases that were emptied and held keys, `None` for all of them; the engine does not know yet.
static FLUSHED: MainThread<RefCell<Vec<Option<u32>>>> = MainThread(RefCell::new(Vec::new()));

/// A flush that the engine knows of is running.
static KNOWN: MainThread<Cell<bool>> = MainThread(Cell::new(false));

/// Runs a flush that is no amnesia: what it removes is recorded.
pub fn on_purpose<R>(flush: impl FnOnce() -> R) -> R {
    KNOWN.0.set(true);
    let result = flush();
    KNOWN.0.set(false);
    result
}

/// # Safety
/// `info` is what the server hands to a flush event.
pub unsafe fn flush_begins(ctx: Context<'_>, info: *const raw::RedisModuleFlushInfo) {
    // A full synchronization and a load empty the keyspace, too, and then bring a state of their own.
    if !FLAGS.0.recording() || info.is_null() || KNOWN.0.get() {
        return;
    }
    // SAFETY: by contract.
    let database = u32::try_from(unsafe { (*info).dbnum }).ok();
    capture::forget(database);
    let home = ctx.database();
    let range = database.map_or(0..u32::MAX, |one| one..one + 1);
    let held = range
        .map_while(|database| kept::at(ctx, database))
        .any(|there| there.keys() > 0);
    ctx.select(home);
    if held {
        FLUSHED.0.borrow_mut().push(database);
    }
}

/// What is loaded replaces what was forgotten.
pub fn load_begins() {
    FLUSHED.0.borrow_mut().clear();
    capture::forget(None);
}

/// Lets the engine know, before anything else is recorded or applied.
pub fn face(ctx: Context<'_>, site: &mut Site) {
    for database in FLUSHED.0.take() {
        site.engine.forget(database, &mut site.out);
    }
    log::propagate(ctx, site);
    site.dispatch(ctx);
}

pub fn is_due() -> bool {
    !FLUSHED.0.borrow().is_empty()
}
