//! Beside replies and data: transactions, scripts, WATCH, client-side caches, notifications, limits.

use crate::pair::{Pair, has, shown};
use crate::plain::{Client, until};

#[test]
fn transactions_and_scripts() {
    let mut pair = Pair::start();
    pair.both("MULTI");
    for line in [
        "SET k 1",
        "INCR k",
        "SADD s a b",
        "SREM s a",
        "LPUSH k x",
        "INCRBYFLOAT k 0.5",
        "DEL s",
    ] {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        if line.starts_with("LPUSH") {
            pair.both(line)
        } else {
            drop(pair.same(&words))
        }
    }
    pair.both("EXEC");
    pair.same_data();
    let script = "redis.call(KEYS[1], 'x', '5'); return redis.call(KEYS[2], 'x')";
    let native = pair
        .native
        .command(&[b"EVAL", script.as_bytes(), b"2", b"SET", b"INCR"]);
    let module = pair
        .module
        .command(&[b"EVAL", script.as_bytes(), b"2", b"GEO.SET", b"GEO.INCR"]);
    assert_eq!(shown(&native), shown(&module));
    pair.same_data();
}

/// Commands that change the key "k", each in a state where it does.
const CHANGES: [(&str, &str); 48] = [
    ("SET k 1", "SET k 2"),
    ("SET k 1", "SET k text"),
    ("PING", "SETNX k 1"),
    ("PING", "SETNX k text"),
    ("SET k 1", "GETSET k 2"),
    ("SET k 1", "GETDEL k"),
    ("PING", "MSET k 1 l text"),
    ("PING", "MSETNX k text l 1"),
    ("SET k 1", "APPEND k 2"),
    ("SET k 1", "SETRANGE k 0 2"),
    ("SET k 1", "SETBIT k 0 1"),
    ("SET k 1", "INCR k"),
    ("SET k 1", "DECRBY k 5"),
    ("SET k 1", "INCRBYFLOAT k 0.5"),
    ("PING", "SADD k a"),
    ("SADD k a b", "SREM k a"),
    ("SADD k a", "SPOP k"),
    ("SADD k a", "SMOVE k l a"),
    ("SADD k a", "UNLINK k"),
    ("PING", "SETEX k 100 1"),
    ("SET k 1", "GETEX k EX 100"),
    ("SET k 1 EX 100", "PERSIST k"),
    ("SET k 1", "EXPIRE k 100"),
    ("SET k 1", "PEXPIREAT k 1"),
    ("SET k 1", "BITFIELD k SET u8 0 7"),
    ("SET l 1", "BITOP NOT k l"),
    ("PING", "PFADD k a"),
    ("PING", "HSET k f v"),
    ("HSET k f v", "HDEL k f"),
    ("HSET k f 1", "HINCRBY k f 1"),
    ("HSET k f 1", "HINCRBYFLOAT k f 1.5"),
    ("PING", "ZADD k 1 a"),
    ("ZADD k 1 a", "ZADD k INCR 1 a"),
    ("ZADD k 1 a", "ZINCRBY k 1 a"),
    ("ZADD k 1 a 2 b", "ZREM k a"),
    ("ZADD k 1 a 2 b", "ZREMRANGEBYRANK k 0 0"),
    ("ZADD k 1 a", "ZPOPMIN k"),
    ("ZADD k 1 a", "ZMPOP 1 k MAX"),
    ("ZADD l 1 a", "ZRANGESTORE k l 0 -1"),
    ("SADD l a", "SUNIONSTORE k l l"),
    ("SADD l a", "COPY l k"),
    ("SADD k a", "RENAME k l"),
    ("SADD l a", "RENAME l k"),
    ("SADD k a", "MOVE k 1"),
    ("SET k 1", "MSETEX 2 k 1 l text EX 100"),
    ("SET k 1", "DELEX k IFEQ 1"),
    ("SET k 1", "DELIFEQ k 1"),
    ("HSET k f v g w", "HGETDEL k FIELDS 1 f"),
];

/// Those that the server has.
fn changes(pair: &mut Pair) -> Vec<(&'static str, &'static str)> {
    let changes = CHANGES.into_iter();
    changes.filter(|(_, change)| has(&mut pair.native, change)).collect()
}

#[test]
fn a_watched_key_stops_the_transaction() {
    for mut pair in Pair::each() {
        let mut watcher = pair.geo.client();
        for (before, change) in changes(&mut pair) {
            pair.both("FLUSHALL");
            pair.both(before);
            watcher.text("WATCH k");
            pair.same(&change.split(' ').map(str::as_bytes).collect::<Vec<_>>());
            watcher.text("MULTI");
            watcher.text("PING");
            assert_eq!(watcher.text("EXEC"), b"*-1\r\n", "{change}");
        }
        pair.both("FLUSHALL");
        watcher.text("WATCH k");
        pair.module.text("GEO.SET k 1 XX");
        pair.module.text("GEO.DEL nothing");
        pair.module.text("GEO.INSPECT k");
        watcher.text("MULTI");
        watcher.text("PING");
        assert_eq!(
            watcher.text("EXEC"),
            b"*1\r\n+PONG\r\n",
            "looking at a key is no change"
        );
    }
}

