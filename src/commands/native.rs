//! Native write commands that have no row in the table, and why. One that is in neither list is refused on keys in
//! `geo.keys`: never silently local.

pub struct Exception {
    /// Lower case; `xgroup|create` for a subcommand.
    pub name: &'static str,
    pub class: Class,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Class {
    /// Refused on keys in `geo.keys`, or always when it names no keys. Why, and what to use.
    Refused(&'static str),
    /// Left to the server, in this region only. Why.
    LocalOnly(&'static str),
}

pub const UNKNOWN: &str = "this version of redis-geo does not merge it; use a key outside geo.keys";

const LIST: &str = "regions cannot merge lists; use a set or a sorted set, or a key outside geo.keys";
const STREAM: &str = "regions cannot merge streams; use a sorted set, or a key outside geo.keys";
const FIELD: &str = "regions cannot merge the deadlines of single fields; give the key a deadline";
const VECTORS: &str = "regions cannot merge vector sets; use a key outside geo.keys";
const SWAP: &str = "it would exchange the databases in this region only; copy the keys";
const MOVED: &str = "it would remove the key in this region only; use DUMP and RESTORE, then DEL";
const SLOTS: &str = "it belongs to the moving of a cluster's slots; use RESTORE";
const DEBUGGING: &str = "it debugs the server and changes the value in this region only";
const NODES: &str = "only nodes of a cluster run it, and redis-geo does not serve those yet";
const CACHES: &str = "it is a read, which may store the count beside the registers in this region";
const CODE: &str = "functions are code, which is loaded in each region";

const fn refused(name: &'static str, why: &'static str) -> Exception {
    Exception {
        name,
        class: Class::Refused(why),
    }
}

const fn local(name: &'static str, why: &'static str) -> Exception {
    Exception {
        name,
        class: Class::LocalOnly(why),
    }
}

pub static EXCEPTIONS: &[Exception] = &[
    refused("lpush", LIST),
    refused("rpush", LIST),
    refused("lpushx", LIST),
    refused("rpushx", LIST),
    refused("linsert", LIST),
    refused("lset", LIST),
    refused("lrem", LIST),
    refused("ltrim", LIST),
    refused("lpop", LIST),
    refused("rpop", LIST),
    refused("lmpop", LIST),
    refused("lmove", LIST),
    refused("rpoplpush", LIST),
    refused("blpop", LIST),
    refused("brpop", LIST),
    refused("blmpop", LIST),
    refused("blmove", LIST),
    refused("brpoplpush", LIST),
    refused("xadd", STREAM),
    refused("xdel", STREAM),
    refused("xdelex", STREAM),
    refused("xackdel", STREAM),
    refused("xtrim", STREAM),
    refused("xsetid", STREAM),
    refused("xack", STREAM),
    refused("xclaim", STREAM),
    refused("xautoclaim", STREAM),
    refused("xreadgroup", STREAM),
    refused("xgroup|create", STREAM),
    refused("xgroup|createconsumer", STREAM),
    refused("xgroup|delconsumer", STREAM),
    refused("xgroup|destroy", STREAM),
    refused("xgroup|setid", STREAM),
    refused("hexpire", FIELD),
    refused("hexpireat", FIELD),
    refused("hpexpire", FIELD),
    refused("hpexpireat", FIELD),
    refused("hpersist", FIELD),
    refused("hgetex", FIELD),
    refused("hsetex", FIELD),
    refused("vadd", VECTORS),
    refused("vrem", VECTORS),
    refused("vsetattr", VECTORS),
    refused("swapdb", SWAP),
    refused("migrate", MOVED),
    refused("restore-asking", SLOTS),
    refused("pfdebug", DEBUGGING),
    local("cluster|flushslot", NODES),
    local("pfcount", CACHES),
    local("function|load", CODE),
    local("function|delete", CODE),
    local("function|flush", CODE),
    local("function|restore", CODE),
];

pub fn exception(name: &[u8]) -> Option<Class> {
    EXCEPTIONS
        .iter()
        .find(|exception| exception.name.as_bytes() == name)
        .map(|exception| exception.class)
}

#[cfg(test)]
mod tests {
    use super::EXCEPTIONS;
    use crate::commands::TABLE;

    /// A row, once written, goes before.
    #[test]
    fn no_command_is_in_both_lists() {
        for exception in EXCEPTIONS {
            let has_row = TABLE.iter().any(|row| row.native() == Some(exception.name));
            assert!(!has_row, "{} has a row", exception.name);
            let listed = EXCEPTIONS.iter().filter(|other| other.name == exception.name);
            assert_eq!(listed.count(), 1, "{} is listed twice", exception.name);
        }
    }
}
