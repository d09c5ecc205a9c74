//! Records of a transfer, and the parts they share with operations.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::Malformed;
use super::batch::WireClearedCell;
use super::names::{Names, WireVector};
use crate::crdt::{
    Cell, CellRecord, Clear, ClearedCell, Contribution, Dot, Hlc, Kind, Number, Observed, OwnedValue, PendingClear,
    Record, Vector,
};

pub type WireObserved = Vec<(u16, Hlc, Number)>;

/// database, key, pending clears, cells
#[derive(Serialize, Deserialize)]
pub struct WireRecord(u32, ByteBuf, Vec<WireClear>, Vec<WireCell>);

/// author, stamp, what it saw, cells it names
#[derive(Serialize, Deserialize)]
struct WireClear(u16, Hlc, WireVector, Vec<WireClearedCell>);

/// kind, element, live dots with values, touched, named, contributions
#[derive(Serialize, Deserialize)]
struct WireCell(
    u8,
    ByteBuf,
    Vec<(u16, Hlc, Option<ByteBuf>)>,
    WireVector,
    WireVector,
    Vec<WireContribution>,
);

/// replica, birth, hlc, total, reset hlc, reset total
type WireContribution = (u16, Hlc, Hlc, Number, Hlc, Number);

/// Settled elements of one key, for adoption: they live natively only.
#[derive(Clone, PartialEq, Debug)]
pub struct BaseKey {
    pub db: u32,
    pub name: Box<[u8]>,
    pub kind: Kind,
    pub elements: Vec<(Box<[u8]>, OwnedValue)>,
}

#[derive(Serialize, Deserialize)]
pub struct WireBase(u32, ByteBuf, u8, Vec<(ByteBuf, Option<ByteBuf>)>);

pub fn write_observed(observed: &Observed, names: &mut Names) -> WireObserved {
    observed
        .iter()
        .map(|(replica, hlc, total)| (names.index(*replica), *hlc, total.clone()))
        .collect()
}

pub fn read_observed(wire: &[(u16, Hlc, Number)], names: &Names) -> Result<Observed, Malformed> {
    wire.iter()
        .map(|(index, hlc, total)| Ok((names.replica(*index)?, *hlc, total.clone())))
        .collect()
}

pub fn clear_cells(clear: &Clear, names: &mut Names) -> Vec<WireClearedCell> {
    let mut write = |c: &ClearedCell| {
        (
            c.kind as u8,
            ByteBuf::from(&*c.name),
            write_observed(&c.observed, names),
            names.vector(&c.extra),
        )
    };
    clear.cells.iter().map(&mut write).collect()
}

/// Restores the order that [`Clear::cell`] searches by, whatever the peer sent.
pub fn read_clear_cells(wire: Vec<WireClearedCell>, names: &Names) -> Result<Vec<ClearedCell>, Malformed> {
    let mut cells = Vec::new();
    for (kind, name, observed, extra) in wire {
        cells.push(ClearedCell {
            kind: read_kind(kind)?,
            name: name.into_vec().into(),
            observed: read_observed(&observed, names)?,
            extra: names.read_vector(&extra)?,
        });
    }
    cells.sort_by(|a, b| a.element().cmp(&b.element()));
    cells.dedup_by(|a, b| a.element() == b.element());
    Ok(cells)
}

fn read_kind(code: u8) -> Result<Kind, Malformed> {
    Kind::from_code(code).ok_or_else(|| Malformed::new("record", "unknown type"))
}

pub fn write_record(record: &Record, names: &mut Names) -> WireRecord {
    let mut clears = Vec::with_capacity(record.clears.len());
    for PendingClear { dot, clear } in &record.clears {
        let author = names.index(dot.replica);
        clears.push(WireClear(
            author,
            dot.hlc,
            names.vector(&clear.context),
            clear_cells(clear, names),
        ));
    }
    let cells = record.cells.iter().map(|cell| write_cell(cell, names)).collect();
    WireRecord(record.db, ByteBuf::from(&*record.name), clears, cells)
}

