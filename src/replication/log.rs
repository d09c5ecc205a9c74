//! The log: what changes a region's memory, in order, for whoever follows it: its AOF and its in-region replicas.
//!
//! ```text
//! log   := entry*
//! entry := tag (u8) length (u32-le) body
//! body  := a batch frame | replica id (u64-le) and a slice frame | a MessagePack array (rmp-serde)
//! ```
//!
//! Own operations carry no context: whoever replays them is where their author was.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::region::{Guard, Region};
use super::skew;
use super::wire::saved;
use super::wire::{self, BatchReader, BatchWriter, LoneClear, Message, RegionEntry, WireChange};
use crate::crdt::{Change, Clear, Hlc, KeyRef, Native, Op, ReplicaId, ScoreRule, Store, Vector};

type Pairs = Vec<(ReplicaId, Hlc)>;

/// One step, other than operations and slices.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Step {
    /// A transfer has ended.
    Advanced(Pairs),
    /// The state was given up under a new incarnation; own values above this vector are noted.
    Blank(u64, Pairs),
    /// The same, and nothing is noted.
    Forgot(u64),
    /// The keyspace, or one database, was emptied.
    Flushed(Option<u32>),
    /// A peer's whole state begins to arrive; a number that names the transfer.
    Adopting(ReplicaId, u64),
    /// It has arrived: seen, compacted.
    Adopted(Pairs, Pairs),
    /// What the keyspace holds was never replicated.
    Own,
    /// What is held of these keys is kept for where the adopted state has less.
    Offered(Vec<(u32, ByteBuf)>),
    /// Keys that the adopted state does not have.
    Dropped(Vec<(u32, ByteBuf)>),
    /// A provisional write: database, key, what was done to it.
    Noted(u32, ByteBuf, WireChange),
    /// A key expired meanwhile: database, key, the clear to be issued.
    Lapsed(u32, ByteBuf, LoneClear),
    /// The provisional writes of a key follow as operations.
    Reissued(u32, ByteBuf),
    /// The clear of a lost incarnation has been issued again: author, database, key.
    Orphan(ReplicaId, u32, ByteBuf),
    /// The state is whole.
    Whole,
    /// What was compacted by.
    Compacted(Pairs),
    /// Regions and their newest incarnations; our own included.
    Regions(Vec<RegionEntry>),
    Guard(bool, bool),
    /// The deadlines of peers' entries, up to the next such step or the end of what was drained at once, are this many
    /// ms ahead of our clock.
    Skew(i64),
    /// Keys that were evicted here only: database, key, whether they are wanted.
    Evicted(Vec<saved::Mark>),
    /// All of a wanted key has been merged.
    Fetched(u32, ByteBuf),
    /// The keyspace may, or no longer, lack keys that nothing tells of.
    Gaps(bool),
    /// Scores that had met under another rule have been written again.
    Scores(ScoreRule),
    /// A key expired of which the keyspace held nothing but what was noted, and yields to what others have.
    Yielded(u32, ByteBuf),
}

mod tag {
    pub const OWN: u8 = 0;
    pub const APPLIED: u8 = 1;
    pub const MERGED: u8 = 2;
    pub const ADOPTED: u8 = 3;
    pub const STEP: u8 = 4;
}

/// Bytes of room that are kept between two commands.
const ROOM: usize = 64 << 10;

/// Gathers entries until they are drained. Off, it costs nothing and holds nothing.
#[derive(Default)]
pub struct Log {
    on: bool,
    bytes: Vec<u8>,
    own: BatchWriter,
    author: Option<ReplicaId>,
    /// How far the clock of the last logged peer was ahead: entries of peers are logged as they came.
    ahead: i64,
}

impl Log {
    pub fn set(&mut self, on: bool) {
        self.drain(|_| ());
        self.on = on;
    }

    pub fn is_on(&self) -> bool {
        self.on
    }

    pub fn own(&mut self, op: &Op<'_>) {
        if !self.on {
            return;
        }
        let author = op.dot.replica;
        if self.author != Some(author) {
            self.close();
        }
        if self.own.is_empty() {
            self.own.start(author, &Vector::EMPTY, 0);
            self.author = Some(author);
        }
        self.own.push(op);
    }

    /// Operations of a peer that were applied: those that `reader` has read of its batch since it was at `from`.
    pub fn applied(&mut self, reader: &BatchReader, frame: &[u8], from: (usize, Hlc), ahead: i64) {
        self.skewed(ahead);
        self.entry(tag::APPLIED, |out| reader.excerpt(frame, from, out));
    }

