//! Whole keys.

use std::ffi::CStr;

use super::fields;
use super::shared::{Outcome, OwnedElement, Target, call, check_element, integer, is, not_run};
use crate::crdt::Native;
use crate::redis::api::{Answer, OwnedText, Text};
use crate::redis::guard::Command;
use crate::redis::reply::{Refusal, Reply};
use crate::redis::{outside, site};
use crate::replication::Change;

/// Key by key, so that a key named twice is removed, and recorded, once.
pub fn remove(command: &Command<'_>, name: &CStr) -> Outcome {
    let keys = &command.args[1..];
    for key in keys {
        site::prepare(command.ctx, *key)?;
    }
    let mut removed = 0;
    for key in keys {
        let target = Target::prepare(command.ctx, *key)?;
        let there = target.before.native.is_some();
        if there && call(command.ctx, name, &[*key])?.integer() == Some(1) {
            target.record(Change::clear());
            removed += 1;
        } else if !there && target.is_noted() {
            target.record(Change::clear());
        }
    }
    Ok(Reply::Integer(removed))
}

/// One key, perhaps.
pub fn remove_one(command: &Command<'_>, name: &CStr) -> Outcome {
    let target = Target::prepare(command.ctx, command.args[1])?;
    let answer = call(command.ctx, name, &command.args[1..])?;
    target.cleared_if_gone();
    Ok(Reply::Native(answer))
}

pub fn rename(command: &Command<'_>, name: &CStr) -> Outcome {
    let [_, source, destination] = *command.args else {
        return Ok(Reply::WrongArity);
    };
    let from = Target::prepare(command.ctx, source)?;
    let to = Target::prepare(command.ctx, destination)?;
    from.must_merge()?;
    from.must_fit()?;
    fields::may_go(&from, destination)?;
    let answer = call(command.ctx, name, &command.args[1..])?;
    let done = !answer.is_error() && answer.integer() != Some(0);
    if done && source.bytes() != destination.bytes() {
        from.record(Change::clear());
        to.replaced();
    }
    Ok(Reply::Native(answer))
}

/// To another database.
pub fn shift(command: &Command<'_>, name: &CStr) -> Outcome {
    let [_, key, database] = *command.args else {
        return Ok(Reply::WrongArity);
    };
    let (here, there) = (command.ctx.database(), self::database(database));
    let places = [(there.unwrap_or(here), key), (here, key)];
    if let Some(answer) = outside::run(command.ctx, name, &command.args[1..], &[key], &places) {
        return Ok(Reply::Native(answer));
    }
    let from = Target::prepare(command.ctx, key)?;
    from.must_merge()?;
    from.must_fit()?;
    fields::may_go(&from, key)?;
    let to = there.map(|to| Target::prepare_in(command.ctx, to, key));
    let to = to.transpose()?.flatten();
    let answer = call(command.ctx, name, &command.args[1..])?;
    if let (Some(1), Some(to)) = (answer.integer(), to) {
        from.record(Change::clear());
        to.replaced();
    }
    Ok(Reply::Native(answer))
}

fn database(text: Text<'_>) -> Option<u32> {
    integer(text).and_then(|number| u32::try_from(number).ok())
}

pub fn copy(command: &Command<'_>, name: &CStr) -> Outcome {
    let [_, source, destination, options @ ..] = command.args else {
        return Ok(Reply::WrongArity);
    };
    // Given twice, the last holds.
    let given = options.iter().rposition(|option| is(*option, "DB"));
    let other = given
        .and_then(|at| options.get(at + 1))
        .and_then(|text| database(*text));
    let there = other.unwrap_or_else(|| command.ctx.database());
    let (keys, places) = ([*source, *destination], [(there, *destination)]);
    if let Some(answer) = outside::run(command.ctx, name, &command.args[1..], &keys, &places) {
        return Ok(Reply::Native(answer));
    }
    let from = Target::prepare(command.ctx, *source)?;
    from.must_merge()?;
    from.must_fit()?;
    fields::may_go(&from, *destination)?;
    let to = Target::prepare_in(command.ctx, there, *destination)?;
    let answer = call(command.ctx, name, &command.args[1..])?;
    if let (Some(1), Some(to)) = (answer.integer(), to) {
        to.replaced();
    }
    Ok(Reply::Native(answer))
}

/// What a payload holds is known when it has been restored: then what does not merge is taken back.
pub fn restore(command: &Command<'_>, name: &CStr) -> Outcome {
    let ctx = command.ctx;
    let target = Target::prepare(ctx, command.args[1])?;
    let replaces = command.args[4..].iter().any(|option| is(*option, "REPLACE"));
    let old = ctx
        .ask(c"DUMP", &[target.key])
        .filter(|old| replaces && !old.is_error());
    let answer = call(ctx, name, &command.args[1..])?;
    if answer.is_error() {
        return Ok(Reply::Native(answer));
    }
    let elements = target.elements();
    if let Err(refusal) = check(&target, &elements).and_then(|()| fields::check(&target, || &elements)) {
        take_back(command, &target, old.as_ref().and_then(Answer::bytes));
        return Err(refusal);
    }
    target.replaced_by(&elements);
    Ok(Reply::Native(answer))
}

fn check(target: &Target<'_>, elements: &[OwnedElement]) -> Result<(), Refusal> {
    if target.after().native == Some(Native::Other) {
        return Err(c"ERR the payload is of a type that regions cannot merge; use a key outside geo.keys".into());
    }
    elements.iter().try_for_each(check_element)
}

fn take_back(command: &Command<'_>, target: &Target<'_>, old: Option<&[u8]>) {
    drop(command.ctx.call(c"UNLINK", &[target.key]));
    let Some(old) = old else { return };
    let deadline = target.before.deadline.unwrap_or(0).to_string();
    let words = [deadline.as_bytes(), old, b"ABSTTL"].map(OwnedText::new);
    let [deadline, old, absolute] = words.each_ref().map(OwnedText::text);
    drop(command.ctx.call(c"RESTORE", &[target.key, deadline, old, absolute]));
}

/// A result that is stored is a list.
pub fn sort(command: &Command<'_>, name: &CStr) -> Outcome {
    let mut options = command.args[2..].iter();
    while let Some(option) = options.next() {
        if is(*option, "STORE") && options.next().is_some() {
            return Err(c"ERR the result would be a list, which regions cannot merge: SORT without STORE".into());
        }
        let operands = match option.bytes().to_ascii_uppercase().as_slice() {
            b"BY" | b"GET" => 1,
            b"LIMIT" => 2,
            _ => 0,
        };
        options.by_ref().take(operands).for_each(drop);
    }
    // Patterns may reach keys of any name, which the native command refuses to some users.
    let answer = match command.ctx.has_user() {
        true => command.ctx.call_as_user(name, &command.args[1..]),
        false => command.ctx.call(name, &command.args[1..]),
    };
    answer.map(Reply::Native).ok_or_else(|| not_run(name))
}
