//! THE table of commands: one row each. Registration, key specs, `COMMAND DOCS`, ACL categories and
//! `docs/commands.md` derive from it, and for native commands from what the server says of them.

mod args;
mod counters;
mod deadlines;
mod docs;
mod elements;
mod fields;
mod hashes;
mod internal;
mod keys;
pub mod native;
mod pairs;
mod pops;
mod reports;
mod scores;
mod sets;
mod shared;
mod stores;
mod strings;
mod sweeps;

use std::ffi::{CStr, c_int};

use redis_module::raw;

use crate::crdt::Kind;
use crate::redis::guard::{Command, entry};
use crate::redis::reply::{Refusal, Reply};
pub use args::Arg;

/// A command.
pub struct Row {
    pub name: &'static str,
    pub source: Source,
    /// How concurrent uses in several regions merge.
    pub merge: &'static str,
    pub entry: Entry,
}

/// Where arity, flags, keys and documentation come from.
pub enum Source {
    /// The native command of the same name without `geo.`, which decides syntax, replies and errors. On a server
    /// that does not have it there is no such row.
    Native,
    Own(Own),
}

pub struct Own {
    /// As the server counts: the name included, negative for "at least".
    pub arity: c_int,
    /// Flags of `RM_CreateCommand`.
    pub flags: &'static str,
    /// ACL categories, where the server lets modules set them.
    pub categories: &'static str,
    pub args: &'static [Arg],
    pub summary: &'static str,
    pub complexity: &'static str,
    /// Hints to clients.
    pub tips: &'static str,
}

pub type Entry = unsafe extern "C" fn(*mut raw::RedisModuleCtx, *mut *mut raw::RedisModuleString, c_int) -> c_int;

/// What the names of our commands begin with.
pub const PREFIX: &str = "geo.";

impl Row {
    /// The native command of the same name; it is one when the server has it.
    pub fn native(&self) -> Option<&'static str> {
        self.name.strip_prefix(PREFIX)
    }
}

/// A native command: its name, what runs and records it, how it merges.
macro_rules! native {
    ($name:literal, $handler:path $(, $argument:expr)*; $merge:expr) => {{
        fn handle(command: &Command<'_>) -> Result<Reply, Refusal> {
            const NAME: &CStr = c_name(concat!($name, "\0"));
            $handler(command, NAME $(, $argument)*)
        }
        Row {
            name: concat!("geo.", $name),
            source: Source::Native,
            merge: $merge,
            entry: entry!(handle),
        }
    }};
}

const fn c_name(text: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(name) => name,
        Err(_) => c"",
    }
}

const ASSIGN: &str = "Concurrent assignments: the latest is shown, the others stay as siblings until overwritten.";
const WHOLE: &str = "Assigns the whole resulting string; concurrent assignments: the latest is shown.";
const UNITE: &str = "Assigns the whole HyperLogLog; concurrent ones are united.";
const COUNT: &str = "Concurrent increments all count, each exactly once.";
const ADD: &str = "A member stays when it is added concurrently with its removal.";
const FIELD: &str =
    "Each field merges by itself, as a string does; it stays when it is set concurrently with its removal.";
const SCORE: &str = "Of concurrent scores of a member the highest is shown (geo.zset-merge); it stays when it is added concurrently with its \
                     removal.";
const REMOVE: &str = "Removes the additions it has seen; a concurrent addition survives.";
const POP: &str = "Two regions may pop the same member concurrently; each removal counts once.";
const SHIFT: &str = "A removal at the source and an addition at the destination, each merged on its own.";
const CLEAR: &str = "Removes what it has seen; concurrent writes to the key survive.";
const STORE: &str =
    "Removes what it has seen of the destination and writes the result there; concurrent writes to it survive.";
const RENAME: &str = "Removes what it has seen of both keys and writes the value anew; concurrent writes to either survive under the \
                      name that they were made to.";
const DEADLINE: &str = "Of concurrent deadlines the latest is kept; to persist is later than any.";
const NOTHING: &str = "Writes nothing: with STORE it is refused, because the result would be a list.";
const INTERNAL: &str = "None: it is refused from clients.";

