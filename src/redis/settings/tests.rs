use std::collections::BTreeMap;

use super::*;

/// Settings without a default that works; the example has to invent a value.
const INVENTED: [&str; 4] = ["region", "certificate", "key", "ca"];

fn example() -> BTreeMap<String, Vec<String>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/redis.conf.example");
    let text = std::fs::read_to_string(path).unwrap();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        let line = line.trim_start_matches('#').trim();
        let Some((name, value)) = line.strip_prefix("geo.").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        found
            .entry(name.to_owned())
            .or_default()
            .push(value.trim_matches('"').to_owned());
    }
    found
}

#[test]
fn the_example_explains_exactly_the_settings_there_are() {
    let example = example();
    for setting in SETTINGS {
        let values = example
            .get(setting.name)
            .unwrap_or_else(|| panic!("{} is not explained", setting.name));
        let parsed = values.last().map(|value| parse(setting, value).unwrap()).unwrap();
        if !INVENTED.contains(&setting.name) {
            assert_eq!(
                parsed, setting.default,
                "{}: the example shows another default",
                setting.name
            );
        }
    }
    for name in example.keys() {
        assert!(
            find(name).is_some(),
            "redis.conf.example has geo.{name}, which does not exist"
        );
    }
}

#[test]
fn the_example_says_what_may_change_while_running() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/redis.conf.example")).unwrap();
    let explained: Vec<&str> = text.split("\n\n").collect();
    for setting in SETTINGS {
        let line = format!("geo.{} ", setting.name);
        let paragraph = explained.iter().find(|part| part.contains(&line)).unwrap();
        let said = paragraph.contains("CONFIG SET changes it while running");
        assert_eq!(said, setting.mutable, "{}", setting.name);
    }
}

#[test]
fn defaults_are_valid() {
    for setting in SETTINGS {
        assert_eq!(
            parse(setting, setting.default).as_deref(),
            Ok(setting.default),
            "{}",
            setting.name
        );
    }
}

#[test]
fn the_bounds_in_the_example_are_the_codes() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/redis.conf.example")).unwrap();
    for setting in SETTINGS {
        let (Kind::Number { min, max } | Kind::Size { min, max }) = setting.kind else {
            continue;
        };
        let line = format!("geo.{} ", setting.name);
        let paragraph = text.split("\n\n").find(|part| part.contains(&line)).unwrap();
        let bounds = bounds(paragraph).unwrap_or_else(|| panic!("{}: bounds are not given", setting.name));
        let min = if setting.name == "max-mtu" { 1200 } else { min };
        assert_eq!(bounds, (min, max), "{}", setting.name);
    }
}

/// The first "a to b" of a paragraph.
fn bounds(paragraph: &str) -> Option<(i64, i64)> {
    let words: Vec<&str> = paragraph
        .split_whitespace()
        .map(|word| word.trim_matches([',', '.', ':']))
        .collect();
    words
        .windows(3)
        .find_map(|three| Some((bytes(three[0])?, bytes(three[2])?)).filter(|_| three[1] == "to"))
}

#[test]
fn sizes_have_units() {
    for (text, expected) in [
        ("0", 0),
        ("5", 5),
        ("2k", 2000),
        ("2kb", 2048),
        ("1MB", 1 << 20),
        ("1g", 1_000_000_000),
    ] {
        assert_eq!(bytes(text), Some(expected), "{text}");
    }
    for text in ["", "k", "-1", "1x", "1.5mb", "1 mb", "9223372036854775807kb"] {
        assert_eq!(bytes(text), None, "{text}");
    }
}

#[test]
fn peers_are_name_host_and_port() {
    let good = [
        ("us@h:1", "us", "h", 1),
        ("us@[::1]:7379", "us", "::1", 7379),
        ("a-1@x.y:65535", "a-1", "x.y", 65535),
    ];
    for (text, name, host, port) in good {
        let expected = PeerAddress {
            name: name.into(),
            host: host.into(),
            port,
        };
        assert_eq!(peer(text), Some(expected), "{text}");
    }
    for text in [
        "", "us", "us@", "us@h", "us@h:", "us@:1", "us@h:0", "us@h:x", "us@::1:1",
    ] {
        assert_eq!(peer(text), None, "{text}");
    }
    assert_eq!(peers("us@h:1 ap@h:2,  sa@h:3", "eu").map(|peers| peers.len()), Ok(3));
    let several = peers("us@h:1,h:2 ap@h:3 us@h:4", "eu").unwrap();
    let places: Vec<_> = several.iter().map(|peer| (peer.name.as_str(), peer.port)).collect();
    assert_eq!(places, [("us", 1), ("us", 2), ("ap", 3), ("us", 4)]);
    for wrong in ["eu@h:1", "us@h:1 us@h:1", "us@h:1,h:1", "h:1 us@h:1", "US@h:1", "us"] {
        assert!(peers(wrong, "eu").is_err(), "{wrong}");
    }
}
