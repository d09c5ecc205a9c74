//! Elements of any kind, named by the arguments or found by the server.

use std::ffi::CStr;

use super::shared::{Outcome, Target, bytes_of, call};
use crate::crdt::Kind;
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
