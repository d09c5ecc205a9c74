//! Changes of keys in `geo.keys` that no command of ours made: they reach the other region, and whoever follows this one.

use std::collections::BTreeMap;
use std::process::Command;

use redis_geo::lab::regions::Regions;

use crate::pair::{PATIENCE, add_lines, agree, info, launch, pair, prepare, run};
use crate::plain::{Server, until};
use crate::replicas::caught_up;
use crate::state::{active, confirmed, ok, same, state, status};

const RENAMED: [&str; 9] = [
    "SET", "INCR", "DEL", "EXPIRE", "PERSIST", "RENAME", "RESTORE", "LPUSH", "SPOP",
];

fn renames() -> Vec<String> {
    let line = |name: &&str| format!("rename-command {name} MY{name}");
    RENAMED.iter().map(line).collect()
}

/// eu and us, both with renamed commands.
fn renamed() -> Regions {
    let lines = renames();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let mut regions = prepare(&["eu", "us"], &lines);
    add_lines(&mut regions, "us", &lines);
    launch(&mut regions, &["eu", "us"]);
    regions
}

pub fn text(regions: &Regions, region: &str, command: &str) -> String {
    match run(regions, region, command) {
        redis::Value::Int(number) => format!("int({number})"),
        redis::Value::BulkString(bytes) => format!("'{}'", String::from_utf8_lossy(&bytes)),
        other => format!("{other:?}"),
    }
}

/// Both regions answer a command alike, in the end, and as expected.
pub fn both(regions: &Regions, command: &str, expected: &str) {
    for region in ["eu", "us"] {
        until(&format!("{region}> {command} gives {expected}"), || {
            text(regions, region, command).contains(expected).then_some(())
        });
    }
}

pub fn captured(regions: &Regions, region: &str) -> u64 {
    info(regions, region, "geo_captured_keys").parse().unwrap()
}

pub fn none(regions: &Regions, region: &str, command: &str) {
    run::<redis::Value>(regions, region, command);
}

#[test]
fn renamed_commands_reach_the_other_region() {
    let regions = renamed();
    for (at, command, read, expected) in [
        ("eu", "MYSET k 1", "GET k", "'1'"),
        ("us", "MYSET k 2", "GET k", "'2'"),
        ("eu", "MYINCR k", "GET k", "'3'"),
        ("eu", "SADD s a b c", "SCARD s", "int(3)"),
        ("us", "MYSPOP s 2", "SCARD s", "int(1)"),
        ("eu", "MYRENAME k other", "EXISTS k", "int(0)"),
        ("us", "GET other", "GET other", "'3'"),
        ("us", "HSET h f 1", "HGET h f", "'1'"),
        ("eu", "MYEXPIRE h 1000", "EXPIRETIME h", "int(1"),
        ("us", "MYPERSIST h", "EXPIRETIME h", "int(-1)"),
        ("us", "ZADD z 1.5 m", "ZSCORE z m", "1.5"),
        ("eu", "MYRENAME z zz", "ZSCORE zz m", "1.5"),
        ("us", "MYDEL zz", "EXISTS zz", "int(0)"),
        ("eu", "MYEXPIRE h -1", "EXISTS h", "int(0)"),
    ] {
        none(&regions, at, command);
        both(&regions, read, expected);
    }
    let mut eu = regions.connect("eu").unwrap();
    let payload: Vec<u8> = redis::cmd("DUMP").arg("s").query(&mut eu).unwrap();
    let restore = redis::cmd("MYRESTORE")
        .arg("copy")
        .arg(100_000)
        .arg(payload)
        .query(&mut eu);
    let () = restore.unwrap();
    both(&regions, "SCARD copy", "int(1)");
    both(&regions, "EXPIRETIME copy", "int(1");
    regions.await_equal(PATIENCE).unwrap();
    assert!(captured(&regions, "eu") >= 6 && captured(&regions, "us") >= 4);
    assert_eq!(info(&regions, "eu", "geo_unmergeable_keys"), "0");
}

/// Where servers have deadlines of fields: a hash that had one before it was replicated.
#[test]
fn a_field_that_expires_is_removed_elsewhere() {
    let regions = pair(&[]);
    none(&regions, "eu", "CONFIG SET geo.keys !h");
    none(&regions, "eu", "HSET h f v g w");
    let mut eu = regions.connect("eu").unwrap();
    let mut deadline = redis::cmd("HPEXPIRE");
    deadline.arg("h").arg(1500).arg("FIELDS").arg(1).arg("g");
    match deadline.query::<Vec<i64>>(&mut eu) {
        Err(error) => return assert!(error.to_string().contains("unknown command"), "{error}"),
        Ok(set) => assert_eq!(set, [1]),
    }
    none(&regions, "eu", "CONFIG SET geo.keys *");
    none(&regions, "eu", "GEO.ADOPT h");
    both(&regions, "HGET h f", "'v'");
    both(&regions, "HEXISTS h g", "int(0)");
    regions.await_equal(PATIENCE).unwrap();
    both(&regions, "HGET h f", "'v'");
}

