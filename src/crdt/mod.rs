//! The CRDT kernel: what one region knows, and how operations and transfers change it. Pure: no clock,
//! no I/O, no server; time, ids and the keyspace ([`Store`]) are arguments.

mod clock;
mod dot;
mod number;
mod store;
mod vector;

pub use clock::{Clock, millis_between, ntp64};
pub use dot::{Dot, Hlc, RegionTag, ReplicaId};
pub use number::Number;
pub use store::{Cursor, Element, KeyRef, Kind, Native, OwnedValue, Store, Value};
pub use vector::Vector;
