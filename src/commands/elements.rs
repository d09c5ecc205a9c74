//! Elements of any kind, named by the arguments or found by the server.

use std::collections::HashSet;
use std::ffi::CStr;

use super::shared::{Outcome, Target, bytes_of, call};
use crate::crdt::Kind;
use crate::redis::api::{Answer, OwnedText};
use crate::redis::guard::Command;
use crate::redis::reply::Reply;

/// Removes the elements named from argument `first` on; the answer counts those that were there, or is their values.
pub fn remove(command: &Command<'_>, name: &CStr, kind: Kind, first: usize) -> Outcome {
    let target = Target::prepare(command.ctx, command.args[1])?;
    let answer = call(command.ctx, name, &command.args[1..])?;
    let none = answer.is_null() || answer.integer() == Some(0);
    let removes = !none && target.is(kind) || none && target.is_noted();
    if removes && !answer.is_error() {
        target.removed(kind, &bytes_of(command.args.get(first..).unwrap_or_default()));
    }
    Ok(Reply::Native(answer))
}

/// Removes the members of a sorted set that `read`, given the same arguments, lists.
pub fn remove_range(command: &Command<'_>, name: &CStr, read: &CStr) -> Outcome {
    let target = Target::prepare(command.ctx, command.args[1])?;
    let listed = command
        .ctx
        .ask(read, &command.args[1..])
        .filter(|_| target.is(Kind::Zset));
    let answer = call(command.ctx, name, &command.args[1..])?;
    if let (Some(1..), Some(listed)) = (answer.integer(), listed) {
        target.removed(Kind::Zset, &listed.strings().collect::<Vec<_>>());
    }
    Ok(Reply::Native(answer))
}

/// Removes the members of a sorted set between two names. Where scores differ, which is nobody's use of it, what a server
/// takes depends on how it holds the set, and its `ZRANGEBYLEX` lists something else: what is gone is then found by
/// comparing.
pub fn remove_lex_range(command: &Command<'_>, name: &CStr) -> Outcome {
    let target = Target::prepare(command.ctx, command.args[1])?;
    if !target.is(Kind::Zset) || score(&target, b"0") == score(&target, b"-1") {
        return remove_range(command, name, c"ZRANGEBYLEX");
    }
    let all = || range(&target, &[b"0", b"-1"]);
    let before = all();
    let answer = call(command.ctx, name, &command.args[1..])?;
    if let (Some(1..), Some(before)) = (answer.integer(), before) {
        let after = all();
        let after: HashSet<&[u8]> = after.iter().flat_map(Answer::strings).collect();
        let gone: Vec<&[u8]> = before.strings().filter(|member| !after.contains(member)).collect();
        target.removed(Kind::Zset, &gone);
    }
    Ok(Reply::Native(answer))
}

/// As text: of the member at this rank.
fn score(target: &Target<'_>, rank: &[u8]) -> Option<Vec<u8>> {
    let answer = range(target, &[rank, rank, b"WITHSCORES"])?;
    answer.strings().nth(1).map(<[u8]>::to_vec)
}

fn range(target: &Target<'_>, words: &[&[u8]]) -> Option<Answer> {
    let words: Vec<OwnedText> = words.iter().map(|word| OwnedText::new(word)).collect();
    let arguments: Vec<_> = std::iter::once(target.key)
        .chain(words.iter().map(OwnedText::text))
        .collect();
    target.ask(c"ZRANGE", &arguments)
}
