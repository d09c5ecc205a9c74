//! Bringing back what was evicted here: the values of wanted keys are fetched from peers that hold them.
//!
//! ```text
//!  evicted ──an operation of a peer, or of a client──> wanted ──asked──> all of it merged: no longer evicted
//!                                                        ^   └──> lacking there: another peer is asked
//!                                                        └──────── every region lacks it: what is known is written again
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_bytes::ByteBuf;

use super::api::{LinkId, Output};
use super::engine::Engine;
use super::log::Step;
use super::skew;
use super::wire::{self, Fetched, Found, Message, Slice};
use crate::crdt::{KeyName, KeyRef, Record, RegionTag, Store};

/// Keys asked for at once.
const KEYS: usize = 64;
/// Heartbeats after which a region that lacked a key is asked again.
const PATIENCE: u32 = 10;
/// Bytes of one answer; a greater key comes in several.
const BYTES: usize = 1 << 20;

/// What was asked of whom.
#[derive(Default)]
pub struct Fetching {
    last: u64,
    /// By region: the number of the request and the keys it has not answered yet.
    open: BTreeMap<String, (u64, BTreeSet<KeyName>)>,
    /// Regions that said that they lack a key.
    lacking: BTreeMap<KeyName, BTreeSet<RegionTag>>,
    /// When those that lack a key were last forgotten: they may have got it since.
    forgotten: Duration,
}

impl Fetching {
    pub fn peer_down(&mut self, region: &str, tag: RegionTag) {
        self.open.remove(region);
        for lacking in self.lacking.values_mut() {
            lacking.remove(&tag);
        }
    }

    /// Answers that are on their way were read for an eviction before this one.
    fn evicted_again(&mut self, key: &KeyName) {
        for (_, keys) in self.open.values_mut() {
            keys.remove(key);
        }
    }

    pub fn clear(&mut self) {
        self.open.clear();
        self.lacking.clear();
    }
}

impl Engine {
    /// The server has evicted a key, and the other regions keep it.
    pub fn evict(&mut self, key: KeyRef<'_>) {
        let name: KeyName = (key.db, key.name.into());
        self.fetch.evicted_again(&name);
        for peer in self.peers.values_mut() {
            peer.out.note_evicted(&name);
        }
        self.region.state.evict(key);
        self.log_evicted(vec![(name, false)]);
    }

    pub(super) fn log_evicted(&mut self, keys: Vec<(KeyName, bool)>) {
        let mark = |((db, name), wanted): (KeyName, bool)| (db, ByteBuf::from(name.into_vec()), wanted);
        self.ship.log.step(&Step::Evicted(keys.into_iter().map(mark).collect()));
    }

    /// Keys whose values are not here, though others may have them.
    pub fn evicted_keys(&self) -> u64 {
        self.region.state.evicted().len() as u64
    }

    /// This region is to hold everything: all that was evicted is fetched.
    pub fn want_evicted(&mut self) {
        if self.region.state.evicted().wanted() < KEYS {
            self.region.state.want_evicted(2 * KEYS);
        }
    }

    /// Asks for wanted keys; true when something was asked or decided.
    pub(super) fn fetch_step(&mut self, store: &mut dyn Store, out: &mut Vec<Output>) -> bool {
        if self.region.state.evicted().wanted() == 0 || !self.phase.is_active() || !self.room {
            return false;
        }
        let now = self.now.mono;
        if now.saturating_sub(self.fetch.forgotten) >= self.config.limits.heartbeat * PATIENCE {
            self.fetch.forgotten = now;
            self.fetch.lacking.clear();
        }
        let asked = |key: &KeyName| self.fetch.open.values().any(|(_, keys)| keys.contains(key));
        let keys = self.region.state.evicted().some_wanted(KEYS, asked);
        let mut requests: BTreeMap<String, (LinkId, BTreeSet<KeyName>)> = BTreeMap::new();
        let mut nowhere = Vec::new();
        for key in keys {
            let lacks = |tag: &RegionTag| self.fetch.lacking.get(&key).is_some_and(|tags| tags.contains(tag));
            let holders = self.peers.values().filter(|peer| !peer.recovering && !lacks(&peer.tag));
            let found = holders
                .filter_map(|peer| Some((&peer.name, peer.established()?)))
                .find(|(name, _)| !self.fetch.open.contains_key(*name));
            match found {
                Some((name, link)) => {
                    let request = requests.entry(name.clone()).or_insert((link, BTreeSet::new()));
                    request.1.insert(key);
                }
                None if self.members().iter().all(lacks) => nowhere.push(key),
                None => {}
            }
        }
        let busy = !requests.is_empty() || !nowhere.is_empty();
        for (name, (link, keys)) in requests {
            self.fetch.last += 1;
            let id = self.fetch.last;
            let names = keys.iter().map(|(db, name)| (*db, ByteBuf::from(&**name))).collect();
            self.fetch.open.insert(name, (id, keys));
            self.send_message(link, &Message::Fetch { id, keys: names }, out);
        }
        for key in nowhere {
            self.fetch.lacking.remove(&key);
            let (me, ship) = (self.region.state.me(), &mut self.ship);
            let name = KeyRef {
                db: key.0,
                name: &key.1,
            };
            self.region
                .state
                .write_known(name, store, &mut |op, seen| ship.push(op, me, seen));
        }
        busy
    }

