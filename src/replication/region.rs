//! What a region must not forget: everything but the native values, which the server keeps itself, and the links.
//!
//! The engine changes it on a primary and writes what it does into the log; whoever follows replays the log with the
//! same functions. RDB and AOF carry it in pieces.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_bytes::ByteBuf;

use super::wire::saved::{self, Head, Piece};
use super::wire::{BaseKey, RegionEntry, Slice};
use crate::crdt::{
    Element, Found, Journal, KeyName, KeyRef, Native, Record, RegionTag, ReplicaId, ScoreRule, State, Store, Vector,
    Waiting, Walk,
};

/// What a region's acknowledgements have waited for. Whoever takes the region's state up again trusts it to be at
/// least what was acknowledged only if they waited for the road it came by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Guard {
    /// Until it was fsynced to the AOF.
    pub disk: bool,
    /// Until an in-region replica had it.
    pub replica: bool,
}

impl Guard {
    pub const VOLATILE: Guard = Guard {
        disk: false,
        replica: false,
    };
}

/// The metadata of one region: what its RDB carries, its AOF and its in-region replicas follow.
pub struct Region {
    pub(super) state: State,
    /// Local writes that are not operations yet, because the region recovers.
    pub(super) journal: Journal,
    pub(super) names: BTreeMap<RegionTag, String>,
    /// The state is one that a region had as a whole, be it long ago. False before a first state is adopted or
    /// started with, and while one is being adopted.
    pub(super) complete: bool,
    /// The keyspace may lack keys that nothing here tells of, see [`super::gaps`].
    pub(super) gaps: bool,
    /// What the keyspace holds was never replicated: it is merged with the state that is adopted, not replaced by it.
    pub(super) own: bool,
    pub(super) guard: Guard,
    /// The highest frontier the primary has compacted by, as far as it has told: [`Region::settle`] follows.
    stable: Vector,
    pub(super) settling: bool,
    /// What concurrent scores merged to when the values were last shown as a whole.
    pub(super) shown_by: ScoreRule,
}

impl Region {
    /// A region that knows nothing.
    pub fn blank(name: &str, incarnation: u64, drift: Duration) -> Region {
        let tag = RegionTag::of(name);
        Region {
            state: State::new(ReplicaId::new(tag, incarnation), drift),
            journal: Journal::default(),
            names: BTreeMap::from([(tag, name.to_owned())]),
            complete: false,
            gaps: false,
            own: false,
            guard: Guard::VOLATILE,
            stable: Vector::new(),
            settling: false,
            shown_by: ScoreRule::default(),
        }
    }

    /// What concurrent scores are to merge to.
    pub fn merging(mut self, scores: ScoreRule) -> Region {
        self.state.scores = scores;
        self
    }

    pub(super) fn settle_by(&mut self, stable: Vector) {
        self.stable = stable;
    }

    pub fn guard(&self) -> Guard {
        self.guard
    }

    /// The least number a new incarnation of this region may take, as far as its own memory goes.
    pub fn next_incarnation(&self) -> u64 {
        let me = self.state.me();
        let newest = self.state.newest().get(&me.region()).copied().unwrap_or(0);
        newest.max(me.incarnation()) + 1
    }

    /// What it has seen of a state that is whole; nothing otherwise.
    pub fn whole_seen(&self) -> Vector {
        if self.complete {
            self.state.seen().clone()
        } else {
            Vector::new()
        }
    }

    /// Regions that are known, with their newest incarnations.
    pub(super) fn entries(&self) -> Vec<RegionEntry> {
        let entry = |(tag, incarnation): (&RegionTag, &u64)| {
            let name = self.names.get(tag)?;
            Some(RegionEntry(name.clone(), *incarnation))
        };
        self.state.newest().iter().filter_map(entry).collect()
    }

