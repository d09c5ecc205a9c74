//! Settings: refused when wrong, shown, changed, written back.

use std::path::Path;

use crate::plain::{Server, certificate, load_arguments, refused};

/// The module's lines in the log when it is loaded with these arguments beside certificates.
fn complaint(module: &[&str]) -> Vec<String> {
    let arguments = load_arguments(module);
    refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn wrong_settings_stop_the_load_with_one_line() {
    let cases: [(&[&str], &str); 18] = [
        (&["cluster", "x"], "'region' is missing"),
        (&["region", ""], "'region' is missing"),
        (&["region", "eu", "colour", "blue"], "unknown argument 'colour'"),
        (&["region", "Eu"], "use 1 to 63 characters"),
        (&["region", "eu", "cluster", "a b"], "'cluster' is 'a b'"),
        (&["region", "eu", "peer", "eu@127.0.0.1:1"], "this region itself"),
        (
            &["region", "eu", "peer", "us@127.0.0.1:1", "peer", "us@127.0.0.1:1"],
            "listed twice",
        ),
        (&["region", "eu", "peer", "us"], "name@host:port"),
        (&["region", "eu", "peer", "us@host"], "name@host:port"),
        (&["region", "eu", "peer", "us@host:0"], "name@host:port"),
        (&["region", "eu", "peer", "us@host:65536"], "name@host:port"),
        (&["region", "eu", "peer", "us@::1:70"], "name@host:port"),
        (&["region", "eu", "compression", "gzip"], "one of: off, lz4, zstd"),
        (&["region", "eu", "bandwidth", "fast"], "a size from"),
        (&["region", "eu", "max-value-size", "1gb"], "a size from"),
        (&["region", "eu", "streams", "0"], "a number from"),
        (&["region", "eu", "heartbeat-ms", "1.5"], "a number from"),
        (&["region", "eu", "max-mtu", "100"], "max-mtu is 100"),
    ];
    for (module, expected) in cases {
        let lines = complaint(module);
        assert!(lines.len() == 1 && lines[0].contains(expected), "{module:?}: {lines:?}");
    }
}

#[test]
fn missing_and_wrong_files_are_named() {
    let (leaf, key, ca) = (certificate("leaf.pem"), certificate("leaf.key"), certificate("ca.pem"));
    let module = redis_geo::lab::module::built().to_string_lossy().into_owned();
    let load = |rest: &[&str]| {
        let mut arguments = vec!["--loadmodule", &module, "region", "eu", "listen", "127.0.0.1:0"];
        arguments.extend(rest);
        refused(&arguments)
    };
    let one = |lines: Vec<String>, expected: &str| {
        assert!(lines.len() == 1 && lines[0].contains(expected), "{expected}: {lines:?}");
    };
    one(load(&[]), "'certificate' is missing");
    one(load(&["certificate", &leaf]), "'key' is missing");
    one(load(&["certificate", &leaf, "key", &key]), "'ca' is missing");
    one(
        load(&["certificate", "/nowhere/eu.pem"]),
        "/nowhere/eu.pem: No such file",
    );
    let rest = ["certificate", &leaf, "key", &leaf, "ca", &ca];
    one(load(&rest), "leaf.pem");
    one(load(&["region"]), "has no value");
    one(load(&["listen", "localhost"]), "address:port");
}

fn value(server: &Server, name: &str) -> String {
    let reply = server.client().text(&format!("CONFIG GET {name}"));
    String::from_utf8_lossy(crate::plain::strings(&reply).get(1).map_or(b"", Vec::as_slice)).into_owned()
}

#[test]
fn settings_are_shown_and_some_change_while_running() {
    let server = Server::start(
        &[],
        &[
            "region",
            "eu",
            "peer",
            "us@localhost:1",
            "peer",
            "ap@[::1]:2",
            "bandwidth",
            "1mb",
        ],
    );
    assert_eq!(value(&server, "geo.region"), "eu");
    assert_eq!(value(&server, "geo.peers"), "us@localhost:1 ap@[::1]:2");
    assert_eq!(value(&server, "geo.bandwidth"), "1048576");
    let mut client = server.client();
    for line in [
        "geo.region us",
        "geo.peers x@h:1",
        "geo.listen 127.0.0.1:1",
        "geo.compression off",
        "geo.streams 3",
    ] {
        let reply = client.text(&format!("CONFIG SET {line}"));
        assert!(reply.starts_with(b"-ERR"), "{line} cannot change while running");
    }
    assert_eq!(client.text("CONFIG SET geo.max-value-size 2mb"), b"+OK\r\n");
    assert_eq!(value(&server, "geo.max-value-size"), "2097152");
    assert!(client.text("CONFIG SET geo.max-value-size 1").starts_with(b"-ERR"));
    assert_eq!(value(&server, "geo.max-value-size"), "2097152");
}

#[test]
fn redis_conf_lines_go_before_arguments_and_are_written_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let arguments = load_arguments(&["region", "eu", "streams", "3"]);
    let conf = directory.path().join("redis.conf");
    let module = arguments[1..].join(" ");
    std::fs::write(
        &conf,
        format!("loadmodule {module}\ngeo.cluster shop\ngeo.streams 5\ngeo.peers \"us@a:1 ap@b:2\"\n"),
    )
    .expect("a file");
    let server = Server::start(&[&conf.to_string_lossy()], &[]);
    for _ in 0..2 {
        assert_eq!(value(&server, "geo.cluster"), "shop");
        assert_eq!(value(&server, "geo.streams"), "5");
        assert_eq!(value(&server, "geo.peers"), "us@a:1 ap@b:2");
        server.client().text("CONFIG SET geo.max-value-size 5mb");
        assert_eq!(server.client().text("CONFIG REWRITE"), b"+OK\r\n");
    }
    let server = server.restart();
    assert_eq!(value(&server, "geo.max-value-size"), "5242880");
    assert_eq!(value(&server, "geo.cluster"), "shop");
    assert_eq!(value(&server, "geo.peers"), "us@a:1 ap@b:2");
    assert_eq!(value(&server, "geo.region"), "eu");
    assert!(Path::new(&conf).exists());
}
