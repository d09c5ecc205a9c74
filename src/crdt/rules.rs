//! The rules of convergence by name. The test build (feature `sim`) can switch each of them off, to
//! show that the simulation notices; otherwise every rule holds and the checks cost nothing.

macro_rules! rules {
    ($($rule:ident $name:literal,)*) => {
        /// One rule that must hold; see DESIGN section 3 and `docs/decisions`.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Rule { $($rule,)* }

        impl Rule {
            pub const ALL: &[Rule] = &[$(Rule::$rule,)*];

            pub fn name(self) -> &'static str {
                match self { $(Rule::$rule => $name,)* }
            }
        }
    };
}

rules! {
    Causal "causal",
    KillBase "kill-base",
    NameAheadDots "name-ahead-dots",
    AheadContext "ahead-context",
    ClearContext "clear-context",
    ResetTotals "reset-totals",
    FreshBirth "fresh-birth",
    TouchRemovals "touch-removals",
    MergeBase "merge-base",
    AdvanceAtEnd "advance-at-end",
    HeaderOrder "header-order",
    OwnAcknowledgement "compaction-by-all",
    FirstHand "first-hand-ack",
    FreshIncarnation "fresh-incarnation",
    OwnOrphans "own-orphans",
    WriteClearsDormant "write-clears-dormant",
    MixedSettlesWhole "mixed-settles-whole",
    TidyIsAnOperation "tidy-is-an-operation",
    ClearInOnePiece "clear-in-one-piece",
    ClearTouchesKeyOnly "clear-touches-key-only",
    PassOnResets "pass-on-resets",
    AbsorbClears "absorb-clears",
    Reissue "reissue-provisional",
    Pledge "pledge",
    Withdraw "withdraw-provisional",
    DurableAcknowledgement "durable-ack",
    FitOrAdopt "fit-or-adopt",
    CatchUpFirst "catch-up-first",
    PartIsNotWhole "part-is-not-whole",
    DropStale "drop-stale",
    ExpiryStays "expiry-stays",
    CreateClearsExpiry "create-clears-expiry",
    Reassert "reassert",
    RestartsKnown "restarts-known",
    EvictionIsNoRemoval "eviction-is-no-removal",
    UnknownBase "unknown-base",
    Gaps "gaps",
    UnknownDeadline "unknown-deadline",
    NameEvicted "name-evicted",
    WholeBeforeTidy "whole-before-tidy",
    AssignmentClearsEvicted "assignment-clears-evicted",
    Unite "unite-sketches",
    Meet "meet-unseen",
    PurgeAsOf "purge-as-of",
    PurgeUnsettled "purge-unsettled",
}

#[cfg(feature = "sim")]
mod switch {
    use super::Rule;
    use std::cell::Cell;

    thread_local! {
        static BROKEN: Cell<Option<Rule>> = const { Cell::new(None) };
    }

    /// Switches one rule off in this thread; `None` switches all on.
    pub fn break_rule(rule: Option<Rule>) {
        BROKEN.with(|b| b.set(rule));
    }

    pub fn holds(rule: Rule) -> bool {
        BROKEN.with(|b| b.get() != Some(rule))
    }
}

#[cfg(feature = "sim")]
pub use switch::{break_rule, holds};

/// Whether the rule is in force: always, outside the test build.
#[cfg(not(feature = "sim"))]
#[inline(always)]
pub fn holds(_rule: Rule) -> bool {
    true
}
