//! Several keys, each with a value. A command decides for all of them before it changes the first.

use std::ffi::CStr;

use smallvec::SmallVec;

use super::shared::{Outcome, Target, call, check_size, integer, is_one_of, not_run};
use super::strings::{SetOptions, assign, if_absent};
use crate::crdt::Meeting;
use crate::redis::api::{Context, OwnedText, Text};
use crate::redis::guard::Command;
use crate::redis::reply::{Refusal, Reply};
use crate::redis::site;
use crate::replication::Change;

pub fn mset(command: &Command<'_>, _name: &CStr) -> Outcome {
    let pairs = &command.args[1..];
    if !pairs.len().is_multiple_of(2) {
        return Ok(Reply::WrongArity);
    }
    prepare(command.ctx, pairs)?;
    assign_all(command.ctx, pairs, |value| Change::assign(value.bytes()))?;
    Ok(Reply::Ok)
}

pub fn msetnx(command: &Command<'_>, _name: &CStr) -> Outcome {
    let pairs = &command.args[1..];
    if !pairs.len().is_multiple_of(2) {
        return Ok(Reply::WrongArity);
    }
    prepare(command.ctx, pairs)?;
    if any(command.ctx, pairs, true) {
        return Ok(Reply::Integer(0));
    }
    assign_all(command.ctx, pairs, if_absent)?;
    Ok(Reply::Integer(1))
}

/// A native command for each key: only values that it is given one by one may be stored in compact encoding.
pub fn msetex(command: &Command<'_>, name: &CStr) -> Outcome {
    let ctx = command.ctx;
    let native = || call(ctx, name, &command.args[1..]).map(Reply::Native);
    let Some((pairs, words)) = counted(command.args) else {
        return native();
    };
    prepare(ctx, pairs)?;
    let options = SetOptions::read(words);
    if options.nx && any(ctx, pairs, true) || options.xx && any(ctx, pairs, false) {
        return native();
    }
    // The first was told all options, and found no fault with them. What they ask holds for a key named twice, too.
    let unconditional: SmallVec<[Text<'_>; 2]> = words
        .iter()
        .copied()
        .filter(|word| !is_one_of(*word, &["NX", "XX"]))
        .collect();
    let one = OwnedText::new(b"1");
    let mut answer = None;
    for pair in pairs.chunks_exact(2) {
        let words = if answer.is_none() { words } else { &unconditional };
        let target = Target::prepare(ctx, pair[0])?;
        let reply = ctx
            .call_with_value_after(name, &[one.text(), pair[0]], pair[1].bytes(), words)
            .ok_or_else(|| not_run(name))?;
        if reply.is_error() {
            return Ok(Reply::Native(reply));
        }
        match options.nx {
            true => target.met(pair[1].bytes(), Meeting::IfAbsent, options.keeps),
            false => target.assigned(pair[1].bytes(), options.keeps),
        }
        answer = Some(reply);
    }
    answer.map_or_else(native, |answer| Ok(Reply::Native(answer)))
}

/// The pairs behind their number, and what comes after them; `None` when there are not so many.
fn counted<'a>(args: &'a [Text<'a>]) -> Option<(&'a [Text<'a>], &'a [Text<'a>])> {
    let words = usize::try_from(integer(args[1])?).ok()?.checked_mul(2)?;
    args[2..].split_at_checked(words)
}

fn prepare(ctx: Context<'_>, pairs: &[Text<'_>]) -> Result<(), Refusal> {
    for pair in pairs.chunks_exact(2) {
        check_size(pair[1].bytes().len())?;
    }
    for pair in pairs.chunks_exact(2) {
        site::prepare(ctx, pair[0])?;
    }
    Ok(())
}

/// Whether one of the keys exists, or is missing.
fn any(ctx: Context<'_>, pairs: &[Text<'_>], exists: bool) -> bool {
    let mut keys = pairs.chunks_exact(2).map(|pair| ctx.open(pair[0]).kind());
    keys.any(|kind| kind.is_some() == exists)
}

fn assign_all<'a>(
    ctx: Context<'_>,
    pairs: &[Text<'a>],
    change: impl Fn(Text<'a>) -> Change<'a>,
) -> Result<(), Refusal> {
    for pair in pairs.chunks_exact(2) {
        assign(ctx, pair[0], pair[1], change(pair[1]))?;
    }
    Ok(())
}
