//! Frames that do not follow the format: an error, never a panic, and never memory for a length that only claims
//! to be there.

use proptest::prelude::*;
use redis_geo::replication::wire::{BatchReader, decode, tag};

use crate::memory::peak;
use crate::samples::frames;

/// serde reserves at most 1 MiB for one claimed length; lengths nest this deep.
const CLAIMED: usize = 8 << 20;
/// The most a byte of a frame may become in memory: an element of an array is a few bytes there, a struct here.
const GROWTH: usize = 128;

/// Everything that may be done with a frame. Gives the most memory it took.
fn read(frame: &[u8]) -> usize {
    peak(|| {
        drop(decode(frame));
        if let Ok(mut reader) = BatchReader::open(frame) {
            while !reader.is_done(frame) {
                let Ok(op) = reader.peek(frame) else { break };
                let hlc = op.dot.hlc;
                drop(op);
                if reader.advance(frame, hlc).is_err() {
                    break;
                }
            }
        }
    })
    .1
}

fn read_bounded(frame: &[u8]) -> Result<(), String> {
    let (taken, allowed) = (read(frame), GROWTH * frame.len() + CLAIMED);
    if taken > allowed {
        return Err(format!(
            "{taken} bytes for a frame of {}: {:02x?}",
            frame.len(),
            &frame[..frame.len().min(80)]
        ));
    }
    Ok(())
}

/// MessagePack markers that claim 2^32 - 1 elements or bytes: array, map, binary, string, extension.
const CLAIMS: [&[u8]; 5] = [
    &[0xdd, 0xff, 0xff, 0xff, 0xff],
    &[0xdf, 0xff, 0xff, 0xff, 0xff],
    &[0xc6, 0xff, 0xff, 0xff, 0xff],
    &[0xdb, 0xff, 0xff, 0xff, 0xff],
    &[0xc9, 0xff, 0xff, 0xff, 0xff],
];

/// A batch's sections carry their length: keeps them true to what they hold.
fn sections(frame: &[u8]) -> Vec<(usize, usize)> {
    let mut sections = Vec::new();
    let mut at = 1;
    while at + 4 <= frame.len() {
        let length = u32::from_le_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]) as usize;
        sections.push((at + 4, at + 4 + length));
        at += 4 + length;
    }
    sections
}

/// The frame with the byte at `at` replaced by a claim, and what follows.
fn claiming(frame: &[u8], at: usize, claim: &[u8]) -> Option<Vec<u8>> {
    let mut claims = frame[..at].to_vec();
    claims.extend_from_slice(claim);
    claims.extend_from_slice(&frame[at + 1..]);
    if frame[0] == tag::BATCH {
        let (start, end) = sections(frame)
            .into_iter()
            .find(|(start, end)| (*start..*end).contains(&at))?;
        let length = (end - start + claim.len() - 1) as u32;
        claims[start - 4..start].copy_from_slice(&length.to_le_bytes());
    }
    Some(claims)
}

#[test]
fn claimed_lengths_take_no_memory() {
    for frame in frames() {
        for at in 1..frame.len() {
            for claims in CLAIMS.iter().filter_map(|claim| claiming(&frame, at, claim)) {
                read_bounded(&claims).unwrap();
            }
        }
    }
}

#[test]
fn truncated_frames_are_errors_or_shorter_values() {
    for frame in frames() {
        for length in 0..frame.len() {
            read_bounded(&frame[..length]).unwrap();
        }
    }
}

#[test]
fn a_section_longer_than_its_frame_is_an_error() {
    let batch = frames().pop().expect("a batch");
    for (start, _) in sections(&batch) {
        let mut long = batch.clone();
        long[start - 4..start].copy_from_slice(&u32::MAX.to_le_bytes());
        let opened = BatchReader::open(&long);
        let failed = opened.is_ok_and(|mut reader| {
            loop {
                match reader.peek(&long).map(|op| op.dot.hlc) {
                    Ok(hlc) => reader.advance(&long, hlc).expect("it was read"),
                    Err(_) => break true,
                }
            }
        });
        assert!(failed || start == 5, "section at {start}");
    }
}

/// As many replica ids as a frame can name: reading them must not take quadratic time.
#[test]
fn many_replicas_are_read_at_once() {
    let entries = 1_000_000_u32;
    let mut frame = vec![tag::REQUEST, 0x94];
    frame.extend_from_slice(b"\xa7Missing\xdd");
    frame.extend_from_slice(&entries.to_be_bytes());
    for entry in (0..entries).rev() {
        frame.extend_from_slice(&[0x92, 0xce]);
        frame.extend_from_slice(&(entry + 1).to_be_bytes());
        frame.push(1);
    }
    frame.extend_from_slice(&[0x90, 0xc0]);
    assert!(decode(&frame).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_survived(tag in 0_u8..12, rest in prop::collection::vec(any::<u8>(), 0..200)) {
        let frame: Vec<u8> = std::iter::once(tag).chain(rest).collect();
        prop_assert_eq!(read_bounded(&frame), Ok(()));
    }

    #[test]
    fn mutated_frames_are_survived(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..8),
    ) {
        let frames = frames();
        let mut frame = which.get(&frames).clone();
        for (at, byte, how) in changes {
            let at = at.index(frame.len());
            match how {
                0 => frame[at] = byte,
                1 => frame.insert(at, byte),
                _ if frame.len() > 1 => drop(frame.remove(at)),
                _ => {}
            }
        }
        prop_assert_eq!(read_bounded(&frame), Ok(()));
    }
}
