//! One encoding for equal states.

use std::collections::BTreeMap;

use redis_geo::crdt::{Cell, CellRecord, Contribution, MemoryStore, MemoryValue, Record, State, Vector, Walk};
use redis_geo::replication::wire::{Message, Slice, encode};

pub type Data = BTreeMap<(u32, Box<[u8]>), MemoryValue>;

/// Every record of a state, values explicit.
pub fn records(state: &State, store: &mut MemoryStore) -> Vec<Record> {
    let (mut walk, mut visits, mut records) = (Walk::default(), usize::MAX, Vec::new());
    while let Some(mut record) = state.walk(&mut walk, None, usize::MAX, &mut visits) {
        record.make_explicit(usize::MAX, store);
        records.push(record);
    }
    records
}

/// The state as bytes, and the data. Two states are equal when both are: nothing that can still arrive tells them
/// apart.
pub fn canonical(state: &State, store: &mut MemoryStore) -> (Vec<u8>, Data) {
    let mut records = records(state, store);
    for record in &mut records {
        record.clears.sort_by_key(|pending| pending.dot);
        record
            .cells
            .iter_mut()
            .for_each(|record| record.cell = normal(&record.cell, state.seen()));
        record.cells.retain(|record| record.cell != Cell::default());
        record.cells.sort_by(|a: &CellRecord, b| a.element().cmp(&b.element()));
    }
    records.retain(|record| !record.cells.is_empty() || !record.clears.is_empty());
    records.sort_by(|a, b| a.key().cmp(&b.key()));
    let slice = Slice {
        seen: state.seen().clone(),
        records,
        ..Slice::default()
    };
    (encode(&Message::Slice(Box::new(slice))), store.keys().clone())
}

/// A cell without what the vector makes meaningless: a named dot that the vector covers is an ordinary touch, and
/// of a reset contribution only the reset counts (a reset that came first stands in for a birth it does not know).
fn normal(cell: &Cell, seen: &Vector) -> Cell {
    let mut normal = Cell::default();
    cell.live.iter().for_each(|live| normal.add_live(live.clone()));
    normal.name(&cell.named().above(seen));
    normal.touched = cell.touched.clone();
    normal.touched.join(cell.named());
    for (replica, contribution) in cell.contributions() {
        let birth = if contribution.alive() { contribution.birth } else { 0 };
        normal.merge_contribution(
            *replica,
            Contribution {
                birth,
                ..contribution.clone()
            },
        );
    }
    normal
}
