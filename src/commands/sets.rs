//! Sets: members are added and removed one by one.

use std::ffi::CStr;

use smallvec::SmallVec;

use super::shared::{Outcome, Target, bytes_of, call, check_sizes};
use crate::crdt::Kind;
use crate::redis::guard::Command;
use crate::redis::reply::Reply;
use crate::replication::Change;

pub fn add(command: &Command<'_>, name: &CStr) -> Outcome {
    let [_, key, members @ ..] = command.args else {
        return Ok(Reply::WrongArity);
    };
    check_sizes(members)?;
    let target = Target::prepare(command.ctx, *key)?;
    let answer = call(command.ctx, name, &command.args[1..])?;
    match answer.integer() {
        Some(added) => {
            target.record(Change::add(&bytes_of(members)));
            Ok(Reply::Integer(added))
        }
        None => Ok(Reply::Native(answer)),
    }
}

pub fn pop(command: &Command<'_>, name: &CStr) -> Outcome {
    let target = Target::prepare(command.ctx, command.args[1])?;
    let answer = call(command.ctx, name, &command.args[1..])?;
    if !answer.is_error() {
        let popped: SmallVec<[&[u8]; 8]> = match answer.bytes() {
            Some(member) => SmallVec::from_slice(&[member]),
            None if answer.is_null() => SmallVec::new(),
            None => answer.strings().collect(),
        };
        target.removed(Kind::Set, &popped);
    }
    Ok(Reply::Native(answer))
}

pub fn shift(command: &Command<'_>, name: &CStr) -> Outcome {
    let [_, source, destination, member] = *command.args else {
        return Ok(Reply::WrongArity);
    };
    let ctx = command.ctx;
    check_sizes(&[member])?;
    let (from, to) = (Target::prepare(ctx, source)?, Target::prepare(ctx, destination)?);
    let answer = call(ctx, name, &command.args[1..])?;
    if answer.integer() == Some(1) && source.bytes() != destination.bytes() {
        let members = [member.bytes()];
        from.removed(Kind::Set, &members);
        to.record(Change::add(&members));
    }
    Ok(Reply::Native(answer))
}
