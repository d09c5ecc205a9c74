//! What acknowledgements wait for: only what this region cannot forget any more is acknowledged to its peers, because
//! they drop what every region has acknowledged.
//!
//! One round at a time: what has been applied and propagated is noted, and confirmed when it is where it must be.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use super::api::{Context, Info};
use super::settings;
use super::site::{self, MainThread, Site};
use super::wake;
use crate::crdt::Vector;
use crate::replication::{Guard, Level};

/// Time between looks at the server's figures.
const LOOK: Duration = Duration::from_millis(50);
/// Settings are asked for again after this long, and when they change.
const SETTINGS: Duration = Duration::from_secs(1);
/// With `appendfsync everysec`, the server begins an fsync in each second in which none runs; its cron, ten times a
/// second, sees to it. After this long one that covers all earlier writes has begun.
const BEGUN: Duration = Duration::from_millis(1500);

/// When written operations reach the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fsync {
    Always,
    EverySecond,
    Never,
}

/// How far a round is with the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Disk {
    /// Not yet seen at a moment when no fsync ran: the write may be held back by one.
    Noted,
    /// The write was done by then. An fsync that covers it begins soon.
    Written(Instant),
    /// It has begun by now, and may be running.
    Syncing,
    Synced,
}

struct Round {
    /// Which state it is about.
    state: u64,
    seen: Vector,
    offset: u64,
    at: Instant,
    disk: Disk,
    replica: bool,
}

#[derive(Default)]
struct Durability {
    /// What is required and what there is; `None` before the first look.
    levels: Option<Levels>,
    asked: Option<Instant>,
    looked: Option<Instant>,
    /// The AOF has been complete since it was switched on.
    established: bool,
    round: Option<Round>,
    confirmed: Option<(Vector, Instant)>,
}

/// What acknowledgements must wait for, and what of it this server has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Levels {
    required: Guard,
    available: Guard,
    /// The last write of the AOF succeeded.
    writable: bool,
    fsync: Fsync,
    /// A child keeps fsyncs from being made (`no-appendfsync-on-rewrite`).
    postponed: bool,
}

impl Levels {
    fn met(self) -> bool {
        (self.available.disk && self.writable || !self.required.disk)
            && (self.available.replica || !self.required.replica)
    }
}

static STATE: MainThread<RefCell<Option<Durability>>> = MainThread(RefCell::new(None));

fn with<R>(run: impl FnOnce(&mut Durability) -> R) -> Option<R> {
    let mut state = STATE.0.try_borrow_mut().ok()?;
    Some(run(state.get_or_insert_default()))
}

/// Whether the append-only file, if there is one, could be written when last looked at.
pub fn is_writable() -> bool {
    with(|state| state.levels.is_none_or(|levels| levels.writable)).unwrap_or(true)
}

/// A replica has come or gone.
pub fn replicas_changed() {
    with(|state| state.asked = None);
}

/// A site opens: nothing is confirmed yet, and acknowledgements wait from the first one on.
pub fn open(ctx: Context<'_>, site: &mut Site) {
    with(|state| {
        *state = Durability::default();
        state.set_levels(ctx, site);
    });
}

/// The server's settings have changed. What is not written to an AOF that is switched off for a moment is in it only
/// after a rewrite; other settings leave it complete.
pub fn settings_changed(ctx: Context<'_>) {
    let off = !is_on(ctx);
    with(|state| {
        state.asked = None;
        state.established &= !off;
    });
}

fn is_on(ctx: Context<'_>) -> bool {
    ctx.setting(c"appendonly").as_deref() == Some(b"yes")
}

/// At the start of [`super::turn::before_sleep`]: what was applied in earlier turns has been propagated, and the AOF's
/// buffer is written at the end of this one.
pub fn look(ctx: Context<'_>, site: &mut Site) {
    with(|state| {
        let now = Instant::now();
        if state.looked.is_some_and(|at| now.duration_since(at) < LOOK) {
            return;
        }
        state.looked = Some(now);
        if state.asked.is_none_or(|at| now.duration_since(at) >= SETTINGS) {
            state.set_levels(ctx, site);
        }
        let Some(levels) = state.levels else { return };
        if levels.required == Guard::VOLATILE || !levels.met() {
            state.round = None;
            return;
        }
        state.advance(ctx, site, levels, now);
    });
}

