//! The road back: what a detached region saves loads on a server without the module.

use std::fs;
use std::path::Path;

use redis_geo::lab::dump::Dump;
use redis_geo::lab::server::connect;

use crate::capture::{both, none};
use crate::pair::{PATIENCE, copy_all, pair};
use crate::plain::{Client, Server, load_arguments, strings, until};
use crate::state::{info, ok, shown, status};

const WRITES: [&str; 8] = [
    "SET s v",
    "SET e v PX 100000000",
    "INCRBY n 7",
    "SADD t a b c",
    "HSET h f 1 g 2",
    "ZADD z 1.5 m 2 n",
    "PFADD hll a b c",
    "EXPIRE t 100000",
];

/// Values and deadlines.
fn data(server: &Server) -> (Dump, Vec<Vec<u8>>) {
    let mut connection = connect(([127, 0, 0, 1], server.port).into(), PATIENCE).unwrap();
    let dump = Dump::of(&mut connection).unwrap();
    let mut client = server.client();
    let deadlines = dump.0.keys().map(|key| client.command(&[b"PEXPIRETIME", key]));
    let deadlines = deadlines.collect();
    (dump, deadlines)
}

fn same_data(one: &Server, other: &Server) {
    let ((one, deadlines), (other, others)) = (data(one), data(other));
    assert_eq!(one.difference(&other), None);
    assert_eq!(deadlines, others);
    assert_eq!(one.0.len(), WRITES.len() - 1);
    assert!(deadlines.iter().filter(|at| **at != b":-1\r\n").count() == 2);
}

/// A server without the module on a copy of another's files.
fn plain_on(server: &Server, arguments: &[&str]) -> (Server, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    copy_all(server.path(".").as_path(), directory.path());
    let _ = fs::remove_file(directory.path().join("redis.log"));
    let place = directory.path().to_string_lossy().into_owned();
    let server = Server::plain(&[&["--dir", &place], arguments].concat());
    (server, directory)
}

/// A region of its own with a configuration file, which it can write.
fn region(directory: &Path, lines: &[&str]) -> Server {
    let path = directory.join("redis.conf");
    let load = load_arguments(&["region", "eu", "peer", "us@127.0.0.1:1"]);
    let words: Vec<String> = load[1..].iter().map(|word| format!("\"{word}\"")).collect();
    fs::write(&path, format!("loadmodule {}\n{}\n", words.join(" "), lines.join("\n"))).unwrap();
    let server = Server::start(&[&path.to_string_lossy()], &[]);
    until("the region goes on alone", || {
        server.client().text("GEO.RECOVER").starts_with(b"+OK").then_some(())
    });
    until("the region is active", || {
        (status(&server, "state") == "active").then_some(())
    });
    for line in WRITES {
        ok(&mut server.client(), line);
    }
    server
}

/// Servers before 7.2 write a trace of every module into their RDB files, whether it has anything to say or not.
fn traces(server: &Server) -> bool {
    info(server, "redis_version").starts_with("7.0.")
}

fn refused(client: &mut Client, line: &str, why: &str) {
    let reply = shown(&client.text(line));
    assert!(reply.starts_with('-') && reply.contains(why), "{line}: {reply}");
}

#[test]
fn what_a_detached_region_saves_loads_without_the_module() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = region(directory.path(), &[]);
    let mut client = server.client();
    refused(&mut client, "GEO.DETACH us", "GEO.DETACH eu takes it out");
    assert_eq!(status(&server, "state"), "active");
    ok(&mut client, "GEO.DETACH eu");
    ok(&mut client, "GEO.DETACH eu");
    assert_eq!(status(&server, "state"), "detached");
    assert_eq!(status(&server, "listen"), "");
    for line in ["GEO.SET s w", "GEO.FLUSHALL", "GEO.PURGE *", "GEO.ADOPT *"] {
        refused(&mut client, line, "the region is detached");
    }
    // Native commands are what they are on a plain server.
    ok(&mut client, "LPUSH list a");
    ok(&mut client, "DEL list");
    ok(&mut client, "SET s w");
    if traces(&server) {
        // It says so, and a start with the setting that GEO.DETACH has made helps.
        assert!(server.log().contains("need the module"));
        ok(&mut client, "SAVE");
        server = server.restart();
        assert_eq!(status(&server, "state"), "detached");
        assert!(server.log().contains("loaded, detached"));
    }
    ok(&mut server.client(), "SAVE");
    let (plain, _directory) = plain_on(&server, &[]);
    same_data(&server, &plain);
    assert_eq!(plain.client().text("GET s"), b"$1\r\nw\r\n");
    assert!(shown(&plain.client().text("GEO.STATUS")).contains("unknown command"));
}

