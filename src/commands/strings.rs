//! Strings: every write assigns the whole value.

use std::ffi::CStr;

use super::shared::{STRING, call, check_size, integer, not_run, prepare};
use crate::crdt::Native;
use crate::redis::api::{Answer, Context, Text};
use crate::redis::guard::Command;
use crate::redis::reply::{Refusal, Reply};
use crate::redis::site::{self, FLAGS};
use crate::redis::store::{compact_integer, set_plain};
use crate::replication::Change;

const SYNTAX: &CStr = c"ERR syntax error";
const NO_EXPIRY: &CStr = c"ERR GEO.SET does not replicate expiry yet: EX, PX, EXAT, PXAT and KEEPTTL are refused";

type Outcome = Result<Reply, Refusal>;

pub fn set(command: &Command<'_>) -> Outcome {
    let [_, key, value, options @ ..] = command.args else {
        return Ok(Reply::WrongArity);
    };
    if !options.is_empty() {
        return set_with(command.ctx, *key, *value, options);
    }
    check_size(value.bytes().len())?;
    assign(command.ctx, *key, *value)?;
    Ok(Reply::Ok)
}

pub fn setnx(command: &Command<'_>) -> Outcome {
    let [_, key, value] = *command.args else {
        return Ok(Reply::WrongArity);
    };
    check_size(value.bytes().len())?;
    if prepare(command.ctx, key)?.is_some() {
        return Ok(Reply::Integer(0));
    }
    assign(command.ctx, key, value)?;
    Ok(Reply::Integer(1))
}

/// What plain `SET` does, recorded.
fn assign(ctx: Context<'_>, key: Text<'_>, value: Text<'_>) -> Result<(), Refusal> {
    site::prepare(ctx, key)?;
    let bytes = value.bytes();
    let before = if compact_integer(bytes) {
        let before = ctx.open(key).kind();
        with_value(ctx, c"SET", key, value, &[])?;
        before
    } else {
        let before = set_plain(ctx, key, value);
        count(ctx);
        before
    };
    site::record(ctx, key, before, Change::assign(bytes));
    Ok(())
}

/// Runs a native command that may store the value in compact encoding.
fn with_value(
    ctx: Context<'_>,
    name: &CStr,
    key: Text<'_>,
    value: Text<'_>,
    rest: &[Text<'_>],
) -> Result<Answer, Refusal> {
    ctx.call_with_value(name, key, value.bytes(), rest)
        .ok_or_else(|| not_run(name))
}

/// A direct change has to be counted towards the server's save points. With listeners the log's entry counts.
fn count(ctx: Context<'_>) {
    if !FLAGS.0.listeners.get() {
        ctx.replicate_verbatim();
    }
}

#[derive(Default)]
struct SetOptions {
    nx: bool,
    xx: bool,
    get: bool,
    expiry: bool,
}

impl SetOptions {
    /// Native `SET`'s own rules on what excludes what.
    fn parse(options: &[Text<'_>]) -> Result<SetOptions, Refusal> {
        let mut set = SetOptions::default();
        let mut rest = options.iter();
        while let Some(option) = rest.next() {
            match option.bytes().to_ascii_uppercase().as_slice() {
                b"NX" if !set.xx => set.nx = true,
                b"XX" if !set.nx => set.xx = true,
                b"GET" => set.get = true,
                b"KEEPTTL" if !set.expiry => set.expiry = true,
                b"EX" | b"PX" | b"EXAT" | b"PXAT" if !set.expiry && rest.next().is_some() => set.expiry = true,
                _ => return Err(SYNTAX.into()),
            }
        }
        Ok(set)
    }
}

fn set_with(ctx: Context<'_>, key: Text<'_>, value: Text<'_>, options: &[Text<'_>]) -> Outcome {
    let parsed = SetOptions::parse(options)?;
    if parsed.expiry {
        return Err(NO_EXPIRY.into());
    }
    check_size(value.bytes().len())?;
    let before = prepare(ctx, key)?;
    let answer = with_value(ctx, c"SET", key, value, options)?;
    let unmet = parsed.nx && before.is_some() || parsed.xx && before.is_none();
    if !unmet && !answer.is_error() {
        site::record(ctx, key, before, Change::assign(value.bytes()));
    }
    Ok(Reply::Native(answer))
}

pub fn getset(command: &Command<'_>) -> Outcome {
    let [_, key, value] = *command.args else {
        return Ok(Reply::WrongArity);
    };
    check_size(value.bytes().len())?;
    let before = prepare(command.ctx, key)?;
    let answer = with_value(command.ctx, c"GETSET", key, value, &[])?;
    if !answer.is_error() {
        site::record(command.ctx, key, before, Change::assign(value.bytes()));
    }
    Ok(Reply::Native(answer))
}

pub fn getdel(command: &Command<'_>) -> Outcome {
    let [_, key] = *command.args else {
        return Ok(Reply::WrongArity);
    };
    let before = prepare(command.ctx, key)?;
    let answer = call(command.ctx, c"GETDEL", &[key])?;
    if !answer.is_error() && !answer.is_null() {
        site::record(command.ctx, key, before, Change::clear());
    }
    Ok(Reply::Native(answer))
}

pub fn mset(command: &Command<'_>) -> Outcome {
    let Some(pairs) = pairs(command)? else {
        return Ok(Reply::WrongArity);
    };
    assign_all(command.ctx, pairs)?;
    Ok(Reply::Ok)
}

pub fn msetnx(command: &Command<'_>) -> Outcome {
    let Some(pairs) = pairs(command)? else {
        return Ok(Reply::WrongArity);
    };
    for pair in pairs.chunks_exact(2) {
        if prepare(command.ctx, pair[0])?.is_some() {
            return Ok(Reply::Integer(0));
        }
    }
    assign_all(command.ctx, pairs)?;
    Ok(Reply::Integer(1))
}

/// Keys and values in turn, all of them of a size that can be replicated; `None` when a value is missing.
fn pairs<'a>(command: &Command<'a>) -> Result<Option<&'a [Text<'a>]>, Refusal> {
    let pairs = &command.args[1..];
    if !pairs.len().is_multiple_of(2) {
        return Ok(None);
    }
    for pair in pairs.chunks_exact(2) {
        check_size(pair[1].bytes().len())?;
    }
    Ok(Some(pairs))
}

