//! Transfers: the state of some cells of one key, and merging it.

use std::cmp::Reverse;

use smallvec::SmallVec;

use super::cell::{Cell, Live};
use super::dot::Dot;
use super::history;
use super::index::{CellId, KeyId, PendingClear, cleared_by};
use super::rules::{Rule, holds};
use super::state::State;
use super::store::{Element, KeyRef, Kind, OwnedValue, Store};
use super::vector::Vector;

/// Part of one key's state. Values of strings are explicit.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Record {
    pub db: u32,
    pub name: Box<[u8]>,
    /// All pending clears of the key: each travels as itself, never as a list of elements.
    pub clears: Vec<PendingClear>,
    pub cells: Vec<CellRecord>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct CellRecord {
    pub kind: Kind,
    pub name: Box<[u8]>,
    pub cell: Cell,
}

impl Record {
    pub fn key(&self) -> KeyRef<'_> {
        KeyRef {
            db: self.db,
            name: &self.name,
        }
    }

    /// Takes in the values that only the keyspace holds, until the record has so many bytes; gives the cells that were
    /// left out then. One at least is in, however large it is.
    pub fn make_explicit(&mut self, most: usize, store: &mut dyn Store) -> Vec<CellRecord> {
        let key = KeyRef {
            db: self.db,
            name: &self.name,
        };
        let (mut explicit, mut bytes) = (0, 0);
        while let Some(cell) = self.cells.get_mut(explicit).filter(|_| explicit == 0 || bytes < most) {
            let CellRecord {
                kind,
                name,
                cell: state,
            } = cell;
            state.make_explicit(key, Element { kind: *kind, name }, store);
            bytes += cell.size();
            explicit += 1;
        }
        self.cells.split_off(explicit)
    }

    /// In pieces of about so many bytes and a cell at least.
    pub fn into_pieces(mut self, most: usize) -> Vec<Record> {
        let mut cells = std::mem::take(&mut self.cells).into_iter().peekable();
        let mut pieces = Vec::new();
        while pieces.is_empty() || cells.peek().is_some() {
            let mut piece = self.clone();
            let mut bytes = 0;
            while let Some(cell) = cells.next_if(|_| bytes < most) {
                bytes += cell.size();
                piece.cells.push(cell);
            }
            pieces.push(piece);
        }
        pieces
    }

    /// Roughly its bytes on the wire.
    pub fn size(&self) -> usize {
        self.name.len() + self.cells.iter().map(CellRecord::size).sum::<usize>() + self.clears.len() * 64
    }
}

impl CellRecord {
    fn size(&self) -> usize {
        64 + self.name.len() + self.cell.heap_size()
    }

    pub fn element(&self) -> Element<'_> {
        Element {
            kind: self.kind,
            name: &self.name,
        }
    }
}

/// Place in a walk over the index that may be left and resumed while the index changes. It begins again when the
/// index has moved its entries: few are left then, and what is sent twice merges once.
#[derive(Default, Debug)]
pub struct Walk {
    generation: u64,
    next: KeyId,
    current: Option<KeyId>,
    /// Cells of the current key still to send, last first.
    cells: Vec<CellId>,
}

impl State {
    /// The next record of what a peer with vector `floor` lacks, of at most `limit` cells; `None` at the end.
    /// With no floor everything is sent. `visits` counts down the cells looked at; the walk pauses at zero
    /// and then gives an empty record. Values that only the keyspace holds stay there.
    pub fn walk(&self, walk: &mut Walk, floor: Option<&Vector>, limit: usize, visits: &mut usize) -> Option<Record> {
        if walk.generation != self.index.generation() {
            *walk = Walk {
                generation: self.index.generation(),
                ..Walk::default()
            };
        }
        loop {
            if *visits == 0 {
                return Some(Record::default());
            }
            *visits -= 1;
            if walk.current.is_none() {
                let key = self.index.next_key(walk.next)?;
                walk.next = key + 1;
                walk.cells = self.index.cells_of(key).into_vec();
                // The deadline goes first: what brings the key to life must find it.
                walk.cells
                    .sort_by_key(|id| (self.index.node(*id).element().kind == Kind::Expiry, Reverse(*id)));
                walk.current = Some(key);
                if let Some(record) = self.record_of(key, walk, floor, limit, visits, true) {
                    return Some(record);
                }
            } else if let Some(key) = walk.current {
                match self.index.get_key(key) {
                    Some(_) if !walk.cells.is_empty() => {
                        if let Some(record) = self.record_of(key, walk, floor, limit, visits, false) {
                            return Some(record);
                        }
                    }
                    _ => walk.current = None,
                }
            }
        }
    }

