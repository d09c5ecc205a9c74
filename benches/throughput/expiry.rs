//! What expiry costs on the wire: every region lets a key expire by its own clock, and says so unless it has heard of it.

use std::time::{Duration, Instant};

use redis::cmd;
use redis_geo::lab::regions::Regions;
use redis_geo::lab::wait_for;

use super::client::{Client, encode};
use super::{ORIGIN, PATIENCE, PEERS, Result, Scale, await_figures, await_settled, print_table};

/// When the keys expire, from the first write on.
const LATER: Duration = Duration::from_secs(20);

/// Of all regions together: UDP bytes sent to peers, operations issued, and when.
struct Sum {
    bytes: i64,
    operations: i64,
    at: Instant,
}

pub fn measure(regions: &Regions, scale: &Scale) -> Result<()> {
    await_settled(regions)?;
    let others = sizes(regions)?;
    let quiet = [sum(regions)?, sum(regions)?];
    let idle = (quiet[1].bytes - quiet[0].bytes) as f64 / quiet[1].at.duration_since(quiet[0].at).as_secs_f64();
    let began = Instant::now();
    let milliseconds = LATER.as_millis().to_string();
    Client::connect(regions.address(ORIGIN), 4, 32)?.run(scale.keys, |number, batch| {
        encode(
            batch,
            &["GEO.SET", &format!("expiry:{number:06}"), "value", "PX", &milliseconds],
        );
    })?;
    await_settled(regions)?;
    let written = sum(regions)?;
    if began.elapsed() >= LATER {
        return Err("the keys began to expire before they were everywhere".into());
    }
    wait_for("the keys' end", PATIENCE, || {
        (sizes(regions).ok()? == others).then_some(())
    })?;
    await_settled(regions)?;
    let gone = sum(regions)?;
    let each = |from: &Sum, to: &Sum| {
        let seconds = to.at.duration_since(from.at).as_secs_f64();
        // Each region tells two others.
        let bytes = ((to.bytes - from.bytes) as f64 - idle * seconds) / (scale.keys * PEERS.len() as u64) as f64;
        let operations = (to.operations - from.operations) as f64 / scale.keys as f64;
        [format!("{bytes:.1}"), format!("{operations:.2}")]
    };
    let heading = [
        "of each key",
        "bytes to each peer, of all regions",
        "operations, of all regions",
    ];
    let row = |name: &str, [bytes, operations]: [String; 2]| vec![name.to_owned(), bytes, operations];
    let rows = [
        heading.map(String::from).to_vec(),
        row("SET with a deadline", each(&quiet[1], &written)),
        row("its expiry", each(&written, &gone)),
    ];
    print_table(&format!("Expiry on the wire, {} keys of one age", scale.keys), &rows);
    Ok(())
}

fn sum(regions: &Regions) -> Result<Sum> {
    await_figures();
    let (mut bytes, mut operations) = (0, 0);
    for name in regions.names() {
        let status = regions.status(&name)?;
        operations += status.number("operations_issued").unwrap_or(0);
        let peers = regions.names().into_iter().filter_map(|peer| status.peer(&peer));
        bytes += peers.filter_map(|peer| peer.number("bytes_out")).sum::<i64>();
    }
    Ok(Sum {
        bytes,
        operations,
        at: Instant::now(),
    })
}

/// Numbers of keys.
fn sizes(regions: &Regions) -> Result<Vec<u64>> {
    let size = |name: String| Ok(cmd("DBSIZE").query(&mut regions.connect(&name)?)?);
    regions.names().into_iter().map(size).collect()
}
