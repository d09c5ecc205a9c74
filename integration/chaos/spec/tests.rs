//! The specification finds what it is there for, and accepts what is allowed.

use std::sync::Arc;
use std::time::Duration;

use redis_geo::lab::dump::{Dump, Shown};

use super::{Coverage, check};
use crate::history::{Beacon, Effect, History, Life, Restart, Sighting, Time, Write};

fn second(number: u64) -> Time {
    Duration::from_secs(number)
}

/// A run written down by hand: things happen one second after the other.
struct Run {
    history: History,
    now: u64,
}

impl Run {
    fn new() -> Run {
        Run {
            history: History {
                end: Time::MAX,
                ..History::default()
            },
            now: 0,
        }
    }

    fn tick(&mut self) -> Time {
        self.now += 1;
        second(self.now)
    }

    fn write(&mut self, life: &Arc<Life>, effect: Effect) -> &mut Write {
        let (sent, answered) = (self.tick(), self.tick());
        self.history.writes.push(Write {
            life: life.clone(),
            sent,
            answered: Some(answered),
            provisional: false,
            effect,
        });
        self.history.writes.last_mut().unwrap()
    }

    fn unanswered(&mut self, life: &Arc<Life>, effect: Effect) {
        self.write(life, effect).answered = None;
    }

    /// `writer` marks what it has written, and `holder` shows the mark.
    fn held(&mut self, writer: &Arc<Life>, holder: &Arc<Life>) {
        self.shown(writer, holder);
        self.shown(writer, holder);
    }

    /// The same once: it may have come with a part of a transfer.
    fn shown(&mut self, writer: &Arc<Life>, holder: &Arc<Life>) {
        let sent = self.tick();
        let number = self.history.beacons.len() as u64;
        self.history.beacons.push(Beacon {
            life: writer.clone(),
            number,
            sent,
        });
        self.sighted(holder, "", true).beacons.push((writer.clone(), number));
    }

    fn sighted(&mut self, life: &Arc<Life>, continues: &str, primary: bool) -> &mut Sighting {
        let seen = self.tick();
        self.history.sightings.push(Sighting {
            life: life.clone(),
            continues: continues.into(),
            primary,
            transfers: Some(0),
            seen,
            beacons: Vec::new(),
        });
        self.history.sightings.last_mut().unwrap()
    }

    fn restarted(&mut self, before: &Arc<Life>, after: &Arc<Life>, kept: Option<Time>) {
        self.history.restarts.push(Restart {
            before: before.process.clone(),
            after: after.process.clone(),
            started: second(self.now),
            blank: kept.is_none(),
            kept,
        });
        self.sighted(after, "", true);
    }

    /// Ends the run with these lives and, everywhere, this data.
    fn end(mut self, survivors: &[&Arc<Life>], shown: &[(&str, Shown)]) -> (Vec<String>, Coverage) {
        self.history.end = self.tick();
        for life in survivors {
            self.sighted(life, "", true);
        }
        let dump = Dump(
            shown
                .iter()
                .map(|(key, shown)| (key.as_bytes().to_vec(), shown.clone()))
                .collect(),
        );
        self.history.dumps = vec![("eu-0".into(), dump.clone()), ("us-0".into(), dump)];
        told(&self.history)
    }
}

fn told(history: &History) -> (Vec<String>, Coverage) {
    let (violations, coverage) = check(history);
    (violations.into_iter().map(|violation| violation.0).collect(), coverage)
}

fn life(node: &str, process: &str) -> Arc<Life> {
    Arc::new(Life {
        node: node.into(),
        process: process.into(),
        history: format!("history-{process}"),
    })
}

fn lives() -> (Arc<Life>, Arc<Life>) {
    (life("eu-0", "e1"), life("us-0", "u1"))
}

fn add(member: &str) -> Effect {
    Effect::Add {
        key: "s".into(),
        member: member.into(),
    }
}

