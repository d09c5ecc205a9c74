//! Two regions: what the clients of one notice of the other's writes.

use crate::pair::shown;
use crate::plain::strings;
use crate::plain::{Client, Server, free_port, until};
use crate::reports::info;

pub struct Regions {
    pub eu: Server,
    pub us: Server,
}

impl Regions {
    pub fn start(us_options: &[&str]) -> Regions {
        Regions::start_with(us_options, &[])
    }

    /// `module`: further arguments of the module, in both regions.
    pub fn start_with(us_options: &[&str], module: &[&str]) -> Regions {
        let (eu_port, us_port) = (free_port(), free_port());
        let (eu_listen, us_listen) = (format!("127.0.0.1:{eu_port}"), format!("127.0.0.1:{us_port}"));
        let start = |options: &[&str], region, listen: &str, peer: String| {
            let own = ["region", region, "listen", listen, "peer", &peer];
            Server::start(options, &[&own, module].concat())
        };
        let eu = start(&[], "eu", &eu_listen, format!("us@{us_listen}"));
        let us = start(us_options, "us", &us_listen, format!("eu@{eu_listen}"));
        for server in [&eu, &us] {
            let mut client = server.client();
            until("the regions are active", || {
                (info(&mut client).get("geo_state")? == "active").then_some(())
            });
        }
        Regions { eu, us }
    }
}

fn value(client: &mut Client, key: &str) -> Option<Vec<u8>> {
    strings(&client.command(&[b"GET", key.as_bytes()])).pop()
}

fn arrives(client: &mut Client, key: &str, expected: &str) {
    until(&format!("{key} is {expected}"), || {
        (value(client, key)? == expected.as_bytes()).then_some(())
    });
}

#[test]
fn values_arrive_in_the_same_encodings() {
    let regions = Regions::start(&[]);
    let (mut eu, mut us) = (regions.eu.client(), regions.us.client());
    let long = "x".repeat(100);
    for (key, value) in [
        ("int", "12"),
        ("text", "abc"),
        ("empty", ""),
        ("long", &long),
        ("padded", "007"),
    ] {
        assert_eq!(eu.command(&[b"GEO.SET", key.as_bytes(), value.as_bytes()]), b"+OK\r\n");
    }
    eu.text("GEO.SADD numbers 1 2 3");
    eu.text("GEO.INCRBY counter 5");
    us.text("GEO.INCRBY counter 7");
    eu.text("GEO.SET last 1");
    arrives(&mut us, "last", "1");
    arrives(&mut us, "counter", "12");
    arrives(&mut eu, "counter", "12");
    for key in ["int", "text", "empty", "long", "padded", "numbers", "counter", "last"] {
        for question in ["TYPE", "OBJECT ENCODING"] {
            let line = format!("{question} {key}");
            assert_eq!(shown(&eu.text(&line)), shown(&us.text(&line)), "{line}");
        }
        assert_eq!(value(&mut eu, key), value(&mut us, key), "{key}");
    }
}

/// The server writes such a score only for a member that it has not.
#[test]
fn a_score_of_zero_leaves_the_deadline() {
    let regions = Regions::start(&[]);
    let (mut eu, mut us) = (regions.eu.client(), regions.us.client());
    for line in ["GEO.ZADD z 1 m", "GEO.EXPIREAT z 4102444800", "GEO.SET first 1"] {
        eu.text(line);
    }
    arrives(&mut us, "first", "1");
    // Also when nothing of it is in the index any more.
    until("the key has settled", || {
        (info(&mut us).get("geo_index_keys")? == "0").then_some(())
    });
    for score in ["0", "-0", "1", "0"] {
        eu.text(&format!("GEO.ZADD z {score} m"));
        eu.text(&format!("GEO.SET last {score}"));
        arrives(&mut us, "last", score);
        assert_eq!(us.text("EXPIRETIME z"), b":4102444800\r\n", "{score}");
    }
}

#[test]
fn other_databases_stay_apart() {
    let regions = Regions::start(&[]);
    let (mut eu, mut us) = (regions.eu.client(), regions.us.client());
    eu.text("SELECT 5");
    eu.text("GEO.SET k five");
    eu.text("GEO.SADD s five");
    eu.text("SELECT 0");
    eu.text("GEO.SET end 1");
    arrives(&mut us, "end", "1");
    assert_eq!(us.text("EXISTS k s"), b":0\r\n");
    us.text("SELECT 5");
    assert_eq!(us.text("GET k"), b"$4\r\nfive\r\n");
    assert_eq!(us.text("SMEMBERS s"), b"*1\r\n$4\r\nfive\r\n");
}

