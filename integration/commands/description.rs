//! What the server says of the commands: flags, key specs, documentation.

use redis::Value;

use crate::pair::{Pair, commands, shown};
use crate::plain::Server;

fn ask(server: &Server, arguments: &[&str]) -> Value {
    let client = redis::Client::open(format!("redis://127.0.0.1:{}/", server.port)).expect("an address");
    let mut connection = client.get_connection().expect("a connection");
    redis::cmd(arguments[0])
        .arg(&arguments[1..])
        .query(&mut connection)
        .expect("an answer")
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
        other => format!("{other:?}"),
    }
}

/// A field of a flat map.
fn field<'a>(map: &'a Value, name: &str) -> Option<&'a Value> {
    items(map)
        .chunks_exact(2)
        .find(|pair| text(&pair[0]) == name)
        .map(|pair| &pair[1])
}

fn words(value: &Value) -> Vec<String> {
    let mut words: Vec<String> = items(value).iter().map(text).collect();
    words.sort();
    words
}

#[test]
fn arity_flags_keys_and_categories_are_the_native_ones() {
    let mut pair = Pair::start();
    let has_categories = has_categories(&mut pair);
    for command in commands(&mut pair.native) {
        let native = ask(&pair.plain, &["COMMAND", "INFO", command]);
        let ours = ask(&pair.geo, &["COMMAND", "INFO", &format!("geo.{command}")]);
        let (native, ours) = (items(&items(&native)[0]), items(&items(&ours)[0]));
        assert_eq!(native[1], ours[1], "{command}: arity");
        let (mut expected, mut flags) = (words(&native[2]), words(&ours[2]));
        flags.retain(|flag| flag != "module");
        if has_unknown_keys(command) {
            expected.retain(|flag| flag != "movablekeys");
        }
        assert_eq!(expected, flags, "{command}: flags");
        assert_eq!(native[3..6], ours[3..6], "{command}: first key, last key, step");
        let categories = if has_categories { words(&native[6]) } else { Vec::new() };
        assert_eq!(categories, words(&ours[6]), "{command}: categories");
        assert_eq!(tips(command, &native[7]), words(&ours[7]), "{command}: tips");
        assert_eq!(specs(&native[8]), specs(&ours[8]), "{command}: key specs");
    }
}

/// `SORT` says of some keys that only the server finds them. Servers would take a module's command that says so for one
/// without keys; ours never uses them.
fn has_unknown_keys(command: &str) -> bool {
    command.eq_ignore_ascii_case("SORT")
}

/// Redis 7 has tips for splitting MSETNX that newer servers took back.
fn tips(command: &str, value: &Value) -> Vec<String> {
    match command {
        "MSETNX" => Vec::new(),
        _ => words(value),
    }
}

/// Since Redis 7.2 modules choose the categories of their commands; before, these are in none.
fn has_categories(pair: &mut Pair) -> bool {
    let server = shown(&pair.native.text("INFO server"));
    let version = server.split_once("redis_version:").expect("a version").1;
    let mut parts = version.split('.').map(|part| part.parse::<u32>().expect("a number"));
    (parts.next(), parts.next()) >= (Some(7), Some(2))
}

/// Key specs without the notes for readers, and without the flag that would switch a module's spec off.
fn specs(value: &Value) -> Vec<Vec<Vec<String>>> {
    let words = |value: &Value| {
        let mut words = words(value);
        words.retain(|word| word != "variable_flags");
        words
    };
    let spec = |one: &Value| {
        ["flags", "begin_search", "find_keys"]
            .map(|name| field(one, name).map_or_else(Vec::new, words))
            .to_vec()
    };
    let is_known = |one: &Vec<Vec<String>>| !one[1].contains(&"unknown".to_owned());
    items(value).iter().map(spec).filter(is_known).collect()
}

#[test]
fn documented_arguments_are_the_native_ones() {
    let mut pair = Pair::start();
    for command in commands(&mut pair.native).into_iter().map(str::to_lowercase) {
        let native = ask(&pair.plain, &["COMMAND", "DOCS", &command]);
        let ours = ask(&pair.geo, &["COMMAND", "DOCS", &format!("geo.{command}")]);
        let (native, ours) = (entry(&native), entry(&ours));
        if !has_unknown_keys(&command) {
            assert_eq!(arguments(&native), arguments(&ours), "{command}");
        }
        for name in ["summary", "complexity", "since"] {
            assert!(
                field(&ours, name).is_some_and(|value| !text(value).is_empty()),
                "{command}: {name}"
            );
        }
    }
}

fn entry(docs: &Value) -> Value {
    match docs {
        Value::Map(pairs) => pairs[0].1.clone(),
        other => items(other)[1].clone(),
    }
}

/// Types, tokens, flags and, but for blocks, which are named for readers only, names; without the history. Servers take a
/// key spec from us for keys only; Valkey gives one for a number.
fn arguments(map: &Value) -> Vec<String> {
    let parts = field(map, "arguments").map(items).unwrap_or_default();
    let one = |argument: &Value| {
        let kind = field(argument, "type").map(text).unwrap_or_default();
        let known = ["name", "type", "key_spec_index", "token", "flags"];
        let counts = |name: &&str| match *name {
            "name" => kind != "block",
            "key_spec_index" => kind == "key",
            _ => true,
        };
        let said = known
            .iter()
            .copied()
            .filter(counts)
            .filter_map(|name| field(argument, name).map(|value| format!("{name}={value:?}")));
        format!("{} {:?}", said.collect::<Vec<_>>().join(" "), arguments(argument))
    };
    parts.iter().map(one).collect()
}

#[test]
fn a_user_with_rights_to_some_keys_only_is_held_to_them() {
    let mut pair = Pair::start();
    pair.both("ACL SETUSER limited on nopass ~own:* %R~read:* +@all");
    pair.both("AUTH limited any");
    for line in ["SET own:1 x", "MSET own:1 x own:2 y"] {
        assert_eq!(pair.same_text(line), b"+OK\r\n");
    }
    assert!(pair.module.text("GEO.INSPECT read:1").starts_with(b"*"));
    let refused = pair.native.text("GET other");
    assert!(refused.starts_with(b"-NOPERM"), "{}", shown(&refused));
    assert_eq!(shown(&pair.module.text("GEO.INSPECT other")), shown(&refused));
    for line in [
        "SET other x",
        "SET read:1 x",
        "SMOVE own:a other m",
        "DEL own:1 other",
        "MSET own:1 x other y",
    ] {
        assert_eq!(shown(&pair.same_text(line)), shown(&refused), "{line}");
    }
}
