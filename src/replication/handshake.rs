//! Hello: who is there, and whether we may talk.

use super::api::{Level, LinkId, Output};
use super::engine::Engine;
use super::peer::Peer;
use super::wire::{Hello, Message, PROTOCOL, Refusal, RegionEntry};
use crate::crdt::{RegionTag, ReplicaId};

/// A connection, from its first byte on.
pub struct Link {
    dialed: Option<String>,
    certificate: Vec<String>,
    address: String,
    /// The region, once its hello was accepted.
    pub(super) region: Option<String>,
    accepted: bool,
    /// Our hello said that we recover.
    said_recovering: bool,
    /// What we promised on this link while recovering: that we are a candidate, whom we adopt from.
    pub(super) candidacy: Option<(ReplicaId, Vec<RegionTag>)>,
    pub(super) pledged: Option<ReplicaId>,
}

impl Link {
    pub fn new(dialed: Option<&str>, certificate: &[String], address: &str) -> Link {
        Link {
            dialed: dialed.map(str::to_owned),
            certificate: certificate.to_vec(),
            address: address.to_owned(),
            region: None,
            accepted: false,
            said_recovering: false,
            candidacy: None,
            pledged: None,
        }
    }
}

/// Regions taken note of; a cluster has a handful.
const MOST_REGIONS: usize = 256;

/// What to do with a hello that is not accepted.
enum Verdict {
    /// The peer is told why.
    Refuse(Refusal),
    /// Our name for new operations is not new enough: `0` is the greatest known.
    Rename(u64),
    /// Our past does not reach what the peer was compacted by.
    MustAdopt,
}

impl Engine {
    pub(super) fn link_up(&mut self, link: LinkId, entry: Link, out: &mut Vec<Output>) {
        if let Some(peer) = entry
            .dialed
            .as_ref()
            .and_then(|name| self.peers.get_mut(name))
            .filter(|p| !p.up)
        {
            peer.set_state("handshake", "", self.now.mono);
            entry.address.clone_into(&mut peer.address);
        }
        self.links.insert(link, entry);
        self.send_hello(link, out);
    }

    fn send_hello(&mut self, link: LinkId, out: &mut Vec<Output>) {
        if let Some(entry) = self.links.get_mut(&link) {
            entry.said_recovering = !self.phase.is_active();
        }
        let hello = Hello {
            cluster: self.config.cluster.clone(),
            region: self.config.region.clone(),
            incarnation: self.region.state.me().incarnation(),
            recovering: !self.phase.is_active(),
            weight: self.weight,
            regions: self.region_entries(),
            wall: self.now.wall,
            scores: self.config.scores,
            ..Hello::default()
        };
        let hello = match self.region.complete {
            true => hello.with_vectors(self.region.state.seen(), self.region.state.compacted()),
            false => hello,
        };
        self.send_message(link, &Message::Hello(Box::new(hello)), out);
    }

    pub(super) fn region_entries(&self) -> Vec<RegionEntry> {
        let newest = self.region.state.newest();
        let unmet = self
            .config
            .peers
            .iter()
            .filter(|name| !newest.contains_key(&RegionTag::of(name)));
        let unmet = unmet.map(|name| RegionEntry(name.clone(), 0));
        self.region.entries().into_iter().chain(unmet).collect()
    }

    pub(super) fn learn_regions(&mut self, regions: &[RegionEntry]) {
        if self.region.learn(regions, MOST_REGIONS) {
            self.log_regions();
        }
    }

    pub(super) fn hello(&mut self, link: LinkId, hello: &Hello, out: &mut Vec<Output>) {
        let Some(entry) = self.links.get(&link) else { return };
        if entry.region.is_some() {
            return self.fail_link(link, "a second hello", out);
        }
        match self.judge(link, hello) {
            Ok(()) => self.accept(link, hello, out),
            Err(Verdict::Refuse(refusal)) => self.refuse(link, hello, refusal, out),
            Err(Verdict::Rename(known)) => self.rename(known, out),
            Err(Verdict::MustAdopt) => self.give_up_state(hello, out),
        }
    }

