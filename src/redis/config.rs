//! The settings as the server's own configuration: `geo.*` in redis.conf, `CONFIG GET`, `SET` and `REWRITE`.

use std::cell::RefCell;
use std::ffi::{CString, c_char, c_int, c_longlong, c_void};
use std::panic::catch_unwind;
use std::ptr;

use redis_module::raw;

use super::api::{Context, OwnedText, Text, api};
use super::settings::{self, Kind, SETTINGS, Setting};
use super::site::MainThread;

const OK: c_int = raw::REDISMODULE_OK as c_int;
const ERR: c_int = raw::REDISMODULE_ERR as c_int;

/// Strings handed to the server: it does not free them, so each lives until the next one for its setting.
static SHOWN: MainThread<RefCell<Vec<Option<OwnedText>>>> = MainThread(RefCell::new(Vec::new()));

/// Registers every setting and takes what redis.conf says. The values so far, from `loadmodule`'s arguments,
/// become the defaults: a `geo.*` line goes before an argument, and `CONFIG REWRITE` repeats neither.
pub fn register(ctx: Context<'_>) -> Result<(), String> {
    SHOWN.0.borrow_mut().resize_with(SETTINGS.len(), || None);
    for (index, setting) in SETTINGS.iter().enumerate() {
        if !register_one(ctx, index, setting) {
            return Err(format!("the server does not take the setting geo.{}", setting.name));
        }
    }
    // SAFETY: during load, as the API wants.
    match unsafe { api!(RedisModule_LoadConfigs(ctx.raw)) } {
        OK => Ok(()),
        _ => Err("a geo.* line in redis.conf is wrong: see the line above".to_owned()),
    }
}

fn register_one(ctx: Context<'_>, index: usize, setting: &Setting) -> bool {
    let Ok(name) = CString::new(setting.name) else {
        return false;
    };
    let current = settings::value(index);
    let flags = if setting.mutable {
        0
    } else {
        raw::REDISMODULE_CONFIG_IMMUTABLE
    };
    let data = index as *mut c_void;
    // SAFETY: the server copies names and defaults; the callbacks take the table's index as their data.
    let result = unsafe {
        match setting.kind {
            Kind::Text | Kind::Patterns => {
                let Ok(default) = CString::new(current) else {
                    return false;
                };
                let (name, default) = (name.as_ptr(), default.as_ptr());
                let (get, set) = (Some(get_text as _), Some(set_text as _));
                api!(RedisModule_RegisterStringConfig(
                    ctx.raw, name, default, flags, get, set, None, data
                ))
            }
            Kind::Number { min, max } => register_number(ctx, &name, &current, flags, (min, max), data),
            Kind::Size { min, max } => {
                let flags = flags | raw::REDISMODULE_CONFIG_MEMORY;
                register_number(ctx, &name, &current, flags, (min, max), data)
            }
            Kind::Choice(of) => register_choice(ctx, &name, &current, flags, of, data),
        }
    };
    result == OK
}

unsafe fn register_number(
    ctx: Context<'_>,
    name: &CString,
    current: &str,
    flags: u32,
    (min, max): (i64, i64),
    data: *mut c_void,
) -> c_int {
    let default = current.parse().unwrap_or(min);
    let (get, set) = (Some(get_number as _), Some(set_number as _));
    unsafe {
        api!(RedisModule_RegisterNumericConfig(
            ctx.raw,
            name.as_ptr(),
            default,
            flags,
            min,
            max,
            get,
            set,
            None,
            data
        ))
    }
}

unsafe fn register_choice(
    ctx: Context<'_>,
    name: &CString,
    current: &str,
    flags: u32,
    of: &[&str],
    data: *mut c_void,
) -> c_int {
    let words: Vec<CString> = of.iter().filter_map(|word| CString::new(*word).ok()).collect();
    let mut pointers: Vec<*const c_char> = words.iter().map(|word| word.as_ptr()).collect();
    let numbers: Vec<c_int> = (0..of.len() as c_int).collect();
    let default = of.iter().position(|word| *word == current).unwrap_or(0) as c_int;
    let (get, set) = (Some(get_choice as _), Some(set_choice as _));
    unsafe {
        api!(RedisModule_RegisterEnumConfig(
            ctx.raw,
            name.as_ptr(),
            default,
            flags,
            pointers.as_mut_ptr(),
            numbers.as_ptr(),
            of.len() as c_int,
            get,
            set,
            None,
            data
        ))
    }
}

/// Sets one value; a refusal's text goes back to the server, which owns it from then on.
fn set(data: *mut c_void, text: &str, error: *mut *mut raw::RedisModuleString) -> c_int {
    let index = data as usize;
    match catch_unwind(|| settings::parse(&SETTINGS[index], text).map(|value| settings::set(index, value))) {
        Ok(Ok(())) => OK,
        Ok(Err(reason)) => {
            // SAFETY: `error` is the server's place for a string that it frees.
            unsafe {
                *error = api!(RedisModule_CreateString(
                    ptr::null_mut(),
                    reason.as_ptr().cast(),
                    reason.len()
                ));
            }
            ERR
        }
        Err(_) => ERR,
    }
}

unsafe extern "C" fn get_text(_name: *const c_char, data: *mut c_void) -> *mut raw::RedisModuleString {
    let shown = OwnedText::new(settings::value(data as usize).as_bytes());
    let raw = shown.text().raw;
    SHOWN.0.borrow_mut()[data as usize] = Some(shown);
    raw
}

unsafe extern "C" fn set_text(
    _name: *const c_char,
    value: *mut raw::RedisModuleString,
    data: *mut c_void,
    error: *mut *mut raw::RedisModuleString,
) -> c_int {
    // SAFETY: the server's string lives during the call.
    let bytes = unsafe { Text::new(value) }.bytes();
    match std::str::from_utf8(bytes) {
        Ok(text) => set(data, text, error),
        Err(_) => ERR,
    }
}

unsafe extern "C" fn get_number(_name: *const c_char, data: *mut c_void) -> c_longlong {
    settings::value(data as usize).parse().unwrap_or(0)
}

unsafe extern "C" fn set_number(
    _name: *const c_char,
    value: c_longlong,
    data: *mut c_void,
    error: *mut *mut raw::RedisModuleString,
) -> c_int {
    set(data, &value.to_string(), error)
}

fn words(data: *mut c_void) -> &'static [&'static str] {
    match SETTINGS[data as usize].kind {
        Kind::Choice(of) => of,
        _ => &[],
    }
}

unsafe extern "C" fn get_choice(_name: *const c_char, data: *mut c_void) -> c_int {
    let current = settings::value(data as usize);
    words(data).iter().position(|word| *word == current).unwrap_or(0) as c_int
}

unsafe extern "C" fn set_choice(
    _name: *const c_char,
    value: c_int,
    data: *mut c_void,
    error: *mut *mut raw::RedisModuleString,
) -> c_int {
    set(data, words(data).get(value as usize).unwrap_or(&""), error)
}
