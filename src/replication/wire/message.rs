//! Frames other than batches.

use serde::{Deserialize, Serialize};
use serde_bytes::{ByteBuf, Bytes};

use super::Malformed;
use super::names::{Names, WireVector};
use super::record::{BaseKey, WireBase, WireRecord, plain, read_base, read_record, write_base, write_record};
use crate::crdt::{Cursor, Hlc, Record, RegionTag, ReplicaId, ScoreRule, Vector};

/// First byte of every frame.
pub mod tag {
    pub const HELLO: u8 = 0;
    pub const ACCEPT: u8 = 1;
    pub const REFUSE: u8 = 2;
    pub const BATCH: u8 = 3;
    pub const HEADER: u8 = 4;
    pub const REQUEST: u8 = 5;
    pub const BEGIN: u8 = 6;
    pub const SLICE: u8 = 7;
    pub const END: u8 = 8;
    pub const CREDIT: u8 = 9;
    pub const PLEDGE: u8 = 10;
    pub const FETCH: u8 = 11;
    pub const FETCHED: u8 = 12;
    pub const EVICTED: u8 = 13;
}
use tag::*;

type Pairs = Vec<(ReplicaId, Hlc)>;

/// First frame on a link, from both sides.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Hello {
    pub magic: String,
    pub oldest: u32,
    pub newest: u32,
    pub cluster: String,
    pub region: String,
    pub incarnation: u64,
    pub recovering: bool,
    /// Keys the incarnation started with: chooses whose data starts a cluster.
    pub weight: u64,
    pub(in crate::replication) seen: Pairs,
    pub(in crate::replication) compacted: Pairs,
    pub regions: Vec<RegionEntry>,
    pub wall: Hlc,
    /// What concurrent scores merge to.
    #[serde(default, skip_serializing_if = "ScoreRule::is_default")]
    pub scores: ScoreRule,
}

impl Hello {
    pub const MAGIC: &'static str = "redis-geo";

    pub fn with_vectors(mut self, seen: &Vector, compacted: &Vector) -> Hello {
        (self.seen, self.compacted) = (plain(seen), plain(compacted));
        self
    }

    pub fn seen(&self) -> Vector {
        self.seen.iter().copied().collect()
    }

    pub fn compacted(&self) -> Vector {
        self.compacted.iter().copied().collect()
    }
}

impl Default for Hello {
    fn default() -> Hello {
        Hello {
            magic: Hello::MAGIC.into(),
            oldest: *super::PROTOCOL.start(),
            newest: *super::PROTOCOL.end(),
            cluster: String::new(),
            region: String::new(),
            incarnation: 0,
            recovering: false,
            weight: 0,
            seen: Vec::new(),
            compacted: Vec::new(),
            regions: Vec::new(),
            wall: 0,
            scores: ScoreRule::default(),
        }
    }
}

/// A region and the newest incarnation known of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RegionEntry(pub String, pub u64);

/// What the sender has seen and what it knows of acknowledgements. Counts only once the receiver's vector
/// covers `seen`: then nothing older than these acknowledgements can still arrive.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Header {
    pub replica: Option<ReplicaId>,
    pub seen: Vector,
    pub durable: Vector,
    pub regions: Vec<RegionEntry>,
    /// What regions acknowledged, the sender included.
    pub acknowledged: Vec<Acknowledged>,
    pub wall: Hlc,
    /// The clocks of the regions that the sender is connected to, as it last heard of them.
    pub heard: Vec<(RegionTag, Hlc)>,
}

/// What a region acknowledged, in which incarnation, and the newest incarnations it then knew.
#[derive(Clone, PartialEq, Debug)]
pub struct Acknowledged {
    pub region: RegionTag,
    pub incarnation: u64,
    pub durable: Vector,
    pub known: Vec<(RegionTag, u64)>,
}

