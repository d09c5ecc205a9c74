//! What a region must not forget: everything but the native values, which the server keeps itself, and the links.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::crdt::{Journal, RegionTag, ReplicaId, State, Store};

/// What a region's acknowledgements have waited for. Whoever takes the region's state up again trusts it to be at
/// least what was acknowledged only if they waited for the road it came by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Guard {
    /// Until it was fsynced to the AOF.
    pub disk: bool,
    /// Until an in-region replica had it.
    pub replica: bool,
}

impl Guard {
    pub const VOLATILE: Guard = Guard {
        disk: false,
        replica: false,
    };
}

/// The metadata of one region: what its RDB carries, its AOF and its in-region replicas follow.
pub struct Region {
    pub(super) state: State,
    pub(super) journal: Journal,
    pub(super) names: BTreeMap<RegionTag, String>,
    /// The state is one that a region had as a whole, be it long ago. False before a first state is adopted or
    /// started with, and while one is being adopted.
    pub(super) complete: bool,
    pub(super) guard: Guard,
}

impl Region {
    /// A region that knows nothing.
    pub fn blank(name: &str, incarnation: u64, drift: Duration) -> Region {
        let tag = RegionTag::of(name);
        Region {
            state: State::new(ReplicaId::new(tag, incarnation), drift),
            journal: Journal::default(),
            names: BTreeMap::from([(tag, name.to_owned())]),
            complete: false,
            guard: Guard::VOLATILE,
        }
    }

    pub fn guard(&self) -> Guard {
        self.guard
    }

    /// The least number a new incarnation of this region may take, as far as its own memory goes.
    pub fn next_incarnation(&self) -> u64 {
        self.state.me().incarnation() + 1
    }

    /// Hands over everything, in pieces of bounded size, the first one first.
    pub fn save(&self, _piece: &mut dyn FnMut(&[u8])) {}

    /// Replays what [`super::Engine::take_log`] gave on the primary: metadata and values, nothing is stamped.
    pub fn replay(&mut self, _entries: &[u8], _store: &mut dyn Store) -> Result<(), String> {
        Ok(())
    }

    /// Drops what the primary has dropped, visiting at most `budget` targets; true while more is waiting.
    pub fn settle(&mut self, _budget: usize, _store: &mut dyn Store) -> bool {
        false
    }
}

/// Takes the pieces of [`Region::save`].
pub struct Loader {
    region: Region,
}

impl Loader {
    pub fn new(name: &str, drift: Duration) -> Loader {
        Loader {
            region: Region::blank(name, 0, drift),
        }
    }

    /// True when this was the last piece.
    pub fn piece(&mut self, _bytes: &[u8]) -> Result<bool, String> {
        Ok(false)
    }

    pub fn finish(self) -> Result<Region, String> {
        Ok(self.region)
    }
}
