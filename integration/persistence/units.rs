//! Transactions, scripts and the order among commands, in the append-only file and on replicas.

use crate::plain::{Client, Server, until};
use crate::replicas::{caught_up, replica_of};
use crate::state::{info, lonely, ok, same, shown, state};

const SCRIPT: &str =
    "redis.call('GEO.SET', 'a', '1'); redis.call('SET', 'native', '1'); return redis.call('GEO.INCR', 'n')";

fn unit(client: &mut Client, script: bool) {
    if script {
        let reply = client.command(&[b"EVAL", SCRIPT.as_bytes(), b"0"]);
        assert!(reply.starts_with(b":"), "{}", shown(&reply));
        return;
    }
    for line in ["MULTI", "GEO.SET a 1", "SET native 1", "GEO.INCR n", "EXEC"] {
        ok(client, line);
    }
}

#[test]
fn a_unit_is_in_the_file_as_a_whole_or_not_at_all() {
    for script in [false, true] {
        let server = lonely(&["--appendonly", "yes", "--appendfsync", "always"]);
        let mut client = server.client();
        ok(&mut client, "GEO.SET before 1");
        let path = server.path("appendonlydir/appendonly.aof.1.incr.aof");
        let start = std::fs::metadata(&path).unwrap().len();
        let before = state(&mut client);
        unit(&mut client, script);
        // The reply came after the write. What settles later is written, too, and is not of the unit.
        let end = std::fs::metadata(&path).unwrap().len();
        let after = state(&mut client);
        assert!(end > start, "nothing was written");
        let server = server.restart();
        same(&after, &state(&mut server.client()));
        drop(server.client());
        let whole = std::fs::read(&path).unwrap();
        // Torn anywhere inside, nothing of it is there.
        let mut server = server;
        for torn in [1, 7, (end - start) / 3, (end - start) / 2, end - start - 1] {
            std::fs::write(&path, &whole[..(end - torn) as usize]).unwrap();
            server = server.restart();
            same(&before, &state(&mut server.client()));
        }
    }
}

#[test]
fn a_unit_reaches_a_replica_as_a_whole() {
    let server = lonely(&["--repl-diskless-sync-delay", "0"]);
    let replica = replica_of(&server, &[]);
    let (mut client, mut reader) = (server.client(), replica.client());
    for _ in 0..200 {
        unit(&mut client, false);
        unit(&mut client, true);
        for _ in 0..5 {
            ok(&mut reader, "MULTI");
            ok(&mut reader, "GET n");
            ok(&mut reader, "EXEC");
        }
    }
    for line in ["GEO.DEL a n", "DEL native"] {
        ok(&mut client, line);
    }
    caught_up(&server, &replica);
    ok(&mut client, "MULTI");
    for line in ["GEO.SET a 1", "SET native 1", "GEO.INCR n"] {
        ok(&mut client, line);
    }
    ok(&mut client, "EXEC");
    // All three in one reply, or none.
    until("it is there", || {
        let reply = shown(&reader.text("MGET a native n"));
        let parts = reply.matches("$1").count();
        assert!(parts == 0 || parts == 3, "a part of it: {reply}");
        (parts == 3).then_some(())
    });
}

#[test]
fn a_deadline_set_after_a_write_stays_on_the_replica() {
    let server = lonely(&["--repl-diskless-sync-delay", "0"]);
    let replica = replica_of(&server, &[]);
    let mut client = server.client();
    for round in 0..50 {
        let key = format!("key{round}");
        // In one turn of the event loop.
        client.send(&[b"GEO.SET", key.as_bytes(), b"value"]);
        client.send(&[b"EXPIRE", key.as_bytes(), b"1000"]);
        client.reply();
        assert_eq!(client.reply(), b":1\r\n");
    }
    caught_up(&server, &replica);
    let mut reader = replica.client();
    for round in 0..50 {
        let left = shown(&reader.text(&format!("TTL key{round}")));
        assert!(!left.starts_with(":-"), "key{round} has no deadline: {left}");
    }
}

#[test]
fn wait_waits_for_geo_writes() {
    let server = lonely(&["--repl-diskless-sync-delay", "0"]);
    let replica = replica_of(&server, &[]);
    let (mut client, mut reader) = (server.client(), replica.client());
    for round in 0..100 {
        // Both in one turn: the write has been shipped when WAIT looks.
        client.send(&[b"GEO.SET", b"key", round.to_string().as_bytes()]);
        client.send(&[b"WAIT", b"1", b"10000"]);
        client.reply();
        assert_eq!(client.reply(), b":1\r\n", "round {round}");
        let value = round.to_string();
        assert_eq!(
            reader.text("GET key"),
            format!("${}\r\n{value}\r\n", value.len()).into_bytes()
        );
    }
    assert_eq!(info(&replica, "master_link_status"), "up");
    let _: &Server = &replica;
}
