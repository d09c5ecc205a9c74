//! Every command's effect reaches another region: type, value, deadline.

use crate::held::Held;
use crate::pair::{commands, has};
use crate::plain::{Client, strings, until};
use crate::remote::Regions;

/// What is there before, and the commands. In both `$` stands for a number of its own for each line.
const CASES: &[(&str, &[&str])] = &[
    ("HSET a$ f v", &["EXPIRE a$ 1000", "SET a$ new KEEPTTL"]),
    (
        "SET a$ old",
        &["SET a$ new", "SETNX b$ 1", "SETEX c$ 1000 1", "PSETEX d$ 1000000 text"],
    ),
    ("SET a$ old EX 1000", &["SET a$ new"]),
    ("SET a$ old EX 1000", &["SET a$ new KEEPTTL"]),
    (
        "SET a$ old",
        &["SET a$ new XX PX 500000 GET", "SET b$ 1 EXAT 99999999999"],
    ),
    ("SET a$ old", &["SET a$ new EXAT 1"]),
    ("SET a$ old EX 1000", &["GETSET a$ new"]),
    ("SET a$ old EX 1000", &["GETDEL a$"]),
    ("SET a$ old", &["GETEX a$ EX 1000"]),
    ("SET a$ old EX 1000", &["GETEX a$ PERSIST"]),
    ("SET a$ old EX 1000", &["GETEX a$ PXAT 1"]),
    ("SET a$ old EX 1000", &["MSET a$ new b$ 2", "MSETNX c$ 1 d$ x"]),
    (
        "SET a$ old EX 1000",
        &[
            "MSETEX 2 a$ new b$ 2 PX 500000",
            "MSETEX 2 c$ 1 d$ x NX",
            "MSETEX 1 c$ 2 XX EXAT 1",
        ],
    ),
    ("SET a$ old", &["DELEX a$ IFEQ old", "DELIFEQ a$ old"]),
    ("SET a$ old EX 1000", &["APPEND a$ er", "SETRANGE a$ 1 xx"]),
    (
        "SET a$ 10 EX 1000",
        &[
            "INCR a$",
            "INCRBY a$ 10",
            "DECR a$",
            "DECRBY a$ 3",
            "INCRBYFLOAT a$ 0.1",
        ],
    ),
    (
        "SET a$ abc",
        &[
            "SETBIT a$ 100 1",
            "BITFIELD a$ SET u8 0 66 INCRBY i5 100 1",
            "BITOP NOT b$ a$",
        ],
    ),
    ("PFADD a$ x", &["PFADD a$ 1 2 3", "PFADD b$ 3 4", "PFMERGE c$ a$ b$"]),
    (
        "HSET a$ f 1 g 2 h 3",
        &[
            "HSET a$ f 10 i 4 f 11",
            "HMSET a$ j 5",
            "HSETNX a$ k 6",
            "HDEL a$ g nothing",
        ],
    ),
    (
        "HSET a$ f 1 g 2",
        &[
            "HINCRBY a$ f 5",
            "HINCRBY a$ new 5",
            "HINCRBYFLOAT a$ g 0.1",
            "HINCRBYFLOAT b$ g 1e3",
        ],
    ),
    ("HSET a$ f 1", &["EXPIRE a$ 1000", "HDEL a$ f"]),
    ("HSET a$ f 1 g 2 h 3", &["HGETDEL a$ FIELDS 3 f nothing g"]),
    (
        "SADD a$ 1 2 3",
        &[
            "SADD a$ 4 5",
            "SREM a$ 1",
            "SPOP a$",
            "SPOP a$ 2",
            "SADD b$ x",
            "SMOVE b$ a$ x",
        ],
    ),
    (
        "SADD a$ 1 2 3",
        &[
            "SADD b$ 3 4",
            "SINTERSTORE c$ a$ b$",
            "SUNIONSTORE d$ a$ b$",
            "SDIFFSTORE e$ a$ b$",
        ],
    ),
    (
        "SADD a$ 1 2 3",
        &[
            "SADD b$ 3 4",
            "EXPIRE b$ 1000",
            "SUNIONSTORE b$ a$ a$",
            "SDIFFSTORE b$ a$ a$",
        ],
    ),
    (
        "ZADD a$ 1 a 2 b 3 c",
        &[
            "ZADD a$ 4 d 1 a",
            "ZADD a$ NX 9 a 9 e",
            "ZADD a$ XX CH 9 a 9 f",
            "ZADD a$ GT 1 b 7 c",
        ],
    ),
    (
        "ZADD a$ 1 a 2 b",
        &[
            "ZADD a$ INCR 0.1 a",
            "ZINCRBY a$ 0.2 a",
            "ZINCRBY a$ inf b",
            "ZINCRBY a$ 1 new",
            "ZREM a$ b",
        ],
    ),
    (
        "ZADD a$ 0 a 0 b 0 c 4 d 5 e 6 f",
        &[
            "ZREMRANGEBYLEX a$ - (b",
            "ZREMRANGEBYSCORE a$ (4 5",
            "ZREMRANGEBYRANK a$ -1 -1",
        ],
    ),
    (
        "ZADD a$ 1 a 2 b 3 c 4 d 5 e",
        &[
            "ZPOPMIN a$",
            "ZPOPMAX a$ 1",
            "ZMPOP 2 nothing$ a$ MAX COUNT 2",
            "ZPOPMIN a$ 5",
        ],
    ),
    (
        "ZADD a$ 1 a 2 b 3 c 4 d 5 e",
        &[
            "BZPOPMIN nothing$ a$ 0",
            "BZPOPMAX a$ 0",
            "BZMPOP 0 2 nothing$ a$ MAX COUNT 2",
        ],
    ),
    (
        "ZADD a$ 1 a 2 b 3 c",
        &[
            "ZADD b$ 5 b",
            "ZRANGESTORE c$ a$ 0 1",
            "ZUNIONSTORE d$ 2 a$ b$",
            "ZINTERSTORE e$ 2 a$ b$",
            "ZDIFFSTORE f$ 2 a$ b$",
        ],
    ),
    (
        "ZADD a$ 1 a 2 b 3 c",
        &[
            "ZADD b$ 5 b 6 x",
            "EXPIRE b$ 1000",
            "ZUNIONSTORE b$ 1 a$",
            "ZDIFFSTORE b$ 2 a$ a$",
        ],
    ),
    (
        "GEOADD a$ 13.361389 38.115556 P",
        &[
            "GEOADD a$ 15.087269 37.502669 C",
            "GEOSEARCHSTORE b$ a$ FROMMEMBER P BYRADIUS 500 km",
            "GEORADIUS a$ 15 37 200 km STORE c$",
            "GEORADIUSBYMEMBER a$ P 500 km STOREDIST d$",
        ],
    ),
    ("SET a$ v", &["DEL a$", "SADD a$ x", "UNLINK a$", "SET a$ v"]),
    (
        "HSET a$ f v",
        &[
            "EXPIRE a$ 1000",
            "PEXPIRE a$ 2000000 GT",
            "EXPIREAT a$ 99999999999",
            "PERSIST a$",
            "PEXPIREAT a$ 9999999999999",
        ],
    ),
    ("SET a$ v", &["PEXPIREAT a$ 1"]),
    (
        "HSET a$ f v",
        &[
            "EXPIRE a$ 1000",
            "SET b$ other",
            "RENAME a$ b$",
            "RENAMENX b$ c$",
            "COPY c$ d$",
            "COPY c$ e$ DB 1",
        ],
    ),
    (
        "ZADD a$ 1 a",
        &["SET b$ other EX 100", "COPY a$ b$ REPLACE", "MOVE b$ 1"],
    ),
];

