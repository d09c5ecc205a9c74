//! One run from start to verdict.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use redis_geo::lab::dump::Dump;
use redis_geo::lab::fleet::{Fleet, Plan};
use redis_geo::lab::sentinel::Sentinel;
use redis_geo::lab::status::Fields;
use redis_geo::lab::wait_for;

use crate::client::{self, Client, Clock};
use crate::faults;
use crate::history::History;
use crate::operator::{Operator, Result};
use crate::place::Place;
use crate::sites::{Durability, Kind, NODES, Site};
use crate::spec::{self, Coverage, Violation};
use crate::watcher::{Watcher, Writers};

/// How long the regions may take to agree: far more than they need, for busy machines.
const PATIENCE: Duration = Duration::from_secs(120);
/// A primary that does not answer for so long is replaced by the sentinel.
const SENTINEL: Duration = Duration::from_secs(2);
const CLIENTS: usize = 2;
/// Violations that are told.
const TOLD: usize = 20;

/// Runs the faults of `seed` for `length` and panics with a timeline when the specification is broken.
pub fn run(kind: Kind, seed: u64, length: Duration) {
    let clock = Clock::start();
    let mut operator = start(kind, seed, &clock).expect("the regions start");
    let sentinels = sentinels(kind, &operator).expect("the sentinels start");
    let outcome = go(&mut operator, kind, seed, length, &clock);
    for (at, what) in &operator.timeline {
        println!("{:9.3} s  {what}", at.as_secs_f64());
    }
    match outcome {
        Ok((violations, coverage)) if violations.is_empty() => println!("chaos: {coverage}"),
        Ok((violations, coverage)) => {
            let told: Vec<String> = violations
                .iter()
                .take(TOLD)
                .map(|violation| violation.0.clone())
                .collect();
            fail(
                &operator,
                kind,
                seed,
                length,
                &format!("{} violations; {coverage}\n{}", violations.len(), told.join("\n")),
            );
        }
        Err(error) => fail(&operator, kind, seed, length, &error.to_string()),
    }
    drop(sentinels);
}

fn fail(operator: &Operator, kind: Kind, seed: u64, length: Duration, why: &str) -> ! {
    for place in operator.places.iter().flatten() {
        let status = place.connect().and_then(|mut connection| Fields::of(&mut connection));
        println!("--- status of {} ---\n{status:?}", place.name);
    }
    panic!(
        "again with: make chaos REGIONS={kind:?} SEED={seed} SECONDS={}\n{why}",
        length.as_secs()
    );
}

fn start(kind: Kind, seed: u64, clock: &Arc<Clock>) -> Result<Operator> {
    let plans = kind.sites().map(|site| Plan {
        name: site.name.into(),
        nodes: NODES,
        told: if kind.failover() { NODES } else { 1 },
        lines: site.durability.lines(),
    });
    let fleet = Fleet::start(&redis_geo::lab::module::built(), &plans, seed)?;
    let operated = kind.sites().map(|site| (site.durability, site.sentinel));
    Ok(Operator::new(fleet, &operated, clock.clone()))
}

fn sentinels(kind: Kind, operator: &Operator) -> Result<Vec<Sentinel>> {
    let watched = kind.sites().into_iter().enumerate().filter(|(_, site)| site.sentinel);
    let start = |(region, site): (usize, Site)| {
        let directory = operator.fleet.directory().join(format!("sentinel-{}", site.name));
        Ok(Sentinel::start(
            &directory,
            site.name,
            operator.places[region][0].address,
            SENTINEL,
        )?)
    };
    watched.map(start).collect()
}

fn go(
    operator: &mut Operator,
    kind: Kind,
    seed: u64,
    length: Duration,
    clock: &Arc<Clock>,
) -> Result<(Vec<Violation>, Coverage)> {
    await_active(operator)?;
    let begin = clock.now();
    operator.say("clients start".into());
    let writers = Writers::default();
    let watchers: Vec<JoinHandle<Watcher>> = operator
        .places
        .iter()
        .flatten()
        .map(|place| Watcher::new(place.clone(), clock.clone(), writers.clone()).start())
        .collect();
    let clients: Vec<JoinHandle<client::Record>> = (0..operator.places.len() * CLIENTS)
        .map(|number| {
            Client::start(
                clock.clone(),
                operator.places[number % operator.places.len()].clone(),
                seed,
                number,
            )
        })
        .collect();
    let disturbed = disturb(operator, kind, seed, length, clock, begin);
    clock.stop();
    let mut history = History::default();
    let mut violations = Vec::new();
    for client in clients {
        let record = client.join().map_err(|_| "a client failed")?;
        history.writes.extend(record.writes);
        violations.extend(record.errors.into_iter().map(Violation));
    }
    disturbed?;
    let mut watchers = watchers
        .into_iter()
        .map(|watcher| watcher.join().map_err(|_| "a watcher failed"))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    settle(operator, &mut watchers, &mut history)?;
    for watcher in watchers {
        history.sightings.extend(watcher.record.sightings);
        history.beacons.extend(watcher.record.beacons);
    }
    history.restarts = std::mem::take(&mut operator.restarts);
    let (found, coverage) = spec::check(&history);
    violations.extend(found);
    if coverage.sure == 0 {
        violations.push(Violation("the run proves nothing: no write had to survive".into()));
    }
    Ok((violations, coverage))
}

