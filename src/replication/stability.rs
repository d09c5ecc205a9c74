//! Acknowledgements, the stable frontier, compaction.

use std::collections::BTreeMap;

use serde_bytes::ByteBuf;

use super::api::Output;
use super::engine::Engine;
use super::log::Step;
use super::peer::Queued;
use super::region::Guard;
use super::wire::{self, Acknowledged, Header, Message};
use crate::crdt::rules::{Rule, holds};
use crate::crdt::{Hlc, RegionTag, Store, Vector};

/// What a region last told, itself or through others: incarnation, durable vector.
#[derive(Clone, Default)]
pub struct Acknowledgement {
    pub incarnation: u64,
    pub durable: Vector,
    /// The newest incarnations it then knew.
    pub known: BTreeMap<RegionTag, u64>,
}

impl Acknowledgement {
    /// Whether it was said when every one of these incarnations was known, the region's own included. Until then the
    /// region may have taken up, and not yet passed on, operations of an incarnation that was lost: concurrent with what
    /// it acknowledges, and unknown to the incarnation that came after.
    fn knows(&self, newest: &BTreeMap<RegionTag, u64>) -> bool {
        let told = |tag: &RegionTag| self.known.get(tag).copied().unwrap_or(0);
        !holds(Rule::RestartsKnown) || newest.iter().all(|(tag, incarnation)| told(tag) >= *incarnation)
    }
}

/// Targets looked at before a client has its turn.
const VISITS: usize = 64;

impl Engine {
    /// What a sudden death of this server would leave: what was confirmed; or, of a volatile region, everything, for
    /// its peers hold it (such a region is brought up to date by them before it counts again).
    pub(super) fn durable(&self) -> Vector {
        let mut durable = if self.guard == Guard::VOLATILE || !holds(Rule::DurableAcknowledgement) {
            self.region.state.seen().clone()
        } else {
            self.confirmed.clone()
        };
        if let Some(seen) = self.purge.as_ref().filter(|_| holds(Rule::PurgeUnsettled)) {
            durable.meet(seen);
        }
        durable
    }

    /// What acknowledgements wait for from now on. It counts for the region once everything acknowledged so far has got
    /// there too.
    pub fn set_guard(&mut self, guard: Guard) {
        if guard == self.guard {
            return;
        }
        self.guard = guard;
        let held = self.region.guard;
        self.hold(Guard {
            disk: held.disk && guard.disk,
            replica: held.replica && guard.replica,
        });
        self.guard_from = Some(self.region.state.seen().clone());
        self.header_due = true;
    }

    /// All up to here is where the guard wants it.
    pub fn confirm(&mut self, upto: &Vector) {
        let vouches = self.trusted || self.phase.is_active();
        if vouches && self.guard_from.take_if(|from| upto.includes(from)).is_some() {
            self.hold(self.guard);
        }
        if !self.confirmed.includes(upto) {
            self.confirmed.join(upto);
            (self.header_due, self.compaction_due) = (true, true);
        }
    }

    fn hold(&mut self, guard: Guard) {
        if self.region.guard != guard {
            self.region.guard = guard;
            self.ship.log.step(&Step::Guard(guard.disk, guard.replica));
        }
    }

    /// A header of a peer's stream, once our vector covers its.
    pub(super) fn learn(&mut self, region: &str, header: &Header, store: &mut dyn Store) {
        self.learn_regions(&header.regions);
        let connected: Vec<RegionTag> = self
            .peers
            .values()
            .filter(|peer| peer.link.is_some())
            .map(|peer| peer.tag)
            .collect();
        let Some(peer) = self.peers.get_mut(region) else { return };
        peer.heard = header.seen.clone();
        let own = self.region.state.me().region();
        for Acknowledged {
            region: tag,
            incarnation,
            durable,
            known: told,
        } in &header.acknowledged
        {
            let first_hand = *tag == RegionTag::of(region);
            // A relayed word could overtake older slices of a region that we are connected to.
            let stale = !first_hand && connected.contains(tag) && holds(Rule::FirstHand);
            if *tag == own || stale || !self.region.names.contains_key(tag) {
                continue;
            }
            // Of what we have not seen a later header tells again. So a peer cannot make us keep more than we have.
            let mut durable = durable.clone();
            durable.retain(|replica, _| self.region.state.seen().get(replica) > 0);
            let told = told.iter().filter(|(tag, _)| self.region.names.contains_key(tag));
            let known = self.acknowledged.entry(*tag).or_default();
            if known.incarnation < *incarnation {
                *known = Acknowledgement {
                    incarnation: *incarnation,
                    durable,
                    known: told.copied().collect(),
                };
            } else if known.incarnation == *incarnation {
                known.durable.join(&durable);
                for (tag, incarnation) in told {
                    let newest = known.known.entry(*tag).or_insert(0);
                    *newest = (*newest).max(*incarnation);
                }
            }
        }
        self.compaction_due = true;
        self.own_orphans(store);
    }

