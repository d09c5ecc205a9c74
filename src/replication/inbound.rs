//! From a peer: its stream in order, and transfers.

use super::api::{LinkId, Output};
use super::engine::{Engine, UNIT_OPERATIONS};
use super::log::Step;
use super::peer::{Content, Item, Mode, Peer, Receiving};
use super::skew;
use super::wire::{self, BatchReader, Begin, Message, Request, Slice, Want};
use crate::crdt::rules::{Rule, holds};
use crate::crdt::{Hlc, Record, RegionTag, Store, Vector, greatest};

/// Operations applied before another peer, or a client, has its turn.
const OPERATIONS: u64 = 16;

impl Engine {
    /// Checks and queues one frame.
    pub(super) fn frame(&mut self, link: LinkId, frame: &[u8], out: &mut Vec<Output>) -> Result<(), String> {
        let Some(entry) = self.links.get(&link) else {
            return Ok(());
        };
        let tag = frame.first().copied().unwrap_or(u8::MAX);
        let Some(region) = entry.region.clone() else {
            return match wire::decode(frame).map_err(|e| e.0)? {
                Message::Hello(hello) => {
                    self.hello(link, &hello, out);
                    Ok(())
                }
                Message::Refuse(refusal) => {
                    self.refused(link, &refusal, out);
                    Ok(())
                }
                Message::Accept { .. } => {
                    self.accepted(link, out);
                    Ok(())
                }
                _ => Err("something before the hello".into()),
            };
        };
        let (now, limits, own) = (self.now, &self.config.limits, self.region.state.me().region());
        let Some(peer) = self.peers.get_mut(&region) else {
            return Ok(());
        };
        peer.heard_at = now.mono;
        let bound = 2 * (limits.stream_window + limits.transfer_window) + limits.frame;
        match tag {
            wire::tag::BATCH
            | wire::tag::HEADER
            | wire::tag::SLICE
            | wire::tag::BEGIN
            | wire::tag::END
            | wire::tag::FETCHED
            | wire::tag::EVICTED => {
                peer.inbound.queued_bytes += frame.len();
                if peer.inbound.queued_bytes > bound {
                    return Err(format!("region {region} sends more than it was granted"));
                }
                queue(peer, tag, frame, now.wall, own)
            }
            _ => {
                let message = wire::decode(frame).map_err(|e| e.0)?;
                self.control(link, &region, message, out)
            }
        }
    }

    fn control(&mut self, link: LinkId, region: &str, message: Message, out: &mut Vec<Output>) -> Result<(), String> {
        match message {
            Message::Accept { wall, heard } => {
                if let Some(peer) = self.peers.get_mut(region) {
                    peer.skew.sample(self.now.wall, wall, Some(heard));
                }
                self.accepted(link, out);
            }
            Message::Refuse(refusal) => self.refused(link, &refusal, out),
            Message::Credit { stream, transfer } => {
                let Some(peer) = self.peers.get_mut(region) else {
                    return Ok(());
                };
                let (s, t) = (&mut peer.out.stream, &mut peer.out.transfer);
                s.credited = s.credited.max(stream.min(s.sent));
                t.credited = t.credited.max(transfer.min(t.sent));
            }
            Message::Request(request) => self.requested(region, *request, out),
            Message::Fetch { id, keys } => return self.fetch_asked(region, id, keys),
            Message::Pledge { to, members } => self.pledged(region, to, members, out),
            _ => return Err(format!("region {region} sends a frame out of place")),
        }
        Ok(())
    }

    /// The peer lacks something: it recovers, has just become active, or its stream waits for a third region.
    fn requested(&mut self, region: &str, request: Request, out: &mut Vec<Output>) {
        let active = self.phase.is_active();
        // It may name any number of replicas; of those that we do not know nothing is to be sent.
        let mut heard = request.seen.clone();
        heard.retain(|replica, _| self.region.state.seen().get(replica) > 0);
        let Some(peer) = self.peers.get_mut(region) else { return };
        if request.want == Want::Missing {
            peer.recovering = false;
            peer.heard.join(&heard);
        }
        if !active || !peer.up {
            return;
        }
        // What both have dropped must be what both have seen: then nothing one lacks is settled at the other.
        let state = &self.region.state;
        let fits = request.seen.includes(state.compacted()) && state.seen().includes(&request.compacted);
        if request.want == Want::Adopt || request.want == Want::Join && !fits && holds(Rule::FitOrAdopt) {
            let resume = request.resume.filter(|(source, _)| *source == state.me());
            self.begin_adoption(region, resume.map(|(_, reached)| reached), out);
        } else {
            peer.heard.join(&heard);
            self.begin_transfer(region, out);
        }
    }

