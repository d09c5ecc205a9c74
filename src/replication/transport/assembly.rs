//! Chunks, in order, become frames again.

use super::wire::{Codec, Header, Violation, chunk_length};

/// The frame that is arriving. Its memory grows with the bytes that came, not with what was announced.
#[derive(Default)]
pub(super) struct Assembly {
    /// The header of the frame's first chunk; `None` between frames.
    first: Option<Header>,
    data: Vec<u8>,
    /// Bytes of the chunk begun that are still to come.
    missing: usize,
}

/// All bytes of a frame, as sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Whole {
    pub codec: Codec,
    pub raw: usize,
    pub body: Vec<u8>,
}

impl Assembly {
    /// Begins the chunk with this header. The caller has checked its sequence.
    pub fn begin(&mut self, header: Header) -> Result<(), Violation> {
        let first = *self.first.get_or_insert(header);
        if (header.codec, header.total, header.raw) != (first.codec, first.total, first.raw) {
            return Err(Violation("chunks of one frame contradict each other".into()));
        }
        if header.length as usize != chunk_length(first.total as usize, self.data.len()) {
            return Err(Violation(format!(
                "a chunk of {} bytes in the middle of a frame",
                header.length
            )));
        }
        self.missing = header.length as usize;
        Ok(())
    }

    pub fn missing(&self) -> usize {
        self.missing
    }

    /// `bytes`: at most [`Assembly::missing`].
    pub fn extend(&mut self, bytes: &[u8]) {
        let total = self.first.map_or(0, |first| first.total as usize);
        let needed = self.data.len() + bytes.len();
        if needed > self.data.capacity() {
            let room = (2 * self.data.capacity()).clamp(needed, total.max(needed));
            self.data.reserve_exact(room - self.data.len());
        }
        self.data.extend_from_slice(bytes);
        self.missing -= bytes.len();
    }

    /// The frame, when its last chunk is complete.
    pub fn take(&mut self) -> Option<Whole> {
        let first = self
            .first
            .filter(|first| self.missing == 0 && self.data.len() == first.total as usize)?;
        self.first = None;
        Some(Whole {
            codec: first.codec,
            raw: first.raw as usize,
            body: std::mem::take(&mut self.data),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::{CHUNK, HEADER};
    use super::*;
    use proptest::prelude::*;

    fn header(length: usize, total: usize) -> Header {
        Header {
            sequence: 0,
            codec: Codec::Plain,
            length: length as u32,
            total: total as u32,
            raw: total as u32,
        }
    }

    #[test]
    fn memory_grows_with_what_came() {
        let mut assembly = Assembly::default();
        let total = 1 << 30;
        for chunk in 1..=10 {
            assembly.begin(header(CHUNK, total)).unwrap();
            assembly.extend(&vec![7; CHUNK]);
            assert!(assembly.data.capacity() <= 2 * chunk * CHUNK);
        }
        assert_eq!(assembly.take(), None);
    }

    #[test]
    fn contradictions_are_refused() {
        let mut assembly = Assembly::default();
        assembly.begin(header(CHUNK, 3 * CHUNK)).unwrap();
        assembly.extend(&vec![0; CHUNK]);
        assert!(assembly.begin(header(CHUNK, 2 * CHUNK)).is_err());
        assert!(assembly.begin(header(1, 3 * CHUNK)).is_err());
        assert!(Assembly::default().begin(header(1, 2)).is_err());
    }

    #[test]
    fn an_empty_frame_is_a_frame() {
        let mut assembly = Assembly::default();
        assembly.begin(header(0, 0)).unwrap();
        assert_eq!(assembly.take().unwrap().body, Vec::<u8>::new());
        assert_eq!(assembly.take(), None);
    }

    proptest! {
        #[test]
        fn frames_come_back(sizes in prop::collection::vec(0usize..3 * CHUNK, 1..6), step in 1usize..CHUNK) {
            let mut assembly = Assembly::default();
            for (i, size) in sizes.into_iter().enumerate() {
                let frame = vec![i as u8; size];
                let mut offset = 0;
                let whole = loop {
                    let length = chunk_length(size, offset);
                    assembly.begin(header(length, size)).unwrap();
                    for piece in frame[offset..offset + length].chunks(step) {
                        prop_assert!(assembly.missing() >= piece.len());
                        assembly.extend(piece);
                    }
                    offset += length;
                    if let Some(whole) = assembly.take() {
                        break whole;
                    }
                };
                prop_assert_eq!(whole.body, frame);
            }
        }

        #[test]
        fn arbitrary_chunks_never_panic_nor_hold_more_than_was_sent(
            headers in prop::collection::vec((0u8..3, 0u32..200, 0u32..200, 0u32..300), 0..40),
        ) {
            let mut assembly = Assembly::default();
            let mut sent = 0;
            for (codec, length, total, raw) in headers {
                let mut bytes = [0; HEADER];
                bytes[8..12].copy_from_slice(&length.to_be_bytes());
                bytes[8] = codec;
                bytes[12..16].copy_from_slice(&total.to_be_bytes());
                bytes[16..20].copy_from_slice(&raw.to_be_bytes());
                let Ok(header) = Header::decode(&bytes, 250) else { continue };
                if assembly.begin(header).is_err() {
                    break;
                }
                let missing = assembly.missing();
                assembly.extend(&vec![1; missing]);
                sent += missing;
                prop_assert!(assembly.data.len() <= sent && assembly.data.len() <= 250);
                if let Some(whole) = assembly.take() {
                    prop_assert!(whole.raw <= 250);
                    let _ = super::super::compression::unpack(whole.codec, whole.body, whole.raw);
                }
            }
        }
    }
}
