//! A provisional write in the log: what a command did to one key while its region recovered.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use smallvec::SmallVec;

use super::Malformed;
use super::meeting;
use crate::crdt::{Change, Cleared, Deadline, Edit, Element, KeyRef, Kind, Meeting, Number, OwnedValue, Store, Value};

/// whether the key was removed first, edits, deadline
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WireChange(bool, Vec<WireEdit>, WireDeadline);

/// code, kind, element, value, number
type WireEdit = (u8, u8, ByteBuf, Option<ByteBuf>, Option<Number>);

#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
enum WireDeadline {
    Kept,
    Dropped,
    At(u64),
}

const PUT: u8 = 0;
const REMOVE: u8 = 1;
const ADD: u8 = 2;
/// From here on: given in view of what was there; see [`meeting`].
const MEET: u8 = 3;

pub fn write(change: &Change<'_>) -> WireChange {
    let deadline = match change.deadline {
        Deadline::Kept => WireDeadline::Kept,
        Deadline::Dropped => WireDeadline::Dropped,
        Deadline::At(at) => WireDeadline::At(at),
    };
    let edits = change.edits.iter().map(write_edit).collect();
    WireChange(change.clear != Cleared::No, edits, deadline)
}

fn write_edit(edit: &Edit<'_>) -> WireEdit {
    let Element { kind, name } = edit.element();
    let (code, value, number) = match edit {
        Edit::Put(_, value) => (PUT, value.encode().bytes().map(ByteBuf::from), None),
        Edit::Meet { value, how, .. } => {
            let code = MEET + meeting::code(*how);
            (code, value.encode().bytes().map(ByteBuf::from), None)
        }
        Edit::Remove(_) => (REMOVE, None, None),
        Edit::Add { delta, .. } => (ADD, None, Some(delta.clone())),
    };
    (code, kind as u8, ByteBuf::from(name), value, number)
}

/// Runs with the change that was written, on a keyspace that is as it was before it.
pub fn read<R>(
    WireChange(clear, edits, deadline): &WireChange,
    key: KeyRef<'_>,
    store: &mut dyn Store,
    run: impl FnOnce(&Change<'_>, &mut dyn Store) -> R,
) -> Result<R, Malformed> {
    let mut shown: Vec<Option<OwnedValue>> = Vec::new();
    for (code, kind, name, ..) in edits {
        let element = element(*kind, name)?;
        let looked = *code >= ADD && *code != MEET + meeting::code(Meeting::Unite);
        shown.push(if looked { store.read(key, element) } else { None });
    }
    let read = edits
        .iter()
        .zip(&shown)
        .map(|(edit, shown)| read_edit(edit, shown.as_ref()));
    let edits: SmallVec<[Edit<'_>; 1]> = read.collect::<Result<_, _>>()?;
    let change = Change {
        clear: if *clear { Cleared::All } else { Cleared::No },
        edits,
        deadline: match deadline {
            WireDeadline::Kept => Deadline::Kept,
            WireDeadline::Dropped => Deadline::Dropped,
            WireDeadline::At(at) => Deadline::At(*at),
        },
    };
    Ok(run(&change, store))
}

fn read_edit<'a>(
    (code, kind, name, value, number): &'a WireEdit,
    shown: Option<&'a OwnedValue>,
) -> Result<Edit<'a>, Malformed> {
    let element = element(*kind, name)?;
    let value = value.as_ref().map(|value| value.as_ref());
    match (*code, number) {
        (PUT, None) => Value::decode(element.kind, value).map(|value| Edit::Put(element, value)),
        (REMOVE, None) => Some(Edit::Remove(element)),
        (ADD, Some(delta)) if element.kind.counts() => Some(Edit::Add {
            element,
            delta: delta.clone(),
            before: shown.map(OwnedValue::borrow),
        }),
        (MEET.., None) => Value::decode(element.kind, value).and_then(|value| {
            Some(Edit::Meet {
                element,
                value,
                how: meeting::read(*code - MEET)?,
                before: shown.map(OwnedValue::borrow),
            })
        }),
        _ => None,
    }
    .ok_or_else(|| Malformed::new("log", "a provisional write makes no sense"))
}

fn element(kind: u8, name: &[u8]) -> Result<Element<'_>, Malformed> {
    let kind = Kind::from_code(kind).filter(|kind| kind.is_type());
    let kind = kind.ok_or_else(|| Malformed::new("log", "unknown type"))?;
    Ok(Element::new(kind, name))
}
