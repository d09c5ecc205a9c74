//! `GEO.STATUS`, `INFO geo` and `GEO.INSPECT`: one tree, for people and programs.

use std::ffi::{CString, c_int};

use redis_module::raw;

use super::adopt;
use super::api::{Context, Text, api};
use super::attention;
use super::capture;
use super::durability;
use super::followed;
use super::guard;
use super::memory;
use super::purge;
use super::reply::{Refusal, Tree};
use super::settings;
use super::site::{self, FLAGS, Site};
use crate::crdt::{Hlc, KeyRef, Kind, Native};
use crate::replication::{CellInspection, Inspection, PeerStatus, Status};

type Fields = Vec<(String, Tree)>;

fn field(name: &str, tree: Tree) -> (String, Tree) {
    (name.to_owned(), tree)
}

fn text(name: &str, value: &str) -> (String, Tree) {
    field(name, Tree::Text(value.to_owned()))
}

fn number(name: &str, value: impl TryInto<i64>) -> (String, Tree) {
    field(name, Tree::Integer(value.try_into().unwrap_or(i64::MAX)))
}

/// What `GEO.STATUS` answers.
pub fn report() -> Result<Tree, Refusal> {
    match site::with(region) {
        Some(fields) => Ok(Tree::Map(fields)),
        None if FLAGS.0.detached.get() => Ok(Tree::Map(vec![
            text("region", &settings::region()),
            text("state", "detached"),
        ])),
        None if FLAGS.0.loading.get() => Ok(Tree::Map(vec![text("state", "loading")])),
        None if !FLAGS.0.primary.get() => Ok(Tree::Map(replica())),
        None => Err(site::FAILED.into()),
    }
}

/// An in-region replica: what it would go on from when it is promoted.
fn replica() -> Fields {
    let follows = followed::look(|region| region.next_incarnation() - 1);
    let follows = match (follows, followed::broken()) {
        (_, Some(reason)) => format!("nothing: {reason}"),
        (None, None) => "nothing yet".to_owned(),
        (Some(incarnation), None) => format!("{}.{incarnation}", settings::region()),
    };
    vec![
        text("region", &settings::region()),
        text("state", "replica"),
        text("follows", &follows),
    ]
}

fn region(site: &mut Site) -> Fields {
    site.engine.set_time(site.now());
    let status = site.engine.status();
    let mut fields = own(&status);
    let durability = durability::report(site);
    fields.push(text("durability", durability.level));
    fields.push(text("durability_required", &durability.required));
    fields.push(number("unconfirmed_ms", durability.unconfirmed_ms));
    fields.push(text("remote_changes", memory::state()));
    let (captured, unmergeable) = capture::counts();
    fields.push(number("captured_keys", captured));
    fields.push(number("unmergeable_keys", unmergeable));
    fields.push(field("purge", purge::report(site)));
    fields.push(field("adopt", adopt::report(site)));
    fields.push(number("turns", attention::turns()));
    fields.push(text("listen", &site.network.addresses()));
    let peers = status
        .peers
        .iter()
        .map(|one| (one.region.clone(), Tree::Map(peer(site, one))));
    fields.push(field(PEERS, Tree::Map(peers.collect())));
    fields
}

fn own(status: &Status) -> Fields {
    vec![
        text("cluster", &status.cluster),
        text("region", &status.region),
        text("replica", &status.replica),
        text("state", status.state.name()),
        text("detail", &status.detail),
        number("adopted_keys", status.adopted_keys),
        text("clock", &wall_text(status.clock)),
        number("clock_ahead_ms", status.clock_ahead_ms),
        number("clock_alarms", status.clock_alarms),
        number("operations_issued", status.operations_issued),
        number("operations_applied", status.operations_applied),
        number("index_keys", status.index.keys),
        number("index_cells", status.index.cells),
        number("index_bytes", status.index.bytes),
        number("evicted_keys", status.evicted_keys),
        number("wanted_keys", status.wanted_keys),
        number("conflicts_siblings", status.conflicts.siblings),
        number("conflicts_types", status.conflicts.types),
    ]
}

fn peer(site: &Site, peer: &PeerStatus) -> Fields {
    let mut fields = vec![
        text("state", peer.state),
        number("since_seconds", peer.since.as_secs()),
        text("reason", &peer.reason),
        text("address", &peer.address),
        text("replica", &peer.replica),
        number("lag_ms", peer.lag_ms),
        number("unsettled_operations", peer.unsettled),
        number("queue_bytes", peer.queue_bytes),
        text("transfer", peer.transfer),
        number("transfers_sent", peer.transfers_sent),
        number("transfers_received", peer.transfers_received),
        number("operations_in", peer.operations_in),
        number("operations_out", peer.operations_out),
    ];
    let figures = peer.link.map(|link| site.network.figures(link)).unwrap_or_default();
    let round_trip = figures.iter().find(|(name, _)| *name == "rtt_us");
    // Its clock's reading was on its way for half the round trip.
    let transit_ms = round_trip.map_or(0, |(_, micros)| micros / 2000) as i64;
    fields.push(number("clock_offset_ms", peer.clock_offset_ms + transit_ms));
    fields.extend(figures.into_iter().map(|(name, value)| number(name, value)));
    fields
}

