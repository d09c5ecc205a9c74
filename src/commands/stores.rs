//! Commands that write a whole key from others.

use std::ffi::CStr;

use super::shared::{Outcome, Target, call, check_size, is, is_one_of};
use crate::crdt::Kind;
use crate::crdt::Native;
use crate::redis::guard::Command;
use crate::redis::reply::Reply;

/// `destination`: which argument names it.
pub fn store(command: &Command<'_>, name: &CStr, destination: usize) -> Outcome {
    let Some(&destination) = command.args.get(destination) else {
        return Ok(Reply::WrongArity);
    };
    let target = Target::prepare(command.ctx, destination)?;
    let answer = call(command.ctx, name, &command.args[1..])?;
    if !answer.is_error() {
        target.replaced();
    }
    Ok(Reply::Native(answer))
}

/// The result is as long as the longest source.
pub fn bitop(command: &Command<'_>, name: &CStr) -> Outcome {
    for source in command.args.get(3..).unwrap_or_default() {
        let open = command.ctx.open(*source);
        if open.kind() == Some(Native::Kind(Kind::String)) {
            check_size(open.len())?;
        }
    }
    store(command, name, 2)
}

/// Stores only when told to. `options`: where these begin.
pub fn search(command: &Command<'_>, name: &CStr, options: usize) -> Outcome {
    let mut rest = options;
    let mut destination = None;
    while let Some(option) = command.args.get(rest) {
        if is_one_of(*option, &["STORE", "STOREDIST"]) {
            destination = Some(rest + 1);
        }
        rest += if is(*option, "COUNT") || destination == Some(rest + 1) {
            2
        } else {
            1
        };
    }
    match destination.filter(|at| *at < command.args.len()) {
        Some(at) => store(command, name, at),
        None => call(command.ctx, name, &command.args[1..]).map(Reply::Native),
    }
}
