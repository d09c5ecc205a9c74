//! Batches: the operations of one event-loop turn under one context.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_bytes::{ByteBuf, Bytes};
use smallvec::SmallVec;

use super::names::{Names, WireVector};
use super::operation::{self, ASSIGN, CLEAR, INCREMENT, JOINED, REMOVE};
use super::record::{WireObserved, expiry, read_clear_cells, read_observed};
use super::{Malformed, message};
use crate::crdt::{Clear, Dot, Effect, Element, Hlc, KeyRef, Kind, Number, Op, ReplicaId, Value, Vector};

/// replica id, HLC of its operation before this batch, names, context without the replica's own entry
#[derive(Serialize, Deserialize)]
struct BatchHeader(ReplicaId, Hlc, Vec<ReplicaId>, WireVector);

/// stamp as difference to the operation before, database and [`JOINED`], key, effects
#[derive(Deserialize)]
#[cfg_attr(test, derive(Serialize))]
pub struct WireOp<'a>(
    pub u64,
    pub u32,
    #[serde(borrow)] pub &'a Bytes,
    #[serde(borrow, deserialize_with = "read_effects")] pub SmallVec<[WireEffect<'a>; 1]>,
);

/// code and kind, element, value, details
#[derive(Deserialize)]
#[cfg_attr(test, derive(Serialize))]
pub struct WireEffect<'a>(
    pub u8,
    #[serde(borrow)] pub &'a Bytes,
    #[serde(borrow)] pub Option<&'a Bytes>,
    pub Option<Box<Details>>,
);

/// birth, total, observed totals, extra dots, context of a clear, its cells
#[derive(Deserialize)]
#[cfg_attr(test, derive(Serialize))]
pub struct Details(
    pub Hlc,
    pub Number,
    pub WireObserved,
    pub WireVector,
    pub WireVector,
    pub Vec<WireClearedCell>,
);

pub type WireClearedCell = (u8, ByteBuf, WireObserved, WireVector);

/// Gathers the operations of one turn as bytes.
#[derive(Default)]
pub struct BatchWriter {
    names: Names,
    /// Without the author's own entry.
    context: Vector,
    previous: Hlc,
    last: Hlc,
    count: u64,
    operations: Vec<u8>,
}

impl BatchWriter {
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn len(&self) -> usize {
        self.operations.len()
    }

    pub fn last(&self) -> Hlc {
        self.last
    }

    /// Whether an operation made under this vector may join the batch.
    pub fn fits(&self, me: ReplicaId, seen: &Vector) -> bool {
        seen.iter().filter(|entry| entry.0 != me).eq(self.context.iter())
    }

    /// Starts a batch of operations by `me`; `previous`: its operation before it.
    pub fn start(&mut self, me: ReplicaId, seen: &Vector, previous: Hlc) {
        self.names.0.clear();
        self.operations.clear();
        self.context = seen.clone();
        self.context.set(me, 0);
        (self.previous, self.last, self.count) = (previous, previous, 0);
    }

    pub fn push(&mut self, op: &Op<'_>) {
        self.append(op, false);
    }

    /// Adds an operation that is one unit with the one before it: whoever sees the one sees the other.
    pub fn join(&mut self, op: &Op<'_>) {
        self.append(op, true);
    }

    fn append(&mut self, op: &Op<'_>, joined: bool) {
        let at = self.operations.len();
        self.operations.extend_from_slice(&[0; 4]);
        operation::write(
            op,
            op.dot.hlc.wrapping_sub(self.last),
            joined,
            &mut self.names,
            &mut self.operations,
        );
        let length = (self.operations.len() - at - 4) as u32;
        self.operations[at..at + 4].copy_from_slice(&length.to_le_bytes());
        self.last = op.dot.hlc;
        self.count += 1;
    }

    /// The frame; the writer is empty afterwards.
    pub fn finish(&mut self, me: ReplicaId) -> Vec<u8> {
        let mut frame = Vec::with_capacity(self.operations.len() + 64);
        self.finish_into(me, &mut frame);
        frame
    }

