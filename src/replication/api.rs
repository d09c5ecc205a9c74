//! What goes into the engine and what comes out of it.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::crdt::{Hlc, ScoreRule};

/// Facts fixed while a server runs, and bounds.
#[derive(Clone, Debug)]
pub struct Config {
    /// Regions with another cluster name are refused.
    pub cluster: String,
    pub region: String,
    /// Names of the configured peers.
    pub peers: Vec<String>,
    pub limits: Limits,
    /// Regions with another rule are refused.
    pub scores: ScoreRule,
    /// Two servers that run on copies of one state may have to take a new replica id at the same time: by different
    /// numbers here they take different ones. Incarnations skipped when an id is taken.
    pub salt: u64,
}

#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of live batches on their way to a peer and not yet consumed there.
    pub stream_window: usize,
    /// Bytes of transfer slices on their way to a peer and not yet merged there.
    pub transfer_window: usize,
    /// Bytes of batches held for a slow peer before it is caught up by a transfer instead.
    pub queue: usize,
    /// Wait for a third region's operations before a transfer is asked for.
    pub relay_delay: Duration,
    /// Interval of headers when idle.
    pub heartbeat: Duration,
    /// Shortest interval of headers that only acknowledge.
    pub acknowledge: Duration,
    /// A stamp further ahead of our wall clock never moves our clock.
    pub drift: Duration,
    /// Bytes of one frame; a greater one is a protocol error.
    pub frame: usize,
    /// Cells and bytes of one transfer slice.
    pub slice_cells: usize,
    pub slice_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            stream_window: 8 << 20,
            transfer_window: 4 << 20,
            queue: 64 << 20,
            relay_delay: Duration::from_millis(300),
            heartbeat: Duration::from_secs(1),
            acknowledge: Duration::from_millis(50),
            drift: Duration::from_secs(60),
            frame: 80 << 20,
            slice_cells: 64,
            slice_bytes: 8 << 10,
        }
    }
}

/// The time of one call. `mono` never steps; `wall` is NTP64 and may be wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    pub mono: Duration,
    pub wall: Hlc,
}

/// One connection between two servers, numbered by the transport and never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u64);

#[derive(Debug)]
pub enum Input<'a> {
    /// A connection stands and the peer's certificate is valid. It is a link only after the hello.
    Up {
        link: LinkId,
        /// The configured peer we dialed; `None` when the peer dialed us.
        dialed: Option<&'a str>,
        /// Names in the peer's certificate (SAN).
        certificate: &'a [String],
        address: &'a str,
    },
    Frame {
        link: LinkId,
        frame: &'a [u8],
    },
    Down {
        link: LinkId,
        reason: &'a str,
    },
    /// A configured peer could not be reached.
    DialFailed {
        peer: &'a str,
        reason: &'a str,
    },
}

#[derive(Clone, Debug)]
pub enum Output {
    /// One encoding for all its receivers.
    Send {
        links: SmallVec<[LinkId; 4]>,
        frame: Arc<[u8]>,
    },
    /// Say goodbye with this reason, then close.
    Close { link: LinkId, reason: String },
    /// The handshake of this link is done: stop dialing the region until the link is down.
    Established { link: LinkId, region: String },
    /// For the server's log.
    Log { level: Level, text: String },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    Verbose,
    Notice,
    Warning,
}

pub use crate::crdt::{Change, Conflicts};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegionState {
    /// Serves reads and takes local writes, ships nothing, adopts a peer's state.
    Recovering,
    Active,
}

impl RegionState {
    pub fn name(self) -> &'static str {
        match self {
            RegionState::Recovering => "recovering",
            RegionState::Active => "active",
        }
    }
}

/// What `GEO.STATUS` and `INFO geo` show of the engine.
#[derive(Clone, Debug)]
pub struct Status {
    pub cluster: String,
    pub region: String,
    pub replica: String,
    pub state: RegionState,
    /// What the region is doing or waiting for while it recovers; empty when active.
    pub detail: String,
    /// Keys adopted so far (recovering).
    pub adopted_keys: u64,
    pub clock: Hlc,
    /// How far our clock is ahead of the wall clock, ms.
    pub clock_ahead_ms: i64,
    pub index: IndexStatus,
    /// Keys whose values were evicted here and not elsewhere; those of them that are being fetched.
    pub evicted_keys: usize,
    pub wanted_keys: usize,
    pub conflicts: Conflicts,
    pub operations_issued: u64,
    pub operations_applied: u64,
    /// Operations of peers stamped beyond the drift bound.
    pub clock_alarms: u64,
    pub peers: Vec<PeerStatus>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct IndexStatus {
    pub keys: usize,
    pub cells: usize,
    pub bytes: usize,
}

#[derive(Clone, Debug)]
pub struct PeerStatus {
    pub region: String,
    /// "connecting", "handshake", "up", "refused" or "down".
    pub state: &'static str,
    pub since: Duration,
    pub replica: String,
    pub address: String,
    /// The link, when there is one: key to the transport's figures.
    pub link: Option<LinkId>,
    /// Why it is down; empty when up.
    pub reason: String,
    /// Age of the oldest own operation the peer has not acknowledged, ms.
    pub lag_ms: u64,
    /// Own operations the peer has not acknowledged.
    pub unsettled: u64,
    /// Bytes queued for it.
    pub queue_bytes: usize,
    /// "none", "sending", "receiving" or "both".
    pub transfer: &'static str,
    pub transfers_sent: u64,
    pub transfers_received: u64,
    pub operations_in: u64,
    pub operations_out: u64,
    /// Its wall clock minus ours, ms, half the round trip taken off by the caller.
    pub clock_offset_ms: i64,
}

/// The metadata of one key, for `GEO.INSPECT`.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The key's values were evicted here and not elsewhere.
    pub evicted: bool,
    pub clears: Vec<String>,
    pub cells: Vec<CellInspection>,
    pub bytes: usize,
}

#[derive(Clone, Debug)]
pub struct CellInspection {
    pub kind: &'static str,
    pub element: Vec<u8>,
    /// Surviving dots with the value each stands for; `None`: the native value.
    pub live: Vec<(String, Option<Vec<u8>>)>,
    pub touched: Vec<String>,
    pub contributions: Vec<String>,
}
