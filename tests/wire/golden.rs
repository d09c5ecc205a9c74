//! Golden vectors: `golden.txt` holds each sample's bytes and what they say. A change of the format shows there;
//! `GEO_BLESS=1` writes the file anew.

use redis_geo::replication::wire::{BatchReader, decode, encode};

use crate::samples::{batch, context, eu, messages, operations};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire/golden.txt");

struct Golden {
    name: String,
    hex: String,
    says: String,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits"))
        .collect()
}

fn of_samples() -> Vec<Golden> {
    let message = |(name, message): &(&str, _)| Golden {
        name: (*name).to_owned(),
        hex: hex(&encode(message)),
        says: format!("{message:?}"),
    };
    let mut golden: Vec<Golden> = messages().iter().map(message).collect();
    golden.extend(operations().into_iter().map(|(name, op)| Golden {
        name: format!("batch: {name}"),
        hex: hex(&batch(std::slice::from_ref(&op))),
        says: format!("{op:?} after {:?}", context()),
    }));
    golden
}

fn of_file() -> Vec<Golden> {
    let text = std::fs::read_to_string(FILE).expect("the golden file");
    let blocks = text
        .split("\n\n")
        .filter(|block| !block.trim().is_empty() && !block.starts_with('#'));
    let block = |block: &str| {
        let mut lines = block.trim().lines();
        let mut line = |mark: &str| {
            let line = lines.next().and_then(|line| line.strip_prefix(mark));
            line.unwrap_or_else(|| panic!("no '{mark}' in {block}")).to_owned()
        };
        Golden {
            name: line("= "),
            hex: line("hex  "),
            says: line("says "),
        }
    };
    blocks.map(block).collect()
}

fn bless() {
    let mut text =
        "# Each frame in hexadecimal and what it says. Written by tests/wire/golden.rs (GEO_BLESS=1).\n".to_owned();
    for Golden { name, hex, says } in of_samples() {
        text += &format!("\n= {name}\nhex  {hex}\nsays {says}\n");
    }
    std::fs::write(FILE, text).expect("the golden file is writable");
}

#[test]
fn what_is_written_is_what_the_golden_file_has() {
    if std::env::var_os("GEO_BLESS").is_some() {
        bless();
    }
    let (samples, file) = (of_samples(), of_file());
    let names = |golden: &[Golden]| golden.iter().map(|g| g.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&samples), names(&file));
    for (sample, golden) in samples.iter().zip(&file) {
        assert_eq!(sample.hex, golden.hex, "{}", golden.name);
        assert_eq!(sample.says, golden.says, "{}", golden.name);
    }
}

#[test]
fn golden_messages_are_read() {
    let file = of_file();
    for ((name, message), golden) in messages().into_iter().zip(&file) {
        assert_eq!(decode(&unhex(&golden.hex)), Ok(message), "{name}");
    }
}

#[test]
fn golden_batches_are_read() {
    let file = of_file();
    let batches: Vec<&Golden> = file
        .iter()
        .filter(|golden| golden.name.starts_with("batch: "))
        .collect();
    assert_eq!(batches.len(), operations().len());
    for ((name, op), golden) in operations().into_iter().zip(batches) {
        let frame = unhex(&golden.hex);
        let mut reader = BatchReader::open(&frame).expect("a header");
        let mut seen = context();
        seen.set(eu(), 0);
        assert_eq!(
            (reader.replica, reader.previous, &reader.context),
            (eu(), 10, &seen),
            "{name}"
        );
        let read = reader.peek(&frame).expect("an operation");
        assert_eq!(
            (read.dot, read.key, read.effects.as_slice()),
            (op.dot, op.key, op.effects.as_slice()),
            "{name}"
        );
        reader.advance(&frame, op.dot.hlc).expect("an operation");
        assert!(reader.is_done(&frame), "{name}");
    }
}

#[test]
fn operations_of_one_batch_are_read_one_by_one() {
    let operations: Vec<_> = operations().into_iter().map(|(_, op)| op).collect();
    let frame = batch(&operations);
    let mut reader = BatchReader::open(&frame).expect("a header");
    for op in operations {
        let read = reader.peek(&frame).expect("an operation");
        assert_eq!(
            (read.dot, read.key, read.effects.as_slice()),
            (op.dot, op.key, op.effects.as_slice())
        );
        reader.advance(&frame, op.dot.hlc).expect("an operation");
    }
    assert!(reader.is_done(&frame));
}