    /// Asks for what we lack, being active.
    pub(super) fn request_missing(&mut self, link: LinkId, out: &mut Vec<Output>) {
        let request = Request {
            want: Want::Missing,
            seen: self.region.state.seen().clone(),
            compacted: self.region.state.compacted().clone(),
            resume: None,
        };
        self.send_message(link, &Message::Request(Box::new(request)), out);
    }

    /// Does one piece of what came from a peer; true while more can be done.
    pub(super) fn receive(
        &mut self,
        region: &str,
        store: &mut dyn Store,
        out: &mut Vec<Output>,
    ) -> Result<bool, String> {
        let joining = self.phase.joins(region);
        let active = self.phase.is_active();
        let Some(peer) = self.peers.get_mut(region) else {
            return Ok(false);
        };
        // A header that overtook a slice could acknowledge more than the slice had seen.
        if !self.room && peer.inbound.slice_waits(joining) {
            return Ok(false);
        }
        let slice = if active || joining {
            peer.inbound.slices.pop_front()
        } else {
            None
        };
        if let Some(frame) = slice {
            let size = frame.len();
            let Some(peer) = self.peers.get_mut(region) else {
                return Ok(false);
            };
            peer.inbound.queued_bytes -= size;
            if matches!(
                frame.first(),
                Some(&wire::tag::SLICE | &wire::tag::FETCHED | &wire::tag::EVICTED)
            ) {
                peer.inbound.slices_consumed += size as u64;
            }
            self.transfer_frame(region, &frame, store, out)?;
            self.grant(region, out);
            return Ok(true);
        }
        if !active {
            return Ok(false);
        }
        let busy = self.stream_head(region, store, out)?;
        self.grant(region, out);
        Ok(busy)
    }

    /// Returns credit for what was consumed.
    fn grant(&mut self, region: &str, out: &mut Vec<Output>) {
        let limits = &self.config.limits;
        let (stream_step, slice_step) = (limits.stream_window as u64 / 8, limits.transfer_window as u64 / 8);
        let Some(peer) = self.peers.get_mut(region) else { return };
        let Some(link) = peer.established() else { return };
        let side = &mut peer.inbound;
        let due = side.stream_consumed - side.stream_reported >= stream_step.max(1)
            || side.slices_consumed - side.slices_reported >= slice_step.max(1);
        if due {
            (side.stream_reported, side.slices_reported) = (side.stream_consumed, side.slices_consumed);
            let credit = Message::Credit {
                stream: side.stream_consumed,
                transfer: side.slices_consumed,
            };
            self.send_message(link, &credit, out);
        }
    }

    fn transfer_frame(
        &mut self,
        region: &str,
        frame: &[u8],
        store: &mut dyn Store,
        out: &mut Vec<Output>,
    ) -> Result<(), String> {
        match wire::decode(frame).map_err(|e| e.0)? {
            Message::Begin(begin) => self.transfer_begins(region, *begin, store, out),
            Message::Slice(slice) => self.slice(region, *slice, frame, store, out),
            Message::Fetched(fetched) => self.fetched(region, &fetched, store),
            Message::Evicted(keys) => self.adopt_evicted(region, keys, store),
            Message::End { id } => {
                let Some(peer) = self.peers.get_mut(region) else {
                    return Ok(());
                };
                let Some(receiving) = peer.inbound.receiving.take().filter(|r| r.id == id) else {
                    return Err(format!("region {region} ends a transfer that did not begin"));
                };
                let me = self.region.state.me();
                if receiving.upto.get(me) > self.region.state.seen().get(me) {
                    return Err(format!("region {region} knows operations of ours that we never made"));
                }
                peer.counters.transfers_received += 1;
                peer.inbound.requested = false;
                peer.inbound.blocked_since = None;
                if self.phase.joins(region) {
                    self.joining_ends(region, receiving, out);
                } else {
                    self.advance(&receiving.upto);
                }
                Ok(())
            }
            _ => Err(format!("region {region} sends a frame out of place")),
        }
    }

