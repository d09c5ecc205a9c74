//! Native write commands that replicate: what a client sees is what a plain server shows it.

use crate::pair::{Pair, shown};
use crate::plain::{Client, Server, strings, until};
use crate::reports::info;

fn issued(client: &mut Client) -> u64 {
    info(client)["geo_operations_issued"].parse().expect("a number")
}

fn active(server: &Server) -> Client {
    let mut client = server.client();
    until("the region is active", || {
        (info(&mut client).get("geo_state")? == "active").then_some(())
    });
    client
}

/// On Valkey 8.1 the server by itself leaves it in the other one.
#[test]
fn a_client_stays_in_its_database() {
    let mut pair = Pair::transparent("app:*");
    for (key, add) in [("app:1", "SADD"), ("other", "SADD"), ("list", "RPUSH")] {
        for line in ["COPY {} {}:2 DB 1", "COPY {} {}:2 db 1 REPLACE", "MOVE {} 1"] {
            let line = line.replace("{}", key);
            let script = format!(
                "redis.call('{}') redis.call('SET', 'in:script', 1)",
                line.replace(' ', "', '")
            );
            for (before, after) in [("PING", "PING"), ("MULTI", "EXEC"), (script.as_str(), "PING")] {
                pair.both("FLUSHALL");
                pair.both(&format!("{add} {key} a"));
                if before.starts_with("redis.call") {
                    pair.same(&[b"EVAL", before.as_bytes(), b"0"]);
                } else {
                    pair.both(before);
                    pair.same_text(&line);
                }
                pair.both("SET app:here 1");
                pair.both("SET here 1");
                pair.both(after);
                for database in ["SELECT 1", "SELECT 0"] {
                    pair.both(database);
                    pair.same_data();
                }
            }
        }
    }
}

#[test]
fn keys_in_geo_keys_replicate_and_others_do_not() {
    let server = Server::transparent("app:* !app:tmp:*");
    let mut client = active(&server);
    for (line, expected) in [
        ("SET app:1 v", 1),
        ("sEt app:1 v", 1),
        ("SET app:tmp:1 v", 0),
        ("SET other v", 0),
        ("RPUSH other:list v", 0),
        ("MSET other v app:2 w", 1),
        ("MSET app:1 v app:2 w app:3 x", 3),
        ("DEL other app:2 nothing", 1),
        ("GET app:1", 0),
        ("SADD app:s a", 1),
        ("SADD own:s a b", 0),
        ("SMOVE own:s app:s b", 1),
        ("GEO.SET other v", 1),
    ] {
        let before = issued(&mut client);
        let reply = client.text(line);
        assert!(!reply.starts_with(b"-"), "{line}: {}", shown(&reply));
        assert_eq!(issued(&mut client) - before, expected, "{line}");
    }
    let refused = shown(&client.text("RPUSH app:list v"));
    assert!(
        refused.contains("rpush") && refused.contains("is not replicated"),
        "{refused}"
    );
    assert_eq!(client.text("EXISTS app:list"), b":0\r\n");
}

#[test]
fn settings_take_effect_at_the_next_command() {
    let server = Server::transparent("*");
    let mut client = active(&server);
    let mut count = |line: &str| {
        let before = issued(&mut client);
        client.send(
            &["CONFIG", "SET"]
                .iter()
                .chain(&line.split(' ').collect::<Vec<_>>())
                .map(|word| word.as_bytes())
                .collect::<Vec<_>>(),
        );
        client.send(&[b"SET", b"k", b"v"]);
        assert_eq!([client.reply(), client.reply()].concat(), b"+OK\r\n+OK\r\n", "{line}");
        issued(&mut client) - before
    };
    assert_eq!(count("geo.transparent yes"), 1);
    assert_eq!(count("geo.transparent no"), 0);
    assert_eq!(count("geo.transparent yes"), 1);
    assert_eq!(count("geo.keys x*"), 0);
    assert_eq!(count("geo.keys x*,k"), 1);
    assert_eq!(count("geo.keys !k"), 0);
    let reply = shown(&client.command(&[b"CONFIG", b"SET", b"geo.keys", b" , "]));
    assert!(
        reply.starts_with("-ERR") && reply.contains("at least one pattern"),
        "{reply}"
    );
    let reply = client.command(&[b"CONFIG", b"SET", b"geo.keys", b"\xff*"]);
    assert!(reply.starts_with(b"-ERR"), "{}", shown(&reply));
    assert_eq!(strings(&client.text("CONFIG GET geo.keys"))[1], b"!k");
}

