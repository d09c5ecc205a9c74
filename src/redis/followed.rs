//! The region's state while this server does not lead it: what was loaded, what a replica follows.

use std::cell::RefCell;

use redis_module::raw;

use super::api::{Context, api};
use super::reply::Refusal;
use super::settings;
use super::site::MainThread;
use super::store::RedisStore;
use crate::replication::{Loader, Region};

/// How the state came here. It decides whether a primary that goes on from it may trust it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Road {
    /// An RDB: of any age.
    #[default]
    Snapshot,
    /// The append-only file of a server that led the region when it wrote the file's end.
    OwnLog,
    /// The append-only file of a server that followed: it holds what that server had got by then.
    FollowersLog,
    /// The replication link.
    Stream,
    /// It never left this process.
    Memory,
}

#[derive(Default)]
struct Followed {
    region: Option<Region>,
    road: Road,
    /// Pieces of a state that have come so far.
    loader: Option<Loader>,
    /// Why the state was given up, until another is loaded.
    broken: Option<String>,
    /// There may be something to settle.
    busy: bool,
    /// The server has left out what had expired.
    dropped: bool,
    /// A state, or a part of one, has been here: the values are not this server's own.
    replicated: bool,
}

static FOLLOWED: MainThread<RefCell<Option<Followed>>> = MainThread(RefCell::new(None));

fn with<R>(run: impl FnOnce(&mut Followed) -> R) -> Option<R> {
    let mut followed = FOLLOWED.0.try_borrow_mut().ok()?;
    Some(run(followed.get_or_insert_default()))
}

/// What is being loaded, as the server names it.
pub fn begin_load(sub: u64) {
    with(|followed| {
        *followed = Followed {
            road: match sub {
                raw::REDISMODULE_SUBEVENT_LOADING_AOF_START => Road::OwnLog,
                raw::REDISMODULE_SUBEVENT_LOADING_REPL_START => Road::Stream,
                _ => Road::Snapshot,
            },
            ..Followed::default()
        };
    });
}

/// The load has ended. After a failure nothing of it is trusted.
pub fn end_load(ctx: Context<'_>, failed: bool) {
    with(|followed| {
        if followed.loader.take().is_some() {
            ctx.log(
                c"warning",
                "the region's state in the append-only file has no end: it is not used",
            );
            followed.region = None;
        }
        if failed {
            followed.region = None;
            followed.replicated = true;
        }
        followed.dropped = matches!(followed.road, Road::Snapshot) && has_dropped_keys(ctx);
    });
}

/// Whether the server has left keys out because they had expired: a primary does when it loads an RDB, and tells nobody
/// which.
fn has_dropped_keys(ctx: Context<'_>) -> bool {
    let dropped = ctx.info(c"persistence", |info| info.number(c"rdb_last_load_keys_expired"));
    dropped.is_some_and(|keys| keys > 0)
}

/// Whether the file that is being loaded was written by a server that led its region.
pub fn written_by(primary: bool) {
    with(|followed| {
        if matches!(followed.road, Road::OwnLog | Road::FollowersLog) {
            followed.road = if primary { Road::OwnLog } else { Road::FollowersLog };
        }
    });
}

/// One piece of a saved state.
pub fn load_piece(piece: &[u8]) -> Result<(), String> {
    let loading = |followed: &mut Followed| {
        followed.replicated = true;
        let loader = followed
            .loader
            .get_or_insert_with(|| Loader::new(&settings::region(), settings::drift()).merging(settings::scores()));
        if loader.piece(piece)?
            && let Some(loader) = followed.loader.take()
        {
            followed.region = Some(loader.finish()?);
        }
        Ok(())
    };
    with(loading).unwrap_or_else(|| Err("the region's state is in use".to_owned()))
}

/// Whether a state has begun and not ended.
pub fn is_partial() -> bool {
    with(|followed| followed.loader.is_some()).unwrap_or(false)
}