#[test]
fn clients_that_cache_are_told() {
    for mut pair in Pair::each() {
        let mut cache = pair.geo.client();
        cache.text("HELLO 3");
        cache.text("CLIENT TRACKING on");
        for (before, change) in changes(&mut pair) {
            pair.both("FLUSHALL");
            pair.both(before);
            let seen = cache_reads(&mut cache);
            pair.same(&change.split(' ').map(str::as_bytes).collect::<Vec<_>>());
            assert_eq!(
                cache.reply(),
                b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n",
                "{change} after {}",
                shown(&seen)
            );
            // The second push of commands that change it twice, if any, is taken with the next reads.
        }
    }
}

/// Reads "k" until no push comes in between: from then on the server remembers this client.
fn cache_reads(cache: &mut Client) -> Vec<u8> {
    loop {
        cache.send(&[b"EXISTS", b"k"]);
        let first = cache.reply();
        if first.starts_with(b":") {
            return first;
        }
        while !cache.reply().starts_with(b":") {}
    }
}

#[test]
fn keyspace_notifications_are_the_native_ones() {
    for mut pair in Pair::each() {
        pair.both("CONFIG SET notify-keyspace-events KEA");
        let mut listeners = [pair.plain.client(), pair.geo.client()];
        for listener in &mut listeners {
            listener.text("PSUBSCRIBE __keyevent*");
        }
        for (before, change) in changes(&mut pair) {
            for line in ["FLUSHALL", "DEL nothing", before] {
                pair.both(line);
            }
            pair.same(&change.split(' ').map(str::as_bytes).collect::<Vec<_>>());
            pair.both("SET end 1");
            let [native, module] = &mut listeners;
            assert_eq!(events(native), events(module), "{change}");
        }
    }
}

/// What was published until the mark.
fn events(listener: &mut Client) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let event = shown(&listener.reply());
        if event.contains("\\nend\\r") {
            return seen;
        }
        seen.push(event);
    }
}

#[test]
fn other_databases() {
    for mut pair in Pair::each() {
        pair.both("SELECT 3");
        pair.same(&[b"SET", b"k", b"12"]);
        pair.same(&[b"SADD", b"s", b"12"]);
        pair.same_data();
        pair.both("SELECT 0");
        pair.both("DBSIZE");
        pair.same_data();
    }
}

#[test]
fn out_of_memory_is_refused_as_natively() {
    for mut pair in Pair::each() {
        for line in ["SET k 1", "SADD s a", "CONFIG SET maxmemory 1"] {
            pair.both(line);
        }
        for line in [
            "SET k 2",
            "SETNX n 1",
            "GETSET k 2",
            "MSET k 2",
            "MSETNX n 2",
            "APPEND k 2",
            "SETRANGE k 0 2",
            "SETBIT k 0 1",
            "INCR k",
            "DECR k",
            "INCRBY k 1",
            "DECRBY k 1",
            "INCRBYFLOAT k 1",
            "SADD s b",
            "SREM s b",
            "SMOVE s t b",
            "SPOP t",
            "GETDEL t",
            "DEL t",
            "UNLINK t",
        ] {
            pair.same_text(line);
        }
    }
}

/// What is written often is not what `allkeys-lru` takes first.
#[test]
fn a_write_counts_as_a_use() {
    let pair = Pair::transparent("*");
    let (mut native, mut ours) = (pair.plain.client(), pair.geo.client());
    for client in [&mut native, &mut ours] {
        for length in [3, 100, 1000] {
            let value = "v".repeat(length);
            client.text(&format!("SET k{length} {value}"));
            until("time to pass", || (idle(client, length) > 2).then_some(()));
            client.send(&[b"SET", format!("k{length}").as_bytes(), value.to_uppercase().as_bytes()]);
            client.send(&[b"OBJECT", b"IDLETIME", format!("k{length}").as_bytes()]);
            client.reply();
            assert!(number(&client.reply()) <= 1, "after a SET of {length} bytes");
        }
    }
}

/// Seconds since a key was used.
fn idle(client: &mut Client, length: usize) -> u64 {
    number(&client.text(&format!("OBJECT IDLETIME k{length}")))
}

fn number(reply: &[u8]) -> u64 {
    let text = std::str::from_utf8(reply).expect("text");
    text.trim().trim_start_matches(':').parse().expect("a number")
}
