//! Inside the region: a plain replica, and the append-only file.

use crate::held::everything;
use crate::pair::{Pair, shown};
use crate::plain::{Client, Server, until};

const WRITES: [&str; 61] = [
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
    "SET until 1 EX 1000",
    "SETEX soon 1000 1",
    "SET forever 1 EX 1000",
    "PERSIST forever",
    "GETEX int EX 1000",
    "PEXPIRE set 1000000",
    "SET over 1",
    "EXPIREAT over 1",
    "INCR counted",
    "EXPIRE counted -1",
    "BITFIELD bits SET u8 8 65",
    "BITOP NOT notbits bits",
    "PFADD hll a b c",
    "PFMERGE hlls hll",
    "HSET hash a 1 b 2 c 3 d 4",
    "HSETNX hash e 5",
    "HDEL hash a",
    "HINCRBY hash b 5",
    "HINCRBYFLOAT hash c 0.25",
    "ZADD zset 1 a 2 b 3 c 4 d 5 e 6 f",
    "ZADD zset GT CH 9 a 1 b",
    "ZINCRBY zset 0.1 b",
    "ZREM zset c",
    "ZPOPMIN zset",
    "ZPOPMAX zset",
    "ZMPOP 2 nothing zset MIN COUNT 1",
    "ZREMRANGEBYSCORE zset 5 5",
    "GEOADD places 13.361389 38.115556 Palermo 15.087269 37.502669 Catania",
    "GEOSEARCHSTORE near places FROMMEMBER Palermo BYRADIUS 500 km ASC",
    "GEORADIUSBYMEMBER places Palermo 500 km STOREDIST far",
    "ZUNIONSTORE zunion 2 zset places WEIGHTS 2 1",
    "ZRANGESTORE zrange zunion 0 0",
    "SUNIONSTORE sunion set other",
    "COPY hash hash2",
    "RENAME hash hash3",
    "SADD other more",
    "RENAMENX other another",
    "MOVE hash2 1",
    "COPY until until DB 1",
    "SET last 1",
];

fn write(client: &mut Client) {
    for line in WRITES {
        let reply = client.text(&format!("GEO.{line}"));
        assert!(!reply.starts_with(b"-"), "{line}: {}", String::from_utf8_lossy(&reply));
    }
    client.text("GEO.DEL m1 nothing m2");
    client.text("GEO.UNLINK m3");
    for list in ["list1", "list2", "list3", "list4"] {
        client.text(&format!("RPUSH {list} a"));
    }
    client.text("GEO.DEL list1 list2");
    client.text("GEO.SDIFFSTORE list3 nothing nothing");
    client.text("GEO.SET list4 text");
}

#[test]
fn a_replica_with_the_module_holds_the_same_values() {
    let primary = Server::geo(&["--repl-diskless-sync-delay", "0"]);
    let replica = Server::geo(&["--replicaof", "127.0.0.1", &primary.port.to_string()]);
    let (mut client, mut reader) = (primary.client(), replica.client());
    write(&mut client);
    let expected = everything(&mut client);
    until("the replica has everything", || {
        (everything(&mut reader) == expected).then_some(())
    });
    assert!(reader.text("GEO.SET k v").starts_with(b"-READONLY"));
    reader.text("REPLICAOF NO ONE");
    assert_eq!(reader.text("GEO.SET k v"), b"+OK\r\n");
}

/// What a module propagates while the server runs a command for it is dropped, unless that command itself is propagated.
#[test]
fn a_replica_hears_of_counters_that_expire_inside_a_command() {
    let primary = Server::geo(&["--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes"]);
    let replica = Server::geo(&["--replicaof", "127.0.0.1", &primary.port.to_string()]);
    let (mut client, mut reader) = (primary.client(), replica.client());
    client.text("DEBUG SET-ACTIVE-EXPIRE 0");
    for (key, expire) in [
        ("n", "GEO.SUNIONSTORE x n"),
        ("m", "GEO.EXPIRE m -1"),
        ("l", "GEO.GETEX l EXAT 1"),
    ] {
        client.text(&format!("GEO.INCR {key}"));
        client.text(&format!("GEO.PEXPIRE {key} {}", if key == "n" { 1 } else { 100_000 }));
        // The clock has to pass the deadline, and a look at the key would make it expire.
        client.text("DEBUG SLEEP 0.01");
        client.text(expire);
        assert_eq!(client.text(&format!("EXISTS {key}")), b":0\r\n", "{expire}");
    }
    client.text("GEO.SET end 1");
    until("the replica has everything", || {
        (reader.text("EXISTS end") == b":1\r\n").then_some(())
    });
    assert_eq!(everything(&mut reader), everything(&mut client));
    for key in ["n", "m", "l"] {
        let known = shown(&reader.text(&format!("GEO.INSPECT {key}")));
        assert!(!known.contains("adds 1"), "{known}");
    }
}

#[test]
fn the_append_only_file_brings_everything_back() {
    let mut server = Server::geo(&["--appendonly", "yes", "--appendfsync", "always"]);
    write(&mut server.client());
    let expected = everything(&mut server.client());
    server = server.restart();
    assert_eq!(everything(&mut server.client()), expected);
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
    let expected = everything(&mut client);
    server = server.restart_with(&["--appendonly", "yes"]);
    assert_eq!(everything(&mut server.client()), expected);
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
