//! The acts of each table.

use redis_geo::crdt::{Element, Kind, NEVER, Score, Value};

use super::acts::{Act, Claim, Client, EXPIRY, LONGER};

pub fn score(score: f64) -> Value<'static> {
    Value::Score(Score::new(score).expect("a number"))
}

const fn act(says: [&'static str; 2], claim: Claim, does: fn(&mut Client<'_>, usize)) -> Act {
    Act { says, claim, does }
}

pub const F: Element<'static> = Element {
    kind: Kind::Hash,
    name: b"f",
};
pub const M: Element<'static> = Element {
    kind: Kind::Zset,
    name: b"m",
};

const DEL: Act = act(["DEL"; 2], Claim::Nothing, |c, _| c.delete());
const EXPIRE: Act = act(["EXPIRE 2000"; 2], Claim::Nothing, |c, _| {
    c.expire(c.now + LONGER * 1000)
});
const EXPIRES: Act = act([EXPIRY; 2], Claim::Nothing, |_, _| {});
const RENAME: Act = act(["RENAME to other"; 2], Claim::Nothing, |c, _| c.rename(1));
/// To what is no string.
const OTHER: Act = act(["DEL, SET 20", "DEL, SET 30"], Claim::Type, |c, at| {
    c.delete();
    c.set(["20", "30"][at]);
});

pub const STRINGS: &[Act] = &[
    act(["SET 20", "SET 30"], Claim::Value, |c, at| c.set(["20", "30"][at])),
    act(["SET 21 EX 1500", "SET 31 EX 1500"], Claim::Value, |c, at| {
        c.set_ex(["21", "31"][at])
    }),
    DEL,
    act(["INCRBY 1", "INCRBY 2"], Claim::Count, |c, at| {
        c.add(Element::STRING, [1, 2][at])
    }),
    act(["APPEND 5", "APPEND 7"], Claim::Value, |c, at| c.append(["5", "7"][at])),
    EXPIRE,
    act(["EXPIRE 500"; 2], Claim::Nothing, |c, _| c.expire_sooner()),
    act(["PERSIST"; 2], Claim::Nothing, |c, _| c.expire(NEVER)),
    EXPIRES,
    RENAME,
    act(["DEL, SADD a", "DEL, SADD b"], Claim::Apart, |c, at| {
        c.delete();
        c.members(&[["a", "b"][at]]);
    }),
];

pub const HASHES: &[Act] = &[
    act(["HSET f 20", "HSET f 30"], Claim::Value, |c, at| {
        c.put(F, Value::Bytes([b"20", b"30"][at]))
    }),
    act(["HDEL f"; 2], Claim::Nothing, |c, _| c.remove(Kind::Hash, "f")),
    act(["HINCRBY f 1", "HINCRBY f 2"], Claim::Count, |c, at| {
        c.add(F, [1, 2][at])
    }),
    DEL,
    EXPIRE,
    EXPIRES,
    RENAME,
    OTHER,
];

pub const SETS: &[Act] = &[
    act(["SADD m"; 2], Claim::Apart, |c, _| c.members(&["m"])),
    act(["SADD x", "SADD y"], Claim::Apart, |c, at| c.members(&[["x", "y"][at]])),
    act(["SREM m"; 2], Claim::Nothing, |c, _| c.remove(Kind::Set, "m")),
    DEL,
    EXPIRE,
    EXPIRES,
    RENAME,
    OTHER,
];

pub const ZSETS: &[Act] = &[
    act(["ZADD 20 m", "ZADD 30 m"], Claim::Apart, |c, at| {
        c.put(M, score([20.0, 30.0][at]))
    }),
    act(["ZADD 5 m", "ZADD 3 m"], Claim::Apart, |c, at| {
        c.put(M, score([5.0, 3.0][at]))
    }),
    act(["ZINCRBY 1 m", "ZINCRBY 2 m"], Claim::Apart, |c, at| {
        c.add(M, [1, 2][at])
    }),
    act(["ZREM m"; 2], Claim::Nothing, |c, _| c.remove(Kind::Zset, "m")),
    DEL,
    EXPIRE,
    EXPIRES,
    RENAME,
    OTHER,
];

pub const SKETCHES: &[Act] = &[
    act(["PFADD a", "PFADD b"], Claim::Apart, |c, at| c.count(1 + at)),
    act(["SET 20", "SET 30"], Claim::Value, |c, at| c.set(["20", "30"][at])),
    DEL,
];

/// Pairs of acts on a string that show what is given up.
pub const ODD_STRINGS: &[Act] = &[
    act(["SETBIT 7 0", "SETBIT 4 1"], Claim::Value, |c, at| {
        c.assign(["00", "90"][at])
    }),
    act(["SETRANGE 0 5", "SETRANGE 1 7"], Claim::Value, |c, at| {
        c.assign(["50", "17"][at])
    }),
    act(["DEL, SET 20 NX", "DEL, SET 30 NX"], Claim::Value, |c, at| {
        c.delete();
        c.set(["20", "30"][at]);
    }),
    act(["DECRBY 8", "DECRBY 7"], Claim::Nothing, |c, at| {
        c.add(Element::STRING, [-8, -7][at])
    }),
    act(["INCRBY 1", "SET text"], Claim::Nothing, |c, at| match at {
        0 => c.add(Element::STRING, 1),
        _ => c.set("text"),
    }),
    act(["RENAME to other", "RENAME to another"], Claim::Nothing, |c, at| {
        c.rename(1 + at)
    }),
];

pub const ODD_SETS: &[Act] = &[
    act(["SPOP gives m"; 2], Claim::Nothing, |c, _| c.remove(Kind::Set, "m")),
    act(["SMOVE m to other", "SMOVE m to another"], Claim::Nothing, |c, at| {
        c.move_member("m", 1 + at)
    }),
];
