//! HyperLogLogs as Redis stores them in strings, and their union.
//!
//! ```text
//! "HYLL" encoding(1: 0 dense, 1 sparse) unused(3) cached cardinality(8, little endian; highest bit: not valid)
//! dense:  16384 registers of 6 bits, lowest bits first
//! sparse: 00LLLLLL                    L+1 zero registers
//!         01LLLLLL LLLLLLLL           L+1 zero registers
//!         1VVVVVLL                    L+1 registers of value V+1
//! ```
//!
//! See Heule et al., "HyperLogLog in Practice", 2013, and the server's `hyperloglog.c`.

const MAGIC: &[u8; 4] = b"HYLL";
const HEADER: usize = 16;
const REGISTERS: usize = 1 << 14;
const BITS: usize = 6;
const DENSE: usize = HEADER + REGISTERS * BITS / 8;
const NOT_VALID: u8 = 0x80;

/// Whether a string begins as a HyperLogLog does.
pub fn is_sketch(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC) && bytes.len() >= HEADER
}

/// The HyperLogLog that has counted what any of these has, in dense encoding: the same bytes whatever their order.
/// `None` when one is not valid.
pub fn union(sketches: &[&[u8]]) -> Option<Vec<u8>> {
    let mut registers = vec![0u8; REGISTERS];
    for sketch in sketches {
        raise(&mut registers, sketch)?;
    }
    Some(dense(&registers))
}

fn raise(registers: &mut [u8], sketch: &[u8]) -> Option<()> {
    if !is_sketch(sketch) {
        return None;
    }
    match sketch[MAGIC.len()] {
        0 if sketch.len() == DENSE => {
            raise_dense(registers, &sketch[HEADER..]);
            Some(())
        }
        1 => raise_sparse(registers, &sketch[HEADER..]),
        _ => None,
    }
}

fn raise_dense(registers: &mut [u8], packed: &[u8]) {
    // Four registers in three bytes.
    for (four, three) in registers.chunks_exact_mut(4).zip(packed.chunks_exact(3)) {
        let bits = u32::from_le_bytes([three[0], three[1], three[2], 0]);
        for (at, register) in four.iter_mut().enumerate() {
            *register = (*register).max((bits >> (BITS * at)) as u8 & 63);
        }
    }
}

fn raise_sparse(registers: &mut [u8], runs: &[u8]) -> Option<()> {
    let (mut at, mut runs) = (0, runs.iter());
    while let Some(&code) = runs.next() {
        let (length, value) = match code >> 6 {
            0 => (usize::from(code) + 1, 0),
            1 => (usize::from(code & 63) << 8 | usize::from(*runs.next()?), 0),
            _ => (usize::from(code & 3) + 1, (code >> 2 & 31) + 1),
        };
        let length = if code >> 6 == 1 { length + 1 } else { length };
        for register in registers.get_mut(at..at + length)? {
            *register = (*register).max(value);
        }
        at += length;
    }
    (at == REGISTERS).then_some(())
}

fn dense(registers: &[u8]) -> Vec<u8> {
    let mut sketch = Vec::with_capacity(DENSE);
    sketch.extend_from_slice(MAGIC);
    sketch.resize(HEADER, 0);
    sketch[HEADER - 1] = NOT_VALID;
    for four in registers.chunks_exact(4) {
        let packed = four
            .iter()
            .rev()
            .fold(0u32, |bits, register| bits << BITS | u32::from(*register));
        sketch.extend_from_slice(&packed.to_le_bytes()[..3]);
    }
    sketch
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All in runs of one register, as far as sparse values reach.
    fn sparse(registers: &[u8]) -> Vec<u8> {
        let mut sketch = dense(&[]);
        sketch[4] = 1;
        let runs = registers.iter().map(|value| match value {
            0 => 0,
            value => 0x80 | (value - 1) << 2,
        });
        sketch.extend(runs);
        sketch
    }

    fn some_registers(highest: u8) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec((0..REGISTERS, 1..=highest), 0..50).prop_map(|raised| {
            let mut registers = vec![0; REGISTERS];
            raised.into_iter().for_each(|(at, value)| registers[at] = value);
            registers
        })
    }

    proptest! {
        #[test]
        fn the_union_takes_the_greatest_of_each_register(a in some_registers(63), b in some_registers(32)) {
            let greatest: Vec<u8> = a.iter().zip(&b).map(|(a, b)| *a.max(b)).collect();
            let (a, b) = (dense(&a), sparse(&b));
            let united = union(&[&a, &b]);
            prop_assert_eq!(united.as_deref(), Some(&dense(&greatest)[..]));
            prop_assert_eq!(united.clone(), union(&[&b, &a]));
            prop_assert_eq!(united.clone(), union(&[&b, &united.unwrap_or_default()]));
        }
    }

    #[test]
    fn runs_of_zeros_are_read() {
        let mut sketch = dense(&[]);
        sketch[4] = 1;
        // 16319 zeros in the long form, 64 in the short one, and one register.
        sketch.extend([0x40 | 0x3f, 0xbe, 0x3f, 0x80]);
        let mut expected = vec![0; REGISTERS];
        expected[REGISTERS - 1] = 1;
        assert_eq!(union(&[&sketch]), Some(dense(&expected)));
    }

    #[test]
    fn what_is_no_sketch_has_no_union() {
        let whole = dense(&[0; REGISTERS]);
        let (mut cut, mut unknown, mut long) = (whole.clone(), whole.clone(), sparse(&[0; REGISTERS]));
        cut.pop();
        unknown[4] = 2;
        long.push(0);
        for bad in [&b"HYLL"[..], b"text", &cut, &unknown, &long, &sparse(&[1, 2, 3])] {
            assert_eq!(union(&[&whole, bad]), None);
        }
    }
}
