//! Clients that wait for a sorted set: they are served when, and as, a plain server serves them.

use std::collections::BTreeMap;

use crate::pair::{COMMANDS, Pair, shown};
use crate::plain::{Client, Server, strings, until};
use crate::reports::info;

/// Each is played by clients with letters for names, on both servers:
/// `a: command` sends it and takes the reply, `a= command` without comparing it, `a> command` only sends it;
/// `a~ command` sends it, and the client must then wait; `a?` takes a reply, `a!`: the client still waits; `a.` hangs up.
/// `@a` is the number of the client a, `%` what stands before a name, `_` a blank inside an argument.
const SCENES: &[&[&str]] = &[
    // First come, first served.
    &[
        "a~ BZPOPMIN k 0",
        "b~ BZPOPMAX k 100",
        "c~ BZMPOP 0 2 j k MIN COUNT 2",
        "d~ BZPOPMIN k 0",
        "e: ZADD k 1 x 2 y 3 z 4 w",
        "a?",
        "b?",
        "c?",
        "d!",
        "e: EXISTS k",
        "e: ZADD k 5 v",
        "d?",
        "e: EXISTS k",
    ],
    // Several keys at once.
    &[
        "a~ BZPOPMIN i j k 0",
        "b~ BZMPOP 0 3 k j i MAX",
        "e: MULTI",
        "e: ZADD k 1 x",
        "e: ZADD j 1 y",
        "e: EXEC",
        "a?",
        "b?",
        "e: DBSIZE",
    ],
    &["a~ BZPOPMIN k k j 0", "e: ZADD k 1 x 2 y", "a?", "e: ZRANGE k 0 -1"],
    // Another type is waited out.
    &[
        "a~ BZPOPMIN k 0",
        "e: SET k v",
        "a!",
        "e: DEL k",
        "e: SADD k m",
        "a!",
        "e: DEL k",
        "e: ZADD k 1 x",
        "a?",
    ],
    &["a~ BZPOPMIN j k 0", "e: SET j v", "e: ZADD k 1 x", "a?", "e: EXISTS k"],
    &["a~ BZPOPMIN k j 0", "e: SET j v", "e: ZADD k 1 x", "a?", "e: EXISTS k"],
    &["e: SET j v", "a: BZPOPMIN k j 0", "a: BZMPOP 0 2 k j MIN"],
    // What a transaction leaves counts.
    &[
        "a~ BZPOPMIN k 0",
        "e: MULTI",
        "e: ZADD k 1 x",
        "e: DEL k",
        "e: EXEC",
        "a!",
        "e: MULTI",
        "e: ZADD k 1 x",
        "e: ZADD k 0 y",
        "e: EXEC",
        "a?",
        "e: ZRANGE k 0 -1",
    ],
    // Every way that a key comes to be.
    &["a~ BZPOPMIN k 0", "e: ZADD l 1 x", "e: RENAME l k", "a?"],
    &["a~ BZPOPMIN k 0", "e: ZADD l 1 x", "e: COPY l k", "a?"],
    &["a~ BZPOPMIN k 0", "e: ZADD l 1 x", "e: ZUNIONSTORE k 1 l", "a?"],
    &["a~ BZPOPMIN k 0", "e: ZADD l 1 x", "e: ZRANGESTORE k l 0 -1", "a?"],
    &["a~ BZPOPMIN k 0", "e: ZINCRBY k 1.5 x", "a?"],
    &["a~ BZPOPMIN k 0", "e: GEOADD k 1 1 x", "a?"],
    &[
        "a~ BZPOPMIN k 0",
        "e: EVAL redis.call('%ZADD','k',1,'x')_redis.call('%ZADD','k',0,'y') 0",
        "a?",
        "e: ZRANGE k 0 -1",
    ],
    // Databases.
    &[
        "a: SELECT 1",
        "a~ BZPOPMAX k 0",
        "e: ZADD k 1 x",
        "a!",
        "e: MOVE k 1",
        "a?",
        "e: ZADD k 2 y",
    ],
    // Protocols, infinities and what does not end in zeros.
    &[
        "a= HELLO 3",
        "b= HELLO 3",
        "a~ BZPOPMIN k 0",
        "b~ BZMPOP 0 1 k MIN COUNT 10",
        "e: ZADD k -inf x 0.1 y 3 z",
        "a?",
        "b?",
        "a: BZPOPMIN k 0.01",
        "b: BZMPOP 0.01 1 k MAX",
    ],
    // Time passes.
    &[
        "a: BZPOPMIN k 0.01",
        "a: BZPOPMAX j k 0.001",
        "a: BZMPOP 0.01 2 j k MAX",
    ],
    // An operator ends it.
    &[
        "a~ BZPOPMIN k 0",
        "b~ BZPOPMAX k 0",
        "c~ BZMPOP 0 1 k MIN",
        "e: CLIENT UNBLOCK @a",
        "e: CLIENT UNBLOCK @b TIMEOUT",
        "e: CLIENT UNBLOCK @c ERROR",
        "a?",
        "b?",
        "c?",
        "e: CLIENT UNBLOCK @a",
        "e: ZADD k 1 x",
        "a: BZPOPMIN k 0",
    ],
    // Whoever has gone is passed over.
    &[
        "a~ BZPOPMIN k 0",
        "b~ BZPOPMIN k 0",
        "c~ BZPOPMIN k 0",
        "a.",
        "e= CLIENT KILL ID @b",
        "e: ZADD k 1 x",
        "c?",
        "e: EXISTS k",
    ],
    // What comes behind it waits, too.
    &[
        "a~ BZPOPMIN k 0",
        "a> ZADD k 1 z",
        "a> BZPOPMIN k 0",
        "e: ZADD k 2 x",
        "a?",
        "a?",
        "a?",
    ],
    // In transactions it does not wait.
    &[
        "e: MULTI",
        "e: BZPOPMIN k 0",
        "e: ZADD k 1 x 2 y 3 z",
        "e: BZPOPMAX k 0",
        "e: BZMPOP 0 2 j k MIN COUNT 2",
        "e: BZMPOP 0 2 j k MIN COUNT 2",
        "e: EXEC",
    ],
    &[
        "e: ZADD j 1 x",
        "e: EVAL return_redis.call('%BZMPOP',0,2,'k','j','MIN') 0",
        "e: EVAL return_redis.call('%BZMPOP',0,2,'k','j','MIN') 0",
    ],
    // The end of a pause.
    &[
        "e: CLIENT PAUSE 100000 WRITE",
        "a~ BZPOPMIN k 0",
        "e: CLIENT UNPAUSE",
        "e: ZADD k 1 x",
        "a?",
    ],
    // A server that becomes a replica.
    &[
        "a~ BZPOPMIN k 0",
        "b~ BZMPOP 0 1 k MIN",
        "e: REPLICAOF 127.0.0.1 1",
        "a?",
        "b?",
        "c: BZPOPMIN k 0",
        "e: REPLICAOF NO ONE",
    ],
];

