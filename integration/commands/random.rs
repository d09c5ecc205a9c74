//! Random commands, each on a plain server, too.

use crate::draw::Random;
use crate::pair::{Pair, line, shown};
use crate::plain::strings;

#[test]
fn random_commands_agree() {
    agree(Pair::start());
}

#[test]
fn random_commands_agree_under_their_native_names() {
    agree(Pair::transparent("* !c"));
}

/// On keys that replicate, and in transparent mode on one that does not.
fn agree(mut pair: Pair) {
    let mut random = Random::new(&mut pair.native, 20_000);
    for step in 0..random.steps {
        one(&mut pair, &mut random);
        if step % 200 == 0 {
            same_databases(&mut pair);
        }
    }
    same_databases(&mut pair);
}

fn same_databases(pair: &mut Pair) {
    for database in ["SELECT 1", "SELECT 0"] {
        pair.both(database);
        pair.same_data();
    }
}

fn one(pair: &mut Pair, random: &mut Random) {
    let command = random.command(&mut pair.native);
    let arguments: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
    match arguments[0] {
        b"SPOP" => pop(pair, &arguments),
        // Lists are in nobody's way where they replicate, and the same where they do not.
        b"RPUSH" if pair.is_transparent() && arguments[1] != b"c" => {
            assert!(
                pair.module
                    .command(&arguments)
                    .starts_with(b"-ERR 'rpush' is not replicated")
            );
        }
        b"RPUSH" => {
            assert_eq!(
                pair.native.command(&arguments),
                pair.module.command(&arguments),
                "{}",
                line(&arguments)
            );
        }
        b"ZREMRANGEBYLEX" if depends_on_levels(pair, arguments[1]) => {}
        _ => {
            let found = pair.ours(&arguments);
            if shown(&found).contains("regions cannot merge") {
                refused(pair, &arguments);
            } else {
                let expected = pair.native.command(&arguments);
                assert_eq!(shown(&expected), shown(&found), "{}", line(&arguments));
            }
        }
    }
}

/// Whether what a range of names takes depends on the random levels of a skip list: where scores differ.
fn depends_on_levels(pair: &mut Pair, key: &[u8]) -> bool {
    let encoding = pair.native.command(&[b"OBJECT", b"ENCODING", key]);
    let mut score = |rank: &[u8]| strings(&pair.native.command(&[b"ZRANGE", key, rank, rank, b"WITHSCORES"])).pop();
    shown(&encoding).contains("skiplist") && score(b"0") != score(b"-1")
}

/// Only for lists; that nothing has changed is seen when data is compared.
fn refused(pair: &mut Pair, arguments: &[&[u8]]) {
    let made = arguments[0] == b"SORT" || arguments[0] == b"RESTORE";
    let held = pair.module.command(&[b"TYPE", arguments[1]]);
    assert!(made || held == b"+list\r\n", "{} is refused", line(arguments));
    if arguments[0] == b"RESTORE" {
        as_if_loaded(pair, arguments[1]);
    }
}

/// What a refused payload had taken the place of comes back by its dump, perhaps in another encoding.
fn as_if_loaded(pair: &mut Pair, key: &[u8]) {
    for client in [&mut pair.native, &mut pair.module] {
        let deadline = client.command(&[b"PEXPIRETIME", key]);
        let deadline = String::from_utf8_lossy(&deadline[1..]).trim_end().to_owned();
        let Some(dump) = strings(&client.command(&[b"DUMP", key])).pop() else {
            continue;
        };
        let deadline = if deadline.starts_with('-') { "0" } else { &deadline };
        let restore: [&[u8]; 6] = [b"RESTORE", key, deadline.as_bytes(), &dump, b"REPLACE", b"ABSTTL"];
        assert_eq!(client.command(&restore), b"+OK\r\n");
    }
}

/// The plain server removes what the other has popped.
fn pop(pair: &mut Pair, arguments: &[&[u8]]) {
    let reply = pair.ours(arguments);
    let popped = strings(&reply);
    if popped.is_empty() {
        assert_eq!(
            shown(&pair.native.command(arguments)),
            shown(&reply),
            "{}",
            line(arguments)
        );
        return;
    }
    let mut remove: Vec<&[u8]> = vec![b"SREM", arguments[1]];
    remove.extend(popped.iter().map(Vec::as_slice));
    let removed = pair.native.command(&remove);
    assert_eq!(
        removed,
        format!(":{}\r\n", popped.len()).into_bytes(),
        "{} popped strangers",
        line(arguments)
    );
}
