//! Strings: every write assigns the whole value.

use std::ffi::CStr;

use super::keys;
use super::shared::{Outcome, STRING, Target, call, check_size, integer, is, not_run};
use crate::crdt::{Before, Deadline, Kind, Meeting};
use crate::redis::api::{Answer, Context, Text};
use crate::redis::guard::Command;
use crate::redis::reply::{Refusal, Reply};
use crate::redis::site::{self, FLAGS};
use crate::redis::store::{compact_integer, set_plain};
use crate::replication::Change;

pub fn set(command: &Command<'_>, _name: &CStr) -> Outcome {
    let [_, key, value, options @ ..] = command.args else {
        return Ok(Reply::WrongArity);
    };
    check_size(value.bytes().len())?;
    if !options.is_empty() {
        return set_with(command.ctx, *key, *value, options);
    }
    assign(command.ctx, *key, *value, Change::assign(value.bytes()))?;
    Ok(Reply::Ok)
}

pub fn setnx(command: &Command<'_>, _name: &CStr) -> Outcome {
    let [_, key, value] = *command.args else {
        return Ok(Reply::WrongArity);
    };
    check_size(value.bytes().len())?;
    site::prepare(command.ctx, key)?;
    if command.ctx.open(key).kind().is_some() {
        return Ok(Reply::Integer(0));
    }
    assign(command.ctx, key, value, if_absent(value))?;
    Ok(Reply::Integer(1))
}

pub fn if_absent<'a>(value: Text<'a>) -> Change<'a> {
    Change::meet(value.bytes(), Meeting::IfAbsent)
}

/// What plain `SET` does, recorded as this change.
pub fn assign(ctx: Context<'_>, key: Text<'_>, value: Text<'_>, change: Change<'_>) -> Result<(), Refusal> {
    let Target { before, .. } = Target::prepare(ctx, key)?;
    let bytes = value.bytes();
    if compact_integer(bytes) {
        with_value(ctx, c"SET", key, value, &[])?;
    } else {
        set_plain(ctx, key, value);
        count(ctx);
    }
    site::record(ctx, key, before, change.with_deadline(Deadline::Dropped));
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

/// What decides whether native `SET`, having accepted its options, did set.
#[derive(Default)]
pub struct SetOptions<'a> {
    pub nx: bool,
    pub xx: bool,
    get: bool,
    pub keeps: bool,
    /// With the old value, as newer servers can.
    compares: Option<Compare<'a>>,
}

#[derive(Clone, Copy)]
struct Compare<'a> {
    /// Whether it sets where they are equal, or where not.
    equal: bool,
    /// Compared is the digest of the old value, not the value.
    digest: bool,
    with: Text<'a>,
}