struct Stage<'a> {
    server: &'a Server,
    operator: Client,
    actors: BTreeMap<char, (Client, String)>,
    prefix: &'a str,
}

impl<'a> Stage<'a> {
    fn new(server: &'a Server, prefix: &'a str) -> Stage<'a> {
        Stage {
            server,
            operator: server.client(),
            actors: BTreeMap::new(),
            prefix,
        }
    }

    fn actor(&mut self, name: char) -> &mut Client {
        let server = self.server;
        let (client, _) = self.actors.entry(name).or_insert_with(|| {
            let mut client = server.client();
            let id = String::from_utf8_lossy(&client.text("CLIENT ID")[1..])
                .trim_end()
                .to_owned();
            (client, id)
        });
        client
    }

    fn play(&mut self, step: &str) -> Option<Vec<u8>> {
        let name = step.chars().next().expect("a name");
        let client = self.actor(name);
        let (mark, line) = (step.as_bytes()[1], step.get(3..).unwrap_or_default());
        match mark {
            b'?' => return Some(client.reply()),
            b'!' => assert!(self.waits(name), "{step}"),
            b'.' => drop(self.actors.remove(&name)),
            _ => self.send(name, line),
        }
        match mark {
            b':' => return Some(self.actor(name).reply()),
            b'=' => drop(self.actor(name).reply()),
            b'~' => until(step, || self.waits(name).then_some(())),
            _ => {}
        }
        None
    }

    fn send(&mut self, name: char, line: &str) {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        if COMMANDS.contains(&words[0].as_str()) {
            words[0].insert_str(0, self.prefix);
        }
        for word in &mut words {
            if let Some(other) = word.strip_prefix('@').and_then(|name| name.chars().next()) {
                *word = self.actors[&other].1.clone();
            }
            *word = word.replace('%', self.prefix).replace('_', " ");
        }
        let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
        self.actor(name).send(&words);
    }

    /// Whether `CLIENT LIST` says so.
    fn waits(&mut self, name: char) -> bool {
        let list = shown(&self.operator.text(&format!("CLIENT LIST ID {}", self.actors[&name].1)));
        let flags = list.split(" flags=").nth(1).and_then(|rest| rest.split(' ').next());
        flags.is_some_and(|flags| flags.contains('b'))
    }
}