fn remove(member: &str) -> Effect {
    Effect::Remove {
        key: "s".into(),
        members: vec![member.into()],
        whole: true,
    }
}

fn assign(value: &str, instead: Option<&str>) -> Effect {
    Effect::Assign {
        key: "r".into(),
        value: value.into(),
        instead: instead.map(str::to_owned),
    }
}

fn delete(value: Option<&str>) -> Effect {
    Effect::Delete {
        key: "r".into(),
        value: value.map(str::to_owned),
    }
}

fn increment(by: i64) -> Effect {
    Effect::Increment { key: "c".into(), by }
}

fn set(members: &[&str]) -> Shown {
    Shown::Set(members.iter().map(|member| member.as_bytes().to_vec()).collect())
}

fn string(text: &str) -> Shown {
    Shown::String(text.as_bytes().to_vec())
}

#[track_caller]
fn assert_one(violations: &[String], words: &str) {
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert!(violations[0].contains(words), "{violations:?}");
}

#[test]
fn a_lost_acknowledged_addition_is_found() {
    let end = |shown: &[(&str, Shown)]| {
        let (eu, us) = lives();
        let mut run = Run::new();
        run.write(&eu, add("a"));
        run.held(&eu, &eu);
        run.end(&[&eu, &us], shown)
    };
    let (violations, coverage) = end(&[("s", set(&["a"]))]);
    assert!(violations.is_empty(), "{violations:?}");
    assert_eq!((coverage.sure, coverage.must_be_present), (1, 1));
    assert_one(&end(&[]).0, "a is lost");
}

#[test]
fn what_nobody_who_survived_held_may_be_lost() {
    let (eu, us) = lives();
    let mut run = Run::new();
    run.write(&eu, add("a"));
    run.held(&eu, &eu);
    let (violations, coverage) = run.end(&[&us], &[]);
    assert!(violations.is_empty(), "{violations:?}");
    assert_eq!(coverage.sure, 0);
}

#[test]
fn what_a_peer_held_may_not_be_lost() {
    let (eu, us) = lives();
    let mut run = Run::new();
    run.write(&eu, add("a"));
    run.held(&eu, &us);
    run.write(&eu, add("b"));
    let (violations, _) = run.end(&[&us], &[]);
    assert_one(&violations, "a is lost");
}

#[test]
fn what_the_files_must_have_kept_may_not_be_lost() {
    let end = |kept: Option<Time>| {
        let (eu, us) = lives();
        let again = life("eu-0", "e2");
        let mut run = Run::new();
        run.write(&eu, add("a"));
        run.held(&eu, &eu);
        run.restarted(&eu, &again, kept);
        run.end(&[&again, &us], &[]).0
    };
    assert!(end(None).is_empty());
    assert!(end(Some(second(3))).is_empty(), "the files are older");
    assert_one(&end(Some(second(9))), "a is lost");
}

#[test]
fn a_replica_that_is_promoted_keeps_and_one_that_synchronizes_anew_forgets() {
    let end = |continues: &str| {
        let us = life("us-0", "u1");
        let (eu, replica) = (life("eu-0", "e1"), life("eu-1", "r1"));
        let later = Arc::new(Life {
            history: "later".into(),
            ..(*replica).clone()
        });
        let mut run = Run::new();
        run.write(&eu, add("a"));
        run.held(&eu, &replica);
        run.sighted(&later, continues, true);
        run.end(&[&later, &us], &[]).0
    };
    assert_one(&end("history-r1"), "a is lost");
    assert!(end("another").is_empty());
}

#[test]
fn a_resurrected_member_is_found() {
    let (eu, us) = lives();
    let mut run = Run::new();
    run.write(&eu, add("a"));
    run.write(&us, remove("a"));
    run.held(&eu, &eu);
    run.held(&us, &us);
    let (violations, _) = run.end(&[&eu, &us], &[("s", set(&["a"]))]);
    assert_one(&violations, "a is back");
}

