//! A link between two regions in user space: UDP relays whose two directions fail independently.
//!
//! Every region dials every other, so a link is two relays, one per dialer. A relay listens on a loopback port for the
//! dialer and forwards to the other's listen address, with one socket per dialer's address, so that answers find
//! their way back. Both relays share the conditions of the two directions.

use std::collections::BinaryHeap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub use super::conditions::{Conditions, Counts, Direction};

/// The greatest UDP payload.
const DATAGRAM: usize = 65_535;
/// Dialers a relay tells apart; when there are more, the one that was silent longest is forgotten.
const DIALERS: usize = 64;
/// How soon a relay notices that it is to stop.
const IDLE: Duration = Duration::from_millis(50);
/// Datagrams read from one socket before the others have their turn.
const BURST: usize = 64;
static SOCKET_BUFFER: libc::c_int = 4 << 20;

/// The link between regions `a` and `b`, whichever of their servers speak.
pub struct Link {
    /// From `a` to `b`.
    pub forth: Arc<Direction>,
    /// From `b` to `a`.
    pub back: Arc<Direction>,
    to_b: Vec<Relay>,
    to_a: Vec<Relay>,
}

impl Link {
    /// A perfect link between what listens at `a` and what listens at `b`. `seed` decides what gets lost later.
    pub fn new(a: SocketAddr, b: SocketAddr, seed: u64) -> io::Result<Link> {
        Link::between(&[a], &[b], seed)
    }

    /// The same for regions whose servers listen at several addresses, at least one each.
    pub fn between(a: &[SocketAddr], b: &[SocketAddr], seed: u64) -> io::Result<Link> {
        let forth = Arc::new(Direction::new(seed));
        let back = Arc::new(Direction::new(!seed));
        let relays = |targets: &[SocketAddr], there: &Arc<Direction>, here: &Arc<Direction>| {
            let relays = targets
                .iter()
                .map(|target| Relay::start(*target, there.clone(), here.clone()));
            relays.collect::<io::Result<Vec<Relay>>>()
        };
        let to_b = relays(b, &forth, &back)?;
        let to_a = relays(a, &back, &forth)?;
        Ok(Link {
            forth,
            back,
            to_b,
            to_a,
        })
    }

    /// The address that `a` dials to reach `b`.
    pub fn address_of_b(&self) -> SocketAddr {
        self.to_b[0].address
    }

    /// The address that `b` dials to reach `a`.
    pub fn address_of_a(&self) -> SocketAddr {
        self.to_a[0].address
    }

    /// The addresses that `a` dials to reach `b`'s servers.
    pub fn addresses_of_b(&self) -> impl Iterator<Item = SocketAddr> {
        self.to_b.iter().map(|relay| relay.address)
    }

    /// The addresses that `b` dials to reach `a`'s servers.
    pub fn addresses_of_a(&self) -> impl Iterator<Item = SocketAddr> {
        self.to_a.iter().map(|relay| relay.address)
    }

    /// The same conditions both ways.
    pub fn set(&self, conditions: Conditions) {
        self.forth.set(conditions);
        self.back.set(conditions);
    }

    pub fn cut(&self) {
        self.forth.cut();
        self.back.cut();
    }

    pub fn heal(&self) {
        self.forth.heal();
        self.back.heal();
    }

    pub fn is_cut(&self) -> bool {
        self.forth.is_cut() && self.back.is_cut()
    }
}

/// Forwards what arrives at its address to a target, and the answers back. Stops when dropped.
pub struct Relay {
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    pub fn start(target: SocketAddr, forth: Arc<Direction>, back: Arc<Direction>) -> io::Result<Relay> {
        let front = socket()?;
        let address = front.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let pump = Pump {
            front,
            target,
            forth,
            back,
            dialers: Vec::new(),
            next_dialer: 0,
            waiting: BinaryHeap::new(),
            sequence: 0,
            buffer: vec![0; DATAGRAM],
        };
        let stopped = stop.clone();
        let thread = thread::Builder::new()
            .name("relay".into())
            .spawn(move || pump.run(&stopped))?;
        Ok(Relay {
            address,
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    for option in [libc::SO_RCVBUF, libc::SO_SNDBUF] {
        // SAFETY: the descriptor is open and the value is a c_int of the length given. The kernel may grant less.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const SOCKET_BUFFER).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            );
        }
    }
    Ok(socket)
}

/// Someone who dialed, and the socket that speaks to the target for it.
struct Dialer {
    number: u64,
    address: SocketAddr,
    upstream: UdpSocket,
    heard: Instant,
}

/// A datagram on its way.
struct Waiting {
    departure: Instant,
    sequence: u64,
    dialer: u64,
    forth: bool,
    payload: Arc<[u8]>,
}

/// The heap gives the earliest departure first.
impl Ord for Waiting {
    fn cmp(&self, other: &Waiting) -> std::cmp::Ordering {
        (other.departure, other.sequence).cmp(&(self.departure, self.sequence))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Waiting) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Waiting) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

struct Pump {
    front: UdpSocket,
    target: SocketAddr,
    forth: Arc<Direction>,
    back: Arc<Direction>,
    dialers: Vec<Dialer>,
    next_dialer: u64,
    waiting: BinaryHeap<Waiting>,
    sequence: u64,
    buffer: Vec<u8>,
}

impl Pump {
    fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.wait();
            self.receive_front();
            for index in 0..self.dialers.len() {
                self.receive_back(index);
            }
            self.send_due();
        }
    }

