//! What engines say to each other.
//!
//! ```text
//! frame   := tag (u8) body
//! body    := one MessagePack array (rmp-serde), but for:
//! hello, refusal := MessagePack maps: other versions read them, too, and later ones may add entries
//! batch   := u32-le length of header, header, { u32-le length of operation, operation }*
//! ```
//!
//! Replica ids are interned per frame: a table of ids stands first, everything else has indexes into it.
//! Stamps of operations are differences to the operation before. Lengths are checked before anything is
//! allocated: rmp-serde reserves nothing for a length it has not read the bytes of, and the transport
//! bounds the frame.

mod batch;
mod change;
mod meeting;
mod message;
mod names;
mod operation;
mod record;
pub mod saved;

pub use batch::{BatchReader, BatchWriter};
pub use change::{WireChange, read as read_change, write as write_change};
pub use message::{
    Acknowledged, Begin, Fetched, Found, Header, Hello, Message, Refusal, RegionEntry, Request, Slice, Want, decode,
    encode, tag,
};
pub use record::{BaseKey, LoneClear};

/// Versions of this protocol that we speak.
pub const PROTOCOL: std::ops::RangeInclusive<u32> = 1..=1;

/// A frame that does not follow the format; the link it came on is closed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Malformed(pub String);

impl Malformed {
    fn new(what: &str, why: impl std::fmt::Display) -> Malformed {
        Malformed(format!("malformed {what}: {why}"))
    }
}
