//! Towards a peer: the live stream, and transfers when it has fallen behind.

use serde_bytes::ByteBuf;

use super::api::Output;
use super::engine::Engine;
use super::peer::{BaseScan, Mode, Sending};
use super::wire::{self, BaseKey, Begin, Message, Slice};
use crate::crdt::rules::{Rule, holds};
use crate::crdt::{Cursor, Element, KeyRef, OwnedValue, Store, Vector, Walk};

/// Evicted keys named at once.
const MARKS: usize = 256;
/// How many times as large as a slice should be it may become by what was read at once.
const OVERFULL: usize = 128;
/// Cells looked at for one slice.
const VISITS: usize = 512;

impl Engine {
    /// Starts a transfer of what the peer lacks; live batches queue behind it.
    pub(super) fn begin_transfer(&mut self, region: &str, out: &mut Vec<Output>) {
        let Some(peer) = self.peers.get(region) else { return };
        let floor = peer.heard.clone();
        let walk = (!floor.includes(self.region.state.seen())).then(Walk::default);
        self.begin_sending(region, Some(floor), None, walk, false, out);
    }

    /// Starts a transfer of everything; of the settled values, those after `reached`.
    pub(super) fn begin_adoption(&mut self, region: &str, reached: Option<Cursor>, out: &mut Vec<Output>) {
        let cursor = reached.unwrap_or_default();
        let base = BaseScan {
            cursor,
            reached: cursor,
            ..BaseScan::default()
        };
        self.begin_sending(region, None, Some(base), Some(Walk::default()), reached.is_some(), out);
    }

    fn begin_sending(
        &mut self,
        region: &str,
        floor: Option<Vector>,
        base: Option<BaseScan>,
        walk: Option<Walk>,
        resumed: bool,
        out: &mut Vec<Output>,
    ) {
        self.flush(out);
        let (upto, compacted) = (self.region.state.seen().clone(), self.region.state.compacted().clone());
        let evicted = match floor {
            Some(_) => Vec::new(),
            None if !holds(Rule::NameEvicted) => Vec::new(),
            None => self.region.state.evicted().iter().map(|(key, _)| key.clone()).collect(),
        };
        let Some(peer) = self.peers.get_mut(region) else { return };
        let Some(link) = peer.established() else { return };
        let side = &mut peer.out;
        side.queue.clear();
        (side.queue_bytes, side.overflowed) = (0, false);
        self.last_transfer += 1;
        let (id, adopting) = (self.last_transfer, floor.is_none());
        side.mode = Mode::Transfer(Box::new(Sending {
            id,
            upto: upto.clone(),
            floor,
            number: 0,
            base,
            walk,
            evicted,
        }));
        peer.counters.transfers_sent += 1;
        #[cfg(feature = "sim")]
        if adopting {
            let all = crate::crdt::history::Snapshot(self.region.state.history.cells.clone());
            super::tracing::publish((self.region.state.me(), id, 0), all);
        }
        let begin = Begin {
            id,
            upto,
            compacted,
            adopting,
            resumed,
            deadlines: self.region.state.knows_deadlines(),
        };
        self.send_message(link, &Message::Begin(Box::new(begin)), out);
    }

    /// One piece of what waits for a peer; true while more can be sent.
    pub(super) fn send(&mut self, region: &str, store: &mut dyn Store, out: &mut Vec<Output>) -> bool {
        let Some(peer) = self.peers.get(region) else {
            return false;
        };
        let served = !peer.out.fetches.is_empty() && self.serve_fetch(region, store, out);
        let Some(peer) = self.peers.get(region) else {
            return false;
        };
        let sent = match &peer.out.mode {
            Mode::Idle => false,
            Mode::Live if peer.out.overflowed => {
                self.begin_transfer(region, out);
                true
            }
            Mode::Live => self.send_queued(region, out),
            Mode::Transfer(_) => self.send_slice(region, store, out),
        };
        served || sent
    }

    fn send_queued(&mut self, region: &str, out: &mut Vec<Output>) -> bool {
        let window = self.config.limits.stream_window;
        let Some(peer) = self.peers.get_mut(region) else {
            return false;
        };
        let Some(link) = peer.established() else { return false };
        if !peer.out.stream.has_room(window) {
            return false;
        }
        let Some(item) = peer.out.queue.pop_front() else {
            return false;
        };
        peer.out.queue_bytes -= item.frame.len();
        peer.out.stream.sent += item.frame.len() as u64;
        peer.counters.operations_out += item.operations;
        out.push(Output::Send {
            links: smallvec::smallvec![link],
            frame: item.frame,
        });
        true
    }

    fn send_slice(&mut self, region: &str, store: &mut dyn Store, out: &mut Vec<Output>) -> bool {
        let window = self.config.limits.transfer_window;
        let Some(peer) = self.peers.get_mut(region) else {
            return false;
        };
        let Some(link) = peer.established() else { return false };
        if !peer.out.transfer.has_room(window) {
            return false;
        }
        let Mode::Transfer(mut sending) = std::mem::take(&mut peer.out.mode) else {
            return false;
        };
        if !sending.evicted.is_empty() {
            let rest = sending.evicted.len().saturating_sub(MARKS);
            let keys = sending.evicted.split_off(rest).into_iter();
            let keys = keys.map(|(db, name)| (db, ByteBuf::from(name.into_vec()))).collect();
            let frame = wire::encode(&Message::Evicted(keys));
            peer.out.transfer.sent += frame.len() as u64;
            peer.out.mode = Mode::Transfer(sending);
            out.push(Output::Send {
                links: smallvec::smallvec![link],
                frame: frame.into(),
            });
            return true;
        }
        let mut slice = Slice {
            id: sending.id,
            seen: self.region.state.seen().clone(),
            ..Slice::default()
        };
        let reached = sending.base.as_ref().map(|scan| scan.reached).unwrap_or_default();
        self.fill(&mut sending, &mut slice, store);
        let done = sending.base.is_none() && sending.walk.is_none();
        for mut slice in in_pieces(slice, self.most_bytes(), reached) {
            sending.number += 1;
            slice.number = sending.number;
            self.send_filled(region, slice, out);
        }
        let Some(peer) = self.peers.get_mut(region) else {
            return false;
        };
        if !done {
            peer.out.mode = Mode::Transfer(sending);
            return true;
        }
        let end = Message::End { id: sending.id };
        peer.heard.join(&sending.upto);
        peer.recovering = false;
        peer.out.mode = Mode::Live;
        self.send_message(link, &end, out);
        self.header_due = true;
        true
    }

