//! Recovering: a region that starts is brought up to date by a peer before its own writes count.
//!
//! ```text
//!             ┌───────────────────cut──────────────────┐
//!             v                                        │
//!  Waiting ──a healthy peer──> Joining ──its End──> Installing ──all in place──> Active
//!     └──nobody to wait for, or all others pledge to adopt from us────^
//! ```
//!
//! A region whose past fits is sent what it lacks. Any other adopts the peer's whole state, which replaces its own key
//! by key where it stands; a cut adoption goes on from where it was, or begins again over what is there. Local writes go
//! on all the while: noted in the journal, and issued as operations on top of the new state.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use serde_bytes::ByteBuf;

use super::api::{Level, LinkId, Output};
use super::engine::Engine;
use super::log::Step;
use super::peer::{Mode, Receiving};
use super::wire::{BaseKey, Begin, Hello, Message, Request, Slice, Want};
use crate::crdt::rules::{Rule, holds};
use crate::crdt::{Cursor, Found, KeyName, KeyRef, Notice, Record, ReplicaId, Store, Vector};

#[derive(Default)]
pub enum Phase {
    /// Looks for a healthy peer.
    #[default]
    Waiting,
    /// This region brings us up to date.
    Joining(String),
    /// The state is there; values of keys that it does not have go, and what was written meanwhile is issued.
    Installing(Option<Sweep>),
    Active,
}

/// A peer's whole state on its way in, perhaps over several links.
pub struct Adoption {
    source: ReplicaId,
    /// Settled values before this have arrived.
    reached: Cursor,
    /// Keys that have arrived, by hash; kept when the keyspace held others at first.
    arrived: Option<HashSet<u64>>,
}

/// Looks for keys that the adopted state does not have.
pub struct Sweep {
    /// `None` at the end: keys that came to light since are none of the old ones.
    cursor: Option<Cursor>,
    /// Keys that are as they should be, by hash. Two keys of one hash would let a stale one stay: with ten million keys
    /// that happens once in two hundred thousand adoptions.
    kept: HashSet<u64>,
}

/// A region whose own state is as good as any waits this long for a healthy peer that may know better.
const PATIENCE: Duration = Duration::from_secs(2);
/// Keys dealt with before a client has its turn.
const KEYS: usize = 16;
/// Keys between two reports of an adoption.
const REPORT: u64 = 100_000;

impl Phase {
    pub fn is_active(&self) -> bool {
        matches!(self, Phase::Active)
    }

    /// Whether local writes are only noted.
    pub fn is_provisional(&self) -> bool {
        matches!(self, Phase::Waiting | Phase::Joining(_))
    }

    /// Whether nothing but peers is waited for.
    pub fn is_settled(&self) -> bool {
        !matches!(self, Phase::Installing(_))
    }

    pub fn joins(&self, region: &str) -> bool {
        matches!(self, Phase::Joining(source) if source == region)
    }

    /// `trusted`: the state is as good as any, and will do when no healthy peer is there.
    pub fn describe(&self, trusted: bool) -> String {
        match self {
            Phase::Waiting if trusted => "looks for a healthy peer, then goes on with its own data".into(),
            Phase::Waiting => {
                "waits for a healthy peer to be brought up to date by, or for all regions to be there".into()
            }
            Phase::Joining(region) => format!("is brought up to date by region {region}"),
            Phase::Installing(_) => "issues what was written meanwhile".into(),
            Phase::Active => String::new(),
        }
    }
}

fn hash_of(key: KeyRef<'_>) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(key)
}

impl Engine {
    pub(super) fn recovery_step(&mut self, store: &mut dyn Store, out: &mut Vec<Output>) {
        match self.phase {
            Phase::Waiting => self.look_for_a_source(out),
            Phase::Installing(_) => self.install_some(store, out),
            Phase::Joining(_) | Phase::Active => {}
        }
    }

