//! Deadlines of single fields, which regions cannot merge: what would take them into a replicated key is refused.

use std::ffi::CStr;

use super::shared::{OwnedElement, Target};
use crate::crdt::Kind;
use crate::redis::api::{Answer, OwnedText, Text};
use crate::redis::outside;
use crate::redis::reply::Refusal;

const HAVE_DEADLINES: &CStr =
    c"ERR fields of the hash have deadlines, which regions cannot merge: HPERSIST them, and give the key a deadline";

/// Before a command takes what `from` holds to the key `to`.
///
/// # Errors
/// When it is a hash with such fields, and the other key is replicated.
pub fn may_go(from: &Target<'_>, to: Text<'_>) -> Result<(), Refusal> {
    match from.is(Kind::Hash) && !outside::is_outside(to) {
        true => check(from, || from.elements()),
        false => Ok(()),
    }
}

/// `elements`: what the key holds.
///
/// # Errors
/// When the key is a hash some of whose fields have deadlines, on servers that have them (Redis 7.4, Valkey 9.0).
pub fn check<E: AsRef<[OwnedElement]>>(target: &Target<'_>, elements: impl FnOnce() -> E) -> Result<(), Refusal> {
    if ask(target, &[OwnedText::new(b"")]).is_none() {
        return Ok(());
    }
    let elements = elements();
    let names = elements.as_ref().iter().filter(|(kind, ..)| *kind == Kind::Hash);
    let names: Vec<OwnedText> = names.map(|(_, name, _)| OwnedText::new(name)).collect();
    if names.is_empty() {
        return Ok(());
    }
    let times = ask(target, &names);
    let times = times.iter().flat_map(Answer::items);
    match times.filter_map(|time| time.integer()).any(|time| time >= 0) {
        true => Err(HAVE_DEADLINES.into()),
        false => Ok(()),
    }
}

/// For each field ms, or a negative number for none; `None` where the server has no such deadlines.
fn ask(target: &Target<'_>, names: &[OwnedText]) -> Option<Answer> {
    let words = [b"FIELDS".to_vec(), names.len().to_string().into_bytes()].map(|word| OwnedText::new(&word));
    let arguments: Vec<Text<'_>> = std::iter::once(target.key)
        .chain(words.iter().chain(names).map(OwnedText::text))
        .collect();
    target.ask(c"HPTTL", &arguments)
}