fn play(pair: &mut Pair, prefix: &str, scenes: &[&[&str]]) {
    for scene in scenes {
        let mut native = Stage::new(&pair.plain, "");
        let mut ours = Stage::new(&pair.geo, prefix);
        for step in *scene {
            let (expected, found) = (native.play(step), ours.play(step));
            let [expected, found] =
                [expected, found].map(|reply| shown(&reply.unwrap_or_default()).replace("'geo.", "'"));
            assert_eq!(expected, found, "{step} in {scene:?}");
        }
        drop((native, ours));
        pair.same_data();
        pair.both("FLUSHALL");
    }
}

#[test]
fn clients_that_wait_are_served_as_natively() {
    play(&mut Pair::start(), "GEO.", SCENES);
}

#[test]
fn clients_that_wait_under_native_names_are_served_as_natively() {
    play(&mut Pair::transparent("*"), "", SCENES);
}

/// Clients wait for a key that stays here, some of them beside one that replicates: on Redis 7.0 those come behind the
/// others, so that the first scene would differ.
#[test]
fn clients_that_wait_for_a_key_outside_geo_keys_too() {
    play(&mut Pair::transparent("* !k"), "", &SCENES[1..]);
}

/// Where scripts may not run it, they are told so in the same words.
#[test]
fn scripts_do_not_wait() {
    let mut pair = Pair::transparent("*");
    let library = "#!lua name=pops\nredis.register_function('pop', function(keys) return redis.call('BZMPOP', 0, 1, keys[1], \
                   'MIN') end)";
    pair.same(&[b"FUNCTION", b"LOAD", library.as_bytes()]);
    for line in ["BZPOPMIN k 0", "BZPOPMAX k 0", "BZMPOP 0 1 k MIN"] {
        let words: Vec<String> = line.split(' ').map(|word| format!("'{word}'")).collect();
        let script = format!("return redis.call({})", words.join(","));
        for _ in 0..2 {
            pair.same(&[b"EVAL", script.as_bytes(), b"0"]);
            pair.same_text("FCALL pop 1 k");
            pair.same_text("ZADD k 1 x 2 y 3 z");
        }
        pair.same_data();
    }
}