    pub(super) fn look_for_a_source(&mut self, out: &mut Vec<Output>) {
        let healthy = self.peers.values().find(|peer| peer.up && !peer.recovering);
        if let Some((region, link)) = healthy.and_then(|peer| Some((peer.name.clone(), peer.link?))) {
            self.log(
                Level::Notice,
                format!("recovering: asking region {region} for its state"),
                out,
            );
            let source = self.peers.get(&region).and_then(|peer| peer.replica);
            let adoption = self.adoption.as_ref().filter(|a| Some(a.source) == source);
            let request = Request {
                want: if self.region.complete { Want::Join } else { Want::Adopt },
                seen: self.region.whole_seen(),
                compacted: self.region.state.compacted().clone(),
                resume: adoption.map(|a| (a.source, a.reached)),
            };
            self.phase = Phase::Joining(region);
            self.send_message(link, &Message::Request(Box::new(request)), out);
            return;
        }
        if self.trusted && self.now.mono.saturating_sub(self.started) >= PATIENCE {
            self.log(
                Level::Notice,
                "no healthy peer is there: going on with our own data".into(),
                out,
            );
            return self.go_on_alone(out);
        }
        self.elect(out);
    }

    /// Our state is the cluster's, as far as we know. What arrived of another's, but not all of it, is worth nothing.
    pub(super) fn start_alone(&mut self, out: &mut Vec<Output>) {
        if !self.region.complete {
            self.forget_state(self.region.state.me().incarnation());
        }
        self.phase = Phase::Installing(None);
        self.adoption = None;
        if self.region.journal.is_empty() {
            self.become_active(out);
        }
    }

    fn become_active(&mut self, out: &mut Vec<Output>) {
        self.phase = Phase::Active;
        if !self.trusted && self.guard != self.region.guard {
            self.guard_from = Some(self.region.state.seen().clone());
        }
        self.adoption = None;
        (self.region.complete, self.region.own) = (true, false);
        self.ship.log.step(&Step::Whole);
        self.log(Level::Notice, format!("region {} is active", self.config.region), out);
        self.announce_active(out);
    }

    pub(super) fn source_down(&mut self, region: &str, out: &mut Vec<Output>) {
        if self.phase.joins(region) {
            let text = format!("lost region {region} while it brought us up to date: looking for another way");
            self.log(Level::Warning, text, out);
            self.phase = Phase::Waiting;
        }
    }

    /// The peer says whether it sends what we lack or everything.
    pub(super) fn joining_begins(
        &mut self,
        region: &str,
        begin: &Begin,
        store: &mut dyn Store,
        out: &mut Vec<Output>,
    ) -> Result<(), String> {
        if !begin.adopting {
            let fits = self.region.state.seen().includes(&begin.compacted) || !holds(Rule::FitOrAdopt);
            return match self.region.complete && fits {
                true => Ok(()),
                false => Err(format!("region {region} sends a part of its state, we need all")),
            };
        }
        let Some(source) = self.peers.get(region).and_then(|peer| peer.replica) else {
            return Ok(());
        };
        if !begin.resumed || self.adoption.as_ref().is_none_or(|a| a.source != source) {
            if begin.resumed {
                return Err(format!("region {region} goes on with a transfer that did not begin"));
            }
            let why = if self.region.complete {
                ", whose past ours does not fit"
            } else if self.region.own {
                "; what is here was never replicated, and is written where that region lacks it"
            } else {
                ""
            };
            self.log(
                Level::Notice,
                format!("adopting the state of region {region}{why}"),
                out,
            );
            let incarnation = self.region.state.me().incarnation();
            match self.region.complete {
                true => self.go_blank(incarnation, &begin.upto, store),
                false => self.forget_state(incarnation),
            }
            self.adopted_keys = 0;
            self.adoption = Some(Adoption {
                source,
                reached: Cursor::default(),
                arrived: (store.key_count() > 0).then(HashSet::new),
            });
        }
        self.ship.log.step(&Step::Adopting(source, begin.id));
        #[cfg(feature = "sim")]
        self.region.begin_history(source, begin.id);
        Ok(())
    }

