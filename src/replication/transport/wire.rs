//! The bytes on the streams.
//!
//! Each side of a link opens unidirectional streams only: first the *control* stream, then its *lanes*.
//! Every stream begins with a prelude of four bytes:
//!
//! ```text
//! 0        1        2        3
//! version  kind     lanes    0          kind 0: control, 1: lane; lanes: how many this side opens
//! ```
//!
//! A *frame* (one message of the layer above, perhaps compressed) is cut into *chunks* of at most 64 KiB.
//! Chunks are numbered without gap from 0 per direction, and each goes to whichever lane has room. The
//! numbers grow within a lane, so the receiver merges the lanes by number: what waits for its turn stays
//! in QUIC's stream windows, and putting in order needs no memory of its own. A chunk on a lane:
//!
//! ```text
//! 0..8      8      9..12    12..16   16..20   20..
//! sequence  codec  length   total    raw      `length` bytes of the frame       (big-endian)
//! ```
//!
//! `total`: bytes of the frame as sent; `raw`: before compression. Both, and the codec, are repeated in
//! each chunk of a frame. All chunks of a frame are full but the last.
//!
//! Messages on the control stream: kind (1 byte), length (2 bytes), body.
//!
//! ```text
//! REPORT  (1)  consumed u64, waiting u8   bytes taken off the lanes; 1: our application is behind
//! GOODBYE (2)  reason, UTF-8              the sender closes once its lanes are read, or after a second
//! ```

/// The first byte of every stream.
pub(super) const VERSION: u8 = 1;
pub(super) const MAX_LANES: u8 = 16;
pub(super) const CHUNK: usize = 64 << 10;
pub(super) const HEADER: usize = 20;
pub(super) const PRELUDE: usize = 4;
/// Bytes of a goodbye's reason.
pub(super) const MAX_REASON: usize = 1024;

/// What a peer must not send. The link is closed with this text as the reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Violation(pub String);