    /// Takes note of regions, at most `most` of them. One that shares a tag with another name is not taken note of.
    /// True when something is new.
    pub(super) fn learn(&mut self, regions: &[RegionEntry], most: usize) -> bool {
        let own = self.state.me().region();
        let mut news = false;
        for RegionEntry(name, incarnation) in regions {
            let tag = RegionTag::of(name);
            if self.names.len() >= most && !self.names.contains_key(&tag) {
                continue;
            }
            let known = self.names.entry(tag).or_insert_with(|| name.clone());
            if known == name && tag != own && self.state.newest().get(&tag).is_none_or(|n| n < incarnation) {
                self.state.learn_incarnation(tag, *incarnation);
                news = true;
            }
        }
        news
    }

    /// Gives the state up for another one that it does not fit, and that has seen `floor`. Own values above that are
    /// noted, to be written again.
    pub(super) fn go_blank(&mut self, incarnation: u64, floor: &Vector, store: &mut dyn Store) {
        let noted = self.journal.iter().map(|(key, _)| (key.db, key.name.into()));
        for (db, name) in noted.collect::<Vec<(u32, Box<[u8]>)>>() {
            self.journal.withdraw(KeyRef { db, name: &name }, store);
        }
        let unseen = self.state.unseen_writes(floor, store);
        self.journal.note_unseen(unseen, self.state.scores);
        self.forget_state(incarnation);
    }

    /// Gives up a state of which nothing is to be kept.
    pub(super) fn forget_state(&mut self, incarnation: u64) {
        self.state.go_blank(incarnation);
        self.journal.forget_expired();
        self.stable.clear();
        (self.complete, self.gaps) = (false, false);
    }

    /// Whether there are writes to the key that were taken while the region recovers. The keyspace may not show them.
    pub fn is_noted(&self, key: KeyRef<'_>) -> bool {
        self.journal.contains(key)
    }

