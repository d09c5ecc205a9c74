//! The sending side of a link: a bounded queue, cut into chunks that go to whichever lane has room.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use quinn::{SendStream, WriteError};

use super::compression::Packed;
use super::end::Fault;
use super::lock;
use super::wire::{HEADER, Header, Violation, chunk_length};

/// Frames of one link that no stream has taken yet.
#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    frames: VecDeque<Packed>,
    bytes: usize,
    /// Nothing will follow: the lanes end after the last frame.
    finished: bool,
    waker: Option<Waker>,
}

impl Inner {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Queue {
    /// False when the queue would exceed `limit` bytes; then nothing was queued.
    pub fn push(&self, frame: Packed, limit: usize) -> bool {
        let mut inner = lock(&self.inner);
        if inner.finished {
            return true;
        }
        if inner.bytes + frame.body.len() > limit {
            return false;
        }
        inner.bytes += frame.body.len();
        inner.frames.push_back(frame);
        inner.wake();
        true
    }

    /// Ends the queue; `discard` also drops what waits.
    pub fn finish(&self, discard: bool) {
        let mut inner = lock(&self.inner);
        inner.finished = true;
        if discard {
            inner.frames.clear();
            inner.bytes = 0;
        }
        inner.wake();
    }

    pub fn bytes(&self) -> usize {
        lock(&self.inner).bytes
    }

    /// The next frame; `None` when the queue has ended.
    fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<Option<Packed>> {
        let mut inner = lock(&self.inner);
        match inner.frames.pop_front() {
            Some(frame) => {
                inner.bytes -= frame.body.len();
                Poll::Ready(Some(frame))
            }
            None if inner.finished => Poll::Ready(None),
            None => {
                inner.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// One of our streams and the chunk it is taking, header first.
struct Lane {
    stream: SendStream,
    header: [u8; HEADER],
    body: Bytes,
    /// Bytes of header and body the stream has taken; `None` when idle.
    taken: Option<usize>,
}

impl Lane {
    fn load(&mut self, header: &Header, body: Bytes) {
        self.header = header.encode();
        self.body = body;
        self.taken = Some(0);
    }

    /// Ready when the stream has taken the whole chunk.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        while let Some(taken) = self.taken {
            let rest = match taken < HEADER {
                true => &self.header[taken..],
                false => &self.body[taken - HEADER..],
            };
            if rest.is_empty() {
                self.taken = None;
                self.body = Bytes::new();
                break;
            }
            let write = Pin::new(&mut self.stream).poll_write(cx, rest);
            let n = std::task::ready!(write).map_err(write_fault)?;
            self.taken = Some(taken + n);
        }
        Poll::Ready(Ok(()))
    }
}

pub(super) fn write_fault(error: WriteError) -> Fault {
    match error {
        WriteError::ConnectionLost(error) => Fault::Lost(error),
        other => Violation(other.to_string()).into(),
    }
}

/// Spreads the queue's frames over the lanes.
pub(super) struct Striper {
    lanes: Vec<Lane>,
    next: u64,
    /// The lane to offer the next chunk to first.
    turn: usize,
    /// The frame being cut, and how much of it was handed out.
    current: Option<(Packed, usize)>,
}

impl Striper {
    pub fn new(streams: Vec<SendStream>) -> Striper {
        let lane = |stream| Lane {
            stream,
            header: [0; HEADER],
            body: Bytes::new(),
            taken: None,
        };
        Striper {
            lanes: streams.into_iter().map(lane).collect(),
            next: 0,
            turn: 0,
            current: None,
        }
    }

    /// Sends until the queue has ended and the streams have taken everything, then ends them.
    pub async fn run(&mut self, queue: &Queue) -> Result<(), Fault> {
        poll_fn(|cx| self.poll(cx, queue)).await?;
        for lane in &mut self.lanes {
            let _ = lane.stream.finish();
        }
        Ok(())
    }

    fn poll(&mut self, cx: &mut Context<'_>, queue: &Queue) -> Poll<Result<(), Fault>> {
        let count = self.lanes.len();
        // Lanes that refused stay out of this call: their waker is set.
        let mut blocked = [false; super::wire::MAX_LANES as usize];
        loop {
            let mut ended = false;
            let mut progress = false;
            let first = self.turn;
            for i in 0..count {
                let at = (first + i) % count;
                if blocked[at] {
                    continue;
                }
                if self.lanes[at].taken.is_none() {
                    match self.poll_chunk(cx, queue) {
                        Poll::Ready(Some((header, body))) => self.lanes[at].load(&header, body),
                        Poll::Ready(None) => {
                            ended = true;
                            continue;
                        }
                        Poll::Pending => continue,
                    }
                    self.turn = (at + 1) % count;
                }
                match self.lanes[at].poll_write(cx)? {
                    Poll::Ready(()) => progress = true,
                    Poll::Pending => blocked[at] = true,
                }
            }
            if ended && self.lanes.iter().all(|lane| lane.taken.is_none()) {
                return Poll::Ready(Ok(()));
            }
            if !progress {
                return Poll::Pending;
            }
        }
    }

    /// Cuts the next chunk. `None` when the queue has ended.
    fn poll_chunk(&mut self, cx: &mut Context<'_>, queue: &Queue) -> Poll<Option<(Header, Bytes)>> {
        let (frame, offset) = match self.current.take() {
            Some(current) => current,
            None => match std::task::ready!(queue.poll_pop(cx)) {
                Some(frame) => (frame, 0),
                None => return Poll::Ready(None),
            },
        };
        let total = frame.body.len();
        let length = chunk_length(total, offset);
        let (codec, raw) = (frame.codec, frame.raw);
        let header = Header {
            sequence: self.next,
            codec,
            length: length as u32,
            total: total as u32,
            raw,
        };
        let body = frame.body.slice(offset..offset + length);
        self.next += 1;
        self.current = (offset + length < total).then_some((frame, offset + length));
        Poll::Ready(Some((header, body)))
    }
}