    pub(super) fn adopt_slice(
        &mut self,
        slice: Slice,
        frame: &[u8],
        ahead: i64,
        store: &mut dyn Store,
        out: &mut Vec<Output>,
    ) {
        if self.adoption.is_none() {
            return;
        }
        let mut stale: Vec<(u32, ByteBuf)> = Vec::new();
        let base = slice.base.iter().map(BaseKey::key);
        let keys = base.chain(slice.records.iter().map(Record::key));
        // Before they count as arrived: that old data has expired is nothing to the cluster.
        self.look_for_expiry(keys.clone(), store);
        for key in keys {
            let arrived = self.adoption.as_mut().and_then(|adoption| adoption.arrived.as_mut());
            if arrived.is_some_and(|arrived| arrived.insert(hash_of(key))) && store.kind(key).is_some() {
                stale.push((key.db, ByteBuf::from(key.name)));
            }
        }
        let Some(adoption) = &mut self.adoption else { return };
        if !slice.base.is_empty() {
            adoption.reached = slice.reached;
        }
        let source = adoption.source;
        self.offer_keys(&stale, store);
        self.drop_keys(stale, store);
        #[cfg(feature = "sim")]
        self.region.learn_history(source, &slice, true);
        self.ship.log.slice(source, true, frame, ahead);
        let before = self.adopted_keys;
        self.adopted_keys += self.region.adopt(slice, store);
        if before / REPORT != self.adopted_keys / REPORT {
            let text = format!("adopted {} keys so far", self.adopted_keys);
            self.log(Level::Notice, text, out);
        }
    }

    /// Keys that the peer has evicted: they are as absent here. What of them is in the keyspace may be a part.
    pub(super) fn adopt_evicted(
        &mut self,
        region: &str,
        keys: Vec<(u32, ByteBuf)>,
        store: &mut dyn Store,
    ) -> Result<(), String> {
        let adopts = self.peers.get(region).and_then(|peer| peer.inbound.receiving.as_ref());
        if !adopts.is_some_and(|receiving| receiving.adopting) {
            return Err(format!("region {region} names evicted keys outside of an adoption"));
        }
        let names = keys.iter().map(|(db, name)| KeyRef { db: *db, name });
        self.look_for_expiry(names, store);
        let Some(adoption) = &mut self.adoption else {
            return Ok(());
        };
        let mut stale: Vec<(u32, ByteBuf)> = Vec::new();
        let mut marks: Vec<(KeyName, bool)> = Vec::new();
        for (db, name) in keys {
            let key = KeyRef { db, name: &name };
            let first = adoption
                .arrived
                .as_mut()
                .is_some_and(|arrived| arrived.insert(hash_of(key)));
            let here = store.kind(key).is_some();
            if first && here {
                stale.push((db, name.clone()));
            }
            let part = here && !first || self.region.state.index().find(key).is_some();
            marks.push(((db, name.into_vec().into()), part));
        }
        self.offer_keys(&stale, store);
        self.drop_keys(stale, store);
        for ((db, name), part) in &marks {
            let key = KeyRef { db: *db, name };
            match part {
                false => self.region.state.evict(key),
                true => self.region.state.mark_evicted(key, true),
            }
        }
        self.log_evicted(marks);
        Ok(())
    }

    fn offer_keys(&mut self, keys: &[(u32, ByteBuf)], store: &mut dyn Store) {
        if !self.region.own {
            return;
        }
        let mut offered = Vec::new();
        for (db, name) in keys {
            let key = KeyRef { db: *db, name };
            if store.is_replicated(key) {
                self.region.offer(key, store);
                offered.push((*db, name.clone()));
            }
        }
        if !offered.is_empty() {
            self.ship.log.step(&Step::Offered(offered));
        }
    }

    /// A key that was never replicated, and that the adopted state does not have: it is written as it is now.
    fn bring(&mut self, key: KeyRef<'_>, store: &mut dyn Store) {
        let found = Found::read(key, store);
        if self.region.journal.contains(key) {
            // Its value shows what was noted.
            self.ship.log.step(&Step::Reissued(key.db, ByteBuf::from(key.name)));
            self.region.journal.end(key, store);
            found.restore(key, store);
        }
        self.record_found(key, &found, Notice::None);
    }

