//! Every write command that the running server knows: in the table, or listed with the reason why not.

use std::collections::BTreeMap;

use redis::Value;
use redis_geo::commands::TABLE;
use redis_geo::commands::native::{Class, EXCEPTIONS, UNKNOWN};

use crate::pair::shown;
use crate::plain::{Client, Server};

struct Write {
    arity: i64,
    /// First key, last key, step.
    keys: (i64, i64, i64),
}

fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) | Value::Set(items) => items,
        _ => &[],
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        _ => String::new(),
    }
}

fn number(value: &Value) -> i64 {
    match value {
        Value::Int(number) => *number,
        _ => 0,
    }
}

/// The server's own commands that it flags as writes, or has in the category of writes.
fn writes(server: &Server) -> BTreeMap<String, Write> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{}/", server.port)).expect("an address");
    let mut connection = client.get_connection().expect("a connection");
    let all: Value = redis::cmd("COMMAND").query(&mut connection).expect("an answer");
    let mut found = BTreeMap::new();
    items(&all).iter().for_each(|entry| collect(entry, &mut found));
    let by_category: Value = redis::cmd("COMMAND")
        .arg(&["LIST", "FILTERBY", "ACLCAT", "write"])
        .query(&mut connection)
        .expect("an answer");
    let by_category: Vec<String> = items(&by_category).iter().map(text).collect();
    assert!(by_category.len() > 100, "{by_category:?}");
    for name in by_category.iter().filter(|name| !name.starts_with("geo.")) {
        assert!(
            found.contains_key(name),
            "{name} is in @write but not flagged as a write"
        );
    }
    found
}

fn collect(entry: &Value, found: &mut BTreeMap<String, Write>) {
    let fields = items(entry);
    let flags: Vec<String> = items(&fields[2]).iter().map(text).collect();
    let categories: Vec<String> = items(&fields[6]).iter().map(text).collect();
    let name = text(&fields[0]).to_ascii_lowercase();
    let has = |flag: &str| flags.iter().any(|one| one == flag);
    // A read that changes its key, as `PFCOUNT` does, may replicate; scripts and messages, which may as well, are no reads.
    let writes = has("write") || categories.contains(&"@write".to_owned()) || has("readonly") && has("may_replicate");
    if !name.starts_with("geo.") && writes {
        let arity = number(&fields[1]);
        let keys = (number(&fields[3]), number(&fields[4]), number(&fields[5]));
        found.insert(name, Write { arity, keys });
    }
    items(&fields[9]).iter().for_each(|entry| collect(entry, found));
}

fn has_row(name: &str) -> bool {
    TABLE.iter().any(|row| row.native() == Some(name))
}

fn exception(name: &str) -> Option<Class> {
    EXCEPTIONS
        .iter()
        .find(|exception| exception.name == name)
        .map(|exception| exception.class)
}

#[test]
fn every_write_command_is_in_the_table_or_listed_with_the_reason() {
    let server = Server::plain(&[]);
    for name in writes(&server).keys() {
        let known = has_row(name) || exception(name).is_some();
        assert!(known, "{name} has no row in TABLE and no reason in EXCEPTIONS");
        let reason = match exception(name) {
            Some(Class::Refused(why) | Class::LocalOnly(why)) => why,
            None => continue,
        };
        assert!(reason.len() > 20, "{name}: {reason}");
    }
}

/// A command with every argument "1", and how it names no key where the server's table says so.
fn call(client: &mut Client, name: &str, write: &Write) -> Vec<u8> {
    let count = write.arity.unsigned_abs().max(write.keys.0.unsigned_abs() + 1) as usize;
    let mut words: Vec<&[u8]> = name.split('|').map(str::as_bytes).collect();
    words.resize(count.max(words.len()), b"1");
    client.command(&words)
}

