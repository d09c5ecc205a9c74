//! A key that expired elsewhere while its deadline was extended here: whoever holds the extension writes the key again.
//!
//! Every holder does, because the author of the extension may be gone. They write the values that are shown, which is
//! the same twice.

use smallvec::SmallVec;

use super::clock::unix_millis;
use super::index::KeyId;
use super::op::{Clear, Effect, Emit};
use super::rules::{Rule, holds};
use super::state::State;
use super::store::{Element, KeyRef, Kind, Native, OwnedValue, Store};

/// What a key showed before it was cleared although its deadline had been extended.
#[derive(Debug)]
pub(super) struct Rescue {
    db: u32,
    key: Box<[u8]>,
    elements: Vec<(Kind, Box<[u8]>, OwnedValue)>,
}

impl State {
    /// Takes note of what a clear is about to remove whose author had not seen an extension that is known here.
    pub(super) fn endangered(&mut self, key: KeyId, clear: &Clear, store: &mut dyn Store) {
        if clear.expired.is_none() || !holds(Rule::Reassert) {
            return;
        }
        let Some(id) = self.index.find_cell(key, Element::EXPIRY) else {
            return;
        };
        let now = unix_millis(self.clock.wall());
        let extended = self.index.cell(id).live.iter().any(|live| {
            let later = matches!(live.value, Some(OwnedValue::Deadline(at)) if at > now);
            later && !clear.context.covers(live.dot)
        });
        if extended {
            let KeyRef { db, name } = self.index.key(key).key();
            let mut elements = Vec::new();
            // What is shown without its lost part is not what others would write.
            let whole = |e: Element<'_>| {
                let cell = self.index.find_cell(key, e);
                !cell.is_some_and(|id| self.index.cell(id).has_lost())
            };
            store.elements(KeyRef { db, name }, &mut |e, value| {
                if whole(e) {
                    elements.push((e.kind, e.name.into(), value.to_owned()));
                }
            });
            self.rescues.push(Rescue {
                db,
                key: name.into(),
                elements,
            });
        }
    }

    /// Writes again what expired clears have removed since the last call although its deadline had been extended.
    pub fn reassert(&mut self, store: &mut dyn Store, emit: &mut Emit<'_>) {
        for Rescue { db, key, elements } in std::mem::take(&mut self.rescues) {
            let name = KeyRef { db, name: &key };
            if self.has_expired(name, store, emit) {
                continue;
            }
            let held = store.kind(name);
            let id = self.index.obtain(name);
            let mut effects: SmallVec<[Effect<'_>; 1]> = SmallVec::new();
            for (kind, element, value) in &elements {
                let element = Element::new(*kind, element);
                if held.is_none_or(|held| held == Native::Kind(*kind)) && store.read(name, element).is_none() {
                    effects.push(self.replace_effect(id, element, Some(value.borrow())));
                }
            }
            if effects.is_empty() {
                self.index.drop_if_empty(id);
            } else {
                self.history.own();
                self.issue(name, effects, store, emit);
            }
        }
    }

    /// Whether something is to be written again.
    pub fn has_rescues(&self) -> bool {
        !self.rescues.is_empty()
    }

    /// Whoever follows this region does not write: its primary does.
    pub fn drop_rescues(&mut self) {
        self.rescues.clear();
    }
}