#[test]
fn transactions_scripts_and_functions() {
    let mut pair = Pair::transparent("!l");
    let library = "#!lua name=f\nredis.register_function('put', function(keys, args) return redis.call('SET', keys[1], \
                   args[1], 'GET') end)";
    pair.same(&[b"FUNCTION", b"LOAD", library.as_bytes()]);
    let put =
        "redis.call('SET', KEYS[1], ARGV[1]); redis.call('RPUSH', 'l', ARGV[1]); return redis.call('INCR', KEYS[2])";
    for _ in 0..2 {
        pair.same_text("MULTI");
        for line in [
            "SET k 1",
            "INCR k",
            "SADD s a b",
            "SREM s a",
            "LPUSH l x",
            "INCR s",
            "DEL s",
        ] {
            pair.same_text(line);
        }
        pair.same(&[b"EVAL", put.as_bytes(), b"2", b"k", b"n", b"5"]);
        pair.same_text("EXEC");
        pair.same(&[b"EVAL", put.as_bytes(), b"2", b"k", b"n", b"text"]);
        pair.same(&[b"EVAL", put.as_bytes(), b"2", b"k", b"k", b"text"]);
        pair.same_text("FCALL put 1 k new");
        pair.same_data();
    }
    // What may not write, or is no command, is refused with the server's own words.
    for script in [
        "return redis.call('SET', KEYS[1], 'x')",
        "return redis.pcall('SET', KEYS[1])",
        "return redis.pcall('NOTHING')",
        "redis.call('GET', KEYS[1]); return redis.call('DEL', KEYS[1])",
    ] {
        pair.same(&[b"EVAL_RO", script.as_bytes(), b"1", b"k"]);
        let declared = format!("#!lua flags=no-writes\n{script}");
        pair.same(&[b"EVAL", declared.as_bytes(), b"1", b"k"]);
    }
    pair.same_data();
    let mut client = pair.geo.client();
    let script = b"return redis.pcall('RPUSH', KEYS[1], 'x')";
    let refused = shown(&client.command(&[b"EVAL", script, b"1", b"k"]));
    assert!(refused.contains("is not replicated"), "{refused}");
}

