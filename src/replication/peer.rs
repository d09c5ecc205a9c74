//! What the engine keeps of one peer region.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::api::LinkId;
use super::skew::Skew;
use super::wire::{BatchReader, Header, tag};
use crate::crdt::{Cursor, KeyName, Kind, RegionTag, ReplicaId, Vector, Walk};

/// One region we are configured with or have met.
pub struct Peer {
    pub name: String,
    pub tag: RegionTag,
    pub link: Option<LinkId>,
    /// Both sides have accepted the handshake.
    pub up: bool,
    pub replica: Option<ReplicaId>,
    pub recovering: bool,
    pub weight: u64,
    /// Said that it could start the cluster: these regions, all it knows of, are connected to it and recovering.
    pub candidate: Option<Vec<RegionTag>>,
    /// Promised to adopt only from us.
    pub pledged_to_us: bool,
    /// Last vector heard of it on this link.
    pub heard: Vector,
    pub state: &'static str,
    pub since: Duration,
    pub reason: String,
    pub address: String,
    pub heard_at: Duration,
    pub skew: Skew,
    pub out: Outbound,
    pub inbound: Inbound,
    pub counters: Counters,
}

#[derive(Default, Clone, Copy)]
pub struct Counters {
    pub operations_in: u64,
    pub operations_out: u64,
    pub transfers_sent: u64,
    pub transfers_received: u64,
}

/// Towards the peer: either live batches or a transfer; batches queue while a transfer runs.
#[derive(Default)]
pub struct Outbound {
    pub mode: Mode,
    pub queue: VecDeque<Queued>,
    pub queue_bytes: usize,
    /// The queue was dropped: another transfer is due.
    pub overflowed: bool,
    pub stream: Window,
    pub transfer: Window,
    /// Keys that the peer asked for, each with the number of its request.
    pub fetches: VecDeque<(u64, KeyName)>,
}

impl Outbound {
    /// An adoption that is being sent has to say what it may have missed.
    pub fn note_evicted(&mut self, key: &KeyName) {
        if let Mode::Transfer(sending) = &mut self.mode
            && sending.floor.is_none()
        {
            sending.evicted.push(key.clone());
        }
    }
}

#[derive(Clone)]
pub struct Queued {
    pub frame: Arc<[u8]>,
    pub operations: u64,
}

#[derive(Default)]
pub enum Mode {
    /// Nothing is sent: the peer recovers, or we do.
    #[default]
    Idle,
    Live,
    Transfer(Box<Sending>),
}

/// Bytes on their way and not yet consumed by the receiver.
#[derive(Default, Clone, Copy, Debug)]
pub struct Window {
    pub sent: u64,
    pub credited: u64,
}

impl Window {
    pub fn has_room(&self, size: usize) -> bool {
        self.sent.saturating_sub(self.credited) < size as u64
    }
}

/// A transfer on its way out.
pub struct Sending {
    pub id: u64,
    /// Our vector when it began: what the receiver will have seen at its end.
    pub upto: Vector,
    /// What the receiver has; `None`: it adopts everything.
    pub floor: Option<Vector>,
    pub number: u64,
    pub base: Option<BaseScan>,
    pub walk: Option<Walk>,
    /// Of an adoption: keys to be named because their values are not here, or were not for a while.
    pub evicted: Vec<KeyName>,
}

/// Place in the scan for settled values.
#[derive(Default)]
pub struct BaseScan {
    pub cursor: Cursor,
    /// Everything before this has been sent.
    pub reached: Cursor,
    pub exhausted: bool,
    pub keys: VecDeque<(u32, Box<[u8]>, Kind)>,
    /// Place within the key at the front.
    pub at: u64,
}

/// From the peer: its stream in order, and slices, which overtake what the stream holds back.
#[derive(Default)]
pub struct Inbound {
    pub stream: VecDeque<Item>,
    pub slices: VecDeque<Box<[u8]>>,
    pub queued_bytes: usize,
    pub stream_consumed: u64,
    pub stream_reported: u64,
    pub slices_consumed: u64,
    pub slices_reported: u64,
    /// Since when the head of the stream waits for operations we lack.
    pub blocked_since: Option<Duration>,
    /// A transfer has been asked for and has not ended.
    pub requested: bool,
    pub receiving: Option<Receiving>,
}

pub struct Item {
    pub frame: Box<[u8]>,
    pub content: Content,
}

pub enum Content {
    Batch(BatchReader),
    Header(Box<Header>),
}

impl Inbound {
    /// Whether something of a transfer waits that needs memory: its frame, or all of an adoption.
    pub fn slice_waits(&self, adopting: bool) -> bool {
        let next = self.slices.front();
        let needs = |frame: &[u8]| matches!(frame.first(), Some(&tag::SLICE | &tag::FETCHED));
        next.is_some_and(|frame| adopting || needs(frame))
    }
}

/// A transfer on its way in.
pub struct Receiving {
    pub id: u64,
    pub upto: Vector,
    pub compacted: Vector,
    pub adopting: bool,
    pub next: u64,
}

impl Peer {
    pub fn new(name: &str, now: Duration) -> Peer {
        Peer {
            name: name.to_owned(),
            tag: RegionTag::of(name),
            link: None,
            up: false,
            replica: None,
            recovering: false,
            weight: 0,
            candidate: None,
            pledged_to_us: false,
            heard: Vector::new(),
            state: "connecting",
            since: now,
            reason: String::new(),
            address: String::new(),
            heard_at: now,
            skew: Skew::default(),
            out: Outbound::default(),
            inbound: Inbound::default(),
            counters: Counters::default(),
        }
    }

    pub fn set_state(&mut self, state: &'static str, reason: &str, now: Duration) {
        if self.state != state {
            (self.state, self.since) = (state, now);
        }
        reason.clone_into(&mut self.reason);
    }

    /// Forgets everything that belonged to a link.
    pub fn reset_link(&mut self) {
        (self.link, self.up) = (None, false);
        (self.candidate, self.pledged_to_us) = (None, false);
        self.out = Outbound::default();
        self.inbound = Inbound::default();
    }

    pub fn established(&self) -> Option<LinkId> {
        self.link.filter(|_| self.up)
    }

    /// Whether a step can do anything for this peer.
    pub fn has_work(&self) -> bool {
        let incoming = !self.inbound.stream.is_empty() || !self.inbound.slices.is_empty();
        let outgoing = match self.out.mode {
            Mode::Idle => false,
            Mode::Live => self.out.overflowed || !self.out.queue.is_empty(),
            Mode::Transfer(_) => true,
        };
        self.up && (incoming || outgoing || !self.out.fetches.is_empty())
    }

    pub fn transfer_state(&self) -> &'static str {
        match (
            matches!(self.out.mode, Mode::Transfer(_)),
            self.inbound.receiving.is_some(),
        ) {
            (false, false) => "none",
            (true, false) => "sending",
            (false, true) => "receiving",
            (true, true) => "both",
        }
    }
}