fn write_cell(record: &CellRecord, names: &mut Names) -> WireCell {
    let cell = &record.cell;
    let live = cell
        .live
        .iter()
        .map(|l| (names.index(l.dot.replica), l.dot.hlc, write_value(l.value.as_ref())))
        .collect();
    let touched = names.vector(&cell.touched);
    let named = names.vector(cell.named());
    let contributions = cell.contributions().iter().map(|(replica, c)| {
        (
            names.index(*replica),
            c.birth,
            c.hlc,
            c.total.clone(),
            c.reset_hlc,
            c.reset_total.clone(),
        )
    });
    let contributions = contributions.collect();
    WireCell(
        record.kind as u8,
        ByteBuf::from(&*record.name),
        live,
        touched,
        named,
        contributions,
    )
}

fn write_value(value: Option<&OwnedValue>) -> Option<ByteBuf> {
    match value {
        Some(OwnedValue::Bytes(bytes)) => Some(ByteBuf::from(&**bytes)),
        Some(OwnedValue::Member) | None => None,
    }
}

/// `native`: strings may be missing, because the keyspace holds them.
pub fn read_record(wire: WireRecord, names: &Names, native: bool) -> Result<Record, Malformed> {
    let WireRecord(db, name, clears, cells) = wire;
    let mut record = Record {
        db,
        name: name.into_vec().into(),
        ..Record::default()
    };
    for WireClear(author, hlc, context, cells) in clears {
        let clear = Clear {
            context: names.read_vector(&context)?,
            cells: read_clear_cells(cells, names)?,
        };
        record.clears.push(PendingClear {
            dot: names.dot(author, hlc)?,
            clear,
        });
    }
    for cell in cells {
        record.cells.push(read_cell(cell, names, native)?);
    }
    Ok(record)
}

fn read_cell(wire: WireCell, names: &Names, native: bool) -> Result<CellRecord, Malformed> {
    let WireCell(kind, name, live, touched, named, contributions) = wire;
    let kind = read_kind(kind)?;
    if kind == Kind::String && !name.is_empty() {
        return Err(Malformed::new("record", "a string has one element"));
    }
    let mut cell = Cell::default();
    for (replica, hlc, value) in live {
        let dot: Dot = names.dot(replica, hlc)?;
        let value = value.map(|bytes| OwnedValue::Bytes(bytes.into_vec().into()));
        let fits = match kind {
            Kind::String => native || value.is_some(),
            Kind::Set => value.is_none(),
        };
        if !fits {
            return Err(Malformed::new("record", "value does not fit the type"));
        }
        cell.add_live(dot, value);
    }
    cell.name(&names.read_vector(&named)?);
    cell.touched = names.read_vector(&touched)?;
    for (replica, birth, hlc, total, reset_hlc, reset_total) in contributions {
        let contribution = Contribution {
            birth,
            hlc,
            total,
            reset_hlc,
            reset_total,
        };
        cell.merge_contribution(names.replica(replica)?, contribution);
    }
    Ok(CellRecord {
        kind,
        name: name.into_vec().into(),
        cell,
    })
}

pub fn write_base(base: &BaseKey) -> WireBase {
    let elements = base
        .elements
        .iter()
        .map(|(name, value)| (ByteBuf::from(&**name), write_value(Some(value))));
    WireBase(base.db, ByteBuf::from(&*base.name), base.kind as u8, elements.collect())
}

pub fn read_base(wire: WireBase) -> Result<BaseKey, Malformed> {
    let WireBase(db, name, kind, wire_elements) = wire;
    let kind = read_kind(kind)?;
    let mut elements = Vec::new();
    for (name, value) in wire_elements {
        let value = match (kind, value) {
            (Kind::String, Some(bytes)) => OwnedValue::Bytes(bytes.into_vec().into()),
            (Kind::Set, None) => OwnedValue::Member,
            _ => return Err(Malformed::new("record", "value does not fit the type")),
        };
        elements.push((name.into_vec().into(), value));
    }
    Ok(BaseKey {
        db,
        name: name.into_vec().into(),
        kind,
        elements,
    })
}

/// A vector with the table it needs, for frames that carry nothing else.
pub fn plain(vector: &Vector) -> Vec<(crate::crdt::ReplicaId, Hlc)> {
    vector.iter().collect()
}