#[test]
fn many_commands_at_once_in_both_protocols() {
    let mut pair = Pair::transparent("*");
    for version in ["HELLO 2", "HELLO 3"] {
        pair.native.text(version);
        pair.module.text(version);
        let lines: Vec<String> = (0..500)
            .map(|n| match n % 5 {
                0 => format!("SET k{n} {n}"),
                1 => format!("INCRBYFLOAT k{} 0.25", n - 1),
                2 => format!("GET k{}", n - 2),
                3 => format!("SADD s {n} {}", n - 1),
                _ => "INCR s".to_owned(),
            })
            .collect();
        let mut replies = [Vec::new(), Vec::new()];
        for (client, replies) in [&mut pair.native, &mut pair.module].into_iter().zip(&mut replies) {
            for line in &lines {
                client.send(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
            }
            replies.extend(lines.iter().map(|_| shown(&client.reply())));
        }
        assert_eq!(replies[0], replies[1]);
        pair.same_data();
    }
}

#[test]
fn a_pause_of_writes_holds_them_back() {
    let server = Server::transparent("*");
    let (mut operator, mut writer) = (active(&server), server.client());
    operator.text("CLIENT PAUSE 100000 WRITE");
    writer.send(&[b"SET", b"k", b"v"]);
    until("the writer waits", || {
        let clients = strings(&operator.text("INFO clients"));
        String::from_utf8_lossy(&clients[0])
            .contains("blocked_clients:1")
            .then_some(())
    });
    assert_eq!(operator.text("EXISTS k"), b":0\r\n");
    let before = issued(&mut operator);
    operator.text("CLIENT UNPAUSE");
    assert_eq!(writer.reply(), b"+OK\r\n");
    assert_eq!(issued(&mut operator) - before, 1);
}

#[test]
fn what_looks_at_keys_sees_native_values() {
    let mut pair = Pair::transparent("*");
    for line in [
        "SET n 12",
        "SET t text",
        "APPEND t more",
        "SADD i 1 2",
        "SADD m a",
        "OBJECT ENCODING n",
        "OBJECT ENCODING t",
        "OBJECT ENCODING i",
        "OBJECT REFCOUNT t",
        "TYPE m",
        "SCAN 0 TYPE string COUNT 1000",
        "RANDOMKEY",
        "DBSIZE",
        "OBJECT FREQ n",
        "OBJECT HELP",
        "STRLEN t",
        "TOUCH n t x",
        "EXISTS n t x",
    ] {
        if line.starts_with("SCAN") || line.starts_with("RANDOMKEY") {
            assert_eq!(pair.native.text(line).first(), pair.module.text(line).first(), "{line}");
        } else {
            pair.same_text(line);
        }
    }
    pair.same_data();
}

/// A replica follows its primary: nothing there becomes a GEO command, and it refuses writes with the native words.
#[test]
fn replicas_hold_what_is_outside_geo_keys_too() {
    let server = Server::start(&["--repl-diskless-sync-delay", "0"], &["region", "eu", "keys", "app:*"]);
    let mut client = active(&server);
    client.text("SET other:before x");
    let port = server.port.to_string();
    let replica = Server::start(&["--replicaof", "127.0.0.1", &port], &["region", "eu", "keys", "app:*"]);
    let mut reader = replica.client();
    until("the replica follows", || {
        let info = reader.text("INFO replication");
        shown(&info).contains("master_link_status:up").then_some(())
    });
    for line in [
        "MSET other:1 1 app:1 1",
        "SADD other:s a b",
        "SMOVE other:s app:s a",
        "SADD app:s c",
        "SMOVE app:s other:s c",
        "SET other:gone x",
        "DEL other:gone app:nothing",
        "MSET app:2 x other:before y",
        "COPY other:before other:copied DB 1",
        "SET other:after x",
        "MOVE other:after 1",
        "SET other:after y",
        "COPY app:1 app:1 DB 1",
    ] {
        let reply = client.text(line);
        assert!(!reply.starts_with(b"-"), "{line}: {}", shown(&reply));
    }
    // Commands over the link are the last that changes it.
    client.text("SET other:last x");
    until("the replica has all", || {
        (reader.text("EXISTS other:last") == b":1\r\n").then_some(())
    });
    let mut keys = strings(&client.text("KEYS *"));
    let mut others = strings(&reader.text("KEYS *"));
    keys.sort();
    others.sort();
    assert_eq!(keys, others);
    assert!(keys.len() > 6);
    for key in &keys {
        for read in [&b"GET"[..], b"SMEMBERS"] {
            let mut replies = [&mut client, &mut reader].map(|client| strings(&client.command(&[read, key])));
            replies.iter_mut().for_each(|reply| reply.sort());
            assert_eq!(replies[0], replies[1], "{}", shown(key));
        }
    }
    reader.text("SELECT 1");
    assert_eq!(
        reader.text("MGET other:copied other:after"),
        b"*2\r\n$1\r\ny\r\n$1\r\nx\r\n"
    );
    let plain = Server::start(&["--replicaof", "127.0.0.1", "1"], &[]);
    for line in ["SET app:1 x", "RPUSH app:l x", "SET other x", "MSET app:1 x other y"] {
        assert_eq!(shown(&plain.client().text(line)), shown(&reader.text(line)), "{line}");
    }
}

#[test]
fn an_append_only_file_holds_what_is_outside_geo_keys_too() {
    let server = Server::start(
        &["--appendonly", "yes", "--appendfsync", "always"],
        &["region", "eu", "keys", "app:*"],
    );
    let mut client = active(&server);
    for line in [
        "MSET other 1 app:1 2",
        "SADD other:s a",
        "SMOVE other:s app:s a",
        "RPUSH list x",
        "INCR app:1",
        "RPUSH moved x",
        "MULTI",
        "COPY app:1 copy DB 1",
        "MOVE moved 1",
        "EXEC",
    ] {
        let reply = client.text(line);
        assert!(!reply.starts_with(b"-"), "{line}: {}", shown(&reply));
    }
    let server = server.restart();
    let mut client = server.client();
    let read = [
        "GET other",
        "GET app:1",
        "EXISTS other:s",
        "SMEMBERS app:s",
        "LLEN list",
        "EXISTS moved",
        "SELECT 1",
        "LLEN moved",
        "GET copy",
    ]
    .map(|line| client.text(line));
    assert_eq!(
        shown(&read.concat()),
        "$1\\r\\n1\\r\\n$1\\r\\n3\\r\\n:0\\r\\n*1\\r\\n$1\\r\\na\\r\\n:1\\r\\n:0\\r\\n+OK\\r\\n:1\\r\\n$1\\r\\n3\\r\\n"
    );
}

/// A command that the operator has taken away, or renamed, is not there under any name.
#[test]
fn renamed_commands_do_not_come_back() {
    let renamed = ["--rename-command", "SET", "PUT", "--rename-command", "INCR", ""];
    let plain = Server::plain(&renamed);
    let mut arguments = renamed.to_vec();
    arguments.extend(["--save", ""]);
    let geo = Server::start(&arguments, &["region", "eu"]);
    let (mut native, mut ours) = (plain.client(), active(&geo));
    for line in ["SET k v", "INCR k", "GET k"] {
        assert_eq!(shown(&native.text(line)), shown(&ours.text(line)), "{line}");
    }
    // What it is called now nobody can ask: what it writes is captured.
    assert!(geo.log().contains("command set is renamed"));
    assert_eq!(ours.text("PUT k v"), native.text("PUT k v"));
    for line in ["GEO.SET k 1", "GEO.INCR k"] {
        let refused = shown(&ours.text(line));
        assert!(refused.starts_with("-ERR unknown command"), "{line}: {refused}");
    }
    assert_eq!(ours.text("PING"), b"+PONG\r\n");
}
