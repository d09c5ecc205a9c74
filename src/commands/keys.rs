//! Whole keys.

use std::ffi::CStr;

use super::shared::{call, prepare};
use crate::redis::guard::Command;
use crate::redis::reply::{Refusal, Reply};
use crate::redis::site;
use crate::replication::Change;

pub fn del(command: &Command<'_>) -> Result<Reply, Refusal> {
    remove(command, c"DEL")
}

pub fn unlink(command: &Command<'_>) -> Result<Reply, Refusal> {
    remove(command, c"UNLINK")
}

/// Key by key, so that a key named twice is removed, and recorded, once.
fn remove(command: &Command<'_>, name: &CStr) -> Result<Reply, Refusal> {
    let keys = &command.args[1..];
    for key in keys {
        site::prepare(command.ctx, *key)?;
    }
    let mut removed = 0;
    for key in keys {
        let before = prepare(command.ctx, *key)?;
        if before.is_some() && call(command.ctx, name, &[*key])?.integer() == Some(1) {
            site::record(command.ctx, *key, before, Change::clear());
            removed += 1;
        }
    }
    Ok(Reply::Integer(removed))
}
