//! What is refused here, though not natively, and changes nothing.

use crate::held::{Held, everything};
use crate::pair::{Pair, has, shown};
use crate::plain::strings;

const TYPES: &str = "regions cannot merge";

fn refused(pair: &mut Pair, arguments: &[&[u8]], why: &str) {
    let before = everything(&mut pair.module);
    let reply = shown(&pair.module.command(arguments));
    assert!(
        reply.starts_with("-ERR") && reply.contains(why),
        "{}: {reply}",
        crate::pair::line(arguments)
    );
    assert_eq!(before, everything(&mut pair.module), "{}", crate::pair::line(arguments));
}

#[test]
fn types_that_do_not_merge() {
    let mut pair = Pair::start();
    for line in [
        "RPUSH list b a",
        "XADD stream 1-1 f v",
        "SADD set a",
        "SET text v EX 1000",
    ] {
        pair.both(line);
    }
    for line in [
        "GEO.EXPIRE list 100",
        "GEO.PEXPIREAT stream 9999999999999",
        "GEO.PERSIST list",
        "GEO.RENAME list set",
        "GEO.RENAMENX list new",
        "GEO.COPY stream new",
        "GEO.COPY list text REPLACE",
        "GEO.MOVE list 1",
        "GEO.SORT list ALPHA STORE set",
        "GEO.SORT set BY nosort GET # store new",
    ] {
        refused(
            &mut pair,
            &line.split(' ').map(str::as_bytes).collect::<Vec<_>>(),
            TYPES,
        );
    }
    let list = strings(&pair.module.text("DUMP list")).remove(0);
    refused(&mut pair, &[b"GEO.RESTORE", b"new", b"0", &list], TYPES);
    for key in [&b"text"[..], b"set", b"stream"] {
        refused(&mut pair, &[b"GEO.RESTORE", key, b"5000", &list, b"replace"], TYPES);
    }
    let sorted = pair.module.text("SORT list ALPHA");
    assert_eq!(pair.module.text("GEO.SORT list ALPHA"), sorted);
}

/// Where servers have deadlines of fields, from Redis 7.4 and Valkey 9.0 on, they stay outside `geo.keys`.
#[test]
fn fields_with_deadlines_do_not_come_in() {
    let mut pair = Pair::start();
    pair.module.text("HSET h f v g w");
    if pair
        .module
        .text("HPEXPIRE h 10000000 FIELDS 1 g")
        .starts_with(b"-ERR unknown command")
    {
        return;
    }
    let dump = strings(&pair.module.text("DUMP h")).remove(0);
    for line in [
        "GEO.RENAME h new",
        "GEO.RENAMENX h new",
        "GEO.COPY h new",
        "GEO.MOVE h 1",
    ] {
        refused(
            &mut pair,
            &line.split(' ').map(str::as_bytes).collect::<Vec<_>>(),
            "deadlines",
        );
    }
    refused(&mut pair, &[b"GEO.RESTORE", b"new", b"0", &dump], "deadlines");
    refused(&mut pair, &[b"GEO.RESTORE", b"h", b"0", &dump, b"REPLACE"], "deadlines");
    pair.module.text("HPERSIST h FIELDS 1 g");
    assert_eq!(pair.module.text("GEO.COPY h new"), b":1\r\n");
    pair.module.text("CONFIG SET geo.transparent yes geo.keys in:*");
    pair.module.text("HPEXPIRE h 10000000 FIELDS 1 g");
    let reply = shown(&pair.module.text("COPY h in:h"));
    assert!(reply.starts_with("-ERR") && reply.contains("deadlines"), "{reply}");
    assert_eq!(
        pair.module.text("COPY h out"),
        b":1\r\n",
        "outside geo.keys it is a native copy"
    );
}

/// The value was there before the limit came down, or is made by the server.
#[test]
fn values_beyond_the_limit() {
    let mut pair = Pair::start();
    let (fits, much) = (vec![b'x'; 1024], vec![b'x'; 1025]);
    for key in [&b"big"[..], b"k"] {
        pair.module
            .command(&[b"SET", key, if key == b"k" { &fits } else { &much }]);
    }
    let dump = strings(&pair.module.text("DUMP big")).remove(0);
    pair.module.text("CONFIG SET geo.max-value-size 1024");
    let commands: [&[&[u8]]; 30] = [
        &[b"GEO.SET", b"k", &much],
        &[b"GEO.SET", b"k", &much, b"GET"],
        &[b"GEO.SET", b"k", &much, b"EX", b"100"],
        &[b"GEO.SETNX", b"n", &much],
        &[b"GEO.SETEX", b"k", b"100", &much],
        &[b"GEO.PSETEX", b"k", b"100", &much],
        &[b"GEO.GETSET", b"k", &much],
        &[b"GEO.MSET", b"m", b"1", b"k", &much],
        &[b"GEO.MSETNX", b"m", b"1", b"n", &much],
        &[b"GEO.MSETEX", b"2", b"m", b"1", b"k", &much],
        &[b"GEO.APPEND", b"k", b"x"],
        &[b"GEO.SETRANGE", b"k", b"1020", b"12345"],
        &[b"GEO.SETBIT", b"k", b"8192", b"1"],
        &[b"GEO.BITFIELD", b"k", b"GET", b"u8", b"0", b"SET", b"u8", b"8190", b"1"],
        &[
            b"GEO.BITFIELD",
            b"k",
            b"OVERFLOW",
            b"SAT",
            b"INCRBY",
            b"i16",
            b"#512",
            b"1",
        ],
        &[b"GEO.BITOP", b"NOT", b"n", b"big"],
        &[b"GEO.SADD", b"s", b"fits", &much],
        &[b"GEO.HSET", b"h", b"f", &much],
        &[b"GEO.HSET", b"h", &much, b"v"],
        &[b"GEO.HSETNX", b"h", b"f", &much],
        &[b"GEO.HINCRBY", b"h", &much, b"1"],
        &[b"GEO.HINCRBYFLOAT", b"h", &much, b"1"],
        &[b"GEO.ZADD", b"z", b"1", b"a", b"2", &much],
        &[b"GEO.ZINCRBY", b"z", b"1", &much],
        &[b"GEO.GEOADD", b"z", b"1", b"1", &much],
        &[b"GEO.RENAME", b"big", b"n"],
        &[b"GEO.COPY", b"big", b"n"],
        &[b"GEO.MOVE", b"big", b"1"],
        &[b"GEO.RESTORE", b"n", b"0", &dump],
        &[b"GEO.RESTORE", b"k", b"0", &dump, b"REPLACE"],
    ];
    for arguments in commands {
        if has(&mut pair.module, &shown(arguments[0])) {
            refused(&mut pair, arguments, "geo.max-value-size");
        }
    }
    assert_eq!(Held::by(&mut pair.module, b"k").value, [fits]);
}
