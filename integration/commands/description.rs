//! What the server says of the commands: flags, key specs, documentation.

use redis::Value;

use crate::pair::{COMMANDS, Pair, shown};
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
fn arity_flags_and_keys_are_the_native_ones() {
    let pair = Pair::start();
    for command in COMMANDS {
        let native = ask(&pair.plain, &["COMMAND", "INFO", command]);
        let ours = ask(&pair.geo, &["COMMAND", "INFO", &format!("geo.{command}")]);
        let (native, ours) = (items(&items(&native)[0]), items(&items(&ours)[0]));
        assert_eq!(native[1], ours[1], "{command}: arity");
        let mut flags = words(&ours[2]);
        flags.retain(|flag| flag != "module");
        assert_eq!(words(&native[2]), flags, "{command}: flags");
        assert_eq!(native[3..6], ours[3..6], "{command}: first key, last key, step");
        assert_eq!(words(&native[7]), words(&ours[7]), "{command}: tips");
        assert_eq!(specs(&native[8]), specs(&ours[8]), "{command}: key specs");
    }
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
    items(value).iter().map(spec).collect()
}

#[test]
fn documented_arguments_are_the_native_ones() {
    let pair = Pair::start();
    for command in COMMANDS.map(str::to_lowercase) {
        let native = ask(&pair.plain, &["COMMAND", "DOCS", &command]);
        let ours = ask(&pair.geo, &["COMMAND", "DOCS", &format!("geo.{command}")]);
        let (native, ours) = (entry(&native), entry(&ours));
        assert_eq!(arguments(&native), arguments(&ours), "{command}");
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

/// Names, types, tokens and flags, without the history.
fn arguments(map: &Value) -> Vec<String> {
    let parts = field(map, "arguments").map(items).unwrap_or_default();
    let one = |argument: &Value| {
        let known = ["name", "type", "key_spec_index", "token", "flags"];
        let said = known
            .iter()
            .filter_map(|name| field(argument, name).map(|value| format!("{name}={value:?}")));
        format!("{} {:?}", said.collect::<Vec<_>>().join(" "), arguments(argument))
    };
    parts.iter().map(one).collect()
}

#[test]
fn a_user_with_rights_to_some_keys_only_is_held_to_them() {
    let pair = Pair::start();
    let mut admin = pair.geo.client();
    assert_eq!(
        admin.text("ACL SETUSER limited on nopass ~own:* %R~read:* +@all"),
        b"+OK\r\n"
    );
    let mut client = pair.geo.client();
    assert_eq!(client.text("AUTH limited any"), b"+OK\r\n");
    assert_eq!(client.text("GEO.SET own:1 x"), b"+OK\r\n");
    assert_eq!(client.text("GEO.MSET own:1 x own:2 y"), b"+OK\r\n");
    assert!(client.text("GEO.INSPECT read:1").starts_with(b"*"));
    for line in [
        "GEO.SET other x",
        "GEO.SET read:1 x",
        "GEO.SMOVE own:a other m",
        "GEO.DEL own:1 other",
        "GEO.MSET own:1 x other y",
        "GEO.INSPECT other",
    ] {
        let reply = shown(&client.text(line));
        assert!(
            reply.contains("permissions to access one of the keys"),
            "{line}: {reply}"
        );
    }
}
