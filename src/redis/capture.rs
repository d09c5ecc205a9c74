//! Changes that came by no command of ours: a write command under another name, another module, whatever gives notice in
//! the keyspace. The keys are noted, and looked at before anything else is done to them, at the latest at the end of the
//! turn.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int};

use redis_module::raw;

use super::api::{Context, Text, api};
use super::attention;
use super::expiry;
use super::guard;
use super::log;
use super::native;
use super::settings;
use super::site::{self, FLAGS, MainThread, Site};
use super::store::RedisStore;
use super::wake;
use crate::crdt::{KeyRef, Notice, Store};
use crate::replication::{Captured, Level};

/// More keys are not noted at once: those before are looked at first.
const MOST: usize = 10_000;

const CLASSES: c_int = raw::REDISMODULE_NOTIFY_GENERIC
    | raw::REDISMODULE_NOTIFY_STRING
    | raw::REDISMODULE_NOTIFY_LIST
    | raw::REDISMODULE_NOTIFY_SET
    | raw::REDISMODULE_NOTIFY_HASH
    | raw::REDISMODULE_NOTIFY_ZSET
    | raw::REDISMODULE_NOTIFY_STREAM
    | raw::REDISMODULE_NOTIFY_MODULE;

type Noted = BTreeMap<(u32, Box<[u8]>), Notice>;

static NOTED: MainThread<RefCell<Noted>> = MainThread(RefCell::new(BTreeMap::new()));

struct Counts {
    captured: Cell<u64>,
    unmergeable: Cell<u64>,
}

static COUNTS: MainThread<Counts> = MainThread(Counts {
    captured: Cell::new(0),
    unmergeable: Cell::new(0),
});

pub fn subscribe(ctx: Context<'_>) {
    // SAFETY: during load; the callback lives as long as the library, which stays.
    unsafe { api!(RedisModule_SubscribeToKeyspaceEvents(ctx.raw, CLASSES, Some(changed))) };
}

/// Runs for every change of every key, nearly all of them ours.
///
/// # Safety
/// Called with what the server hands to a notification.
pub unsafe extern "C" fn changed(
    ctx: *mut raw::RedisModuleCtx,
    _class: c_int,
    event: *const c_char,
    key: *mut raw::RedisModuleString,
) -> c_int {
    if !FLAGS.0.busy.get() && FLAGS.0.recording() && settings::transparent() {
        // SAFETY: a notification's context, event and key.
        unsafe { guard::callback(ctx, |ctx| note(ctx, CStr::from_ptr(event), Text::new(key))) }
    }
    raw::REDISMODULE_OK as c_int
}

fn note(ctx: Context<'_>, event: &CStr, key: Text<'_>) {
    if !settings::has_key(key.bytes()) {
        return;
    }
    attention::call();
    let notice = match event.to_bytes() {
        b"expire" | b"persist" => Notice::Deadline,
        _ => Notice::Value,
    };
    if NOTED.0.borrow().len() >= MOST {
        site::with(|site| face(ctx, site));
    }
    let mut noted = NOTED.0.borrow_mut();
    let known = noted.entry((ctx.database(), key.bytes().into())).or_insert(notice);
    *known = notice.max(*known);
}

/// What was noted is of no concern any more: of one database, or of all.
pub fn forget(database: Option<u32>) {
    let other = |db: u32| database.is_some_and(|one| one != db);
    NOTED.0.borrow_mut().retain(|(db, _), _| other(*db));
}

/// Before a command of ours reads or changes a key.
pub fn before_command(ctx: Context<'_>, site: &mut Site, key: KeyRef<'_>) {
    if NOTED.0.borrow().is_empty() {
        return;
    }
    let notice = NOTED.0.borrow_mut().remove(&(key.db, key.name.into()));
    if let Some(notice) = notice {
        site::join(site, site::in_unit(ctx));
        capture(ctx, site, &mut RedisStore::new(ctx), key, notice);
    }
}

/// At the end of a turn, before peers' changes are applied. What is found is one unit, with the last write of the turn.
pub fn face(ctx: Context<'_>, site: &mut Site) {
    if NOTED.0.borrow().is_empty() || !site::may_apply() {
        return;
    }
    let noted = NOTED.0.take();
    let mut store = RedisStore::new(ctx);
    for ((db, name), notice) in noted {
        site.engine.join();
        capture(ctx, site, &mut store, KeyRef { db, name: &name }, notice);
    }
    drop(store);
    expiry::settle(ctx, site);
    log::propagate(ctx, site);
    if expiry::is_due() {
        wake::rearm();
    }
}

/// Records what a key holds. True when that was news.
pub fn capture(ctx: Context<'_>, site: &mut Site, store: &mut RedisStore<'_>, key: KeyRef<'_>, notice: Notice) -> bool {
    if store.kind(key).is_none() && !may_be_removed(ctx) {
        return false;
    }
    let captured = site.engine.capture(key, notice, settings::max_value(), store);
    match captured {
        Captured::Nothing => {}
        Captured::Recorded => COUNTS.0.captured.set(COUNTS.0.captured.get() + 1),
        Captured::Unmergeable => stays(ctx, key, "it holds a type that regions cannot merge"),
        Captured::TooLarge(bytes) => {
            let why = format!("one of its elements has {bytes} bytes, and geo.max-value-size allows less");
            stays(ctx, key, &why);
        }
    }
    captured == Captured::Recorded
}

/// Whether a key that is gone was removed, rather than moved to another server.
fn may_be_removed(ctx: Context<'_>) -> bool {
    // SAFETY: valid in any context.
    let flags = unsafe { api!(RedisModule_GetContextFlags(ctx.raw)) } as u32;
    flags & raw::REDISMODULE_CTX_FLAGS_CLUSTER == 0 && !native::migrate_is_renamed()
}

fn stays(ctx: Context<'_>, key: KeyRef<'_>, why: &str) {
    let before = COUNTS.0.unmergeable.get();
    COUNTS.0.unmergeable.set(before + 1);
    if before == 0 {
        let name = String::from_utf8_lossy(key.name);
        let text = format!(
            "key '{name}' was written, but not by a command that replicates, and stays in this region: {why}. That is \
             said once; GEO.STATUS counts it as unmergeable_keys"
        );
        site::log(ctx, Level::Warning, &text);
    }
}

/// Keys captured, and keys found that cannot be.
pub fn counts() -> (u64, u64) {
    (COUNTS.0.captured.get(), COUNTS.0.unmergeable.get())
}