    fn judge(&self, link: LinkId, hello: &Hello) -> Result<(), Verdict> {
        let refuse = |reason: String| Err(Verdict::Refuse(Refusal::lasting(reason)));
        let (ours, entry) = (&self.config, &self.links[&link]);
        if hello.magic != Hello::MAGIC || hello.oldest > *PROTOCOL.end() || hello.newest < *PROTOCOL.start() {
            let (oldest, newest) = (PROTOCOL.start(), PROTOCOL.end());
            return refuse(format!(
                "incompatible protocol: it speaks {}..{}, we speak {oldest}..{newest}",
                hello.oldest, hello.newest
            ));
        }
        if hello.cluster != ours.cluster {
            return refuse(format!(
                "another cluster: it is in '{}', we are in '{}'",
                hello.cluster, ours.cluster
            ));
        }
        if hello.scores != ours.scores {
            return refuse(format!(
                "another rule for concurrent scores: its geo.zset-merge is '{}', ours is '{}'",
                hello.scores.name(),
                ours.scores.name()
            ));
        }
        if hello.region == ours.region {
            let same = hello.incarnation == self.region.state.me().incarnation();
            let what = if same {
                "this is the region itself"
            } else {
                "another server has our region name"
            };
            return refuse(format!("{what}: both are '{}'", ours.region));
        }
        if !entry.certificate.contains(&hello.region) {
            let names = entry.certificate.join(", ");
            return refuse(format!(
                "it says it is '{}' but its certificate names {names}",
                hello.region
            ));
        }
        if let Some(dialed) = entry.dialed.as_ref().filter(|dialed| **dialed != hello.region) {
            return refuse(format!("we dialed '{dialed}' and found '{}'", hello.region));
        }
        let tag = RegionTag::of(&hello.region);
        if let Some(other) = self.region.names.get(&tag).filter(|name| **name != hello.region) {
            return refuse(format!(
                "region names '{other}' and '{}' cannot be told apart: rename one",
                hello.region
            ));
        }
        self.judge_link(link, hello)?;
        self.judge_past(hello)
    }

    /// One link per region: a restarted peer replaces a silent link, of two dials one stays.
    fn judge_link(&self, link: LinkId, hello: &Hello) -> Result<(), Verdict> {
        let Some(peer) = self.peers.get(&hello.region) else {
            return Ok(());
        };
        let Some(held) = peer.link.filter(|held| *held != link) else {
            return Ok(());
        };
        let silent = self.now.mono.saturating_sub(peer.heard_at) > self.config.limits.heartbeat * 3;
        if silent {
            return Ok(());
        }
        let address = &self.links[&link].address;
        if let Some(known) = peer.replica.filter(|known| known.incarnation() != hello.incarnation) {
            // A port has one owner: that server is gone, this one took its place.
            let restarted = known.incarnation() < hello.incarnation && *address == peer.address;
            return match restarted {
                true => Ok(()),
                false => Err(Verdict::Refuse(Refusal::lasting(format!(
                    "duplicate region name: {} is connected from {}, this is {}.{} from {address}",
                    self.replica_name(known),
                    peer.address,
                    hello.region,
                    hello.incarnation
                )))),
            };
        }
        let smaller_dialed = |link: LinkId| {
            let we_dialed = self.links.get(&link).is_some_and(|entry| entry.dialed.is_some());
            we_dialed == (self.config.region < hello.region)
        };
        if smaller_dialed(held) && !smaller_dialed(link) {
            return Err(Verdict::Refuse(Refusal::passing("the regions are connected already")));
        }
        Ok(())
    }

