//! Counters: the native command counts, we record by how much.

use std::ffi::CStr;
use std::io::Write;

use super::shared::{STRING, call, integer, prepare};
use crate::crdt::Number;
use crate::redis::guard::Command;
use crate::redis::reply::{Refusal, Reply};
use crate::redis::site;
use crate::replication::Change;

type Outcome = Result<Reply, Refusal>;

pub fn incr(command: &Command<'_>) -> Outcome {
    count(command, c"INCR", |_| 1)
}

pub fn decr(command: &Command<'_>) -> Outcome {
    count(command, c"DECR", |_| -1)
}

pub fn incrby(command: &Command<'_>) -> Outcome {
    count(command, c"INCRBY", |amount| amount)
}

pub fn decrby(command: &Command<'_>) -> Outcome {
    count(command, c"DECRBY", |amount| -amount)
}

/// `delta`: what the command adds, from the amount it was given (0 when it takes none).
fn count(command: &Command<'_>, name: &CStr, delta: fn(i128) -> i128) -> Outcome {
    let Some(&key) = command.args.get(1) else {
        return Ok(Reply::WrongArity);
    };
    let held = prepare(command.ctx, key)?;
    let answer = call(command.ctx, name, &command.args[1..])?;
    let Some(after) = answer.integer() else {
        return Ok(Reply::Native(answer));
    };
    let amount = command.args.get(2).and_then(|amount| integer(*amount)).unwrap_or(0);
    let delta = delta(i128::from(amount));
    // The native command accepts only the canonical form, so this is the text that was stored.
    let mut text = [0u8; 20];
    let before = held.and_then(|_| i64::try_from(i128::from(after) - delta).ok());
    let before = before.map(|before| decimal(&mut text, before));
    let delta = Number::Int(delta);
    site::record(command.ctx, key, held, Change::increment(delta, before));
    Ok(Reply::Integer(after))
}

/// Writes a number without allocating.
fn decimal(room: &mut [u8; 20], number: i64) -> &[u8] {
    let mut free = &mut room[..];
    let len = match write!(free, "{number}") {
        Ok(()) => 20 - free.len(),
        Err(_) => 0,
    };
    &room[..len]
}

pub fn incrbyfloat(command: &Command<'_>) -> Outcome {
    let [_, key, _] = *command.args else {
        return Ok(Reply::WrongArity);
    };
    let ctx = command.ctx;
    let held = prepare(ctx, key)?;
    let old = if held == STRING { ctx.ask(c"GET", &[key]) } else { None };
    let answer = call(ctx, c"INCRBYFLOAT", &command.args[1..])?;
    if let (false, Some(after)) = (answer.is_error(), answer.bytes()) {
        let before = old.as_ref().and_then(|old| old.bytes());
        let change = match difference(after, before.unwrap_or(b"0")) {
            Some(delta) => Change::increment(delta, before),
            // Not a number by our reading, though by the server's: then its result is the value.
            None => Change::assign(after),
        };
        site::record(ctx, key, held, change);
    }
    Ok(Reply::Native(answer))
}

/// Exactly what the server's rounded addition has added.
fn difference(after: &[u8], before: &[u8]) -> Option<Number> {
    Some(Number::parse_float(after)?.sub(&Number::parse_float(before)?))
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn decimals_fit() {
        for number in [0, -1, i64::MAX, i64::MIN] {
            assert_eq!(decimal(&mut [0; 20], number), number.to_string().as_bytes());
        }
    }
}
