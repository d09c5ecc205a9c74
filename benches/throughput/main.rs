//! What geo-replication costs: GEO commands against native ones on the same server in the same run, with two live
//! peers; metadata, bytes on the wire, and catching up.
//!
//! `make bench` prints the tables; `cargo bench --features geoctl -- --quick` is a short run that only shows that
//! everything works; `--catch-up`, `--expiry` and `--reads` measure only that. Everything shares this machine's cores, the client and
//! the peers too: the CPU columns say what a core can do, the throughput columns what this machine did.

mod client;
mod commands;
mod cores;
mod cpu;
mod expiry;
mod reads;
mod storage;

use std::error::Error;
use std::thread;
use std::time::Duration;

use redis_geo::lab::regions::{Regions, Topology};
use redis_geo::lab::wait_for;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ORIGIN: &str = "eu";
const PEERS: [&str; 2] = ["us", "ap"];
const PATIENCE: Duration = Duration::from_secs(300);

/// How much is measured.
pub struct Scale {
    /// Pairs of a native and a GEO round, of which the median counts.
    pub rounds: usize,
    /// Operations of a round at pipeline 32; pipeline 1 does a quarter.
    pub operations: u64,
    /// Keys of the metadata measurement.
    pub keys: u64,
    /// Writes that a peer misses before it catches up.
    pub missed: u64,
}

const FULL: Scale = Scale {
    rounds: 7,
    operations: 400_000,
    keys: 100_000,
    missed: 1_000_000,
};
const QUICK: Scale = Scale {
    rounds: 1,
    operations: 20_000,
    keys: 2_000,
    missed: 50_000,
};

fn main() -> Result<()> {
    let asked = |option: &str| std::env::args().any(|argument| argument == option);
    let scale = if asked("--quick") { QUICK } else { FULL };
    if asked("--reads") {
        return reads::measure(&scale);
    }
    let mut regions = Regions::prepare(
        &redis_geo::lab::module::built(),
        &["eu", "us", "ap"],
        Topology::Mesh,
        false,
        0,
    )?;
    for name in ["eu", "us", "ap"] {
        // Native commands are what is compared with.
        let setting = ("transparent".into(), "no".into());
        regions.settings(name).arguments.push(setting);
        regions.launch(name)?;
    }
    regions.await_links(PATIENCE)?;
    if asked("--expiry") {
        return expiry::measure(&regions, &scale);
    }
    if !asked("--catch-up") {
        commands::measure(&mut regions, &scale)?;
        storage::metadata(&mut regions, &scale)?;
        expiry::measure(&regions, &scale)?;
    }
    storage::catching_up(&mut regions, &scale)?;
    if !asked("--catch-up") {
        reads::measure(&scale)?;
    }
    Ok(())
}

/// Waits until every peer has acknowledged everything the origin wrote.
fn await_settled(regions: &Regions) -> Result<()> {
    let settled = |peer: &&str| -> Option<bool> {
        let peer = regions.status(ORIGIN).ok()?.peer(peer)?;
        Some(peer.text("state") == "up" && peer.number("unsettled_operations") == Some(0))
    };
    wait_for("the peers' acknowledgements", PATIENCE, || {
        PEERS.iter().all(|peer| settled(peer) == Some(true)).then_some(())
    })?;
    Ok(())
}

/// The transport's figures are made once a second, and nothing tells when: a bench waits for the next.
fn await_figures() {
    thread::sleep(Duration::from_millis(1_200));
}

/// Prints rows as a Markdown table; the first is the heading.
fn print_table(title: &str, rows: &[Vec<String>]) {
    println!("\n### {title}\n");
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    for (index, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        println!("| {} |", cells.join(" | "));
        if index == 0 {
            let lines: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            println!("| {} |", lines.join(" | "));
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}
