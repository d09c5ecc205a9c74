//! What the families of commands share.

use std::ffi::CStr;

use smallvec::SmallVec;

use crate::crdt::{Before, Cleared, Deadline, Edit, Element, KeyRef, Kind, Meeting, Native, OwnedValue, Store};
use crate::redis::api::{Answer, Context, Text};
use crate::redis::reply::{Refusal, Reply};
use crate::redis::store::RedisStore;
use crate::redis::{kept, settings, site};
use crate::replication::Change;

pub type Outcome = Result<Reply, Refusal>;

pub const STRING: Option<Native> = Some(Native::Kind(Kind::String));

pub type OwnedElement = (Kind, Box<[u8]>, OwnedValue);

/// A key that a command may change, and what it held before.
pub struct Target<'a> {
    ctx: Context<'a>,
    database: u32,
    pub key: Text<'a>,
    pub before: Before,
}

impl<'a> Target<'a> {
    pub fn prepare(ctx: Context<'a>, key: Text<'a>) -> Result<Target<'a>, Refusal> {
        site::prepare(ctx, key)?;
        Ok(Target {
            ctx,
            database: ctx.database(),
            key,
            before: ctx.open(key).before(),
        })
    }

    /// A key of another database; `None` when there is no such database.
    pub fn prepare_in(ctx: Context<'a>, database: u32, key: Text<'a>) -> Result<Option<Target<'a>>, Refusal> {
        let home = ctx.database();
        let target = kept::at(ctx, database).map(|there| {
            site::prepare(there, key)?;
            Ok(Target {
                ctx,
                database,
                key,
                before: there.open(key).before(),
            })
        });
        ctx.select(home);
        target.transpose()
    }

    /// Runs with the key's database selected, which in a command's context is the client's.
    fn within<R>(&self, run: impl FnOnce(Context<'a>) -> R) -> R {
        let home = self.ctx.database();
        if home == self.database {
            return run(self.ctx);
        }
        // It was there when the target was prepared.
        let result = run(kept::at(self.ctx, self.database).unwrap_or(self.ctx));
        self.ctx.select(home);
        result
    }

    pub fn after(&self) -> Before {
        self.within(|ctx| ctx.open(self.key).before())
    }

    /// Asks the server, in the key's database.
    pub fn ask(&self, name: &CStr, arguments: &[Text<'_>]) -> Option<Answer> {
        self.within(|ctx| ctx.ask(name, arguments))
    }

    pub fn is(&self, kind: Kind) -> bool {
        self.before.native == Some(Native::Kind(kind))
    }

    /// Whether something was written to it while the region recovers, which the keyspace may not show: a removal is to be
    /// noted although there is nothing to be removed.
    pub fn is_noted(&self) -> bool {
        let name = KeyRef {
            db: self.database,
            name: self.key.bytes(),
        };
        site::look(|region| region.is_noted(name)).unwrap_or(false)
    }

    /// Refuses a key of a type that does not merge, for commands that would take its value or its deadline along.
    pub fn must_merge(&self) -> Result<(), Refusal> {
        match self.before.native {
            Some(Native::Other) => Err(DOES_NOT_MERGE.into()),
            _ => Ok(()),
        }
    }

    /// Refuses what could not be replicated, for commands that take the value to a key in `geo.keys`.
    pub fn must_fit(&self) -> Result<(), Refusal> {
        if self.is(Kind::String) {
            return check_size(self.within(|ctx| ctx.open(self.key).len()));
        }
        // What is in `geo.keys` was looked at when it was written.
        if settings::has_key(self.key.bytes()) {
            return Ok(());
        }
        self.elements().iter().try_for_each(check_element)
    }

    pub fn record(&self, change: Change<'_>) {
        self.within(|there| {
            if self.before.native == Some(Native::Other) && change.edits.is_empty() {
                // Our log does not speak of what does not merge; replicas and the append-only file still hold it.
                there.replicate_bytes(c"UNLINK", self.key.bytes());
            }
            if change.edits.len() <= 1 {
                site::record_in(self.ctx, there, self.key, self.before, change);
            } else {
                self.record_in_portions(there, change);
            }
        });
    }

    fn record_in_portions(&self, there: Context<'_>, change: Change<'_>) {
        let mut before = self.before;
        change.in_portions(&mut |portion| {
            let kind = portion.kind();
            site::record_in(self.ctx, there, self.key, before, portion);
            before.native = kind.map(Native::Kind);
        });
    }

    /// The command changed elements; the deadline stays.
    pub fn edited<'b>(&self, edits: impl IntoIterator<Item = Edit<'b>>) {
        let edits: SmallVec<[Edit<'b>; 1]> = edits.into_iter().collect();
        if !edits.is_empty() {
            self.record(Change {
                edits,
                ..Change::none()
            });
        }
    }

    pub fn removed(&self, kind: Kind, names: &[&[u8]]) {
        if !names.is_empty() {
            self.record(Change::remove(kind, names));
        }
    }

    /// The key was written anew with this string. `keeps`: the command keeps a deadline.
    pub fn assigned(&self, value: &[u8], keeps: bool) {
        self.wrote(Change::assign(value), keeps);
    }

    /// The same of a string that the command looked at first.
    pub fn met(&self, value: &[u8], how: Meeting, keeps: bool) {
        self.wrote(Change::meet(value, how), keeps);
    }

    fn wrote(&self, change: Change<'_>, keeps: bool) {
        let after = self.after();
        self.record(match after.native {
            // Its deadline is in the past.
            None => Change::clear(),
            // In the place of another type it keeps the deadline of a key that is cleared.
            Some(_) if keeps && (self.is(Kind::String) || self.before.native.is_none()) => change,
            Some(_) => change.with_deadline(stated(after)),
        });
    }

    /// The key now holds whatever it holds, written anew.
    pub fn replaced(&self) {
        self.replaced_by(&self.elements());
    }

    pub fn replaced_by(&self, elements: &[OwnedElement]) {
        let after = self.after();
        if after.native.is_none() && self.before.native.is_none() {
            return;
        }
        // An assignment replaces a string by itself; other elements join those that were not seen.
        let (absent, string) = (self.before.native.is_none(), after.native == STRING);
        self.record(Change {
            clear: if absent || string { Cleared::No } else { Cleared::All },
            edits: elements.iter().map(put).collect(),
            deadline: match (after.native, stated(after)) {
                (None, _) => Deadline::Kept,
                (_, Deadline::Dropped) if absent && !string => Deadline::Kept,
                (_, deadline) => deadline,
            },
        });
    }

    pub fn elements(&self) -> Vec<OwnedElement> {
        let mut elements = Vec::new();
        let name = KeyRef {
            db: self.database,
            name: self.key.bytes(),
        };
        RedisStore::new(self.ctx).elements(name, &mut |element, value| {
            elements.push((element.kind, element.name.into(), value.to_owned()));
        });
        elements
    }

    /// The command went through and may have removed the key.
    pub fn cleared_if_gone(&self) -> bool {
        let gone = self.before.native.is_some() && self.after().native.is_none();
        if gone {
            self.record(Change::clear());
        }
        gone
    }
}

/// A deadline given on purpose is told even when it is the one the key had.
fn stated(after: Before) -> Deadline {
    after.deadline.map_or(Deadline::Dropped, Deadline::At)
}

fn put((kind, name, value): &OwnedElement) -> Edit<'_> {
    Edit::Put(Element::new(*kind, name), value.borrow())
}

