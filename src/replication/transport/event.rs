//! From the replication thread to the main thread.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender};
use tokio::sync::OwnedSemaphorePermit;

use crate::replication::{Level, LinkId};

#[derive(Debug)]
pub enum Event {
    /// Both sides accepted the other's certificate and the streams are open.
    Up {
        link: LinkId,
        /// The configured peer we dialed, whose name its certificate carries; `None`: it dialed us.
        dialed: Option<String>,
        /// DNS names in the peer's certificate.
        certificate: Vec<String>,
        address: String,
    },
    /// In the order of the peer's sends.
    Frame {
        link: LinkId,
        frame: InboundFrame,
    },
    /// The last event of a link, exactly once for each [`Event::Up`], whoever closed it.
    Down {
        link: LinkId,
        reason: String,
    },
    /// One attempt; the next follows after a pause.
    DialFailed {
        peer: String,
        reason: String,
    },
    Log {
        level: Level,
        text: String,
    },
}

/// A frame from a peer. Dropping it returns the link's inbound credit: while too much is held, the link is
/// not read, and QUIC's flow control stops the peer.
pub struct InboundFrame {
    bytes: Vec<u8>,
    _credit: OwnedSemaphorePermit,
}

impl InboundFrame {
    pub(super) fn new(bytes: Vec<u8>, credit: OwnedSemaphorePermit) -> InboundFrame {
        InboundFrame { bytes, _credit: credit }
    }
}

impl Deref for InboundFrame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for InboundFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InboundFrame({} bytes)", self.bytes.len())
    }
}

/// Set while the main thread knows that events wait: one wake-up per drain, not one per event.
#[derive(Default)]
struct Noticed(AtomicBool);

pub(super) struct Events {
    sender: Sender<Event>,
    noticed: Arc<Noticed>,
    wake: Box<dyn Fn() + Send + Sync>,
}

pub(super) struct EventQueue {
    receiver: Receiver<Event>,
    noticed: Arc<Noticed>,
}

pub(super) fn channel(wake: impl Fn() + Send + Sync + 'static) -> (Events, EventQueue) {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let noticed = Arc::new(Noticed::default());
    (
        Events {
            sender,
            noticed: noticed.clone(),
            wake: Box::new(wake),
        },
        EventQueue { receiver, noticed },
    )
}

impl Events {
    pub fn push(&self, event: Event) {
        let _ = self.sender.send(event);
        if !self.noticed.0.swap(true, Ordering::SeqCst) {
            (self.wake)();
        }
    }

    pub fn log(&self, level: Level, text: impl Into<String>) {
        self.push(Event::Log {
            level,
            text: text.into(),
        });
    }
}

impl EventQueue {
    pub fn try_recv(&self) -> Option<Event> {
        self.receiver.try_recv().ok().or_else(|| {
            self.noticed.0.store(false, Ordering::SeqCst);
            // An event pushed before the store was not announced.
            self.receiver.try_recv().ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn one_wake_up_per_drain() {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counter = wakes.clone();
        let (events, queue) = channel(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        for round in 1..=3 {
            for _ in 0..10 {
                events.log(Level::Notice, "x");
            }
            assert_eq!(wakes.load(Ordering::SeqCst), round);
            assert_eq!(std::iter::from_fn(|| queue.try_recv()).count(), 10);
        }
    }

    #[test]
    fn no_event_is_left_unannounced() {
        let (woken, wakes) = crossbeam_channel::unbounded();
        let (events, queue) = channel(move || {
            let _ = woken.send(());
        });
        let producer = std::thread::spawn(move || {
            for _ in 0..100_000 {
                events.log(Level::Notice, "");
            }
        });
        let mut seen = 0;
        while seen < 100_000 {
            wakes
                .recv_timeout(std::time::Duration::from_secs(60))
                .expect("events wait, nobody was woken");
            seen += std::iter::from_fn(|| queue.try_recv()).count();
        }
        producer.join().unwrap();
    }
}
