//! The replication engine: one region's protocol state, pure. `handle(now, input) -> outputs`, and `step` for the
//! work that may take longer than one input should.

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::api::{Config, Input, Level, LinkId, Now, Output};
use super::fetch::Fetching;
use super::handshake::Link;
use super::log::{Log, Step};
use super::marks::Marks;
use super::peer::{Mode, Peer, Queued};
use super::recovery::{Adoption, Phase};
use super::region::{Guard, Region};
use super::stability::Acknowledgement;
use super::wire::{self, BatchWriter, Message};
use crate::crdt::rules::{Rule, holds};
use crate::crdt::{Op, RegionTag, ReplicaId, Store, Vector, greatest};

/// One region's engine. All of it runs on the main thread; it is handed bytes and gives bytes.
pub struct Engine {
    pub(super) config: Config,
    pub(super) now: Now,
    pub(super) region: Region,
    pub(super) weight: u64,
    pub(super) phase: Phase,
    pub(super) links: BTreeMap<LinkId, Link>,
    pub(super) peers: BTreeMap<String, Peer>,
    pub(super) acknowledged: BTreeMap<RegionTag, Acknowledgement>,
    pub(super) ship: Shipping,
    pub(super) marks: Marks,
    pub(super) header_due: bool,
    pub(super) header_sent: std::time::Duration,
    pub(super) compaction_due: bool,
    /// When followers were last told what was compacted by, and what.
    pub(super) compaction_logged: (std::time::Duration, Vector),
    pub(super) applied: u64,
    pub(super) clock_alarms: u64,
    pub(super) adopted_keys: u64,
    /// A peer's vector, when our state must be given up for the peer's.
    pub(super) give_up: Option<Vector>,
    /// A peer's whole state that has begun to arrive.
    pub(super) adoption: Option<Adoption>,
    /// Our state came by a road that its acknowledgements waited for.
    pub(super) trusted: bool,
    pub(super) started: std::time::Duration,
    /// What acknowledgements wait for, and how far that has come.
    pub(super) guard: Guard,
    pub(super) confirmed: Vector,
    /// How many states were given up: what was confirmed of one says nothing of the next.
    pub(super) given_up: u64,
    /// What must be confirmed before the guard counts for what was acknowledged before it.
    pub(super) guard_from: Option<Vector>,
    /// Since when this recovering region cannot start the cluster itself.
    pub(super) no_candidate_since: Option<std::time::Duration>,
    pub(super) last_transfer: u64,
    /// What had been seen when the running purge began.
    pub(super) purge: Option<Vector>,
    /// There is memory for what peers send.
    pub(super) room: bool,
    pub(super) fetch: Fetching,
    next_peer: usize,
}

/// Own operations of this turn.
#[derive(Default)]
pub(super) struct Shipping {
    pub log: Log,
    pub batch: BatchWriter,
    /// Batches of this turn that were closed because something remote was applied in between.
    pub closed: Vec<(Vec<u8>, u64)>,
    pub issued: u64,
    pub last: u64,
    /// The next operation is one unit with the last; operations of that unit so far.
    pub joins: bool,
    pub unit: u64,
}

/// A batch is closed at this size, so that no peer must hold more at once.
const BATCH_BYTES: usize = 64 << 10;
/// A unit is not kept together beyond this many operations and bytes: its receivers' clients wait for all of it.
pub(super) const UNIT_OPERATIONS: u64 = 10_000;
const UNIT_BYTES: usize = 4 << 20;

impl Shipping {
    pub fn push(&mut self, op: &Op<'_>, me: ReplicaId, seen: &Vector) {
        self.log.own(op);
        self.unit = if self.joins { self.unit + 1 } else { 1 };
        let joins = std::mem::take(&mut self.joins) && self.unit <= UNIT_OPERATIONS && self.batch.len() < UNIT_BYTES;
        let full = self.batch.len() > BATCH_BYTES && !joins;
        if !self.batch.is_empty() && (full || !self.batch.fits(me, seen)) {
            self.close(me);
        }
        if self.batch.is_empty() {
            self.batch.start(me, seen, self.last);
            self.batch.push(op);
        } else if joins {
            self.batch.join(op);
        } else {
            self.batch.push(op);
        }
        self.last = op.dot.hlc;
        self.issued += 1;
    }

    /// Forgets what waits to be sent, and the operations before it.
    pub fn start_over(&mut self) {
        *self = Shipping {
            log: std::mem::take(&mut self.log),
            issued: self.issued,
            ..Shipping::default()
        };
    }

