//! Inside the region: a plain replica, and the append-only file.

use crate::pair::Pair;
use crate::plain::{Client, Server, until};

const WRITES: [&str; 22] = [
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
    "SADD set a b c 1",
    "SREM set a",
    "SPOP set",
    "SMOVE set other 1",
    "SET last 1",
];

fn write(client: &mut Client) {
    for line in WRITES {
        let reply = client.text(&format!("GEO.{line}"));
        assert!(!reply.starts_with(b"-"), "{line}: {}", String::from_utf8_lossy(&reply));
    }
    client.text("GEO.DEL m1 nothing m2");
    client.text("GEO.UNLINK m3");
}

/// Everything a server holds. Not its encodings: loading an RDB makes some of them more compact.
fn dump(client: &mut Client) -> Vec<Vec<u8>> {
    let mut keys = crate::plain::strings(&client.text("KEYS *"));
    keys.sort();
    let mut all = Vec::new();
    for key in keys {
        let kind = client.command(&[b"TYPE", &key]);
        let read: &[u8] = if kind.starts_with(b"+set") { b"SMEMBERS" } else { b"GET" };
        let mut value = crate::plain::strings(&client.command(&[read, &key]));
        value.sort();
        all.extend([key.clone(), kind]);
        all.extend(value);
    }
    all
}

#[test]
fn a_replica_with_the_module_holds_the_same_values() {
    let primary = Server::geo(&["--repl-diskless-sync-delay", "0"]);
    let replica = Server::geo(&["--replicaof", "127.0.0.1", &primary.port.to_string()]);
    let (mut client, mut reader) = (primary.client(), replica.client());
    write(&mut client);
    let expected = dump(&mut client);
    until("the replica has everything", || {
        (dump(&mut reader) == expected).then_some(())
    });
    assert!(reader.text("GEO.SET k v").starts_with(b"-READONLY"));
    reader.text("REPLICAOF NO ONE");
    assert_eq!(reader.text("GEO.SET k v"), b"+OK\r\n");
}

#[test]
fn the_append_only_file_brings_everything_back() {
    let mut server = Server::geo(&["--appendonly", "yes", "--appendfsync", "always"]);
    write(&mut server.client());
    let expected = dump(&mut server.client());
    server = server.restart();
    assert_eq!(dump(&mut server.client()), expected);
}

#[test]
fn an_append_only_file_switched_on_later_is_complete() {
    let mut server = Server::geo(&["--appendfsync", "always"]);
    let mut client = server.client();
    client.text("GEO.SET early text");
    client.text("CONFIG SET appendonly yes");
    write(&mut client);
    until("the rewrite is done", || {
        let info = client.text("INFO persistence");
        let info = String::from_utf8_lossy(&info);
        (info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0")).then_some(())
    });
    let expected = dump(&mut client);
    server = server.restart_with(&["--appendonly", "yes"]);
    assert_eq!(dump(&mut server.client()), expected);
}

#[test]
fn writes_count_towards_the_next_save() {
    let mut pair = Pair::start();
    for line in ["SET a text", "SET a 1", "SADD s 1", "INCR a", "MSET a x b y"] {
        pair.same_text(line);
        let info = pair.module.text("INFO persistence");
        let info = String::from_utf8_lossy(&info).into_owned();
        let changes = info
            .lines()
            .find_map(|line| line.strip_prefix("rdb_changes_since_last_save:"))
            .map(str::to_owned);
        assert!(changes.is_some_and(|count| count.trim() != "0"), "{line}");
        pair.module.text("SAVE");
    }
}
