//! Test build: what a slice's cells include travels beside the bytes.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::crdt::ReplicaId;
use crate::crdt::history::Snapshot;

/// Sender, transfer, slice.
type Name = (ReplicaId, u64, u64);

thread_local! {
    static KNOWN: RefCell<HashMap<Name, Snapshot>> = RefCell::default();
}

pub fn publish(name: Name, snapshot: Snapshot) {
    KNOWN.with(|known| known.borrow_mut().insert(name, snapshot));
}

pub fn find(name: Name) -> Option<Snapshot> {
    KNOWN.with(|known| known.borrow().get(&name).cloned())
}

/// Forgets everything (between runs).
pub fn clear() {
    KNOWN.with(|known| known.borrow_mut().clear());
}
