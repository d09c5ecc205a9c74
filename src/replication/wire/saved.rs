//! A region's memory as pieces: what its RDB carries, and its AOF when that has no RDB in it.
//!
//! ```text
//! piece := tag (u8) body crc32 (u32-le, of tag and body)
//! body  := one MessagePack array (rmp-serde), but for the head: a map, so that later versions may add entries
//! order := head { keys | journal | waiting | evicted | any optional }* end
//! ```
//!
//! A tag from [`OPTIONAL`] on may be skipped by whoever does not know it; another unknown tag means that a newer
//! version wrote this, and nothing of it is taken.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::Malformed;
use super::meeting;
use super::message::RegionEntry;
use super::names::Names;
use super::record::{LoneClear, WireRecord, read_record, read_value, write_record, write_value};
use crate::crdt::{
    Added, Hlc, Journal, KeyJournal, KeyRef, Kind, Meeting, Number, OwnedValue, Pending, Record, ReplicaId, ScoreRule,
    Waiting,
};

mod tag {
    pub const HEAD: u8 = 0;
    pub const KEYS: u8 = 1;
    pub const JOURNAL: u8 = 2;
    pub const WAITING: u8 = 3;
    pub const END: u8 = 4;
    pub const EVICTED: u8 = 5;
}

/// Tags from here on are optional.
pub const OPTIONAL: u8 = 128;
/// Version of what the required pieces mean.
pub const FORMAT: u32 = 1;

/// Everything that is not per key.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Head {
    pub format: u32,
    pub region: String,
    pub replica: ReplicaId,
    pub seen: Vec<(ReplicaId, Hlc)>,
    pub compacted: Vec<(ReplicaId, Hlc)>,
    pub regions: Vec<RegionEntry>,
    pub complete: bool,
    #[serde(default)]
    pub gaps: bool,
    pub disk: bool,
    pub replicated: bool,
    /// What concurrent scores merged to.
    #[serde(default, skip_serializing_if = "ScoreRule::is_default")]
    pub scores: ScoreRule,
    /// What the keyspace holds was never replicated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own: bool,
}

pub type Mark = (u32, ByteBuf, bool);

pub enum Piece {
    Head(Box<Head>),
    Keys(Vec<Record>),
    Journal(Vec<(u32, Box<[u8]>, KeyJournal)>),
    Waiting(Vec<Waiting>),
    /// Database, key, whether it is wanted.
    Evicted(Vec<Mark>),
    /// Number of pieces before this one.
    End(u64),
    /// Of a later version, and not needed.
    Unknown,
}

/// database, key, cleared, alone, elements, how it expired
#[derive(Serialize, Deserialize)]
struct WireJournal(
    u32,
    ByteBuf,
    bool,
    bool,
    Vec<(u8, ByteBuf, WirePending)>,
    #[serde(default)] Option<LoneClear>,
);
/// code, value (also: what was given first), sum, whether the keyspace shows the sum, and on top of which value, totals of earlier incarnations
type WirePending = (
    u8,
    Option<ByteBuf>,
    Option<Number>,
    bool,
    Option<ByteBuf>,
    Vec<WireAdded>,
);
/// replica, birth, total, whether nobody knew of it
type WireAdded = (ReplicaId, Hlc, Number, bool);
type WireWaiting = (u32, ByteBuf, Option<(u8, ByteBuf)>);

const ASSIGN: u8 = 0;
const REMOVE: u8 = 1;
const ADD: u8 = 2;
/// From here on: a value was given first, in view of what was there; see [`meeting`].
const MEET: u8 = 3;

pub fn head(head: &Head) -> Vec<u8> {
    // Writing into a vector cannot fail.
    sealed(tag::HEAD, &rmp_serde::to_vec_named(head).unwrap_or_default())
}

pub fn keys(records: &[Record]) -> Vec<u8> {
    let mut names = Names::default();
    let records: Vec<WireRecord> = records.iter().map(|record| write_record(record, &mut names)).collect();
    array(tag::KEYS, &(names.0, records))
}

