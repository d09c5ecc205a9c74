//! While the region recovers: whether it serves reads, and when it goes on alone.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::api::Context;
use super::log;
use super::reads;
use super::reply::Refusal;
use super::settings;
use super::site::{self, MainThread, Site};
use crate::replication::{Level, RegionState};

static SINCE: MainThread<Cell<Option<Instant>>> = MainThread(Cell::new(None));
/// Why going on alone was refused was logged.
static SAID: MainThread<Cell<bool>> = MainThread(Cell::new(false));

/// Looks whether the region recovers; when it opens, and from time to time.
pub fn look(ctx: Context<'_>, site: &mut Site) {
    let recovering = site.engine.region_state() == RegionState::Recovering;
    reads::refuse(ctx, recovering && !settings::recovering_reads());
    if !recovering {
        SINCE.0.set(None);
        return;
    }
    let since = SINCE.0.get().unwrap_or_else(Instant::now);
    if SINCE.0.replace(Some(since)).is_none() {
        SAID.0.set(false);
    }
    let limit = settings::recovery_timeout();
    if limit > Duration::ZERO && since.elapsed() >= limit && site::may_apply() {
        let outcome = go_alone(ctx, site, "geo.recovery-timeout has passed");
        if let (Err(reason), false) = (outcome, SAID.0.replace(true)) {
            site::log(ctx, Level::Warning, &format!("cannot go on without a peer: {reason}"));
        }
    }
}

/// No region is open: its reads are those of a replica.
pub fn end(ctx: Context<'_>) {
    SINCE.0.set(None);
    reads::refuse(ctx, false);
}

fn go_alone(ctx: Context<'_>, site: &mut Site, why: &str) -> Result<(), String> {
    site.engine.recover_alone(&mut site.out)?;
    site::log(
        ctx,
        Level::Warning,
        &format!("{why}: the region goes on with the data that is here, without waiting for a peer"),
    );
    log::propagate(ctx, site);
    site.dispatch(ctx);
    Ok(())
}

/// An operator's word that no peer will come.
pub fn by_hand(ctx: Context<'_>) -> Result<(), Refusal> {
    let outcome = site::with(|site| {
        go_alone(ctx, site, "GEO.RECOVER")?;
        look(ctx, site);
        Ok(())
    });
    match outcome {
        Some(done) => done.map_err(|reason: String| Refusal::from(format!("ERR {reason}"))),
        None => Err(site::closed()),
    }
}
