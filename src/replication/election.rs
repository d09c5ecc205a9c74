//! Every region recovers: they agree whose data starts the cluster, by pledges. See docs/decisions/0002.

use std::time::Duration;

use super::api::{Level, LinkId, Output};
use super::engine::Engine;
use super::peer::Peer;
use super::recovery::Phase;
use super::wire::Message;
use crate::crdt::rules::{Rule, holds};
use crate::crdt::{RegionTag, ReplicaId};

/// A region that cannot start the cluster waits this long for a candidate with more data than it has itself.
const PATIENCE: Duration = Duration::from_secs(2);

impl Engine {
    /// Every region recovers: the one with the most data starts the cluster, once all others have promised to
    /// adopt only from it.
    pub(super) fn elect(&mut self, out: &mut Vec<Output>) {
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
                "every region recovers: starting the cluster with our data".into(),
                out,
            );
            self.start_alone(out);
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
}