/// Lets the faults happen at their times, then undoes what can be undone.
fn disturb(
    operator: &mut Operator,
    kind: Kind,
    seed: u64,
    length: Duration,
    clock: &Clock,
    begin: Duration,
) -> Result<()> {
    let regions = kind.sites().map(|site| faults::Region {
        replicas: NODES - 1,
        failover: kind.failover() && !site.sentinel,
        files: site.durability != Durability::Volatile,
    });
    for event in faults::schedule(seed, length, &regions) {
        // A fault comes when the schedule says, which the seed makes.
        thread::sleep((begin + event.at).saturating_sub(clock.now()));
        operator.perform(&event)?;
    }
    operator.relent()
}

/// Waits until all is well again, and reads what every server shows.
fn settle(operator: &mut Operator, watchers: &mut [Watcher], history: &mut History) -> Result<()> {
    await_active(operator)?;
    for watcher in watchers.iter_mut() {
        // A server that is slow to answer, or has just become what it is, is looked at again.
        wait_for("a mark of each region's primary", PATIENCE, || {
            let mut connection = watcher.place().connect().ok()?;
            let primary = watcher.look(&mut connection).ok()?.primary;
            (!primary || watcher.mark(&mut connection).ok()?).then_some(())
        })?;
    }
    history.dumps = await_equal(operator);
    // Only now: what a replica shows is its primary's.
    history.end = watchers
        .iter()
        .flat_map(|watcher| &watcher.record.sightings)
        .map(|one| one.seen)
        .max()
        .unwrap_or_default();
    for watcher in watchers {
        wait_for("a last look at each server", PATIENCE, || {
            watcher.look(&mut watcher.place().connect().ok()?).ok()
        })?;
    }
    Ok(())
}

/// Waits until each region has one primary, which is active and has a link with every other region, and the others
/// follow it.
fn await_active(operator: &Operator) -> Result<()> {
    for places in &operator.places {
        let mut missing = String::new();
        let active = wait_for("a region to be well", PATIENCE, || {
            missing = unwell(places)?;
            missing.is_empty().then_some(())
        });
        active.map_err(|timeout| format!("{}: {timeout}: {missing}", places[0].name))?;
    }
    Ok(())
}

/// What is wrong with a region; empty when nothing is.
fn unwell(places: &[Place]) -> Option<String> {
    let mut primaries = 0;
    for place in places {
        let mut connection = place.connect().ok()?;
        let (identity, _) = place.identify(&mut connection, redis::pipe()).ok()?;
        if !identity.primary {
            if !identity.follows {
                return Some(format!("{} has lost its primary", place.name));
            }
            continue;
        }
        primaries += 1;
        let status = Fields::of(&mut connection).ok()?;
        let peers = status.peers();
        let missing = peers.iter().find(|(_, peer)| peer.text("state") != "up");
        if status.text("state") != "active" || peers.is_empty() || missing.is_some() {
            return Some(format!("{}: {status:?}", place.name));
        }
    }
    Some(if primaries == 1 {
        String::new()
    } else {
        format!("{primaries} primaries")
    })
}

/// What the servers show once they show the same, or at the end of all patience.
fn await_equal(operator: &Operator) -> Vec<(String, Dump)> {
    let mut dumps = Vec::new();
    let read = |place: &Place| Some((place.name.clone(), Dump::of(&mut place.connect().ok()?).ok()?));
    let _ = wait_for("equal data", PATIENCE, || {
        dumps = operator.places.iter().flatten().map(read).collect::<Option<Vec<_>>>()?;
        dumps.iter().all(|(_, dump)| *dump == dumps[0].1).then_some(())
    });
    dumps
}
