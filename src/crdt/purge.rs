//! Clearing a key of what was seen at an earlier time: what was written to it since survives.

use super::cell::Observed;
use super::op::{Clear, ClearedCell, Effect, Emit};
use super::rules::{Rule, holds};
use super::state::State;
use super::store::{KeyRef, Store};
use super::vector::Vector;

impl State {
    /// Issues a clear of what was there when this state had seen `seen`. A counter that was incremented since stays as
    /// it is: its total is one number. Nothing of the key may have settled since, see [`crate::replication::Engine`].
    pub fn clear_as_of(&mut self, key: KeyRef<'_>, seen: &Vector, store: &mut dyn Store, emit: &mut Emit<'_>) {
        let now = (!holds(Rule::PurgeAsOf)).then(|| self.seen.clone());
        let seen = now.as_ref().unwrap_or(seen);
        let id = self.index.obtain(key);
        let mut clear = Clear {
            context: seen.clone(),
            ..Clear::default()
        };
        for cell in self.index.cells_of(id) {
            let node = self.index.node(cell);
            let totals = node.cell.contributions().iter();
            let observed: Observed = totals
                .filter(|(replica, c)| c.alive() && c.hlc <= seen.get(*replica))
                .map(|(replica, c)| (*replica, c.hlc, c.total.clone()))
                .collect();
            if !observed.is_empty() {
                let element = node.element();
                clear.cells.push(ClearedCell {
                    kind: element.kind,
                    name: element.name.into(),
                    observed,
                    extra: Vector::new(),
                });
            }
        }
        clear.cells.sort_by(|a, b| a.element().cmp(&b.element()));
        self.history.own();
        self.issue(key, smallvec::smallvec![Effect::Clear(Box::new(clear))], store, emit);
    }
}
