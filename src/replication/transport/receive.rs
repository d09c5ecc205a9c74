//! The receiving side of a link: merges the lanes by chunk number.

use std::future::poll_fn;
use std::task::{Context, Poll};

use quinn::{ReadError, RecvStream};

use super::assembly::{Assembly, Whole};
use super::end::Fault;
use super::wire::{HEADER, Header, Violation};

/// One of the peer's streams, standing before a chunk.
struct Lane {
    stream: RecvStream,
    buffer: [u8; HEADER],
    filled: usize,
    /// The chunk it stands before. Its bytes stay in the stream until it is its turn.
    head: Option<Header>,
    finished: bool,
}

impl Lane {
    /// Ready when the next header is known or the lane has ended.
    fn poll_head(&mut self, cx: &mut Context<'_>, max_frame: usize) -> Poll<Result<(), Fault>> {
        while self.head.is_none() && !self.finished {
            let read = self.stream.poll_read(cx, &mut self.buffer[self.filled..]);
            match std::task::ready!(read).map_err(read_fault)? {
                0 if self.filled == 0 => self.finished = true,
                0 => return Poll::Ready(Err(Violation("a stream ends within a header".into()).into())),
                n => self.filled += n,
            }
            if self.filled == HEADER {
                self.filled = 0;
                self.head = Some(Header::decode(&self.buffer, max_frame)?);
            }
        }
        Poll::Ready(Ok(()))
    }
}

pub(super) fn read_fault(error: ReadError) -> Fault {
    match error {
        ReadError::ConnectionLost(error) => Fault::Lost(error),
        other => Violation(other.to_string()).into(),
    }
}

/// All lanes of a peer.
pub(super) struct Merge {
    lanes: Vec<Lane>,
    /// Number of the next chunk.
    next: u64,
    /// Where the search for it begins: lanes are mostly used in turn.
    turn: usize,
    max_frame: usize,
    assembly: Assembly,
}

impl Merge {
    pub fn new(streams: Vec<RecvStream>, max_frame: usize) -> Merge {
        let lane = |stream| Lane {
            stream,
            buffer: [0; HEADER],
            filled: 0,
            head: None,
            finished: false,
        };
        let lanes = streams.into_iter().map(lane).collect();
        Merge {
            lanes,
            next: 0,
            turn: 0,
            max_frame,
            assembly: Assembly::default(),
        }
    }

    /// The next frame as sent; `None` when the peer has finished. `took` is told the bytes read.
    pub async fn frame(&mut self, took: impl Fn(usize)) -> Result<Option<Whole>, Fault> {
        loop {
            let Some((lane, header)) = poll_fn(|cx| self.poll_next(cx)).await? else {
                return Ok(None);
            };
            self.assembly.begin(header)?;
            let stream = &mut self.lanes[lane].stream;
            while self.assembly.missing() > 0 {
                let chunk = stream
                    .read_chunk(self.assembly.missing(), true)
                    .await
                    .map_err(read_fault)?;
                let Some(chunk) = chunk else {
                    return Err(Violation("a stream ends within a chunk".into()).into());
                };
                self.assembly.extend(&chunk.bytes);
            }
            took(HEADER + header.length as usize);
            if let Some(whole) = self.assembly.take() {
                return Ok(Some(whole));
            }
        }
    }

    /// The lane that stands before chunk `next`. `None`: all lanes have ended.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<(usize, Header)>, Fault>> {
        let count = self.lanes.len();
        let mut pending = false;
        let mut waiting = false;
        for i in 0..count {
            let at = (self.turn + i) % count;
            let lane = &mut self.lanes[at];
            if lane.poll_head(cx, self.max_frame)?.is_pending() {
                pending = true;
                continue;
            }
            match lane.head {
                Some(header) if header.sequence == self.next => {
                    lane.head = None;
                    self.next += 1;
                    self.turn = (at + 1) % count;
                    return Poll::Ready(Ok(Some((at, header))));
                }
                Some(header) if header.sequence < self.next => {
                    return Poll::Ready(Err(Violation(format!("chunk {} twice", header.sequence)).into()));
                }
                Some(_) => waiting = true,
                None => {}
            }
        }
        match (pending, waiting) {
            (true, _) => Poll::Pending,
            (false, true) => Poll::Ready(Err(Violation(format!("chunk {} is missing", self.next)).into())),
            (false, false) => Poll::Ready(Ok(None)),
        }
    }
}

/// Reads exactly `N` bytes; `None` when the stream ends before the first.
pub(super) async fn read_array<const N: usize>(stream: &mut RecvStream) -> Result<Option<[u8; N]>, Fault> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match poll_fn(|cx| stream.poll_read(cx, &mut bytes[filled..]))
            .await
            .map_err(read_fault)?
        {
            0 if filled == 0 => return Ok(None),
            0 => return Err(Violation("a stream ends too early".into()).into()),
            n => filled += n,
        }
    }
    Ok(Some(bytes))
}
