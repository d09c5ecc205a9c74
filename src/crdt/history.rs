//! What every cell includes, for the executable specification. Only the test build (feature `sim`) keeps
//! it; otherwise nothing here has a size or a cost.

#[cfg(feature = "sim")]
pub use kept::{History, Issued, Snapshot, Wrote};
#[cfg(not(feature = "sim"))]
pub use none::{History, Snapshot};

#[cfg(not(feature = "sim"))]
mod none {
    use crate::crdt::merge::Record;
    use crate::crdt::op::Op;

    #[derive(Default, Clone)]
    pub struct History {}

    #[derive(Default, Clone)]
    pub struct Snapshot;

    impl History {
        #[inline(always)]
        pub fn own(&mut self) {}
        #[inline(always)]
        pub fn forget(&mut self) {}
        #[inline(always)]
        pub fn issued(&mut self, _op: &Op<'_>) {}
        #[inline(always)]
        pub fn applied(&mut self, _op: &Op<'_>) {}
        #[inline(always)]
        pub fn snapshot(&self, _records: &[Record]) -> Snapshot {
            Snapshot
        }
    }
}

#[cfg(feature = "sim")]
mod kept {
    use std::collections::{BTreeMap, BTreeSet};

    use crate::crdt::merge::Record;
    use crate::crdt::op::{Effect, Op};
    use crate::crdt::store::{Element, Kind, OwnedValue, Value};
    use crate::crdt::{Dot, Number};

    pub type KeyName = (u32, Vec<u8>);
    /// An element by kind and name; `None` stands for the key's clears.
    pub type ElementName = Option<(Kind, Vec<u8>)>;
    type Dots = BTreeSet<Dot>;

    /// Key and element -> the operations whose effect the cell includes.
    #[derive(Default, Clone, Debug)]
    pub struct History {
        pub cells: BTreeMap<KeyName, BTreeMap<ElementName, Dots>>,
        /// Operations issued here and not yet collected by the test.
        pub log: Vec<Issued>,
        own: bool,
    }

    #[derive(Clone, Debug)]
    pub enum Wrote {
        /// Value, or `None` for a removal.
        Replace(Option<OwnedValue>),
        /// Running total of a birth; the test takes the difference to the one before.
        Increment { birth: u64, total: Number },
        /// True when the key expired: its deadline stays.
        Clear(bool),
    }

    /// One operation with what its author had seen of the cells it changed.
    #[derive(Clone, Debug)]
    pub struct Issued {
        pub dot: Dot,
        pub key: KeyName,
        /// Element (`None`: a clear), what was written, and per element the dots seen.
        pub effects: Vec<(ElementName, Wrote)>,
        pub seen: BTreeMap<ElementName, Dots>,
        /// Not a client's: tidying and orphans.
        pub own: bool,
    }

    /// What some records include.
    #[derive(Default, Clone, Debug)]
    pub struct Snapshot(pub BTreeMap<KeyName, BTreeMap<ElementName, Dots>>);

    fn name_of(element: &Element<'_>) -> ElementName {
        Some((element.kind, element.name.to_vec()))
    }

    impl History {
        /// The cells are gone.
        pub fn forget(&mut self) {
            self.cells.clear();
        }

        /// The next operation issued is the engine's own.
        pub fn own(&mut self) {
            self.own = true;
        }

        pub fn issued(&mut self, op: &Op<'_>) {
            let key = (op.key.db, op.key.name.to_vec());
            let held = self.cells.get(&key).cloned().unwrap_or_default();
            let mut seen: BTreeMap<ElementName, Dots> = BTreeMap::new();
            let mut effects = Vec::new();
            for effect in &op.effects {
                match effect {
                    Effect::Replace { element, value, .. } => {
                        let name = name_of(element);
                        seen.entry(name.clone())
                            .or_default()
                            .extend(held.get(&name).into_iter().flatten());
                        effects.push((name, Wrote::Replace(value.map(Value::to_owned))));
                    }
                    Effect::Increment { element, birth, total } => {
                        effects.push((
                            name_of(element),
                            Wrote::Increment {
                                birth: *birth,
                                total: total.clone(),
                            },
                        ));
                    }
                    Effect::Clear(clear) => {
                        for (name, dots) in &held {
                            let Some((kind, element)) = name else { continue };
                            if clear.spares(*kind) {
                                continue;
                            }
                            // One that is said later than the key expired means what was there then.
                            let named = clear.cell(Element::new(*kind, element));
                            let says = |dot: &Dot| {
                                named.is_some_and(|named| {
                                    let reset = |entry: &(_, u64, _)| entry.0 == dot.replica && dot.hlc <= entry.1;
                                    named.extra.covers(*dot) || named.observed.iter().any(reset)
                                })
                            };
                            let meant =
                                |dot: &&Dot| clear.expired.is_none() || clear.context.covers(**dot) || says(dot);
                            let dots = dots.iter().filter(meant);
                            seen.entry(name.clone()).or_default().extend(dots);
                        }
                        effects.push((None, Wrote::Clear(clear.expired.is_some())));
                    }
                }
            }
            self.log.push(Issued {
                dot: op.dot,
                key,
                effects,
                seen,
                own: std::mem::take(&mut self.own),
            });
        }

        pub fn applied(&mut self, op: &Op<'_>) {
            let cells = self.cells.entry((op.key.db, op.key.name.to_vec())).or_default();
            for effect in &op.effects {
                let name = match effect {
                    Effect::Replace { element, .. } | Effect::Increment { element, .. } => name_of(element),
                    Effect::Clear(_) => None,
                };
                cells.entry(name).or_default().insert(op.dot);
            }
        }

        pub fn snapshot(&self, records: &[Record]) -> Snapshot {
            let mut out: BTreeMap<KeyName, BTreeMap<ElementName, Dots>> = BTreeMap::new();
            for record in records {
                let key = (record.db, record.name.to_vec());
                let Some(held) = self.cells.get(&key) else { continue };
                let names = record.cells.iter().map(|cell| name_of(&cell.element())).chain([None]);
                for name in names {
                    let dots = held.get(&name).cloned().unwrap_or_default();
                    out.entry(key.clone())
                        .or_default()
                        .entry(name)
                        .or_default()
                        .extend(dots);
                }
            }
            Snapshot(out)
        }

        /// Adoption: the records say exactly what their cells include.
        pub fn replace(&mut self, snapshot: &Snapshot) {
            for (key, cells) in &snapshot.0 {
                for (name, dots) in cells {
                    self.cells
                        .entry(key.clone())
                        .or_default()
                        .insert(name.clone(), dots.clone());
                }
            }
        }

        /// Takes over what merged records include.
        pub fn join(&mut self, snapshot: &Snapshot) {
            for (key, cells) in &snapshot.0 {
                for (name, dots) in cells {
                    self.cells
                        .entry(key.clone())
                        .or_default()
                        .entry(name.clone())
                        .or_default()
                        .extend(dots);
                }
            }
        }
    }
}
