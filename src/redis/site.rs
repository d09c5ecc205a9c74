//! This server's place in the replication: the engine and its network, on the main thread only.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redis_module::raw;

use super::adopt::Adopt;
use super::amnesia;
use super::api::{Context, Text, api};
use super::capture;
use super::durability;
use super::events;
use super::expiry;
use super::followed::{self, Past};
use super::network::Network;
use super::outside;
use super::purge::Purge;
use super::recovery;
use super::reply::Refusal;
use super::settings;
use super::store::RedisStore;
use crate::crdt::{Before, Element, KeyRef, OwnedValue, Store, ntp64};
use crate::replication::{Change, Engine, Level, Now, Output, Region};

pub const FAILED: &CStr = c"ERR redis-geo stopped after an internal error: see the server's log, then restart it";
const READONLY: &CStr = c"READONLY You can't write against a read only replica.";
const DETACHED: &CStr =
    c"ERR the region is detached: native commands write, and nothing is replicated to other regions";
const APPLYING: &CStr = c"ERR a write cannot run while changes of other regions are being applied";

/// State that only the server's main thread touches: all callbacks run there.
pub struct MainThread<T>(pub T);

// SAFETY: every access is made in a callback of the server, and those all run on its main thread.
unsafe impl<T> Sync for MainThread<T> {}

pub struct Flags {
    /// This server may write: its commands are recorded, remote changes are applied.
    pub primary: Cell<bool>,
    /// The server is reading its RDB or AOF: commands come from there and are not new.
    pub loading: Cell<bool>,
    /// There is an AOF, a replica or a replication backlog. Refreshed by `events`.
    pub listeners: Cell<bool>,
    /// No string longer than this is stored in a compact encoding.
    pub compact: Cell<usize>,
    /// The running command has the native name of its client, and `geo.keys` may leave out some of its keys.
    pub native: Cell<bool>,
    /// With any module that listens to keyspace events, a native command that names another database leaves its client
    /// there: Valkey from 8.1 on, until its pull request 4024 (in 9.1.2).
    pub strays: Cell<bool>,
    /// The region replicates no more: this is a plain server but for the module's presence.
    pub detached: Cell<bool>,
    /// Our own code runs: what happens to keys is its doing.
    pub busy: Cell<bool>,
    /// The running command has recorded something.
    recorded: Cell<bool>,
    /// A bug was met. The engine's state cannot be trusted any more.
    failed: Cell<bool>,
}

pub static FLAGS: MainThread<Flags> = MainThread(Flags {
    primary: Cell::new(false),
    loading: Cell::new(false),
    listeners: Cell::new(true),
    compact: Cell::new(COMPACT),
    native: Cell::new(false),
    strays: Cell::new(false),
    detached: Cell::new(false),
    busy: Cell::new(false),
    recorded: Cell::new(false),
    failed: Cell::new(false),
});

/// Longest string in a compact encoding on Redis 7, and a bound for all other servers.
const COMPACT_REDIS_7: usize = 44;
const COMPACT: usize = 256;

impl Flags {
    /// Whether local commands are new operations of this region.
    pub fn recording(&self) -> bool {
        self.primary.get() && !self.loading.get() && !self.detached.get()
    }
}

pub struct Site {
    pub engine: Engine,
    pub network: Network,
    pub out: Vec<Output>,
    pub purge: Option<Purge>,
    pub adopt: Option<Adopt>,
    start: Instant,
}

static SITE: MainThread<RefCell<Option<Site>>> = MainThread(RefCell::new(None));
/// A network that `load` has already started, to refuse wrong settings there.
static STARTED: MainThread<RefCell<Option<Network>>> = MainThread(RefCell::new(None));
static INCARNATION: MainThread<Cell<u64>> = MainThread(Cell::new(0));

impl Site {
    pub fn now(&self) -> Now {
        Now {
            mono: self.start.elapsed(),
            wall: ntp64(since_epoch()),
        }
    }

    pub fn opened(&self) -> Instant {
        self.start
    }

    /// Hands on what the engine has put out.
    pub fn dispatch(&mut self, ctx: Context<'_>) {
        for output in self.out.drain(..) {
            match output {
                Output::Log { level, text } => log(ctx, level, &text),
                other => self.network.send(other),
            }
        }
    }
}

pub fn log(ctx: Context<'_>, level: Level, text: &str) {
    let level = match level {
        Level::Verbose => c"verbose",
        Level::Notice => c"notice",
        Level::Warning => c"warning",
    };
    ctx.log(level, text);
}

pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

pub fn keep_network(network: Network) {
    *STARTED.0.borrow_mut() = Some(network);
}

/// Incarnations count milliseconds since 2025-01-01: 40 bits last until 2059, and no restart is quick enough to
/// meet its predecessor's number.
const FIRST_INCARNATION: Duration = Duration::from_secs(1_735_689_600);

/// Servers whose clock is behind the region's last incarnation take a number among so many after it.
const CHOICE: u64 = 1 << 20;

