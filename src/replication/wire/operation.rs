//! Writes an operation as [`super::BatchReader`] reads it: the same bytes that rmp-serde would make of the same
//! structures, without building them first. Every local write pays for this.

use rmp::Marker;
use rmp::encode;

use super::names::Names;
use crate::crdt::{Clear, Effect, Element, Encoded, Hlc, Number, Observed, Op, Vector};

pub const REMOVE: u8 = 0;
pub const ASSIGN: u8 = 1;
pub const INCREMENT: u8 = 2;
pub const CLEAR: u8 = 3;

/// Set in the number of the database of an operation that is one unit with the one before it.
pub const JOINED: u32 = 1 << 31;

/// Appends an operation; `delta`: its stamp as difference to the operation before.
pub fn write(op: &Op<'_>, delta: u64, joined: bool, names: &mut Names, out: &mut Vec<u8>) {
    array(out, 4);
    uint(out, delta);
    uint(out, (op.key.db | if joined { JOINED } else { 0 }).into());
    bytes(out, op.key.name);
    array(out, op.effects.len());
    for effect in &op.effects {
        write_effect(effect, names, out);
    }
}

fn write_effect(effect: &Effect<'_>, names: &mut Names, out: &mut Vec<u8>) {
    array(out, 4);
    match effect {
        Effect::Replace {
            element,
            value,
            observed: seen,
            extra,
        } => {
            head(out, if value.is_some() { ASSIGN } else { REMOVE }, *element);
            match value.as_ref().map(|value| value.encode()) {
                Some(Encoded::Bytes(value)) => bytes(out, value),
                Some(Encoded::Eight(value)) => bytes(out, &value),
                Some(Encoded::Nothing) | None => nil(out),
            }
            if seen.is_empty() && extra.is_empty() {
                return nil(out);
            }
            begin_details(out, 0, &Number::ZERO);
            observed(out, seen, names);
            vector(out, extra, names);
            array(out, 0);
            array(out, 0);
        }
        Effect::Increment { element, birth, total } => {
            head(out, INCREMENT, *element);
            nil(out);
            begin_details(out, *birth, total);
            (0..4).for_each(|_| array(out, 0));
        }
        Effect::Clear(clear) => {
            head(out, CLEAR, Element::STRING);
            nil(out);
            begin_details(out, clear.expired.unwrap_or(0), &Number::ZERO);
            array(out, 0);
            array(out, 0);
            vector(out, &clear.context, names);
            cells(out, clear, names);
        }
    }
}

fn head(out: &mut Vec<u8>, code: u8, element: Element<'_>) {
    uint(out, (code << 4 | element.kind as u8).into());
    bytes(out, element.name);
}

/// Observed totals, extra dots, context of a clear and its cells follow. In the place of `birth` a clear has the time
/// at which its key expired, or 0.
fn begin_details(out: &mut Vec<u8>, birth: Hlc, total: &Number) {
    array(out, 6);
    uint(out, birth);
    number(out, total);
}

fn observed(out: &mut Vec<u8>, observed: &Observed, names: &mut Names) {
    array(out, observed.len());
    for (replica, hlc, total) in observed {
        array(out, 3);
        uint(out, names.index(*replica).into());
        uint(out, *hlc);
        number(out, total);
    }
}

fn vector(out: &mut Vec<u8>, vector: &Vector, names: &mut Names) {
    array(out, vector.len());
    for (replica, hlc) in vector.iter() {
        array(out, 2);
        uint(out, names.index(replica).into());
        uint(out, hlc);
    }
}

fn cells(out: &mut Vec<u8>, clear: &Clear, names: &mut Names) {
    array(out, clear.cells.len());
    for cell in &clear.cells {
        array(out, 4);
        uint(out, (cell.kind as u8).into());
        bytes(out, &cell.name);
        observed(out, &cell.observed, names);
        vector(out, &cell.extra, names);
    }
}

// The short forms, which are nearly all there are, are written without a call.

#[inline]
fn array(out: &mut Vec<u8>, len: usize) {
    match len {
        0..16 => out.push(Marker::FixArray(len as u8).to_u8()),
        _ => written(encode::write_array_len(out, len as u32)),
    }
}