    /// Keys that the keyspace should hold, as far as the index and the journal know.
    pub(super) fn keys_held(&self) -> Vec<KeyName> {
        let noted = self.journal.iter().map(|(key, _)| (key.db, key.name.into()));
        let mut keys: Vec<KeyName> = self.state.keys_shown().chain(noted).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// Keeps what a key holds, never replicated, for where the adopted state has less.
    pub(super) fn offer(&mut self, key: KeyRef<'_>, store: &mut dyn Store) {
        self.journal.offer(key, &Found::read(key, store));
    }

    fn withdraw(&mut self, key: KeyRef<'_>, store: &mut dyn Store) {
        self.state.keep_deadline_of(&self.journal, key, store);
        self.journal.withdraw(key, store);
    }

    /// Ends what was noted for a key whose writes are now operations of its primary.
    pub(super) fn end_notes(&mut self, key: KeyRef<'_>, store: &mut dyn Store) {
        self.state.keep_deadline_of(&self.journal, key, store);
        self.journal.end(key, store);
    }

    /// Removes a key that the adopted state does not have, or of which it has another value.
    pub(super) fn drop_native(&mut self, key: KeyRef<'_>, store: &mut dyn Store) {
        self.journal.withdraw(key, store);
        if matches!(store.kind(key), Some(Native::Kind(_))) {
            store.delete(key);
        }
    }

    /// Takes part of a peer's state as it is. Gives the number of keys that came into being.
    pub(super) fn adopt(&mut self, slice: Slice, store: &mut dyn Store) -> u64 {
        let mut keys = 0;
        for base in slice.base {
            let key = base.key();
            self.withdraw(key, store);
            keys += u64::from(store.kind(key).is_none());
            self.adopt_base(key, &base, store);
            self.journal.extend(key, store);
            if self.state.evicted().contains(key) {
                // It may be a part of what the peer had.
                self.state.mark_evicted(key, true);
            }
        }
        for record in slice.records {
            let (db, name) = (record.db, record.name.clone());
            let key = KeyRef { db, name: &name };
            self.withdraw(key, store);
            let absent = store.kind(key).is_none();
            self.state.adopt(record, store);
            self.journal.extend(key, store);
            keys += u64::from(absent && store.kind(key).is_some());
        }
        keys
    }

    fn adopt_base(&mut self, key: KeyRef<'_>, base: &BaseKey, store: &mut dyn Store) {
        // Written meanwhile under another type: that comes again after adoption.
        if matches!(store.kind(key), Some(native) if native != Native::Kind(base.kind)) {
            store.delete(key);
        }
        for (name, value) in &base.elements {
            let element = Element { kind: base.kind, name };
            store.write(key, element, Some(value.borrow()));
        }
        self.state.take_up_deadline(key, base.deadline, store);
    }

    /// The marks of evicted keys.
    pub(super) fn mark_evicted(&mut self, marks: &[saved::Mark]) {
        for (db, name, wanted) in marks {
            self.state.mark_evicted(KeyRef { db: *db, name }, *wanted);
        }
    }

    /// Merges part of what a peer has and we lack.
    pub(super) fn merge(&mut self, slice: &Slice, store: &mut dyn Store) {
        for record in &slice.records {
            self.withdraw(record.key(), store);
            self.state.merge(record, &slice.seen, store);
            self.journal.extend(record.key(), store);
        }
    }

    /// Drops what the primary has dropped, visiting at most `budget` targets; true while more is waiting.
    pub fn settle(&mut self, budget: usize, store: &mut dyn Store) -> bool {
        if self.settling || self.state.waits() {
            let stable = self.stable.clone();
            // Only a primary issues operations: the removal of dormant types comes in its log.
            self.settling = self.state.compact(&stable, budget, store, None);
        }
        self.settling
    }

    /// Hands over everything, in pieces of bounded size, the first one first.
    pub fn save(&self, piece: &mut dyn FnMut(&[u8])) {
        let mut saving = Saving { piece, count: 0 };
        saving.put(&saved::head(&self.head()));
        let mut walk = Walk::default();
        let mut records: Vec<Record> = Vec::new();
        let mut size = 0;
        loop {
            let mut visits = usize::MAX;
            let record = self.state.walk(&mut walk, None, CELLS, &mut visits);
            size += record.as_ref().map_or(0, Record::size);
            let last = record.is_none();
            records.extend(record);
            if size >= PIECE || last && !records.is_empty() {
                saving.put(&saved::keys(&records));
                (size, records) = (0, Vec::new());
            }
            if last {
                break;
            }
        }
        for_chunks(self.journal.iter(), |notes| {
            saving.put(&saved::journal(notes.into_iter()))
        });
        for_chunks(self.state.waiting(), |waiting| saving.put(&saved::waiting(&waiting)));
        let mark = |((db, name), wanted): (&KeyName, bool)| (*db, ByteBuf::from(&**name), wanted);
        for_chunks(self.state.evicted().iter().map(mark), |marks| {
            saving.put(&saved::evicted(&marks))
        });
        let pieces = saving.count;
        saving.put(&saved::end(pieces));
    }

    fn head(&self) -> Head {
        Head {
            format: saved::FORMAT,
            region: self.names.get(&self.state.me().region()).cloned().unwrap_or_default(),
            replica: self.state.me(),
            seen: self.state.seen().iter().collect(),
            compacted: self.state.compacted().iter().collect(),
            regions: self.entries(),
            complete: self.complete,
            gaps: self.gaps,
            scores: self.shown_by,
            disk: self.guard.disk,
            replicated: self.guard.replica,
            own: self.own,
        }
    }
}

/// Cells of one key, and bytes, after which a piece is full.
const CELLS: usize = 512;
const PIECE: usize = 32 << 10;
/// Entries of a piece of the journal or of the waiting.
const ENTRIES: usize = 512;

struct Saving<'a> {
    piece: &'a mut dyn FnMut(&[u8]),
    count: u64,
}

impl Saving<'_> {
    fn put(&mut self, piece: &[u8]) {
        self.count += 1;
        (self.piece)(piece);
    }
}

fn for_chunks<T>(mut items: impl Iterator<Item = T>, mut take: impl FnMut(Vec<T>)) {
    loop {
        let chunk: Vec<T> = items.by_ref().take(ENTRIES).collect();
        if chunk.is_empty() {
            return;
        }
        take(chunk);
    }
}

/// Takes the pieces of [`Region::save`].
pub struct Loader {
    drift: Duration,
    name: String,
    region: Option<Region>,
    waiting: Vec<Waiting>,
    pieces: u64,
    ended: bool,
    scores: ScoreRule,
}