    /// Appends the frame; the writer is empty afterwards.
    pub fn finish_into(&mut self, me: ReplicaId, out: &mut Vec<u8>) {
        let context = self.names.vector(&self.context);
        let header = BatchHeader(me, self.previous, std::mem::take(&mut self.names.0), context);
        batch(&header, &self.operations, out);
        self.operations.clear();
        self.operations.shrink_to(1 << 20);
        self.count = 0;
    }
}

fn batch(header: &BatchHeader, operations: &[u8], out: &mut Vec<u8>) {
    out.push(message::tag::BATCH);
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    // Writing into a vector cannot fail.
    let written = rmp_serde::encode::write(out, header);
    debug_assert!(written.is_ok());
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out.extend_from_slice(operations);
}

/// A received batch, read operation by operation.
#[derive(Clone)]
pub struct BatchReader {
    pub replica: ReplicaId,
    /// The sender's operation before the next one.
    pub previous: Hlc,
    /// The sender's vector when it made the operations, without its own entry.
    pub context: Vector,
    names: Names,
    at: usize,
}

impl BatchReader {
    /// Reads the header of a batch frame.
    pub fn open(frame: &[u8]) -> Result<BatchReader, Malformed> {
        let (start, end) = section(frame, 1)?;
        let header: BatchHeader =
            rmp_serde::from_slice(&frame[start..end]).map_err(|e| Malformed::new("batch header", e))?;
        let BatchHeader(replica, previous, names, context) = header;
        let names = Names(names);
        let context = names.read_vector(&context)?;
        Ok(BatchReader {
            replica,
            previous,
            context,
            names,
            at: end,
        })
    }

    pub fn is_done(&self, frame: &[u8]) -> bool {
        self.at >= frame.len()
    }