impl Durability {
    fn advance(&mut self, ctx: Context<'_>, site: &mut Site, levels: Levels, now: Instant) {
        let (state, seen) = (site.engine.state_number(), site.engine.seen());
        self.round.take_if(|round| round.state != state);
        if self.round.is_none() && self.confirmed.as_ref().is_some_and(|(vector, _)| vector == seen) {
            self.confirmed = Some((seen.clone(), now));
            return;
        }
        if levels.required.disk && !ctx.info(c"persistence", |info| self.look_at_disk(levels, info, now)) {
            self.round = None;
            return;
        }
        let (offset, acknowledged) = ctx.info(c"replication", offsets);
        match &mut self.round {
            Some(round) => {
                round.replica |= acknowledged >= round.offset;
                let done = (round.disk == Disk::Synced || !levels.required.disk)
                    && (round.replica || !levels.required.replica);
                if done && let Some(round) = self.round.take() {
                    site.engine.confirm(&round.seen);
                    // Peers hear of it in this turn, and the log says that it counts.
                    wake::due();
                    self.confirmed = Some((round.seen, round.at));
                }
            }
            None => {
                self.round = Some(Round {
                    state,
                    seen: seen.clone(),
                    offset,
                    at: now,
                    disk: Disk::Noted,
                    replica: false,
                });
            }
        }
    }

    /// False when nothing can be said of what was written: an error, or an AOF that is not complete yet.
    fn look_at_disk(&mut self, levels: Levels, info: &Info, now: Instant) -> bool {
        let is = |field, value| info.number(field) == Some(value);
        let ok = |field| info.text(field) == Some("ok");
        // Switched on while running, the AOF counts from its first complete rewrite on.
        self.established |=
            is(c"aof_rewrite_in_progress", 0) && is(c"aof_rewrite_scheduled", 0) && ok(c"aof_last_bgrewrite_status");
        let child = [
            c"aof_rewrite_in_progress",
            c"rdb_bgsave_in_progress",
            c"module_fork_in_progress",
        ]
        .iter()
        .any(|field| !is(field, 0));
        if !self.established || !is_written(info) || (levels.postponed && child) {
            return false;
        }
        let idle = is(c"aof_pending_bio_fsync", 0);
        if let Some(round) = &mut self.round {
            round.disk = round.disk.next(levels.fsync, idle, now);
        }
        true
    }

    fn set_levels(&mut self, ctx: Context<'_>, site: &mut Site) {
        self.asked = Some(Instant::now());
        let levels = levels(ctx);
        if self.levels == Some(levels) {
            return;
        }
        let before = self.levels.replace(levels);
        self.round = None;
        site.engine.set_guard(levels.required);
        wake::due();
        if before.map(|levels| levels.required) != Some(levels.required) {
            let text = format!("acknowledgements to peers wait for: {}", name(levels.required));
            site::log(ctx, Level::Notice, &text);
        }
        if !levels.met() {
            let why = match levels.writable {
                true => format!(
                    "geo.durability requires {}, but this server has {}",
                    name(levels.required),
                    name(levels.available)
                ),
                false => "the append-only file cannot be written".into(),
            };
            let text = format!(
                "{why}: nothing is acknowledged to the peers, and their metadata grows, until it is there or less is \
                 required"
            );
            site::log(ctx, Level::Warning, &text);
        } else if before.is_some_and(|levels| !levels.met()) {
            site::log(ctx, Level::Notice, "acknowledgements to peers go on");
        }
    }
}

impl Disk {
    /// `idle`: no fsync runs or waits. Each step needs a look of its own, and between two looks the server has written
    /// what it had to write.
    fn next(self, fsync: Fsync, idle: bool, now: Instant) -> Disk {
        match (self, fsync) {
            (Disk::Noted, Fsync::Always) => Disk::Synced,
            (Disk::Noted, _) if idle => Disk::Written(now),
            (Disk::Written(at), _) if now.duration_since(at) >= BEGUN => Disk::Syncing,
            (Disk::Syncing, _) if idle => Disk::Synced,
            (other, _) => other,
        }
    }
}

