//! `examples/`: an application with client libraries from PyPI and npm, which know nothing of regions. It must work on
//! three regions as on one plain server.

#[path = "support/plain.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod plain;

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use plain::Server;
use redis_geo::lab::module;
use redis_geo::lab::regions::{Regions, Topology};
use redis_geo::lab::relay::Conditions;

const PROGRAMS: [&str; 6] = ["sessions", "cart", "leaderboard", "rate_limiter", "views", "flags"];
const REGIONS: [&str; 3] = ["eu", "us", "ap"];
const PATIENCE: Duration = Duration::from_secs(90);
/// For what never comes.
const SHORT: Duration = Duration::from_millis(300);
/// For how long a session lives that nobody uses: no machine is so slow that one that is used dies.
const SECONDS: &str = "8";
/// After which a program that hangs is killed.
const LIMIT: &str = "300";
/// What the examples print before they wait for other regions.
const WAITING: &str = "waiting:";

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The programs of one test at a time are enough for the machine.
static TURN: Mutex<()> = Mutex::new(());

/// Where the client libraries are; installs them when they are not what the lock files say.
fn clients() -> (MutexGuard<'static, ()>, PathBuf) {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
    let install = Path::new(ROOT).join("scripts/install-clients.sh");
    let installed = Command::new(install).arg(&directory).output().expect("a shell");
    let said = String::from_utf8_lossy(&installed.stderr);
    assert!(
        installed.status.success(),
        "client libraries cannot be installed: {said}"
    );
    (turn, directory)
}

/// Each example in each language, by name, as a command that waits for its addresses.
fn programs(clients: &Path) -> Vec<(String, Command)> {
    let python = clients.join("python/bin/python");
    let languages = [
        (python, Path::new(ROOT).join("examples/python"), "py"),
        (PathBuf::from("node"), clients.join("node"), "mjs"),
    ];
    let program = |name: &str, (interpreter, directory, extension): &(PathBuf, PathBuf, &str)| {
        let name = format!("{name}.{extension}");
        let mut command = Command::new("timeout");
        command.arg(LIMIT).arg(interpreter).arg(directory.join(&name));
        // Nothing is written beside the programs.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        (name, command)
    };
    let in_each = |name| languages.iter().map(move |language| program(name, language));
    PROGRAMS.into_iter().flat_map(in_each).collect()
}

/// How a program ended.
struct End {
    name: String,
    success: bool,
    said: String,
}

/// Runs a program to its end. Tells `waits` when it first waits for other regions, by dropping it.
fn run(name: String, mut command: Command, waits: Sender<()>) -> End {
    let (output, input) = io::pipe().expect("a pipe");
    command.stdout(input.try_clone().expect("a pipe")).stderr(input);
    let mut child = command.spawn().expect("the program starts");
    // It holds the writing ends of the pipe, which would never end.
    drop(command);
    let mut waits = Some(waits);
    let mut said = String::new();
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        waits = waits.filter(|_| !line.starts_with(WAITING));
        said.push_str(&line);
        said.push('\n');
    }
    let success = child.wait().expect("the program ends").success();
    End { name, success, said }
}

/// Runs all programs at once. `all_wait` is called when each of them waits for other regions, or has ended.
fn run_all(clients: &Path, addresses: &[SocketAddr], patience: Duration, all_wait: impl FnOnce()) -> Vec<End> {
    let (waits, waiting) = mpsc::channel();
    let runs: Vec<_> = programs(clients)
        .into_iter()
        .map(|(name, mut command)| {
            command.args(addresses.iter().map(SocketAddr::to_string));
            command.env("PATIENCE", patience.as_secs_f64().to_string());
            command.env("SECONDS", SECONDS);
            let waits = waits.clone();
            thread::spawn(move || run(name, command, waits))
        })
        .collect();
    drop(waits);
    // Nobody ever sends: it ends when the last sender is gone.
    let _ = waiting.recv();
    all_wait();
    runs.into_iter().map(|run| run.join().expect("a thread")).collect()
}

fn assert_all_succeed(ends: &[End]) {
    let failed: Vec<String> = ends
        .iter()
        .filter(|end| !end.success)
        .map(|end| format!("--- {} ---\n{}", end.name, end.said))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// They write while every region is alone, and go on over links that delay and lose.
#[test]
fn unmodified_clients_work_on_three_regions() {
    let (_turn, clients) = clients();
    let regions = Regions::start(&module::built(), &REGIONS, Topology::Mesh, 1).expect("regions");
    regions.await_links(PATIENCE).expect("links");
    regions.set(Conditions {
        delay: Duration::from_millis(25),
        jitter: Duration::from_millis(10),
        loss: 0.01,
        ..Conditions::PERFECT
    });
    REGIONS.iter().for_each(|region| regions.isolate(region));
    let addresses = REGIONS.map(|region| regions.address(region));
    let ends = run_all(&clients, &addresses, PATIENCE, || regions.heal());
    assert_all_succeed(&ends);
    let left = regions.await_equal(PATIENCE).expect("equal data");
    assert!(!left.0.is_empty(), "the examples leave their data");
}

#[test]
fn they_work_on_a_plain_server() {
    let (_turn, clients) = clients();
    let server = Server::plain(&[]);
    let ends = run_all(&clients, &[local(&server)], PATIENCE, || ());
    assert_all_succeed(&ends);
}

/// They would notice if nothing replicated.
#[test]
fn they_fail_on_servers_that_know_nothing_of_each_other() {
    let (_turn, clients) = clients();
    let servers = REGIONS.map(|_| Server::plain(&[]));
    let ends = run_all(&clients, &servers.each_ref().map(local), SHORT, || ());
    for end in ends {
        assert!(
            !end.success && end.said.contains("in vain"),
            "{}: {}",
            end.name,
            end.said
        );
    }
}

fn local(server: &Server) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], server.port))
}
