//! Access control in transparent mode: a user may do exactly what the same user may on a plain server.

use crate::pair::{Pair, shown};
use crate::plain::{Client, Server, strings, until};
use crate::reports::info;

const USERS: [&str; 14] = [
    "all on nopass ~* &* +@all",
    "without_set on nopass ~* &* +@all -set",
    "only_set on nopass ~app:* -@all +set +get",
    "writer on nopass ~app:* +@write +@read",
    "strings on nopass ~* -@all +@string",
    "reader on nopass ~* +@read",
    "halves on nopass %R~app:* %W~own:* +@all",
    "selectors on nopass -@all (~app:* +set +incr) (~own:* +sadd) (%R~own:* +set)",
    "but_lists on nopass ~* +@all -@list",
    "nothing on nopass -@all",
    "disabled off nopass ~* +@all",
    "reset reset",
    "passwords on >secret ~app:* +set",
    "granted on nopass ~app:* -@all +geo.set",
];

const COMMANDS: [&str; 18] = [
    "SET app:1 v",
    "SET own:1 v",
    "SET other v",
    "SET app:1 v GET",
    "GET app:1",
    "INCR app:n",
    "MSET app:1 1 other 2",
    "MSET app:1 1 app:2 2",
    "SADD own:s a b",
    "SMOVE own:s app:s a",
    "SREM other:s a",
    "DEL app:1",
    "DEL app:1 other",
    "UNLINK own:1",
    "SETNX app:9 v",
    "APPEND app:1 x",
    "GETDEL app:9",
    "ACL WHOAMI",
];

fn login(pair: &mut Pair, user: &str) -> [Client; 2] {
    let mut clients = [pair.plain.client(), pair.geo.client()];
    let replies = clients
        .each_mut()
        .map(|client| shown(&client.text(&format!("AUTH {user} secret"))));
    assert_eq!(replies[0], replies[1], "{user}");
    clients
}

fn name(rules: &str) -> &str {
    rules.split(' ').next().expect("a name")
}

fn set_up() -> Pair {
    let mut pair = Pair::transparent("!own:l");
    for rules in USERS {
        let ours = format!("ACL SETUSER {rules}");
        // Only the server with the module knows GEO commands.
        let plain = ours.replace("+geo.set", "");
        assert_eq!(pair.native.text(plain.trim_end()), pair.module.text(&ours), "{rules}");
    }
    pair
}

#[test]
fn every_user_may_do_what_it_may_natively() {
    let mut pair = set_up();
    for user in USERS.map(name) {
        let [mut native, mut ours] = login(&mut pair, user);
        for line in COMMANDS {
            assert_eq!(shown(&native.text(line)), shown(&ours.text(line)), "{user}: {line}");
        }
        pair.same_data();
        pair.both("FLUSHALL");
    }
}

/// What is denied discards the whole transaction. Redis 7.0 does not tell the filter whose command it sees: there it is
/// denied when it runs.
#[test]
fn nothing_denied_happens_in_a_transaction() {
    let mut pair = set_up();
    let old = String::from_utf8_lossy(&pair.native.text("INFO server")).contains("redis_version:7.0.");
    let mut differ = 0;
    for user in USERS.map(name) {
        for line in COMMANDS {
            let [native, ours] = login(&mut pair, user)
                .map(|mut client| ["MULTI", "SET app:before v", line, "EXEC"].map(|line| shown(&client.text(line))));
            if old && native != ours {
                assert!(
                    native[1].starts_with("-NOPERM") || native[2].starts_with("-NOPERM"),
                    "{user}: {line}"
                );
                let denied = ours[3].contains("NOPERM") || ours[3].contains("EXECABORT");
                assert!(denied, "{user}: {line}: {}", ours[3]);
                differ += 1;
                // The rest has run.
                pair.both("FLUSHALL");
            } else {
                assert_eq!(native, ours, "{user}: {line}");
            }
            pair.same_data();
        }
        pair.both("FLUSHALL");
    }
    assert_eq!(old, differ > 0);
}

