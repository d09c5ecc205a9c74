//! Many keys at once.

use std::ffi::CStr;

use super::shared::{Outcome, call, integer, is};
use crate::crdt::KeyRef;
use crate::redis::api::{Context, OwnedText, Text};
use crate::redis::guard::Command;
use crate::redis::reply::{Refusal, Reply};
use crate::redis::site::FLAGS;
use crate::redis::{adopt, amnesia, kept, purge, settings, site, walk};
use crate::replication::Change;

/// Keys asked for at once.
const SCANNED: &[u8] = b"1000";

/// `FLUSHALL`, or `FLUSHDB` (`one`): the keys of this region are cleared, each as `DEL` would.
pub fn flush(command: &Command<'_>, name: &CStr, one: bool) -> Outcome {
    let (ctx, options) = (command.ctx, &command.args[1..]);
    let valid = matches!(options, []) || matches!(options, [word] if is(*word, "ASYNC") || is(*word, "SYNC"));
    if !valid {
        return call(ctx, name, options).map(Reply::Native);
    }
    site::check_attached()?;
    let home = ctx.database();
    let mut database = if one { home } else { 0 };
    while let Some(there) = kept::at(ctx, database) {
        let cleared = clear_all(there, FLAGS.0.native.get());
        ctx.select(home);
        cleared?;
        if one {
            break;
        }
        database += 1;
    }
    let answer = amnesia::on_purpose(|| ctx.call_and_propagate(name, options));
    answer.map(Reply::Native).ok_or_else(|| super::shared::not_run(name))
}

/// Records the removal of every key of the selected database. `some`: of those in `geo.keys`.
fn clear_all(ctx: Context<'_>, some: bool) -> Result<(), Refusal> {
    let (counting, count) = (OwnedText::new(b"COUNT"), OwnedText::new(SCANNED));
    let (mut cursor, db) = (OwnedText::new(b"0"), ctx.database());
    loop {
        let Some(answer) = ctx.ask(c"SCAN", &[cursor.text(), counting.text(), count.text()]) else {
            return Err(c"ERR the server does not run SCAN, which this command needs".into());
        };
        for name in answer
            .nested(1)
            .strings()
            .filter(|name| !some || settings::has_key(name))
        {
            let text = OwnedText::new(name);
            site::prepare(ctx, text.text())?;
            site::record_at(KeyRef { db, name }, None, Change::clear(), false);
        }
        match answer.nested(0).bytes() {
            Some(next) if next != b"0" => cursor = OwnedText::new(next),
            _ => break,
        }
    }
    // What the keyspace lacks need not be absent elsewhere.
    let means = |name: &[u8]| !some || settings::has_key(name);
    let hidden = site::with(|site| site.engine.hidden_in(db, means)).unwrap_or_default();
    for name in &hidden {
        site::prepare(ctx, OwnedText::new(name).text())?;
        site::record_at(KeyRef { db, name }, None, Change::clear(), false);
    }
    Ok(())
}

pub fn purge(command: &Command<'_>) -> Outcome {
    through_keys(command, purge::begin)
}

pub fn adopt(command: &Command<'_>) -> Outcome {
    through_keys(command, adopt::begin)
}

/// `pattern [COUNT n]`
fn through_keys(command: &Command<'_>, begin: fn(Context<'_>, Text<'_>, u64) -> Result<(), Refusal>) -> Outcome {
    let (pattern, count) = match *command.args {
        [_, pattern] => (pattern, walk::COUNT),
        [_, pattern, word, count] if is(word, "COUNT") => (pattern, positive(count)?),
        [_, _, ..] => return Err(c"ERR syntax error".into()),
        _ => return Ok(Reply::WrongArity),
    };
    site::check_attached()?;
    begin(command.ctx, pattern, count).map(|()| Reply::Ok)
}

/// So many keys are looked at between two commands at most.
const MOST: i64 = 10_000;

fn positive(count: Text<'_>) -> Result<u64, Refusal> {
    let count = integer(count).ok_or(Refusal::from(c"ERR value is not an integer or out of range"))?;
    match count {
        1..=MOST => Ok(count.unsigned_abs()),
        _ => Err(Refusal::from(format!("ERR COUNT must be between 1 and {MOST}"))),
    }
}