    /// The next operation. Call [`BatchReader::advance`] when it is dealt with.
    pub fn peek<'a>(&self, frame: &'a [u8]) -> Result<Op<'a>, Malformed> {
        let (start, end) = section(frame, self.at)?;
        let WireOp(delta, db, name, effects) =
            rmp_serde::from_slice(&frame[start..end]).map_err(|e| Malformed::new("operation", e))?;
        let hlc = self.previous.checked_add(delta).filter(|hlc| *hlc > self.previous);
        let hlc = hlc.ok_or_else(|| Malformed::new("operation", "stamp does not rise"))?;
        let effects: Result<SmallVec<[Effect<'a>; 1]>, Malformed> =
            effects.into_iter().map(|effect| self.read_effect(effect)).collect();
        Ok(Op {
            dot: Dot::new(self.replica, hlc),
            key: KeyRef { db: db & !JOINED, name },
            effects: effects?,
        })
    }

    /// Whether the next operation is one unit with the one before it.
    pub fn is_joined(&self, frame: &[u8]) -> bool {
        let head = |mut bytes: &[u8]| -> Option<u32> {
            rmp::decode::read_array_len(&mut bytes).ok()?;
            let _delta: u64 = rmp::decode::read_int(&mut bytes).ok()?;
            rmp::decode::read_int(&mut bytes).ok()
        };
        let bounds = section(frame, self.at).ok();
        let db = bounds.and_then(|(start, end)| head(&frame[start..end]));
        db.is_some_and(|db| db & JOINED != 0)
    }

    /// Whether the next operation, or one that is one unit with it, takes more memory than the few bytes of a removal or
    /// a deadline.
    pub fn unit_needs_memory(&self, frame: &[u8]) -> Result<bool, Malformed> {
        let needs = |effect: &Effect<'_>| match effect {
            Effect::Replace { element, value, .. } => value.is_some() && element.kind != Kind::Expiry,
            Effect::Increment { .. } => true,
            Effect::Clear(_) => false,
        };
        let mut ahead = self.clone();
        while !ahead.is_done(frame) {
            let op = ahead.peek(frame)?;
            if op.effects.iter().any(needs) {
                return Ok(true);
            }
            let hlc = op.dot.hlc;
            ahead.advance(frame, hlc)?;
            if !ahead.is_joined(frame) {
                break;
            }
        }
        Ok(false)
    }

    /// Steps over the operation at hand, whose stamp was `hlc`.
    pub fn advance(&mut self, frame: &[u8], hlc: Hlc) -> Result<(), Malformed> {
        self.at = section(frame, self.at)?.1;
        self.previous = hlc;
        Ok(())
    }

    /// Where the next operation stands, for [`BatchReader::excerpt`].
    pub fn place(&self) -> (usize, Hlc) {
        (self.at, self.previous)
    }

    /// Appends a batch of the operations from an earlier place up to here.
    pub fn excerpt(&self, frame: &[u8], (from, previous): (usize, Hlc), out: &mut Vec<u8>) {
        let mut names = Names(self.names.0.clone());
        let context = names.vector(&self.context);
        let header = BatchHeader(self.replica, previous, names.0, context);
        batch(&header, &frame[from..self.at], out);
    }

    fn read_effect<'a>(&self, effect: WireEffect<'a>) -> Result<Effect<'a>, Malformed> {
        let WireEffect(code, name, value, details) = effect;
        let kind = Kind::from_code(code & 15).ok_or_else(|| Malformed::new("operation", "unknown type"))?;
        if kind.is_single() && !name.is_empty() {
            return Err(Malformed::new("operation", "a string has one element"));
        }
        let element = Element { kind, name };
        let details = details.map(|d| *d);
        match (code >> 4, details) {
            (REMOVE | ASSIGN, details) => {
                let value = (code >> 4 == ASSIGN).then(|| value_of(kind, value)).transpose()?;
                let (observed, extra) = match details {
                    None => Default::default(),
                    Some(d) => (read_observed(&d.2, &self.names)?, self.names.read_vector(&d.3)?),
                };
                Ok(Effect::Replace {
                    element,
                    value,
                    observed,
                    extra,
                })
            }
            (INCREMENT, Some(d)) if kind.counts() => Ok(Effect::Increment {
                element,
                birth: d.0,
                total: d.1,
            }),
            (CLEAR, Some(d)) => {
                let context = self.names.read_vector(&d.4)?;
                Ok(Effect::Clear(Box::new(Clear {
                    context,
                    cells: read_clear_cells(d.5, &self.names)?,
                    expired: expiry(d.0),
                })))
            }
            _ => Err(Malformed::new("operation", "unknown effect")),
        }
    }
}

fn value_of<'a>(kind: Kind, value: Option<&'a Bytes>) -> Result<Value<'a>, Malformed> {
    Value::decode(kind, value.map(|bytes| &**bytes))
        .ok_or_else(|| Malformed::new("operation", "value does not fit the type"))
}

/// The effects of one operation; nothing is reserved for those that are only claimed ([`SmallVec`] itself would).
fn read_effects<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<SmallVec<[WireEffect<'a>; 1]>, D::Error> {
    struct Effects<'a>(PhantomData<&'a ()>);

    impl<'de: 'a, 'a> Visitor<'de> for Effects<'a> {
        type Value = SmallVec<[WireEffect<'a>; 1]>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the effects of an operation")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let mut effects = SmallVec::new();
            while let Some(effect) = sequence.next_element()? {
                effects.push(effect);
            }
            Ok(effects)
        }
    }

    deserializer.deserialize_seq(Effects(PhantomData))
}

/// Bounds of a section that its length (u32-le) precedes.
fn section(frame: &[u8], at: usize) -> Result<(usize, usize), Malformed> {
    let short = || Malformed::new("batch", "shorter than it says");
    let length = frame
        .get(at..at + 4)
        .and_then(|b| b.try_into().ok())
        .map(u32::from_le_bytes)
        .ok_or_else(short)?;
    let (start, end) = (at + 4, at + 4 + length as usize);
    if end > frame.len() {
        Err(short())
    } else {
        Ok((start, end))
    }
}
