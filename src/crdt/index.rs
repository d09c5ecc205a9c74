//! The index: metadata of what some region has not yet durably seen, and the journal at the same time.
//!
//! ```text
//!  by_name ──> keys (slab) ──> cells (slab), by element        touched: per replica id, (hlc, target) in
//!   hash        db, name         Cell, key, element                     order of arrival, each target once
//! ```
//!
//! A cell stands in the queue of replica id `o` exactly when `touched[o]` exists (entries whose touch is
//! gone are skipped), so a hot cell costs one entry however long an outage lasts.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;

use super::cell::Cell;
use super::dot::{Dot, Hlc, ReplicaId};
use super::op::Clear;
use super::store::{Element, KeyRef, Kind};
use super::vector::Vector;

mod shrink;

pub type KeyId = u32;
pub type CellId = u32;

/// A clear not yet stable: everything it saw is gone, nothing in its key may turn into a base.
#[derive(Clone, PartialEq, Debug)]
pub struct PendingClear {
    pub dot: Dot,
    pub clear: Clear,
}

impl PendingClear {
    pub fn slot(&self) -> (ReplicaId, bool) {
        PendingClear::slot_of(self.dot, &self.clear)
    }

    pub fn slot_of(dot: Dot, clear: &Clear) -> (ReplicaId, bool) {
        (dot.replica, clear.spares(Kind::Expiry))
    }
}

#[derive(Default)]
enum CellSet {
    #[default]
    None,
    One(CellId),
    /// Boxed, for it is rare and would make every key's node larger.
    Many(Box<HashTable<CellId>>),
}

/// A short name lies in its node. In a block of its own, which goes when the key settles, it would stand between the
/// keys that are written meanwhile, and later reads would pay for the distance (docs/performance.md).
type Name = SmallVec<[u8; 48]>;

/// What a name takes outside its node.
fn heap_size(name: &Name) -> usize {
    if name.spilled() { name.len() } else { 0 }
}

pub struct KeyNode {
    db: u32,
    name: Name,
    counts: [u32; Kind::ALL.len()],
    cells: CellSet,
    /// At most one per author, and one that spares the deadline: a later one absorbs an earlier. Ordered by
    /// [`PendingClear::slot`].
    clears: Vec<PendingClear>,
    clash: bool,
}

impl KeyNode {
    pub fn key(&self) -> KeyRef<'_> {
        KeyRef {
            db: self.db,
            name: &self.name,
        }
    }

    pub fn clears(&self) -> &[PendingClear] {
        &self.clears
    }

    /// The pending clear that would make way for this one.
    pub fn clear_like(&self, dot: Dot, clear: &Clear) -> Option<&PendingClear> {
        let slot = PendingClear::slot_of(dot, clear);
        self.clears.iter().find(|p| p.slot() == slot)
    }

    /// The last clear of an author.
    pub fn last_clear_of(&self, replica: ReplicaId) -> Option<&PendingClear> {
        let own = self.clears.iter().filter(|p| p.dot.replica == replica);
        own.max_by_key(|p| p.dot.hlc)
    }

    /// Whether cells of a kind other than `kind` exist.
    pub fn has_other_kind(&self, kind: Kind) -> bool {
        self.types().any(|k| k != kind)
    }

    pub fn is_mixed(&self) -> bool {
        self.types().count() > 1
    }

    fn types(&self) -> impl Iterator<Item = Kind> {
        let kinds = Kind::ALL.into_iter();
        kinds.filter(|kind| kind.is_type() && self.counts[*kind as usize] > 0)
    }

    pub fn is_empty(&self) -> bool {
        matches!(self.cells, CellSet::None) && self.clears.is_empty()
    }
}

pub struct CellNode {
    pub key: KeyId,
    kind: Kind,
    name: Box<[u8]>,
    pub cell: Cell,
}

impl CellNode {
    pub fn element(&self) -> Element<'_> {
        Element {
            kind: self.kind,
            name: &self.name,
        }
    }
}