/// Rights may change while a transaction is queued.
#[test]
fn rights_that_change_during_a_transaction() {
    let mut pair = Pair::transparent("*");
    for (before, after) in [("+set", "-set"), ("-set", "+set")] {
        pair.both(&format!("ACL SETUSER ann reset on nopass ~* +@all {before}"));
        let [mut native, mut ours] = login(&mut pair, "ann");
        for client in [&mut native, &mut ours] {
            client.text("MULTI");
        }
        pair.both(&format!("ACL SETUSER ann {after}"));
        let issued = info(&mut pair.module)["geo_operations_issued"].clone();
        let replies =
            [&mut native, &mut ours].map(|client| ["SET k v", "EXEC", "SET k w"].map(|line| shown(&client.text(line))));
        let allowed = after == "+set";
        assert_eq!(replies[1][2], replies[0][2], "{after}");
        if allowed {
            assert_eq!(replies[0], replies[1], "{after}");
        }
        assert_eq!(
            info(&mut pair.module)["geo_operations_issued"] != issued,
            allowed,
            "{after}"
        );
        pair.same_data();
    }
}

#[test]
fn scripts_may_do_what_their_caller_may() {
    let mut pair = set_up();
    pair.both("ACL SETUSER without_set ~* +@all -set");
    pair.both("ACL SETUSER caller on nopass ~app:* +@all -incr");
    for user in ["without_set", "caller", "all", "halves"] {
        let [mut native, mut ours] = login(&mut pair, user);
        for line in COMMANDS {
            let words: Vec<String> = line.split(' ').map(|word| format!("'{word}'")).collect();
            for call in ["call", "pcall"] {
                let script = format!("return redis.{call}({})", words.join(", "));
                let arguments: [&[u8]; 3] = [b"EVAL", script.as_bytes(), b"0"];
                assert_eq!(
                    shown(&native.command(&arguments)),
                    shown(&ours.command(&arguments)),
                    "{user}: {script}"
                );
            }
        }
        // Valkey 9.1 keeps integers that scripts write as text; here they are integers.
        pair.same_values();
    }
}

/// Valkey 9.1 has rules for databases.
#[test]
fn a_user_may_write_in_the_databases_that_are_his() {
    let mut pair = set_up();
    let rule = "ACL SETUSER one_db on nopass ~* +@all db=0";
    if !pair.plain.client().text(rule).starts_with(b"+OK") {
        return;
    }
    pair.geo.client().text(rule);
    let [mut native, mut ours] = login(&mut pair, "one_db");
    for line in ["SET k v", "SADD s a", "COPY k l"] {
        assert_eq!(shown(&ours.text(line)), shown(&native.text(line)), "{line}");
    }
    // The words are those of the last of the user's selectors, which is the one that it was given.
    for client in [&mut native, &mut ours] {
        for line in ["MOVE k 1", "SELECT 1"] {
            assert!(client.text(line).starts_with(b"-NOPERM"), "{line}");
        }
    }
}

/// `BY` and `GET` reach keys of any name: the native command asks for the right to read all of them.
#[test]
fn patterns_of_sort_reach_no_further_than_natively() {
    let mut pair = set_up();
    for line in [
        "ACL SETUSER sorter on nopass ~app:* +@all",
        "SADD app:ids x",
        "SET secret:x 2",
    ] {
        pair.both(line);
    }
    for user in ["sorter", "all"] {
        let [mut native, mut ours] = login(&mut pair, user);
        for rest in [
            "BY nosort ALPHA GET secret:*",
            "BY secret:*",
            "BY secret:* GET # GET secret:*",
            "ALPHA GET #",
        ] {
            let expected = shown(&native.text(&format!("SORT app:ids {rest}")));
            // Redis 7.0 denies `GET #` as well.
            assert!(
                rest.ends_with('#') || expected.contains("denied") == (user == "sorter"),
                "{expected}"
            );
            for name in ["SORT", "GEO.SORT"] {
                let line = format!("{name} app:ids {rest}");
                assert_eq!(shown(&ours.text(&line)), expected, "{user}: {line}");
                let words: Vec<String> = line.split(' ').map(|word| format!("'{word}'")).collect();
                let script = format!("return redis.pcall({})", words.join(", "));
                let answer = shown(&ours.command(&[b"EVAL", script.as_bytes(), b"1", b"app:ids"]));
                assert_eq!(
                    answer.contains("denied"),
                    expected.contains("denied"),
                    "{user}: {script}: {answer}"
                );
            }
        }
    }
}