#[test]
fn every_command_reaches_the_other_region() {
    let regions = Regions::start(&[]);
    let (mut eu, mut us) = (regions.eu.client(), regions.us.client());
    let mut seen = vec!["RESTORE", "SORT"];
    for (number, (before, lines)) in CASES.iter().enumerate() {
        let lines: Vec<&str> = lines.iter().copied().filter(|line| has(&mut eu, line)).collect();
        for line in std::iter::once(before).chain(&lines) {
            let line = line.replace('$', &number.to_string());
            write(&mut eu, &line);
            arrives(&mut eu, &mut us, number, &line);
        }
        seen.extend(lines.iter().filter_map(|line| line.split(' ').next()));
    }
    for command in commands(&mut eu) {
        assert!(seen.contains(&command), "{command} has no case");
    }
}

fn write(client: &mut Client, line: &str) {
    let reply = client.text(&format!("GEO.{line}"));
    assert!(!reply.starts_with(b"-"), "{line}: {}", String::from_utf8_lossy(&reply));
}

fn arrives(eu: &mut Client, us: &mut Client, number: usize, line: &str) {
    until(&format!("the other region shows {line}"), || {
        let same = (0..2).all(|database| {
            for client in [&mut *eu, &mut *us] {
                client.text(&format!("SELECT {database}"));
            }
            ["a", "b", "c", "d", "e", "f"].iter().all(|name| {
                let key = format!("{name}{number}");
                Held::by(eu, key.as_bytes()) == Held::by(us, key.as_bytes())
            })
        });
        for client in [&mut *eu, &mut *us] {
            client.text("SELECT 0");
        }
        same.then_some(())
    });
}

