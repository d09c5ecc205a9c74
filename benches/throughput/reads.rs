//! What reads pay for the module: native reads on a region with two live peers, transparent mode on, against the same on
//! a server without it.

use std::time::Duration;

use redis_geo::lab::module;
use redis_geo::lab::regions::{Regions, Topology};
use redis_geo::lab::server::Server;

use super::client::{Client, encode};
use super::commands::{KEYS, VALUE};
use super::cpu::Cpu;
use super::{ORIGIN, PATIENCE, Result, Scale, median, print_table};

/// Pipeline and connections: one event-loop turn sees 1, up to 32, or up to 128 reads.
const SHAPES: [(u64, usize); 3] = [(1, 1), (1, 32), (32, 4)];
/// A difference of a few percent shows only over many short rounds: so many for each of the others' rounds.
const PARTS: usize = 8;
/// `GET` answers in two lines.
const LINES: u64 = 2;

pub fn measure(scale: &Scale) -> Result<()> {
    let names = ["eu", "us", "ap"];
    let mut regions = Regions::prepare(&module::built(), &names, Topology::Mesh, false, 0)?;
    let mut settings = regions.settings(ORIGIN).clone();
    settings.module = None;
    let directory = tempfile::tempdir()?;
    let plain = Server::start(directory.path(), settings)?;
    for name in names {
        regions.launch(name)?;
    }
    regions.await_links(PATIENCE)?;
    let replicated = regions.server(ORIGIN);
    let heading = [
        "read",
        "pipeline",
        "connections",
        "plain ops/s",
        "with the module",
        "plain CPU µs",
        "with the module",
        "CPU added %",
    ];
    let mut rows = vec![heading.map(String::from).to_vec()];
    for (pipeline, connections) in SHAPES {
        rows.push(compare([&plain, replicated], scale, pipeline, connections)?);
    }
    print_table("Reads, on a server without the module and in a region (medians)", &rows);
    Ok(())
}

/// Rounds on both servers in turn, each first every other time, so that both see the machine in the same moods.
fn compare(servers: [&Server; 2], scale: &Scale, pipeline: u64, connections: usize) -> Result<Vec<String>> {
    let operations = match pipeline {
        1 => scale.operations / 4,
        _ => scale.operations,
    } / PARTS as u64;
    let mut rounds = [Vec::new(), Vec::new()];
    for server in servers {
        let set = |number, batch: &mut Vec<u8>| encode(batch, &["SET", &key(number), VALUE]);
        Client::connect(server.address, 1, 32)?.run(KEYS, set)?;
    }
    for number in 0..scale.rounds * PARTS {
        for turn in 0..2 {
            let which = (number + turn) % 2;
            let (server, rounds) = (servers[which], &mut rounds[which]);
            let mut client = Client::connect(server.address, connections, pipeline)?.expecting(LINES);
            let pid = server.pid().ok_or("the server is not running")?;
            let before = Cpu::of(pid)?;
            let get = |number, batch: &mut Vec<u8>| encode(batch, &["GET", &key(number)]);
            let (done, took) = client.run(operations, get)?;
            let main = (Cpu::of(pid)? - before).main;
            rounds.push((each(took, done), each(main, done)));
        }
    }
    let [plain, region] = rounds;
    let rate = |rounds: &[(f64, f64)]| median(rounds.iter().map(|(wall, _)| 1e6 / wall).collect());
    let cpu = |rounds: &[(f64, f64)]| median(rounds.iter().map(|(_, cpu)| *cpu).collect());
    let pairs = plain.iter().zip(&region);
    let added = pairs.map(|(plain, region)| (region.1 / plain.1 - 1.0) * 100.0);
    Ok(vec![
        "GET".into(),
        pipeline.to_string(),
        connections.to_string(),
        format!("{:.0}", rate(&plain)),
        format!("{:.0}", rate(&region)),
        format!("{:.2}", cpu(&plain)),
        format!("{:.2}", cpu(&region)),
        format!("{:+.1}", median(added.collect())),
    ])
}

fn key(number: u64) -> String {
    format!("read:{:05}", number * 7_919 % KEYS)
}

/// µs.
fn each(duration: Duration, operations: u64) -> f64 {
    duration.as_secs_f64() * 1e6 / operations as f64
}