    /// Whether what the keyspace holds of a key belongs to no state: the one that is adopted has not come to it yet, or does
    /// not have it. Unless the deadline was set meanwhile, its expiry is then no word on the key.
    pub(super) fn is_given_up(&self, key: KeyRef<'_>) -> bool {
        let arrives = |a: &Adoption| a.arrived.as_ref().is_none_or(|keys| keys.contains(&hash_of(key)));
        let belongs = match &self.phase {
            Phase::Waiting | Phase::Joining(_) => self.region.complete || self.adoption.as_ref().is_some_and(arrives),
            Phase::Installing(sweep) => sweep.as_ref().is_none_or(|sweep| sweep.kept.contains(&hash_of(key))),
            Phase::Active => true,
        };
        !belongs && !self.region.journal.sets_deadline(key)
    }

    fn drop_keys(&mut self, keys: Vec<(u32, ByteBuf)>, store: &mut dyn Store) {
        if keys.is_empty() {
            return;
        }
        for (db, name) in &keys {
            self.region.drop_native(KeyRef { db: *db, name }, store);
        }
        self.ship.log.step(&Step::Dropped(keys));
    }

    /// The peer has sent all it had to.
    pub(super) fn joining_ends(&mut self, region: &str, receiving: Receiving, out: &mut Vec<Output>) {
        let mut sweep = None;
        if receiving.adopting {
            let (upto, compacted) = (&receiving.upto, &receiving.compacted);
            self.region.state.complete(upto, compacted);
            let pairs = |vector: &Vector| vector.iter().collect();
            self.ship.log.step(&Step::Adopted(pairs(upto), pairs(compacted)));
            for (_, hlc) in upto.iter() {
                if !self.region.state.clock.observe(hlc) {
                    self.clock_alarms += 1;
                }
            }
            let text = format!("adopted {} keys of region {region}", self.adopted_keys);
            self.log(Level::Notice, text, out);
            let adoption = self.adoption.take();
            sweep = adoption.and_then(|a| a.arrived).map(|kept| Sweep {
                cursor: Some(Cursor::default()),
                kept,
            });
        } else {
            self.advance(&receiving.upto);
        }
        self.acknowledged.clear();
        self.phase = Phase::Installing(sweep);
    }

    /// Before a local command reads or changes a key: finishes what recovery left to do for it.
    pub fn prepare(&mut self, key: KeyRef<'_>, store: &mut dyn Store) {
        if matches!(self.phase, Phase::Installing(_)) {
            self.install(key, store);
        }
    }

    fn install(&mut self, key: KeyRef<'_>, store: &mut dyn Store) {
        self.look_for_expiry([key], store);
        let Phase::Installing(sweep) = &mut self.phase else {
            return;
        };
        let old = |sweep: &mut Sweep| sweep.kept.insert(hash_of(key)) && sweep.cursor.is_some();
        let stale = sweep.as_mut().is_some_and(old) && store.is_replicated(key) && holds(Rule::DropStale);
        if stale && self.region.own && store.kind(key).is_some() {
            return self.bring(key, store);
        }
        if stale && store.kind(key).is_some() {
            self.drop_keys(vec![(key.db, ByteBuf::from(key.name))], store);
        }
        if self.region.journal.contains(key) {
            self.ship.log.step(&Step::Reissued(key.db, ByteBuf::from(key.name)));
            let (me, ship) = (self.region.state.me(), &mut self.ship);
            self.region
                .state
                .reissue(&mut self.region.journal, key, store, &mut |op, seen| {
                    ship.push(op, me, seen)
                });
        }
    }

    fn install_some(&mut self, store: &mut dyn Store, out: &mut Vec<Output>) {
        for _ in 0..KEYS {
            let Phase::Installing(sweep) = &mut self.phase else {
                return;
            };
            if let Some(Sweep {
                cursor: Some(cursor),
                kept,
            }) = sweep
            {
                let mut found: Vec<(u32, Box<[u8]>)> = Vec::new();
                let more = store.scan_keys(cursor, &mut |key, _| {
                    if !kept.contains(&hash_of(key)) {
                        found.push((key.db, key.name.into()));
                    }
                });
                for (db, name) in &found {
                    self.install(KeyRef { db: *db, name }, store);
                }
                if let (false, Phase::Installing(Some(sweep))) = (more, &mut self.phase) {
                    sweep.cursor = None;
                }
                continue;
            }
            match self.region.journal.first() {
                Some((db, name)) => self.install(KeyRef { db, name: &name }, store),
                None => return self.become_active(out),
            }
        }
    }