#[derive(Serialize, Deserialize)]
struct WireHeader(
    ReplicaId,
    Vec<ReplicaId>,
    WireVector,
    WireVector,
    Vec<RegionEntry>,
    Vec<WireAcknowledgement>,
    Hlc,
    #[serde(default)] Vec<(RegionTag, Hlc)>,
);

#[derive(Serialize, Deserialize)]
struct WireAcknowledgement(RegionTag, u64, WireVector, #[serde(default)] Vec<(RegionTag, u64)>);

/// Why there is no link.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    pub reason: String,
    /// The next hello can be accepted without anyone changing a setting.
    pub passing: bool,
}

impl Refusal {
    pub fn lasting(reason: impl Into<String>) -> Refusal {
        Refusal {
            reason: reason.into(),
            passing: false,
        }
    }

    pub fn passing(reason: impl Into<String>) -> Refusal {
        Refusal {
            reason: reason.into(),
            passing: true,
        }
    }
}

/// Part of a transfer.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Slice {
    pub id: u64,
    pub number: u64,
    /// The sender's vector when it read the records.
    pub seen: Vector,
    pub records: Vec<Record>,
    pub base: Vec<BaseKey>,
    /// Settled values up to here have been sent, this slice included: an adoption that is cut goes on from here.
    pub reached: Cursor,
}

#[derive(Serialize, Deserialize)]
struct WireSlice(
    u64,
    u64,
    Vec<ReplicaId>,
    WireVector,
    Vec<WireRecord>,
    Vec<WireBase>,
    u32,
    u64,
);

/// What a [`Request`] is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Want {
    /// The sender is active and lacks something.
    Missing,
    /// The sender recovers. What it lacks will do if its past fits; otherwise everything.
    Join,
    /// The sender recovers and needs everything.
    Adopt,
}

/// Asks for a transfer.
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    pub want: Want,
    pub seen: Vector,
    /// The frontier the sender's state was compacted by.
    pub compacted: Vector,
    /// An adoption from this replica id was cut; this much of it has arrived.
    pub resume: Option<(ReplicaId, Cursor)>,
}

#[derive(Serialize, Deserialize)]
struct WireRequest(Want, Pairs, Pairs, Option<(ReplicaId, u32, u64)>);

/// A transfer begins.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Begin {
    pub id: u64,
    /// What the receiver will have seen at the end.
    pub upto: Vector,
    /// The frontier the sender's state was compacted by.
    pub compacted: Vector,
    /// Everything is sent, to be taken as it is.
    pub adopting: bool,
    /// It goes on where the one before was cut.
    pub resumed: bool,
    /// What the sender has seen has deadlines in it.
    pub deadlines: bool,
}

#[derive(Deserialize)]
struct WireBegin(u64, Pairs, Pairs, bool, bool, #[serde(default)] bool);

/// What a peer has of a key that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Found {
    /// It does not hold the key's values either.
    Nothing,
    /// More of it follows.
    Part,
    Whole,
}

