//! Sets: members are added and removed one by one.

use smallvec::SmallVec;

use super::shared::{call, check_size, prepare};
use crate::crdt::Kind;
use crate::redis::api::Text;
use crate::redis::guard::Command;
use crate::redis::reply::{Refusal, Reply};
use crate::redis::site;
use crate::replication::Change;

type Outcome = Result<Reply, Refusal>;
type Members<'a> = SmallVec<[&'a [u8]; 8]>;

pub fn sadd(command: &Command<'_>) -> Outcome {
    let [_, key, members @ ..] = command.args else {
        return Ok(Reply::WrongArity);
    };
    let bytes = bytes_of(members);
    for member in &bytes {
        check_size(member.len())?;
    }
    let before = prepare(command.ctx, *key)?;
    let answer = call(command.ctx, c"SADD", &command.args[1..])?;
    match answer.integer() {
        Some(added) => {
            site::record(command.ctx, *key, before, Change::add(&bytes));
            Ok(Reply::Integer(added))
        }
        None => Ok(Reply::Native(answer)),
    }
}

pub fn srem(command: &Command<'_>) -> Outcome {
    let [_, key, members @ ..] = command.args else {
        return Ok(Reply::WrongArity);
    };
    let before = prepare(command.ctx, *key)?;
    let answer = call(command.ctx, c"SREM", &command.args[1..])?;
    match answer.integer() {
        Some(removed) => {
            if removed > 0 {
                site::record(command.ctx, *key, before, Change::remove(Kind::Set, &bytes_of(members)));
            }
            Ok(Reply::Integer(removed))
        }
        None => Ok(Reply::Native(answer)),
    }
}

fn bytes_of<'a>(members: &[Text<'a>]) -> Members<'a> {
    members.iter().map(|member| member.bytes()).collect()
}

pub fn spop(command: &Command<'_>) -> Outcome {
    let Some(&key) = command.args.get(1) else {
        return Ok(Reply::WrongArity);
    };
    let before = prepare(command.ctx, key)?;
    let answer = call(command.ctx, c"SPOP", &command.args[1..])?;
    if !answer.is_error() {
        let popped: Members<'_> = match answer.bytes() {
            Some(member) => Members::from_slice(&[member]),
            None if answer.is_null() => Members::new(),
            None => answer.strings().collect(),
        };
        if !popped.is_empty() {
            site::record(command.ctx, key, before, Change::remove(Kind::Set, &popped));
        }
    }
    Ok(Reply::Native(answer))
}

pub fn smove(command: &Command<'_>) -> Outcome {
    let [_, source, destination, member] = *command.args else {
        return Ok(Reply::WrongArity);
    };
    let ctx = command.ctx;
    let from = prepare(ctx, source)?;
    let to = prepare(ctx, destination)?;
    let answer = call(ctx, c"SMOVE", &command.args[1..])?;
    let moved = answer.integer() == Some(1) && source.bytes() != destination.bytes();
    if moved {
        let members = [member.bytes()];
        site::record(ctx, source, from, Change::remove(Kind::Set, &members));
        site::record(ctx, destination, to, Change::add(&members));
    }
    Ok(Reply::Native(answer))
}
