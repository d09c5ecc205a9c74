//! Names of replicas and operations.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Hybrid logical clock time: NTP64, 32 bits of seconds and 32 bits of fraction, the lowest four bits
/// a logical counter. Strictly increasing per replica id. Zero stands for "nothing yet".
pub type Hlc = u64;

/// A region's name in 24 bits. Two regions of one cluster whose names share a tag refuse each other at
/// the handshake, so a tag names one region wherever it is met.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RegionTag(u32);

impl RegionTag {
    /// FNV-1a folded to 24 bits; never zero, which is [`Dot::BASE`]'s.
    pub fn of(name: &str) -> RegionTag {
        let hash = name
            .bytes()
            .fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
        RegionTag(((hash >> 24) ^ (hash & 0x00ff_ffff)).max(1))
    }
}

impl fmt::Debug for RegionTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06x}", self.0)
    }
}

/// One incarnation of a region's primary: region tag and a number that region never used before. The
/// order (tag, then incarnation) is the same on every node, so containers keyed by it are too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaId(u64);

impl ReplicaId {
    const INCARNATION_BITS: u32 = 40;
    /// Greatest incarnation number.
    pub const MAX_INCARNATION: u64 = (1 << Self::INCARNATION_BITS) - 1;

    pub fn new(region: RegionTag, incarnation: u64) -> ReplicaId {
        ReplicaId(u64::from(region.0) << Self::INCARNATION_BITS | incarnation & Self::MAX_INCARNATION)
    }

    pub fn region(self) -> RegionTag {
        RegionTag((self.0 >> Self::INCARNATION_BITS) as u32)
    }

    pub fn incarnation(self) -> u64 {
        self.0 & Self::MAX_INCARNATION
    }

    pub fn is_base(self) -> bool {
        self.0 == 0
    }

    pub fn to_le_bytes(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }

    pub fn from_le_bytes(bytes: [u8; 8]) -> ReplicaId {
        ReplicaId(u64::from_le_bytes(bytes))
    }
}

impl fmt::Debug for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}.{}", self.region(), self.incarnation())
    }
}

/// Names one operation. The order, `(hlc, replica id)`, decides between concurrent writes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dot {
    pub hlc: Hlc,
    pub replica: ReplicaId,
}

impl Dot {
    /// Pseudo-dot of a value that is stable everywhere and therefore lives only natively. Sorts below
    /// every dot, and every vector covers it.
    pub const BASE: Dot = Dot {
        hlc: 0,
        replica: ReplicaId(0),
    };

    pub fn new(replica: ReplicaId, hlc: Hlc) -> Dot {
        Dot { hlc, replica }
    }

    pub fn is_base(self) -> bool {
        self == Dot::BASE
    }
}

impl fmt::Debug for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_base() {
            f.write_str("base")
        } else {
            write!(f, "{:?}@{}", self.replica, self.hlc)
        }
    }
}