/// Answer to a [`Message::Fetch`], for one key.
#[derive(Clone, PartialEq, Debug)]
pub struct Fetched {
    /// The request.
    pub id: u64,
    pub found: Found,
    /// A slice of one record.
    pub frame: Vec<u8>,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Message {
    Hello(Box<Hello>),
    /// What time it is here, and what the hello said.
    Accept {
        wall: Hlc,
        heard: Hlc,
    },
    Refuse(Refusal),
    /// Read with [`super::BatchReader`].
    Batch,
    Header(Box<Header>),
    Request(Box<Request>),
    Begin(Box<Begin>),
    Slice(Box<Slice>),
    End {
        id: u64,
    },
    /// Bytes consumed since the link is up: of the stream, of transfers.
    Credit {
        stream: u64,
        transfer: u64,
    },
    /// "I am recovering and adopt only from you." Naming itself, the sender says that it is a candidate: every
    /// region it knows of (`members`) is connected to it and recovering.
    Pledge {
        to: ReplicaId,
        members: Vec<RegionTag>,
    },
    /// Asks for all that the receiver holds of some keys: the sender has evicted them.
    Fetch {
        id: u64,
        keys: Vec<(u32, ByteBuf)>,
    },
    Fetched(Fetched),
    /// Part of an adoption: keys whose values the sender has evicted.
    Evicted(Vec<(u32, ByteBuf)>),
}

pub fn encode(message: &Message) -> Vec<u8> {
    let mut names = Names::default();
    match message {
        Message::Hello(hello) => named(HELLO, hello),
        Message::Accept { wall, heard } => body(ACCEPT, &(wall, heard)),
        Message::Refuse(refusal) => named(REFUSE, refusal),
        Message::Batch => vec![BATCH],
        Message::Header(h) => {
            let (seen, durable) = (names.vector(&h.seen), names.vector(&h.durable));
            let entry = |a: &Acknowledged| {
                WireAcknowledgement(a.region, a.incarnation, names.vector(&a.durable), a.known.clone())
            };
            let acknowledged = h.acknowledged.iter().map(entry).collect();
            let replica = h.replica.unwrap_or(ReplicaId::new(RegionTag::of(""), 0));
            let (regions, heard) = (h.regions.clone(), h.heard.clone());
            let wire = WireHeader(replica, names.0, seen, durable, regions, acknowledged, h.wall, heard);
            body(HEADER, &wire)
        }
        Message::Request(request) => {
            let resume = request.resume.map(|(replica, cursor)| (replica, cursor.db, cursor.at));
            let wire = WireRequest(request.want, plain(&request.seen), plain(&request.compacted), resume);
            body(REQUEST, &wire)
        }
        Message::Begin(b) => {
            let vectors = (plain(&b.upto), plain(&b.compacted));
            body(BEGIN, &(b.id, vectors.0, vectors.1, b.adopting, b.resumed, b.deadlines))
        }
        Message::Slice(slice) => {
            let seen = names.vector(&slice.seen);
            let records = slice
                .records
                .iter()
                .map(|record| write_record(record, &mut names))
                .collect();
            let base = slice.base.iter().map(write_base).collect();
            let Cursor { db, at } = slice.reached;
            body(
                SLICE,
                &WireSlice(slice.id, slice.number, names.0, seen, records, base, db, at),
            )
        }
        Message::End { id } => body(END, &(id,)),
        Message::Credit { stream, transfer } => body(CREDIT, &(stream, transfer)),
        Message::Pledge { to, members } => body(PLEDGE, &(to, members)),
        Message::Fetch { id, keys } => body(FETCH, &(id, keys)),
        Message::Fetched(f) => body(FETCHED, &(f.id, f.found, Bytes::new(&f.frame))),
        Message::Evicted(keys) => body(EVICTED, &(keys,)),
    }
}

fn named(tag: u8, value: &impl Serialize) -> Vec<u8> {
    let mut frame = vec![tag];
    frame.extend(rmp_serde::to_vec_named(value).unwrap_or_default());
    frame
}

fn body(tag: u8, value: &impl Serialize) -> Vec<u8> {
    let mut frame = vec![tag];
    // Writing into a vector cannot fail.
    let written = rmp_serde::encode::write(&mut frame, value);
    debug_assert!(written.is_ok());
    frame
}

pub fn decode(frame: &[u8]) -> Result<Message, Malformed> {
    let (tag, rest) = frame.split_first().ok_or_else(|| Malformed::new("frame", "empty"))?;
    match *tag {
        HELLO => {
            let hello: Box<Hello> = read("hello", rest)?;
            check_incarnations(
                "hello",
                hello.regions.iter().map(|entry| entry.1).chain([hello.incarnation]),
            )?;
            Ok(Message::Hello(hello))
        }
        ACCEPT => read("accept", rest).map(|(wall, heard)| Message::Accept { wall, heard }),
        REFUSE => read("refusal", rest).map(Message::Refuse),
        BATCH => Ok(Message::Batch),
        HEADER => read_header(rest),
        REQUEST => {
            let WireRequest(want, seen, compacted, resume) = read("request", rest)?;
            Ok(Message::Request(Box::new(Request {
                want,
                seen: seen.into_iter().collect(),
                compacted: compacted.into_iter().collect(),
                resume: resume.map(|(replica, db, at)| (replica, Cursor { db, at })),
            })))
        }
        BEGIN => {
            let WireBegin(id, upto, compacted, adopting, resumed, deadlines) = read("begin", rest)?;
            Ok(Message::Begin(Box::new(Begin {
                id,
                upto: upto.into_iter().collect(),
                compacted: compacted.into_iter().collect(),
                adopting,
                resumed,
                deadlines,
            })))
        }
        SLICE => read_slice(rest),
        END => read("end", rest).map(|(id,): (u64,)| Message::End { id }),
        CREDIT => read("credit", rest).map(|(stream, transfer)| Message::Credit { stream, transfer }),
        PLEDGE => read("pledge", rest).map(|(to, members)| Message::Pledge { to, members }),
        FETCH => read("fetch", rest).map(|(id, keys)| Message::Fetch { id, keys }),
        FETCHED => {
            let (id, found, frame): (u64, Found, ByteBuf) = read("fetched", rest)?;
            let frame = frame.into_vec();
            Ok(Message::Fetched(Fetched { id, found, frame }))
        }
        EVICTED => read("evicted", rest).map(|(keys,)| Message::Evicted(keys)),
        _ => Err(Malformed::new("frame", format_args!("unknown tag {tag}"))),
    }
}

fn read<'a, T: Deserialize<'a>>(what: &str, bytes: &'a [u8]) -> Result<T, Malformed> {
    rmp_serde::from_slice(bytes).map_err(|e| Malformed::new(what, e))
}

/// A region must always be able to take a number above every one that is known of it.
fn check_incarnations(what: &str, mut incarnations: impl Iterator<Item = u64>) -> Result<(), Malformed> {
    match incarnations.find(|incarnation| *incarnation >= ReplicaId::MAX_INCARNATION) {
        Some(incarnation) => Err(Malformed::new(
            what,
            format_args!("incarnation {incarnation} is out of range"),
        )),
        None => Ok(()),
    }
}

fn read_header(bytes: &[u8]) -> Result<Message, Malformed> {
    let WireHeader(replica, names, seen, durable, regions, acknowledged, wall, heard) = read("header", bytes)?;
    let names = Names(names);
    check_incarnations(
        "header",
        regions
            .iter()
            .map(|entry| entry.1)
            .chain(acknowledged.iter().map(|entry| entry.1)),
    )?;
    let acknowledged: Result<Vec<_>, Malformed> = acknowledged
        .into_iter()
        .map(|WireAcknowledgement(region, incarnation, durable, known)| {
            Ok(Acknowledged {
                region,
                incarnation,
                durable: names.read_vector(&durable)?,
                known,
            })
        })
        .collect();
    Ok(Message::Header(Box::new(Header {
        replica: Some(replica),
        seen: names.read_vector(&seen)?,
        durable: names.read_vector(&durable)?,
        regions,
        acknowledged: acknowledged?,
        wall,
        heard,
    })))
}

fn read_slice(bytes: &[u8]) -> Result<Message, Malformed> {
    let WireSlice(id, number, names, seen, records, base, db, at) = read("slice", bytes)?;
    let names = Names(names);
    let records: Result<Vec<Record>, Malformed> = records.into_iter().map(|r| read_record(r, &names, false)).collect();
    let base: Result<Vec<BaseKey>, Malformed> = base.into_iter().map(read_base).collect();
    Ok(Message::Slice(Box::new(Slice {
        id,
        number,
        seen: names.read_vector(&seen)?,
        records: records?,
        base: base?,
        reached: Cursor { db, at },
    })))
}
