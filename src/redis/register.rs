//! Registers the commands of the table: functions, flags, key specs, documentation, ACL categories.

use std::ffi::{CString, c_char, c_int};
use std::ptr;

use redis_module::raw;

use super::api::{Context, api, has};
use crate::commands::{Arg, ArgKind, Keys, Row, TABLE};

const OK: c_int = raw::REDISMODULE_OK as c_int;

pub fn commands(ctx: Context<'_>) -> Result<(), String> {
    for row in TABLE {
        // SAFETY: during load; the server copies all strings and structures.
        unsafe { command(ctx, row) }.ok_or_else(|| format!("the server does not take the command {}", row.name))?;
    }
    Ok(())
}

unsafe fn command(ctx: Context<'_>, row: &Row) -> Option<()> {
    let (name, flags) = (CString::new(row.name).ok()?, CString::new(row.flags).ok()?);
    let (first, last, step) = row.key_range();
    unsafe {
        let made = api!(RedisModule_CreateCommand(
            ctx.raw,
            name.as_ptr(),
            Some(row.entry),
            flags.as_ptr(),
            first,
            last,
            step
        ));
        if made != OK {
            return None;
        }
        let command = api!(RedisModule_GetCommand(ctx.raw, name.as_ptr()));
        describe(command, row)?;
        if has!(RedisModule_SetCommandACLCategories) {
            let categories = CString::new(row.categories).ok()?;
            (api!(RedisModule_SetCommandACLCategories(command, categories.as_ptr())) == OK).then_some(())?;
        }
    }
    Some(())
}

/// Strings and argument lists that live while the server copies them.
#[derive(Default)]
struct Arena {
    strings: Vec<CString>,
    lists: Vec<Box<[raw::RedisModuleCommandArg]>>,
}

impl Arena {
    fn text(&mut self, text: &str) -> *const c_char {
        if text.is_empty() {
            return ptr::null();
        }
        let text = CString::new(text).unwrap_or_default();
        let start = text.as_ptr();
        self.strings.push(text);
        start
    }

    /// A list ends with an all-zero entry.
    fn arguments(&mut self, args: &[Arg]) -> *mut raw::RedisModuleCommandArg {
        if args.is_empty() {
            return ptr::null_mut();
        }
        let mut list: Vec<_> = args.iter().map(|arg| self.argument(arg)).collect();
        // SAFETY: plain data; all zeros is the end mark.
        list.push(unsafe { std::mem::zeroed() });
        let mut list = list.into_boxed_slice();
        let start = list.as_mut_ptr();
        self.lists.push(list);
        start
    }

    fn argument(&mut self, arg: &Arg) -> raw::RedisModuleCommandArg {
        use raw::{
            RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_BLOCK as BLOCK,
            RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_DOUBLE as DOUBLE,
            RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_INTEGER as INTEGER,
            RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_KEY as KEY,
            RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_ONEOF as ONEOF,
            RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_PURE_TOKEN as TOKEN,
            RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_STRING as STRING,
            RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_UNIX_TIME as UNIX_TIME,
        };
        let (type_, key, parts): (_, c_int, &[Arg]) = match arg.kind {
            ArgKind::Key(spec) => (KEY, spec, &[]),
            ArgKind::Text => (STRING, -1, &[]),
            ArgKind::Integer => (INTEGER, -1, &[]),
            ArgKind::Double => (DOUBLE, -1, &[]),
            ArgKind::UnixTime => (UNIX_TIME, -1, &[]),
            ArgKind::Token => (TOKEN, -1, &[]),
            ArgKind::OneOf(parts) => (ONEOF, -1, parts),
            ArgKind::Block(parts) => (BLOCK, -1, parts),
        };
        let optional = if arg.optional {
            raw::REDISMODULE_CMD_ARG_OPTIONAL
        } else {
            0
        };
        let multiple = if arg.multiple {
            raw::REDISMODULE_CMD_ARG_MULTIPLE
        } else {
            0
        };
        raw::RedisModuleCommandArg {
            name: self.text(arg.name),
            type_,
            key_spec_index: key,
            token: self.text(arg.token),
            summary: ptr::null(),
            since: ptr::null(),
            flags: (optional | multiple) as c_int,
            deprecated_since: ptr::null(),
            subargs: self.arguments(parts),
            display_text: ptr::null(),
        }
    }
}

fn key_spec(keys: &Keys) -> raw::RedisModuleCommandKeySpec {
    // SAFETY: plain data; what is not set below stays zero.
    let mut spec: raw::RedisModuleCommandKeySpec = unsafe { std::mem::zeroed() };
    spec.flags = u64::from(keys.flags);
    spec.begin_search_type = raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_INDEX;
    spec.bs.index.pos = keys.first;
    spec.find_keys_type = raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_RANGE;
    spec.fk.range.lastkey = keys.last;
    spec.fk.range.keystep = keys.step;
    spec
}

unsafe fn describe(command: *mut raw::RedisModuleCommand, row: &Row) -> Option<()> {
    let version = raw::RedisModuleCommandInfoVersion {
        version: 1,
        sizeof_historyentry: size_of::<raw::RedisModuleCommandHistoryEntry>(),
        sizeof_keyspec: size_of::<raw::RedisModuleCommandKeySpec>(),
        sizeof_arg: size_of::<raw::RedisModuleCommandArg>(),
    };
    let mut arena = Arena::default();
    let mut specs: Vec<_> = row.keys.iter().map(key_spec).collect();
    // SAFETY: plain data; all zeros is the end mark.
    specs.push(unsafe { std::mem::zeroed() });
    let info = raw::RedisModuleCommandInfo {
        version: &version,
        summary: arena.text(row.summary),
        complexity: arena.text(row.complexity),
        since: arena.text(env!("CARGO_PKG_VERSION")),
        history: ptr::null_mut(),
        tips: arena.text(row.tips),
        arity: row.arity,
        key_specs: specs.as_mut_ptr(),
        args: arena.arguments(row.args),
    };
    (unsafe { api!(RedisModule_SetCommandInfo(command, &info)) } == OK).then_some(())
}
