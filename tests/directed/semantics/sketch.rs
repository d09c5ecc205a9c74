//! HyperLogLogs, as far as the tables need them.

/// What sketches have counted: each raises a register of its own.
const COUNTED: [&str; 3] = ["s", "a", "b"];
const SKETCH: &[u8] = b"HYLL\0\0\0\0\0\0\0\0\0\0\0\x80";
const REGISTERS: usize = 16384 * 6 / 8;

/// A dense HyperLogLog that has counted `s`.
pub fn of_s() -> Vec<u8> {
    let mut sketch = SKETCH.to_vec();
    sketch.resize(SKETCH.len() + REGISTERS, 0);
    raise(&mut sketch, 0);
    sketch
}

/// Registers have six bits, lowest bits first.
pub fn raise(sketch: &mut [u8], what: usize) {
    sketch[SKETCH.len() + what * 6 / 8] |= 1 << (what * 6 % 8);
}

/// What a sketch has counted; `None` for any other string.
pub fn counted(bytes: &[u8]) -> Option<String> {
    let registers = bytes.strip_prefix(SKETCH).filter(|rest| rest.len() == REGISTERS)?;
    let raised = |what: &usize| registers[what * 6 / 8] & 1 << (what * 6 % 8) != 0;
    let names: Vec<&str> = (0..COUNTED.len()).filter(raised).map(|what| COUNTED[what]).collect();
    Some(format!("counted {}", names.join(" ")))
}
