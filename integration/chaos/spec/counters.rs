//! Counters: every increment counts once.

use std::collections::BTreeMap;

use redis_geo::lab::dump::{Dump, Shown};

use super::{Coverage, Known, Violation, server};
use crate::history::{Effect, Life, Sighting};

/// The sums that the increments of one counter allow.
#[derive(Default)]
struct Sum {
    least: i64,
    most: i64,
}

pub fn check(known: &[Known<'_>], dump: &Dump, coverage: &mut Coverage) -> Vec<Violation> {
    let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
    for known in known {
        if let Effect::Increment { key, by } = &known.write.effect {
            let sum = sums.entry(key).or_default();
            sum.least += if known.sure { *by } else { (*by).min(0) };
            sum.most += if known.sure { *by } else { (*by).max(0) };
        }
    }
    coverage.counters = sums.len();
    coverage.exact = sums.values().filter(|sum| sum.least == sum.most).count();
    let each = sums.into_iter().filter_map(|(key, Sum { least, most })| {
        let wrong = match value(dump.0.get(key.as_bytes())) {
            Some(value) if value < least => format!("{value} is too small"),
            Some(value) if value > most => format!("{value} is too large"),
            Some(_) => return None,
            None => "not a number".into(),
        };
        let parts = parts(known, key);
        Some(Violation(format!(
            "{key}: {wrong}: from {least} to {most} is right: {parts}"
        )))
    });
    each.collect()
}

/// What each life surely added, and who held the last of it: for whoever looks for what is missing.
fn parts(known: &[Known<'_>], key: &str) -> String {
    let mut parts: BTreeMap<&Life, (i64, Option<&Sighting>)> = BTreeMap::new();
    for known in known.iter().filter(|known| known.sure) {
        if let Effect::Increment { key: its, by } = &known.write.effect
            && its == key
        {
            let part = parts.entry(&known.write.life).or_default();
            *part = (part.0 + by, known.holder);
        }
    }
    let part = |(life, (sum, holder)): (&Life, (i64, Option<&Sighting>))| {
        let holder = holder.map(|holder| format!("{} at {:.3} s", server(&holder.life), holder.seen.as_secs_f64()));
        format!("\n  {sum} by {}, held by {}", server(life), holder.unwrap_or_default())
    };
    parts.into_iter().map(part).collect()
}

fn value(shown: Option<&Shown>) -> Option<i64> {
    match shown {
        None => Some(0),
        Some(Shown::String(bytes)) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        Some(_) => None,
    }
}