pub fn journal<'a>(entries: impl Iterator<Item = (KeyRef<'a>, &'a KeyJournal)>) -> Vec<u8> {
    let entries: Vec<WireJournal> = entries.map(|(key, noted)| write_journal(key, noted)).collect();
    array(tag::JOURNAL, &entries)
}

pub fn waiting(entries: &[Waiting]) -> Vec<u8> {
    let write = |w: &Waiting| -> WireWaiting {
        let element = w.element.as_ref();
        (
            w.db,
            bytes(&w.key),
            element.map(|(kind, name)| (*kind as u8, bytes(name))),
        )
    };
    array(tag::WAITING, &entries.iter().map(write).collect::<Vec<_>>())
}

pub fn evicted(marks: &[Mark]) -> Vec<u8> {
    array(tag::EVICTED, &marks)
}

pub fn end(pieces: u64) -> Vec<u8> {
    array(tag::END, &(pieces,))
}

fn array(tag: u8, body: &impl Serialize) -> Vec<u8> {
    sealed(tag, &rmp_serde::to_vec(body).unwrap_or_default())
}

fn sealed(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut piece = Vec::with_capacity(body.len() + 5);
    piece.push(tag);
    piece.extend_from_slice(body);
    let sum = crc32fast::hash(&piece);
    piece.extend_from_slice(&sum.to_le_bytes());
    piece
}

pub fn read(piece: &[u8]) -> Result<Piece, Malformed> {
    let (sealed, sum) = piece
        .split_last_chunk::<4>()
        .ok_or_else(|| Malformed::new("saved state", "a piece is too short"))?;
    if crc32fast::hash(sealed) != u32::from_le_bytes(*sum) {
        return Err(Malformed::new("saved state", "a checksum does not match"));
    }
    let (tag, body) = sealed
        .split_first()
        .ok_or_else(|| Malformed::new("saved state", "a piece is empty"))?;
    match *tag {
        tag::HEAD => read_head(body).map(|head| Piece::Head(Box::new(head))),
        tag::KEYS => {
            let (names, records): (Vec<ReplicaId>, Vec<WireRecord>) = parse(body)?;
            let names = Names(names);
            let records: Result<_, _> = records.into_iter().map(|r| read_record(r, &names, true)).collect();
            Ok(Piece::Keys(records?))
        }
        tag::JOURNAL => {
            let entries: Vec<WireJournal> = parse(body)?;
            Ok(Piece::Journal(
                entries.into_iter().map(read_journal).collect::<Result<_, _>>()?,
            ))
        }
        tag::WAITING => {
            let entries: Vec<WireWaiting> = parse(body)?;
            Ok(Piece::Waiting(
                entries.into_iter().map(read_waiting).collect::<Result<_, _>>()?,
            ))
        }
        tag::EVICTED => Ok(Piece::Evicted(parse(body)?)),
        tag::END => parse(body).map(|(pieces,): (u64,)| Piece::End(pieces)),
        OPTIONAL.. => Ok(Piece::Unknown),
        tag => Err(newer(format_args!("it has parts of kind {tag}"))),
    }
}

fn newer(what: std::fmt::Arguments<'_>) -> Malformed {
    Malformed(format!("the state was saved by a newer version of redis-geo: {what}"))
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Malformed> {
    rmp_serde::from_slice(body).map_err(|error| Malformed::new("saved state", error))
}

/// The format stands in an entry of the head, whose other entries are read only when it is known.
fn read_head(body: &[u8]) -> Result<Head, Malformed> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let Format { format } = parse(body)?;
    if format > FORMAT {
        return Err(newer(format_args!("its format is {format}, we know {FORMAT}")));
    }
    parse(body)
}

fn bytes(of: &[u8]) -> ByteBuf {
    ByteBuf::from(of)
}