/// Vector of everything that these clears of a key saw of cells of this kind.
pub fn cleared_by(clears: &[PendingClear], kind: Kind) -> Vector {
    let mut seen = Vector::new();
    for pending in clears.iter().filter(|pending| !pending.clear.spares(kind)) {
        seen.join(&pending.clear.context);
    }
    seen
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Target {
    Cell(CellId),
    Key(KeyId),
}

/// Targets touched by one replica id, in order of arrival.
struct Queue {
    replica: ReplicaId,
    /// Greatest touch ever.
    greatest: Hlc,
    targets: VecDeque<(Hlc, Target)>,
}

/// Random, so that nobody can choose names that collide.
#[cfg(not(feature = "sim"))]
pub(super) type Hasher = hashbrown::DefaultHashBuilder;
/// Every run of a seed is the same.
#[cfg(feature = "sim")]
pub(super) type Hasher = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

#[derive(Default)]
pub struct Index {
    keys: Slab<KeyNode>,
    cells: Slab<CellNode>,
    by_name: HashTable<KeyId>,
    hasher: Hasher,
    touched: Vec<Queue>,
    /// Targets that wait for something other than a touch.
    pub revisit: Vec<Target>,
    name_bytes: usize,
    generation: u64,
    /// Deadlines have been met, here or where our state came from.
    pub deadlines: bool,
}

impl Index {
    pub fn find(&self, key: KeyRef<'_>) -> Option<KeyId> {
        let keys = &self.keys;
        self.by_name
            .find(self.hasher.hash_one(key), |id| keys[*id as usize].key() == key)
            .copied()
    }

    pub fn obtain(&mut self, key: KeyRef<'_>) -> KeyId {
        let hash = self.hasher.hash_one(key);
        let keys = &self.keys;
        match self.by_name.find(hash, |id| keys[*id as usize].key() == key) {
            Some(id) => *id,
            None => self.add_key(key, hash),
        }
    }

    fn add_key(&mut self, key: KeyRef<'_>, hash: u64) -> KeyId {
        let node = KeyNode {
            db: key.db,
            name: key.name.into(),
            counts: [0; Kind::ALL.len()],
            cells: CellSet::None,
            clears: Vec::new(),
            clash: false,
        };
        self.name_bytes += heap_size(&node.name);
        let id = self.keys.insert(node) as KeyId;
        let (keys, hasher) = (&self.keys, &self.hasher);
        self.by_name
            .insert_unique(hash, id, |id| hasher.hash_one(keys[*id as usize].key()));
        id
    }

    pub fn key(&self, id: KeyId) -> &KeyNode {
        &self.keys[id as usize]
    }

    pub fn get_key(&self, id: KeyId) -> Option<&KeyNode> {
        self.keys.get(id as usize)
    }

    pub fn node(&self, id: CellId) -> &CellNode {
        &self.cells[id as usize]
    }

    pub fn get_cell(&self, id: CellId) -> Option<&CellNode> {
        self.cells.get(id as usize)
    }

    pub fn cell(&self, id: CellId) -> &Cell {
        &self.cells[id as usize].cell
    }

    pub fn cell_mut(&mut self, id: CellId) -> &mut Cell {
        &mut self.cells[id as usize].cell
    }

    /// The element's name beside its cell, for renderers that change the cell while they name it.
    pub fn split(&mut self, id: CellId) -> (KeyRef<'_>, Element<'_>, &mut Cell) {
        let CellNode { key, kind, name, cell } = &mut self.cells[id as usize];
        (self.keys[*key as usize].key(), Element { kind: *kind, name }, cell)
    }

    #[inline]
    pub fn find_cell(&self, key: KeyId, element: Element<'_>) -> Option<CellId> {
        let matches = |id: &CellId| self.cells[*id as usize].element() == element;
        match &self.keys[key as usize].cells {
            CellSet::None => None,
            CellSet::One(id) => matches(id).then_some(*id),
            CellSet::Many(table) => table.find(self.hasher.hash_one(element), matches).copied(),
        }
    }

    /// Adds a cell; the element has none yet.
    pub fn add_cell(&mut self, key: KeyId, element: Element<'_>, cell: Cell) -> CellId {
        let id = self.cells.insert(CellNode {
            key,
            kind: element.kind,
            name: element.name.into(),
            cell,
        }) as CellId;
        self.name_bytes += element.name.len();
        self.deadlines |= element.kind == Kind::Expiry;
        let (cells, hasher) = (&self.cells, &self.hasher);
        let hash_of = |id: &CellId| hasher.hash_one(cells[*id as usize].element());
        let node = &mut self.keys[key as usize];
        node.counts[element.kind as usize] += 1;
        match &mut node.cells {
            set @ CellSet::None => *set = CellSet::One(id),
            set @ CellSet::One(_) => {
                let mut table = Box::new(HashTable::with_capacity(4));
                if let CellSet::One(first) = set {
                    table.insert_unique(hash_of(first), *first, hash_of);
                }
                table.insert_unique(hash_of(&id), id, hash_of);
                *set = CellSet::Many(table);
            }
            CellSet::Many(table) => drop(table.insert_unique(hash_of(&id), id, hash_of)),
        }
        id
    }

    pub fn remove_cell(&mut self, id: CellId) {
        let CellNode { key, kind, name, .. } = &self.cells[id as usize];
        let hash = self.hasher.hash_one(Element { kind: *kind, name });
        let node = &mut self.keys[*key as usize];
        node.counts[*kind as usize] -= 1;
        self.name_bytes -= name.len();
        match &mut node.cells {
            CellSet::None => {}
            set @ CellSet::One(_) => *set = CellSet::None,
            CellSet::Many(table) => {
                if let Ok(entry) = table.find_entry(hash, |other| *other == id) {
                    entry.remove();
                }
                if table.is_empty() {
                    node.cells = CellSet::None;
                }
            }
        }
        self.cells.remove(id as usize);
    }

    /// Forgets a key without cells and clears; gives the memory back when nothing is left.
    pub fn drop_if_empty(&mut self, id: KeyId) {
        let Some(node) = self.keys.get(id as usize).filter(|node| node.is_empty()) else {
            return;
        };
        let hash = self.hasher.hash_one(node.key());
        self.name_bytes -= heap_size(&node.name);
        if let Ok(entry) = self.by_name.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
        self.keys.remove(id as usize);
        if self.keys.is_empty() {
            self.release();
        }
    }

    /// Cells of a key in a fixed order.
    pub fn cells_of(&self, key: KeyId) -> SmallVec<[CellId; 4]> {
        let mut ids: SmallVec<[CellId; 4]> = match &self.keys[key as usize].cells {
            CellSet::None => SmallVec::new(),
            CellSet::One(id) => smallvec::smallvec![*id],
            CellSet::Many(table) => table.iter().copied().collect(),
        };
        ids.sort_unstable();
        ids
    }

    /// Ids of keys in slot order, from a slot on: a walk that new keys do not disturb.
    pub fn next_key(&self, from: KeyId) -> Option<KeyId> {
        (from as usize..self.keys.capacity())
            .find(|slot| self.keys.contains(*slot))
            .map(|slot| slot as KeyId)
    }

    /// Notes whether several types are alive under the key; true when that is news.
    pub fn note_clash(&mut self, key: KeyId, clash: bool) -> bool {
        let before = std::mem::replace(&mut self.keys[key as usize].clash, clash);
        clash && !before
    }

    pub fn clears_mut(&mut self, key: KeyId) -> &mut Vec<PendingClear> {
        &mut self.keys[key as usize].clears
    }

    /// Vector of everything the pending clears of the key saw of cells of this kind.
    pub fn cleared(&self, key: KeyId, kind: Kind) -> Vector {
        cleared_by(&self.keys[key as usize].clears, kind)
    }

    /// Notes that `dot` changed the cell.
    pub fn touch(&mut self, id: CellId, dot: Dot) {
        let news = self.cells[id as usize].cell.touched.raise(dot.replica, dot.hlc);
        if news {
            self.enqueue(dot, Target::Cell(id));
        } else {
            self.note_touch(dot);
        }
    }

    /// Remembers a touch of a target that is in line already.
    pub fn note_touch(&mut self, dot: Dot) {
        let queue = self.queue(dot.replica);
        queue.greatest = queue.greatest.max(dot.hlc);
    }

    /// Puts a target in line for the day when `dot` is stable.
    pub fn enqueue(&mut self, dot: Dot, target: Target) {
        let queue = self.queue(dot.replica);
        queue.greatest = queue.greatest.max(dot.hlc);
        queue.targets.push_back((dot.hlc, target));
    }

    #[inline]
    fn queue(&mut self, replica: ReplicaId) -> &mut Queue {
        let at = match self.touched.binary_search_by_key(&replica, |queue| queue.replica) {
            Ok(at) => at,
            Err(at) => {
                self.touched.insert(
                    at,
                    Queue {
                        replica,
                        greatest: 0,
                        targets: VecDeque::new(),
                    },
                );
                at
            }
        };
        &mut self.touched[at]
    }

    /// The next target whose touch is stable, or gone; with the replica id of the touch.
    pub fn pop_stable(&mut self, stable: &Vector) -> Option<(ReplicaId, Target)> {
        for at in 0..self.touched.len() {
            let replica = self.touched[at].replica;
            let Some((queued, target)) = self.touched[at].targets.front().copied() else {
                continue;
            };
            // The touch in the cell may be newer than in the queue, or gone: named by a later operation.
            if queued <= stable.get(replica) || self.touch_of(target, replica) <= stable.get(replica) {
                self.touched[at].targets.pop_front();
                return Some((replica, target));
            }
        }
        None
    }

    /// The last touch of a target by a replica id, zero when there is none.
    pub fn touch_of(&self, target: Target, replica: ReplicaId) -> Hlc {
        match target {
            Target::Cell(id) => self.get_cell(id).map_or(0, |node| node.cell.touched.get(replica)),
            Target::Key(id) => self
                .get_key(id)
                .and_then(|key| key.last_clear_of(replica))
                .map_or(0, |p| p.dot.hlc),
        }
    }

    /// Replica ids that may have touched cells beyond `seen`.
    pub fn replicas_ahead(&self, seen: &Vector) -> Vec<ReplicaId> {
        let ahead = |queue: &&Queue| !queue.targets.is_empty() && queue.greatest > seen.get(queue.replica);
        self.touched.iter().filter(ahead).map(|queue| queue.replica).collect()
    }

    /// Everything in line for one replica id.
    pub fn queued(&self, replica: ReplicaId) -> Vec<Target> {
        let queue = self.touched.iter().find(|queue| queue.replica == replica);
        queue
            .map(|queue| queue.targets.iter().map(|(_, target)| *target).collect())
            .unwrap_or_default()
    }

    /// Brings the queues into the order of their touches, after they were filled in another.
    pub fn sort_queues(&mut self) {
        for queue in &mut self.touched {
            queue.targets.make_contiguous().sort_by_key(|entry| entry.0);
        }
    }

    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    pub fn cell_count(&self) -> usize {
        self.cells.len()
    }

    /// Ids are good while this stays as it is.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Bytes held, room for more included; without the values of siblings, counters' contributions and the vectors of
    /// more than one entry.
    pub fn bytes(&self) -> usize {
        let queues: usize = self
            .touched
            .iter()
            .map(|q| q.targets.capacity() * size_of::<(Hlc, Target)>())
            .sum();
        self.keys.capacity() * size_of::<KeyNode>()
            + self.cells.capacity() * size_of::<CellNode>()
            + self.by_name.allocation_size()
            + self.name_bytes
            + queues
    }

    fn release(&mut self) {
        self.generation += 1;
        self.keys = Slab::new();
        self.cells = Slab::new();
        self.by_name = HashTable::new();
        self.touched = Vec::new();
        self.revisit = Vec::new();
        self.name_bytes = 0;
    }
}
