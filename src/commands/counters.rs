//! Counters, strings and fields of hashes: the native command counts, we record by how much.

use std::ffi::CStr;
use std::io::Write;

use super::shared::{Outcome, Target, call, check_size, integer};
use crate::crdt::{Edit, Element, Kind, Number, Value};
use crate::redis::guard::Command;
use crate::redis::reply::Reply;

/// `sign`: of the amount, which is 1 when the command takes none.
pub fn add(command: &Command<'_>, name: &CStr, sign: i128) -> Outcome {
    let target = Target::prepare(command.ctx, command.args[1])?;
    let answer = call(command.ctx, name, &command.args[1..])?;
    let Some(after) = answer.integer() else {
        return Ok(Reply::Native(answer));
    };
    let amount = command.args.get(2).map_or(Some(1), |amount| integer(*amount));
    let delta = sign * i128::from(amount.unwrap_or(0));
    let existed = target.before.native.is_some();
    target.edited([counted(Element::STRING, after, delta, existed, &mut [0; 20])]);
    Ok(Reply::Integer(after))
}

pub fn add_to_field(command: &Command<'_>, name: &CStr) -> Outcome {
    let [_, key, field, amount] = *command.args else {
        return Ok(Reply::WrongArity);
    };
    check_size(field.bytes().len())?;
    let target = Target::prepare(command.ctx, key)?;
    let known = command
        .ctx
        .ask(c"HEXISTS", &[key, field])
        .filter(|_| target.is(Kind::Hash));
    let answer = call(command.ctx, name, &command.args[1..])?;
    if let (Some(after), Some(amount)) = (answer.integer(), integer(amount)) {
        let existed = known.is_some_and(|known| known.integer() == Some(1));
        let element = Element::field(field.bytes());
        target.edited([counted(element, after, amount.into(), existed, &mut [0; 20])]);
    }
    Ok(Reply::Native(answer))
}

/// The native command accepts only the canonical form, so that the text before follows from the number after.
fn counted<'a>(element: Element<'a>, after: i64, delta: i128, existed: bool, text: &'a mut [u8; 20]) -> Edit<'a> {
    let before = i64::try_from(i128::from(after) - delta).ok().filter(|_| existed);
    Edit::Add {
        element,
        delta: Number::Int(delta),
        before: before.map(|before| Value::Bytes(decimal(text, before))),
    }
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

/// Floats, of a string or of a field: whichever `element` the arguments before the amount name.
pub fn add_float(command: &Command<'_>, name: &CStr) -> Outcome {
    let named = &command.args[1..command.args.len() - 1];
    let (element, read): (_, &CStr) = match named {
        [_, field] => (Element::field(field.bytes()), c"HGET"),
        _ => (Element::STRING, c"GET"),
    };
    check_size(element.name.len())?;
    let target = Target::prepare(command.ctx, command.args[1])?;
    let old = command
        .ctx
        .ask(read, named)
        .filter(|old| target.is(element.kind) && !old.is_error());
    let answer = call(command.ctx, name, &command.args[1..])?;
    if let (false, Some(after)) = (answer.is_error(), answer.bytes()) {
        let before = old.as_ref().and_then(|old| old.bytes());
        target.edited([match difference(after, before.unwrap_or(b"0")) {
            Some(delta) => Edit::Add {
                element,
                delta,
                before: before.map(Value::Bytes),
            },
            // Not a number by our reading, though by the server's: then its result is the value.
            None => Edit::Put(element, Value::Bytes(after)),
        }]);
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