fn levels(ctx: Context<'_>) -> Levels {
    let word = |name| ctx.setting(name).unwrap_or_default();
    let fsync = match word(c"appendfsync").as_slice() {
        b"always" => Fsync::Always,
        b"everysec" => Fsync::EverySecond,
        _ => Fsync::Never,
    };
    let available = Guard {
        disk: is_on(ctx) && fsync != Fsync::Never,
        replica: ctx.info(c"replication", |info| online(info).next().is_some()),
    };
    let required = match settings::durability().as_str() {
        "volatile" => Guard::VOLATILE,
        "disk" => guard(true, false),
        "replica" => guard(false, true),
        "disk+replica" => guard(true, true),
        _ => available,
    };
    Levels {
        required,
        available,
        writable: ctx.info(c"persistence", is_written),
        fsync,
        postponed: word(c"no-appendfsync-on-rewrite") == b"yes",
    }
}

/// Whether the last write of the AOF succeeded.
fn is_written(info: &Info) -> bool {
    info.text(c"aof_last_write_status") == Some("ok")
}

fn guard(disk: bool, replica: bool) -> Guard {
    Guard { disk, replica }
}

/// How far we have propagated, and how far the furthest replica has applied it.
fn offsets(info: &Info) -> (u64, u64) {
    let ours = info.number(c"master_repl_offset").unwrap_or(u64::MAX);
    (ours, online(info).max().unwrap_or(0))
}

/// The offsets that online replicas have acknowledged.
fn online<'a>(info: &'a Info) -> impl Iterator<Item = u64> + 'a {
    let replicas = info.number(c"connected_slaves").unwrap_or(0);
    (0..replicas).filter_map(|number| {
        let field = std::ffi::CString::new(format!("slave{number}")).ok()?;
        let line = info.text(&field)?;
        let value = |name: &str| {
            line.split(',')
                .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        };
        (value("state") == Some("online")).then(|| value("offset")?.parse().ok())?
    })
}

/// How `GEO.STATUS` names a level.
fn name(guard: Guard) -> &'static str {
    match (guard.disk, guard.replica) {
        (false, false) => "volatile",
        (true, false) => "disk",
        (false, true) => "replica",
        (true, true) => "disk+replica",
    }
}

/// For `GEO.STATUS` and `INFO`.
pub struct Report {
    /// What acknowledgements wait for; "unavailable" when this server does not have it.
    pub level: &'static str,
    pub required: String,
    /// Age of what is applied and not yet confirmed, ms.
    pub unconfirmed_ms: u64,
}

pub fn report(site: &Site) -> Report {
    let (level, age) = with(|state| {
        let levels = state.levels;
        let volatile = levels.is_none_or(|levels| levels.required == Guard::VOLATILE);
        let level = match levels {
            Some(levels) if !levels.met() => "unavailable",
            Some(levels) => name(levels.required),
            None => "volatile",
        };
        let confirmed = state.confirmed.as_ref();
        let all = volatile || confirmed.is_some_and(|(vector, _)| vector == site.engine.seen());
        let since = confirmed.map(|(_, at)| *at).unwrap_or(site.opened());
        (level, if all { Duration::ZERO } else { since.elapsed() })
    })
    .unwrap_or(("volatile", Duration::ZERO));
    Report {
        level,
        required: settings::durability(),
        unconfirmed_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everysec_needs_a_free_moment_then_time_then_another_free_moment() {
        let start = Instant::now();
        let later = |ms| start + Duration::from_millis(ms);
        let step = |disk: Disk, idle, ms| disk.next(Fsync::EverySecond, idle, later(ms));
        assert_eq!(step(Disk::Noted, false, 0), Disk::Noted);
        let written = step(Disk::Noted, true, 100);
        assert_eq!(written, Disk::Written(later(100)));
        assert_eq!(step(written, true, 1599), written);
        assert_eq!(step(written, true, 1600), Disk::Syncing);
        assert_eq!(step(Disk::Syncing, false, 1700), Disk::Syncing);
        assert_eq!(step(Disk::Syncing, true, 1800), Disk::Synced);
    }

    #[test]
    fn always_is_synced_at_the_next_look() {
        assert_eq!(Disk::Noted.next(Fsync::Always, false, Instant::now()), Disk::Synced);
    }
}