#[inline]
fn uint(out: &mut Vec<u8>, value: u64) {
    match value {
        0..128 => out.push(value as u8),
        _ => written(encode::write_uint(out, value)),
    }
}

#[inline]
fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    match u8::try_from(bytes.len()) {
        Ok(len) => out.extend_from_slice(&[Marker::Bin8.to_u8(), len]),
        Err(_) => written(encode::write_bin_len(out, bytes.len() as u32)),
    }
    out.extend_from_slice(bytes);
}

#[inline]
fn nil(out: &mut Vec<u8>) {
    out.push(Marker::Null.to_u8());
}

fn number(out: &mut Vec<u8>, number: &Number) {
    match number.as_i64() {
        Some(value) => written(encode::write_sint(out, value)),
        None => written(rmp_serde::encode::write(out, number)),
    }
}

/// Writing into a vector cannot fail.
fn written<T, E>(result: Result<T, E>) {
    debug_assert!(result.is_ok());
}

/// What the structures of [`super::batch`] make of the same operation.
#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_bytes::Bytes;

    use super::super::batch::{Details, WireEffect, WireOp};
    use super::super::record::{clear_cells, write_observed};
    use super::*;
    use crate::crdt::{ClearedCell, Dot, KeyRef, Kind, RegionTag, ReplicaId, Value};

    /// An operation that owns its bytes.
    #[derive(Clone, Debug)]
    struct Owned {
        db: u32,
        key: Vec<u8>,
        effects: Vec<OwnedEffect>,
    }

    #[derive(Clone, Debug)]
    enum OwnedEffect {
        Assign(Vec<u8>, Observed, Vector),
        Member(Vec<u8>, bool, Observed, Vector),
        Increment(Hlc, Number),
        Clear(Clear),
    }

    impl Owned {
        fn op(&self) -> Op<'_> {
            let effects = self.effects.iter().map(|effect| match effect.clone() {
                OwnedEffect::Assign(_, observed, extra) => {
                    let OwnedEffect::Assign(value, ..) = effect else {
                        unreachable!()
                    };
                    Effect::Replace {
                        element: Element::STRING,
                        value: Some(Value::Bytes(value)),
                        observed,
                        extra,
                    }
                }
                OwnedEffect::Member(_, added, observed, extra) => {
                    let OwnedEffect::Member(name, ..) = effect else {
                        unreachable!()
                    };
                    let value = added.then_some(Value::Member);
                    Effect::Replace {
                        element: Element::member(name),
                        value,
                        observed,
                        extra,
                    }
                }
                OwnedEffect::Increment(birth, total) => Effect::Increment {
                    element: Element::STRING,
                    birth,
                    total,
                },
                OwnedEffect::Clear(clear) => Effect::Clear(Box::new(clear)),
            });
            let effects = effects.collect();
            let dot = Dot::new(ReplicaId::new(RegionTag::of("eu"), 1), 1);
            Op {
                dot,
                key: KeyRef {
                    db: self.db,
                    name: &self.key,
                },
                effects,
            }
        }
    }

    fn reference_effect<'a>(effect: &Effect<'a>, names: &mut Names) -> WireEffect<'a> {
        let code = |code: u8, kind: Kind| code << 4 | kind as u8;
        match effect {
            Effect::Replace {
                element,
                value,
                observed,
                extra,
            } => {
                let details = (!observed.is_empty() || !extra.is_empty()).then(|| {
                    let observed = write_observed(observed, names);
                    Box::new(Details(
                        0,
                        Number::ZERO,
                        observed,
                        names.vector(extra),
                        Vec::new(),
                        Vec::new(),
                    ))
                });
                let (action, bytes) = match value {
                    None => (REMOVE, None),
                    Some(Value::Member) => (ASSIGN, None),
                    Some(Value::Bytes(bytes)) => (ASSIGN, Some(Bytes::new(bytes))),
                    Some(_) => unreachable!("only strings and members are made here"),
                };
                WireEffect(code(action, element.kind), Bytes::new(element.name), bytes, details)
            }
            Effect::Increment { element, birth, total } => {
                let details = Details(*birth, total.clone(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
                WireEffect(
                    code(INCREMENT, element.kind),
                    Bytes::new(element.name),
                    None,
                    Some(Box::new(details)),
                )
            }
            Effect::Clear(clear) => {
                let context = names.vector(&clear.context);
                let cells = clear_cells(clear, names);
                let expired = clear.expired.unwrap_or(0);
                let details = Details(expired, Number::ZERO, Vec::new(), Vec::new(), context, cells);
                WireEffect(
                    code(CLEAR, Kind::String),
                    Bytes::new(b""),
                    None,
                    Some(Box::new(details)),
                )
            }
        }
    }

    fn reference(op: &Op<'_>, delta: u64, names: &mut Names) -> Vec<u8> {
        let effects = op
            .effects
            .iter()
            .map(|effect| reference_effect(effect, names))
            .collect();
        let wire = WireOp(delta, op.key.db, Bytes::new(op.key.name), effects);
        rmp_serde::to_vec(&wire).unwrap()
    }

    /// Around the borders where MessagePack changes its form.
    fn uints() -> impl Strategy<Value = u64> {
        prop_oneof![
            0..300u64,
            65_500..65_600u64,
            (u64::from(u32::MAX) - 9)..(1 << 33),
            any::<u64>()
        ]
    }

    fn numbers() -> impl Strategy<Value = Number> {
        let reals = any::<f64>().prop_filter_map("a number", |f| Number::parse_float(format!("{f:e}").as_bytes()));
        let small = (-40_000..40_000i64).prop_map(Number::from);
        prop_oneof![
            small,
            any::<i64>().prop_map(Number::from),
            any::<i128>().prop_map(Number::Int),
            reals
        ]
    }

    fn replicas() -> impl Strategy<Value = ReplicaId> {
        (0..300u64).prop_map(|n| ReplicaId::new(RegionTag::of("us"), n))
    }

    fn vectors() -> impl Strategy<Value = Vector> {
        vec((replicas(), uints()), 0..20).prop_map(|entries| entries.into_iter().collect())
    }

    fn totals() -> impl Strategy<Value = Observed> {
        vec((replicas(), uints(), numbers()), 0..4).prop_map(|entries| entries.into_iter().collect())
    }

    fn texts() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            vec(any::<u8>(), 0..40),
            vec(any::<u8>(), 250..260),
            vec(any::<u8>(), 65_530..65_540)
        ]
    }

    fn clears() -> impl Strategy<Value = Clear> {
        let kinds = prop_oneof![Just(Kind::String), Just(Kind::Set)];
        let cell = (kinds, vec(any::<u8>(), 0..40), totals(), vectors());
        let cell = cell.prop_map(|(kind, name, observed, extra)| ClearedCell {
            kind,
            name: name.into(),
            observed,
            extra,
        });
        let expired = proptest::option::of(1..u64::MAX);
        (vectors(), vec(cell, 0..20), expired).prop_map(|(context, cells, expired)| Clear {
            context,
            cells,
            expired,
        })
    }

    fn effects() -> impl Strategy<Value = OwnedEffect> {
        prop_oneof![
            texts().prop_map(|value| OwnedEffect::Assign(value, Observed::new(), Vector::new())),
            (texts(), totals(), vectors()).prop_map(|(v, o, e)| OwnedEffect::Assign(v, o, e)),
            (texts(), any::<bool>(), totals(), vectors()).prop_map(|(n, a, o, e)| OwnedEffect::Member(n, a, o, e)),
            (uints(), numbers()).prop_map(|(birth, total)| OwnedEffect::Increment(birth, total)),
            clears().prop_map(OwnedEffect::Clear),
        ]
    }

    proptest! {
        #[test]
        fn the_bytes_are_those_of_rmp_serde(
            op in (any::<u32>(), texts(), vec(effects(), 0..20))
                .prop_map(|(db, key, effects)| Owned { db, key, effects }),
            delta in uints(),
        ) {
            let (mut ours, mut theirs) = (Names::default(), Names::default());
            let mut bytes = Vec::new();
            write(&op.op(), delta, false, &mut ours, &mut bytes);
            prop_assert_eq!(bytes, reference(&op.op(), delta, &mut theirs));
            prop_assert_eq!(ours.0, theirs.0);
        }
    }
}