    fn own_orphans(&mut self, store: &mut dyn Store) {
        let heard: Vec<&Vector> = self
            .peers
            .values()
            .filter(|peer| peer.up)
            .map(|peer| &peer.heard)
            .collect();
        let (me, ship) = (self.region.state.me(), &mut self.ship);
        let dropped = self
            .region
            .state
            .own_orphans(&heard, store, &mut |op, seen| ship.push(op, me, seen));
        for (author, db, name) in dropped {
            self.ship.log.step(&Step::Orphan(author, db, ByteBuf::from(name)));
        }
    }

    /// Regions whose word is needed: every one we are configured with or have heard of.
    pub(super) fn members(&self) -> Vec<RegionTag> {
        let own = self.region.state.me().region();
        let mut members: Vec<RegionTag> = self.region.state.newest().keys().copied().collect();
        members.extend(self.config.peers.iter().map(|name| RegionTag::of(name)));
        members.sort_unstable();
        members.dedup();
        members.retain(|tag| *tag != own);
        members
    }

    /// S: the minimum over all regions of what they durably have. A region's word counts only when it came from its
    /// newest incarnation, and after the region had heard of every other restart that we know of.
    pub(super) fn stable(&self) -> Vector {
        let mut stable = self.durable();
        if !holds(Rule::OwnAcknowledgement) {
            return stable;
        }
        let own = self.region.state.me().region();
        let configured = self.config.peers.iter().map(|name| RegionTag::of(name));
        // A region named twice lowers nothing twice.
        for tag in self
            .region
            .state
            .newest()
            .keys()
            .copied()
            .chain(configured)
            .filter(|tag| *tag != own)
        {
            let current = |a: &&Acknowledgement| a.knows(self.region.state.newest());
            match self.acknowledged.get(&tag).filter(current) {
                Some(acknowledgement) => stable.meet(&acknowledgement.durable),
                None => return Vector::new(),
            }
        }
        stable
    }

    /// Drops some of what is stable; true while more is waiting.
    pub(super) fn compact(&mut self, store: &mut dyn Store) -> bool {
        if !self.compaction_due || !self.phase.is_active() {
            return false;
        }
        let stable = self.stable();
        self.marks.trim(stable.get(self.region.state.me()));
        self.log_compaction(&stable);
        let (me, ship) = (self.region.state.me(), &mut self.ship);
        let more = self
            .region
            .state
            .compact(&stable, VISITS, store, Some(&mut |op, seen| ship.push(op, me, seen)));
        self.compaction_due = more;
        more
    }

    /// Followers drop what we drop, later: telling them now and then will do.
    fn log_compaction(&mut self, stable: &Vector) {
        let age = self.now.mono.saturating_sub(self.compaction_logged.0);
        if self.ship.log.is_on() && age >= self.config.limits.heartbeat && self.compaction_logged.1 != *stable {
            self.ship.log.step(&Step::Compacted(stable.iter().collect()));
            self.compaction_logged = (self.now.mono, stable.clone());
        }
    }

    /// Headers acknowledge, prove that the link lives, and spread what is known of others.
    pub(super) fn send_header_if_due(&mut self, out: &mut Vec<Output>) {
        let limits = &self.config.limits;
        let age = self.now.mono.saturating_sub(self.header_sent);
        let due = age >= limits.heartbeat || self.header_due && age >= limits.acknowledge;
        if !due || !self.phase.is_active() {
            return;
        }
        (self.header_due, self.header_sent) = (false, self.now.mono);
        self.compaction_due = true;
        let header = self.header();
        let frame = wire::encode(&Message::Header(Box::new(header)));
        self.broadcast(
            Queued {
                frame: frame.into(),
                operations: 0,
            },
            out,
        );
    }

    fn heard_clocks(&self) -> Vec<(RegionTag, Hlc)> {
        let connected = self.peers.values().filter(|peer| peer.up);
        connected.map(|peer| (peer.tag, peer.skew.heard())).collect()
    }

    fn header(&self) -> Header {
        let me = self.region.state.me();
        let known = |known: &BTreeMap<RegionTag, u64>| known.iter().map(|(tag, newest)| (*tag, *newest)).collect();
        let mut acknowledged: Vec<Acknowledged> = self
            .acknowledged
            .iter()
            .map(|(tag, a)| Acknowledged {
                region: *tag,
                incarnation: a.incarnation,
                durable: a.durable.clone(),
                known: known(&a.known),
            })
            .collect();
        acknowledged.push(Acknowledged {
            region: me.region(),
            incarnation: me.incarnation(),
            durable: self.durable(),
            known: known(self.region.state.newest()),
        });
        Header {
            replica: Some(me),
            seen: self.region.state.seen().clone(),
            durable: self.durable(),
            regions: self.region_entries(),
            acknowledged,
            wall: self.now.wall,
            heard: self.heard_clocks(),
        }
    }
}
