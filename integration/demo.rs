//! `geoctl demo` shows what it promises and leaves nothing behind.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use redis_geo::lab::{module, wait_for};

const PATIENCE: Duration = Duration::from_secs(60);

fn demo(temporary: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_geoctl"));
    command
        .args(["demo", "--module"])
        .arg(module::built())
        .env("TMPDIR", temporary);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Servers that work in `directory`, by process id. A finished process that nobody has asked about yet works nowhere.
fn servers_in(directory: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let working = processes.filter(|process| {
        fs::read_link(process.path().join("cwd")).is_ok_and(|working| working.starts_with(directory))
    });
    working
        .map(|process| process.file_name().to_string_lossy().into_owned())
        .collect()
}

fn check_left_nothing(directory: &Path) {
    assert_eq!(servers_in(directory), Vec::<String>::new());
    assert_eq!(fs::read_dir(directory).unwrap().count(), 0, "files are left");
}

/// What the README says that `make demo` shows.
fn readme() -> &'static str {
    let (_, rest) = include_str!("../README.md").split_once("$ make demo\n").unwrap();
    rest.split_once("```").unwrap().0
}

/// Each line's words, in any order as members of sets are, without the seconds that the regions took to agree.
fn words(said: &str) -> Vec<Vec<&str>> {
    let of = |line| {
        let mut words: Vec<&str> = str::split_whitespace(line).collect();
        words.retain(|word| !word.contains('.') || word.parse::<f64>().is_err());
        words.sort_unstable();
        words
    };
    said.lines().map(of).filter(|line| !line.is_empty()).collect()
}

fn text(output: &Output) -> String {
    format!(
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn it_converges_and_leaves_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let output = demo(temporary.path()).output().unwrap();
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert_eq!(words(&said), words(readme()));
    assert!(
        !said.contains('\x1b'),
        "plain lines when standard output is no terminal"
    );
    check_left_nothing(temporary.path());
}

#[test]
fn a_signal_ends_it_and_leaves_nothing() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let temporary = tempfile::tempdir().unwrap();
        let mut child = demo(temporary.path()).spawn().unwrap();
        wait_for("its servers", PATIENCE, || {
            (!servers_in(temporary.path()).is_empty()).then_some(())
        })
        .unwrap();
        send(&child, signal);
        let status = wait_for("its end", PATIENCE, || child.try_wait().unwrap()).unwrap();
        assert!(!status.success());
        check_left_nothing(temporary.path());
    }
}

#[test]
fn its_servers_end_even_when_it_is_killed() {
    let temporary = tempfile::tempdir().unwrap();
    let mut child = demo(temporary.path()).spawn().unwrap();
    wait_for("its servers", PATIENCE, || {
        (!servers_in(temporary.path()).is_empty()).then_some(())
    })
    .unwrap();
    send(&child, libc::SIGKILL);
    child.wait().unwrap();
    wait_for("its servers' end", PATIENCE, || {
        servers_in(temporary.path()).is_empty().then_some(())
    })
    .unwrap();
}

fn send(child: &Child, signal: libc::c_int) {
    // SAFETY: a plain system call; the child is not reaped yet.
    unsafe { libc::kill(child.id() as libc::pid_t, signal) };
}
