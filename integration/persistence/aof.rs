//! The region's log in the append-only file.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use redis_geo::lab::server::tool;

use crate::plain::{Client, Server, until};
use crate::state::{active, confirmed, info, lonely, needs_a_peer, ok, same, state, write};

const ALWAYS: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

fn rewrite(server: &Server) {
    let before = info(server, "aof_rewrites");
    ok(&mut server.client(), "BGREWRITEAOF");
    until("the rewrite is done", || {
        let done = info(server, "aof_rewrites") != before
            && info(server, "aof_rewrite_in_progress") == "0"
            && info(server, "aof_rewrite_scheduled") == "0";
        done.then_some(())
    });
    assert_eq!(info(server, "aof_last_bgrewrite_status"), "ok");
}

fn with(arguments: &[&str]) -> (Server, Client) {
    let server = lonely(&[&["--appendonly", "yes"], arguments].concat());
    let client = server.client();
    (server, client)
}

/// Kills the process and starts it again, when all that was written has reached the file.
fn again(server: Server) -> Server {
    until("the file has everything", || {
        (info(&server, "aof_buffer_length") == "0").then_some(())
    });
    let before = state(&mut server.client());
    let server = server.restart();
    same(&before, &state(&mut server.client()));
    server
}

#[test]
fn the_file_brings_everything_back() {
    for fsync in ["always", "everysec", "no"] {
        for preamble in ["yes", "no"] {
            let (server, mut client) = with(&["--appendfsync", fsync, "--aof-use-rdb-preamble", preamble]);
            write(&mut client);
            confirmed(&server);
            let server = again(server);
            if fsync == "no" {
                needs_a_peer(&server);
                ok(&mut server.client(), "GEO.RECOVER");
            }
            active(&server);
            ok(&mut server.client(), "GEO.SET text after");
            again(server);
        }
    }
}

#[test]
fn a_rewritten_file_brings_everything_back() {
    for preamble in ["yes", "no"] {
        let (server, mut client) = with(&["--appendfsync", "always", "--aof-use-rdb-preamble", preamble]);
        write(&mut client);
        rewrite(&server);
        write(&mut client);
        confirmed(&server);
        let server = again(server);
        active(&server);
        rewrite(&server);
        let plain = Server::plain(&[&ALWAYS[..], &["--aof-use-rdb-preamble", preamble]].concat());
        rewrite(&plain);
        // Valkey 9.1's tool does not know the files of its own server.
        let (judged, plainly) = (checked(&server), checked(&plain));
        assert_eq!(judged.is_ok(), plainly.is_ok(), "{judged:?} {plainly:?}");
        again(server);
    }
}

#[test]
fn a_file_switched_on_later_is_complete() {
    for preamble in ["yes", "no"] {
        let server = lonely(&["--appendfsync", "always", "--aof-use-rdb-preamble", preamble]);
        let mut client = server.client();
        write(&mut client);
        ok(&mut client, "CONFIG SET appendonly yes");
        write(&mut client);
        until("the rewrite is done", || {
            let none = info(&server, "aof_rewrite_in_progress") == "0" && info(&server, "aof_rewrite_scheduled") == "0";
            none.then_some(())
        });
        let before = state(&mut client);
        let server = server.restart_with(&["--appendonly", "yes"]);
        same(&before, &state(&mut server.client()));
    }
}

/// What `redis-check-aof` says of the server's file: `Err` when it finds something wrong.
fn checked(server: &Server) -> Result<(), String> {
    let manifest = server.path("appendonlydir/appendonly.aof.manifest");
    let answer = Command::new(tool("redis-check-aof"))
        .arg(manifest)
        .output()
        .expect("redis-check-aof");
    match answer.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&answer.stdout).into_owned()),
    }
}

/// The file that commands are appended to.
fn increment(server: &Server) -> PathBuf {
    let mut all: Vec<PathBuf> = fs::read_dir(server.path("appendonlydir"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".incr.aof"))
        .collect();
    all.sort();
    all.pop().expect("an increment")
}

#[test]
fn a_torn_tail_costs_the_last_command_only() {
    let (server, mut client) = with(&ALWAYS);
    write(&mut client);
    let before = state(&mut client);
    ok(&mut client, "GEO.SADD set torn");
    let path = increment(&server);
    let length = fs::metadata(&path).unwrap().len();
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(length - 3)
        .unwrap();
    let server = server.restart();
    same(&before, &state(&mut server.client()));
}

#[test]
fn a_damaged_command_stops_the_start() {
    let (server, mut client) = with(&ALWAYS);
    ok(&mut client, "GEO.SET unmistakable value");
    let path = increment(&server);
    let mut file = fs::read(&path).unwrap();
    let at = file
        .windows(12)
        .position(|part| part == b"unmistakable")
        .expect("its name");
    file[at - 3] ^= 0xff;
    fs::write(&path, file).unwrap();
    let log = server.refuses_to_start();
    assert!(log.contains("cannot be repeated here"), "{log}");
}

#[test]
fn only_the_log_is_in_the_file() {
    let (server, mut client) = with(&ALWAYS);
    for line in [
        "SADD popped a b c d e f",
        "SPOP popped",
        "SPOP popped 2",
        "SET k v",
        "INCR n",
        "GETDEL k",
    ] {
        ok(&mut client, &format!("GEO.{line}"));
    }
    let file = fs::read(increment(&server)).unwrap();
    let commands: Vec<String> = crate::plain::strings(&file)
        .iter()
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .filter(|word| ["SADD", "SREM", "SPOP", "SET", "INCR", "DEL", "GETDEL"].contains(&word.as_str()))
        .collect();
    assert!(commands.is_empty(), "{commands:?}");
}