/// A number that no server of the region has had or will have: two may start from copies of one state, and then `least`
/// is the same for both.
fn fresh_incarnation(least: u64) -> u64 {
    let clock = since_epoch().saturating_sub(FIRST_INCARNATION).as_millis() as u64;
    let clock = clock.max(INCARNATION.0.get() + 1);
    let incarnation = match clock >= least {
        true => clock,
        false => least + choice(),
    };
    INCARNATION.0.set(incarnation);
    incarnation
}

/// What distinguishes this server from another that runs on a copy of its state: seeded by the system for each process.
pub fn choice() -> u64 {
    RandomState::new().hash_one(std::process::id()) % CHOICE
}

/// Opens the site as soon as this server is a primary with its data loaded. Says why when it cannot.
pub fn ensure_open(ctx: Context<'_>) -> Result<(), String> {
    if SITE.0.borrow().is_some() || FLAGS.0.failed.get() {
        return Ok(());
    }
    let options = settings::options()?;
    let network = match STARTED.0.borrow_mut().take() {
        Some(network) => network,
        None => Network::start(&options)?,
    };
    let Past {
        region,
        trusted,
        dropped,
        own,
    } = followed::take();
    let incarnation = fresh_incarnation(region.as_ref().map_or(0, Region::next_incarnation));
    let weight = RedisStore::new(ctx).key_count();
    let now = Now {
        mono: Duration::ZERO,
        wall: ntp64(since_epoch()),
    };
    let mut engine = Engine::new(options.engine(), region, trusted, incarnation, weight, now);
    if own && weight > 0 {
        engine.bring_own_data();
    }
    // A replica may have been promoted since the last look, with others that will be caught up from its backlog.
    FLAGS.0.listeners.set(events::has_listeners(ctx));
    engine.set_logging(FLAGS.0.listeners.get());
    if dropped {
        engine.keys_were_dropped(&mut RedisStore::new(ctx));
    }
    let mut site = Site {
        engine,
        network,
        out: Vec::new(),
        purge: None,
        adopt: None,
        start: Instant::now(),
    };
    durability::open(ctx, &mut site);
    recovery::look(ctx, &mut site);
    *SITE.0.borrow_mut() = Some(site);
    Ok(())
}

/// Says goodbye to the peers; the region's state stays, to follow another primary or to be saved. The next promotion
/// opens a new site under a fresh replica id.
pub fn close(ctx: Context<'_>) {
    close_because(ctx, "the region shuts down");
}

/// `why`: what peers are told.
pub fn close_because(ctx: Context<'_>, why: &str) {
    drop(STARTED.0.borrow_mut().take());
    if let Some(mut site) = SITE.0.borrow_mut().take() {
        let healthy = !FLAGS.0.failed.get();
        if healthy {
            site.engine.shutdown(why, &mut site.out);
        }
        site.dispatch(ctx);
        site.network.stop();
        recovery::end(ctx);
        followed::give(healthy.then(|| site.engine.into_region()));
    }
}

/// Before other data is loaded in place of what is here. A network that waits for the first load stays.
pub fn close_for_load(ctx: Context<'_>) {
    if SITE.0.borrow().is_some() {
        close(ctx);
    }
}

/// Runs with the region's state while this server leads it. Borrows only for reading: a forked child may be asking.
pub fn look<R>(run: impl FnOnce(&Region) -> R) -> Option<R> {
    if FLAGS.0.failed.get() {
        return None;
    }
    SITE.0.try_borrow().ok()?.as_ref().map(|site| run(site.engine.region()))
}

/// Runs with the site, when it is open and healthy.
pub fn with<R>(run: impl FnOnce(&mut Site) -> R) -> Option<R> {
    if FLAGS.0.failed.get() {
        return None;
    }
    SITE.0.try_borrow_mut().ok()?.as_mut().map(run)
}

/// No region is open here.
pub fn closed() -> Refusal {
    c"ERR the region is not open here: GEO.STATUS says why".into()
}

/// After a panic: nothing is recorded or applied any more, and GEO commands are refused.
pub fn fail(ctx: Context<'_>, message: &str) {
    FLAGS.0.failed.set(true);
    ctx.log(c"warning", &format!("internal error, replication stops: {message}"));
}

/// # Errors
/// When the region is detached.
pub fn check_attached() -> Result<(), Refusal> {
    match FLAGS.0.detached.get() {
        true => Err(DETACHED.into()),
        false => Ok(()),
    }
}

/// Before a command reads or changes a key. After this, recording the change cannot be refused.
pub fn prepare(ctx: Context<'_>, key: Text<'_>) -> Result<(), Refusal> {
    if FLAGS.0.failed.get() {
        return Err(FAILED.into());
    }
    check_attached()?;
    if !FLAGS.0.recording() {
        return Err(READONLY.into());
    }
    let mut site = SITE.0.try_borrow_mut().map_err(|_| Refusal::from(APPLYING))?;
    if site.is_none() {
        drop(site);
        ensure_open(ctx).map_err(|reason| Refusal::from(format!("ERR redis-geo is not ready: {reason}")))?;
        site = SITE.0.try_borrow_mut().map_err(|_| Refusal::from(APPLYING))?;
    }
    if let Some(site) = site.as_mut() {
        if amnesia::is_due() {
            amnesia::face(ctx, site);
        }
        let name = KeyRef {
            db: ctx.database(),
            name: key.bytes(),
        };
        expiry::before_command(site, name);
        site.engine.prepare(name, &mut RedisStore::new(ctx));
        capture::before_command(ctx, site, name);
        // They look at the key, too.
        expiry::before_command(site, name);
    }
    Ok(())
}

