//! Another rule for concurrent scores: those that met under the old one stay as they were shown.
//!
//! Some regions may have settled them already, and show the old rule's score without knowing of another. So whoever
//! still knows writes it again, as an operation; what is added to it stays.

use super::cell::Observed;
use super::index::{CellId, KeyId};
use super::op::{Effect, Emit};
use super::policy::ScoreRule;
use super::state::State;
use super::store::{Element, KeyRef, Kind, OwnedValue, Store};

impl State {
    /// Writes again what `old` shows of concurrent scores. Gives how many there were.
    pub fn rescore(&mut self, old: ScoreRule, store: &mut dyn Store, emit: &mut Emit<'_>) -> u64 {
        let (mut next, mut issued) = (0, 0);
        while let Some(key) = self.index.next_key(next) {
            next = key + 1;
            let mut met = self.index.cells_of(key);
            met.retain(|id| {
                let node = self.index.node(*id);
                node.element().kind == Kind::Zset && node.cell.live.len() > 1
            });
            if met.is_empty() {
                continue;
            }
            let (db, name) = self.owned_name(key);
            if self.has_expired(KeyRef { db, name: &name }, store, emit) {
                continue;
            }
            for id in met {
                self.rescore_one(key, id, old, store, emit);
                issued += 1;
            }
        }
        issued
    }

    fn rescore_one(&mut self, key: KeyId, id: CellId, old: ScoreRule, store: &mut dyn Store, emit: &mut Emit<'_>) {
        let node = self.index.node(id);
        let member: Box<[u8]> = node.element().name.into();
        let winner = node.cell.winner(Kind::Zset, old);
        let Some(score) = winner.and_then(|live| live.value.clone()) else {
            return;
        };
        let extra = self.extra(&node.cell);
        let KeyRef { db, name } = self.index.key(key).key();
        let name: Box<[u8]> = name.into();
        let effect = Effect::Replace {
            element: Element::scored(&member),
            value: Some(OwnedValue::borrow(&score)),
            observed: Observed::new(),
            extra,
        };
        self.issue(KeyRef { db, name: &name }, smallvec::smallvec![effect], store, emit);
    }
}
