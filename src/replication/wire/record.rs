//! Records of a transfer, and the parts they share with operations.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::Malformed;
use super::batch::WireClearedCell;
use super::names::{Names, WireVector};
use crate::crdt::{
    Cell, CellRecord, Clear, ClearedCell, Contribution, Dot, Hlc, KeyRef, Kind, Live, Number, Observed, OwnedValue,
    PendingClear, Record, ReplicaId, Value, Vector,
};

pub type WireObserved = Vec<(u16, Hlc, Number)>;

/// database, key, pending clears, cells
#[derive(Serialize, Deserialize)]
pub struct WireRecord(u32, ByteBuf, Vec<WireClear>, Vec<WireCell>);

/// author, stamp, what it saw, cells it names, when its key expired (0: it did not)
#[derive(Serialize, Deserialize)]
struct WireClear(u16, Hlc, WireVector, Vec<WireClearedCell>, #[serde(default)] u64);

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
    /// Unix time in ms by the sender's clock.
    pub deadline: Option<u64>,
}

impl BaseKey {
    pub fn key(&self) -> KeyRef<'_> {
        KeyRef {
            db: self.db,
            name: &self.name,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub struct WireBase(
    u32,
    ByteBuf,
    u8,
    Vec<(ByteBuf, Option<ByteBuf>)>,
    #[serde(default)] Option<u64>,
);

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
            clear.expired.unwrap_or(0),
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
        .map(|l| {
            let lost = if l.value == Some(OwnedValue::Lost) { LOST } else { 0 };
            let author = names.index(l.dot.replica);
            (author | lost, l.dot.hlc, write_value(l.value.as_ref()))
        })
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

pub fn write_value(value: Option<&OwnedValue>) -> Option<ByteBuf> {
    let value = value.filter(|value| **value != OwnedValue::Lost)?;
    value.borrow().encode().bytes().map(ByteBuf::from)
}

pub fn read_value(kind: Kind, bytes: Option<&ByteBuf>) -> Result<OwnedValue, Malformed> {
    Value::decode(kind, bytes.map(|bytes| bytes.as_ref()))
        .map(Value::to_owned)
        .ok_or_else(|| Malformed::new("record", "value does not fit the type"))
}

/// A time at which a key expired, as it travels.
pub fn expiry(at: u64) -> Option<u64> {
    (at > 0).then_some(at)
}

/// A clear on its own.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LoneClear(Vec<ReplicaId>, WireVector, Vec<WireClearedCell>, u64);

impl LoneClear {
    pub fn write(clear: &Clear) -> LoneClear {
        let mut names = Names::default();
        let (context, cells) = (names.vector(&clear.context), clear_cells(clear, &mut names));
        LoneClear(names.0, context, cells, clear.expired.unwrap_or(0))
    }

    pub fn read(self) -> Result<Clear, Malformed> {
        let LoneClear(names, context, cells, expired) = self;
        let names = Names(names);
        Ok(Clear {
            context: names.read_vector(&context)?,
            cells: read_clear_cells(cells, &names)?,
            expired: expiry(expired),
        })
    }
}

/// In the place of a name: the dot's value is not here. Its author stands in the other bits.
const LOST: u16 = 1 << 15;

/// `native`: strings may be missing, because the keyspace holds them.
pub fn read_record(wire: WireRecord, names: &Names, native: bool) -> Result<Record, Malformed> {
    let WireRecord(db, name, clears, cells) = wire;
    let mut record = Record {
        db,
        name: name.into_vec().into(),
        ..Record::default()
    };
    for WireClear(author, hlc, context, cells, expired) in clears {
        let clear = Clear {
            expired: expiry(expired),
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
    if kind.is_single() && !name.is_empty() {
        return Err(Malformed::new("record", "a string has one element"));
    }
    let mut cell = Cell::default();
    for (replica, hlc, value) in live {
        let dot: Dot = names.dot(replica & !LOST, hlc)?;
        let value = match (kind, value) {
            (kind, None) if replica & LOST != 0 && kind != Kind::Set => Some(OwnedValue::Lost),
            (kind, None) if native && kind.in_keyspace() => None,
            (kind, value) => Some(read_value(kind, value.as_ref())?).filter(|value| *value != OwnedValue::Member),
        };
        cell.add_live(Live { dot, value });
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
    WireBase(
        base.db,
        ByteBuf::from(&*base.name),
        base.kind as u8,
        elements.collect(),
        base.deadline,
    )
}

pub fn read_base(wire: WireBase) -> Result<BaseKey, Malformed> {
    let WireBase(db, name, kind, wire_elements, deadline) = wire;
    let kind = read_kind(kind)?;
    if !kind.is_type() {
        return Err(Malformed::new("record", "a deadline is no type"));
    }
    let mut elements = Vec::new();
    for (name, value) in wire_elements {
        elements.push((name.into_vec().into(), read_value(kind, value.as_ref())?));
    }
    Ok(BaseKey {
        db,
        name: name.into_vec().into(),
        kind,
        elements,
        deadline,
    })
}

/// A vector with the table it needs, for frames that carry nothing else.
pub fn plain(vector: &Vector) -> Vec<(crate::crdt::ReplicaId, Hlc)> {
    vector.iter().collect()
}