    /// Our past does not reach what a peer was compacted by: we go blank under a fresh id, adopt, and write our own
    /// unseen values again. What nobody else has seen of our removals is lost.
    pub(super) fn give_up_state(&mut self, hello: &Hello, out: &mut Vec<Output>) {
        let text = format!(
            "what we have seen does not reach what region {} was compacted by: adopting its state instead",
            hello.region
        );
        self.log(Level::Warning, text, out);
        self.give_up = Some(hello.seen());
        self.restart_links("must adopt", out);
    }

    /// Second half of [`Engine::give_up_state`], where the keyspace is at hand.
    pub(super) fn give_up(&mut self, store: &mut dyn Store, out: &mut Vec<Output>) {
        if let Some(floor) = self.give_up.take() {
            self.go_blank(
                self.incarnation_after(self.region.state.me().incarnation()),
                &floor,
                store,
            );
            self.recover_again(out);
        }
    }

    /// The keyspace, or one database of it, was emptied behind our back: amnesia. The region forgets the rest as well
    /// and comes back from its peers; nothing is removed elsewhere.
    pub fn forget(&mut self, database: Option<u32>, out: &mut Vec<Output>) {
        let text = "the keyspace was emptied: what other regions have comes back from them";
        self.log(Level::Warning, text.into(), out);
        self.flush(out);
        self.give_up = None;
        self.restart_links("the region has lost its data", out);
        self.region.journal.flushed(database);
        self.region.own &= database.is_some();
        self.ship.log.step(&Step::Flushed(database));
        self.forget_state(self.incarnation_after(self.region.state.me().incarnation()));
        self.recover_again(out);
    }

    fn go_blank(&mut self, incarnation: u64, floor: &Vector, store: &mut dyn Store) {
        self.region.go_blank(incarnation, floor, store);
        self.ship.log.step(&Step::Blank(incarnation, floor.iter().collect()));
        self.begin_state();
    }

    fn forget_state(&mut self, incarnation: u64) {
        self.region.forget_state(incarnation);
        self.ship.log.step(&Step::Forgot(incarnation));
        self.begin_state();
    }

    fn begin_state(&mut self) {
        self.confirmed.clear();
        self.given_up += 1;
        self.shows_anew();
    }

    fn recover_again(&mut self, out: &mut Vec<Output>) {
        self.ship.start_over();
        self.acknowledged.clear();
        self.fetch.clear();
        (self.adoption, self.trusted) = (None, false);
        // What it was to remove is what this region had seen.
        self.purge = None;
        self.phase = Phase::Waiting;
        for peer in self.peers.values_mut() {
            peer.out.mode = Mode::Idle;
        }
        if self.config.peers.is_empty() {
            self.start_alone(out);
        }
    }

    /// An operator's word that no peer will come to recover from: goes on with what is here.
    ///
    /// # Errors
    /// When the region does not recover.
    pub fn recover_alone(&mut self, out: &mut Vec<Output>) -> Result<(), String> {
        if !self.phase.is_provisional() {
            return Err("the region does not recover".into());
        }
        let text = "going on with the data that is here, without any peer's";
        self.log(Level::Warning, text.into(), out);
        self.go_on_alone(out);
        Ok(())
    }

    /// Nobody has compared our past with the peers' yet: the hello of an active region does. Peers may go on alone at
    /// the same time.
    fn go_on_alone(&mut self, out: &mut Vec<Output>) {
        let links: Vec<LinkId> = self.peers.values().filter_map(|peer| peer.link).collect();
        for link in links {
            let why = "the region goes on alone";
            out.push(Output::Close {
                link,
                reason: why.into(),
            });
            self.link_down(link, why, out);
        }
        self.start_alone(out);
    }
}
