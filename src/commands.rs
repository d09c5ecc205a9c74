//! THE table of commands: one row each. Registration, key specs, `COMMAND DOCS`, ACL categories and
//! `docs/commands.md` derive from it.

mod args;
mod counters;
mod docs;
mod internal;
mod keys;
pub mod native;
mod reports;
mod sets;
mod shared;
mod strings;

use std::ffi::c_int;

use redis_module::raw;
use redis_module::raw::{
    REDISMODULE_CMD_KEY_ACCESS as ACCESS, REDISMODULE_CMD_KEY_DELETE as DELETE, REDISMODULE_CMD_KEY_INSERT as INSERT,
    REDISMODULE_CMD_KEY_OW as OW, REDISMODULE_CMD_KEY_RM as RM, REDISMODULE_CMD_KEY_RO as RO,
    REDISMODULE_CMD_KEY_RW as RW, REDISMODULE_CMD_KEY_UPDATE as UPDATE,
};

use crate::redis::guard::entry;
pub use args::{Arg, ArgKind};

/// A command. The native command of the same name without `geo.` decides syntax, replies and errors.
pub struct Row {
    pub name: &'static str,
    /// As the server counts: the name included, negative for "at least".
    pub arity: c_int,
    /// Flags of `RM_CreateCommand`.
    pub flags: &'static str,
    /// ACL categories, where the server lets modules set them.
    pub categories: &'static str,
    pub keys: &'static [Keys],
    pub args: &'static [Arg],
    pub summary: &'static str,
    pub complexity: &'static str,
    /// Hints to clients.
    pub tips: &'static str,
    /// How concurrent uses in several regions merge.
    pub merge: &'static str,
    pub entry: Entry,
}

pub type Entry = unsafe extern "C" fn(*mut raw::RedisModuleCtx, *mut *mut raw::RedisModuleString, c_int) -> c_int;

/// Where keys are among the arguments; `last` is relative to `first`, or counted from the end when negative.
pub struct Keys {
    pub first: c_int,
    pub last: c_int,
    pub step: c_int,
    pub flags: u32,
}

/// What the names of our commands begin with.
pub const PREFIX: &str = "geo.";

impl Row {
    /// The native command of the same name; it is one when the server has it.
    pub fn native(&self) -> Option<&'static str> {
        self.name.strip_prefix(PREFIX)
    }

    /// First key, last key and step, as servers without key specs want them.
    pub fn key_range(&self) -> (c_int, c_int, c_int) {
        match self.keys {
            [] => (0, 0, 0),
            [one] if one.last < 0 => (one.first, one.last, one.step),
            [first, ..] => (first.first, self.keys[self.keys.len() - 1].first, 1),
        }
    }
}

const fn one(flags: u32) -> Keys {
    Keys {
        first: 1,
        last: 0,
        step: 1,
        flags,
    }
}

const fn second(flags: u32) -> Keys {
    Keys {
        first: 2,
        last: 0,
        step: 1,
        flags,
    }
}

const fn all(step: c_int, flags: u32) -> Keys {
    Keys {
        first: 1,
        last: -1,
        step,
        flags,
    }
}

const FAST: &str = "write fast";
const FAST_GROWING: &str = "write deny-oom fast";
const GROWING: &str = "write deny-oom";

const ASSIGN: &str = "Concurrent assignments: the latest is shown, the others stay as siblings until overwritten.";
const COUNT: &str = "Concurrent increments all count, each exactly once.";
const ADD: &str = "A member stays when it is added concurrently with its removal.";
const REMOVE: &str = "Removes the additions it has seen; a concurrent addition survives.";
const CLEAR: &str = "Removes what it has seen; concurrent writes to the key survive.";

const INTERNAL: &str = "None: it is refused from clients.";