    /// A slice that was merged, or (`adopted`) taken as it is.
    pub fn slice(&mut self, sender: ReplicaId, adopted: bool, frame: &[u8], ahead: i64) {
        self.skewed(ahead);
        let tag = if adopted { tag::ADOPTED } else { tag::MERGED };
        self.entry(tag, |out| {
            out.extend_from_slice(&sender.to_le_bytes());
            out.extend_from_slice(frame);
        });
    }

    fn skewed(&mut self, ahead: i64) {
        if self.on && self.ahead != ahead {
            self.step(&Step::Skew(ahead));
            self.ahead = ahead;
        }
    }

    pub fn step(&mut self, step: &Step) {
        self.entry(tag::STEP, |out| {
            // Writing into a vector cannot fail.
            let written = rmp_serde::encode::write(out, step);
            debug_assert!(written.is_ok());
        });
    }

    pub fn noted(&mut self, key: KeyRef<'_>, change: &Change<'_>) {
        if !self.on {
            return;
        }
        self.step(&Step::Noted(
            key.db,
            ByteBuf::from(key.name),
            wire::write_change(change),
        ));
    }

    pub fn lapsed(&mut self, key: KeyRef<'_>, clear: &Clear) {
        if self.on {
            self.step(&Step::Lapsed(key.db, ByteBuf::from(key.name), LoneClear::write(clear)));
        }
    }

    /// Hands over what has been gathered, and keeps the room for what comes.
    pub fn drain<R>(&mut self, take: impl FnOnce(&[u8]) -> R) -> R {
        self.close();
        let taken = take(&self.bytes);
        self.bytes.clear();
        self.ahead = 0;
        self.bytes.shrink_to(ROOM);
        taken
    }

    fn close(&mut self) {
        if let Some(author) = self.author.take().filter(|_| !self.own.is_empty()) {
            let own = &mut self.own;
            append(&mut self.bytes, tag::OWN, |out| own.finish_into(author, out));
        }
    }

    fn entry(&mut self, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
        if self.on {
            self.close();
            append(&mut self.bytes, tag, body);
        }
    }
}