/// Seconds since the epoch, with microseconds.
fn wall_text(stamp: Hlc) -> String {
    let micros = ((stamp & 0xffff_ffff) * 1_000_000) >> 32;
    format!("{}.{micros:06}", stamp >> 32)
}

pub fn inspect(ctx: Context<'_>, key: Text<'_>) -> Result<Tree, Refusal> {
    let shown = ctx.open(key).kind();
    let name = KeyRef {
        db: ctx.database(),
        name: key.bytes(),
    };
    let found = site::look(|region| region.inspect(name))
        .or_else(|| followed::look(|region| region.inspect(name)))
        .flatten();
    Ok(Tree::Map(inspection(shown, found)))
}

fn inspection(shown: Option<Native>, found: Option<Inspection>) -> Fields {
    let kind = match shown {
        None => "none",
        Some(Native::Kind(kind)) => Kind::name(kind),
        Some(Native::Other) => "not replicated",
    };
    let found = found.unwrap_or(Inspection {
        evicted: false,
        clears: Vec::new(),
        cells: Vec::new(),
        bytes: 0,
    });
    let settled = found.clears.is_empty() && found.cells.iter().all(|cell| cell.touched.is_empty());
    let state = match (found.evicted, settled) {
        (true, _) => "evicted",
        (false, true) => "settled",
        (false, false) => "unsettled",
    };
    vec![
        text("type", kind),
        text("state", state),
        number("metadata_bytes", found.bytes),
        field("clears", words(&found.clears)),
        field(
            "cells",
            Tree::List(found.cells.into_iter().map(|one| Tree::Map(cell(one))).collect()),
        ),
    ]
}

fn cell(cell: CellInspection) -> Fields {
    let live = cell.live.into_iter().map(|(dot, value)| {
        let value = value.map_or(Tree::Text("(native value)".to_owned()), Tree::Bytes);
        (dot, value)
    });
    vec![
        text("type", cell.kind),
        field("element", Tree::Bytes(cell.element)),
        field("live", Tree::Map(live.collect())),
        field("touched", words(&cell.touched)),
        field("contributions", words(&cell.contributions)),
    ]
}

fn words(list: &[String]) -> Tree {
    Tree::List(list.iter().cloned().map(Tree::Text).collect())
}

/// The map that has a map for each region.
const PEERS: &str = "peers";

pub fn register(ctx: Context<'_>) {
    // SAFETY: during load.
    unsafe { api!(RedisModule_RegisterInfoFunc(ctx.raw, Some(info))) };
}

unsafe extern "C" fn info(ctx: *mut raw::RedisModuleInfoCtx, _crash_report: c_int) {
    // SAFETY: no context here; a null one is only logged to.
    unsafe {
        guard::callback(std::ptr::null_mut(), |_| {
            if api!(RedisModule_InfoAddSection(ctx, c"".as_ptr())) == raw::REDISMODULE_OK as c_int
                && let Ok(Tree::Map(fields)) = report()
            {
                fields.iter().for_each(|(name, value)| add(ctx, name, value));
            }
        })
    }
}

/// A nested map becomes one line: `geo_purge:pattern=a*,...`, and of several in one each, as of the peers:
/// `geo_peer_us:state=up,lag_ms=3,...`.
unsafe fn add(ctx: *mut raw::RedisModuleInfoCtx, name: &str, value: &Tree) {
    let Tree::Map(fields) = value else {
        return unsafe { leaf(ctx, name, value) };
    };
    if name != PEERS {
        return unsafe { line(ctx, name, fields) };
    }
    for (peer, fields) in fields {
        if let Tree::Map(fields) = fields {
            unsafe { line(ctx, &format!("peer_{peer}"), fields) };
        }
    }
}

unsafe fn line(ctx: *mut raw::RedisModuleInfoCtx, name: &str, fields: &Fields) {
    let Ok(name) = CString::new(name) else { return };
    unsafe {
        api!(RedisModule_InfoBeginDictField(ctx, name.as_ptr()));
        fields.iter().for_each(|(name, value)| leaf(ctx, name, value));
        api!(RedisModule_InfoEndDictField(ctx));
    }
}

unsafe fn leaf(ctx: *mut raw::RedisModuleInfoCtx, name: &str, value: &Tree) {
    let plain = |text: &str| text.replace(['\r', '\n', ',', '=', '\0'], " ");
    let shown = match value {
        Tree::Integer(number) => number.to_string(),
        Tree::Text(text) => plain(text),
        Tree::Bytes(bytes) => plain(&String::from_utf8_lossy(bytes)),
        _ => return,
    };
    if let (Ok(name), Ok(shown)) = (CString::new(name), CString::new(shown)) {
        unsafe { api!(RedisModule_InfoAddFieldCString(ctx, name.as_ptr(), shown.as_ptr())) };
    }
}