impl<'a> SetOptions<'a> {
    pub fn read(options: &[Text<'a>]) -> SetOptions<'a> {
        let mut set = SetOptions::default();
        let mut rest = options.iter();
        while let Some(option) = rest.next() {
            match option.bytes().to_ascii_uppercase().as_slice() {
                b"NX" => set.nx = true,
                b"XX" => set.xx = true,
                b"GET" => set.get = true,
                b"KEEPTTL" => set.keeps = true,
                b"EX" | b"PX" | b"EXAT" | b"PXAT" => drop(rest.next()),
                word @ (b"IFEQ" | b"IFNE" | b"IFDEQ" | b"IFDNE") => {
                    set.compares = rest.next().map(|with| Compare {
                        equal: word.ends_with(b"EQ"),
                        digest: word.starts_with(b"IFD"),
                        with: *with,
                    });
                }
                _ => {}
            }
        }
        set
    }

    /// What the command is to compare, before it runs: the answer to one with `GET` does not tell whether it has set.
    fn digest(&self, ctx: Context<'_>, key: Text<'_>) -> Option<Answer> {
        let asks = self.get && self.compares.is_some_and(|compare| compare.digest);
        asks.then(|| ctx.ask(c"DIGEST", &[key]))?
    }

    /// Whether the command has set, seen from its answer, which is no error.
    fn done(&self, existed: bool, answer: &Answer, digest: Option<&Answer>) -> bool {
        match self.compares {
            _ if !self.get => !answer.is_null(),
            None => !(self.nx && existed || self.xx && !existed),
            Some(compare) => {
                let old = if compare.digest { digest } else { Some(answer) };
                let same = |old: &[u8]| match compare.digest {
                    true => old.eq_ignore_ascii_case(compare.with.bytes()),
                    false => old == compare.with.bytes(),
                };
                existed && old.and_then(Answer::bytes).is_some_and(same) == compare.equal || !existed && !compare.equal
            }
        }
    }
}

fn set_with(ctx: Context<'_>, key: Text<'_>, value: Text<'_>, options: &[Text<'_>]) -> Outcome {
    let target = Target::prepare(ctx, key)?;
    let words = options;
    let options = SetOptions::read(words);
    let digest = options.digest(ctx, key);
    let answer = with_value(ctx, c"SET", key, value, words)?;
    let existed = target.before.native.is_some();
    let done = !answer.is_error() && options.done(existed, &answer, digest.as_ref());
    if done && options.nx {
        target.met(value.bytes(), Meeting::IfAbsent, options.keeps);
    } else if done {
        target.assigned(value.bytes(), options.keeps);
    }
    Ok(Reply::Native(answer))
}

/// Assigns the argument at `value`.
pub fn assign_argument(command: &Command<'_>, name: &CStr, value: usize) -> Outcome {
    let (before, rest) = command.args.split_at(value);
    let [value, rest @ ..] = rest else {
        return Ok(Reply::WrongArity);
    };
    check_size(value.bytes().len())?;
    let target = Target::prepare(command.ctx, command.args[1])?;
    let answer = command
        .ctx
        .call_with_value_after(name, &before[1..], value.bytes(), rest)
        .ok_or_else(|| not_run(name))?;
    if !answer.is_error() {
        target.assigned(value.bytes(), false);
    }
    Ok(Reply::Native(answer))
}

pub fn getset(command: &Command<'_>, name: &CStr) -> Outcome {
    must_be_string(command)?;
    assign_argument(command, name, 2)
}

pub fn getdel(command: &Command<'_>, name: &CStr) -> Outcome {
    must_be_string(command)?;
    keys::remove_one(command, name)
}

/// The native refusal: of these commands Valkey 9.1 gives a module no answer at all when they refuse a key.
fn must_be_string(command: &Command<'_>) -> Result<(), Refusal> {
    match Target::prepare(command.ctx, command.args[1])?.before.native {
        None | STRING => Ok(()),
        _ => Err(c"WRONGTYPE Operation against a key holding the wrong kind of value".into()),
    }
}

pub fn append(command: &Command<'_>, name: &CStr) -> Outcome {
    let [_, key, value] = *command.args else {
        return Ok(Reply::WrongArity);
    };
    let ctx = command.ctx;
    let target = Target::prepare(ctx, key)?;
    if matches!(target.before.native, None | STRING) {
        check_size(ctx.open(key).len().saturating_add(value.bytes().len()))?;
    }
    let answer = with_value(ctx, name, key, value, &[])?;
    if !answer.is_error() {
        match target.before.native {
            // A value appended to nothing is stored as `SET` does, perhaps not in plain encoding.
            None => target.record(Change::assign(value.bytes())),
            _ => record_plain(ctx, &target),
        }
    }
    Ok(Reply::Native(answer))
}

pub fn setrange(command: &Command<'_>, name: &CStr) -> Outcome {
    let [_, key, offset, value] = *command.args else {
        return Ok(Reply::WrongArity);
    };
    let added = value.bytes().len();
    let end = integer(offset).map_or(0, |offset| (offset.max(0) as usize).saturating_add(added));
    let target = Target::prepare(command.ctx, key)?;
    if added > 0 {
        check_end(target.before, end)?;
    }
    let answer = call(command.ctx, name, &command.args[1..])?;
    if added > 0 && !answer.is_error() {
        record_plain(command.ctx, &target);
    }
    Ok(Reply::Native(answer))
}

pub fn setbit(command: &Command<'_>, name: &CStr) -> Outcome {
    let [_, key, offset, bit] = *command.args else {
        return Ok(Reply::WrongArity);
    };
    let end = integer(offset).map_or(0, |offset| (offset.max(0) as usize / 8).saturating_add(1));
    let target = Target::prepare(command.ctx, key)?;
    check_end(target.before, end)?;
    let grows = target.is(Kind::String) && command.ctx.open(key).len() < end;
    let answer = call(command.ctx, name, &command.args[1..])?;
    let changes = target.before.native.is_none() || grows || answer.integer() != integer(bit);
    if changes && !answer.is_error() {
        record_plain(command.ctx, &target);
    }
    Ok(Reply::Native(answer))
}

pub fn bitfield(command: &Command<'_>, name: &CStr) -> Outcome {
    let key = command.args[1];
    let target = Target::prepare(command.ctx, key)?;
    let Some(end) = written_end(&command.args[2..]) else {
        return call(command.ctx, name, &command.args[1..]).map(Reply::Native);
    };
    check_end(target.before, end)?;
    let read = || command.ctx.ask(c"GET", &[key]);
    let before = read();
    let answer = call(command.ctx, name, &command.args[1..])?;
    let (before, after) = (before.as_ref().and_then(Answer::bytes), read());
    let after = after.as_ref().and_then(Answer::bytes);
    if let Some(value) = after.filter(|_| before != after) {
        target.record(Change::assign(value));
    }
    Ok(Reply::Native(answer))
}

/// Bytes up to the last that a `BITFIELD` writes; `None` when it writes none, or is not accepted.
fn written_end(operations: &[Text<'_>]) -> Option<usize> {
    let mut end = None;
    let mut rest = operations;
    while let [word, tail @ ..] = rest {
        if is(*word, "SET") || is(*word, "INCRBY") {
            let [kind, offset, _, tail @ ..] = tail else {
                return end;
            };
            let bits = number(kind.bytes().get(1..)?)?;
            let first = match offset.bytes().strip_prefix(b"#") {
                Some(index) => number(index)?.checked_mul(bits)?,
                None => number(offset.bytes())?,
            };
            end = end.max(Some(first.checked_add(bits)?.div_ceil(8)));
            rest = tail;
        } else {
            let operands = if is(*word, "GET") { 2 } else { 1 };
            rest = tail.get(operands..)?;
        }
    }
    end
}

fn number(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Changes a HyperLogLog in place; the answer is 0 when it did not.
pub fn sketch(command: &Command<'_>, name: &CStr) -> Outcome {
    let target = Target::prepare(command.ctx, command.args[1])?;
    let answer = call(command.ctx, name, &command.args[1..])?;
    if !answer.is_error() && answer.integer() != Some(0) {
        let after = command.ctx.ask(c"GET", &[target.key]);
        if let Some(value) = after.as_ref().and_then(Answer::bytes) {
            target.met(value, Meeting::Unite, true);
        }
    }
    Ok(Reply::Native(answer))
}

/// Refuses a string that would reach to `end` or further, where the native command would not refuse it.
fn check_end(before: Before, end: usize) -> Result<(), Refusal> {
    if matches!(before.native, None | STRING) && end <= NATIVE_LIMIT {
        check_size(end)
    } else {
        Ok(())
    }
}

/// Beyond this the native command refuses by itself, with its own text (`proto-max-bulk-len`).
const NATIVE_LIMIT: usize = 512 << 20;

/// Records a string that a native command has just changed in place: it is in plain encoding.
fn record_plain(ctx: Context<'_>, target: &Target<'_>) {
    let open = ctx.open(target.key);
    target.record(Change::assign(open.raw_bytes()));
}
