//! Frames as they are sent: packed once, for however many links.

use std::sync::Arc;

use bytes::Bytes;

use super::settings::Compression;
use super::wire::{Codec, Violation};

/// Below this a frame is never compressed: it costs more than it saves.
const SMALLEST: usize = 512;

/// A frame ready to be sent; clones share the bytes.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    pub codec: Codec,
    /// Bytes before compression.
    pub raw: u32,
    pub body: Bytes,
}

/// `frame` is at most [`Settings::max_frame`](super::Settings::max_frame) long, which fits 32 bits.
pub(super) fn pack(frame: Arc<[u8]>, compression: Compression) -> Packed {
    let raw = frame.len() as u32;
    if let Some((codec, body)) = compressed(&frame, compression) {
        // Less than a sixteenth saved is not worth the other side's time.
        if body.len() < frame.len() - frame.len() / 16 {
            return Packed {
                codec,
                raw,
                body: body.into(),
            };
        }
    }
    Packed {
        codec: Codec::Plain,
        raw,
        body: Bytes::from_owner(frame),
    }
}

fn compressed(frame: &[u8], compression: Compression) -> Option<(Codec, Vec<u8>)> {
    if frame.len() < SMALLEST {
        return None;
    }
    match compression {
        Compression::Off => None,
        Compression::Lz4 => Some((Codec::Lz4, lz4_flex::block::compress(frame))),
        Compression::Zstd => zstd::bulk::compress(frame, 1).ok().map(|body| (Codec::Zstd, body)),
    }
}

/// The frame again. `raw` was checked against the limit with the header; no more than it is allocated.
pub(super) fn unpack(codec: Codec, body: Vec<u8>, raw: usize) -> Result<Vec<u8>, Violation> {
    let frame = match codec {
        Codec::Plain => Ok(body),
        Codec::Lz4 => {
            let mut frame = vec![0; raw];
            let length = lz4_flex::block::decompress_into(&body, &mut frame).map_err(|e| Violation(e.to_string()))?;
            frame.truncate(length);
            Ok(frame)
        }
        Codec::Zstd => zstd::bulk::decompress(&body, raw).map_err(|e| Violation(e.to_string())),
    }?;
    if frame.len() != raw {
        return Err(Violation(format!("a frame of {raw} bytes unpacked to {}", frame.len())));
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Compression; 3] = [Compression::Off, Compression::Lz4, Compression::Zstd];

    #[test]
    fn compressed_only_where_it_helps() {
        let text: Arc<[u8]> = b"active-active ".repeat(1000).into();
        let mut state = 1u64;
        let noise: Arc<[u8]> = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 56) as u8
        })
        .take(10_000)
        .collect();
        for compression in [Compression::Lz4, Compression::Zstd] {
            assert!(pack(text.clone(), compression).body.len() < text.len() / 20);
            assert_eq!(pack(noise.clone(), compression).codec, Codec::Plain);
            assert_eq!(pack(text[..SMALLEST - 1].into(), compression).codec, Codec::Plain);
        }
        assert_eq!(pack(text, Compression::Off).codec, Codec::Plain);
    }

    proptest! {
        #[test]
        fn frames_come_back(words in prop::collection::vec(0u8..8, 0..400), times in 0usize..40) {
            let frame: Arc<[u8]> = words.repeat(times).into();
            for compression in ALL {
                let packed = pack(frame.clone(), compression);
                prop_assert!(packed.body.len() <= frame.len());
                let back = unpack(packed.codec, packed.body.to_vec(), packed.raw as usize).unwrap();
                prop_assert_eq!(&back[..], &frame[..]);
            }
        }

        #[test]
        fn arbitrary_bodies_never_panic_and_stay_within_raw(body: Vec<u8>, raw in 0usize..100_000) {
            for codec in [Codec::Plain, Codec::Lz4, Codec::Zstd] {
                if let Ok(frame) = unpack(codec, body.clone(), raw) {
                    prop_assert_eq!(frame.len(), raw);
                }
            }
        }

        #[test]
        fn damaged_bodies_never_panic(at in 0usize..1000, with: u8, raw in 0usize..100_000) {
            let frame: Arc<[u8]> = b"abcdefgh-".repeat(500).into();
            for compression in [Compression::Lz4, Compression::Zstd] {
                let packed = pack(frame.clone(), compression);
                let mut body = packed.body.to_vec();
                let at = at % body.len();
                body[at] = with;
                for raw in [raw, frame.len()] {
                    if let Ok(frame) = unpack(packed.codec, body.clone(), raw) {
                        prop_assert!(frame.len() == raw && frame.capacity() <= raw.max(body.len()));
                    }
                }
            }
        }
    }
}