    /// Until a datagram arrives or the next one departs.
    fn wait(&self) {
        let now = Instant::now();
        let timeout = self
            .waiting
            .peek()
            .map_or(IDLE, |next| next.departure.saturating_duration_since(now).min(IDLE));
        let sockets = std::iter::once(&self.front).chain(self.dialers.iter().map(|dialer| &dialer.upstream));
        let mut polled: Vec<libc::pollfd> = sockets
            .map(|socket| libc::pollfd {
                fd: socket.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            })
            .collect();
        let timeout = libc::timespec {
            tv_sec: 0,
            tv_nsec: timeout.as_nanos() as libc::c_long,
        };
        // SAFETY: `polled` holds as many entries as said, and all descriptors are open. Errors mean: look anyway.
        unsafe {
            libc::ppoll(
                polled.as_mut_ptr(),
                polled.len() as libc::nfds_t,
                &timeout,
                std::ptr::null(),
            )
        };
    }

    fn receive_front(&mut self) {
        for _ in 0..BURST {
            let Ok((length, from)) = self.front.recv_from(&mut self.buffer) else {
                return;
            };
            if let Some(dialer) = self.dialer(from) {
                self.accept(dialer, true, length);
            }
        }
    }

    fn receive_back(&mut self, index: usize) {
        for _ in 0..BURST {
            // A target that is down answers with an ICMP error: to the dialer that is silence.
            let Ok(length) = self.dialers[index].upstream.recv(&mut self.buffer) else {
                return;
            };
            self.accept(self.dialers[index].number, false, length);
        }
    }

    fn accept(&mut self, dialer: u64, forth: bool, length: usize) {
        let direction = if forth { &self.forth } else { &self.back };
        let departures = direction.departures(Instant::now(), length);
        if departures[0].is_none() {
            return;
        }
        let payload: Arc<[u8]> = self.buffer[..length].into();
        for departure in departures.into_iter().flatten() {
            self.sequence += 1;
            let sequence = self.sequence;
            self.waiting.push(Waiting {
                departure,
                sequence,
                dialer,
                forth,
                payload: payload.clone(),
            });
        }
    }

    fn send_due(&mut self) {
        let now = Instant::now();
        while self.waiting.peek().is_some_and(|next| next.departure <= now) {
            let Some(due) = self.waiting.pop() else { return };
            let direction = if due.forth { &self.forth } else { &self.back };
            let Some(dialer) = self.dialers.iter().find(|dialer| dialer.number == due.dialer) else {
                continue;
            };
            if !direction.leaves(due.payload.len()) {
                continue;
            }
            // A full socket buffer loses the datagram, as any router may.
            let _ = match due.forth {
                true => dialer.upstream.send(&due.payload),
                false => self.front.send_to(&due.payload, dialer.address),
            };
        }
    }

    /// The number of the dialer at `address`, who is made known if new; `None` when there are no sockets left.
    fn dialer(&mut self, address: SocketAddr) -> Option<u64> {
        let now = Instant::now();
        if let Some(dialer) = self.dialers.iter_mut().find(|dialer| dialer.address == address) {
            dialer.heard = now;
            return Some(dialer.number);
        }
        let upstream = socket().ok()?;
        upstream.connect(self.target).ok()?;
        if self.dialers.len() == DIALERS {
            self.forget_silent();
        }
        self.next_dialer += 1;
        let number = self.next_dialer;
        self.dialers.push(Dialer {
            number,
            address,
            upstream,
            heard: now,
        });
        Some(number)
    }

    fn forget_silent(&mut self) {
        let silent = (0..self.dialers.len()).min_by_key(|&index| self.dialers[index].heard);
        if let Some(index) = silent {
            self.dialers.swap_remove(index);
        }
    }
}