#[test]
fn a_member_added_again_may_be_present_or_absent() {
    for shown in [set(&["a"]), set(&[])] {
        let (eu, us) = lives();
        let mut run = Run::new();
        run.write(&eu, add("a"));
        run.unanswered(&eu, add("a"));
        run.write(&us, remove("a"));
        run.held(&us, &us);
        run.held(&eu, &eu);
        let (violations, _) = run.end(&[&eu, &us], &[("s", shown)]);
        assert!(violations.is_empty(), "{violations:?}");
    }
}

#[test]
fn an_addition_after_every_removal_is_kept() {
    let (eu, us) = lives();
    let mut run = Run::new();
    run.write(&us, remove("a"));
    run.write(&eu, add("a"));
    run.held(&eu, &eu);
    let (violations, _) = run.end(&[&eu, &us], &[]);
    assert_one(&violations, "a is lost");
}

#[test]
fn a_removal_that_may_be_lost_proves_nothing() {
    let (eu, us) = lives();
    let mut run = Run::new();
    run.write(&eu, add("a"));
    run.held(&eu, &eu);
    run.write(&us, remove("a"));
    run.unanswered(&us, Effect::RemoveAny { key: "s".into() });
    for shown in [set(&["a"]), set(&[])] {
        let history = History {
            dumps: Vec::new(),
            writes: run.history.writes.clone(),
            beacons: run.history.beacons.clone(),
            sightings: run.history.sightings.clone(),
            restarts: Vec::new(),
            end: Time::MAX,
        };
        let again = Run { history, now: run.now };
        let (violations, _) = again.end(&[&eu], &[("s", shown)]);
        assert!(violations.is_empty(), "{violations:?}");
    }
}

#[test]
fn an_invented_member_is_found() {
    let (eu, _) = lives();
    let mut run = Run::new();
    run.write(&eu, add("a"));
    run.held(&eu, &eu);
    let (violations, _) = run.end(&[&eu], &[("s", set(&["a", "b"]))]);
    assert_one(&violations, "nobody added b");
}

#[test]
fn a_counter_too_small_or_too_large_is_found() {
    let end = |value: &str| {
        let (eu, us) = lives();
        let mut run = Run::new();
        run.write(&eu, increment(5));
        run.write(&eu, increment(-2));
        run.held(&eu, &us);
        run.unanswered(&eu, increment(10));
        run.end(&[&us], &[("c", string(value))])
    };
    assert_one(&end("2").0, "2 is too small");
    assert!(end("3").0.is_empty());
    assert!(end("13").0.is_empty());
    assert_one(&end("14").0, "14 is too large");
    assert_one(&end("text").0, "not a number");
    assert_eq!((end("3").1.counters, end("3").1.exact), (1, 0));
}

#[test]
fn a_counter_is_exact_when_all_outcomes_are_known() {
    let end = |shown: &[(&str, Shown)]| {
        let (eu, us) = lives();
        let mut run = Run::new();
        run.write(&eu, increment(5));
        run.write(&us, increment(7));
        run.held(&eu, &eu);
        run.held(&us, &us);
        run.end(&[&eu, &us], shown)
    };
    assert_eq!(end(&[("c", string("12"))]).1.exact, 1);
    assert!(end(&[("c", string("12"))]).0.is_empty());
    assert_one(&end(&[("c", string("11"))]).0, "too small");
    assert_one(&end(&[("c", string("13"))]).0, "too large");
    assert_one(&end(&[]).0, "0 is too small");
}

#[test]
fn a_value_that_was_replaced_is_not_back() {
    let end = |value: &str, instead: Option<&str>, second_writer: &Arc<Life>| {
        let (eu, us) = lives();
        let mut run = Run::new();
        run.write(&eu, assign("old", None));
        run.write(second_writer, assign("new", instead));
        run.held(&eu, &eu);
        run.held(&us, &us);
        run.end(&[&eu, &us], &[("r", string(value))]).0
    };
    let (eu, us) = lives();
    assert!(end("new", None, &eu).is_empty());
    assert_one(&end("old", None, &eu), "old is back");
    assert!(end("old", None, &us).is_empty(), "concurrent: either may win");
    assert_one(&end("old", Some("old"), &us), "old is back");
    assert_one(&end("other", None, &us), "nobody assigned other");
}