    pub fn close(&mut self, me: ReplicaId) {
        if !self.batch.is_empty() {
            let count = self.batch.count();
            self.closed.push((self.batch.finish(me), count));
        }
    }
}

impl Engine {
    /// `region`: what was loaded or followed. `trusted`: it came by a road that its acknowledgements waited for.
    /// `incarnation`: greater than any this region used before (milliseconds since some day will do; peers correct it
    /// at the handshake). `weight`: number of keys the region starts with.
    pub fn new(
        config: Config,
        region: Option<Region>,
        trusted: bool,
        incarnation: u64,
        weight: u64,
        now: Now,
    ) -> Engine {
        let incarnation = region
            .as_ref()
            .map_or(incarnation, |r| incarnation.max(r.next_incarnation()));
        let mut region = region.unwrap_or_else(|| Region::blank(&config.region, incarnation, config.limits.drift));
        region.state.rename(incarnation);
        region.state.scores = config.scores;
        if region.complete {
            region.state.learn_deadlines();
        }
        region.complete |= !holds(Rule::PartIsNotWhole);
        if !region.complete {
            region.forget_state(incarnation);
            region.shown_by = config.scores;
        }
        region.state.clock.set_wall(now.wall);
        // Of several pasts the latest starts a cluster; without any, the most data.
        let weight = greatest(region.state.seen()).max(weight);
        let trusted = (trusted || !holds(Rule::CatchUpFirst)) && region.complete;
        if !trusted {
            // It may be less than was acknowledged: whoever takes it up from here cannot trust it either.
            region.guard = Guard::VOLATILE;
        }
        let peers = config
            .peers
            .iter()
            .map(|name| (name.clone(), Peer::new(name, now.mono)))
            .collect();
        let alone = config.peers.is_empty();
        let mut engine = Engine {
            config,
            now,
            region,
            weight,
            phase: Phase::Waiting,
            links: BTreeMap::new(),
            peers,
            acknowledged: BTreeMap::new(),
            ship: Shipping::default(),
            marks: Marks::default(),
            header_due: false,
            header_sent: now.mono,
            compaction_due: true,
            compaction_logged: (now.mono, Vector::new()),
            applied: 0,
            clock_alarms: 0,
            adopted_keys: 0,
            give_up: None,
            adoption: None,
            trusted,
            started: now.mono,
            guard: Guard::VOLATILE,
            confirmed: Vector::new(),
            given_up: 0,
            guard_from: None,
            no_candidate_since: None,
            last_transfer: 0,
            purge: None,
            room: true,
            fetch: Fetching::default(),
            next_peer: 0,
        };
        if alone {
            engine.start_alone(&mut Vec::new());
        }
        engine
    }

    /// Sets the time that following calls see.
    pub fn set_time(&mut self, now: Now) {
        self.now = now;
        self.region.state.clock.set_wall(now.wall);
    }

    /// Without room, only what needs next to no memory goes on: acknowledgements, removals and deadlines, each peer's in
    /// order up to its first frame that needs some.
    pub fn set_room(&mut self, room: bool) {
        self.room = room;
    }

    /// Takes one input. Cheap: frames are checked and queued, the work is done by [`Engine::step`].
    pub fn handle(&mut self, input: Input<'_>, out: &mut Vec<Output>) {
        match input {
            Input::Up {
                link,
                dialed,
                certificate,
                address,
            } => {
                self.link_up(link, Link::new(dialed, certificate, address), out);
            }
            Input::Frame { link, frame } => {
                if let Err(why) = self.frame(link, frame, out) {
                    self.fail_link(link, &why, out);
                }
            }
            Input::Down { link, reason } => self.link_down(link, reason, out),
            Input::DialFailed { peer, reason } => self.dial_failed(peer, reason, out),
        }
    }