/// By the GEO command itself a user may do what it may by the native one, and nothing else.
#[test]
fn geo_names_are_no_way_around() {
    let mut pair = set_up();
    for user in USERS.map(name) {
        let [mut native, mut ours] = login(&mut pair, user);
        for line in COMMANDS {
            if line.starts_with("GET ") || line.starts_with("ACL") {
                continue;
            }
            assert_eq!(
                shown(&native.text(line)),
                shown(&ours.text(&format!("GEO.{line}"))),
                "{user}: {line}"
            );
        }
        pair.same_data();
        // Newer servers have it in a category that readers have.
        if ["only_set", "strings", "selectors", "nothing", "passwords", "granted"].contains(&user) {
            let denied = shown(&ours.text("GEO.STATUS"));
            assert!(denied.starts_with("-NOPERM"), "{user}: {denied}");
        }
    }
}

/// Who may not empty a server natively may not by `GEO.PURGE`; what administers a region is for administrators.
#[test]
fn what_is_dangerous_is_denied_to_whom_it_is_natively() {
    let mut pair = set_up();
    let denied = |client: &mut Client, line: &str| shown(&client.text(line)).starts_with("-NOPERM");
    // Before Redis 7.2 our commands are in no category, which denies them to whom only categories are granted.
    let check = |ours: bool, native: bool, what: &str| {
        assert!(ours || !native, "{what} is permitted");
        assert!(!ours || native || !what.starts_with("admin"), "{what} is denied");
    };
    for rules in [
        "careful on nopass ~* &* +@all -@dangerous",
        "app on nopass ~app:* +@read +@write",
        "admin on nopass ~* &* +@all",
    ] {
        for client in [&mut pair.native, &mut pair.module] {
            client.text(&format!("ACL SETUSER {rules}"));
        }
        let [mut native, mut ours] = login(&mut pair, name(rules));
        let empties = denied(&mut native, "FLUSHALL");
        for line in ["GEO.PURGE nothing", "GEO.ADOPT nothing"] {
            until("the walk before to be over", || {
                let walks = |info: &str| info.contains("geo_purge:none") && info.contains("geo_adopt:none");
                walks(&shown(&pair.module.text("INFO geo"))).then_some(())
            });
            check(denied(&mut ours, line), empties, &format!("{rules}: {line}"));
        }
        let administers = denied(&mut native, "REPLICAOF NO ONE");
        for line in ["GEO.DETACH another", "GEO.RECOVER"] {
            check(denied(&mut ours, line), administers, &format!("{rules}: {line}"));
        }
    }
}

#[test]
fn what_regions_cannot_merge_is_denied_before_it_is_refused() {
    let mut pair = set_up();
    for (user, refused) in [
        ("all", true),
        ("but_lists", false),
        ("only_set", false),
        ("reader", false),
    ] {
        let [mut native, mut ours] = login(&mut pair, user);
        let reply = shown(&ours.text("LPUSH app:l x"));
        assert_eq!(reply.contains("is not replicated"), refused, "{user}: {reply}");
        if !refused {
            assert_eq!(shown(&native.text("LPUSH app:l x")), reply, "{user}");
        }
    }
}

