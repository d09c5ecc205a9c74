//! Recovering: a region that starts (or must start) with nothing adopts the whole state of a peer.
//!
//! ```text
//!  Waiting ──a healthy peer──> Adopting ──its End──> Installing ──all in place──> Active
//!     │  ^──────────────cut────────┘                                               ^
//!     └──all regions recover, all others pledge to adopt from us───────────────────┘
//! ```
//!
//! The adopted state is built in memory beside the old one. Local writes go on all the while: noted in the journal
//! until the adopted state is complete, then re-issued on top of it as new operations.

use std::collections::BTreeSet;
use std::time::Duration;

use super::api::{Level, LinkId, Output};
use super::engine::Engine;
use super::peer::{Mode, Peer, Receiving};
use super::wire::{BaseKey, Hello, Message, Slice};
use crate::crdt::rules::{Rule, holds};
use crate::crdt::{Cursor, Element, KeyRef, MemoryStore, Native, RegionTag, ReplicaId, State, Store};

#[derive(Default)]
pub enum Phase {
    #[default]
    Waiting,
    Adopting(Box<Adoption>),
    Installing(Box<Installation>),
    Active,
}

/// A peer's state, arriving.
pub struct Adoption {
    region: String,
    state: State,
    store: MemoryStore,
}

/// An adopted state, moving into the keyspace.
pub struct Installation {
    values: MemoryStore,
    /// Scan for keys the adopted state does not have; `None` when done.
    sweep: Option<Cursor>,
    /// Keys dealt with during the sweep.
    fresh: BTreeSet<(u32, Box<[u8]>)>,
}

/// A region that cannot start the cluster waits this long for a candidate with more data than it has itself.
const PATIENCE: Duration = Duration::from_secs(2);

/// Keys moved before a client has its turn.
const KEYS: usize = 16;

impl Phase {
    pub fn is_active(&self) -> bool {
        matches!(self, Phase::Active)
    }

    /// Whether local writes are only noted.
    pub fn is_provisional(&self) -> bool {
        matches!(self, Phase::Waiting | Phase::Adopting(_))
    }

    /// Whether nothing but peers is waited for.
    pub fn is_settled(&self) -> bool {
        !matches!(self, Phase::Installing(_))
    }

    pub fn adopts_from(&self, region: &str) -> bool {
        matches!(self, Phase::Adopting(adoption) if adoption.region == region)
    }

    pub fn describe(&self) -> String {
        match self {
            Phase::Waiting => "waits for a healthy peer to adopt from, or for all regions to be there".into(),
            Phase::Adopting(adoption) => format!("adopts the state of region {}", adoption.region),
            Phase::Installing(i) => format!("installs the adopted state, {} keys to go", i.values.keys().len()),
            Phase::Active => String::new(),
        }
    }
}

impl Engine {
    pub(super) fn recovery_step(&mut self, store: &mut dyn Store, out: &mut Vec<Output>) {
        match self.phase {
            Phase::Waiting => self.look_for_a_source(out),
            Phase::Installing(_) => self.install_some(store, out),
            Phase::Adopting(_) | Phase::Active => {}
        }
    }

    fn look_for_a_source(&mut self, out: &mut Vec<Output>) {
        let healthy = self.peers.values().find(|peer| peer.up && !peer.recovering);
        if let Some((region, link)) = healthy.and_then(|peer| Some((peer.name.clone(), peer.link?))) {
            self.log(
                Level::Notice,
                format!("recovering: adopting the state of region {region}"),
                out,
            );
            let state = State::new(self.region.state.me(), self.config.limits.drift);
            let adoption = Adoption {
                region,
                state,
                store: MemoryStore::default(),
            };
            self.phase = Phase::Adopting(Box::new(adoption));
            let request = Message::Request {
                seen: Default::default(),
                adopt: true,
            };
            self.send_message(link, &request, out);
            return;
        }
        self.elect(out);
    }

    /// Every region recovers: the one with the most data starts the cluster, once all others have promised to
    /// adopt only from it.
    fn elect(&mut self, out: &mut Vec<Output>) {
        let members = self.members();
        let here = |tag: &RegionTag| self.peers.values().any(|p| p.tag == *tag && p.up && p.recovering);
        let candidate = members.iter().all(here);
        let waiting = *self.no_candidate_since.get_or_insert(self.now.mono);
        if candidate {
            self.no_candidate_since = None;
        }
        let patient = !candidate && self.now.mono.saturating_sub(waiting) >= PATIENCE;
        let mine = (self.weight, self.config.region.as_str());
        // It must vouch for everyone that we know of.
        let vouches = |p: &Peer| {
            p.candidate
                .as_ref()
                .is_some_and(|known| members.iter().all(|tag| *tag == p.tag || known.contains(tag)))
        };
        let eligible = |p: &&Peer| p.up && vouches(p) && (patient || (p.weight, p.name.as_str()) > mine);
        let better = self
            .peers
            .values()
            .filter(eligible)
            .max_by_key(|p| (p.weight, &p.name))
            .and_then(|p| p.replica);
        self.withdraw_outranked_pledge(better, candidate, out);
        if candidate {
            self.say_once(self.region.state.me(), out);
        }
        if let Some(replica) = better {
            self.say_once(replica, out);
            return;
        }
        let pledged = self
            .peers
            .values()
            .filter(|p| members.contains(&p.tag))
            .all(|p| p.pledged_to_us);
        if candidate && (pledged || !holds(Rule::Pledge)) && self.pledge_given().is_none() {
            self.log(
                Level::Notice,
                "every region was empty: starting the cluster with our data".into(),
                out,
            );
            self.region.journal = Default::default();
            self.become_active(out);
        }
    }