#[test]
fn what_replicates_by_itself_is_not_captured() {
    let regions = pair(&[]);
    for command in [
        "SET k 1",
        "INCR k",
        "MSET a 1 b 2",
        "SADD s a b",
        "SPOP s",
        "RENAME a c",
        "EXPIRE k 1000",
        "EXPIRE b -1",
        "GETEX k PERSIST",
        "HSET h f 1",
        "ZADD z 1 m",
        "COPY z y",
        "DEL z",
        "FLUSHDB",
        "SET k 1 PX 1",
    ] {
        none(&regions, "eu", command);
    }
    both(&regions, "EXISTS k", "int(0)");
    none(&regions, "us", "MSET a 1 b 2");
    both(&regions, "GET b", "'2'");
    regions.await_equal(PATIENCE).unwrap();
    assert_eq!([captured(&regions, "eu"), captured(&regions, "us")], [0, 0]);
}

/// The order among commands is kept: what another road did to a key is recorded before what a command then does to it.
#[test]
fn transactions_and_scripts() {
    let regions = renamed();
    let mut eu = regions.connect("eu").unwrap();
    let mut pipe = redis::pipe();
    pipe.atomic();
    for command in [["MYSET", "n", "100"], ["INCRBY", "n", "1"], ["MYSET", "m", "7"]] {
        pipe.cmd(command[0]).arg(&command[1..]).ignore();
    }
    pipe.query::<()>(&mut eu).unwrap();
    both(&regions, "GET n", "'101'");
    both(&regions, "GET m", "'7'");
    let script = "redis.call('MYSET', 'x', '1'); redis.call('INCRBY', 'x', '5'); redis.call('SADD', 'y', 'a'); \
                  redis.call('MYDEL', 'm'); return redis.call('MYINCR', 'x')";
    let reply: i64 = redis::cmd("EVAL").arg(script).arg(0).query(&mut eu).unwrap();
    assert_eq!(reply, 7);
    both(&regions, "GET x", "'7'");
    both(&regions, "EXISTS m", "int(0)");
    regions.await_equal(PATIENCE).unwrap();
    agree(&regions_with_counter(regions), 5);
}

/// An increment that came by a command still counts with those of the other region.
fn regions_with_counter(regions: Regions) -> Regions {
    none(&regions, "eu", "MYSET counter 1");
    both(&regions, "GET counter", "'1'");
    regions.isolate("eu");
    none(&regions, "eu", "INCRBY counter 1");
    none(&regions, "us", "INCRBY counter 3");
    regions.heal();
    regions
}

#[test]
fn a_type_that_cannot_be_merged_stays_here() {
    let mut regions = renamed();
    none(&regions, "eu", "MYLPUSH list a");
    none(&regions, "eu", "MYLPUSH list b");
    none(&regions, "eu", "MYSET after 1");
    both(&regions, "GET after", "'1'");
    assert_eq!(text(&regions, "us", "EXISTS list"), "int(0)");
    assert_eq!(text(&regions, "eu", "LLEN list"), "int(2)");
    assert_eq!(info(&regions, "eu", "geo_unmergeable_keys"), "2");
    let log = regions.server("eu").log();
    assert_eq!(log.matches("key 'list' was written").count(), 1, "{log}");
    // The other region's key takes its place.
    none(&regions, "us", "SADD list m");
    both(&regions, "TYPE list", "set");
    both(&regions, "SCARD list", "int(1)");
}

#[test]
fn without_transparent_mode_native_writes_stay_here() {
    let regions = pair(&["geo.transparent no"]);
    none(&regions, "eu", "SET k 1");
    none(&regions, "eu", "GEO.SET after 1");
    both(&regions, "GET after", "'1'");
    assert_eq!(text(&regions, "us", "EXISTS k"), "int(0)");
    assert_eq!(captured(&regions, "eu"), 0);
}