fn violation<T>(text: impl Into<String>) -> Result<T, Violation> {
    Err(Violation(text.into()))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Prelude {
    Control { lanes: u8 },
    Lane,
}

impl Prelude {
    pub fn encode(self) -> [u8; PRELUDE] {
        match self {
            Prelude::Control { lanes } => [VERSION, 0, lanes, 0],
            Prelude::Lane => [VERSION, 1, 0, 0],
        }
    }

    pub fn decode(bytes: [u8; PRELUDE]) -> Result<Prelude, Violation> {
        match bytes {
            [VERSION, 0, lanes @ 1..=MAX_LANES, 0] => Ok(Prelude::Control { lanes }),
            [VERSION, 1, 0, 0] => Ok(Prelude::Lane),
            [VERSION, ..] => violation("a stream begins with an unknown prelude"),
            [version, ..] => violation(format!("transport version {version}, ours is {VERSION}")),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Codec {
    Plain = 0,
    Lz4 = 1,
    Zstd = 2,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub sequence: u64,
    pub codec: Codec,
    /// Bytes of the frame in this chunk.
    pub length: u32,
    /// Bytes of the whole frame as sent.
    pub total: u32,
    /// Bytes of the whole frame before compression.
    pub raw: u32,
}

impl Header {
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.length.to_be_bytes());
        bytes[8] = self.codec as u8;
        bytes[12..16].copy_from_slice(&self.total.to_be_bytes());
        bytes[16..].copy_from_slice(&self.raw.to_be_bytes());
        bytes
    }

    /// Checks every length against `max_frame`: nothing was allocated for it yet.
    pub fn decode(bytes: &[u8; HEADER], max_frame: usize) -> Result<Header, Violation> {
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let codec = match bytes[8] {
            0 => Codec::Plain,
            1 => Codec::Lz4,
            2 => Codec::Zstd,
            other => return violation(format!("unknown codec {other}")),
        };
        let sequence = u64::from_be_bytes(bytes[..8].try_into().unwrap_or_default());
        let header = Header {
            sequence,
            codec,
            length: word(8) & 0xff_ffff,
            total: word(12),
            raw: word(16),
        };
        header.check(max_frame)?;
        Ok(header)
    }

    fn check(&self, max_frame: usize) -> Result<(), Violation> {
        let Header { length, total, raw, .. } = *self;
        if raw as usize > max_frame {
            return violation(format!("a frame of {raw} bytes, our limit is {max_frame}"));
        }
        let sizes = match self.codec {
            Codec::Plain => total == raw,
            // A byte of an lz4 block stands for 255 at most.
            Codec::Lz4 => total > 0 && total < raw && u64::from(raw) <= u64::from(total) * 255,
            Codec::Zstd => total > 0 && total < raw,
        };
        if !sizes {
            return violation(format!("a frame of {raw} bytes sent as {total}"));
        }
        if length as usize > CHUNK || length > total || (length == 0 && total > 0) {
            return violation(format!("a chunk of {length} bytes in a frame of {total}"));
        }
        Ok(())
    }
}

/// Bytes of the chunk that begins at `offset` in a frame of `total` bytes.
pub(super) fn chunk_length(total: usize, offset: usize) -> usize {
    (total - offset).min(CHUNK)
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Control {
    Report { consumed: u64, waiting: bool },
    Goodbye(String),
}

impl Control {
    pub fn encode(&self) -> Vec<u8> {
        let (kind, body) = match self {
            Control::Report { consumed, waiting } => {
                let mut body = consumed.to_be_bytes().to_vec();
                body.push(u8::from(*waiting));
                (1, body)
            }
            Control::Goodbye(reason) => (2, shorten(reason).as_bytes().to_vec()),
        };
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&(body.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    /// The body's length, from the first three bytes.
    pub fn body_length(head: [u8; 3]) -> Result<usize, Violation> {
        let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
        match head[0] {
            1 if length == 9 => Ok(length),
            2 if length <= MAX_REASON => Ok(length),
            kind => violation(format!("control message {kind} of {length} bytes")),
        }
    }

    /// `body` has the length [`Control::body_length`] gave.
    pub fn decode(kind: u8, body: &[u8]) -> Result<Control, Violation> {
        match (kind, body) {
            (1, [consumed @ .., waiting]) if consumed.len() == 8 => Ok(Control::Report {
                consumed: consumed.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
                waiting: *waiting != 0,
            }),
            (2, reason) => Ok(Control::Goodbye(printable(&String::from_utf8_lossy(reason)))),
            _ => violation(format!("control message {kind}")),
        }
    }
}

/// At most [`MAX_REASON`] bytes, cut between characters.
pub(super) fn shorten(text: &str) -> &str {
    let mut end = text.len().min(MAX_REASON);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A peer's words end up in our log: one line, no control characters.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 1 << 20;

    #[test]
    fn golden_bytes() {
        let header = Header {
            sequence: 0x0102,
            codec: Codec::Zstd,
            length: 0x10000,
            total: 0x20000,
            raw: 0x30000,
        };
        let bytes = [0, 0, 0, 0, 0, 0, 1, 2, 2, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0];
        assert_eq!(header.encode(), bytes);
        assert_eq!(Header::decode(&bytes, LIMIT), Ok(header));
        assert_eq!(Prelude::Control { lanes: 8 }.encode(), [1, 0, 8, 0]);
        assert_eq!(Prelude::Lane.encode(), [1, 1, 0, 0]);
        assert_eq!(Control::Goodbye("bye".into()).encode(), b"\x02\x00\x03bye");
        let report = Control::Report {
            consumed: 258,
            waiting: true,
        };
        assert_eq!(report.encode(), [1, 0, 9, 0, 0, 0, 0, 0, 0, 1, 2, 1]);
    }

    #[test]
    fn lengths_are_checked_against_each_other_and_the_limit() {
        let good = Header {
            sequence: 0,
            codec: Codec::Plain,
            length: 10,
            total: 10,
            raw: 10,
        };
        assert_eq!(good.check(LIMIT), Ok(()));
        for wrong in [
            Header {
                raw: LIMIT as u32 + 1,
                total: LIMIT as u32 + 1,
                ..good
            },
            Header { raw: 11, ..good },
            Header { length: 11, ..good },
            Header { length: 0, ..good },
            Header {
                codec: Codec::Lz4,
                ..good
            },
            Header {
                codec: Codec::Lz4,
                raw: 2551,
                ..good
            },
            Header {
                codec: Codec::Zstd,
                total: 0,
                length: 0,
                ..good
            },
            Header {
                total: 1 << 19,
                raw: 1 << 19,
                length: CHUNK as u32 + 1,
                ..good
            },
        ] {
            assert!(wrong.check(LIMIT).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_headers_keep_every_limit(bytes: [u8; HEADER], small: [u8; 4]) {
            // Arbitrary words are nearly always too great: half of the cases have small ones.
            for bytes in [bytes, {
                let mut bytes = bytes;
                bytes[8] %= 3;
                bytes[9..12].copy_from_slice(&[0, 0, small[0]]);
                bytes[12..16].copy_from_slice(&[0, 0, 0, small[1]]);
                bytes[16..20].copy_from_slice(&[0, 0, small[2] & 1, small[3]]);
                bytes
            }] {
                if let Ok(header) = Header::decode(&bytes, LIMIT) {
                    prop_assert!(header.raw as usize <= LIMIT && header.total <= header.raw);
                    prop_assert!(header.length as usize <= CHUNK && header.length <= header.total);
                    prop_assert_eq!(header.encode(), bytes);
                }
            }
        }

        #[test]
        fn arbitrary_control_messages_never_panic(head: [u8; 3], body: Vec<u8>) {
            if let Ok(length) = Control::body_length(head) {
                prop_assert!(length <= MAX_REASON);
                let body = &body[..body.len().min(length)];
                if let Ok(Control::Goodbye(reason)) = Control::decode(head[0], body) {
                    prop_assert!(!reason.contains(char::is_control));
                }
            }
        }

        #[test]
        fn control_messages_come_back(reason in "\\PC*", consumed: u64, waiting: bool) {
            for message in [Control::Goodbye(reason), Control::Report { consumed, waiting }] {
                let bytes = message.encode();
                let length = Control::body_length([bytes[0], bytes[1], bytes[2]]).unwrap();
                let expected = match message {
                    Control::Goodbye(reason) => Control::Goodbye(shorten(&reason).to_string()),
                    other => other,
                };
                prop_assert_eq!(Control::decode(bytes[0], &bytes[3..3 + length]).unwrap(), expected);
            }
        }

        #[test]
        fn arbitrary_preludes_never_panic(bytes: [u8; PRELUDE]) {
            if let Ok(prelude) = Prelude::decode(bytes) {
                prop_assert_eq!(prelude.encode(), bytes);
            }
        }
    }
}
