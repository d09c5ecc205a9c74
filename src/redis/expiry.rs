//! Keys that the server lets expire: each region by its own clock, and tells the others.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::{CStr, c_char, c_int};

use redis_module::raw;

use super::api::{Context, Text, api};
use super::attention;
use super::capture;
use super::guard;
use super::log;
use super::settings;
use super::site::{self, FLAGS, MainThread, Site};
use super::store::RedisStore;
use crate::crdt::{KeyName, KeyRef, Store, unix_millis};
use crate::replication::Change;

/// Keys that went while the engine was at work on the keyspace: it has to hear of each before it goes on with it.
static GONE: MainThread<RefCell<BTreeSet<KeyName>>> = MainThread(RefCell::new(BTreeSet::new()));

pub fn subscribe(ctx: Context<'_>) {
    let types = raw::REDISMODULE_NOTIFY_EXPIRED as c_int;
    // SAFETY: during load; the callback lives as long as the library, which stays.
    unsafe { api!(RedisModule_SubscribeToKeyspaceEvents(ctx.raw, types, Some(expired))) };
}

/// The server tells before it tells its replicas and its append-only file, so that they hear our word first.
unsafe extern "C" fn expired(
    ctx: *mut raw::RedisModuleCtx,
    types: c_int,
    event: *const c_char,
    key: *mut raw::RedisModuleString,
) -> c_int {
    let nested = FLAGS.0.busy.get();
    // SAFETY: a notification's context, event and key.
    unsafe {
        // Valkey tells of fields in the same class: then the key is still there.
        if CStr::from_ptr(event) != c"expired" {
            return capture::changed(ctx, types, event, key);
        }
        guard::callback(ctx, |ctx| {
            if FLAGS.0.recording() {
                attention::call();
                let name = Text::new(key).bytes();
                if record(ctx.database(), name).is_none() {
                    GONE.0.borrow_mut().insert((ctx.database(), name.into()));
                }
                // Inside a command that we have the server run nothing would come of it.
                if !nested {
                    log::after_command(ctx);
                }
            }
        })
    }
    raw::REDISMODULE_OK as c_int
}

/// `None` while the engine is at work.
fn record(db: u32, name: &[u8]) -> Option<()> {
    site::with(|site| {
        tell(site, KeyRef { db, name });
    })
}

/// True when it concerns other regions.
fn tell(site: &mut Site, key: KeyRef<'_>) -> bool {
    let tells = FLAGS.0.recording() && (settings::has_key(key.name) || site.engine.knows(key));
    if tells {
        let now = unix_millis(site.now().wall);
        site::join(site, false);
        site.engine.record(key, None, Change::expired(now));
    }
    tells
}

/// Whether the key has gone since the engine last asked.
pub fn take(key: KeyRef<'_>) -> bool {
    is_due() && GONE.0.borrow_mut().remove(&(key.db, key.name.into()))
}

pub fn is_due() -> bool {
    !GONE.0.borrow().is_empty()
}

/// Before a command of ours reads or changes a key.
pub fn before_command(site: &mut Site, key: KeyRef<'_>) {
    if take(key) {
        tell(site, key);
    }
}

/// At the end of what the engine did: records what it has not asked for. A key that it has written again since went with
/// what that was added to.
pub fn settle(ctx: Context<'_>, site: &mut Site) {
    for (db, name) in GONE.0.take() {
        let key = KeyRef { db, name: &name };
        let mut store = RedisStore::new(ctx);
        if tell(site, key) && store.kind(key).is_some() {
            store.delete(key);
        }
    }
}

/// Records what came up elsewhere, and propagates what could not be when it was recorded.
pub fn face(ctx: Context<'_>) {
    for (db, name) in GONE.0.take() {
        record(db, &name);
    }
    log::after_command(ctx);
}