    /// The region we promised to adopt from, while it is connected.
    fn pledge_given(&self) -> Option<ReplicaId> {
        self.links
            .values()
            .filter_map(|link| link.pledged)
            .find(|replica| *replica != self.region.state.me())
    }

    /// A promise to a region that another one (`best`, or we ourselves) outranks would block the election: it ends
    /// with its link. The other side then no longer counts it, and the next hello tells whether it went active
    /// in the meantime.
    fn withdraw_outranked_pledge(&mut self, best: Option<ReplicaId>, candidate: bool, out: &mut Vec<Output>) {
        let Some(given) = self.pledge_given() else { return };
        let rank = |replica: ReplicaId| {
            self.peers
                .values()
                .find(|p| p.replica == Some(replica))
                .map(|p| (p.weight, p.name.as_str()))
        };
        let mine = candidate.then_some((self.weight, self.config.region.as_str()));
        if best.and_then(rank).max(mine) <= rank(given) {
            return;
        }
        let Some(link) = self
            .peers
            .values()
            .find(|p| p.replica == Some(given))
            .and_then(|peer| peer.link)
        else {
            return;
        };
        out.push(Output::Close {
            link,
            reason: "a region with more data can start the cluster".into(),
        });
        self.link_down(link, "a region with more data can start the cluster", out);
    }

    /// Tells everyone what we promise; only one promise to another region is ever given while its link lasts.
    fn say_once(&mut self, to: ReplicaId, out: &mut Vec<Output>) {
        let me = self.region.state.me();
        if to != me && self.pledge_given().is_some() {
            return;
        }
        let targets: Vec<LinkId> = match to == me {
            true => self.peers.values().filter_map(|p| p.established()).collect(),
            false => self
                .peers
                .values()
                .filter(|p| p.replica == Some(to))
                .filter_map(|p| p.established())
                .collect(),
        };
        let members = self.members();
        for link in targets {
            let Some(entry) = self.links.get_mut(&link) else {
                continue;
            };
            let word = Some((to, members.clone()));
            let news = match to == me {
                true => entry.candidacy != word,
                false => entry.pledged.replace(to) != Some(to),
            };
            if news {
                if to == me {
                    entry.candidacy = word;
                }
                self.send_message(
                    link,
                    &Message::Pledge {
                        to,
                        members: members.clone(),
                    },
                    out,
                );
            }
        }
    }

    pub(super) fn pledged(&mut self, region: &str, to: ReplicaId, members: Vec<RegionTag>, out: &mut Vec<Output>) {
        let me = self.region.state.me();
        let Some(peer) = self.peers.get_mut(region) else { return };
        if Some(to) == peer.replica {
            peer.candidate = Some(members);
        } else if to == me {
            peer.pledged_to_us = true;
        }
        if matches!(self.phase, Phase::Waiting) {
            self.look_for_a_source(out);
        }
    }

    fn become_active(&mut self, out: &mut Vec<Output>) {
        self.phase = Phase::Active;
        self.log(Level::Notice, format!("region {} is active", self.config.region), out);
        self.announce_active(out);
    }

    pub(super) fn adoption_source_down(&mut self, region: &str, out: &mut Vec<Output>) {
        if self.phase.adopts_from(region) {
            self.log(
                Level::Warning,
                format!("lost region {region} while adopting its state: starting over"),
                out,
            );
            self.phase = Phase::Waiting;
            self.adopted_keys = 0;
        }
    }

    pub(super) fn adoption_begins(&mut self, region: &str, id: u64) {
        let Phase::Adopting(adoption) = &mut self.phase else {
            return;
        };
        adoption.state = State::new(self.region.state.me(), self.config.limits.drift);
        adoption.store = MemoryStore::default();
        self.adopted_keys = 0;
        #[cfg(feature = "sim")]
        if let Some(replica) = self.peers.get(region).and_then(|peer| peer.replica) {
            let all = super::tracing::find((replica, id, 0)).unwrap_or_default();
            adoption.state.history.cells = all.0;
        }
        let _ = (region, id);
    }