    /// Whether both pasts fit: no one's base may be news to the other.
    fn judge_past(&self, hello: &Hello) -> Result<(), Verdict> {
        let me = self.region.state.me();
        let known = hello
            .regions
            .iter()
            .find(|RegionEntry(name, _)| *name == self.config.region);
        let known = known.map_or(0, |RegionEntry(_, incarnation)| *incarnation);
        // The peer knows operations under our id that we do not: the id has been used before.
        let used = hello.seen().get(me) > self.region.state.seen().get(me);
        if known > me.incarnation() || used {
            return Err(Verdict::Rename(known.max(me.incarnation())));
        }
        let tag = RegionTag::of(&hello.region);
        if let Some(newest) = self
            .region
            .state
            .newest()
            .get(&tag)
            .filter(|newest| **newest > hello.incarnation)
        {
            let reason = format!(
                "incarnation {} of '{}' is superseded by {newest}",
                hello.incarnation, hello.region
            );
            return Err(Verdict::Refuse(Refusal::lasting(reason)));
        }
        if !self.phase.is_active() || hello.recovering {
            return Ok(());
        }
        let we_lack = !self.region.state.seen().includes(&hello.compacted());
        let it_lacks = !hello.seen().includes(self.region.state.compacted());
        if we_lack && !(it_lacks && self.config.region > hello.region) {
            return Err(Verdict::MustAdopt);
        }
        if it_lacks {
            // Either it finds from our hello that it must adopt, or this hello is older than what we have heard of
            // it by way of others since.
            return Err(Verdict::Refuse(Refusal::passing(
                "its past, as this hello has it, does not reach what we were compacted by",
            )));
        }
        Ok(())
    }

    fn accept(&mut self, link: LinkId, hello: &Hello, out: &mut Vec<Output>) {
        let now = self.now;
        let address = self.links[&link].address.clone();
        if let Some(old) = self
            .peers
            .get(&hello.region)
            .and_then(|peer| peer.link)
            .filter(|old| *old != link)
        {
            self.links.remove(&old);
            out.push(Output::Close {
                link: old,
                reason: "replaced by a newer connection".into(),
            });
            self.peer_down(&hello.region.clone(), "replaced by a newer connection", out);
        }
        self.learn_regions(&hello.regions);
        let tag = RegionTag::of(&hello.region);
        self.region.names.insert(tag, hello.region.clone());
        self.learn_regions(&[RegionEntry(hello.region.clone(), hello.incarnation)]);
        let peer = self
            .peers
            .entry(hello.region.clone())
            .or_insert_with(|| Peer::new(&hello.region, now.mono));
        peer.reset_link();
        peer.link = Some(link);
        peer.replica = Some(ReplicaId::new(tag, hello.incarnation));
        (peer.recovering, peer.weight) = (hello.recovering, hello.weight);
        (peer.heard, peer.heard_at, peer.address) = (hello.seen(), now.mono, address);
        peer.set_state("handshake", "", now.mono);
        if let Some(entry) = self.links.get_mut(&link) {
            peer.skew.sample(now.wall, hello.wall, None);
            entry.region = Some(hello.region.clone());
        }
        let accept = Message::Accept {
            wall: now.wall,
            heard: hello.wall,
        };
        self.send_message(link, &accept, out);
        self.establish(link, out);
    }

    pub(super) fn accepted(&mut self, link: LinkId, out: &mut Vec<Output>) {
        if let Some(entry) = self.links.get_mut(&link) {
            entry.accepted = true;
        }
        self.establish(link, out);
    }

    /// A link is up when both sides have accepted.
    fn establish(&mut self, link: LinkId, out: &mut Vec<Output>) {
        let Some(entry) = self.links.get(&link).filter(|entry| entry.accepted) else {
            return;
        };
        let (region, changed) = (entry.region.clone(), entry.said_recovering);
        let Some(region) = region else { return };
        let Some(peer) = self.peers.get_mut(&region) else {
            return;
        };
        peer.up = true;
        peer.set_state("up", "", self.now.mono);
        let recovering = peer.recovering;
        out.push(Output::Established {
            link,
            region: region.clone(),
        });
        let text = format!("connected to region {region} at {}", peer.address);
        self.log(Level::Notice, text, out);
        if self.phase.is_active() {
            if changed {
                self.request_missing(link, out);
            }
            if !recovering {
                self.begin_transfer(&region, out);
            }
            self.header_due = true;
        }
    }