fn append(bytes: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    bytes.push(tag);
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    body(bytes);
    let length = (bytes.len() - start - 4) as u32;
    bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// What a log cannot be: whoever meets it does not follow its region any more.
fn corrupt(why: impl std::fmt::Display) -> String {
    format!("the replication log is corrupt or of a newer version: {why}")
}

impl Region {
    /// Replays what [`super::Engine::drain_log`] gave on the primary: metadata and values. Nothing is stamped.
    ///
    /// # Errors
    /// When the log is not one. What came before the first bad entry has been applied.
    pub fn replay(&mut self, log: &[u8], store: &mut dyn Store) -> Result<(), String> {
        // A slice may bring what is stable already.
        self.settling = true;
        let (mut rest, mut ahead) = (log, 0);
        while let Some((tag, after)) = rest.split_first() {
            let (length, after) = after
                .split_first_chunk::<4>()
                .ok_or_else(|| corrupt("it ends in an entry"))?;
            let length = u32::from_le_bytes(*length) as usize;
            let (body, next) = after
                .split_at_checked(length)
                .ok_or_else(|| corrupt("it ends in an entry"))?;
            self.replay_entry(*tag, body, &mut ahead, store)?;
            self.state.drop_rescues();
            rest = next;
        }
        Ok(())
    }

    fn replay_entry(&mut self, tag: u8, body: &[u8], ahead: &mut i64, store: &mut dyn Store) -> Result<(), String> {
        match tag {
            tag::OWN => self.replay_batch(body, None, store),
            tag::APPLIED => self.replay_batch(body, Some(*ahead), store),
            tag::MERGED | tag::ADOPTED => {
                let (_sender, frame) = body.split_first_chunk::<8>().ok_or_else(|| corrupt("no sender"))?;
                let Message::Slice(mut slice) = wire::decode(frame).map_err(|e| corrupt(e.0))? else {
                    return Err(corrupt("a slice that is none"));
                };
                skew::correct_slice(&mut slice, *ahead);
                #[cfg(feature = "sim")]
                self.learn_history(ReplicaId::from_le_bytes(*_sender), &slice, tag == tag::ADOPTED);
                match tag {
                    tag::ADOPTED => drop(self.adopt(*slice, store)),
                    _ => self.merge(&slice, store),
                }
                Ok(())
            }
            tag::STEP => {
                let step: Step = rmp_serde::from_slice(body).map_err(corrupt)?;
                match step {
                    Step::Skew(by) => *ahead = by,
                    step => self.replay_step(step, store)?,
                }
                Ok(())
            }
            _ => Err(corrupt(format_args!("unknown entry {tag}"))),
        }
    }

    /// `ahead`: how far the author's clock was ahead; `None` when the author is who we follow.
    fn replay_batch(&mut self, frame: &[u8], ahead: Option<i64>, store: &mut dyn Store) -> Result<(), String> {
        let mut reader = BatchReader::open(frame).map_err(|e| corrupt(e.0))?;
        let mut context = if ahead.is_none() {
            self.state.seen().clone()
        } else {
            reader.context.clone()
        };
        while !reader.is_done(frame) {
            let mut op = reader.peek(frame).map_err(|e| corrupt(e.0))?;
            skew::correct_op(&mut op, ahead.unwrap_or(0));
            context.raise(reader.replica, reader.previous);
            self.state.apply(&op, &context, store);
            let hlc = op.dot.hlc;
            reader.advance(frame, hlc).map_err(|e| corrupt(e.0))?;
        }
        Ok(())
    }

    fn replay_step(&mut self, step: Step, store: &mut dyn Store) -> Result<(), String> {
        let vector = |pairs: Pairs| -> Vector { pairs.into_iter().collect() };
        match step {
            Step::Advanced(upto) => self.state.advance(&vector(upto)),
            Step::Blank(incarnation, floor) => self.go_blank(incarnation, &vector(floor), store),
            Step::Forgot(incarnation) => self.forget_state(incarnation),
            Step::Flushed(database) => {
                self.journal.flushed(database);
                self.own &= database.is_some();
            }
            Step::Adopting(_sender, _id) => {
                #[cfg(feature = "sim")]
                self.begin_history(_sender, _id);
            }
            Step::Adopted(seen, compacted) => self.state.complete(&vector(seen), &vector(compacted)),
            Step::Dropped(keys) => {
                for (db, name) in &keys {
                    self.drop_native(KeyRef { db: *db, name }, store);
                }
            }
            Step::Noted(db, name, change) => self.replay_note(KeyRef { db, name: &name }, &change, store)?,
            Step::Lapsed(db, name, clear) => {
                let clear = clear.read().map_err(|e| corrupt(e.0))?;
                let key = KeyRef { db, name: &name };
                // The server says so itself, but later.
                store.delete(key);
                self.journal.note_expired(key, clear);
            }
            Step::Yielded(db, name) => {
                let key = KeyRef { db, name: &name };
                store.delete(key);
                self.journal.lapse(key);
            }
            Step::Reissued(db, name) => self.end_notes(KeyRef { db, name: &name }, store),
            Step::Orphan(author, db, name) => self.state.drop_orphan(author, KeyRef { db, name: &name }),
            Step::Whole => (self.complete, self.own) = (true, false),
            Step::Own => self.own = true,
            Step::Offered(keys) => {
                for (db, name) in &keys {
                    self.offer(KeyRef { db: *db, name }, store);
                }
            }
            Step::Compacted(stable) => self.settle_by(vector(stable)),
            Step::Regions(entries) => self.follow(&entries),
            Step::Evicted(marks) => {
                for (db, name, wanted) in &marks {
                    let key = KeyRef { db: *db, name };
                    match wanted {
                        false => {
                            if matches!(store.kind(key), Some(Native::Kind(_))) {
                                store.delete(key);
                            }
                            self.state.evict(key);
                        }
                        true => self.state.mark_evicted(key, true),
                    }
                }
            }
            Step::Fetched(db, name) => self.state.brought_back(KeyRef { db, name: &name }, store),
            Step::Gaps(gaps) => self.gaps = gaps,
            Step::Guard(disk, replica) => self.guard = Guard { disk, replica },
            Step::Skew(_) => {}
            Step::Scores(rule) => self.shown_by = rule,
        }
        Ok(())
    }

    /// Takes note of regions as its primary did, its own incarnation included.
    fn follow(&mut self, entries: &[RegionEntry]) {
        self.learn(entries, usize::MAX);
        let own = self.state.me().region();
        for RegionEntry(name, incarnation) in entries {
            if self.names.get(&own) == Some(name) && *incarnation > self.state.me().incarnation() {
                self.state.rename(*incarnation);
            }
        }
    }

    fn replay_note(&mut self, key: KeyRef<'_>, change: &WireChange, store: &mut dyn Store) -> Result<(), String> {
        wire::read_change(change, key, store, |change, store| {
            let before = store.kind(key);
            change.perform(key, store);
            self.journal.note(key, before, change);
        })
        .map_err(|e| corrupt(e.0))
    }
}
