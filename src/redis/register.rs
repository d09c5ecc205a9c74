//! Registers the commands of the table: functions, flags, key specs, documentation, ACL categories.

use std::ffi::{CString, c_char, c_int};
use std::ptr;

use redis_module::raw;

use super::api::{Context, api, has};
use super::describe::{self, Argument, Begin, Description, Find, KeySpec};
use crate::commands::{PREFIX, Row, Source, TABLE};

const OK: c_int = raw::REDISMODULE_OK as c_int;

pub fn commands(ctx: Context<'_>) -> Result<(), String> {
    for row in TABLE {
        let described = match &row.source {
            Source::Native => describe::native(ctx, &row.name[PREFIX.len()..])?,
            Source::Own(own) => Some(describe::own(own)),
        };
        if let Some(description) = described {
            // SAFETY: during load; the server copies all strings and structures.
            unsafe { command(ctx, row, &description) }
                .ok_or_else(|| format!("the server does not take the command {}", row.name))?;
        }
    }
    Ok(())
}

unsafe fn command(ctx: Context<'_>, row: &Row, description: &Description) -> Option<()> {
    let (name, flags) = (
        CString::new(row.name).ok()?,
        CString::new(description.flags.as_str()).ok()?,
    );
    let (first, last, step) = description.range;
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
        describe(command, description)?;
        if has!(RedisModule_SetCommandACLCategories) {
            let categories = CString::new(description.categories.as_str()).ok()?;
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
    fn arguments(&mut self, args: &[Argument]) -> *mut raw::RedisModuleCommandArg {
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

    fn argument(&mut self, arg: &Argument) -> raw::RedisModuleCommandArg {
        raw::RedisModuleCommandArg {
            name: self.text(&arg.name),
            type_: arg.kind,
            key_spec_index: arg.key,
            token: self.text(&arg.token),
            summary: ptr::null(),
            since: ptr::null(),
            flags: arg.flags as c_int,
            deprecated_since: ptr::null(),
            subargs: self.arguments(&arg.parts),
            display_text: ptr::null(),
        }
    }
}

fn key_spec(keys: &KeySpec) -> raw::RedisModuleCommandKeySpec {
    // SAFETY: plain data; what is not set below stays zero.
    let mut spec: raw::RedisModuleCommandKeySpec = unsafe { std::mem::zeroed() };
    spec.flags = u64::from(keys.flags);
    match &keys.begin {
        Begin::Index(index) => {
            spec.begin_search_type = raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_INDEX;
            spec.bs.index.pos = *index;
        }
        Begin::Keyword(word, from) => {
            spec.begin_search_type = raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_KEYWORD;
            spec.bs.keyword.keyword = word.as_ptr();
            spec.bs.keyword.startfrom = *from;
        }
    }
    match keys.find {
        Find::Range { last, step, limit } => {
            spec.find_keys_type = raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_RANGE;
            spec.fk.range.lastkey = last;
            spec.fk.range.keystep = step;
            spec.fk.range.limit = limit;
        }
        Find::Count { at, first, step } => {
            spec.find_keys_type = raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_KEYNUM;
            spec.fk.keynum.keynumidx = at;
            spec.fk.keynum.firstkey = first;
            spec.fk.keynum.keystep = step;
        }
    }
    spec
}

unsafe fn describe(command: *mut raw::RedisModuleCommand, description: &Description) -> Option<()> {
    let version = raw::RedisModuleCommandInfoVersion {
        version: 1,
        sizeof_historyentry: size_of::<raw::RedisModuleCommandHistoryEntry>(),
        sizeof_keyspec: size_of::<raw::RedisModuleCommandKeySpec>(),
        sizeof_arg: size_of::<raw::RedisModuleCommandArg>(),
    };
    let mut arena = Arena::default();
    let mut specs: Vec<_> = description.keys.iter().map(key_spec).collect();
    // SAFETY: plain data; all zeros is the end mark.
    specs.push(unsafe { std::mem::zeroed() });
    let info = raw::RedisModuleCommandInfo {
        version: &version,
        summary: arena.text(&description.summary),
        complexity: arena.text(&description.complexity),
        since: arena.text(env!("CARGO_PKG_VERSION")),
        history: ptr::null_mut(),
        tips: arena.text(&description.tips),
        arity: description.arity,
        key_specs: specs.as_mut_ptr(),
        args: arena.arguments(&description.args),
    };
    (unsafe { api!(RedisModule_SetCommandInfo(command, &info)) } == OK).then_some(())
}