    fn refuse(&mut self, link: LinkId, hello: &Hello, refusal: Refusal, out: &mut Vec<Output>) {
        let Some(entry) = self.links.remove(&link) else { return };
        let told = Refusal {
            reason: format!(
                "region '{}' refuses region '{}': {}",
                self.config.region, hello.region, refusal.reason
            ),
            ..refusal
        };
        self.send_message(link, &Message::Refuse(told), out);
        out.push(Output::Close {
            link,
            reason: "refused".into(),
        });
        let name = entry.dialed.as_deref().unwrap_or(&hello.region);
        self.note_refusal(name, &entry.address, &refusal, out);
    }

    /// The peer refuses us.
    pub(super) fn refused(&mut self, link: LinkId, refusal: &Refusal, out: &mut Vec<Output>) {
        let Some(entry) = self.links.remove(&link) else { return };
        out.push(Output::Close {
            link,
            reason: "refused".into(),
        });
        if let Some(region) = &entry.region {
            self.peer_down(region, &refusal.reason, out);
        }
        if let Some(name) = entry.dialed.or(entry.region) {
            self.note_refusal(&name, &entry.address, refusal, out);
        }
    }

    /// A refusal that passes is no state to be shown: the next hello is on its way.
    fn note_refusal(&mut self, name: &str, address: &str, refusal: &Refusal, out: &mut Vec<Output>) {
        let (now, Refusal { reason, passing }) = (self.now.mono, refusal);
        match self.peers.get_mut(name).filter(|peer| peer.link.is_none()) {
            Some(peer) if !passing => {
                address.clone_into(&mut peer.address);
                peer.set_state("refused", reason, now);
            }
            _ => {}
        }
        let level = if *passing { Level::Verbose } else { Level::Warning };
        self.log(level, format!("no link with region {name} at {address}: {reason}"), out);
    }

    pub(super) fn link_down(&mut self, link: LinkId, reason: &str, out: &mut Vec<Output>) {
        let Some(entry) = self.links.remove(&link) else { return };
        let now = self.now.mono;
        match &entry.region {
            Some(region) => self.peer_down(region, reason, out),
            None => {
                if let Some(peer) = entry.dialed.as_ref().and_then(|name| self.peers.get_mut(name))
                    && peer.link.is_none()
                    && peer.state != "refused"
                {
                    peer.set_state("down", reason, now);
                }
            }
        }
    }

    pub(super) fn dial_failed(&mut self, name: &str, reason: &str, out: &mut Vec<Output>) {
        let now = self.now.mono;
        if let Some(peer) = self.peers.get_mut(name).filter(|peer| peer.link.is_none()) {
            let news = peer.reason != reason;
            peer.set_state("down", reason, now);
            if news {
                self.log(Level::Notice, format!("cannot reach region {name}: {reason}"), out);
            }
        }
    }

    pub(super) fn peer_down(&mut self, region: &str, reason: &str, out: &mut Vec<Output>) {
        let now = self.now.mono;
        if let Some(peer) = self.peers.get_mut(region) {
            peer.reset_link();
            peer.set_state("down", reason, now);
            self.fetch.peer_down(region, peer.tag);
            self.log(Level::Notice, format!("lost region {region}: {reason}"), out);
        }
        self.source_down(region, out);
    }

    pub(super) fn fail_link(&mut self, link: LinkId, why: &str, out: &mut Vec<Output>) {
        self.log(Level::Warning, format!("closing a link: {why}"), out);
        out.push(Output::Close {
            link,
            reason: why.to_owned(),
        });
        self.link_down(link, why, out);
    }

    /// Closes every link: they come back with a new hello.
    pub(super) fn restart_links(&mut self, why: &str, out: &mut Vec<Output>) {
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            out.push(Output::Close {
                link,
                reason: why.to_owned(),
            });
            self.link_down(link, why, out);
        }
    }

    fn rename(&mut self, known: u64, out: &mut Vec<Output>) {
        self.flush(out);
        self.region.state.rename(self.incarnation_after(known));
        self.log_regions();
        self.ship.last = 0;
        self.log(
            Level::Notice,
            format!("taking a fresh replica id, {:?}", self.region.state.me()),
            out,
        );
        self.restart_links("takes a fresh replica id", out);
    }
}