    fn most_bytes(&self) -> usize {
        self.config.limits.slice_bytes * OVERFULL
    }

    fn send_filled(&mut self, region: &str, slice: Slice, out: &mut Vec<Output>) {
        #[cfg(feature = "sim")]
        {
            let known = self.region.state.history_of(&slice.records);
            super::tracing::publish((self.region.state.me(), slice.id, slice.number), known);
        }
        let frame = wire::encode(&Message::Slice(Box::new(slice)));
        let Some(peer) = self.peers.get_mut(region) else { return };
        let Some(link) = peer.established() else { return };
        peer.out.transfer.sent += frame.len() as u64;
        out.push(Output::Send {
            links: smallvec::smallvec![link],
            frame: frame.into(),
        });
    }

    fn fill(&mut self, sending: &mut Sending, slice: &mut Slice, store: &mut dyn Store) {
        if let Some(scan) = &mut sending.base {
            let more = self.fill_base(scan, slice, store);
            slice.reached = scan.reached;
            if !more {
                sending.base = None;
            }
            return;
        }
        let Some(walk) = &mut sending.walk else { return };
        let (mut visits, mut bytes, cells) = (VISITS, 0, self.config.limits.slice_cells);
        while visits > 0 && bytes < self.config.limits.slice_bytes {
            let state = &self.region.state;
            match state.walk(walk, sending.floor.as_ref(), cells, &mut visits) {
                None => {
                    sending.walk = None;
                    return;
                }
                Some(record) if record.cells.is_empty() && record.clears.is_empty() => return,
                Some(mut record) => {
                    if self.look_for_expiry([record.key()], store) {
                        self.region.state.update(&mut record);
                    }
                    let rest = record.make_explicit(self.most_bytes(), store);
                    self.region.state.put_back(walk, record.key(), &rest);
                    bytes += record.size();
                    slice.records.push(record);
                }
            }
        }
    }

    /// Settled values: elements that the index does not know. False at the end.
    fn fill_base(&mut self, scan: &mut BaseScan, slice: &mut Slice, store: &mut dyn Store) -> bool {
        let mut bytes = 0;
        while bytes < self.config.limits.slice_bytes {
            let Some((db, name, kind)) = scan.keys.front() else {
                scan.reached = scan.cursor;
                if scan.exhausted {
                    return false;
                }
                let keys = &mut scan.keys;
                let more = store.scan_keys(&mut scan.cursor, &mut |key, kind| {
                    keys.push_back((key.db, key.name.into(), kind));
                });
                scan.exhausted = !more;
                continue;
            };
            let key = KeyRef { db: *db, name };
            self.look_for_expiry([key], store);
            let id = self.region.state.index().find(key);
            if id.is_none() && !store.is_replicated(key) {
                scan.keys.pop_front();
                continue;
            }
            let known = |e: Element<'_>| id.is_some_and(|id| self.region.state.index().find_cell(id, e).is_some());
            let mut base = BaseKey {
                db: *db,
                name: name.clone(),
                kind: *kind,
                elements: Vec::new(),
                deadline: store.deadline(key).filter(|_| !known(Element::EXPIRY)),
            };
            let more = store.scan_elements(key, &mut scan.at, &mut |element, value| {
                if !known(element) && element.kind == base.kind {
                    bytes += element.name.len() + 16;
                    base.elements.push((element.name.into(), value.to_owned()));
                }
            });
            bytes += name.len() + 16 + base.elements.iter().map(|(_, v)| v.heap_size()).sum::<usize>();
            if !base.elements.is_empty() || base.deadline.is_some() {
                slice.base.push(base);
            }
            if !more {
                scan.keys.pop_front();
                scan.at = 0;
            }
        }
        true
    }
}

/// A slice whose settled values are far larger than one should be is sent as several, at once: what was read together was
/// seen by one vector. None when there is nothing in it. `before`: what had been reached without it.
fn in_pieces(mut slice: Slice, most: usize, before: Cursor) -> Vec<Slice> {
    let size = |(name, value): &(Box<[u8]>, OwnedValue)| name.len() + 16 + value.heap_size();
    if slice.records.is_empty() && slice.base.is_empty() {
        return Vec::new();
    }
    let mut bytes = 0;
    let mut pieces = Vec::new();
    for mut base in std::mem::take(&mut slice.base) {
        let elements = std::mem::take(&mut base.elements);
        slice.base.push(base.clone());
        for element in elements {
            if bytes >= most {
                bytes = 0;
                pieces.push(Slice {
                    id: slice.id,
                    seen: slice.seen.clone(),
                    records: std::mem::take(&mut slice.records),
                    base: std::mem::replace(&mut slice.base, vec![base.clone()]),
                    reached: before,
                    ..Slice::default()
                });
            }
            bytes += size(&element);
            if let Some(last) = slice.base.last_mut() {
                last.elements.push(element);
            }
        }
    }
    pieces.push(slice);
    pieces
}
