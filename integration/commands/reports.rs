//! GEO.STATUS, INFO geo and GEO.INSPECT.

use std::collections::BTreeMap;

use crate::plain::strings;
use crate::plain::{Client, Server, until};

/// The plain fields of `INFO geo`.
pub fn info(client: &mut Client) -> BTreeMap<String, String> {
    let reply = client.text("INFO geo");
    let text = String::from_utf8_lossy(&strings(&reply)[0]).into_owned();
    text.lines()
        .filter_map(|line| line.trim_end().split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// A region alone, and a client of it.
fn active() -> (Server, Client) {
    let server = Server::geo(&[]);
    let mut client = server.client();
    until("the region is active", || {
        (info(&mut client).get("geo_state")? == "active").then_some(())
    });
    (server, client)
}

#[test]
fn status_and_info_say_the_same() {
    let server = Server::start(&[], &["region", "eu", "cluster", "shop", "peer", "us@127.0.0.1:1"]);
    let mut client = server.client();
    until("the site is open", || {
        info(&mut client).contains_key("geo_region").then_some(())
    });
    let flat = client.text("GEO.STATUS");
    assert!(flat.starts_with(b"*"), "a flat array for RESP2");
    let words: Vec<String> = strings(&flat)
        .iter()
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let after = |name: &str| {
        words
            .iter()
            .position(|word| word == name)
            .and_then(|at| words.get(at + 1))
            .cloned()
    };
    let info = info(&mut client);
    for (name, expected) in [("region", "eu"), ("cluster", "shop"), ("state", "recovering")] {
        assert_eq!(after(name).as_deref(), Some(expected));
        assert_eq!(info.get(&format!("geo_{name}")).map(String::as_str), Some(expected));
    }
    assert!(
        info.get("geo_peer_us").is_some_and(|peer| peer.starts_with("state=")),
        "{info:?}"
    );
    assert!(after("peers").as_deref() == Some("us"), "{words:?}");
    client.text("HELLO 3");
    assert!(client.text("GEO.STATUS").starts_with(b"%"), "a map for RESP3");
}

/// A server pays for every event that it tells a module: reads alone are none of ours.
#[test]
fn the_ends_of_turns_with_reads_alone_do_not_concern_the_module() {
    let (_server, mut client) = active();
    let turns = |client: &mut Client| -> u64 { info(client)["geo_turns"].parse().unwrap() };
    let asked = 3_000;
    let before = turns(&mut client);
    for _ in 0..asked {
        client.text("GET k");
    }
    let reads = turns(&mut client) - before;
    assert!(reads < asked / 2, "{reads} of {asked} turns");
    let before = turns(&mut client);
    for _ in 0..asked {
        client.text("GEO.SET k v");
    }
    let writes = turns(&mut client) - before;
    assert!(
        writes >= asked,
        "each write leaves in its own turn: {writes} of {asked}"
    );
}

#[test]
fn a_region_alone_keeps_no_metadata() {
    let (_server, mut client) = active();
    for line in ["GEO.SET k v", "GEO.SADD s a b", "GEO.SREM s a", "GEO.DEL k"] {
        client.text(line);
    }
    until("everything is settled", || {
        (info(&mut client).get("geo_index_keys")? == "0").then_some(())
    });
    let inspection = client.text("GEO.INSPECT s");
    let words = String::from_utf8_lossy(&inspection).into_owned();
    assert!(words.lines().any(|word| word == "settled"), "{words}");
    let issued = info(&mut client).get("geo_operations_issued").cloned();
    assert_eq!(issued.as_deref(), Some("4"));
}

/// A command that changes nothing issues no operation.
#[test]
fn what_changes_nothing_is_not_recorded() {
    let (_server, mut client) = active();
    for line in ["SET k text", "SET n 1", "SADD s a", "SET bits x"] {
        client.text(line);
    }
    for line in [
        "GEO.SET k v NX",
        "GEO.SET absent v XX",
        "GEO.SET s v GET",
        "GEO.SET k text IFEQ other GET",
        "GEO.SET k text IFEQ other",
        "GEO.SET absent text IFEQ text GET",
        "GEO.SETNX k v",
        "GEO.MSETNX z 1 k 2",
        "GEO.GETDEL absent",
        "GEO.GETDEL s",
        "GEO.GETSET s v",
        "GEO.APPEND s x",
        "GEO.SETRANGE k 0 ",
        "GEO.SETRANGE s 0 x",
        "GEO.SETBIT bits 0 0",
        "GEO.SETBIT k 0 2",
        "GEO.INCR k",
        "GEO.INCRBY n x",
        "GEO.INCRBYFLOAT n x",
        "GEO.SADD k a",
        "GEO.SREM s other",
        "GEO.SREM absent a",
        "GEO.SPOP absent",
        "GEO.SPOP absent 3",
        "GEO.SPOP s 0",
        "GEO.SMOVE s t other",
        "GEO.SMOVE s k a",
        "GEO.SMOVE s s a",
        "GEO.DEL absent",
        "GEO.UNLINK absent also",
        "GEO.MSET a",
        "GEO.INSPECT k",
        "GEO.SET k",
    ] {
        client.text(line);
    }
    assert_eq!(
        info(&mut client).get("geo_operations_issued").map(String::as_str),
        Some("0")
    );
    client.text("GEO.SET k v");
    assert_eq!(
        info(&mut client).get("geo_operations_issued").map(String::as_str),
        Some("1")
    );
}