/// After a command has changed a key.
pub fn record(ctx: Context<'_>, key: Text<'_>, before: impl Into<Before>, change: Change<'_>) {
    record_in(ctx, ctx, key, before, change);
}

/// The same for a key of the database that is selected in `there`.
pub fn record_in(ctx: Context<'_>, there: Context<'_>, key: Text<'_>, before: impl Into<Before>, change: Change<'_>) {
    if outside::is_outside(key) {
        return outside::changed(there, key);
    }
    let name = KeyRef {
        db: there.database(),
        name: key.bytes(),
    };
    for (element, value) in record_at(name, before, change, in_unit(ctx)) {
        RedisStore::new(there).write(name, element, Some(value.borrow()));
    }
}

/// The same for a key of any database. `unit`: it belongs to a transaction or a script. Gives what the key is to hold
/// instead ([`Engine::record`](crate::replication::Engine::record)).
pub fn record_at<'a>(
    key: KeyRef<'_>,
    before: impl Into<Before>,
    change: Change<'a>,
    unit: bool,
) -> Vec<(Element<'a>, OwnedValue)> {
    if !FLAGS.0.recording() {
        return Vec::new();
    }
    let recorded = with(|site| {
        join(site, unit);
        site.engine.record(key, before, change)
    });
    recorded.unwrap_or_default()
}

/// Something is about to be recorded: it is one unit with what the same command, transaction or script has recorded.
pub fn join(site: &mut Site, unit: bool) {
    if FLAGS.0.recorded.replace(true) || site.engine.has_recorded() && unit {
        site.engine.join();
    }
}

/// Whether the command runs in a transaction or a script.
pub fn in_unit(ctx: Context<'_>) -> bool {
    // SAFETY: valid in any context.
    let flags = unsafe { api!(RedisModule_GetContextFlags(ctx.raw)) } as u32;
    flags & (raw::REDISMODULE_CTX_FLAGS_MULTI | raw::REDISMODULE_CTX_FLAGS_LUA) != 0
}

/// Whether the command runs in a script or function.
pub fn in_script(ctx: Context<'_>) -> bool {
    // SAFETY: valid in any context.
    let flags = unsafe { api!(RedisModule_GetContextFlags(ctx.raw)) } as u32;
    flags & raw::REDISMODULE_CTX_FLAGS_LUA != 0
}

/// Whether something was recorded since the last call.
pub fn take_recorded() -> bool {
    FLAGS.0.recorded.replace(false)
}

/// Whether anything may be propagated: a pause of the clients, as in `FAILOVER`, forbids it.
pub fn may_propagate() -> bool {
    // SAFETY: takes nothing.
    unsafe { api!(RedisModule_AvoidReplicaTraffic()) == 0 }
}

/// Whether remote changes may be applied now. During `FAILOVER` or `CLIENT PAUSE` a write would crash the
/// server.
pub fn may_apply() -> bool {
    FLAGS.0.recording() && may_propagate()
}

/// What the server is when the module loads; from then on events tell.
pub fn read_flags(ctx: Context<'_>) {
    // SAFETY: valid in any context.
    let flags = unsafe { api!(RedisModule_GetContextFlags(ctx.raw)) } as u32;
    FLAGS.0.primary.set(flags & raw::REDISMODULE_CTX_FLAGS_MASTER != 0);
    FLAGS.0.loading.set(flags & raw::REDISMODULE_CTX_FLAGS_LOADING != 0);
    match valkey_version(ctx) {
        Some(version) => FLAGS.0.strays.set(version >= (8, 1)),
        // SAFETY: takes nothing.
        None if unsafe { api!(RedisModule_GetServerVersion()) } >> 16 == 7 => FLAGS.0.compact.set(COMPACT_REDIS_7),
        None => {}
    }
}

/// Valkey says that it is Redis 7.2, but also what it is: the first two numbers of its version.
fn valkey_version(ctx: Context<'_>) -> Option<(u32, u32)> {
    // SAFETY: the data is freed once, after its field was read and copied.
    let version = unsafe {
        let data = api!(RedisModule_GetServerInfo(ctx.raw, c"server".as_ptr()));
        let field = api!(RedisModule_ServerInfoGetFieldC(data, c"valkey_version".as_ptr()));
        let version = (!field.is_null()).then(|| CStr::from_ptr(field).to_string_lossy().into_owned());
        api!(RedisModule_FreeServerInfo(ctx.raw, data));
        version
    }?;
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    Some((numbers.next()?, numbers.next()?))
}