/// Decides for all keys before it changes the first.
fn assign_all(ctx: Context<'_>, pairs: &[Text<'_>]) -> Result<(), Refusal> {
    for pair in pairs.chunks_exact(2) {
        site::prepare(ctx, pair[0])?;
    }
    for pair in pairs.chunks_exact(2) {
        assign(ctx, pair[0], pair[1])?;
    }
    Ok(())
}

pub fn append(command: &Command<'_>) -> Outcome {
    let [_, key, value] = *command.args else {
        return Ok(Reply::WrongArity);
    };
    let ctx = command.ctx;
    let before = prepare(ctx, key)?;
    if matches!(before, None | STRING) {
        check_size(ctx.open(key).len().saturating_add(value.bytes().len()))?;
    }
    let answer = with_value(ctx, c"APPEND", key, value, &[])?;
    if !answer.is_error() {
        match before {
            // A value appended to nothing is stored as `SET` does, perhaps not in plain encoding.
            None => site::record(ctx, key, before, Change::assign(value.bytes())),
            _ => record_result(ctx, key, before),
        }
    }
    Ok(Reply::Native(answer))
}

pub fn setrange(command: &Command<'_>) -> Outcome {
    let [_, key, offset, value] = *command.args else {
        return Ok(Reply::WrongArity);
    };
    let added = value.bytes().len();
    let end = integer(offset).map_or(0, |offset| (offset.max(0) as usize).saturating_add(added));
    let before = prepare(command.ctx, key)?;
    if added > 0 {
        check_end(before, end)?;
    }
    let answer = call(command.ctx, c"SETRANGE", &command.args[1..])?;
    if added > 0 && !answer.is_error() {
        record_result(command.ctx, key, before);
    }
    Ok(Reply::Native(answer))
}

pub fn setbit(command: &Command<'_>) -> Outcome {
    let [_, key, offset, bit] = *command.args else {
        return Ok(Reply::WrongArity);
    };
    let end = integer(offset).map_or(0, |offset| (offset.max(0) as usize / 8).saturating_add(1));
    let before = prepare(command.ctx, key)?;
    check_end(before, end)?;
    let grows = before == STRING && command.ctx.open(key).len() < end;
    let answer = call(command.ctx, c"SETBIT", &command.args[1..])?;
    let changes = before.is_none() || grows || answer.integer() != integer(bit);
    if changes && !answer.is_error() {
        record_result(command.ctx, key, before);
    }
    Ok(Reply::Native(answer))
}

/// Refuses a string that would reach to `end` or further, where the native command would not refuse it.
fn check_end(before: Option<Native>, end: usize) -> Result<(), Refusal> {
    if matches!(before, None | STRING) && end <= NATIVE_LIMIT {
        check_size(end)
    } else {
        Ok(())
    }
}

/// Beyond this the native command refuses by itself, with its own text (`proto-max-bulk-len`).
const NATIVE_LIMIT: usize = 512 << 20;

/// Records a string that a native command has just changed in place: it is in plain encoding.
fn record_result(ctx: Context<'_>, key: Text<'_>, before: Option<Native>) {
    let open = ctx.open(key);
    site::record(ctx, key, before, Change::assign(open.raw_bytes()));
}
