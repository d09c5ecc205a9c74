//! A network in simulated time: real QUIC and TLS over datagrams that are delayed, lost, doubled and cut
//! under one seed, on tokio's paused clock.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, UdpPoller};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redis_geo::replication::transport::{Network, Settings, prepare};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::region::Region;

/// What the wires do, now; every direction alike but for cuts.
pub struct Weather {
    pub delay: Duration,
    /// Added at random, up to this: datagrams overtake each other.
    pub jitter: Duration,
    pub loss: f64,
    pub doubled: f64,
    /// Bytes per second of each direction; what waits longer than 300 ms is dropped.
    pub rate: f64,
    /// Directions, from and to, that carry nothing.
    pub cut: BTreeSet<(SocketAddr, SocketAddr)>,
}

/// Time in microseconds, from, to, bytes; false: not delivered.
pub type Trace = Vec<(u128, SocketAddr, SocketAddr, usize, bool)>;

pub struct Wires {
    pub weather: Weather,
    pub trace: Trace,
    random: StdRng,
    seed: u64,
    start: Instant,
    inboxes: BTreeMap<SocketAddr, Inbox>,
    busy: BTreeMap<(SocketAddr, SocketAddr), Instant>,
    sent: u64,
}

#[derive(Default)]
struct Inbox {
    /// By time of arrival, then in the order sent.
    datagrams: BTreeMap<(Instant, u64), (SocketAddr, Vec<u8>)>,
    waker: Option<Waker>,
}

impl Wires {
    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let now = Instant::now();
        let busy = self.busy.entry((from, to)).or_insert(now);
        let leaves = (*busy).max(now) + Duration::from_secs_f64(bytes.len() as f64 / self.weather.rate);
        let fits = leaves - now < Duration::from_millis(300);
        if fits {
            *busy = leaves;
        }
        let arrives =
            fits && !self.weather.cut.contains(&(from, to)) && self.random.random::<f64>() >= self.weather.loss;
        self.trace
            .push(((now - self.start).as_micros(), from, to, bytes.len(), arrives));
        let copies = if !arrives {
            0
        } else {
            1 + u32::from(self.random.random::<f64>() < self.weather.doubled)
        };
        for _ in 0..copies {
            let at = leaves + self.weather.delay + self.weather.jitter.mul_f64(self.random.random());
            self.sent += 1;
            let Some(inbox) = self.inboxes.get_mut(&to) else { return };
            inbox.datagrams.insert((at, self.sent), (from, bytes.to_vec()));
            inbox.waker.take().into_iter().for_each(Waker::wake);
        }
    }
}

/// The world of one run.
#[derive(Clone)]
pub struct World(Arc<Mutex<Wires>>);

impl World {
    /// Runs `scenario` in simulated time: 20 ms one way, 25 MB/s, no loss, until it changes that.
    pub fn run<F: Future<Output = ()>>(seed: u64, scenario: impl FnOnce(World) -> F) -> Trace {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let weather = Weather {
                delay: Duration::from_millis(20),
                jitter: Duration::ZERO,
                loss: 0.0,
                doubled: 0.0,
                rate: 25e6,
                cut: BTreeSet::new(),
            };
            let world = World(Arc::new(Mutex::new(Wires {
                weather,
                trace: Vec::new(),
                random: StdRng::seed_from_u64(seed),
                seed,
                start: Instant::now(),
                inboxes: BTreeMap::new(),
                busy: BTreeMap::new(),
                sent: 0,
            })));
            scenario(world.clone()).await;
            std::mem::take(&mut world.0.lock().unwrap().trace)
        })
    }

    pub fn wires<T>(&self, f: impl FnOnce(&mut Wires) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }

    /// Cuts or heals both directions.
    pub fn cut(&self, a: &Settings, b: &Settings, cut: bool) {
        let (a, b) = (a.listen[0], b.listen[0]);
        for direction in [(a, b), (b, a)] {
            self.wires(|wires| match cut {
                true => wires.weather.cut.insert(direction),
                false => wires.weather.cut.remove(&direction),
            });
        }
    }

    /// Starts a region's transport in this world.
    pub fn start(&self, settings: &Settings) -> Region {
        let (handle, mut driver) = prepare(
            settings.clone(),
            Site {
                world: self.clone(),
                address: settings.listen[0],
            },
            || {},
        )
        .unwrap();
        tokio::spawn(async move { driver.run().await });
        Region::of(handle)
    }

    /// Simulated time since the start.
    pub fn now(&self) -> Duration {
        Instant::now() - self.wires(|wires| wires.start)
    }
}

