//! What `GEO.STATUS`, `INFO geo` and `GEO.INSPECT` show.

use super::api::{CellInspection, IndexStatus, Inspection, PeerStatus, RegionState, Status};
use super::engine::Engine;
use super::peer::Peer;
use super::region::Region;
use crate::crdt::{Cell, Contribution, Dot, KeyRef, NEVER, OwnedValue, ReplicaId, greatest, millis_between};

impl Engine {
    pub fn region_state(&self) -> RegionState {
        match self.phase.is_active() {
            true => RegionState::Active,
            false => RegionState::Recovering,
        }
    }

    pub fn status(&self) -> Status {
        let clock = greatest(self.region.state.seen());
        Status {
            cluster: self.config.cluster.clone(),
            region: self.config.region.clone(),
            replica: self.replica_name(self.region.state.me()),
            state: self.region_state(),
            detail: self.phase.describe(self.trusted),
            adopted_keys: self.adopted_keys,
            clock,
            clock_ahead_ms: if clock == 0 {
                0
            } else {
                millis_between(self.now.wall, clock).max(0)
            },
            index: self.index_status(),
            evicted_keys: self.region.state.evicted().len(),
            wanted_keys: self.region.state.evicted().wanted(),
            conflicts: self.region.state.conflicts(),
            operations_issued: self.ship.issued,
            operations_applied: self.applied,
            clock_alarms: self.clock_alarms,
            peers: self.peers.values().map(|peer| self.peer_status(peer)).collect(),
        }
    }

    fn index_status(&self) -> IndexStatus {
        let index = self.region.state.index();
        IndexStatus {
            keys: index.key_count(),
            cells: index.cell_count(),
            bytes: index.bytes() + self.region.state.evicted().bytes(),
        }
    }

    fn peer_status(&self, peer: &Peer) -> PeerStatus {
        let me = self.region.state.me();
        let known = self.acknowledged.get(&peer.tag);
        let newest = self.region.state.newest().get(&peer.tag).copied().unwrap_or(0);
        let durable = known
            .filter(|a| a.incarnation >= newest)
            .map_or(0, |a| a.durable.get(me));
        let (unsettled, lag) = self.marks.lag(durable, self.now.mono);
        PeerStatus {
            region: peer.name.clone(),
            state: peer.state,
            since: self.now.mono.saturating_sub(peer.since),
            replica: peer
                .replica
                .map(|replica| self.replica_name(replica))
                .unwrap_or_default(),
            address: peer.address.clone(),
            link: peer.link,
            reason: peer.reason.clone(),
            lag_ms: u64::try_from(lag.as_millis()).unwrap_or(u64::MAX),
            unsettled,
            queue_bytes: peer.out.queue_bytes,
            transfer: peer.transfer_state(),
            transfers_sent: peer.counters.transfers_sent,
            transfers_received: peer.counters.transfers_received,
            operations_in: peer.counters.operations_in,
            operations_out: peer.counters.operations_out,
            clock_offset_ms: peer.skew.ahead(),
        }
    }

    pub(super) fn replica_name(&self, replica: ReplicaId) -> String {
        self.region.replica_name(replica)
    }
}

impl Region {
    pub(super) fn replica_name(&self, replica: ReplicaId) -> String {
        let name = self.names.get(&replica.region()).map_or("?", String::as_str);
        format!("{name}.{}", replica.incarnation())
    }

    fn dot_name(&self, dot: Dot) -> String {
        if dot.is_base() {
            "base".into()
        } else {
            format!("{}@{}", self.replica_name(dot.replica), dot.hlc)
        }
    }

    /// The metadata of one key; `None` when it has none (it is settled, or absent).
    pub fn inspect(&self, key: KeyRef<'_>) -> Option<Inspection> {
        let index = self.state.index();
        let evicted = self.state.evicted().contains(key);
        let Some(id) = index.find(key) else {
            return evicted.then(|| Inspection {
                evicted,
                clears: Vec::new(),
                cells: Vec::new(),
                bytes: key.name.len(),
            });
        };
        let node = index.key(id);
        let mut bytes = key.name.len();
        let clears = node.clears().iter().map(|pending| {
            bytes += pending.clear.heap_size();
            self.dot_name(pending.dot)
        });
        let clears = clears.collect();
        let mut cells = Vec::new();
        for id in index.cells_of(id) {
            let cell = index.node(id);
            bytes += size_of::<Cell>() + cell.element().name.len() + cell.cell.heap_size();
            cells.push(self.inspect_cell(cell.element().kind.name(), cell.element().name, &cell.cell));
        }
        Some(Inspection {
            evicted,
            clears,
            cells,
            bytes,
        })
    }

    fn inspect_cell(&self, kind: &'static str, element: &[u8], cell: &Cell) -> CellInspection {
        let value = |value: &Option<OwnedValue>| match value.as_ref()? {
            OwnedValue::Bytes(bytes) => Some(bytes.to_vec()),
            OwnedValue::Score(score) => Some(score.get().to_string().into_bytes()),
            OwnedValue::Deadline(NEVER) => Some(b"never".to_vec()),
            OwnedValue::Deadline(at) => Some(at.to_string().into_bytes()),
            OwnedValue::Lost => Some(b"(evicted here)".to_vec()),
            OwnedValue::Member => None,
        };
        let touched = cell
            .touched
            .iter()
            .map(|(replica, hlc)| self.dot_name(Dot::new(replica, hlc)));
        CellInspection {
            kind,
            element: element.to_vec(),
            live: cell
                .live
                .iter()
                .map(|l| (self.dot_name(l.dot), value(&l.value)))
                .collect(),
            touched: touched.collect(),
            contributions: cell
                .contributions()
                .iter()
                .map(|(r, c)| self.contribution(*r, c))
                .collect(),
        }
    }

    fn contribution(&self, replica: ReplicaId, contribution: &Contribution) -> String {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let reset = if contribution.alive() { "" } else { " (reset)" };
        let value = text(contribution.value().to_text());
        format!("{} adds {value}{reset}", self.replica_name(replica))
    }
}
