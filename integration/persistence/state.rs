//! A region with metadata, and reading all that it holds.

use std::collections::BTreeMap;

use crate::plain::{Client, Server, strings, until};

/// Arguments of the module for a region whose only peer never comes: nothing is ever acknowledged, so all metadata
/// stays.
/// A region whose peer is not there. Its native commands are its own.
pub const LONELY: [&str; 6] = ["region", "eu", "peer", "us@127.0.0.1:1", "transparent", "no"];

/// A region that has metadata for what it writes.
pub fn lonely(arguments: &[&str]) -> Server {
    let server = Server::start(arguments, &LONELY);
    until("the region goes on alone", || {
        server.client().text("GEO.RECOVER").starts_with(b"+OK").then_some(())
    });
    active(&server);
    server
}

pub fn active(server: &Server) {
    until("the region is active", || {
        (status(server, "state") == "active").then_some(())
    });
}

/// The region recovers and will not go on with its own data of itself: its past may be of any age.
pub fn needs_a_peer(server: &Server) {
    assert_eq!(status(server, "state"), "recovering");
    let detail = status(server, "detail");
    assert!(detail.contains("for all regions to be there"), "{detail}");
}

/// Waits until the region could not forget anything that it has.
pub fn confirmed(server: &Server) {
    until("everything is confirmed", || {
        (status(server, "unconfirmed_ms") == "0").then_some(())
    });
}

const WRITES: [&str; 24] = [
    "SET text value",
    "SET int 12",
    "SET int 13 XX",
    "SETNX nx 1",
    "GETSET int 14",
    "SET gone 1",
    "GETDEL gone",
    "MSET m1 a m2 2",
    "MSETNX m3 c m4 4",
    "APPEND text more",
    "SETRANGE text 1 xx",
    "SETBIT bits 7 1",
    "INCR int",
    "DECR int",
    "INCRBY int 7",
    "DECRBY int 3",
    "INCRBYFLOAT float 1.25",
    "SADD set a b c d e f g 1",
    "SREM set a",
    "SPOP set",
    "SPOP set 2",
    "SMOVE set other 1",
    "DEL m1 nothing m2",
    "UNLINK m3",
];

/// Each kind of write, in two databases.
pub fn write(client: &mut Client) {
    for database in ["2", "0"] {
        client.text(&format!("SELECT {database}"));
        for line in WRITES {
            ok(client, &format!("GEO.{line}"));
        }
    }
}

/// A command that must not fail.
pub fn ok(client: &mut Client, line: &str) -> Vec<u8> {
    let reply = client.text(line);
    assert!(!reply.starts_with(b"-"), "{line}: {}", String::from_utf8_lossy(&reply));
    reply
}

/// Every key of the databases in use with its value and its metadata, in words.
pub fn state(client: &mut Client) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for database in ["0", "2"] {
        ok(client, &format!("SELECT {database}"));
        let mut keys = strings(&client.text("KEYS *"));
        // Keys that are gone have metadata, too.
        keys.extend(["gone", "m1", "m2", "m3"].map(|name| name.as_bytes().to_vec()));
        for key in keys {
            let name = format!("{database}/{}", String::from_utf8_lossy(&key));
            let inspected = client.command(&[b"GEO.INSPECT", &key]);
            all.insert(name, format!("{} | {}", value(client, &key), shown(&inspected)));
        }
    }
    ok(client, "SELECT 0");
    all
}

fn value(client: &mut Client, key: &[u8]) -> String {
    let kind = client.command(&[b"TYPE", key]);
    let read: &[u8] = if kind.starts_with(b"+set") { b"SMEMBERS" } else { b"GET" };
    let mut parts = strings(&client.command(&[read, key]));
    parts.sort();
    let parts: Vec<String> = parts.iter().map(|part| shown(part)).collect();
    format!("{} {}", shown(&kind), parts.join(" "))
}

pub fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Asserts that two states are the same, and names what differs.
pub fn same(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) {
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        assert_eq!(before.get(name), after.get(name), "{name}");
    }
}

/// One field of `GEO.STATUS`; empty when there is none.
pub fn status(server: &Server, field: &str) -> String {
    let reply = server.client().text("GEO.STATUS");
    let mut lines = reply
        .split(|byte| *byte == b'\n')
        .map(|line| String::from_utf8_lossy(line).trim_end().to_owned());
    lines
        .by_ref()
        .find(|line| line == field)
        .and_then(|_| lines.next())
        .map(|head| match head.strip_prefix(':') {
            Some(number) => number.to_owned(),
            None => lines.next().unwrap_or_default(),
        })
        .unwrap_or_default()
}

/// One field of `INFO`; empty when there is none.
pub fn info(server: &Server, field: &str) -> String {
    let reply = server.client().text("INFO everything");
    String::from_utf8_lossy(&reply)
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .unwrap_or_default()
        .trim_end()
        .to_owned()
}