/// Pumps until `condition` holds; fails after `limit` of simulated time.
pub async fn settle<const N: usize>(
    what: &str,
    limit: u64,
    regions: [&mut Region; N],
    mut condition: impl FnMut([&mut Region; N]) -> bool,
) {
    let mut regions = regions;
    let start = Instant::now();
    loop {
        regions.iter_mut().for_each(|region| region.pump(usize::MAX));
        if condition(regions.each_mut().map(|region| &mut **region)) {
            return;
        }
        if start.elapsed() > Duration::from_secs(limit) {
            for region in &regions {
                eprintln!("log {:?}\ndial failures {:?}", region.log, region.dial_failures);
                for (link, up) in &region.links {
                    eprintln!("{link:?} {:?} frames {} down {:?}", up.dialed, up.frames.len(), up.down);
                }
            }
            panic!("not within {limit} simulated seconds: {what}");
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// One region's place in the world.
struct Site {
    world: World,
    address: SocketAddr,
}

impl Network for Site {
    fn listen(&self, config: EndpointConfig, server: ServerConfig) -> io::Result<Vec<Endpoint>> {
        let (world, address) = (self.world.clone(), self.address);
        world.wires(|wires| wires.inboxes.insert(address, Inbox::default()));
        let socket = Arc::new(Socket {
            world,
            address,
            timer: Mutex::default(),
        });
        Ok(vec![Endpoint::new_with_abstract_socket(
            config,
            Some(server),
            socket,
            Arc::new(TokioRuntime),
        )?])
    }

    fn dialing(&self, _: EndpointConfig, to: SocketAddr) -> io::Result<Endpoint> {
        unreachable!("{to} is dialed from the listening socket")
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(vec![SocketAddr::new(host.parse().map_err(io::Error::other)?, port)])
    }

    fn seed(&self) -> Option<u64> {
        Some(self.world.wires(|wires| wires.seed) << 16 | u64::from(self.address.port()))
    }
}

struct Socket {
    world: World,
    address: SocketAddr,
    /// Until the next datagram arrives.
    timer: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Socket({})", self.address)
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable)
    }

    fn try_send(&self, transmit: &Transmit) -> io::Result<()> {
        self.world
            .wires(|wires| wires.send(self.address, transmit.destination, transmit.contents));
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let next = self.world.wires(|wires| {
            let Some(inbox) = wires.inboxes.get_mut(&self.address) else {
                return Ok(0);
            };
            let mut count = 0;
            while let Some(entry) = inbox.datagrams.first_entry() {
                let at = entry.key().0;
                if count == bufs.len() || at > Instant::now() {
                    if count == 0 {
                        inbox.waker = Some(cx.waker().clone());
                        return Err(at);
                    }
                    break;
                }
                let (addr, bytes) = entry.remove();
                let len = bytes.len();
                bufs[count][..len].copy_from_slice(&bytes);
                meta[count] = RecvMeta {
                    addr,
                    len,
                    stride: len,
                    ecn: None,
                    dst_ip: None,
                };
                count += 1;
            }
            if count == 0 {
                inbox.waker = Some(cx.waker().clone());
            }
            Ok(count)
        });
        match next {
            Ok(0) => Poll::Pending,
            Ok(count) => Poll::Ready(Ok(count)),
            Err(at) => {
                let mut timer = self.timer.lock().unwrap();
                let sleep = timer.insert(Box::pin(sleep_until(at)));
                if sleep.as_mut().poll(cx).is_ready() {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct Writable;

impl UdpPoller for Writable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
