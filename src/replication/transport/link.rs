//! One connection to one peer, from its first stream to its goodbye.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::compression::unpack;
use super::end::{Fault, lost};
use super::event::{Event, Events, InboundFrame};
use super::receive::{Merge, read_array, read_fault};
use super::send::{Queue, Striper, write_fault};
use super::settings::Settings;
use super::wire::{Control, MAX_LANES, Prelude, Violation, shorten};
use super::{LinkId, lock};

/// How long a goodbye may take to reach the peer. `close` alone never arrives on a congested link.
pub(super) const GOODBYE: Duration = Duration::from_secs(1);
/// A frame's price beside its bytes, so that empty frames are bounded as well.
const FRAME_COST: usize = 128;
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// What the rest of the transport sees of a link.
pub(super) struct Link {
    pub id: LinkId,
    pub connection: Connection,
    pub queue: Queue,
    /// Bytes we took off the peer's lanes.
    consumed: AtomicU64,
    /// We wait for our application to drop frames; and: we did since the last report.
    waiting: AtomicBool,
    waited: AtomicBool,
    /// The peer's last report.
    delivered: AtomicU64,
    peer_waiting: AtomicBool,
    /// Why we close it; the first reason stays.
    ending: Mutex<Option<String>>,
    end: Notify,
}

impl Link {
    pub fn new(id: LinkId, connection: Connection) -> Link {
        Link {
            id,
            connection,
            queue: Queue::default(),
            consumed: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
            waited: AtomicBool::new(false),
            delivered: AtomicU64::new(0),
            peer_waiting: AtomicBool::new(false),
            ending: Mutex::new(None),
            end: Notify::new(),
        }
    }

    /// Says goodbye and closes. What is queued is still sent, as far as it goes in [`GOODBYE`], unless `discard`.
    pub fn close(&self, reason: &str, discard: bool) {
        lock(&self.ending).get_or_insert_with(|| reason.to_string());
        self.queue.finish(discard);
        self.end.notify_one();
    }

    /// Bytes the peer has read, by its own word.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// The peer's application is behind: a slow link is not the link's fault.
    pub fn peer_waiting(&self) -> bool {
        self.peer_waiting.load(Ordering::Relaxed)
    }

    async fn asked_to_end(&self) -> String {
        loop {
            let notified = self.end.notified();
            if let Some(reason) = lock(&self.ending).clone() {
                return reason;
            }
            notified.await;
        }
    }
}

/// The streams of both sides, all open.
pub(super) struct Streams {
    control_out: ControlOut,
    control_in: RecvStream,
    striper: Striper,
    merge: Merge,
}

/// Opens our streams and waits for the peer's. For the side that dialed this is the proof that the peer has
/// accepted our certificate: QUIC's connect succeeds before that.
pub(super) async fn open(connection: &Connection, settings: &Settings) -> Result<Streams, Fault> {
    let mut control = connection.open_uni().await?;
    // A goodbye overtakes frames.
    let _ = control.set_priority(1);
    control
        .write_all(
            &Prelude::Control {
                lanes: settings.streams,
            }
            .encode(),
        )
        .await
        .map_err(write_fault)?;
    let mut ours = Vec::new();
    for _ in 0..settings.streams {
        let mut lane = connection.open_uni().await?;
        lane.write_all(&Prelude::Lane.encode()).await.map_err(write_fault)?;
        ours.push(lane);
    }
    let mut control_in = connection.accept_uni().await?;
    let lanes = match prelude(&mut control_in).await? {
        Prelude::Control { lanes } => lanes.min(MAX_LANES),
        Prelude::Lane => return Err(Violation("the first stream is not the control stream".into()).into()),
    };
    let mut theirs = Vec::new();
    for _ in 0..lanes {
        let mut lane = connection.accept_uni().await?;
        match prelude(&mut lane).await? {
            Prelude::Lane => theirs.push(lane),
            Prelude::Control { .. } => return Err(Violation("two control streams".into()).into()),
        }
    }
    let control_out = ControlOut {
        stream: control,
        pending: Vec::new(),
    };
    Ok(Streams {
        control_out,
        control_in,
        striper: Striper::new(ours),
        merge: Merge::new(theirs, settings.max_frame),
    })
}

async fn prelude(stream: &mut RecvStream) -> Result<Prelude, Fault> {
    let bytes = read_array(stream).await?.ok_or(Violation("an empty stream".into()))?;
    Ok(Prelude::decode(bytes)?)
}

/// Our control stream. Bytes wait in `pending`, so a write may be cancelled at any point.
struct ControlOut {
    stream: SendStream,
    pending: Vec<u8>,
}

impl ControlOut {
    async fn flush(&mut self) -> Result<(), Fault> {
        while !self.pending.is_empty() {
            let n = self.stream.write(&self.pending).await.map_err(write_fault)?;
            self.pending.drain(..n);
        }
        Ok(())
    }
}

enum End {
    Ours(String),
    Theirs(String),
    Lost(String),
}

impl From<Fault> for End {
    /// A violation is told to the peer; a lost connection cannot be.
    fn from(fault: Fault) -> End {
        match fault {
            Fault::Lost(error) => End::Lost(lost(&error)),
            violation => End::Ours(violation.to_string()),
        }
    }
}

