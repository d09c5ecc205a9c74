//! What a command is registered with: what the server says of the native command of its name, or our own words.

use std::ffi::{CString, c_int};

use redis_module::raw::{
    self, REDISMODULE_CMD_KEY_ACCESS as ACCESS, REDISMODULE_CMD_KEY_DELETE as DELETE,
    REDISMODULE_CMD_KEY_INSERT as INSERT, REDISMODULE_CMD_KEY_OW as OW, REDISMODULE_CMD_KEY_RM as RM,
    REDISMODULE_CMD_KEY_RO as RO, REDISMODULE_CMD_KEY_RW as RW, REDISMODULE_CMD_KEY_UPDATE as UPDATE,
};

use super::api::{Answer, Context, Nested, OwnedText};
use crate::commands::{Arg, Own};

#[derive(Default)]
pub struct Description {
    pub arity: c_int,
    /// Flags of `RM_CreateCommand`.
    pub flags: String,
    pub categories: String,
    pub tips: String,
    /// First key, last key and step.
    pub range: (c_int, c_int, c_int),
    pub keys: Vec<KeySpec>,
    pub args: Vec<Argument>,
    pub summary: String,
    pub complexity: String,
}

pub struct KeySpec {
    pub flags: u32,
    pub begin: Begin,
    pub find: Find,
}

/// Where the search for keys begins.
pub enum Begin {
    Index(c_int),
    /// After this word, looked for from this argument on.
    Keyword(CString, c_int),
}

/// Which arguments from there on are keys.
pub enum Find {
    Range { last: c_int, step: c_int, limit: c_int },
    Count { at: c_int, first: c_int, step: c_int },
}

pub struct Argument {
    pub name: String,
    pub kind: raw::RedisModuleCommandArgType,
    /// Of a key, which spec finds it; otherwise -1.
    pub key: c_int,
    /// The word that stands before the argument, or is the argument.
    pub token: String,
    pub flags: u32,
    pub parts: Vec<Argument>,
}

/// What the server says of its own command; `None` when it has none of that name.
pub fn native(ctx: Context<'_>, name: &str) -> Result<Option<Description>, String> {
    let info = ask(ctx, b"INFO", name)?;
    let fields: Vec<Nested<'_>> = info.nested(0).items().collect();
    if fields.len() < 9 {
        return Ok(None);
    }
    let number = |index: usize| fields[index].integer().and_then(|number| c_int::try_from(number).ok());
    let specs: Vec<Option<KeySpec>> = fields[8].items().map(|spec| key_spec(&Map::of(&spec))).collect();
    let docs = ask(ctx, b"DOCS", name)?;
    let docs = Map::of(&docs.nested(1));
    let mut description = Description {
        arity: number(1).ok_or_else(|| format!("the server does not tell the arity of {name}"))?,
        flags: words(&fields[2], |flag| match flag {
            "write" | "readonly" | "fast" | "blocking" => Some(flag),
            "denyoom" => Some("deny-oom"),
            "noscript" => Some("deny-script"),
            "no_mandatory_keys" => Some("no-mandatory-keys"),
            _ => None,
        }),
        categories: words(&fields[6], |category| category.strip_prefix('@')),
        tips: words(&fields[7], |tip| Some(tip)),
        range: (number(3).unwrap_or(0), number(4).unwrap_or(0), number(5).unwrap_or(0)),
        args: arguments(&docs, &specs),
        keys: specs.into_iter().flatten().collect(),
        summary: format!("{}, in all regions", docs.text("summary").trim_end_matches('.')),
        complexity: docs.text("complexity"),
    };
    // Redis 7 says that a cluster may split it, and newer servers no longer do: it would not be all or nothing.
    if name == "msetnx" {
        description.tips.clear();
    }
    Ok(Some(description))
}

fn ask(ctx: Context<'_>, what: &[u8], name: &str) -> Result<Answer, String> {
    let words = [what, name.as_bytes()].map(OwnedText::new);
    ctx.ask(c"COMMAND", &words.each_ref().map(OwnedText::text))
        .filter(|answer| !answer.is_error())
        .ok_or_else(|| "the server does not run COMMAND, which tells what its commands take".to_owned())
}

/// Our own command.
pub fn own(own: &Own) -> Description {
    let key = own.args.first().is_some_and(|arg| arg.key);
    Description {
        arity: own.arity,
        flags: own.flags.to_owned(),
        categories: own.categories.to_owned(),
        tips: own.tips.to_owned(),
        range: if key { (1, 1, 1) } else { (0, 0, 0) },
        keys: if key { vec![the_key()] } else { Vec::new() },
        args: own.args.iter().map(own_argument).collect(),
        summary: own.summary.to_owned(),
        complexity: own.complexity.to_owned(),
    }
}

fn the_key() -> KeySpec {
    KeySpec {
        flags: RO | ACCESS,
        begin: Begin::Index(1),
        find: Find::Range {
            last: 0,
            step: 1,
            limit: 0,
        },
    }
}

fn own_argument(arg: &Arg) -> Argument {
    Argument {
        name: arg.name.to_owned(),
        kind: if arg.key { KEY } else { STRING },
        key: if arg.key { 0 } else { -1 },
        token: String::new(),
        flags: flag(arg.optional, OPTIONAL) | flag(arg.multiple, MULTIPLE),
        parts: Vec::new(),
    }
}