#[test]
fn a_string_is_lost_only_to_a_deletion_that_may_have_seen_it() {
    let end = |shown: &[(&str, Shown)], deleted_first: bool| {
        let (eu, us) = lives();
        let mut run = Run::new();
        if deleted_first {
            run.write(&us, delete(None));
        }
        run.write(&eu, assign("value", None));
        if !deleted_first {
            run.write(&us, delete(Some("value")));
        }
        run.held(&eu, &eu);
        run.held(&us, &us);
        run.end(&[&eu, &us], shown).0
    };
    assert_one(&end(&[], true), "no value, lost");
    assert!(end(&[], false).is_empty());
    assert_one(&end(&[("r", string("value"))], false), "value is back");
}

#[test]
fn servers_that_differ_are_found() {
    let mut run = Run::new();
    let (eu, _) = lives();
    run.write(&eu, add("a"));
    let mut history = run.history;
    let mut show = |name: &str, members: &[&str]| {
        let dump = Dump([(b"s".to_vec(), set(members))].into());
        history.dumps.push((name.into(), dump));
    };
    show("eu-0", &["a"]);
    show("eu-1", &["a"]);
    show("us-0", &[]);
    assert_one(&told(&history).0, "eu-0 / us-0");
}

#[test]
fn a_primary_that_begins_a_new_history_keeps_its_data() {
    let end = |was_primary: bool| {
        let (eu, us) = lives();
        let later = Arc::new(Life {
            history: "later".into(),
            ..(*eu).clone()
        });
        let mut run = Run::new();
        run.sighted(&eu, "", was_primary);
        run.write(&eu, add("a"));
        run.held(&eu, &eu);
        run.sighted(&later, "0000", true);
        run.end(&[&later, &us], &[]).0
    };
    assert_one(&end(true), "a is lost");
    assert!(end(false).is_empty());
}

#[test]
fn what_an_unfinished_transfer_shows_proves_nothing() {
    let (eu, us) = lives();
    let mut run = Run::new();
    run.write(&eu, add("a"));
    run.shown(&eu, &us);
    assert!(run.end(&[&us], &[]).0.is_empty());

    let mut run = Run::new();
    run.write(&eu, add("a"));
    run.held(&eu, &us);
    run.history.sightings.last_mut().unwrap().transfers = Some(1);
    assert!(run.end(&[&us], &[]).0.is_empty());
}

#[test]
fn what_the_others_held_when_a_blank_server_adopted_may_not_be_lost() {
    let end = |us_holds: bool| {
        let (eu, us) = lives();
        let (ap, again) = (life("ap-0", "a1"), life("eu-0", "e2"));
        let mut run = Run::new();
        run.write(&eu, add("a"));
        if us_holds {
            run.held(&eu, &us);
        }
        run.held(&eu, &ap);
        run.sighted(&us, "", true);
        run.restarted(&eu, &again, None);
        run.sighted(&us, "", true);
        run.sighted(&ap, "", true);
        run.end(&[&again], &[]).0
    };
    assert_one(&end(true), "a is lost");
    assert!(end(false).is_empty());
}

#[test]
fn a_set_deleted_while_recovering_may_take_what_was_adopted() {
    let end = |provisional: bool| {
        let (eu, us) = lives();
        let mut run = Run::new();
        run.write(&us, remove("b")).provisional = provisional;
        run.write(&eu, add("a"));
        run.held(&eu, &eu);
        run.end(&[&eu, &us], &[]).0
    };
    assert!(end(true).is_empty());
    assert_one(&end(false), "a is lost");
}