pub static TABLE: &[Row] = &[
    Row {
        name: "geo.set",
        arity: -3,
        flags: GROWING,
        categories: "write string slow",
        // Native SET also has VARIABLE_FLAGS. With them servers take a module's key spec as no key at all, and
        // ACL key patterns would not apply.
        keys: &[one(RW | ACCESS | UPDATE)],
        args: args::SET,
        summary: "Set the string value of a key in all regions",
        complexity: "O(1)",
        tips: "",
        merge: ASSIGN,
        entry: entry!(strings::set),
    },
    Row {
        name: "geo.setnx",
        arity: 3,
        flags: FAST_GROWING,
        categories: "write string fast",
        keys: &[one(OW | INSERT)],
        args: args::KEY_VALUE,
        summary: "Set the value of a key in all regions, only if this region has no such key",
        complexity: "O(1)",
        tips: "",
        merge: ASSIGN,
        entry: entry!(strings::setnx),
    },
    Row {
        name: "geo.getset",
        arity: 3,
        flags: FAST_GROWING,
        categories: "write string fast",
        keys: &[one(RW | ACCESS | UPDATE)],
        args: args::KEY_VALUE,
        summary: "Set the string value of a key in all regions and return its old value here",
        complexity: "O(1)",
        tips: "",
        merge: ASSIGN,
        entry: entry!(strings::getset),
    },
    Row {
        name: "geo.getdel",
        arity: 2,
        flags: FAST,
        categories: "write string fast",
        keys: &[one(RW | ACCESS | DELETE)],
        args: args::KEY,
        summary: "Get the value of a key and delete the key in all regions",
        complexity: "O(1)",
        tips: "",
        merge: CLEAR,
        entry: entry!(strings::getdel),
    },
    Row {
        name: "geo.mset",
        arity: -3,
        flags: GROWING,
        categories: "write string slow",
        keys: &[all(2, OW | UPDATE)],
        args: args::KEY_VALUES,
        summary: "Set multiple keys to multiple values in all regions",
        complexity: "O(N) where N is the number of keys to set.",
        tips: "request_policy:multi_shard response_policy:all_succeeded",
        merge: ASSIGN,
        entry: entry!(strings::mset),
    },
    Row {
        name: "geo.msetnx",
        arity: -3,
        flags: GROWING,
        categories: "write string slow",
        keys: &[all(2, OW | INSERT)],
        args: args::KEY_VALUES,
        summary: "Set multiple keys to multiple values in all regions, only if this region has none of the keys",
        complexity: "O(N) where N is the number of keys to set.",
        // Redis 7 says that a cluster may split it, and newer servers no longer do: it would not be all or nothing.
        tips: "",
        merge: ASSIGN,
        entry: entry!(strings::msetnx),
    },
    Row {
        name: "geo.append",
        arity: 3,
        flags: FAST_GROWING,
        categories: "write string fast",
        keys: &[one(RW | INSERT)],
        args: args::KEY_VALUE,
        summary: "Append a value to a key and assign the result in all regions",
        complexity: "O(N) where N is the length of the resulting string: all of it is replicated.",
        tips: "",
        merge: ASSIGN,
        entry: entry!(strings::append),
    },
    Row {
        name: "geo.setrange",
        arity: 4,
        flags: GROWING,
        categories: "write string slow",
        keys: &[one(RW | UPDATE)],
        args: args::KEY_OFFSET_VALUE,
        summary: "Overwrite part of a string at an offset and assign the result in all regions",
        complexity: "O(N) where N is the length of the resulting string: all of it is replicated.",
        tips: "",
        merge: ASSIGN,
        entry: entry!(strings::setrange),
    },
    Row {
        name: "geo.setbit",
        arity: 4,
        flags: GROWING,
        categories: "write bitmap slow",
        keys: &[one(RW | ACCESS | UPDATE)],
        args: args::KEY_OFFSET_BIT,
        summary: "Set or clear the bit at an offset and assign the resulting string in all regions",
        complexity: "O(N) where N is the length of the resulting string: all of it is replicated.",
        tips: "",
        merge: ASSIGN,
        entry: entry!(strings::setbit),
    },
    Row {
        name: "geo.incr",
        arity: 2,
        flags: FAST_GROWING,
        categories: "write string fast",
        keys: &[one(RW | ACCESS | UPDATE)],
        args: args::KEY,
        summary: "Increment the integer value of a key by one in all regions",
        complexity: "O(1)",
        tips: "",
        merge: COUNT,
        entry: entry!(counters::incr),
    },
    Row {
        name: "geo.decr",
        arity: 2,
        flags: FAST_GROWING,
        categories: "write string fast",
        keys: &[one(RW | ACCESS | UPDATE)],
        args: args::KEY,
        summary: "Decrement the integer value of a key by one in all regions",
        complexity: "O(1)",
        tips: "",
        merge: COUNT,
        entry: entry!(counters::decr),
    },
    Row {
        name: "geo.incrby",
        arity: 3,
        flags: FAST_GROWING,
        categories: "write string fast",
        keys: &[one(RW | ACCESS | UPDATE)],
        args: args::KEY_INCREMENT,
        summary: "Increment the integer value of a key by the given amount in all regions",
        complexity: "O(1)",
        tips: "",
        merge: COUNT,
        entry: entry!(counters::incrby),
    },
    Row {
        name: "geo.decrby",
        arity: 3,
        flags: FAST_GROWING,
        categories: "write string fast",
        keys: &[one(RW | ACCESS | UPDATE)],
        args: args::KEY_DECREMENT,
        summary: "Decrement the integer value of a key by the given number in all regions",
        complexity: "O(1)",
        tips: "",
        merge: COUNT,
        entry: entry!(counters::decrby),
    },
    Row {
        name: "geo.incrbyfloat",
        arity: 3,
        flags: FAST_GROWING,
        categories: "write string fast",
        keys: &[one(RW | ACCESS | UPDATE)],
        args: args::KEY_FLOAT,
        summary: "Increment the float value of a key by the given amount in all regions",
        complexity: "O(1)",
        tips: "",
        merge: COUNT,
        entry: entry!(counters::incrbyfloat),
    },
    Row {
        name: "geo.sadd",
        arity: -3,
        flags: FAST_GROWING,
        categories: "write set fast",
        keys: &[one(RW | INSERT)],
        args: args::KEY_MEMBERS,
        summary: "Add one or more members to a set in all regions",
        complexity: "O(1) for each element added, so O(N) to add N elements when the command is called with multiple \
                     arguments.",
        tips: "",
        merge: ADD,
        entry: entry!(sets::sadd),
    },
    Row {
        name: "geo.srem",
        arity: -3,
        flags: FAST,
        categories: "write set fast",
        keys: &[one(RW | DELETE)],
        args: args::KEY_MEMBERS,
        summary: "Remove one or more members from a set in all regions",
        complexity: "O(N) where N is the number of members to be removed.",
        tips: "",
        merge: REMOVE,
        entry: entry!(sets::srem),
    },
    Row {
        name: "geo.spop",
        arity: -2,
        flags: FAST,
        categories: "write set fast",
        keys: &[one(RW | ACCESS | DELETE)],
        args: args::KEY_COUNT,
        summary: "Remove and return one or multiple random members from a set, in all regions the same ones",
        complexity: "Without the count argument O(1), otherwise O(N) where N is the value of the passed count.",
        tips: "nondeterministic_output",
        merge: "Two regions may pop the same member concurrently; each removal counts once.",
        entry: entry!(sets::spop),
    },
    Row {
        name: "geo.smove",
        arity: 4,
        flags: FAST,
        categories: "write set fast",
        keys: &[one(RW | ACCESS | DELETE), second(RW | INSERT)],
        args: args::MOVE,
        summary: "Move a member from one set to another in all regions",
        complexity: "O(1)",
        tips: "",
        merge: "A removal at the source and an addition at the destination, each merged on its own.",
        entry: entry!(sets::smove),
    },
    Row {
        name: "geo.del",
        arity: -2,
        flags: "write",
        categories: "write keyspace slow",
        keys: &[all(1, RM | DELETE)],
        args: args::KEYS,
        summary: "Delete keys in all regions",
        complexity: "O(N) where N is the number of keys that will be removed. When a key to remove holds a value \
                     other than a string, the individual complexity for this key is O(M) where M is the number of \
                     elements in it.",
        tips: "request_policy:multi_shard response_policy:agg_sum",
        merge: CLEAR,
        entry: entry!(keys::del),
    },
    Row {
        name: "geo.unlink",
        arity: -2,
        flags: FAST,
        categories: "write keyspace fast",
        keys: &[all(1, RM | DELETE)],
        args: args::KEYS,
        summary: "Delete keys in all regions; memory is reclaimed in another thread",
        complexity: "O(1) for each key removed regardless of its size.",
        tips: "request_policy:multi_shard response_policy:agg_sum",
        merge: CLEAR,
        entry: entry!(keys::unlink),
    },
    Row {
        name: "geo.status",
        arity: 1,
        flags: "readonly fast",
        categories: "read admin fast",
        keys: &[],
        args: &[],
        summary: "Show this region, its peers and what they have not yet seen",
        complexity: "O(N) where N is the number of peers.",
        tips: "nondeterministic_output",
        merge: "",
        entry: entry!(reports::status),
    },
    Row {
        name: "geo.inspect",
        arity: 2,
        flags: "readonly",
        categories: "read slow",
        keys: &[one(RO | ACCESS)],
        args: args::KEY,
        summary: "Show the replication metadata of one key",
        complexity: "O(N) where N is the number of elements with metadata.",
        tips: "nondeterministic_output",
        merge: "",
        entry: entry!(reports::inspect),
    },
    Row {
        name: "geo.recover",
        arity: 1,
        flags: "write admin",
        categories: "write admin dangerous slow",
        keys: &[],
        args: &[],
        summary: "Let a recovering region go on alone, with the data it has, when no peer will come to recover from",
        complexity: "O(1)",
        tips: "",
        merge: "What this region has and what its peers have is merged when they meet.",
        entry: entry!(internal::recover),
    },
    Row {
        name: "geo.refused",
        arity: -1,
        flags: "readonly fast",
        categories: "read fast",
        keys: &[],
        args: args::ANY,
        summary: "Internal: what commands become that are refused",
        complexity: "O(1)",
        tips: "",
        merge: "",
        entry: entry!(internal::refused),
    },
    Row {
        name: "geo.apply",
        arity: 2,
        flags: "write admin no-slowlog",
        categories: "write admin dangerous slow",
        keys: &[],
        args: args::ENTRIES,
        summary: "Internal: what a primary sends to its replicas and to its append-only file",
        complexity: "O(N) where N is the number of elements changed.",
        tips: "",
        merge: INTERNAL,
        entry: entry!(internal::apply),
    },
    Row {
        name: "geo.state",
        arity: -2,
        flags: "write admin no-slowlog",
        categories: "write admin dangerous slow",
        keys: &[],
        args: args::STATE,
        summary: "Internal: a piece of the region's state in the append-only file, or who wrote the file",
        complexity: "O(N) where N is the number of cells in the piece.",
        tips: "",
        merge: INTERNAL,
        entry: entry!(internal::state),
    },
];