fn flag(set: bool, flag: u32) -> u32 {
    if set { flag } else { 0 }
}

use raw::{
    REDISMODULE_CMD_ARG_MULTIPLE as MULTIPLE, REDISMODULE_CMD_ARG_MULTIPLE_TOKEN as MULTIPLE_TOKEN,
    REDISMODULE_CMD_ARG_OPTIONAL as OPTIONAL, RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_BLOCK as BLOCK,
    RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_DOUBLE as DOUBLE,
    RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_INTEGER as INTEGER,
    RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_KEY as KEY,
    RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_ONEOF as ONEOF,
    RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_PATTERN as PATTERN,
    RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_PURE_TOKEN as TOKEN,
    RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_STRING as STRING,
    RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_UNIX_TIME as UNIX_TIME,
};

/// A flat map of names and values in turn, as the older protocol has it.
struct Map<'a>(Vec<Nested<'a>>);

impl<'a> Map<'a> {
    fn of(answer: &Nested<'a>) -> Map<'a> {
        Map(answer.items().collect())
    }

    fn field(&self, name: &str) -> Option<&Nested<'a>> {
        let mut pairs = self.0.chunks_exact(2);
        let pair = pairs.find(|pair| pair[0].bytes() == Some(name.as_bytes()))?;
        Some(&pair[1])
    }

    fn map(&self, name: &str) -> Option<Map<'a>> {
        self.field(name).map(Map::of)
    }

    fn text(&self, name: &str) -> String {
        let bytes = self.field(name).and_then(Nested::bytes).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    }

    fn number(&self, name: &str) -> Option<c_int> {
        c_int::try_from(self.field(name)?.integer()?).ok()
    }
}

/// The words of a list that mean something to us, put as we put them.
fn words(list: &Nested<'_>, known: impl Fn(&str) -> Option<&str>) -> String {
    let words = list.strings().filter_map(|word| known(std::str::from_utf8(word).ok()?));
    words.collect::<Vec<_>>().join(" ")
}

/// `None` for what only the server itself can search for: servers would take the whole command of a module, that has
/// such a spec, as one without keys.
fn key_spec(spec: &Map<'_>) -> Option<KeySpec> {
    let (begin, find) = (spec.map("begin_search")?, spec.map("find_keys")?);
    let (from, keys) = (begin.map("spec")?, find.map("spec")?);
    let begin = match begin.text("type").as_str() {
        "index" => Begin::Index(from.number("index")?),
        "keyword" => Begin::Keyword(CString::new(from.text("keyword")).ok()?, from.number("startfrom")?),
        _ => return None,
    };
    let find = match find.text("type").as_str() {
        "range" => Find::Range {
            last: keys.number("lastkey")?,
            step: keys.number("keystep")?,
            limit: keys.number("limit")?,
        },
        "keynum" => Find::Count {
            at: keys.number("keynumidx")?,
            first: keys.number("firstkey")?,
            step: keys.number("keystep")?,
        },
        _ => return None,
    };
    let mut flags = 0;
    for word in spec.field("flags")?.strings() {
        // With `variable_flags` servers take a module's key spec as no key at all, and ACL key patterns would not
        // apply.
        flags |= match word {
            b"RW" => RW,
            b"RO" => RO,
            b"OW" => OW,
            b"RM" => RM,
            b"access" => ACCESS,
            b"update" => UPDATE,
            b"insert" => INSERT,
            b"delete" => DELETE,
            b"not_key" => raw::REDISMODULE_CMD_KEY_NOT_KEY,
            b"incomplete" => return None,
            _ => 0,
        };
    }
    Some(KeySpec { flags, begin, find })
}

/// `specs`: all of the native command's; those that are `None` are left out.
fn arguments(map: &Map<'_>, specs: &[Option<KeySpec>]) -> Vec<Argument> {
    let list = map.field("arguments").map(|list| list.items().collect::<Vec<_>>());
    list.unwrap_or_default()
        .iter()
        .map(|one| argument(&Map::of(one), specs))
        .collect()
}

fn argument(map: &Map<'_>, specs: &[Option<KeySpec>]) -> Argument {
    let spec = map
        .number("key_spec_index")
        .and_then(|index| usize::try_from(index).ok());
    let kept = spec.filter(|index| specs.get(*index).is_some_and(Option::is_some));
    let key = kept.map(|index| specs[..index].iter().flatten().count() as c_int);
    let kind = match map.text("type").as_str() {
        "key" if key.is_some() => KEY,
        "integer" => INTEGER,
        "double" => DOUBLE,
        "pattern" => PATTERN,
        "unix-time" => UNIX_TIME,
        "pure-token" => TOKEN,
        "oneof" => ONEOF,
        "block" => BLOCK,
        _ => STRING,
    };
    let flags = map.field("flags").map(|list| list.strings().collect::<Vec<_>>());
    let has = |flag: &[u8]| flags.as_ref().is_some_and(|flags| flags.contains(&flag));
    Argument {
        name: map.text("name"),
        kind,
        key: key.filter(|_| kind == KEY).unwrap_or(-1),
        token: map.text("token"),
        flags: flag(has(b"optional"), OPTIONAL)
            | flag(has(b"multiple"), MULTIPLE)
            | flag(has(b"multiple_token"), MULTIPLE_TOKEN),
        parts: arguments(map, specs),
    }
}
