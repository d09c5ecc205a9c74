//! Every rule switched off in turn must be noticed.

use redis_geo::crdt::rules::{Rule, break_rule};

use crate::run::{Options, run};

/// First seed that notices the broken rule.
fn caught(rule: Rule, seeds: u64) -> Option<(u64, String)> {
    break_rule(Some(rule));
    let found = (0..seeds).find_map(|seed| {
        let outcome = std::panic::catch_unwind(|| run(seed, &Options::of_seed(seed), crate::traces()));
        match outcome {
            Ok(Ok(())) => None,
            Ok(Err(why)) => Some((seed, why.lines().next().unwrap_or_default().to_owned())),
            Err(_) => Some((seed, "panic".to_owned())),
        }
    });
    break_rule(None);
    found
}

/// Rules that random runs rarely need: each has a directed test in `tests/directed`.
const DIRECTED: &[Rule] = &[
    Rule::ClearContext,
    Rule::FirstHand,
    Rule::PassOnResets,
    Rule::AbsorbClears,
    Rule::Reissue,
    Rule::MixedSettlesWhole,
    Rule::CatchUpFirst,
    Rule::RestartsKnown,
    Rule::ExpiryStays,
    Rule::UnknownDeadline,
    Rule::Gaps,
    Rule::AssignmentClearsEvicted,
    Rule::WholeBeforeTidy,
];

/// Every other rule is noticed, most within a few hundred seeds. `GEO_BROKEN_SEEDS` says how many are tried, `GEO_RULE`
/// names one rule.
#[test]
fn every_broken_rule_is_noticed() {
    let seeds = crate::number("GEO_BROKEN_SEEDS", 4000);
    let mut unnoticed = Vec::new();
    let only = std::env::var("GEO_RULE").ok();
    let chosen = |rule: &&Rule| {
        only.as_ref()
            .map_or(!DIRECTED.contains(rule), |name| name == rule.name())
    };
    for rule in Rule::ALL.iter().filter(chosen) {
        match caught(*rule, seeds) {
            Some((seed, why)) => println!("{:24} seed {seed}: {why}", rule.name()),
            None => unnoticed.push(rule.name()),
        }
    }
    assert!(unnoticed.is_empty(), "not noticed: {unnoticed:?}");
}