fn write_journal(key: KeyRef<'_>, noted: &KeyJournal) -> WireJournal {
    let write = |pending: &Pending| -> WirePending {
        match pending {
            Pending::Assign(value) => (ASSIGN, write_value(Some(value)), None, false, None, Vec::new()),
            Pending::Remove => (REMOVE, None, None, false, None, Vec::new()),
            Pending::Onto {
                met,
                sum,
                before,
                unseen,
            } => {
                let text = before.as_ref().and_then(|before| write_value(before.as_ref()));
                let added = |a: &Added| (a.replica, a.birth, a.total.clone(), a.whole);
                let unseen = unseen.iter().map(added).collect();
                let (code, given) = match met {
                    None => (ADD, None),
                    Some((how, value)) => (MEET + meeting::code(*how), write_value(Some(value))),
                };
                (code, given, Some(sum.clone()), before.is_some(), text, unseen)
            }
        }
    };
    let elements = noted.elements.iter();
    let elements = elements.map(|((kind, name), pending)| (*kind as u8, bytes(name), write(pending)));
    WireJournal(
        key.db,
        bytes(key.name),
        noted.cleared,
        noted.alone,
        elements.collect(),
        noted.expired.as_ref().map(LoneClear::write),
    )
}

fn read_journal(wire: WireJournal) -> Result<(u32, Box<[u8]>, KeyJournal), Malformed> {
    let WireJournal(db, key, cleared, alone, elements, expired) = wire;
    let mut noted = KeyJournal {
        cleared,
        alone,
        expired: expired.map(LoneClear::read).transpose()?,
        ..KeyJournal::default()
    };
    for (kind, name, (code, value, sum, shown, before, unseen)) in elements {
        let kind = read_kind(kind)?;
        let pending = match (code, kind, value, sum) {
            (ASSIGN, kind, value, None) => Pending::Assign(read_value(kind, value.as_ref())?),
            (REMOVE, _, None, None) => Pending::Remove,
            (ADD.., kind, given, Some(sum)) if kind.counts() || sum.is_zero() => Pending::Onto {
                met: read_met(code, kind, given.as_ref())?,
                sum,
                before: match (shown, before) {
                    (false, _) => None,
                    (true, None) => Some(None),
                    (true, value) => Some(Some(read_value(kind, value.as_ref())?)),
                },
                unseen: unseen
                    .into_iter()
                    .map(|(replica, birth, total, whole)| Added::new(replica, birth, total, whole))
                    .collect(),
            },
            _ => return Err(Malformed::new("saved state", "a provisional write makes no sense")),
        };
        noted.elements.insert((kind, boxed(name)), pending);
    }
    Ok((db, boxed(key), noted))
}

fn read_met(code: u8, kind: Kind, given: Option<&ByteBuf>) -> Result<Option<(Meeting, OwnedValue)>, Malformed> {
    match (code, given) {
        (ADD, None) if kind.counts() => Ok(None),
        (MEET.., given) => {
            let how = meeting::read(code - MEET);
            let how = how.ok_or_else(|| newer(format_args!("it has provisional writes of kind {code}")))?;
            Ok(Some((how, read_value(kind, given)?)))
        }
        _ => Err(Malformed::new("saved state", "a provisional write makes no sense")),
    }
}

fn read_waiting(wire: WireWaiting) -> Result<Waiting, Malformed> {
    let (db, key, element) = wire;
    let element = element
        .map(|(kind, name)| Ok((read_kind(kind)?, boxed(name))))
        .transpose()?;
    let key = boxed(key);
    Ok(Waiting { db, key, element })
}

fn read_kind(code: u8) -> Result<Kind, Malformed> {
    Kind::from_code(code).ok_or_else(|| newer(format_args!("it has values of kind {code}")))
}

fn boxed(of: ByteBuf) -> Box<[u8]> {
    of.into_vec().into()
}

/// Puts the notes of one piece into a journal.
pub fn take_journal(journal: &mut Journal, entries: Vec<(u32, Box<[u8]>, KeyJournal)>) {
    for (db, name, noted) in entries {
        journal.restore(KeyRef { db, name: &name }, noted);
    }
}