    fn transfer_begins(
        &mut self,
        region: &str,
        begin: Begin,
        store: &mut dyn Store,
        out: &mut Vec<Output>,
    ) -> Result<(), String> {
        if self.phase.joins(region) {
            self.joining_begins(region, &begin, store, out)?;
        } else if begin.adopting || !self.phase.is_active() {
            return Err(format!("region {region} begins a transfer that was not asked for"));
        }
        if begin.deadlines {
            self.region.state.learn_deadlines();
        }
        if let Some(peer) = self.peers.get_mut(region) {
            peer.inbound.receiving = Some(Receiving {
                id: begin.id,
                upto: begin.upto,
                compacted: begin.compacted,
                adopting: begin.adopting,
                next: 1,
            });
        }
        Ok(())
    }

    pub(super) fn advance(&mut self, upto: &Vector) {
        self.region.state.advance(upto);
        self.ship.log.step(&Step::Advanced(upto.iter().collect()));
        if greatest(upto) > 0 && !self.region.state.clock.observe(greatest(upto)) {
            self.clock_alarms += 1;
        }
        self.header_due = true;
        self.compaction_due = true;
    }

    fn slice(
        &mut self,
        region: &str,
        mut slice: Slice,
        frame: &[u8],
        store: &mut dyn Store,
        out: &mut Vec<Output>,
    ) -> Result<(), String> {
        let Some(peer) = self.peers.get_mut(region) else {
            return Ok(());
        };
        let ahead = peer.skew.correction();
        skew::correct_slice(&mut slice, ahead);
        let (Some(receiving), Some(sender)) = (peer.inbound.receiving.as_mut(), peer.replica) else {
            return Err(format!("region {region} sends a slice without a transfer"));
        };
        if (receiving.id, receiving.next) != (slice.id, slice.number) {
            return Err(format!("region {region} sends slices out of order"));
        }
        receiving.next += 1;
        if receiving.adopting {
            self.adopt_slice(slice, frame, ahead, store, out);
            return Ok(());
        }
        if !slice.seen.includes(self.region.state.compacted()) {
            return Err(format!("region {region} has not seen what we were compacted by"));
        }
        #[cfg(feature = "sim")]
        self.region.learn_history(sender, &slice, false);
        let upto = (!holds(Rule::AdvanceAtEnd)).then(|| receiving.upto.clone());
        self.look_for_expiry(slice.records.iter().map(Record::key), store);
        for record in &slice.records {
            self.look_for_gap(record.key(), store);
        }
        self.ship.log.slice(sender, false, frame, ahead);
        self.region.merge(&slice, store);
        if let Some(upto) = upto {
            self.advance(&upto);
        }
        self.compaction_due = true;
        Ok(())
    }

    /// The oldest frame of the peer's stream: applied in part, or held while something it builds on is missing.
    fn stream_head(&mut self, region: &str, store: &mut dyn Store, out: &mut Vec<Output>) -> Result<bool, String> {
        let Some(peer) = self.peers.get_mut(region) else {
            return Ok(false);
        };
        let Some(mut item) = peer.inbound.stream.pop_front() else {
            return Ok(false);
        };
        let consumed = match &mut item.content {
            Content::Batch(reader) => self.batch(region, reader, &item.frame, store)?,
            Content::Header(header) => {
                let ready = self.region.state.seen().includes(&header.seen) || !holds(Rule::HeaderOrder);
                if ready {
                    self.learn(region, header, store);
                }
                if ready { Progress::Done } else { Progress::Blocked }
            }
        };
        let Some(peer) = self.peers.get_mut(region) else {
            return Ok(false);
        };
        match consumed {
            Progress::Done => {
                peer.inbound.queued_bytes -= item.frame.len();
                peer.inbound.stream_consumed += item.frame.len() as u64;
                peer.inbound.blocked_since = None;
                return Ok(true);
            }
            Progress::Some => {
                peer.inbound.stream.push_front(item);
                return Ok(true);
            }
            Progress::Blocked => peer.inbound.stream.push_front(item),
        }
        if self.room {
            self.ask_for_relay(region, out);
        }
        Ok(false)
    }

