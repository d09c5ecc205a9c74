//! What the data must be, from the commands and who had seen whom; each type in a few lines.

use std::collections::{BTreeMap, BTreeSet};

use redis_geo::crdt::{Dot, Kind, MemoryValue, Number};

use crate::canonical::Data;
use crate::replicas::{Act, Done, KEYS, World};

fn kind(act: &Act) -> Option<Kind> {
    match act {
        Act::Set(_) | Act::Increment(_) => Some(Kind::String),
        Act::Add(_) | Act::Remove(_) => Some(Kind::Set),
        Act::Clear => None,
    }
}

/// What the world began with, as writes that everyone had seen.
fn settled() -> Vec<Done> {
    let done = |key, act| Done {
        dot: Dot::BASE,
        context: Default::default(),
        key,
        act,
    };
    vec![
        done(1, Act::Set("10".into())),
        done(2, Act::Add(b'a')),
        done(2, Act::Add(b'b')),
    ]
}

/// Writes of one key that no write replaced whose author had seen them.
fn survivors(done: &[Done], key: u8, replaces: impl Fn(&Act, &Act) -> bool) -> Vec<Done> {
    let of_key: Vec<Done> = settled()
        .into_iter()
        .chain(done.iter().cloned())
        .filter(|d| d.key == key)
        .collect();
    let replaced = |d: &Done| {
        of_key
            .iter()
            .any(|later| later.dot != d.dot && later.context.covers(d.dot) && replaces(&later.act, &d.act))
    };
    of_key.iter().filter(|d| !replaced(d)).cloned().collect()
}

/// Everything ends with a clear, and with any write of another type that saw it.
fn other_type(later: &Act, earlier: &Act) -> bool {
    kind(later) != kind(earlier)
}

/// Observed-remove, add wins: a member is there when some addition of it was not removed by one who saw it.
pub fn set(done: &[Done], key: u8) -> BTreeMap<u8, Dot> {
    let survivors = survivors(done, key, |later, earlier| match (later, earlier) {
        (Act::Add(a) | Act::Remove(a), Act::Add(b)) => a == b,
        _ => other_type(later, earlier),
    });
    let mut members = BTreeMap::new();
    for done in survivors {
        if let Act::Add(member) = done.act {
            let greatest = members.entry(member).or_insert(done.dot);
            *greatest = done.dot.max(*greatest);
        }
    }
    members
}

/// Assignments nobody overwrote knowingly. The greatest is shown, the others are its siblings.
pub fn register(done: &[Done], key: u8) -> BTreeMap<Dot, String> {
    let survivors = survivors(done, key, |later, earlier| match (later, earlier) {
        (Act::Set(_), Act::Set(_)) => true,
        _ => other_type(later, earlier),
    });
    let value = |done: Done| match done.act {
        Act::Set(text) => Some((done.dot, text)),
        _ => None,
    };
    survivors.into_iter().filter_map(value).collect()
}

/// Increments nobody reset knowingly.
pub fn increments(done: &[Done], key: u8) -> BTreeMap<Dot, Number> {
    let survivors = survivors(done, key, |later, earlier| match (later, earlier) {
        (Act::Set(_), Act::Increment(_)) => true,
        _ => other_type(later, earlier),
    });
    let delta = |done: Done| match done.act {
        Act::Increment(delta) => Some((done.dot, Number::parse(delta.as_bytes()).expect("a number"))),
        _ => None,
    };
    survivors.into_iter().filter_map(delta).collect()
}

/// The winning assignment plus the increments; a text that is no number is shown as it is.
fn string(done: &[Done], key: u8) -> Option<(Dot, String)> {
    let (register, increments) = (register(done, key), increments(done, key));
    let greatest = *register.keys().chain(increments.keys()).max()?;
    let winner = register.last_key_value().map(|(_, text)| text.clone());
    let number = winner
        .as_ref()
        .map_or(Some(Number::ZERO), |text| Number::parse(text.as_bytes()));
    let text = match (number, winner) {
        (Some(number), _) if !increments.is_empty() => {
            let sum = increments.values().fold(number, |sum, delta| sum.add(delta));
            String::from_utf8(sum.to_text()).expect("a number is text")
        }
        (_, winner) => winner?,
    };
    Some((greatest, text))
}

/// All keys: of two types the one with the greatest surviving write is visible.
pub fn data(world: &World) -> Data {
    let mut data = Data::new();
    for key in 0..KEYS.len() as u8 {
        let members = set(&world.done, key);
        let top = members.values().max().copied();
        let names: BTreeSet<Box<[u8]>> = members.keys().map(|member| [*member].as_slice().into()).collect();
        let shown = match (string(&world.done, key), top) {
            (Some((dot, text)), top) if top.is_none_or(|top| dot > top) => {
                MemoryValue::String(text.into_bytes().into())
            }
            (_, Some(_)) => MemoryValue::Set(names),
            (_, None) => continue,
        };
        data.insert((0, KEYS[usize::from(key)].into()), shown);
    }
    data
}