#[test]
fn watch_caches_and_notifications_see_remote_changes() {
    let regions = Regions::start(&["--notify-keyspace-events", "KEA"]);
    let (mut eu, mut us) = (regions.eu.client(), regions.us.client());
    let mut cache = regions.us.client();
    let mut listener = regions.us.client();
    cache.text("HELLO 3");
    cache.text("CLIENT TRACKING on");
    listener.text("PSUBSCRIBE __keyevent*");
    let cases = [
        ("GEO.SET k text", "set"),
        ("GEO.SET k 12", "set"),
        ("GEO.INCR k", "set"),
        ("GEO.DEL k", "del"),
        ("GEO.SADD k a", "sadd"),
        ("GEO.SADD k b", "sadd"),
        ("GEO.SREM k a", "srem"),
        ("GEO.EXPIRE k 100", "expire"),
        ("GEO.PERSIST k", "persist"),
        ("GEO.DEL k", "del"),
        ("GEO.ZADD k 1 a", "zadd"),
        ("GEO.ZINCRBY k 1 a", "zadd"),
        ("GEO.DEL k", "del"),
        ("GEO.HINCRBY k f 1", "hset"),
    ];
    for (change, event) in cases {
        us.text("WATCH k");
        cache.text("EXISTS k");
        eu.text(change);
        assert_eq!(
            cache.reply(),
            b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n",
            "{change}"
        );
        us.text("MULTI");
        us.text("PING");
        assert_eq!(us.text("EXEC"), b"*-1\r\n", "{change}");
        let heard = shown(&listener.reply());
        assert!(heard.contains(&format!("__:{event}\\r")), "{change}: {heard}");
    }
}

#[test]
fn the_replica_of_a_region_follows_remote_changes() {
    let regions = Regions::start(&["--repl-diskless-sync-delay", "0"]);
    let (mut eu, mut us) = (regions.eu.client(), regions.us.client());
    let replica = Server::start(
        &["--replicaof", "127.0.0.1", &regions.us.port.to_string()],
        &["region", "us"],
    );
    let mut reader = replica.client();
    until("the replica is in sync", || {
        let info = reader.text("INFO replication");
        String::from_utf8_lossy(&info)
            .contains("master_link_status:up")
            .then_some(())
    });
    for line in [
        "GEO.SET k text",
        "GEO.SET n 5",
        "GEO.INCR n",
        "GEO.SADD s a b",
        "GEO.SREM s b",
        "GEO.SET d 1",
        "GEO.DEL d",
        "GEO.SET end 1",
    ] {
        eu.text(line);
    }
    arrives(&mut us, "end", "1");
    arrives(&mut reader, "end", "1");
    arrives(&mut reader, "n", "6");
    assert_eq!(reader.text("SMEMBERS s"), b"*1\r\n$1\r\na\r\n");
    assert_eq!(reader.text("EXISTS d"), b":0\r\n");
}

/// Applying a write while writes are paused would end the server.
#[test]
fn remote_changes_wait_while_writes_are_paused() {
    let regions = Regions::start(&["--repl-diskless-sync-delay", "0"]);
    let (mut eu, mut us) = (regions.eu.client(), regions.us.client());
    let _replica = Server::start(
        &["--replicaof", "127.0.0.1", &regions.us.port.to_string()],
        &["region", "us"],
    );
    us.text("CLIENT PAUSE 60000 WRITE");
    for count in 0..50 {
        eu.text(&format!("GEO.SET paused{count} 1"));
    }
    until("eu sees that us does not apply", || {
        let peer = info(&mut eu).remove("geo_peer_us")?;
        peer.contains("unsettled_operations=50").then_some(())
    });
    assert_eq!(us.text("EXISTS paused0"), b":0\r\n");
    us.text("CLIENT UNPAUSE");
    arrives(&mut us, "paused49", "1");
    assert_eq!(us.text("PING"), b"+PONG\r\n");
}

#[test]
fn remote_changes_count_towards_the_next_save() {
    let regions = Regions::start(&[]);
    let (mut eu, mut us) = (regions.eu.client(), regions.us.client());
    us.text("SAVE");
    eu.text("GEO.SET k text");
    arrives(&mut us, "k", "text");
    let info = us.text("INFO persistence");
    assert!(
        !String::from_utf8_lossy(&info).contains("rdb_changes_since_last_save:0\r"),
        "no change was counted"
    );
}