/// Moves frames both ways until the link ends; gives the reason. The connection is closed then.
pub(super) async fn serve(link: &Link, streams: Streams, settings: &Settings, events: &Events) -> String {
    let Streams {
        mut control_out,
        control_in,
        mut striper,
        merge,
    } = streams;
    let mut receive = pin!(receive(link, merge, settings, events));
    let mut send = pin!(striper.run(&link.queue));
    let (mut received, mut sent) = (false, false);
    let end = {
        let mut goodbye = pin!(listen(link, control_in));
        let mut report = pin!(report(link, &mut control_out));
        loop {
            tokio::select! {
                biased;
                reason = link.asked_to_end() => break End::Ours(reason),
                result = &mut goodbye => break result.map_or_else(End::from, End::Theirs),
                result = &mut receive, if !received => match result {
                    Ok(()) => received = true,
                    Err(fault) => break fault.into(),
                },
                result = &mut send, if !sent => match result {
                    Ok(()) => sent = true,
                    Err(fault) => break fault.into(),
                },
                fault = &mut report => break fault.into(),
            }
        }
    };
    match end {
        End::Lost(reason) => reason,
        End::Theirs(reason) => {
            // Its frames before the goodbye; then our close tells it that all were read.
            if !received {
                let _ = timeout(2 * GOODBYE, &mut receive).await;
            }
            link.connection.close(VarInt::from_u32(0), b"goodbye");
            format!("closed by the peer: {reason}")
        }
        End::Ours(reason) => {
            link.queue.finish(false);
            // Room for the goodbye, however full the lanes are.
            link.connection.set_send_window(settings.send_window(None) + (64 << 10));
            control_out.pending.extend(Control::Goodbye(reason.clone()).encode());
            let farewell = async {
                if control_out.flush().await.is_ok() {
                    let _ = control_out.stream.finish();
                    link.connection.closed().await;
                }
            };
            let mut farewell = pin!(timeout(GOODBYE, farewell));
            tokio::select! {
                biased;
                _ = &mut farewell => {}
                _ = &mut send, if !sent => { let _ = farewell.await; }
            }
            link.connection.close(VarInt::from_u32(0), shorten(&reason).as_bytes());
            reason
        }
    }
}

/// Delivers the peer's frames, in order, until it ends its lanes.
async fn receive(link: &Link, mut merge: Merge, settings: &Settings, events: &Events) -> Result<(), Fault> {
    let credit = Arc::new(Semaphore::new(settings.inbound));
    let took = |bytes: usize| {
        link.consumed.fetch_add(bytes as u64, Ordering::Relaxed);
    };
    while let Some(whole) = merge.frame(took).await? {
        let cost = (whole.raw + FRAME_COST).min(settings.inbound) as u32;
        let permit = match credit.clone().try_acquire_many_owned(cost) {
            Ok(permit) => permit,
            Err(_) => {
                link.waiting.store(true, Ordering::Relaxed);
                link.waited.store(true, Ordering::Relaxed);
                let permit = credit.clone().acquire_many_owned(cost).await;
                link.waiting.store(false, Ordering::Relaxed);
                permit.map_err(|_| Violation("the link's credit is closed".into()))?
            }
        };
        let frame = InboundFrame::new(unpack(whole.codec, whole.body, whole.raw)?, permit);
        events.push(Event::Frame { link: link.id, frame });
    }
    Ok(())
}

/// Reads the peer's control stream until its goodbye; gives the reason.
async fn listen(link: &Link, mut stream: RecvStream) -> Result<String, Fault> {
    while let Some(head) = read_array::<3>(&mut stream).await? {
        let mut body = vec![0; Control::body_length(head)?];
        let mut filled = 0;
        while filled < body.len() {
            match stream.read(&mut body[filled..]).await.map_err(read_fault)? {
                Some(n) => filled += n,
                None => return Err(Violation("the control stream ends within a message".into()).into()),
            }
        }
        match Control::decode(head[0], &body)? {
            Control::Goodbye(reason) => return Ok(reason),
            Control::Report { consumed, waiting } => {
                link.delivered.store(consumed, Ordering::Relaxed);
                link.peer_waiting.store(waiting, Ordering::Relaxed);
            }
        }
    }
    Err(Violation("the control stream ended without a goodbye".into()).into())
}

/// Tells the peer each second how far we have read it, when that changed. Never ends well.
async fn report(link: &Link, control: &mut ControlOut) -> Fault {
    let mut tick = interval(REPORT_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = (0, false);
    loop {
        tick.tick().await;
        let waited = link.waited.swap(false, Ordering::Relaxed);
        let now = (
            link.consumed.load(Ordering::Relaxed),
            waited || link.waiting.load(Ordering::Relaxed),
        );
        if now != last {
            last = now;
            control.pending.extend(
                Control::Report {
                    consumed: now.0,
                    waiting: now.1,
                }
                .encode(),
            );
        }
        if let Err(fault) = control.flush().await {
            return fault;
        }
    }
}
