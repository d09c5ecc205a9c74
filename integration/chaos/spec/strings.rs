//! Strings: a later write replaces what its author saw; of concurrent assignments any may win.

use std::collections::BTreeMap;

use redis_geo::lab::dump::{Dump, Shown};

use super::{Coverage, Known, Violation, told};
use crate::history::Effect;

/// The writes to one string.
#[derive(Default)]
struct Register<'a> {
    /// By value: each is assigned once.
    assignments: BTreeMap<&'a str, Known<'a>>,
    deletions: Vec<Known<'a>>,
}

impl<'a> Register<'a> {
    /// A sure write that replaced or deleted this assignment's value.
    fn replaced(&self, value: &str, assignment: Known<'a>) -> Option<Known<'a>> {
        let mut sure = self
            .assignments
            .values()
            .chain(&self.deletions)
            .filter(|write| write.sure);
        sure.find(|write| write.follows(assignment) || shows(**write, value))
            .copied()
    }

    /// A sure assignment that no deletion can have seen.
    fn kept(&self) -> Option<Known<'a>> {
        let mut sure = self.assignments.values().filter(|assignment| assignment.sure);
        sure.find(|assignment| {
            !self
                .deletions
                .iter()
                .any(|deletion| deletion.may_have_seen(**assignment))
        })
        .copied()
    }
}

/// Whether the write's answer shows that it saw `value`.
fn shows(known: Known<'_>, value: &str) -> bool {
    match &known.write.effect {
        Effect::Assign { instead, .. } => instead.as_deref() == Some(value),
        Effect::Delete { value: seen, .. } => seen.as_deref() == Some(value),
        _ => false,
    }
}

pub fn check(known: &[Known<'_>], dump: &Dump, coverage: &mut Coverage) -> Vec<Violation> {
    let registers = registers(known);
    let each = registers.iter().filter_map(|(key, register)| {
        let kept = register.kept();
        coverage.must_be_present += usize::from(kept.is_some());
        let replaced = |(value, assignment): &(&&str, &Known<'_>)| register.replaced(value, **assignment).is_some();
        coverage.must_be_absent += register.assignments.iter().filter(replaced).count();
        wrong(register, kept, dump.0.get(key.as_bytes())).map(|wrong| Violation(format!("{key}: {wrong}")))
    });
    each.collect()
}

fn wrong(register: &Register<'_>, kept: Option<Known<'_>>, shown: Option<&Shown>) -> Option<String> {
    let value = match shown {
        None => return kept.map(|assignment| format!("no value, lost: {}", told(assignment))),
        Some(Shown::String(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Some(other) => return Some(format!("should be a string: {other:?}")),
    };
    let Some(assignment) = register.assignments.get(value.as_str()) else {
        return Some(format!("nobody assigned {value}"));
    };
    let later = register.replaced(&value, *assignment)?;
    Some(format!(
        "{value} is back: {}; replaced by: {}",
        told(*assignment),
        told(later)
    ))
}

fn registers<'a>(known: &[Known<'a>]) -> BTreeMap<&'a str, Register<'a>> {
    let mut registers: BTreeMap<&str, Register<'_>> = BTreeMap::new();
    for known in known {
        match &known.write.effect {
            Effect::Assign { key, value, .. } => {
                let register = registers.entry(key).or_default();
                register.assignments.insert(value, *known);
            }
            Effect::Delete { key, .. } => registers.entry(key).or_default().deletions.push(*known),
            _ => {}
        }
    }
    registers
}