    fn record_of(
        &self,
        key: KeyId,
        walk: &mut Walk,
        floor: Option<&Vector>,
        limit: usize,
        visits: &mut usize,
        first: bool,
    ) -> Option<Record> {
        let node = self.index.key(key);
        let news = |p: &PendingClear| floor.is_none_or(|floor| !floor.covers(p.dot));
        let wanted = |cell: &Cell| floor.is_none_or(|floor| !floor.includes(&cell.touched));
        let mut cells = Vec::new();
        while cells.len() < limit && *visits > 0 {
            let Some(id) = walk.cells.pop() else { break };
            *visits -= 1;
            if let Some(found) = self.index.get_cell(id).filter(|n| n.key == key && wanted(&n.cell)) {
                let element = found.element();
                cells.push(CellRecord {
                    kind: element.kind,
                    name: element.name.into(),
                    cell: found.cell.clone(),
                });
            }
        }
        if cells.is_empty() && !(first && node.clears().iter().any(news)) {
            return None;
        }
        let KeyRef { db, name } = node.key();
        Some(Record {
            db,
            name: name.into(),
            clears: node.clears().to_vec(),
            cells,
        })
    }

    /// Cells that a walk has just given, and that did not fit, come next.
    pub fn put_back(&self, walk: &mut Walk, key: KeyRef<'_>, cells: &[CellRecord]) {
        if let Some(key) = self.index.find(key).filter(|key| walk.current == Some(*key)) {
            let ids = cells.iter().rev();
            walk.cells
                .extend(ids.filter_map(|cell| self.index.find_cell(key, cell.element())));
        }
    }

    /// Takes into a record what is known by now of its key and its cells.
    pub fn update(&self, record: &mut Record) {
        let Some(key) = self.index.find(record.key()) else {
            return;
        };
        record.clears = self.index.key(key).clears().to_vec();
        for cell in &mut record.cells {
            if let Some(id) = self.index.find_cell(key, cell.element()) {
                cell.cell = self.index.cell(id).clone();
            }
        }
    }

    /// Merges a record of a peer whose vector was `theirs` when it read it. Safe because our vector covers the
    /// frontier the peer was compacted by and the other way round: a base on either side has been seen
    /// by the other.
    pub fn merge(&mut self, record: &Record, theirs: &Vector, store: &mut dyn Store) {
        let key = self.index.obtain(record.key());
        for pending in &record.clears {
            let held = self.index.key(key).clear_like(pending.dot, &pending.clear);
            if !self.seen.covers(pending.dot) && held.is_none_or(|p| pending.dot.hlc > p.dot.hlc) {
                self.endangered(key, &pending.clear, store);
                self.apply_clear(key, pending.dot, &pending.clear.in_transfer(), store);
            }
        }
        for theirs_cell in &record.cells {
            let cleared = cleared_by(&record.clears, theirs_cell.kind);
            let theirs_seen = Seen {
                vector: theirs,
                cleared: &cleared,
                cell: &theirs_cell.cell,
            };
            if !self.bring_back(key, theirs_cell, store) {
                self.merge_cell(key, theirs_cell, &theirs_seen, store);
                self.revisit_untouched(key, theirs_cell.element());
            }
        }
        let lost = record.cells.iter().any(|c| c.cell.has_lost()) && self.has_lost(key);
        self.want_if_evicted(key, lost);
        self.index.drop_if_empty(key);
    }

    fn merge_cell(&mut self, key: KeyId, record: &CellRecord, theirs: &Seen<'_>, store: &mut dyn Store) {
        let id = self.cell_with_base(key, record.element(), store);
        let cleared = self.index.cleared(key, record.kind);
        let (_, _, cell) = self.index.split(id);
        let native = cell.native_dot();
        let before = std::mem::take(&mut cell.live);
        let ours = Seen {
            vector: &self.seen,
            cleared: &cleared,
            cell,
        };
        let live = surviving(&before, &record.cell.live, &ours, theirs);
        let cell = self.index.cell_mut(id);
        let conflict = record.kind.in_keyspace() && live.len() > before.len().max(1);
        cell.live = live;
        for (replica, contribution) in record.cell.contributions() {
            cell.merge_contribution(*replica, contribution.clone());
        }
        let named = record.cell.named();
        if !named.is_empty() {
            let touched = cell.touched.clone();
            cell.name(named);
            cell.touched = touched;
        }
        self.conflicts.siblings += u64::from(conflict);
        for (replica, hlc) in record.cell.touched.iter() {
            self.index.touch(id, Dot::new(replica, hlc));
        }
        self.show(key, id, native, None, store);
    }

    /// Takes a record as it is into an empty state (adoption).
    pub fn adopt(&mut self, record: Record, store: &mut dyn Store) {
        let key = self.index.obtain(record.key());
        for PendingClear { dot, clear } in &record.clears {
            if self
                .index
                .key(key)
                .clear_like(*dot, clear)
                .is_none_or(|p| dot.hlc > p.dot.hlc)
            {
                self.apply_clear(key, *dot, clear, store);
            }
        }
        let mut lost = false;
        for CellRecord { kind, name, mut cell } in record.cells {
            lost |= cell.has_lost();
            let element = Element { kind, name: &name };
            let touched = std::mem::take(&mut cell.touched);
            let id = match self.index.find_cell(key, element) {
                // A clear that names the cell came first.
                Some(id) => {
                    *self.index.cell_mut(id) = cell;
                    id
                }
                None => self.index.add_cell(key, element, cell),
            };
            for (replica, hlc) in touched.iter() {
                self.index.touch(id, Dot::new(replica, hlc));
            }
            self.show(key, id, None, None, store);
            self.revisit_untouched(key, element);
        }
        self.want_if_evicted(key, lost);
        self.index.drop_if_empty(key);
    }
}

