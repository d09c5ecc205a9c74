//! What reads pay for the module: native reads on a region with two live peers, transparent mode on, against the same on
//! a server without it; and, for what such a difference means here, on a second server without it, and on one whose only
//! module has a command filter that does nothing.

use std::path::PathBuf;
use std::time::Duration;

use rand::seq::SliceRandom;
use redis_geo::lab::module;
use redis_geo::lab::regions::{Regions, Topology};
use redis_geo::lab::server::{Server, Settings};

use super::client::{Client, encode};
use super::commands::{KEYS, VALUE};
use super::cores::Cores;
use super::cpu::Cpu;
use super::{ORIGIN, PATIENCE, PEERS, Result, Scale, median, print_table};

/// Of keys that replicate, and of others: their reads cost the same, but the module has had memory while the first were
/// written, which then lie elsewhere; where, depends on the length of their names, too.
const KINDS: [(&str, &str); 3] = [
    ("replicated", "read"),
    ("replicated, long names", "session:8f14e45f-ceea-467f-a9c1-f3b6"),
    ("other", "local"),
];
const REPLICATED: &str = "* !local:*";
/// Pipeline and connections: one event-loop turn sees 1, up to 32, or up to 128 reads.
const SHAPES: [(u64, usize); 3] = [(1, 1), (1, 32), (32, 4)];
/// Two processes of the same program differ by some percent for as long as they live, by where their memory lies. So
/// all servers are started so many times for each of the others' rounds.
const LAUNCHES: usize = 2;
/// And each time compared in so many short slices, which see the machine in the same moods.
const SLICES: usize = 21;
/// Slices of the operations that others measure in one round.
const PARTS: u64 = 32;
/// Steps through the keys that visit each: clients do not read in the order in which memory was taken.
const FILLED: u64 = 7_919;
const READ: u64 = 1_013;
/// `GET` answers in two lines.
const LINES: u64 = 2;

pub fn measure(scale: &Scale) -> Result<()> {
    let all = Cores::allowed()?;
    let shapes = KINDS.iter().flat_map(|kind| SHAPES.map(|shape| (kind, shape)));
    let mut rows: Vec<(_, _, Vec<Launch>)> = shapes.map(|(kind, shape)| (kind, shape, Vec::new())).collect();
    for _ in 0..scale.rounds * LAUNCHES {
        // What was written before decides where keys come to lie, so each kind has servers of its own.
        for rows in rows.chunks_mut(SHAPES.len()) {
            all.hold(0)?;
            let mut servers = Servers::launch()?;
            servers.share_a_core()?;
            for ((_, prefix), (pipeline, connections), launches) in rows {
                launches.push(servers.compare(scale, prefix, *pipeline, *connections)?);
            }
        }
    }
    let heading = [
        "keys",
        "pipeline",
        "connections",
        "plain CPU µs",
        "CPU added %",
        "quartiles",
        "by an empty filter %",
        "quartiles",
        "by a second plain server %",
        "quartiles",
    ];
    let rows = rows.iter().map(|((kind, _), (pipeline, connections), launches)| {
        let all = |figure: fn(&Launch) -> f64| launches.iter().map(figure).collect::<Vec<f64>>();
        let [region, region_spread] = added(all(|launch| launch.region));
        let [filter, filter_spread] = added(all(|launch| launch.filter));
        let [control, control_spread] = added(all(|launch| launch.control));
        vec![
            kind.to_string(),
            pipeline.to_string(),
            connections.to_string(),
            format!("{:.2}", median(all(|launch| launch.plain))),
            region,
            region_spread,
            filter,
            filter_spread,
            control,
            control_spread,
        ]
    });
    let rows: Vec<_> = std::iter::once(heading.map(String::from).to_vec())
        .chain(rows)
        .collect();
    let title = "`GET` in a region against a server without the module (median of launches)";
    print_table(title, &rows);
    Ok(())
}

/// What one launch showed.
struct Launch {
    /// CPU time of the main thread for one read without the module, in µs.
    plain: f64,
    /// That of the region as a multiple of it.
    region: f64,
    /// That of a server with an empty command filter, as a multiple of it.
    filter: f64,
    /// That of another server without the module, as a multiple of it.
    control: f64,
}

/// Two servers without a module, one with an empty command filter, and a region with two peers.
struct Servers {
    others: [Server; 3],
    regions: Regions,
    // Last: the servers' files go after the servers.
    _directory: tempfile::TempDir,
}

