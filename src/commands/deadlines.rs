//! When keys expire.

use std::ffi::CStr;

use super::shared::{Outcome, Target, call};
use crate::crdt::{Deadline, NEVER};
use crate::redis::guard::Command;
use crate::redis::reply::Reply;
use crate::replication::Change;

/// `EXPIRE` and its like, `PERSIST`: the answer says whether the deadline was set.
pub fn expire(command: &Command<'_>, name: &CStr) -> Outcome {
    let target = Target::prepare(command.ctx, command.args[1])?;
    target.must_merge()?;
    let answer = call(command.ctx, name, &command.args[1..])?;
    if answer.integer() == Some(1) {
        told(&target);
    }
    Ok(Reply::Native(answer))
}

pub fn getex(command: &Command<'_>, name: &CStr) -> Outcome {
    let target = Target::prepare(command.ctx, command.args[1])?;
    let answer = call(command.ctx, name, &command.args[1..])?;
    if command.args.len() > 2 && !answer.is_error() && !answer.is_null() {
        told(&target);
    }
    Ok(Reply::Native(answer))
}

/// The key was told when to expire, or never to. A deadline in the past has removed it.
fn told(target: &Target<'_>) {
    if target.cleared_if_gone() {
        return;
    }
    match target.after().deadline {
        Some(at) => target.record(Change::none().with_deadline(Deadline::At(at))),
        None if target.before.deadline.is_some() => {
            target.record(Change::none().with_deadline(Deadline::At(NEVER)));
        }
        None => {}
    }
}
