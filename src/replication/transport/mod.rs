//! Transport: frames between regions, in order per link, over QUIC.
//!
//! One thread ([`start`]) dials the configured peers, listens, checks certificates, compresses and moves
//! frames. It knows nothing of what is in them. The main thread talks to it through a [`Handle`]: commands
//! one way, events the other, and never waits.
//!
//! * A link is up ([`Event::Up`]) once both sides have checked the other's certificate and opened their
//!   streams. Its frames then arrive in order and exactly once until [`Event::Down`].
//! * Memory is bounded per link: [`Settings::inbound`] for frames the main thread has not dropped, one
//!   frame in assembly, 16 MiB of stream windows, 64 MiB and one frame of outbound queue.
//! * Each configured peer is dialed until a link to its region is [`Command::Established`], and again when
//!   that link is down.
//!
//! The bytes on the wire are described in `wire.rs`. The same code runs in simulated time: see [`prepare`].

mod accept;
mod assembly;
mod children;
mod compression;
mod dial;
mod driver;
mod end;
mod event;
mod link;
mod network;
mod node;
mod quic;
mod receive;
mod rotation;
mod send;
mod settings;
mod statistics;
mod thread;
mod tls;
mod wire;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use smallvec::SmallVec;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::{Level, LinkId};
use event::EventQueue;

pub use driver::Driver;
pub use event::{Event, InboundFrame};
pub use network::Network;
pub use settings::{Compression, Error, PeerAddress, Settings};
pub use statistics::LinkStatistics;

/// From the main thread to the replication thread.
#[derive(Clone, Debug)]
pub enum Command {
    /// To unknown or closed links: nothing is sent, nothing is said.
    Send {
        links: SmallVec<[LinkId; 4]>,
        frame: Arc<[u8]>,
    },
    /// What was sent before still goes out, for a second at most; the peer is told the reason.
    Close { link: LinkId, reason: String },
    /// The engine accepted this link: its region is not dialed until it is down.
    Established { link: LinkId, region: String },
    /// Goodbyes to all, at most for `deadline`; then the thread ends.
    Shutdown { deadline: Duration },
}

/// The main thread's end.
pub struct Handle {
    commands: UnboundedSender<Command>,
    events: EventQueue,
    statistics: Arc<ArcSwap<HashMap<LinkId, LinkStatistics>>>,
    addresses: Vec<SocketAddr>,
    thread: Option<JoinHandle<()>>,
    process: u32,
}

/// Checks the settings, loads the certificates and binds the sockets, so that what is wrong with them is an
/// error here; then starts the replication thread.
///
/// `wake` is called on that thread when the first event is there since [`Handle::try_recv`] last gave `None`.
pub fn start(settings: Settings, wake: impl Fn() + Send + Sync + 'static) -> Result<Handle, Error> {
    settings.check()?;
    let network = network::Udp::bind(&settings)?;
    let addresses = network.addresses();
    let (mut handle, driver) = prepare(settings, network, wake)?;
    handle.addresses = addresses;
    let thread = thread::spawn(driver).map_err(|e| Error::new(format!("cannot start the replication thread: {e}")))?;
    handle.thread = Some(thread);
    Ok(handle)
}

/// Like [`start`], on a network of the caller's, and without the thread: the caller runs the driver.
pub fn prepare<N: Network>(
    settings: Settings,
    network: N,
    wake: impl Fn() + Send + Sync + 'static,
) -> Result<(Handle, Driver<N>), Error> {
    settings.check()?;
    let seen = rotation::fingerprint(&settings);
    let tls = tls::load(&settings)?;
    let (events, queue) = event::channel(wake);
    for warning in &tls.warnings {
        events.log(Level::Warning, warning.as_str());
    }
    let (commands, receiver) = unbounded_channel();
    let driver = Driver::new(settings, network, events, tls, seen, receiver);
    let statistics = driver.node().statistics.clone();
    let process = std::process::id();
    let handle = Handle {
        commands,
        events: queue,
        statistics,
        addresses: Vec::new(),
        thread: None,
        process,
    };
    Ok((handle, driver))
}

impl Handle {
    /// Never waits.
    pub fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// Never waits. Call it until it gives `None`: only then is the next event announced by `wake`.
    pub fn try_recv(&self) -> Option<Event> {
        self.events.try_recv()
    }

    /// Figures of a link, at most a second old; `None` in its first second and after its end.
    pub fn statistics(&self, link: LinkId) -> Option<LinkStatistics> {
        self.statistics.load().get(&link).copied()
    }

    /// Where we listen, with the ports that were chosen for port 0.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Says goodbye to the peers and waits for the thread, a little more than a second at most.
    pub fn stop(mut self) {
        self.end(link::GOODBYE);
    }

    fn end(&mut self, deadline: Duration) {
        // A forked child has no replication thread to wait for.
        if std::process::id() != self.process {
            return;
        }
        self.send(Command::Shutdown { deadline });
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

/// Data behind these locks is whole at every point where a panic could poison them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