/// On Valkey 9, a module's context does not leave the database of a client in a transaction.
#[test]
fn what_a_transaction_does_to_other_databases_reaches_the_other_region() {
    let regions = Regions::start(&[]);
    let (mut eu, mut us) = (regions.eu.client(), regions.us.client());
    for (number, line) in ["COPY a$ b$ DB 1 REPLACE", "MOVE a$ 1", "FLUSHALL"]
        .into_iter()
        .enumerate()
    {
        let numbered = |line: &str| line.replace('$', &number.to_string());
        for (database, line) in [(1, "SADD b$ old"), (1, "SET c$ old"), (0, "SET a$ text")] {
            eu.text(&format!("SELECT {database}"));
            write(&mut eu, &numbered(line));
        }
        arrives(&mut eu, &mut us, number, "what was there");
        eu.text("MULTI");
        write(&mut eu, &numbered(line));
        assert!(eu.text("EXEC").starts_with(b"*1\r\n"));
        arrives(&mut eu, &mut us, number, line);
    }
    eu.text("SELECT 1");
    assert_eq!(eu.text("DBSIZE"), b":0\r\n");
}

/// Where scores differ, the server's own reading and removing commands disagree about ranges of names.
#[test]
fn members_removed_by_name_are_removed_everywhere_whatever_their_scores() {
    let regions = Regions::start(&[]);
    let (mut eu, mut us) = (regions.eu.client(), regions.us.client());
    eu.text("CONFIG SET zset-max-listpack-entries 0");
    let mut removed = 0;
    for number in 0..50 {
        write(&mut eu, &format!("ZADD a{number} -inf 2 -inf n -5 p 0 m 1 a"));
        let reply = eu.text(&format!("GEO.ZREMRANGEBYLEX a{number} [m +"));
        removed += usize::from(reply != b":0\r\n");
    }
    assert!(removed > 0);
    for number in 0..50 {
        arrives(&mut eu, &mut us, number, "ZREMRANGEBYLEX");
    }
}

#[test]
fn restored_keys_reach_the_other_region() {
    let regions = Regions::start(&[]);
    let (mut eu, mut us) = (regions.eu.client(), regions.us.client());
    let sources = ["SET s text", "HSET s f v", "ZADD s 1.5 m", "SADD s a 1"];
    for (number, line) in sources.into_iter().enumerate() {
        write(&mut eu, "DEL s");
        write(&mut eu, line);
        let dump = strings(&eu.text("DUMP s")).remove(0);
        let key = format!("a{number}");
        for (deadline, option) in [(&b"0"[..], &b"REPLACE"[..]), (b"1000000", b"REPLACE")] {
            let reply = eu.command(&[b"GEO.RESTORE", key.as_bytes(), deadline, &dump, option]);
            assert_eq!(reply, b"+OK\r\n");
            arrives(&mut eu, &mut us, number, line);
        }
        // In the past, it removes the key.
        let reply = eu.command(&[b"GEO.RESTORE", key.as_bytes(), b"1", &dump, b"REPLACE", b"ABSTTL"]);
        assert_eq!(reply, b"+OK\r\n");
        arrives(&mut eu, &mut us, number, "RESTORE in the past");
    }
}

/// More members than one operation tells.
#[test]
fn large_values_reach_the_other_region() {
    let regions = Regions::start(&[]);
    let (mut eu, mut us) = (regions.eu.client(), regions.us.client());
    for (kind, add) in [("z", "ZADD"), ("h", "HSET")] {
        let pairs: String = (0..3000).map(|n| format!(" {n} {n}")).collect();
        write(&mut eu, &format!("{add} {kind}{pairs}"));
        write(&mut eu, &format!("EXPIRE {kind} 1000"));
        write(&mut eu, &format!("RENAME {kind} a{kind}"));
        let key = format!("a{kind}");
        until("all members are there", || {
            let (one, other) = (Held::by(&mut eu, key.as_bytes()), Held::by(&mut us, key.as_bytes()));
            (one == other).then_some(())
        });
        assert_eq!(us.text(&format!("EXISTS {kind}")), b":0\r\n");
    }
    write(&mut eu, "ZREMRANGEBYSCORE az 10 2999");
    until("most members are gone", || {
        (us.text("ZCARD az") == b":10\r\n").then_some(())
    });
}