impl Cell {
    /// A copy of the cell of this element, with its values explicit.
    pub(super) fn snapshot(&self, key: KeyRef<'_>, element: Element<'_>, store: &mut dyn Store) -> Cell {
        let mut copy = self.clone();
        copy.make_explicit(key, element, store);
        copy
    }

    /// A value that vanished behind our back counts as removed.
    fn make_explicit(&mut self, key: KeyRef<'_>, element: Element<'_>, store: &mut dyn Store) {
        if !element.kind.in_keyspace() {
            return;
        }
        if let Some(dot) = self.native_dot() {
            match store.read(key, element) {
                Some(value) => self.set_value(dot, Some(value)),
                None => self.kill_covered(|live| live == dot),
            }
        }
    }
}

/// What one side's cell has seen: its vector, its own touches and named dots, the pending clears.
struct Seen<'a> {
    vector: &'a Vector,
    cleared: &'a Vector,
    cell: &'a Cell,
}

impl Seen<'_> {
    fn covers(&self, dot: Dot) -> bool {
        self.vector.covers(dot)
            || holds(Rule::ClearContext) && self.cleared.covers(dot)
            || holds(Rule::AheadContext) && (self.cell.touched.covers(dot) || self.cell.named().covers(dot))
    }
}

/// A dot missing on one side survives only if that side's cell has never seen it.
fn surviving(ours: &[Live], theirs: &[Live], we: &Seen<'_>, they: &Seen<'_>) -> SmallVec<[Live; 1]> {
    let has = |side: &[Live], dot: Dot| side.iter().any(|l| l.dot == dot);
    let base_of = |side: &[Live]| has(side, Dot::BASE) && holds(Rule::MergeBase);
    let (our_base, their_base) = (base_of(ours), base_of(theirs));
    let mut live: SmallVec<[Live; 1]> = SmallVec::new();
    // Of our dots that are their base now the greatest has what they showed together, the others are gone.
    let settled = |l: &Live| their_base && !l.dot.is_base() && they.covers(l.dot) && !has(theirs, l.dot);
    let lost = |l: &Live| l.value == Some(OwnedValue::Lost);
    let top = ours.iter().filter(|l| settled(l)).map(|l| l.dot).max();
    let incomplete = ours.iter().any(|l| settled(l) && lost(l));
    for l in ours {
        let keep = match (l.dot.is_base(), has(theirs, l.dot)) {
            (_, true) => true,
            // Replaced there by an operation that we lack.
            (true, false) => false,
            (false, false) => !they.covers(l.dot) || their_base,
        };
        if keep {
            if incomplete && settled(l) && top != Some(l.dot) {
                continue;
            }
            let same = if settled(l) { Dot::BASE } else { l.dot };
            let found = theirs
                .iter()
                .find(|t| (lost(l) || incomplete && settled(l)) && t.dot == same);
            live.push(Live {
                dot: l.dot,
                value: found.unwrap_or(l).value.clone(),
            });
        }
    }
    for l in theirs {
        // Their base: alive above, or removed here.
        let known = l.dot.is_base() || has(&live, l.dot);
        if !known && (!we.covers(l.dot) || our_base) {
            live.push(l.clone());
        }
    }
    live.sort_by_key(|l| l.dot);
    live
}

impl State {
    /// What the test build knows of the cells of some records, to travel beside them.
    pub fn history_of(&self, records: &[Record]) -> history::Snapshot {
        self.history.snapshot(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::{RegionTag, ReplicaId};

    fn live(dot: Dot, value: Option<&[u8]>) -> Live {
        let value = value.map_or(OwnedValue::Lost, |bytes| OwnedValue::Bytes(bytes.into()));
        Live {
            dot,
            value: Some(value),
        }
    }

    /// Siblings of which one has lost its value here, and which a peer shows as one settled value, as it does with
    /// HyperLogLogs: none of those that are left here may show less.
    #[test]
    fn lost_siblings_come_back_as_what_they_showed_together() {
        let replica = ReplicaId::new(RegionTag::of("eu"), 1);
        let (first, second) = (Dot::new(replica, 5), Dot::new(replica, 6));
        let vector: Vector = [(replica, 6)].into_iter().collect();
        let (cleared, cell) = (Vector::new(), Cell::default());
        let seen = Seen {
            vector: &vector,
            cleared: &cleared,
            cell: &cell,
        };
        let of = |ours: &[Live]| surviving(ours, &[live(Dot::BASE, Some(b"both"))], &seen, &seen).to_vec();
        let both = [live(second, Some(b"both"))];
        assert_eq!(of(&[live(first, None), live(second, Some(b"second"))]), both);
        assert_eq!(of(&[live(first, Some(b"first")), live(second, None)]), both);
        assert_eq!(of(&[live(second, None)]), both);
        let known = [live(first, Some(b"first")), live(second, Some(b"second"))];
        assert_eq!(of(&known), known, "nothing is lost");
    }
}