/// What is not accepted is refused at once, and what is there is taken at once.
#[test]
fn arguments() {
    for mut pair in [Pair::start(), Pair::transparent("*")] {
        pair.both("SET string v");
        for timeout in [
            "0",
            "-0",
            "0.001",
            "1e-9",
            "-1",
            "-0.0001",
            "0x10",
            "nan",
            "inf",
            "-inf",
            "1e400",
            "x",
            "",
            " 1",
            "9223372036854775",
            "9223372036854776",
            "9e15",
            "1e18",
            "1000000000",
        ] {
            for (key, line) in [
                ("z", "BZPOPMIN nothing z TIMEOUT"),
                ("z", "BZPOPMAX z nothing TIMEOUT"),
                ("z", "BZPOPMIN string z TIMEOUT"),
                ("z", "BZMPOP TIMEOUT 2 nothing z MIN"),
                ("z", "BZMPOP TIMEOUT 2 z nothing MAX COUNT 2"),
            ] {
                pair.same(&[b"ZADD", key.as_bytes(), b"1", b"a", b"2", b"b", b"2", b"c"]);
                let words: Vec<&str> = line
                    .split(' ')
                    .map(|word| if word == "TIMEOUT" { timeout } else { word })
                    .collect();
                pair.same(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
            }
        }
        for line in [
            "BZMPOP 0 0 z MIN",
            "BZMPOP 0 -1 z MIN",
            "BZMPOP 0 x z MIN",
            "BZMPOP 0 2 z MIN",
            "BZMPOP 0 3 z y MIN",
            "BZMPOP 0 1 z MID",
            "BZMPOP 0 1 z MIN COUNT",
            "BZMPOP 0 1 z MIN COUNT 0",
            "BZMPOP 0 1 z MIN COUNT x",
            "BZMPOP 0 1 z MIN COUNT 1 COUNT 2",
            "BZMPOP 0 1 z MIN COUNT 100",
            "BZMPOP 0 99999999999999999999 z MIN",
            "BZPOPMIN string 0",
            "BZMPOP 0 1 string MIN",
        ] {
            pair.same_text(line);
        }
        pair.same_data();
    }
}

/// Taking what could not be propagated would end the server.
#[test]
fn what_comes_as_a_pause_begins_is_taken_at_its_end() {
    let server = Server::transparent("*");
    let mut stage = Stage::new(&server, "");
    for step in [
        "a~ BZPOPMIN k 0",
        "e= MULTI",
        "e= ZADD k 1 x",
        "e= CLIENT PAUSE 100000 WRITE",
    ] {
        stage.play(step);
    }
    stage.play("e: EXEC");
    stage.play("a!");
    assert_eq!(stage.play("e: EXISTS k"), Some(b":1\r\n".to_vec()));
    stage.play("e: CLIENT UNPAUSE");
    assert_eq!(strings(&stage.play("a?").expect("a reply"))[1], b"x");
    assert_eq!(stage.play("e: EXISTS k"), Some(b":0\r\n".to_vec()));
}

/// A pop is one operation, whenever it comes to be.
#[test]
fn pops_are_in_the_append_only_file_and_at_replicas() {
    let options = [
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--repl-diskless-sync-delay",
        "0",
    ];
    let server = Server::start(&options, &["region", "eu", "keys", "* !own"]);
    let port = server.port.to_string();
    let replica = Server::start(
        &["--replicaof", "127.0.0.1", &port],
        &["region", "eu", "keys", "* !own"],
    );
    let mut stage = Stage::new(&server, "");
    let issued = |stage: &mut Stage<'_>| {
        info(&mut stage.operator)["geo_operations_issued"]
            .parse::<u64>()
            .expect("a number")
    };
    for (wait, add, operations) in [
        ("a~ BZPOPMIN k 0", "e: ZADD k 1 x 2 y", 2),
        ("a~ BZMPOP 0 2 l m MIN COUNT 5", "e: ZADD m 1 x 2 y", 2),
        ("a~ BZPOPMAX own l 0", "e: ZADD own 1 x 2 y", 0),
        ("a~ BZPOPMAX own l 0", "e: ZADD l 1 x 2 y", 2),
    ] {
        if add.contains("own 1") {
            stage.play("e: DEL own");
        }
        stage.play("e: DEL l");
        if wait.contains("own l") && add.contains(" l ") {
            stage.play("e: DEL own");
        }
        stage.play(wait);
        let before = issued(&mut stage);
        stage.play(add);
        let reply = stage.play("a?").expect("a reply");
        assert!(strings(&reply).len() > 2, "{wait}: {}", shown(&reply));
        assert_eq!(issued(&mut stage) - before, operations, "{wait}");
    }
    let expected = crate::held::everything(&mut stage.operator);
    assert_eq!(expected.len(), 2, "{expected:?}");
    let mut reader = replica.client();
    until("the replica has everything", || {
        (crate::held::everything(&mut reader) == expected).then_some(())
    });
    drop(stage);
    let server = server.restart();
    assert_eq!(crate::held::everything(&mut server.client()), expected);
}