    /// A stream that waits for a third region's operations asks the peer that is ahead for a transfer.
    fn ask_for_relay(&mut self, region: &str, out: &mut Vec<Output>) {
        let (now, delay) = (self.now.mono, self.config.limits.relay_delay);
        let Some(peer) = self.peers.get_mut(region) else { return };
        let Some(link) = peer.established() else { return };
        let since = *peer.inbound.blocked_since.get_or_insert(now);
        if now.saturating_sub(since) >= delay && !peer.inbound.requested && peer.inbound.receiving.is_none() {
            peer.inbound.requested = true;
            self.request_missing(link, out);
        }
    }

    fn batch(
        &mut self,
        region: &str,
        reader: &mut BatchReader,
        frame: &[u8],
        store: &mut dyn Store,
    ) -> Result<Progress, String> {
        let peer = self.peers.get(region);
        let (replica, ahead) = peer.map_or((None, 0), |peer| (peer.replica, peer.skew.correction()));
        if Some(reader.replica) != replica {
            return Err(format!("region {region} sends operations of another replica"));
        }
        let ready = self.region.state.seen().includes(&reader.context)
            && reader.previous <= self.region.state.seen().get(reader.replica);
        if !ready && holds(Rule::Causal) {
            return Ok(Progress::Blocked);
        }
        if !self.room && reader.unit_needs_memory(frame).map_err(|e| e.0)? {
            return Ok(Progress::Blocked);
        }
        let most = if self.room { OPERATIONS } else { 1 };
        let start = reader.place();
        let mut context = std::mem::take(&mut reader.context);
        let mut applied = 0;
        for done in 0..UNIT_OPERATIONS {
            if reader.is_done(frame) || done >= most && !reader.is_joined(frame) {
                break;
            }
            let mut op = reader.peek(frame).map_err(|e| e.0)?;
            skew::correct_op(&mut op, ahead);
            context.raise(reader.replica, reader.previous);
            let news = op.dot.hlc > self.region.state.seen().get(op.dot.replica);
            self.look_for_expiry([op.key], store);
            self.look_for_gap(op.key, store);
            self.region.state.apply(&op, &context, store);
            applied += u64::from(news);
            let hlc = op.dot.hlc;
            reader.advance(frame, hlc).map_err(|e| e.0)?;
        }
        context.set(reader.replica, 0);
        reader.context = context;
        self.ship.log.applied(reader, frame, start, ahead);
        self.applied += applied;
        if let Some(peer) = self.peers.get_mut(region) {
            peer.counters.operations_in += applied;
        }
        if !self.region.state.clock.observe(reader.previous) {
            self.clock_alarms += 1;
        }
        self.header_due = true;
        Ok(if reader.is_done(frame) {
            Progress::Done
        } else {
            Progress::Some
        })
    }

    /// Starts streams and transfers towards everyone: we are active now.
    pub(super) fn announce_active(&mut self, out: &mut Vec<Output>) {
        let peers: Vec<(String, LinkId, bool)> = self
            .peers
            .iter()
            .filter_map(|(name, peer)| peer.established().map(|link| (name.clone(), link, peer.recovering)))
            .collect();
        for (name, link, recovering) in peers {
            self.request_missing(link, out);
            if !recovering {
                self.begin_transfer(&name, out);
            } else if let Some(peer) = self.peers.get_mut(&name) {
                peer.out.mode = Mode::Idle;
            }
        }
        self.header_due = true;
    }
}

enum Progress {
    Done,
    Some,
    Blocked,
}

/// `wall`: what time it is; `own`: our region.
fn queue(peer: &mut Peer, tag: u8, frame: &[u8], wall: Hlc, own: RegionTag) -> Result<(), String> {
    let side = &mut peer.inbound;
    let content = match tag {
        wire::tag::BATCH => Content::Batch(BatchReader::open(frame).map_err(|e| e.0)?),
        wire::tag::HEADER => match wire::decode(frame).map_err(|e| e.0)? {
            Message::Header(header) => {
                let heard = header
                    .heard
                    .iter()
                    .find(|(tag, _)| *tag == own)
                    .map(|(_, heard)| *heard);
                peer.skew.sample(wall, header.wall, heard);
                Content::Header(header)
            }
            _ => return Err("a header that is none".into()),
        },
        _ => {
            side.slices.push_back(frame.into());
            return Ok(());
        }
    };
    side.stream.push_back(Item {
        frame: frame.into(),
        content,
    });
    Ok(())
}