const DOES_NOT_MERGE: &CStr =
    c"ERR the key holds a type that regions cannot merge: it stays in this region only; use a key outside geo.keys";

/// Runs a native command on arguments as they are.
pub fn call(ctx: Context<'_>, name: &CStr, arguments: &[Text<'_>]) -> Result<Answer, Refusal> {
    ctx.call(name, arguments).ok_or_else(|| not_run(name))
}

/// The native command could not be run at all: renamed or disabled, most likely.
#[cold]
pub fn not_run(name: &CStr) -> Refusal {
    Refusal::from(format!(
        "ERR the server does not run {}, which this command needs",
        name.to_string_lossy().to_uppercase()
    ))
}

pub fn check_element((_, name, value): &OwnedElement) -> Result<(), Refusal> {
    check_size(name.len())?;
    check_size(value.bytes().map_or(0, <[u8]>::len))
}

/// Refuses a value that could not be replicated.
pub fn check_size(bytes: usize) -> Result<(), Refusal> {
    let limit = settings::max_value();
    if bytes <= limit {
        return Ok(());
    }
    Err(Refusal::from(format!(
        "ERR the value would have {bytes} bytes: geo.max-value-size allows {limit}"
    )))
}

pub fn check_sizes(values: &[Text<'_>]) -> Result<(), Refusal> {
    values.iter().try_for_each(|value| check_size(value.bytes().len()))
}

/// The number in an argument that the native command accepts, or has accepted.
pub fn integer(argument: Text<'_>) -> Option<i64> {
    std::str::from_utf8(argument.bytes()).ok()?.parse().ok()
}

/// Whether an argument is this word, in any case.
pub fn is(argument: Text<'_>, word: &str) -> bool {
    argument.bytes().eq_ignore_ascii_case(word.as_bytes())
}

pub fn is_one_of(argument: Text<'_>, words: &[&str]) -> bool {
    words.iter().any(|word| is(argument, word))
}

pub fn bytes_of<'a>(texts: &[Text<'a>]) -> SmallVec<[&'a [u8]; 8]> {
    texts.iter().map(|text| text.bytes()).collect()
}
