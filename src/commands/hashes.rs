//! Fields of hashes.

use std::collections::HashSet;
use std::ffi::CStr;

use super::shared::{Outcome, Target, call, check_sizes};
use crate::crdt::{Edit, Element, Meeting, Value};
use crate::redis::guard::Command;
use crate::redis::reply::Reply;

/// `HSET`, `HMSET`; `HSETNX`, whose answer says whether it did.
pub fn set(command: &Command<'_>, name: &CStr, only_new: bool) -> Outcome {
    let [_, key, pairs @ ..] = command.args else {
        return Ok(Reply::WrongArity);
    };
    check_sizes(pairs)?;
    let target = Target::prepare(command.ctx, *key)?;
    let answer = call(command.ctx, name, &command.args[1..])?;
    let refused = answer.is_error() || only_new && answer.integer() == Some(0);
    if !refused {
        let mut known = HashSet::new();
        // Of a field given twice the last value stays.
        let last = pairs
            .rchunks_exact(2)
            .filter(|pair| pairs.len() == 2 || known.insert(pair[0].bytes()));
        target.edited(last.map(|pair| {
            let (element, value) = (Element::field(pair[0].bytes()), Value::Bytes(pair[1].bytes()));
            match only_new {
                true => Edit::Meet {
                    element,
                    value,
                    how: Meeting::IfAbsent,
                    before: None,
                },
                false => Edit::Put(element, value),
            }
        }));
    }
    Ok(Reply::Native(answer))
}