/// What has no row is refused where it would change a key in `geo.keys`, and is the server's own elsewhere.
#[test]
fn what_has_no_row_is_refused_on_keys_in_geo_keys_only() {
    let (plain, inside, outside) = (
        Server::plain(&[]),
        Server::transparent("*"),
        Server::transparent("!1 !destination"),
    );
    let (mut native, mut ours, mut free) = (plain.client(), inside.client(), outside.client());
    let mut tried = 0;
    for (name, write) in writes(&plain) {
        let refused = match exception(&name) {
            _ if has_row(&name) => continue,
            Some(Class::LocalOnly(_)) => continue,
            Some(Class::Refused(why)) => why,
            None => UNKNOWN,
        };
        // Where the keys depend on the arguments, "1" is not enough; a blocking command would wait.
        let depends = [
            "sort",
            "georadius",
            "georadiusbymember",
            "xreadgroup",
            "migrate",
            "zmpop",
            "lmpop",
            "blmpop",
        ];
        if depends.contains(&name.as_str()) {
            continue;
        }
        let said = String::from_utf8_lossy(&call(&mut ours, &name, &write)).into_owned();
        let expected = format!("-ERR '{name}' is not replicated and refused");
        assert!(said.starts_with(&expected) && said.contains(refused), "{name}: {said}");
        if name.starts_with('b') && !name.starts_with("bit") || name == "swapdb" {
            continue;
        }
        native.text("FLUSHALL");
        free.text("FLUSHALL");
        let expected = shown(&call(&mut native, &name, &write));
        assert_eq!(expected, shown(&call(&mut free, &name, &write)), "{name}");
        tried += 1;
    }
    assert!(tried > 20, "{tried}");
}

#[test]
fn commands_whose_keys_depend_on_their_arguments() {
    let server = Server::transparent("!own* !1");
    let mut client = server.client();
    for line in ["RPUSH own:l 2 1", "XADD own:x 1-1 f v", "XGROUP CREATE own:x g 0"] {
        assert!(!client.text(line).starts_with(b"-"), "{line}");
    }
    for (line, refused) in [
        ("SORT own:l", false),
        ("SORT own:l STORE own:m", false),
        ("SORT own:l STORE other", !has_row("sort")),
        ("SORT other", false),
        ("LMPOP 2 own:a own:b LEFT", false),
        ("LMPOP 2 own:a other LEFT", true),
        ("XREADGROUP GROUP g c STREAMS own:x >", false),
        ("XREADGROUP GROUP g c STREAMS other >", true),
        ("xgroup create other g 0 MKSTREAM", true),
        ("GEORADIUS other 0 0 1 m", false),
        ("GEORADIUS own:g 0 0 1 m STORE other", !has_row("georadius")),
        ("MIGRATE 127.0.0.1 1 other 0 100", true),
        ("SWAPDB 0 1", true),
        ("BLPOP other 0", true),
        ("BLPOP own:l 0", false),
    ] {
        let reply = shown(&client.text(line));
        assert_eq!(reply.contains("is not replicated"), refused, "{line}: {reply}");
    }
}

/// It would take along what GEO commands have written.
#[test]
fn databases_are_not_exchanged_without_transparent_mode_either() {
    let server = Server::geo(&[]);
    let mut client = server.client();
    client.text("GEO.SET k v");
    let reply = shown(&client.text("SWAPDB 0 1"));
    assert!(reply.contains("is not replicated and refused"), "{reply}");
    assert_eq!(client.text("GET k"), b"$1\r\nv\r\n");
}

/// The server's own words for what it would not run anyhow.
#[test]
fn wrong_arguments_are_the_servers_own_errors() {
    let (plain, geo) = (Server::plain(&[]), Server::transparent("*"));
    let (mut native, mut ours) = (plain.client(), geo.client());
    for line in [
        "SET",
        "SET k",
        "MSET a 1 b",
        "MSETNX a",
        "DEL",
        "LPUSH",
        "XGROUP",
        "XGROUP CREATE k",
        "XGROUP NOTHING k",
        "SORT",
        "FUNCTION NOTHING",
        "INCRBY k",
        "SMOVE a b",
        "NOTHING",
        "ACL",
        "ACL NOTHING",
        "GETDEL",
        "LMPOP x k LEFT",
    ] {
        assert_eq!(shown(&native.text(line)), shown(&ours.text(line)), "{line}");
        // In a transaction, such an error is the whole one's.
        for client in [&mut native, &mut ours] {
            client.text("MULTI");
        }
        assert_eq!(shown(&native.text(line)), shown(&ours.text(line)), "MULTI {line}");
        assert_eq!(shown(&native.text("EXEC")), shown(&ours.text("EXEC")), "EXEC {line}");
    }
}