/// A key that is gone may have been moved, by a command that is not known by its name.
#[test]
fn a_migration_removes_nothing_elsewhere() {
    let mut lines = renames();
    lines.push("rename-command MIGRATE MYMIGRATE".to_owned());
    let mut regions = pair(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    let target = Server::plain(&[]);
    none(&regions, "us", "SET moved 1");
    both(&regions, "GET moved", "'1'");
    none(
        &regions,
        "eu",
        &format!("MYMIGRATE 127.0.0.1 {} moved 0 5000", target.port),
    );
    none(&regions, "eu", "MYSET after 1");
    both(&regions, "GET after", "'1'");
    assert_eq!(target.client().text("GET moved"), b"$1\r\n1\r\n");
    assert_eq!(text(&regions, "eu", "EXISTS moved"), "int(0)");
    assert_eq!(text(&regions, "us", "GET moved"), text(&regions, "us", "GET after"));
    assert!(regions.server("eu").log().contains("command migrate is renamed"));
}

fn other_module(directory: &std::path::Path) -> String {
    let library = directory.join("other.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/integration/persistence/other_module.c");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(source)
        .status();
    assert!(built.unwrap().success(), "cc");
    library.to_string_lossy().into_owned()
}

#[test]
fn another_modules_writes_reach_the_other_region() {
    let directory = tempfile::tempdir().unwrap();
    let load = format!("loadmodule {}", other_module(directory.path()));
    let regions = pair(&[&load]);
    none(&regions, "us", "SET theirs 1");
    both(&regions, "GET theirs", "'1'");
    none(&regions, "eu", "OTHER.SET k v");
    none(&regions, "eu", "OTHER.DEL theirs");
    both(&regions, "GET k", "'v'");
    both(&regions, "EXISTS theirs", "int(0)");
    assert_eq!([captured(&regions, "eu"), captured(&regions, "us")], [2, 0]);
}

/// A region whose peer is not there, with renamed commands.
fn lonely(arguments: &[&str]) -> Server {
    let mut all: Vec<&str> = Vec::new();
    let names: Vec<String> = RENAMED.iter().map(|name| format!("MY{name}")).collect();
    for (name, other) in RENAMED.iter().zip(&names) {
        all.extend(["--rename-command", name, other]);
    }
    all.extend(arguments);
    let server = Server::start(&all, &["region", "eu", "peer", "us@127.0.0.1:1"]);
    until("the region goes on alone", || {
        server.client().text("GEO.RECOVER").starts_with(b"+OK").then_some(())
    });
    active(&server);
    server
}

fn write(server: &Server) {
    let mut client = server.client();
    for line in [
        "SADD set a b c",
        "MYSPOP set",
        "MYSET text value",
        "MYSET int 1",
        "INCRBY int 2",
        "MYINCR int",
        "MYSET gone 1",
        "MYDEL gone",
        "MYRENAME text renamed",
        "MYEXPIRE renamed 1000",
        "MYLPUSH list a",
        "MULTI",
        "MYSET m1 1",
        "SADD set d",
        "MYINCR m1",
        "EXEC",
    ] {
        ok(&mut client, line);
    }
    // The turn that captured the last of it is over.
    ok(&mut client, "PING");
}

#[test]
fn the_append_only_file_brings_back_what_was_captured() {
    for preamble in ["yes", "no"] {
        let server = lonely(&[
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--aof-use-rdb-preamble",
            preamble,
        ]);
        write(&server);
        confirmed(&server);
        let before = state(&mut server.client());
        let server = server.restart();
        same(&before, &state(&mut server.client()));
        assert_eq!(status(&server, "captured_keys"), "0", "what is loaded is not new");
        if preamble == "no" {
            // The server would write SET into the new file, which it then does not know.
            continue;
        }
        ok(&mut server.client(), "BGREWRITEAOF");
        until("the rewrite is done", || {
            (crate::state::info(&server, "aof_rewrite_in_progress") == "0"
                && crate::state::info(&server, "aof_rewrites") != "0")
                .then_some(())
        });
        let server = server.restart();
        assert_eq!(values(&before), values(&state(&mut server.client())));
    }
}

/// Without the metadata, which a rewrite may bring into another order.
fn values(state: &BTreeMap<String, String>) -> Vec<(&String, Option<&str>)> {
    state
        .iter()
        .map(|(key, words)| (key, words.split(" | ").next()))
        .collect()
}

#[test]
fn a_replica_follows_what_was_captured_and_captures_nothing() {
    let mut arguments: Vec<&str> = Vec::new();
    let names: Vec<String> = RENAMED.iter().map(|name| format!("MY{name}")).collect();
    for (name, other) in RENAMED.iter().zip(&names) {
        arguments.extend(["--rename-command", name, other]);
    }
    let server = lonely(&["--repl-diskless-sync-delay", "0"]);
    let port = server.port.to_string();
    arguments.extend(["--replicaof", "127.0.0.1", &port]);
    let replica = Server::start(&arguments, &["region", "eu", "peer", "us@127.0.0.1:1"]);
    until("the replica is in sync", || {
        (crate::state::info(&replica, "master_link_status") == "up").then_some(())
    });
    write(&server);
    caught_up(&server, &replica);
    let before = state(&mut server.client());
    same(&before, &state(&mut replica.client()));
    ok(&mut replica.client(), "REPLICAOF NO ONE");
    until("the site is open", || {
        (!status(&replica, "replica").is_empty()).then_some(())
    });
    same(&before, &state(&mut replica.client()));
    assert_eq!(status(&replica, "captured_keys"), "0");
    drop(server);
    // It may have gone on by itself by now: then this is refused.
    replica.client().text("GEO.RECOVER");
    active(&replica);
    ok(&mut replica.client(), "MYSET after 1");
    until("it captures as a primary", || {
        (status(&replica, "captured_keys") == "1").then_some(())
    });
}

#[test]
fn commands_that_the_module_needs_keep_their_names() {
    let refused = crate::plain::refused(
        &[
            &["--rename-command", "SADD", "MYSADD"].map(str::to_owned)[..],
            &crate::plain::load_arguments(&["region", "eu"])[..],
        ]
        .concat()
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>(),
    );
    assert!(
        refused.iter().any(|line| line.contains("does not run SADD")),
        "{refused:?}"
    );
}
