//! Members with scores.

use std::collections::HashSet;
use std::ffi::CStr;

use super::shared::{Outcome, Target, call, check_size, is, is_one_of};
use crate::crdt::{Edit, Element, Meeting, Number, Score, Value};
use crate::redis::api::{Context, Text};
use crate::redis::guard::Command;
use crate::redis::reply::Reply;

/// How a member came to its score.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// It was given it: told also when it is the one it had, because a concurrent removal must lose.
    Assigned,
    /// It may have been given it, in view of the one it had.
    Perhaps(Option<Meeting>),
    Counted,
}

const OPTIONS: [&str; 6] = ["NX", "XX", "GT", "LT", "CH", "INCR"];

/// `stride`: arguments per member, the member last.
pub fn add(command: &Command<'_>, name: &CStr, stride: usize) -> Outcome {
    let rest = &command.args[2..];
    let options = rest.iter().take_while(|one| is_one_of(**one, &OPTIONS)).count();
    let (options, rest) = rest.split_at(options);
    let given = |option: &str| options.iter().any(|one| is(*one, option));
    let way = if given("INCR") {
        Way::Counted
    } else if given("GT") {
        Way::Perhaps(Some(Meeting::AtLeast))
    } else if given("LT") {
        Way::Perhaps(Some(Meeting::AtMost))
    } else if given("NX") {
        Way::Perhaps(Some(Meeting::IfAbsent))
    } else if given("XX") {
        Way::Perhaps(None)
    } else {
        Way::Assigned
    };
    let members: Vec<Text<'_>> = rest.iter().skip(stride - 1).step_by(stride).copied().collect();
    score(command, name, &members, way)
}

pub fn increment(command: &Command<'_>, name: &CStr) -> Outcome {
    score(command, name, &command.args[3..], Way::Counted)
}

fn score(command: &Command<'_>, name: &CStr, members: &[Text<'_>], way: Way) -> Outcome {
    for member in members {
        check_size(member.bytes().len())?;
    }
    let target = Target::prepare(command.ctx, command.args[1])?;
    let before = match way {
        Way::Assigned => Vec::new(),
        Way::Perhaps(_) | Way::Counted => scores(command.ctx, &target, members),
    };
    let answer = call(command.ctx, name, &command.args[1..])?;
    if !answer.is_error() && !answer.is_null() {
        let mut known = HashSet::new();
        let after = scores(command.ctx, &target, members);
        let edits = members
            .iter()
            .zip(after)
            .enumerate()
            .filter_map(|(index, (member, after))| {
                let name = member.bytes();
                // An option may have kept it from being added.
                let after = after.filter(|_| members.len() == 1 || known.insert(name))?;
                edit(name, before.get(index).copied().flatten(), after, way)
            });
        target.edited(edits);
    }
    Ok(Reply::Native(answer))
}

fn scores(ctx: Context<'_>, target: &Target<'_>, members: &[Text<'_>]) -> Vec<Option<Score>> {
    let open = ctx.open(target.key);
    members.iter().map(|member| open.score(*member)).collect()
}

fn edit(name: &[u8], before: Option<Score>, after: Score, way: Way) -> Option<Edit<'_>> {
    let element = Element::scored(name);
    let (value, had) = (Value::Score(after), before.map(Value::Score));
    let put = Edit::Put(element, value);
    match way {
        Way::Assigned => Some(put),
        Way::Perhaps(_) if before == Some(after) => None,
        Way::Perhaps(None) => Some(put),
        Way::Perhaps(Some(how)) => Some(Edit::Meet {
            element,
            value,
            how,
            before: had,
        }),
        Way::Counted => Some(difference(after, before).map_or(put, |delta| Edit::Add {
            element,
            delta,
            before: had,
        })),
    }
}

/// Exactly what the server's rounded addition has added; `None` where infinity takes part.
fn difference(after: Score, before: Option<Score>) -> Option<Number> {
    let before = before.map_or(Some(Number::ZERO), |score| Number::from_double(score.get()))?;
    Some(Number::from_double(after.get())?.sub(&before))
}