    /// A peer asks for keys.
    pub(super) fn fetch_asked(&mut self, region: &str, id: u64, keys: Vec<(u32, ByteBuf)>) -> Result<(), String> {
        let Some(peer) = self.peers.get_mut(region) else {
            return Ok(());
        };
        if peer.out.fetches.len() + keys.len() > 2 * KEYS {
            return Err(format!("region {region} asks for more keys than it may at once"));
        }
        let keys = keys.into_iter().map(|(db, name)| (db, name.into_vec().into()));
        peer.out.fetches.extend(keys.map(|key| (id, key)));
        Ok(())
    }

    /// Answers for one key; true when more can be sent.
    pub(super) fn serve_fetch(&mut self, region: &str, store: &mut dyn Store, out: &mut Vec<Output>) -> bool {
        let window = self.config.limits.transfer_window;
        let Some(peer) = self.peers.get_mut(region).filter(|_| self.phase.is_active()) else {
            return false;
        };
        if !peer.out.transfer.has_room(window) || peer.established().is_none() {
            return false;
        }
        let Some((id, (db, name))) = peer.out.fetches.pop_front() else {
            return false;
        };
        self.look_for_expiry([KeyRef { db, name: &name }], store);
        self.flush(out);
        let record = self.region.state.whole_record(KeyRef { db, name: &name }, store);
        let lacking = record.is_none();
        if lacking {
            // Who asks may not be connected to those that hold it.
            self.region.state.mark_evicted(KeyRef { db, name: &name }, true);
        }
        let record = record.unwrap_or_else(|| Record {
            db,
            name: name.clone(),
            ..Record::default()
        });
        let mut parts = record.into_pieces(BYTES);
        parts.reverse();
        while let Some(part) = parts.pop() {
            let found = match (lacking, parts.is_empty()) {
                (true, _) => Found::Nothing,
                (false, false) => Found::Part,
                (false, true) => Found::Whole,
            };
            self.send_fetched(region, id, found, part, out);
        }
        true
    }

    fn send_fetched(&mut self, region: &str, id: u64, found: Found, record: Record, out: &mut Vec<Output>) {
        self.last_transfer += 1;
        let slice = Slice {
            id: self.last_transfer,
            number: 1,
            seen: self.region.state.seen().clone(),
            records: vec![record],
            ..Slice::default()
        };
        #[cfg(feature = "sim")]
        {
            let known = self.region.state.history_of(&slice.records);
            super::tracing::publish((self.region.state.me(), slice.id, slice.number), known);
        }
        let frame = wire::encode(&Message::Slice(Box::new(slice)));
        let answer = wire::encode(&Message::Fetched(Fetched { id, found, frame }));
        let Some(peer) = self.peers.get_mut(region) else { return };
        let Some(link) = peer.established() else { return };
        peer.out.transfer.sent += answer.len() as u64;
        out.push(Output::Send {
            links: smallvec::smallvec![link],
            frame: answer.into(),
        });
    }

    /// A peer's answer for one key.
    pub(super) fn fetched(&mut self, region: &str, fetched: &Fetched, store: &mut dyn Store) -> Result<(), String> {
        let Message::Slice(mut slice) = wire::decode(&fetched.frame).map_err(|e| e.0)? else {
            return Err(format!("region {region} sends a key that is none"));
        };
        let ahead = self.peers.get(region).map_or(0, |peer| peer.skew.correction());
        skew::correct_slice(&mut slice, ahead);
        let [record] = slice.records.as_slice() else {
            return Err(format!("region {region} sends a key that is none"));
        };
        let sender = self.peers.get(region).and_then(|peer| Some((peer.replica?, peer.tag)));
        let Some((sender, tag)) = sender else { return Ok(()) };
        let key: KeyName = (record.db, record.name.clone());
        let wanted = self.region.state.evicted().contains(record.key());
        let Some((_, keys)) = self.fetch.open.get_mut(region).filter(|(id, _)| *id == fetched.id) else {
            return Ok(());
        };
        let asked = keys.contains(&key);
        if fetched.found != Found::Part {
            keys.remove(&key);
        }
        let through = keys.is_empty();
        if asked && wanted {
            if !slice.seen.includes(self.region.state.compacted()) {
                return Err(format!("region {region} has not seen what we were compacted by"));
            }
            match fetched.found {
                Found::Nothing => {
                    self.fetch.lacking.entry(key).or_default().insert(tag);
                }
                Found::Part | Found::Whole => {
                    #[cfg(feature = "sim")]
                    self.region.learn_history(sender, &slice, false);
                    self.look_for_expiry([record.key()], store);
                    self.ship.log.slice(sender, false, &fetched.frame, ahead);
                    self.region.merge(&slice, store);
                    self.compaction_due = true;
                    if fetched.found == Found::Whole {
                        self.fetch.lacking.remove(&key);
                        self.ship
                            .log
                            .step(&Step::Fetched(key.0, ByteBuf::from(key.1.into_vec())));
                        self.region.state.brought_back(record.key(), store);
                    }
                }
            }
        }
        if through {
            self.fetch.open.remove(region);
        }
        Ok(())
    }
}
