//! Elements of any kind, named by the arguments or found by the server.

use std::ffi::CStr;

use super::shared::{Outcome, Target, bytes_of, call, integer};
use crate::crdt::Kind;
use crate::redis::api::{Answer, Nested};
use crate::redis::guard::Command;
use crate::redis::reply::Reply;

/// Removes the elements named from argument `first` on; the answer counts those that were there, or is their values.
pub fn remove(command: &Command<'_>, name: &CStr, kind: Kind, first: usize) -> Outcome {
    let target = Target::prepare(command.ctx, command.args[1])?;
    let answer = call(command.ctx, name, &command.args[1..])?;
    let none = answer.is_error() || answer.is_null() || answer.integer() == Some(0);
    if !none && target.is(kind) {
        target.removed(kind, &bytes_of(command.args.get(first..).unwrap_or_default()));
    }
    Ok(Reply::Native(answer))
}

/// Removes the members of a sorted set that `read`, given the same arguments, lists.
pub fn remove_range(command: &Command<'_>, name: &CStr, read: &CStr) -> Outcome {
    let target = Target::prepare(command.ctx, command.args[1])?;
    let listed = command
        .ctx
        .ask(read, &command.args[1..])
        .filter(|_| target.is(Kind::Zset));
    let answer = call(command.ctx, name, &command.args[1..])?;
    if let (Some(1..), Some(listed)) = (answer.integer(), listed) {
        target.removed(Kind::Zset, &listed.strings().collect::<Vec<_>>());
    }
    Ok(Reply::Native(answer))
}

pub fn pop(command: &Command<'_>, name: &CStr) -> Outcome {
    let target = Target::prepare(command.ctx, command.args[1])?;
    let answer = call(command.ctx, name, &command.args[1..])?;
    if is_list(&answer) {
        target.removed(Kind::Zset, &members(answer.items()));
    }
    Ok(Reply::Native(answer))
}

/// Pops from the first of several keys that has members; the answer says which.
pub fn pop_from_one(command: &Command<'_>, name: &CStr) -> Outcome {
    let count = integer(command.args[1]).and_then(|count| usize::try_from(count).ok());
    let keys = count
        .and_then(|count| command.args[2..].get(..count))
        .unwrap_or_default();
    let targets: Vec<Target<'_>> = keys
        .iter()
        .map(|key| Target::prepare(command.ctx, *key))
        .collect::<Result<_, _>>()?;
    let answer = call(command.ctx, name, &command.args[1..])?;
    if is_list(&answer) {
        let key = answer.nested(0).bytes();
        if let Some(target) = targets.iter().find(|target| Some(target.key.bytes()) == key) {
            target.removed(Kind::Zset, &members(answer.nested(1).items()));
        }
    }
    Ok(Reply::Native(answer))
}

fn is_list(answer: &Answer) -> bool {
    !answer.is_error() && !answer.is_null() && answer.bytes().is_none()
}

/// Members and scores, in turn or in pairs, as the client's protocol has them.
fn members<'a>(items: impl Iterator<Item = Nested<'a>>) -> Vec<&'a [u8]> {
    let items: Vec<Nested<'a>> = items.collect();
    match items.first().and_then(Nested::bytes) {
        Some(_) => items.iter().step_by(2).filter_map(Nested::bytes).collect(),
        None => items.iter().filter_map(|pair| pair.items().next()?.bytes()).collect(),
    }
}