    /// One small piece of background work (some remote operations, a transfer slice, some compaction, timers).
    /// True while more is waiting.
    pub fn step(&mut self, store: &mut dyn Store, out: &mut Vec<Output>) -> bool {
        self.give_up(store, out);
        self.recovery_step(store, out);
        self.rescore(store, out);
        let names: Vec<String> = self
            .peers
            .iter()
            .filter(|(_, p)| p.has_work())
            .map(|(name, _)| name.clone())
            .collect();
        let mut busy = !self.phase.is_settled();
        // Peers take turns at the head of the line.
        self.next_peer = self.next_peer.wrapping_add(1);
        for at in 0..names.len() {
            let name = &names[(at + self.next_peer) % names.len()];
            busy |= match self.receive(name, store, out) {
                Ok(busy) => busy,
                Err(why) => {
                    if let Some(link) = self.peers.get(name).and_then(|p| p.link) {
                        self.fail_link(link, &why, out);
                    }
                    false
                }
            };
            self.reassert(store);
            busy |= self.send(name, store, out);
        }
        self.close_gaps();
        busy |= self.compact(store);
        busy |= self.fetch_step(store, out);
        self.flush(out);
        self.send_header_if_due(out);
        busy
    }

    /// Milliseconds until `step` should be called although nothing came in.
    pub fn next_timer(&self) -> u64 {
        let limits = &self.config.limits;
        let wait = if self.header_due {
            limits.acknowledge
        } else {
            limits.heartbeat.min(limits.relay_delay / 4)
        };
        u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// Writes again what another region let expire without knowing that it had been extended.
    fn reassert(&mut self, store: &mut dyn Store) {
        if self.phase.is_active() && self.region.state.has_rescues() {
            let (me, ship) = (self.region.state.me(), &mut self.ship);
            self.region
                .state
                .reassert(store, &mut |op, seen| ship.push(op, me, seen));
        }
    }

    /// Of what was shown nothing is kept.
    pub(super) fn shows_anew(&mut self) {
        if self.region.shown_by != self.config.scores {
            self.region.shown_by = self.config.scores;
            self.ship.log.step(&Step::Scores(self.config.scores));
        }
    }

    /// After a change of the setting: scores that have met under the old one stay as they were shown.
    fn rescore(&mut self, store: &mut dyn Store, out: &mut Vec<Output>) {
        let (old, new) = (self.region.shown_by, self.config.scores);
        if old == new || !self.phase.is_active() {
            return;
        }
        let (me, ship) = (self.region.state.me(), &mut self.ship);
        let state = &mut self.region.state;
        let met = state.rescore(old, store, &mut |op, seen| ship.push(op, me, seen));
        self.region.shown_by = new;
        self.ship.log.step(&Step::Scores(new));
        if met > 0 {
            let text = format!(
                "geo.zset-merge was {}, now {}: {met} scores that had met stay",
                old.name(),
                new.name()
            );
            self.log(Level::Notice, text, out);
        }
    }

    /// A number for a new life of this region.
    pub(super) fn incarnation_after(&self, known: u64) -> u64 {
        known + 1 + self.config.salt
    }

    /// End of an event-loop turn: ships what was recorded as one batch.
    pub fn flush(&mut self, out: &mut Vec<Output>) {
        self.ship.close(self.region.state.me());
        for (frame, operations) in std::mem::take(&mut self.ship.closed) {
            let last = self.region.state.seen().get(self.region.state.me());
            self.marks.add(last, operations, self.now.mono);
            self.broadcast(
                Queued {
                    frame: frame.into(),
                    operations,
                },
                out,
            );
            self.compaction_due = true;
        }
    }

    /// Sends a frame of our stream to every peer that follows it.
    pub(super) fn broadcast(&mut self, item: Queued, out: &mut Vec<Output>) {
        let mut links: SmallVec<[LinkId; 4]> = SmallVec::new();
        let limits = &self.config.limits;
        for peer in self.peers.values_mut() {
            let Some(link) = peer.established() else { continue };
            let out = &mut peer.out;
            match out.mode {
                Mode::Idle => {}
                Mode::Live if out.queue.is_empty() && !out.overflowed && out.stream.has_room(limits.stream_window) => {
                    out.stream.sent += item.frame.len() as u64;
                    peer.counters.operations_out += item.operations;
                    links.push(link);
                }
                _ if out.overflowed => {}
                _ => {
                    // A header says all that the one before it said.
                    if item.operations == 0 && out.queue.back().is_some_and(|last| last.operations == 0) {
                        out.queue_bytes -= out.queue.pop_back().map_or(0, |last| last.frame.len());
                    }
                    out.queue_bytes += item.frame.len();
                    out.queue.push_back(item.clone());
                    if out.queue_bytes > limits.queue {
                        out.queue.clear();
                        (out.queue_bytes, out.overflowed) = (0, true);
                    }
                }
            }
        }
        if !links.is_empty() {
            out.push(Output::Send {
                links,
                frame: item.frame,
            });
        }
    }

    pub(super) fn send_message(&self, link: LinkId, message: &Message, out: &mut Vec<Output>) {
        let frame: Arc<[u8]> = wire::encode(message).into();
        out.push(Output::Send {
            links: smallvec::smallvec![link],
            frame,
        });
    }

    pub(super) fn log(&self, level: Level, text: String, out: &mut Vec<Output>) {
        out.push(Output::Log { level, text });
    }

    /// What must not be forgotten: for saving.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Ends this engine (demotion): what remains follows another primary.
    pub fn into_region(self) -> Region {
        self.region
    }

    /// Whether anyone replays the log: an AOF, an in-region replica. Those that begin to follow have been given the
    /// region as it is now, or nothing when nothing has happened to it yet.
    pub fn set_logging(&mut self, on: bool) {
        if on == self.ship.log.is_on() {
            return;
        }
        self.ship.log.set(on);
        self.log_regions();
        self.ship
            .log
            .step(&Step::Guard(self.region.guard.disk, self.region.guard.replica));
        if !self.region.shown_by.is_default() {
            self.ship.log.step(&Step::Scores(self.region.shown_by));
        }
        if self.region.complete {
            self.ship.log.step(&Step::Whole);
        } else if self.region.own {
            self.ship.log.step(&Step::Own);
        }
    }

    /// What the keyspace holds was never replicated. Should the region join a cluster, it brings it along: what the
    /// cluster has stays, what it lacks is written.
    pub fn bring_own_data(&mut self) {
        if !self.region.complete {
            self.region.own = true;
            self.ship.log.step(&Step::Own);
        }
    }

    /// Hands over what has happened since the last call, for [`Region::replay`]; empty when nothing has.
    pub fn drain_log<R>(&mut self, take: impl FnOnce(&[u8]) -> R) -> R {
        self.ship.log.drain(take)
    }

    pub(super) fn log_regions(&mut self) {
        if self.ship.log.is_on() {
            self.ship.log.step(&Step::Regions(self.region.entries()));
        }
    }

    /// What has been applied, to be confirmed once it cannot be forgotten any more.
    pub fn seen(&self) -> &Vector {
        self.region.state.seen()
    }

    /// Another number whenever the state was given up.
    pub fn state_number(&self) -> u64 {
        self.given_up
    }

    /// Ships what is left and says goodbye to all peers.
    pub fn shutdown(&mut self, why: &str, out: &mut Vec<Output>) {
        self.flush(out);
        for link in self.links.keys() {
            out.push(Output::Close {
                link: *link,
                reason: why.into(),
            });
        }
    }

    /// The stable frontier and what it is made of, for tests.
    #[cfg(feature = "sim")]
    pub fn stability(&self) -> String {
        let known = self
            .acknowledged
            .iter()
            .map(|(tag, a)| (self.region.names.get(tag), a.incarnation, &a.durable));
        let sides = self.peers.values().map(|p| {
            let i = &p.inbound;
            let (stream, slices) = (
                (i.stream.len(), i.stream_consumed, i.stream_reported),
                (i.slices.len(), i.slices_consumed, i.slices_reported),
            );
            (
                p.name.clone(),
                p.out.stream,
                p.out.transfer,
                stream,
                slices,
                i.requested,
                i.blocked_since,
            )
        });
        let sides = format!("{:?}", sides.collect::<Vec<_>>());
        format!(
            "{:?} of {:?} newest {:?} sides {sides}",
            self.stable(),
            known.collect::<Vec<_>>(),
            self.region.state.newest()
        )
    }

    /// Whether a provisional write to the key waits, for tests.
    #[cfg(feature = "sim")]
    pub fn is_noted(&self, key: crate::crdt::KeyRef<'_>) -> bool {
        self.region.journal.contains(key)
    }

    /// Takes what is noted for a key out of a copy of the keyspace, for tests.
    #[cfg(feature = "sim")]
    pub fn without_noted(&self, key: crate::crdt::KeyRef<'_>, copy: &mut dyn Store) {
        let mut journal = crate::crdt::Journal::default();
        let own = self.region.journal.iter().find(|(noted, _)| *noted == key);
        if let Some((_, noted)) = own {
            journal.restore(key, noted.clone());
            journal.withdraw(key, copy);
        }
    }

    /// The state, for tests.
    #[cfg(feature = "sim")]
    pub fn state(&mut self) -> &mut crate::crdt::State {
        &mut self.region.state
    }
}
