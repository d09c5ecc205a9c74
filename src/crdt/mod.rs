//! The CRDT kernel: what one region knows, and how operations and transfers change it. Pure: no clock,
//! no I/O, no server; time, ids and the keyspace ([`Store`]) are arguments.
//!
//! ```text
//!  local.rs   a local command  ┐                        ┌ cell.rs     one element: dots, touches, contributions
//!  state.rs   a peer's op      ├─> one cell, one rule ──┤ index.rs    all cells that are not settled
//!  merge.rs   a transfer       ┘                        └ show.rs     what readers see, written natively
//!  compact.rs what is stable goes      orphans.rs, journal.rs  what would be lost is issued again
//!  capture.rs what nobody recorded
//! ```

mod capture;
mod cell;
mod change;
mod clock;
mod compact;
mod dot;
mod evicted;
pub mod history;
mod hyperloglog;
mod index;
mod journal;
mod local;
mod meeting;
mod memory;
mod merge;
mod number;
mod op;
mod orphans;
mod policy;
mod purge;
mod reassert;
mod rescore;
pub mod rules;
mod saved;
mod show;
mod state;
mod store;
mod vector;

pub use capture::{Found, Notice};
pub use cell::{Cell, Contribution, Live, Observed};
pub use change::{Before, Change, Cleared, Deadline, Edit};
pub use clock::{Clock, millis_between, ntp64, unix_millis};
pub use dot::{Dot, Hlc, RegionTag, ReplicaId};
pub use evicted::{Evicted, KeyName};
pub use index::{Index, PendingClear};
pub use journal::{Journal, KeyJournal, Pending};
pub use meeting::Meeting;
pub use memory::{MemoryStore, MemoryValue};
pub use merge::{CellRecord, Record, Walk};
pub use number::Number;
pub use op::{Clear, ClearedCell, Effect, Emit, Op};
pub use orphans::{Added, Unseen, UnseenWrite};
pub use policy::ScoreRule;
pub use saved::Waiting;
pub use state::{Conflicts, State, greatest};
pub use store::{Cursor, Element, Encoded, KeyRef, Kind, NEVER, Native, OwnedValue, Score, Store, Value};
pub use vector::Vector;