pub static TABLE: &[Row] = &[
    // Strings.
    native!("set", strings::set; ASSIGN),
    native!("setnx", strings::setnx; ASSIGN),
    native!("setex", strings::assign_argument, 3; ASSIGN),
    native!("psetex", strings::assign_argument, 3; ASSIGN),
    native!("getset", strings::getset; ASSIGN),
    native!("getdel", strings::getdel; CLEAR),
    native!("getex", deadlines::getex; DEADLINE),
    native!("mset", pairs::mset; ASSIGN),
    native!("msetnx", pairs::msetnx; ASSIGN),
    native!("msetex", pairs::msetex; ASSIGN),
    native!("append", strings::append; WHOLE),
    native!("setrange", strings::setrange; WHOLE),
    native!("incr", counters::add, 1; COUNT),
    native!("decr", counters::add, -1; COUNT),
    native!("incrby", counters::add, 1; COUNT),
    native!("decrby", counters::add, -1; COUNT),
    native!("incrbyfloat", counters::add_float; COUNT),
    native!("delex", keys::remove_one; CLEAR),
    native!("delifeq", keys::remove_one; CLEAR),
    // Bitmaps and HyperLogLogs.
    native!("setbit", strings::setbit; WHOLE),
    native!("bitfield", strings::bitfield; WHOLE),
    native!("bitop", stores::bitop; STORE),
    native!("pfadd", strings::sketch; UNITE),
    native!("pfmerge", strings::sketch; UNITE),
    // Hashes.
    native!("hset", hashes::set, false; FIELD),
    native!("hmset", hashes::set, false; FIELD),
    native!("hsetnx", hashes::set, true; FIELD),
    native!("hdel", elements::remove, Kind::Hash, 2; REMOVE),
    native!("hgetdel", elements::remove, Kind::Hash, 4; REMOVE),
    native!("hincrby", counters::add_to_field; COUNT),
    native!("hincrbyfloat", counters::add_float; COUNT),
    // Sets.
    native!("sadd", sets::add; ADD),
    native!("srem", elements::remove, Kind::Set, 2; REMOVE),
    native!("spop", sets::pop; POP),
    native!("smove", sets::shift; SHIFT),
    native!("sinterstore", stores::store, 1; STORE),
    native!("sunionstore", stores::store, 1; STORE),
    native!("sdiffstore", stores::store, 1; STORE),
    // Sorted sets.
    native!("zadd", scores::add, 2; SCORE),
    native!("zincrby", scores::increment; COUNT),
    native!("zrem", elements::remove, Kind::Zset, 2; REMOVE),
    native!("zremrangebyscore", elements::remove_range, c"ZRANGEBYSCORE"; REMOVE),
    native!("zremrangebylex", elements::remove_lex_range; REMOVE),
    native!("zremrangebyrank", elements::remove_range, c"ZRANGE"; REMOVE),
    native!("zpopmin", pops::pop; POP),
    native!("zpopmax", pops::pop; POP),
    native!("zmpop", pops::pop_from_one; POP),
    native!("bzpopmin", pops::pop_or_wait, false; POP),
    native!("bzpopmax", pops::pop_or_wait, false; POP),
    native!("bzmpop", pops::pop_or_wait, true; POP),
    native!("zrangestore", stores::store, 1; STORE),
    native!("zinterstore", stores::store, 1; STORE),
    native!("zunionstore", stores::store, 1; STORE),
    native!("zdiffstore", stores::store, 1; STORE),
    native!("geoadd", scores::add, 3; SCORE),
    native!("geosearchstore", stores::store, 1; STORE),
    native!("georadius", stores::search, 6; STORE),
    native!("georadiusbymember", stores::search, 5; STORE),
    // Keys.
    native!("del", keys::remove; CLEAR),
    native!("unlink", keys::remove; CLEAR),
    native!("expire", deadlines::expire; DEADLINE),
    native!("pexpire", deadlines::expire; DEADLINE),
    native!("expireat", deadlines::expire; DEADLINE),
    native!("pexpireat", deadlines::expire; DEADLINE),
    native!("persist", deadlines::expire; DEADLINE),
    native!("rename", keys::rename; RENAME),
    native!("renamenx", keys::rename; RENAME),
    native!("move", keys::shift; RENAME),
    native!("flushall", sweeps::flush, false; CLEAR),
    native!("flushdb", sweeps::flush, true; CLEAR),
    native!("copy", keys::copy; STORE),
    native!("restore", keys::restore; STORE),
    native!("sort", keys::sort; NOTHING),
    // Our own.
    Row {
        name: "geo.status",
        source: Source::Own(Own {
            arity: 1,
            flags: "readonly fast",
            categories: "read admin fast",
            args: &[],
            summary: "Show this region, its peers and what they have not yet seen",
            complexity: "O(N) where N is the number of peers.",
            tips: "nondeterministic_output",
        }),
        merge: "",
        entry: entry!(reports::status),
    },
    Row {
        name: "geo.inspect",
        source: Source::Own(Own {
            arity: 2,
            flags: "readonly",
            categories: "read slow",
            args: args::KEY,
            summary: "Show the replication metadata of one key",
            complexity: "O(N) where N is the number of elements with metadata.",
            tips: "nondeterministic_output",
        }),
        merge: "",
        entry: entry!(reports::inspect),
    },
    Row {
        name: "geo.purge",
        source: Source::Own(Own {
            arity: -2,
            flags: "write admin",
            categories: "keyspace write slow dangerous",
            args: args::PATTERN_COUNT,
            summary: "Remove the keys of the selected database that match a pattern in all regions, little by little",
            complexity: "O(1) for the call; then O(N) where N is the number of keys in the database, in slices between \
                         commands.",
            tips: "",
        }),
        merge: "Removes, of the keys in geo.keys, what this region had seen when it was called; what is written later, or \
                concurrently, survives. A counter that is incremented later keeps its whole number. One runs at a time, and \
                GEO.STATUS shows how far it is; what this region acknowledges to the others waits for its end. A restart, a \
                failover and a state that is given up end it early: call it again.",
        entry: entry!(sweeps::purge),
    },
    Row {
        name: "geo.adopt",
        source: Source::Own(Own {
            arity: -2,
            flags: "write admin",
            categories: "keyspace write slow dangerous",
            args: args::PATTERN_COUNT,
            summary: "Replicate the keys of the selected database that match a pattern and have not been replicated, little \
                      by little",
            complexity: "O(1) for the call; then O(N) where N is the number of elements of these keys, in slices between \
                         commands, each key at once.",
            tips: "",
        }),
        merge: "Writes each key anew as a whole, where the metadata does not show it: what this region had seen of it is \
                replaced, what is written concurrently survives.",
        entry: entry!(sweeps::adopt),
    },
    Row {
        name: "geo.recover",
        source: Source::Own(Own {
            arity: 1,
            flags: "write admin",
            categories: "admin dangerous slow",
            args: &[],
            summary: "Let a recovering region go on alone, with the data it has, when no peer will come to recover from",
            complexity: "O(1)",
            tips: "",
        }),
        merge: "What this region has and what its peers have is merged when they meet.",
        entry: entry!(internal::recover),
    },
    Row {
        name: "geo.detach",
        source: Source::Own(Own {
            arity: 2,
            flags: "write admin deny-script",
            categories: "admin dangerous slow",
            args: args::REGION,
            summary: "Take this region, whose name confirms it, out of its cluster for good: metadata is dropped, values stay",
            complexity: "O(N) where N is the number of cells in the index.",
            tips: "",
        }),
        merge: "None: the other regions keep what they have, and wait for this one's acknowledgements.",
        entry: entry!(internal::detach),
    },
    Row {
        name: "geo.refused",
        source: Source::Own(Own {
            arity: -1,
            flags: "readonly fast",
            categories: "read fast",
            args: args::ANY,
            summary: "Internal: what commands become that are refused",
            complexity: "O(1)",
            tips: "",
        }),
        merge: "",
        entry: entry!(internal::refused),
    },
    Row {
        name: "geo.apply",
        source: Source::Own(Own {
            arity: 2,
            flags: "write admin no-slowlog",
            categories: "admin dangerous slow",
            args: args::ENTRIES,
            summary: "Internal: what a primary sends to its replicas and to its append-only file",
            complexity: "O(N) where N is the number of elements changed.",
            tips: "",
        }),
        merge: INTERNAL,
        entry: entry!(internal::apply),
    },
    Row {
        name: "geo.state",
        source: Source::Own(Own {
            arity: -2,
            flags: "write admin no-slowlog",
            categories: "admin dangerous slow",
            args: args::STATE,
            summary: "Internal: a piece of the region's state in the append-only file, or who wrote the file",
            complexity: "O(N) where N is the number of cells in the piece.",
            tips: "",
        }),
        merge: INTERNAL,
        entry: entry!(internal::state),
    },
];
