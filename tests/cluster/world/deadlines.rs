//! When keys expire, for the specification.

use super::*;
use crate::passing::Passing;

impl World {
    /// The engine is at work on the keyspace, and the time goes on meanwhile.
    pub fn during<T>(&mut self, at: usize, act: impl FnOnce(&mut Engine, &mut dyn Store) -> T) -> T {
        let now = self.wall(at);
        let node = &mut self.nodes[at];
        let Some(rng) = &mut self.passes else {
            return act(&mut node.engine, &mut node.store);
        };
        let mut passing = Passing::new(&mut node.store, Some(rng), now);
        let done = act(&mut node.engine, &mut passing);
        passing.tell(&mut node.engine);
        let Passing {
            now: then,
            expired,
            mishap,
            ..
        } = passing;
        self.now += then - now;
        // What is sent says what time it was before.
        self.slowest = self.slowest.max(then - now);
        if let Some(mishap) = mishap {
            self.mishap = Some(format!("{} {mishap}", node.name));
        }
        expired.iter().for_each(|key| self.has_expired(at, key));
        done
    }

    /// A key has gone from a server. When that is because of a deadline that was given while the region recovered, nobody
    /// hears of it, and it counts although the key was to live longer.
    pub(super) fn has_expired(&mut self, at: usize, key: &Key) {
        let node = &mut self.nodes[at];
        node.noted.is_unclear(key);
        let name = KeyRef {
            db: key.0,
            name: &key.1,
        };
        if node.engine.is_noted(name) {
            let seen = node.engine.seen();
            self.extensions
                .retain(|extension| extension.key != *key || !seen.covers(extension.dot));
        }
    }

    pub(super) fn note_extensions(&mut self, at: usize, log: &[Issued]) {
        let node = &mut self.nodes[at];
        for op in log {
            let until = op.effects.iter().find_map(|(name, wrote)| match (name, wrote) {
                (Some((Kind::Expiry, _)), Wrote::Replace(Some(OwnedValue::Deadline(until)))) => Some(*until),
                _ => None,
            });
            let (Some(until), Some(shown)) = (until, shown(&node.store).remove(&op.key)) else {
                continue;
            };
            if node.lacks(&op.key) {
                continue;
            }
            let cells = node.engine.state().history.cells.get(&op.key);
            let past = cells.into_iter().flatten().flat_map(|(_, dots)| dots.iter().copied());
            self.extensions.push(Extension {
                dot: op.dot,
                key: op.key.clone(),
                until,
                shown,
                past: past.collect(),
            });
        }
    }

    /// Deadlines that lie ahead for every clock, set by incarnations that live.
    pub fn extensions_in_force(&mut self) -> Vec<Extension> {
        let mut in_force = self.extensions.clone();
        in_force.retain(|extension| {
            let mut nodes = self.nodes.iter_mut();
            let author = nodes.find_map(|n| (n.engine.state().me() == extension.dot.replica).then_some(n));
            author.is_some_and(|node| {
                extension.until > unix_millis(now_of(self.now, node.skew).wall) + 2 * MOST_SKEW as u64 + 1000
            })
        });
        in_force
    }

    /// Whether a deadline is not the same in two regions that have the key, as near as their clocks tell.
    pub fn deadlines_differ(&self) -> bool {
        // By way of another region, each word may have been slow.
        let near = if self.skewed { NEAR + 2 * self.slowest } else { 0 };
        let mut first: BTreeMap<Key, Option<u64>> = BTreeMap::new();
        for node in &self.nodes {
            let shift = if self.skewed { node.skew } else { 0 };
            let own = deadlines(&node.store);
            for at in 0..self.keys {
                let key: Key = (0, vec![b'k', b'0' + at]);
                if node.lacks(&key) {
                    continue;
                }
                let own = own.get(&key).map(|at| at.saturating_add_signed(-shift));
                let same = match (*first.entry(key).or_insert(own), own) {
                    (Some(a), Some(b)) => a.abs_diff(b) <= near,
                    (a, b) => a == b,
                };
                if !same {
                    return true;
                }
            }
        }
        false
    }
}
