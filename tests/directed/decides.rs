//! Rules that can be switched off.

use redis_geo::crdt::rules::{Rule, break_rule};

/// The scenario ends well with all rules, and not without this one.
pub fn decides(rule: Rule, scenario: fn() -> Result<(), String>) {
    break_rule(None);
    assert_eq!(scenario(), Ok(()), "with all rules");
    break_rule(Some(rule));
    let broken = scenario();
    break_rule(None);
    let why = broken.expect_err("nobody notices that the rule is broken");
    println!("without {}: {why}", rule.name());
}
