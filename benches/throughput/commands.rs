//! GEO commands against native ones.

use std::time::Duration;

use redis_geo::lab::regions::Regions;

use super::client::{Client, encode};
use super::cpu::Cpu;
use super::{ORIGIN, PEERS, Result, Scale, await_figures, await_settled, median, print_table};

/// Keys that a round writes to.
pub const KEYS: u64 = 10_000;
/// Members that a set gets in turn.
const MEMBERS: u64 = 100;
pub const VALUE: &str = "0123456789abcdef0123456789abcdef";

/// Pipeline and connections: one event-loop turn sees up to 32 or 128 requests.
const SHAPES: [(u64, usize); 2] = [(1, 32), (32, 4)];
/// Peers keep a key whose deadline is near from expiring while they write it.
const COMMANDS: [&str; 5] = ["SET", "INCR", "SADD", "SET EX 3600", "SET EX 30"];

/// One round.
#[derive(Clone, Copy)]
struct Round {
    /// Operations per second.
    rate: f64,
    /// CPU per operation, µs: the origin's command thread, its other threads, and a peer (mean of both).
    main: f64,
    others: f64,
    peer: f64,
    /// UDP bytes that the origin sent to one peer, per operation.
    wire: f64,
}

pub fn measure(regions: &mut Regions, scale: &Scale) -> Result<()> {
    let heading = [
        "command",
        "pipeline",
        "native ops/s",
        "GEO ops/s",
        "ratio",
        "native CPU µs",
        "GEO CPU µs",
        "CPU ratio",
        "network thread µs",
        "peer µs",
        "wire B",
    ];
    let mut rows = vec![heading.map(String::from).to_vec()];
    for command in COMMANDS {
        for (pipeline, connections) in SHAPES {
            rows.push(compare(regions, scale, command, pipeline, connections)?);
        }
        drop_keys(regions, "DEL", command)?;
        if command.contains("EX") {
            // They are not to expire while something else is measured.
            drop_keys(regions, "GEO.DEL", &format!("GEO.{command}"))?;
            await_settled(regions)?;
        }
    }
    print_table("Commands, with two live peers (medians; CPU per operation)", &rows);
    Ok(())
}

/// Native keys are on the origin alone: without them all regions hold the same data.
fn drop_keys(regions: &Regions, how: &str, command: &str) -> Result<()> {
    let drop = |number, batch: &mut Vec<u8>| encode(batch, &[how, &format!("{command}:{number:05}")]);
    Client::connect(regions.address(ORIGIN), 4, 32)?.run(KEYS, drop)?;
    Ok(())
}

/// Native and GEO rounds in turn, so that both see the machine in the same moods.
fn compare(
    regions: &mut Regions,
    scale: &Scale,
    command: &str,
    pipeline: u64,
    connections: usize,
) -> Result<Vec<String>> {
    let operations = if pipeline == 1 {
        scale.operations / 4
    } else {
        scale.operations
    };
    let mut client = Client::connect(regions.address(ORIGIN), connections, pipeline)?;
    let (mut native, mut geo) = (Vec::new(), Vec::new());
    // The first pair warms up: keys exist afterwards.
    for number in 0..=scale.rounds {
        let pair = (
            round(regions, &mut client, command, "", operations)?,
            round(regions, &mut client, command, "GEO.", operations)?,
        );
        if number > 0 {
            native.push(pair.0);
            geo.push(pair.1);
        }
    }
    let of = |rounds: &[Round], value: fn(&Round) -> f64| median(rounds.iter().map(value).collect());
    let ratios = native
        .iter()
        .zip(&geo)
        .map(|(native, geo)| geo.rate / native.rate)
        .collect();
    let cpu_ratios = native
        .iter()
        .zip(&geo)
        .map(|(native, geo)| native.main / geo.main)
        .collect();
    Ok(vec![
        command.into(),
        pipeline.to_string(),
        format!("{:.0}", of(&native, |round| round.rate)),
        format!("{:.0}", of(&geo, |round| round.rate)),
        format!("{:.2}", median(ratios)),
        format!("{:.2}", of(&native, |round| round.main)),
        format!("{:.2}", of(&geo, |round| round.main)),
        format!("{:.2}", median(cpu_ratios)),
        format!("{:.2}", of(&geo, |round| round.others)),
        format!("{:.2}", of(&geo, |round| round.peer)),
        format!("{:.1}", of(&geo, |round| round.wire)),
    ])
}

fn round(regions: &mut Regions, client: &mut Client, command: &str, prefix: &str, operations: u64) -> Result<Round> {
    let name = format!("{prefix}{command}");
    let geo = !prefix.is_empty();
    await_figures();
    let (origin, peers, wire) = (cpu(regions, ORIGIN)?, peers(regions)?, sent(regions)?);
    let (done, took) = client.run(operations, |number, batch| request(&name, number, batch))?;
    // Until the peers have acknowledged everything: their share belongs to the round.
    if geo {
        await_settled(regions)?;
    }
    let (origin, peers) = (
        cpu(regions, ORIGIN)? - origin,
        self::peers(regions)?.saturating_sub(peers),
    );
    await_figures();
    let each = |duration: Duration| duration.as_secs_f64() * 1e6 / done as f64;
    Ok(Round {
        rate: done as f64 / took.as_secs_f64(),
        main: each(origin.main),
        others: each(origin.others),
        peer: each(peers),
        wire: (sent(regions)? - wire) / done as f64,
    })
}

/// Native and GEO commands write to keys of their own.
fn request(command: &str, number: u64, batch: &mut Vec<u8>) {
    // A stride that visits all keys in a scattered order.
    let key = format!("{command}:{:05}", number * 7_919 % KEYS);
    let (name, options) = command.split_once(' ').unwrap_or((command, ""));
    let member;
    let mut words = vec![name, &key];
    match name.trim_start_matches("GEO.") {
        "SET" => words.push(VALUE),
        "SADD" => {
            member = format!("member:{}", number / KEYS % MEMBERS);
            words.push(&member);
        }
        _ => {}
    }
    words.extend(options.split_whitespace());
    encode(batch, &words);
}

fn cpu(regions: &mut Regions, name: &str) -> Result<Cpu> {
    Cpu::of(regions.server(name).pid().ok_or("the server is not running")?)
}

/// CPU time of one peer, on average.
fn peers(regions: &mut Regions) -> Result<Duration> {
    let mut total = Duration::ZERO;
    for peer in PEERS {
        total += cpu(regions, peer)?.total();
    }
    Ok(total / PEERS.len() as u32)
}

/// UDP bytes that the origin sent to one peer, on average.
fn sent(regions: &Regions) -> Result<f64> {
    let status = regions.status(ORIGIN)?;
    let bytes = |peer: &&str| {
        status
            .peer(peer)
            .and_then(|fields| fields.number("bytes_out"))
            .unwrap_or(0)
    };
    Ok(PEERS.iter().map(bytes).sum::<i64>() as f64 / PEERS.len() as f64)
}