/// Applies what the primary has done. `Err`: nothing of the followed state is used any more.
pub fn replay(ctx: Context<'_>, entries: &[u8]) -> Result<(), Refusal> {
    let loading = from_file(ctx);
    if !loading && !from_primary(ctx) {
        return Err(c"ERR GEO.APPLY is what a primary sends to its replicas and its append-only file".into());
    }
    let outcome = with(|followed| followed.replay(ctx, entries, loading))
        .unwrap_or_else(|| Err("the region's state is in use".to_owned()));
    outcome.map_err(|reason| {
        let reason = format!("what the primary did to the region cannot be repeated here: {reason}");
        if loading {
            give_up(ctx, &reason);
        }
        ctx.log(
            c"warning",
            &format!("{reason}. Promoted, this server would start from its peers"),
        );
        Refusal::from(format!("ERR {reason}"))
    })
}

impl Followed {
    fn replay(&mut self, ctx: Context<'_>, entries: &[u8], loading: bool) -> Result<(), String> {
        self.replicated = true;
        if let Some(reason) = &self.broken {
            return Err(reason.clone());
        }
        let region = self.region.get_or_insert_with(|| {
            Region::blank(&settings::region(), 0, settings::drift()).merging(settings::scores())
        });
        let outcome = region.replay(entries, &mut RedisStore::new(ctx));
        self.busy = true;
        if !loading {
            self.road = Road::Stream;
        }
        outcome.inspect_err(|reason| {
            self.broken = Some(reason.clone());
            self.region = None;
        })
    }
}

/// An append-only file that cannot be repeated ends the server, as the server itself ends over a command in the file
/// that it does not know: going on would show data with a hole.
pub fn give_up(ctx: Context<'_>, reason: &str) -> ! {
    ctx.log(
        c"warning",
        &format!("{reason}. The append-only file is of another version, or damaged"),
    );
    std::process::exit(1)
}

/// The running command comes from the append-only file.
pub fn from_file(ctx: Context<'_>) -> bool {
    flags(ctx) & raw::REDISMODULE_CTX_FLAGS_LOADING != 0
}

fn from_primary(ctx: Context<'_>) -> bool {
    flags(ctx) & raw::REDISMODULE_CTX_FLAGS_REPLICATED != 0
}

fn flags(ctx: Context<'_>) -> u32 {
    // SAFETY: valid in any context.
    unsafe { api!(RedisModule_GetContextFlags(ctx.raw)) as u32 }
}

/// Drops a little of what the primary has dropped; true while more is waiting.
pub fn settle(ctx: Context<'_>, budget: usize) -> bool {
    with(|followed| {
        if !followed.busy {
            return false;
        }
        let region = followed.region.as_mut();
        followed.busy = region.is_some_and(|region| region.settle(budget, &mut RedisStore::new(ctx)));
        followed.busy
    })
    .unwrap_or(false)
}

/// What a primary goes on from.
#[derive(Default)]
pub struct Past {
    pub region: Option<Region>,
    /// It may be trusted to hold all that was acknowledged.
    pub trusted: bool,
    /// The keyspace lacks what had expired when it was loaded.
    pub dropped: bool,
    /// There was never a state: the values that are here were never replicated.
    pub own: bool,
}

pub fn take() -> Past {
    with(|followed| {
        let followed = std::mem::take(followed);
        let trusted = followed.region.as_ref().is_some_and(|region| match followed.road {
            Road::Memory => true,
            Road::OwnLog => region.guard().disk,
            Road::Stream => region.guard().replica,
            Road::Snapshot | Road::FollowersLog => false,
        });
        Past {
            own: followed.region.is_none() && !followed.replicated,
            region: followed.region,
            trusted,
            dropped: followed.dropped,
        }
    })
    .unwrap_or_default()
}

/// A primary steps down: from here its state follows another.
pub fn give(region: Option<Region>) {
    with(|followed| {
        *followed = Followed {
            region,
            road: Road::Memory,
            replicated: true,
            ..Followed::default()
        };
    });
}

/// Nothing is followed any more: the values that are here belong to no state.
pub fn drop_state() {
    with(|followed| *followed = Followed::default());
}

/// Runs with the state, when there is one. Borrows only for reading: a forked child may be asking.
pub fn look<R>(run: impl FnOnce(&Region) -> R) -> Option<R> {
    FOLLOWED.0.try_borrow().ok()?.as_ref()?.region.as_ref().map(run)
}

/// Why a replica's state is not used.
pub fn broken() -> Option<String> {
    FOLLOWED.0.try_borrow().ok()?.as_ref()?.broken.clone()
}
