//! What was done and seen during a run. Nothing here knows how redis-geo works.

use std::sync::Arc;
use std::time::Duration;

use redis_geo::lab::dump::Dump;

/// Since the run began.
pub type Time = Duration;

/// Unbroken possession of data: one process, as long as it follows one replication history. A process that takes over
/// another's data (a full synchronization) begins a new life; so does one that is promoted, but it keeps its data.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life {
    pub node: String,
    /// `run_id` of the process.
    pub process: String,
    /// `master_replid`.
    pub history: String,
}

/// A write of a client that was not refused.
#[derive(Clone, Debug)]
pub struct Write {
    /// Where it was sent.
    pub life: Arc<Life>,
    pub sent: Time,
    /// `None`: no answer came, so it may or may not have happened, even later.
    pub answered: Option<Time>,
    /// The region was recovering: the write was repeated on what the region adopted later. A removal may so take what it
    /// had not seen when it was answered (`docs/decisions/0003`).
    pub provisional: bool,
    pub effect: Effect,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Adds a member to a set.
    Add {
        key: String,
        member: String,
    },
    /// Removes from a set what was there: these members, as its answer says; `whole`: all of them.
    Remove {
        key: String,
        members: Vec<String>,
        whole: bool,
    },
    /// Removes members from a set; nobody knows which.
    RemoveAny {
        key: String,
    },
    /// Gives a string a value that is given only once, in place of the value that its answer shows.
    Assign {
        key: String,
        value: String,
        instead: Option<String>,
    },
    /// Deletes a string that had the value that its answer shows.
    Delete {
        key: String,
        value: Option<String>,
    },
    Increment {
        key: String,
        by: i64,
    },
}

/// A mark that a life writes from time to time. Regions and replicas apply the writes of a life in order: who has applied
/// it has all that the life wrote before. A transfer is in another order: while one is received, marks prove nothing.
#[derive(Clone, Debug)]
pub struct Beacon {
    pub life: Arc<Life>,
    /// Counts upward within the life.
    pub number: u64,
    pub sent: Time,
}

/// What one server said of itself at one moment, and the newest beacon it showed of each life.
#[derive(Clone, Debug)]
pub struct Sighting {
    pub life: Arc<Life>,
    /// `master_replid2`: the history that this one continues.
    pub continues: String,
    pub primary: bool,
    /// How many transfers it has received completely; `None` while it receives one, or is not an active primary.
    pub transfers: Option<u64>,
    /// When it had answered.
    pub seen: Time,
    pub beacons: Vec<(Arc<Life>, u64)>,
}

/// A process that came back as a primary with what its files held.
#[derive(Clone, Debug)]
pub struct Restart {
    /// `run_id` before and after.
    pub before: String,
    pub after: String,
    /// Before it started.
    pub started: Time,
    /// It had no files: it is active once it has adopted all that an active region holds.
    pub blank: bool,
    /// What it held at this time it must still hold, by its configuration; `None`: nothing.
    pub kept: Option<Time>,
}

/// One run, complete.
#[derive(Default)]
pub struct History {
    pub writes: Vec<Write>,
    pub beacons: Vec<Beacon>,
    pub sightings: Vec<Sighting>,
    pub restarts: Vec<Restart>,
    /// When the last faults and writes were over: lives seen from here on survived.
    pub end: Time,
    /// What every server showed after that.
    pub dumps: Vec<(String, Dump)>,
}