impl Loader {
    /// `name`: the region that loads; the state of another is refused.
    pub fn new(name: &str, drift: Duration) -> Loader {
        Loader {
            drift,
            name: name.to_owned(),
            region: None,
            waiting: Vec::new(),
            pieces: 0,
            ended: false,
            scores: ScoreRule::default(),
        }
    }

    /// What concurrent scores are to merge to.
    pub fn merging(mut self, scores: ScoreRule) -> Loader {
        self.scores = scores;
        self
    }

    /// Takes the next piece; true when it was the last.
    pub fn piece(&mut self, bytes: &[u8]) -> Result<bool, String> {
        let piece = saved::read(bytes).map_err(|error| error.0)?;
        if self.ended {
            return Err("the saved state goes on after its end".into());
        }
        match (piece, &mut self.region) {
            (Piece::Head(head), None) => self.region = Some(self.begin(*head)?),
            (Piece::Head(_), Some(_)) => return Err("the saved state begins twice".into()),
            (Piece::Unknown, _) => {}
            (_, None) => return Err("the saved state lacks its beginning".into()),
            (Piece::Keys(records), Some(region)) => {
                records.into_iter().for_each(|record| region.state.restore(record));
            }
            (Piece::Journal(entries), Some(region)) => saved::take_journal(&mut region.journal, entries),
            (Piece::Evicted(marks), Some(region)) => region.mark_evicted(&marks),
            (Piece::Waiting(entries), Some(_)) => self.waiting.extend(entries),
            (Piece::End(pieces), Some(_)) if pieces == self.pieces => self.ended = true,
            (Piece::End(_), Some(_)) => return Err("pieces of the saved state are missing".into()),
        }
        self.pieces += 1;
        Ok(self.ended)
    }

    fn begin(&self, head: Head) -> Result<Region, String> {
        let tag = RegionTag::of(&self.name);
        if head.region != self.name || head.replica.region() != tag {
            return Err(format!(
                "the state was saved by region '{}', this is region '{}'",
                head.region, self.name
            ));
        }
        let (seen, compacted) = (head.seen.into_iter().collect(), head.compacted.into_iter().collect());
        let mut region = Region::blank(&self.name, 0, self.drift);
        region.state = State::restored(head.replica, self.drift, seen, compacted, BTreeMap::new());
        let mut region = region.merging(self.scores);
        region.settle_by(region.state.compacted().clone());
        region.settling = true;
        region.shown_by = head.scores;
        region.learn(&head.regions, usize::MAX);
        for RegionEntry(name, incarnation) in &head.regions {
            if *name == self.name {
                region.state.learn_incarnation(tag, *incarnation);
            }
        }
        (region.complete, region.gaps) = (head.complete, head.gaps);
        region.own = head.own;
        region.guard = Guard {
            disk: head.disk,
            replica: head.replicated,
        };
        Ok(region)
    }

    /// The region, once [`Loader::piece`] has said that it is complete.
    pub fn finish(self) -> Result<Region, String> {
        let mut region = self.region.filter(|_| self.ended).ok_or("the saved state is cut off")?;
        region.state.restored_all(&self.waiting);
        Ok(region)
    }
}

#[cfg(feature = "sim")]
impl Region {
    /// What every cell includes, and the index, for tests.
    pub fn history(&self) -> &crate::crdt::history::History {
        &self.state.history
    }

    pub fn set_history(&mut self, history: crate::crdt::history::History) {
        self.state.history = history;
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    pub fn index(&self) -> &crate::crdt::Index {
        self.state.index()
    }

    /// What the cells of a slice include.
    pub(super) fn learn_history(&mut self, sender: ReplicaId, slice: &Slice, adopted: bool) {
        let Some(known) = super::tracing::find((sender, slice.id, slice.number)) else {
            return;
        };
        match adopted {
            true => self.state.history.replace(&known),
            false => self.state.history.join(&known),
        }
    }

    /// What the settled cells of an adopted state include.
    pub(super) fn begin_history(&mut self, sender: ReplicaId, id: u64) {
        let all = super::tracing::find((sender, id, 0)).unwrap_or_default();
        self.state.history.cells = all.0;
    }
}