    pub(super) fn adopt_slice(&mut self, slice: Slice) {
        let Phase::Adopting(adoption) = &mut self.phase else {
            return;
        };
        for BaseKey {
            db,
            name,
            elements,
            kind,
        } in slice.base
        {
            let key = KeyRef { db, name: &name };
            self.adopted_keys += u64::from(!adoption.store.contains(key));
            for (element, value) in &elements {
                adoption
                    .store
                    .write(key, Element { kind, name: element }, Some(value.borrow()));
            }
        }
        for record in slice.records {
            adoption.state.adopt(record, &mut adoption.store);
        }
    }

    #[cfg(feature = "sim")]
    pub(super) fn adopt_history(&mut self, known: Option<crate::crdt::history::Snapshot>) {
        if let (Phase::Adopting(adoption), Some(known)) = (&mut self.phase, known) {
            adoption.state.history.replace(&known);
        }
    }

    /// The state is complete: it becomes ours at once, its values move into the keyspace piece by piece.
    pub(super) fn adoption_ends(&mut self, region: &str, receiving: Receiving, out: &mut Vec<Output>) {
        let Phase::Adopting(adoption) = std::mem::take(&mut self.phase) else {
            return;
        };
        let keys = adoption.store.keys().len();
        self.adopted_keys = keys as u64;
        self.region
            .state
            .take_over(adoption.state, &receiving.upto, &receiving.compacted);
        for (_, hlc) in receiving.upto.iter() {
            if !self.region.state.clock.observe(hlc) {
                self.clock_alarms += 1;
            }
        }
        self.acknowledged.clear();
        self.log(Level::Notice, format!("adopted {keys} keys of region {region}"), out);
        let (values, sweep) = (adoption.store, Some(Cursor::default()));
        self.phase = Phase::Installing(Box::new(Installation {
            values,
            sweep,
            fresh: BTreeSet::new(),
        }));
    }

    /// Before a local command reads or changes a key: finishes what adoption left to do for it.
    pub fn prepare(&mut self, key: KeyRef<'_>, store: &mut dyn Store) {
        if matches!(self.phase, Phase::Installing(_)) {
            self.install(key, store);
        }
    }

    fn install(&mut self, key: KeyRef<'_>, store: &mut dyn Store) {
        let Phase::Installing(installation) = &mut self.phase else {
            return;
        };
        let noted = self.region.journal.contains(key);
        let sweeping = installation.sweep.is_some();
        let owned = (key.db, Box::<[u8]>::from(key.name));
        let stale = noted || sweeping && !installation.fresh.contains(&owned);
        if !installation.values.move_key(key, store) && stale && matches!(store.kind(key), Some(Native::Kind(_))) {
            store.delete(key);
        }
        if sweeping {
            installation.fresh.insert(owned);
        }
        if noted {
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
            let Phase::Installing(installation) = &mut self.phase else {
                return;
            };
            if let Some(cursor) = &mut installation.sweep {
                let mut found: Vec<(u32, Box<[u8]>)> = Vec::new();
                let more = store.scan_keys(cursor, &mut |key, _| found.push((key.db, key.name.into())));
                found.retain(|key| !installation.fresh.contains(key));
                for (db, name) in &found {
                    self.install(KeyRef { db: *db, name }, store);
                }
                let Phase::Installing(installation) = &mut self.phase else {
                    return;
                };
                if !more {
                    (installation.sweep, installation.fresh) = (None, BTreeSet::new());
                }
                continue;
            }
            match installation.values.first_key().or_else(|| self.region.journal.first()) {
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
        self.must_adopt = Some(hello.seen());
        self.restart_links("must adopt", out);
    }

    /// Second half of [`Engine::give_up_state`], where the keyspace is at hand.
    pub(super) fn go_blank(&mut self, store: &mut dyn Store) {
        let Some(theirs) = self.must_adopt.take() else { return };
        let unseen = self.region.state.unseen_writes(&theirs, store);
        self.region.journal = Default::default();
        self.region.journal.note_unseen(unseen);
        let me = self.region.state.me();
        let newest: Vec<(RegionTag, u64)> = self
            .region
            .state
            .newest()
            .iter()
            .map(|(tag, inc)| (*tag, *inc))
            .collect();
        self.region.state = State::new(
            ReplicaId::new(me.region(), me.incarnation() + 1),
            self.config.limits.drift,
        );
        self.region.state.clock.set_wall(self.now.wall);
        for (tag, incarnation) in newest.into_iter().filter(|(tag, _)| *tag != me.region()) {
            self.region.state.learn_incarnation(tag, incarnation);
        }
        self.ship = Default::default();
        self.acknowledged.clear();
        self.phase = Phase::Waiting;
        for peer in self.peers.values_mut() {
            peer.out.mode = Mode::Idle;
        }
    }
}