/// Rights that change hold from the next command on, whoever sends it.
#[test]
fn changed_rights_hold_at_once() {
    let mut pair = Pair::transparent("*");
    for (rules, line) in [
        ("ann on nopass ~* +@all", "SET k 1"),
        ("ann -set", "SET k 2"),
        ("ann +set resetkeys ~app:*", "SET k 3"),
        ("ann ~k", "SET k 4"),
        ("ann reset on nopass ~* +set", "SET k 5"),
        ("ann clearselectors", "SET k 6"),
        ("ann -@all", "SET k 7"),
        ("ann +@all", "SET k 8"),
    ] {
        pair.both(&format!("ACL SETUSER {rules}"));
        let [mut native, mut ours] = login(&mut pair, "ann");
        assert_eq!(shown(&native.text(line)), shown(&ours.text(line)), "{rules}");
        // From a transaction, too.
        for client in [&mut pair.native, &mut pair.module] {
            client.text("MULTI");
            client.text("ACL SETUSER ann -set");
            client.text("PING");
            client.text("EXEC");
        }
        assert_eq!(
            shown(&native.text(line)),
            shown(&ours.text(line)),
            "{rules}, in a transaction"
        );
        pair.both(&format!("ACL SETUSER {rules}"));
    }
    // One connection that changes its own rights and goes on without waiting.
    for client in [&mut pair.native, &mut pair.module] {
        for line in [
            "ACL SETUSER default -set",
            "SET k 9",
            "ACL SETUSER default +set",
            "SET k 10",
            "GET k",
        ] {
            client.send(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        }
    }
    for step in 0..5 {
        assert_eq!(shown(&pair.native.reply()), shown(&pair.module.reply()), "{step}");
    }
}

#[test]
fn who_is_not_known_may_do_nothing() {
    let mut pair = Pair::transparent("*");
    pair.both("CONFIG SET requirepass secret");
    let mut clients = [pair.plain.client(), pair.geo.client()];
    for line in [
        "SET k v",
        "LPUSH k v",
        "MSET a 1",
        "GET k",
        "AUTH wrong",
        "AUTH secret",
        "SET k v",
    ] {
        let replies = clients.each_mut().map(|client| shown(&client.text(line)));
        assert_eq!(replies[0], replies[1], "{line}");
    }
    let denied = shown(&pair.geo.client().text("GEO.SET k v"));
    assert!(denied.starts_with("-NOAUTH"), "{denied}");
}

fn users(client: &mut Client) -> Vec<String> {
    let mut users: Vec<String> = strings(&client.text("ACL LIST"))
        .iter()
        .map(|line| shown(line))
        .collect();
    users.sort();
    users
}

/// Servers list the commands of a selector in any order.
fn rules(users: &[String]) -> Vec<Vec<&str>> {
    let mut all: Vec<Vec<&str>> = Vec::new();
    for line in users {
        let mut words: Vec<&str> = line.split([' ', '(', ')']).collect();
        words.sort_unstable();
        all.push(words);
    }
    all
}

/// Only restricted users get a selector, once, and none other than its commands.
#[test]
fn grants_are_made_once_and_survive_files() {
    let plain = Server::plain(&[]);
    for rules in ["app on nopass ~app:* -@all +set +get", "free on nopass ~* &* +@all"] {
        plain.client().text(&format!("ACL SETUSER {rules}"));
    }
    let lines = users(&mut plain.client());
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("users.acl");
    std::fs::write(&file, lines.join("\n") + "\n").expect("a file");
    let server = Server::start(&["--aclfile", &file.to_string_lossy()], &["region", "eu"]);
    for _ in 0..2 {
        let mut client = server.client();
        let granted = users(&mut client);
        let app = granted
            .iter()
            .find(|line| line.starts_with("user app "))
            .expect("the user");
        assert_eq!(app.matches("(~* ").count(), 1, "{app}");
        assert_eq!(
            granted.iter().filter(|line| line.contains("geo.")).count(),
            1,
            "{granted:?}"
        );
        client.text("AUTH app any");
        assert_eq!(client.text("SET app:1 v"), b"+OK\r\n");
        assert!(client.text("SET other v").starts_with(b"-NOPERM"));
        let mut operator = server.client();
        for line in ["ACL SAVE", "ACL LOAD", "ACL SETUSER app +get"] {
            assert_eq!(operator.text(line), b"+OK\r\n", "{line}");
        }
        assert_eq!(rules(&users(&mut operator)), rules(&granted));
    }
    let before = users(&mut server.client());
    let server = server.restart();
    assert_eq!(rules(&users(&mut server.client())), rules(&before));
}

#[test]
fn an_operator_may_grant_by_hand() {
    let server = Server::start(&[], &["region", "eu", "acl-grant", "no"]);
    let mut operator = server.client();
    operator.text("ACL SETUSER app on nopass ~app:* -@all +set");
    let mut client = server.client();
    client.text("AUTH app any");
    let denied = shown(&client.text("SET app:1 v"));
    assert!(denied.starts_with("-NOPERM"), "{denied}");
    operator.text("ACL SETUSER app +geo.set");
    assert_eq!(client.text("SET app:1 v"), b"+OK\r\n");
    assert!(client.text("SET other v").starts_with(b"-NOPERM"));
    operator.text("ACL SETUSER app -set");
    assert!(
        client.text("GEO.SET app:1 v").starts_with(b"-NOPERM"),
        "the native right decides"
    );
    assert_eq!(users(&mut operator).iter().filter(|line| line.contains('(')).count(), 0);
    operator.text("CONFIG SET geo.acl-grant yes");
    until("the grant is there", || {
        users(&mut operator)
            .iter()
            .any(|line| line.contains("(~* "))
            .then_some(())
    });
}