impl Servers {
    fn launch() -> Result<Servers> {
        let names = [ORIGIN, PEERS[0], PEERS[1]];
        let mut regions = Regions::prepare(&module::built(), &names, Topology::Mesh, false, 0)?;
        let mut settings = regions.settings(ORIGIN).clone();
        settings.module = None;
        let directory = tempfile::tempdir()?;
        let start = |name: &str, settings: &Settings| Server::start(&directory.path().join(name), settings.clone());
        let mut filtered = settings.clone();
        filtered.lines.push(format!("loadmodule {}", empty_filter()?.display()));
        let others = [
            start("first", &settings)?,
            start("second", &settings)?,
            start("filtered", &filtered)?,
        ];
        for name in names {
            let setting = ("keys".into(), REPLICATED.into());
            regions.settings(name).arguments.push(setting);
            regions.launch(name)?;
        }
        regions.await_links(PATIENCE)?;
        Ok(Servers {
            others,
            regions,
            _directory: directory,
        })
    }

    /// The client and all that runs commands share one core, so that no request wakes another core: in a virtual machine
    /// that costs more than the read, and never the same.
    fn share_a_core(&mut self) -> Result<()> {
        let core = Cores::current()?;
        core.hold(0)?;
        self.each().iter().try_for_each(|server| core.hold(pid(server)?))
    }

    fn each(&mut self) -> [&Server; 4] {
        let [first, second, filtered] = &self.others;
        [first, second, filtered, self.regions.server(ORIGIN)]
    }

    /// Slices on all servers, in any order.
    fn compare(&mut self, scale: &Scale, prefix: &str, pipeline: u64, connections: usize) -> Result<Launch> {
        let operations = match pipeline {
            1 => scale.operations / 4,
            _ => scale.operations,
        } / PARTS;
        let servers = self.each();
        for server in servers {
            let set = |number, batch: &mut Vec<u8>| encode(batch, &["SET", &key(prefix, number * FILLED), VALUE]);
            Client::connect(server.address, 1, 32)?.run(KEYS, set)?;
        }
        let mut slices = Vec::new();
        let mut random = rand::rng();
        let mut order = [0, 1, 2, 3];
        for _ in 0..SLICES {
            let mut slice = [0.0; 4];
            order.shuffle(&mut random);
            for which in order {
                slice[which] = cpu_of_a_read(servers[which], prefix, operations, pipeline, connections)?;
            }
            slices.push(slice);
        }
        let all = |figure: fn(&[f64; 4]) -> f64| median(slices.iter().map(figure).collect());
        Ok(Launch {
            plain: all(|slice| slice[0]),
            control: all(|slice| slice[1] / slice[0]),
            filter: all(|slice| slice[2] / slice[0]),
            region: all(|slice| slice[3] / slice[0]),
        })
    }
}

/// The module that `cargo build --example empty_filter` has made, in the profile of this program.
fn empty_filter() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let profile = program.ancestors().nth(2).ok_or("the program is in no directory")?;
    let module = profile.join("examples/libempty_filter.so");
    match module.is_file() {
        true => Ok(module),
        false => Err(format!("no module at '{}': run `make bench`", module.display()).into()),
    }
}

/// Of the main thread, in µs.
fn cpu_of_a_read(server: &Server, prefix: &str, operations: u64, pipeline: u64, connections: usize) -> Result<f64> {
    let mut client = Client::connect(server.address, connections, pipeline)?.expecting(LINES);
    let pid = pid(server)?;
    let get = |number, batch: &mut Vec<u8>| encode(batch, &["GET", &key(prefix, number * READ)]);
    let before = Cpu::of(pid)?;
    let (done, _) = client.run(operations, get)?;
    let used: Duration = (Cpu::of(pid)? - before).main;
    Ok(used.as_secs_f64() * 1e6 / done as f64)
}

fn pid(server: &Server) -> Result<u32> {
    Ok(server.pid().ok_or("the server is not running")?)
}

/// In percent, the median of these multiples and the quartiles.
fn added(mut multiples: Vec<f64>) -> [String; 2] {
    multiples.sort_by(f64::total_cmp);
    let percent = |multiple: f64| format!("{:+.1}", (multiple - 1.0) * 100.0);
    let quartile = |number: usize| percent(multiples[(multiples.len() - 1) * number / 4]);
    [
        percent(median(multiples.clone())),
        format!("{} to {}", quartile(1), quartile(3)),
    ]
}

fn key(prefix: &str, number: u64) -> String {
    format!("{prefix}:{:05}", number % KEYS)
}
