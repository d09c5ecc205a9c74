//! HyperLogLogs as few raised registers: what the specification makes of the server's strings, told without the kernel.

use std::collections::BTreeMap;

use redis_geo::crdt::OwnedValue;

const HEADER: &[u8] = b"HYLL\0\0\0\0\0\0\0\0\0\0\0\x80";
const ENCODING: usize = 4;
const REGISTERS: u16 = 1 << 14;
const DENSE: usize = REGISTERS as usize * 6 / 8;

/// Registers that are not zero.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Sketch(BTreeMap<u16, u8>);

impl Sketch {
    /// A sketch that has counted something.
    pub fn of(register: u16, value: u8) -> Sketch {
        Sketch([(register % REGISTERS, value)].into())
    }

    /// `None` when it is another string.
    pub fn read(value: &OwnedValue) -> Option<Sketch> {
        let bytes = value.bytes()?;
        let registers = bytes.get(HEADER.len()..).filter(|_| bytes.starts_with(b"HYLL"))?;
        Some(match bytes[ENCODING] {
            0 => dense(registers),
            _ => sparse(registers),
        })
    }

    /// The greater of each register.
    pub fn join(&mut self, other: &Sketch) {
        for (at, value) in &other.0 {
            let mine = self.0.entry(*at).or_default();
            *mine = (*mine).max(*value);
        }
    }

    /// As a client's command writes it.
    pub fn sparse(&self) -> OwnedValue {
        let mut bytes = HEADER.to_vec();
        bytes[ENCODING] = 1;
        let mut next = 0;
        for (at, value) in &self.0 {
            push_zeros(&mut bytes, at - next);
            bytes.push(0x80 | (value - 1) << 2);
            next = at + 1;
        }
        push_zeros(&mut bytes, REGISTERS - next);
        OwnedValue::Bytes(bytes.into())
    }

    /// As regions show a union.
    pub fn dense(&self) -> OwnedValue {
        let mut bytes = HEADER.to_vec();
        bytes.resize(HEADER.len() + DENSE, 0);
        for (at, value) in &self.0 {
            let bit = usize::from(*at) * 6;
            let spread = u16::from(*value) << (bit % 8);
            for (byte, part) in bytes[HEADER.len() + bit / 8..].iter_mut().zip(spread.to_le_bytes()) {
                *byte |= part;
            }
        }
        OwnedValue::Bytes(bytes.into())
    }
}

fn push_zeros(bytes: &mut Vec<u8>, count: u16) {
    if let Some(more) = count.checked_sub(1) {
        bytes.extend([0x40 | (more >> 8) as u8, more as u8]);
    }
}

fn dense(registers: &[u8]) -> Sketch {
    let mut found = BTreeMap::new();
    for (at, three) in registers
        .chunks_exact(3)
        .enumerate()
        .filter(|(_, three)| **three != [0; 3])
    {
        let bits = u32::from_le_bytes([three[0], three[1], three[2], 0]);
        let four = (0..4).map(|n| (4 * at as u16 + n, (bits >> (6 * n)) as u8 & 63));
        found.extend(four.filter(|(_, value)| *value > 0));
    }
    Sketch(found)
}

fn sparse(runs: &[u8]) -> Sketch {
    let (mut at, mut found, mut runs) = (0, BTreeMap::new(), runs.iter());
    while let Some(&code) = runs.next() {
        match code >> 6 {
            0 => at += u16::from(code) + 1,
            1 => at += (u16::from(code & 63) << 8 | u16::from(*runs.next().expect("two bytes"))) + 1,
            _ => {
                let length = u16::from(code & 3) + 1;
                found.extend((at..at + length).map(|at| (at, (code >> 2 & 31) + 1)));
                at += length;
            }
        }
    }
    Sketch(found)
}
