//! What a cluster starts with, for the specification.

use std::collections::{BTreeMap, BTreeSet};

use redis_geo::crdt::history::{Issued, Wrote};
use redis_geo::crdt::{Dot, Element, KeyRef, Kind, OwnedValue, Store};

use super::World;
use crate::spec::{Key, Name};

impl World {
    /// Whether a region has evicted what this operation assigned. Totals of counters, and values that are known beside
    /// the keyspace, stay.
    fn is_lost(&mut self, at: usize, key: &Key, element: &Option<Name>, dot: Dot) -> bool {
        let Some((kind, name)) = element else { return false };
        let assigns = |op: &Issued| {
            let own = |(of, wrote): &(Option<Name>, Wrote)| of == element && matches!(wrote, Wrote::Replace(Some(_)));
            op.dot == dot && op.key == *key && op.effects.iter().any(own)
        };
        let index = self.nodes[at].engine.state().index();
        let cell = index
            .find(KeyRef {
                db: key.0,
                name: &key.1,
            })
            .and_then(|id| index.find_cell(id, Element::new(*kind, name)))
            .map(|id| index.cell(id));
        let known = cell.is_some_and(|cell| {
            let mut live = cell.live.iter().filter(|live| live.dot == dot || live.dot.is_base());
            live.any(|live| live.value != Some(OwnedValue::Lost))
        });
        !known && self.issued.iter().any(assigns)
    }

    /// What the first region of a cluster has evicted is gone: the others take over its state.
    fn lose_evicted(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let marks: Vec<Key> = node
            .engine
            .state()
            .evicted()
            .iter()
            .map(|((db, name), _)| (*db, name.to_vec()))
            .collect();
        for key in marks {
            let Some(cells) = self.nodes[at].engine.state().history.cells.get(&key).cloned() else {
                continue;
            };
            let mut seen = BTreeMap::new();
            for (element, dots) in cells {
                let lost = dots.into_iter().filter(|dot| self.is_lost(at, &key, &element, *dot));
                seen.insert(element.clone(), lost.collect::<BTreeSet<Dot>>());
            }
            self.begin_with(at, key, None, Wrote::Clear(false), seen);
        }
    }

    /// What had expired when the first region of a cluster started is gone as well.
    fn lose_dropped(&mut self, at: usize) {
        for key in std::mem::take(&mut self.nodes[at].dropped) {
            let cells = self.nodes[at].engine.state().history.cells.get(&key).cloned();
            self.begin_with(at, key, None, Wrote::Clear(false), cells.unwrap_or_default());
        }
    }

    /// What the first region of a cluster holds becomes the common base; for the specification these are
    /// operations older than all others.
    pub(super) fn first_base(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let mut found = Vec::new();
        for key in node.store.keys().clone().keys() {
            let name = KeyRef {
                db: key.0,
                name: &key.1,
            };
            // What is noted becomes operations, on top of this.
            let mut store = node.store.clone();
            node.engine.without_noted(name, &mut store);
            let held = node.engine.state().history.cells.get(&(key.0, key.1.to_vec())).cloned();
            // What a past brings along has happened already.
            let past = |kind: Kind, name: &[u8]| {
                let cells = held.as_ref()?.get(&Some((kind, name.to_vec())))?;
                (!cells.is_empty()).then_some(())
            };
            store.elements(name, &mut |element: Element<'_>, value| {
                if past(element.kind, element.name).is_some() {
                    return;
                }
                found.push((
                    (key.0, key.1.to_vec()),
                    Some((element.kind, element.name.to_vec())),
                    value.to_owned(),
                ));
            });
            let deadline = store.read(name, Element::EXPIRY);
            let deadline = deadline.filter(|_| past(Kind::Expiry, b"").is_none());
            found.extend(deadline.map(|at| ((key.0, key.1.to_vec()), Some((Kind::Expiry, Vec::new())), at)));
        }
        self.lose_evicted(at);
        self.lose_dropped(at);
        for (key, element, value) in found {
            self.begin_with(at, key, element, Wrote::Replace(Some(value)), BTreeMap::new());
        }
    }

    /// An operation older than all that are issued, which the region includes.
    fn begin_with(
        &mut self,
        at: usize,
        key: Key,
        element: Option<Name>,
        wrote: Wrote,
        seen: BTreeMap<Option<Name>, BTreeSet<Dot>>,
    ) {
        self.say(|| {
            format!(
                "{} begins with {key:?} {element:?} {}",
                super::NAMES[at],
                crate::run::brief(&format!("{wrote:?}"))
            )
        });
        self.first_bases += 1;
        let state = self.nodes[at].engine.state();
        let dot = Dot::new(state.me(), self.first_bases);
        let cells = state.history.cells.entry(key.clone()).or_default();
        cells.entry(element.clone()).or_default().insert(dot);
        self.issued.push(Issued {
            dot,
            key,
            effects: vec![(element, wrote)],
            seen,
            own: false,
        });
    }
}
