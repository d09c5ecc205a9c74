//! Members of sorted sets that the server chooses, at once or when there are some.

use std::ffi::CStr;
use std::ops::Range;

use smallvec::SmallVec;

use super::shared::{Outcome, Target, call, integer};
use crate::crdt::{Kind, Native};
use crate::redis::api::{Answer, Nested, OwnedText, Text};
use crate::redis::blocked::{self, Wait};
use crate::redis::guard::Command;
use crate::redis::reply::{Refusal, Reply};

pub fn pop(command: &Command<'_>, name: &CStr) -> Outcome {
    let target = Target::prepare(command.ctx, command.args[1])?;
    let answer = call(command.ctx, name, &command.args[1..])?;
    if is_list(&answer) {
        target.removed(Kind::Zset, &members(answer.items()));
    }
    Ok(Reply::Native(answer))
}

/// Pops from the first of several keys that has members; the answer says which.
pub fn pop_from_one(command: &Command<'_>, name: &CStr) -> Outcome {
    let keys = counted(command.args, 1);
    let answer = pop_from(command, name, &command.args[1..], &command.args[keys])?;
    Ok(Reply::Native(answer))
}

/// The same, and without members the client waits for some. `several`: after the timeout comes the number of the keys,
/// else the keys come before it.
///
/// The native command never waits when a module runs it: what it answers at once is what it would answer.
pub fn pop_or_wait(command: &Command<'_>, name: &CStr, several: bool) -> Outcome {
    let (ctx, args) = (command.ctx, command.args);
    let (keys, timeout) = match several {
        true => (counted(args, 2), args[1]),
        false => (1..args.len() - 1, args[args.len() - 1]),
    };
    let wait = Wait {
        keys: keys.clone(),
        timeout: blocked::milliseconds(timeout.bytes()),
    };
    let answer = match command.ready {
        None => pop_from(command, name, &args[1..], &args[keys])?,
        // Another type than what it waits for does not concern the client.
        Some(key) if ctx.open(key).kind() != Some(Native::Kind(Kind::Zset)) => return Ok(Reply::Wait(wait)),
        Some(_) if blocked::runs_again() => pop_from(command, name, &args[1..], &args[keys])?,
        Some(key) => {
            let one = OwnedText::new(b"1");
            let arguments: SmallVec<[Text<'_>; 6]> = match several {
                true => [timeout, one.text(), key]
                    .into_iter()
                    .chain(args[keys.end..].iter().copied())
                    .collect(),
                false => SmallVec::from_slice(&[key, timeout]),
            };
            pop_from(command, name, &arguments, &[key])?
        }
    };
    if answer.is_null() && (command.ready.is_some() || blocked::may_wait(ctx)) {
        return Ok(Reply::Wait(wait));
    }
    Ok(Reply::Native(answer))
}

/// Runs a command whose answer begins with the key that it popped from.
fn pop_from<'a>(
    command: &Command<'a>,
    name: &CStr,
    arguments: &[Text<'_>],
    keys: &[Text<'a>],
) -> Result<Answer, Refusal> {
    let targets: SmallVec<[Target<'_>; 4]> = keys
        .iter()
        .map(|key| Target::prepare(command.ctx, *key))
        .collect::<Result<_, _>>()?;
    let answer = call(command.ctx, name, arguments)?;
    if is_list(&answer) {
        let key = answer.nested(0).bytes();
        if let Some(target) = targets.iter().find(|target| Some(target.key.bytes()) == key) {
            target.removed(Kind::Zset, &popped(&answer));
        }
    }
    Ok(answer)
}

/// Where the keys are that the argument before them counts.
fn counted(args: &[Text<'_>], at: usize) -> Range<usize> {
    let count = integer(args[at]).and_then(|count| usize::try_from(count).ok());
    let end = count.and_then(|count| (at + 1).checked_add(count));
    at + 1..end.filter(|end| *end <= args.len()).unwrap_or(at + 1)
}

fn is_list(answer: &Answer) -> bool {
    !answer.is_error() && !answer.is_null() && answer.bytes().is_none()
}

/// The members after the key: one and its score, or a list.
fn popped(answer: &Answer) -> Vec<&[u8]> {
    match answer.nested(1).bytes() {
        Some(member) => vec![member],
        None => members(answer.nested(1).items()),
    }
}

/// Members and scores, in turn or in pairs, as the client's protocol has them.
fn members<'a>(items: impl Iterator<Item = Nested<'a>>) -> Vec<&'a [u8]> {
    let items: Vec<Nested<'a>> = items.collect();
    match items.first().and_then(Nested::bytes) {
        Some(_) => items.iter().step_by(2).filter_map(Nested::bytes).collect(),
        None => items.iter().filter_map(|pair| pair.items().next()?.bytes()).collect(),
    }
}
