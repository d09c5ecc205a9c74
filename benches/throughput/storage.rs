//! What an absent peer costs: metadata while it is away, and the way back.

use std::time::{Duration, Instant};

use redis_geo::lab::regions::Regions;
use redis_geo::lab::wait_for;

use super::client::{Client, encode};
use super::{ORIGIN, PATIENCE, Result, Scale, await_settled, print_table};

const AWAY: &str = "ap";
/// Keys that the missed writes went to.
const CHANGED: u64 = 10_000;
const PIPELINE: u64 = 32;
const CONNECTIONS: usize = 4;

/// Index size of the origin: keys and bytes.
#[derive(Clone, Copy)]
struct Index {
    keys: i64,
    bytes: i64,
}

fn index(regions: &Regions) -> Result<Index> {
    let status = regions.status(ORIGIN)?;
    let number = |name: &str| status.number(name).ok_or_else(|| format!("GEO.STATUS has no {name}"));
    Ok(Index {
        keys: number("index_keys")?,
        bytes: number("index_bytes")?,
    })
}

/// Freezes a peer until the origin sees it as down.
fn take_away(regions: &mut Regions) -> Result<()> {
    regions.server(AWAY).freeze();
    wait_for("the origin to miss its peer", PATIENCE, || {
        (regions.status(ORIGIN).ok()?.peer(AWAY)?.text("state") != "up").then_some(())
    })?;
    Ok(())
}

/// Writes by `request`, each operation to a key of its own while `keys` last.
fn write(regions: &Regions, operations: u64, request: impl Fn(u64, &mut Vec<u8>)) -> Result<()> {
    Client::connect(regions.address(ORIGIN), CONNECTIONS, PIPELINE)?.run(operations, request)?;
    Ok(())
}

type Request = fn(u64, &mut Vec<u8>);

const KINDS: [(&str, Request); 4] = [
    ("string", |number, batch| {
        encode(batch, &["GEO.SET", &format!("meta:string:{number:06}"), "value"])
    }),
    ("counter", |number, batch| {
        encode(batch, &["GEO.INCR", &format!("meta:counter:{number:06}")])
    }),
    ("set, 1 member", |number, batch| {
        encode(batch, &["GEO.SADD", &format!("meta:set:{number:06}"), "member"])
    }),
    ("deleted string", |number, batch| {
        encode(batch, &["GEO.DEL", &format!("meta:string:{number:06}")])
    }),
];

/// Bytes of metadata per key, by kind, while a peer is away and when all have caught up.
pub fn metadata(regions: &mut Regions, scale: &Scale) -> Result<()> {
    let heading = [
        "key",
        "B per key while a peer is away",
        "B per key when settled",
        "keys left in the index",
    ];
    let mut rows = vec![heading.map(String::from).to_vec()];
    for (kind, request) in KINDS {
        await_settled(regions)?;
        let before = await_steady(regions)?;
        take_away(regions)?;
        write(regions, scale.keys, request)?;
        let away = index(regions)?;
        regions.server(AWAY).thaw();
        await_settled(regions)?;
        let settled = await_steady(regions)?;
        let each = |bytes: i64| format!("{:.1}", bytes as f64 / scale.keys as f64);
        let left = (settled.keys - before.keys).to_string();
        rows.push(vec![
            kind.into(),
            each(away.bytes - before.bytes),
            each(settled.bytes - before.bytes),
            left,
        ]);
    }
    print_table(
        &format!("Metadata at the origin, {} keys of each kind", scale.keys),
        &rows,
    );
    Ok(())
}

/// The index once compaction has nothing left to drop: it stays the same for two seconds.
fn await_steady(regions: &Regions) -> Result<Index> {
    let mut last = index(regions)?;
    let mut since = Instant::now();
    let steady = wait_for("a steady index", PATIENCE, || {
        let now = index(regions).ok()?;
        if now.keys != last.keys || now.bytes != last.bytes {
            (last, since) = (now, Instant::now());
        }
        (since.elapsed() >= Duration::from_secs(2)).then_some(last)
    })?;
    Ok(steady)
}

/// A peer that missed many writes to few keys, against one that missed one write to each.
pub fn catching_up(regions: &mut Regions, scale: &Scale) -> Result<()> {
    let heading = [
        "missed writes",
        "changed keys",
        "transfer ms",
        "KiB sent to the peer",
        "index KiB before",
    ];
    let mut rows = vec![heading.map(String::from).to_vec()];
    for missed in [CHANGED, scale.missed] {
        await_settled(regions)?;
        take_away(regions)?;
        write(regions, missed, |number, batch| {
            let key = format!("missed:{:05}", number % CHANGED);
            encode(batch, &["GEO.SET", &key, &format!("value {number}")]);
        })?;
        let waiting = index(regions)?.bytes / 1024;
        let (took, sent) = come_back(regions)?;
        let changed = missed.min(CHANGED).to_string();
        rows.push(vec![
            missed.to_string(),
            changed,
            took.as_millis().to_string(),
            (sent / 1024).to_string(),
            waiting.to_string(),
        ]);
    }
    print_table("Catching up: from the link being up to everything acknowledged", &rows);
    Ok(())
}

/// How long the peer needs from its link being up, and the bytes it is sent.
fn come_back(regions: &mut Regions) -> Result<(Duration, i64)> {
    regions.server(AWAY).thaw();
    let peer = |regions: &Regions| regions.status(ORIGIN).ok()?.peer(AWAY);
    wait_for("the link", PATIENCE, || {
        (peer(regions)?.text("state") == "up").then_some(())
    })?;
    let start = Instant::now();
    await_settled(regions)?;
    let took = start.elapsed();
    regions.await_equal(PATIENCE)?;
    // A new link counts its bytes from zero.
    let sent = peer(regions).and_then(|fields| fields.number("bytes_out")).unwrap_or(0);
    Ok((took, sent))
}
