//! What the regions of a run are, and what their servers keep when they die.

use std::time::Duration;

use crate::history::Time;

/// With `appendfsync everysec` the server holds writes back for up to two seconds while the disk is slow.
const HELD_BACK: Duration = Duration::from_secs(3);

/// What a region's servers still have after they were killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// No files.
    Volatile,
    /// Append-only file, `appendfsync everysec`.
    EverySecond,
    /// Append-only file, `appendfsync always`.
    Always,
}

impl Durability {
    /// The lines of redis.conf.
    pub fn lines(self) -> Vec<String> {
        let policy = match self {
            Durability::Volatile => return Vec::new(),
            Durability::EverySecond => "everysec",
            Durability::Always => "always",
        };
        vec![
            "appendonly yes".into(),
            format!("appendfsync {policy}"),
            "auto-aof-rewrite-percentage 0".into(),
        ]
    }

    /// What was held at this time is in the files of a server that was killed at `at`.
    pub fn kept(self, at: Time) -> Option<Time> {
        match self {
            Durability::Volatile => None,
            Durability::EverySecond => Some(at.saturating_sub(HELD_BACK)),
            Durability::Always => Some(at),
        }
    }
}

/// A region of the run, with one replica.
pub struct Site {
    pub name: &'static str,
    pub durability: Durability,
    pub sentinel: bool,
}

/// What the regions of a run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nobody has files, and no replica is promoted.
    Volatile,
    /// Files of every kind, and failover, in one region by a sentinel.
    Durable,
}

impl Kind {
    pub fn sites(self) -> [Site; 3] {
        let site = |name, durability, sentinel| Site {
            name,
            durability,
            sentinel,
        };
        match self {
            Kind::Volatile => ["eu", "us", "ap"].map(|name| site(name, Durability::Volatile, false)),
            Kind::Durable => [
                site("eu", Durability::EverySecond, true),
                site("us", Durability::Always, false),
                site("ap", Durability::Volatile, false),
            ],
        }
    }

    /// Peers find whichever server of a region is its primary.
    pub fn failover(self) -> bool {
        self == Kind::Durable
    }
}

/// Servers of each region.
pub const NODES: usize = 2;
