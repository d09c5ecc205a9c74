//! Recovery, and what a primary says to its replicas and to its append-only file.

use std::ffi::CStr;

use crate::redis::detach;
use crate::redis::followed;
use crate::redis::guard::Command;
use crate::redis::native;
use crate::redis::recovery;
use crate::redis::reply::{Refusal, Reply};

pub fn apply(command: &Command<'_>) -> Result<Reply, Refusal> {
    let [_, entries] = *command.args else {
        return Ok(Reply::WrongArity);
    };
    followed::replay(command.ctx, entries.bytes())?;
    command.ctx.replicate_verbatim();
    Ok(Reply::Ok)
}

pub fn state(command: &Command<'_>) -> Result<Reply, Refusal> {
    let [_, role, pieces @ ..] = command.args else {
        return Ok(Reply::WrongArity);
    };
    if !followed::from_file(command.ctx) {
        return Err(c"ERR GEO.STATE is for the append-only file".into());
    }
    followed::written_by(role.bytes() == b"primary");
    for piece in pieces {
        if let Err(reason) = followed::load_piece(piece.bytes()) {
            followed::give_up(command.ctx, &format!("the region's state cannot be loaded: {reason}"));
        }
    }
    Ok(Reply::Ok)
}

pub fn recover(command: &Command<'_>) -> Result<Reply, Refusal> {
    recovery::by_hand(command.ctx).map(|()| Reply::Ok)
}

pub fn detach(command: &Command<'_>) -> Result<Reply, Refusal> {
    let [_, name] = *command.args else {
        return Ok(Reply::WrongArity);
    };
    detach::detach(command.ctx, name)?;
    command.ctx.replicate_verbatim();
    Ok(Reply::Ok)
}

/// What a refused command has become: a write that regions cannot merge, or a read while the region recovers.
pub fn refused(command: &Command<'_>) -> Result<Reply, Refusal> {
    Err(native::sent(command.args[0], native::Known::refusal).unwrap_or_else(|| Refusal::from(RECOVERING)))
}

const RECOVERING: &CStr =
    c"LOADING the region is recovering and geo.recovering-reads is no: GEO.STATUS shows how far it is";