#[test]
fn it_stays_detached_when_the_server_starts_again() {
    let directory = tempfile::tempdir().unwrap();
    let server = region(directory.path(), &[]);
    ok(&mut server.client(), "GEO.DETACH eu");
    ok(&mut server.client(), "SAVE");
    let written = fs::read_to_string(directory.path().join("redis.conf")).unwrap();
    assert!(written.contains("geo.detached yes"), "{written}");
    let server = server.restart();
    assert_eq!(status(&server, "state"), "detached");
    refused(&mut server.client(), "GEO.SET s w", "the region is detached");
    assert_eq!(server.client().text("GET s"), b"$1\r\nv\r\n");
    refused(&mut server.client(), "CONFIG SET geo.detached no", "immutable");
}

/// Also with a preamble, which is an RDB, where those have no trace of the module.
#[test]
fn the_append_only_file_loads_without_the_module() {
    for preamble in ["no", "yes"] {
        let directory = tempfile::tempdir().unwrap();
        let setting = format!("aof-use-rdb-preamble {preamble}");
        let server = region(directory.path(), &["appendonly yes", "appendfsync always", &setting]);
        if preamble == "yes" && traces(&server) {
            continue;
        }
        let before = info(&server, "aof_rewrites");
        ok(&mut server.client(), "GEO.DETACH eu");
        until("the file is written anew", || {
            let done = info(&server, "aof_rewrites") != before && info(&server, "aof_rewrite_in_progress") == "0";
            done.then_some(())
        });
        assert_eq!(info(&server, "aof_last_bgrewrite_status"), "ok");
        ok(&mut server.client(), "SET s after");
        let (plain, _directory) = plain_on(&server, &["--appendonly", "yes"]);
        same_data(&server, &plain);
        // And with the module it goes on as before.
        let server = server.restart();
        assert_eq!(status(&server, "state"), "detached");
        assert_eq!(server.client().text("GET s"), b"$5\r\nafter\r\n");
    }
}

#[test]
fn users_lose_the_forms_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let server = region(directory.path(), &[]);
    let mut client = server.client();
    let own = "ACL SETUSER some on nopass ~x* +@all -acl";
    ok(&mut client, own);
    client.command(&[b"ACL", b"SETUSER", b"some", b"(~y* +get)"]);
    until("the user has the forms", || {
        shown(&client.text("ACL LIST")).contains("+geo.set").then_some(())
    });
    ok(&mut client, "GEO.DETACH eu");
    let users = strings(&client.text("ACL LIST"));
    let some = users
        .iter()
        .map(|line| shown(line))
        .find(|line| line.starts_with("user some"))
        .unwrap();
    assert!(
        !some.contains("geo.") && some.contains("~y*") && some.contains("~x*"),
        "{some}"
    );
    let mut user = server.client();
    ok(&mut user, "AUTH some some");
    ok(&mut user, "SET x1 v");
    refused(&mut user, "SET other v", "NOPERM");
}

#[test]
fn the_others_are_told_and_go_on() {
    let mut regions = pair(&[]);
    none(&regions, "eu", "SET k 1");
    both(&regions, "GET k", "'1'");
    none(&regions, "us", "GEO.DETACH us");
    until("eu has heard it", || {
        let status = regions.status("eu").ok()?.peer("us")?;
        (status.text("state") != "up").then_some(())
    });
    assert!(regions.server("eu").log().contains("was detached from the cluster"));
    none(&regions, "us", "SET k here");
    none(&regions, "eu", "SET k there");
    assert_eq!(crate::capture::text(&regions, "us", "GET k"), "'here'");
    assert_eq!(crate::capture::text(&regions, "eu", "GET k"), "'there'");
}

/// The members of a region detach together; a replica that is promoted then is a plain primary.
#[test]
fn a_replica_is_detached_with_its_primary() {
    let directory = tempfile::tempdir().unwrap();
    let server = region(directory.path(), &["repl-diskless-sync-delay 0"]);
    let port = server.port.to_string();
    let replica = Server::start(
        &["--replicaof", "127.0.0.1", &port],
        &["region", "eu", "peer", "us@127.0.0.1:1"],
    );
    until("the replica is in sync", || {
        (info(&replica, "master_link_status") == "up").then_some(())
    });
    ok(&mut server.client(), "GEO.DETACH eu");
    until("the replica is detached", || {
        (status(&replica, "state") == "detached").then_some(())
    });
    ok(&mut server.client(), "SET s after");
    until("native writes follow", || {
        (replica.client().text("GET s") == b"$5\r\nafter\r\n").then_some(())
    });
    assert!(replica.log().contains("CONFIG REWRITE does not work here"));
    ok(&mut replica.client(), "REPLICAOF NO ONE");
    ok(&mut replica.client(), "SET s promoted");
    assert_eq!(status(&replica, "state"), "detached");
}
