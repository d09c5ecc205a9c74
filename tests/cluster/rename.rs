//! `RENAME`: one key is cleared, and another written anew with what it held, in one unit.

use rand::Rng;
use redis_geo::crdt::{Before, Change, Cleared, Deadline, Edit, Element, Found, KeyRef, Kind, Native, Store};

use crate::commands::{Act, What};
use crate::world::{NAMES, World};

impl World {
    /// Of one key to another, if the first is there.
    pub fn rename(&mut self, at: usize) {
        let (from, to) = (self.rng.random_range(0..self.keys), self.rng.random_range(0..self.keys));
        let names = [from, to].map(|number| [b'k', b'0' + number]);
        let [source, destination] = names.each_ref().map(|name| KeyRef { db: 0, name });
        self.begin_command(at);
        self.prepare(at, source);
        self.prepare(at, destination);
        let now = self.begin_command(at);
        let node = &mut self.nodes[at];
        let found = Found::read(source, &mut node.store);
        if from == to || found.native().is_none() {
            return;
        }
        let before = [source, destination].map(|key| Before {
            native: node.store.kind(key),
            deadline: node.store.deadline(key),
        });
        let noted = [source, destination].map(|key| node.engine.is_noted(key));
        let taken = taken(&found, before[1].native);
        node.client(source, now).change(before[0], Change::clear());
        node.engine.join();
        node.client(destination, now).change(before[1], taken.clone());
        self.say(|| format!("{} renames {names:?}", NAMES[at]));
        self.note(at, noted[0], &Act::delete(&names[0]));
        let mut was_noted = noted[1];
        for act in acts(names[1], &taken, now) {
            self.note(at, was_noted, &act);
            was_noted = true;
        }
        self.outputs(at, Vec::new());
    }
}

/// What is recorded of the key that takes the place of what was `there`.
fn taken(found: &Found, there: Option<Native>) -> Change<'_> {
    let edits = found.elements().iter();
    let string = found.native() == Some(Native::Kind(Kind::String));
    let anew = match there {
        // Elements join those of a key that was not seen.
        None if !string => Deadline::Kept,
        _ => Deadline::Dropped,
    };
    Change {
        clear: if there.is_none() || string {
            Cleared::No
        } else {
            Cleared::All
        },
        edits: edits
            .map(|(kind, name, value)| Edit::Put(Element::new(*kind, name), value.borrow()))
            .collect(),
        deadline: found.deadline().map_or(anew, Deadline::At),
    }
}

/// The same as commands, one by one.
fn acts(key: [u8; 2], taken: &Change<'_>, now: u64) -> Vec<Act> {
    let clear = (taken.clear == Cleared::All).then(|| Act::delete(&key));
    let put = |edit: &Edit<'_>| match edit {
        Edit::Put(element, value) => Act {
            key,
            kind: element.kind,
            element: element.name.to_vec(),
            what: What::Put((*value).to_owned(), None),
        },
        other => panic!("{other:?} is no assignment"),
    };
    let expire = match taken.deadline {
        Deadline::At(at) => Some(Act {
            what: What::Expire(at.saturating_sub(now)),
            ..Act::delete(&key)
        }),
        _ => None,
    };
    clear
        .into_iter()
        .chain(taken.edits.iter().map(put))
        .chain(expire)
        .collect()
}
