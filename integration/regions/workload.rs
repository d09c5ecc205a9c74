//! Clients that write what they like and remember what must come of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redis::Connection;
use redis_geo::lab::dump::{Dump, Shown};
use redis_geo::lab::regions::Regions;
use redis_geo::lab::server::connect;

/// A reply that takes longer fails the test: the client was held up.
const REPLY: Duration = Duration::from_secs(30);
const KEYS: u32 = 25;
const COUNTERS: u32 = 5;
const MEMBERS: u32 = 12;

/// What clients did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub operations: u64,
    /// Sum of the increments by counter key: nothing else is ever done to these keys.
    pub totals: BTreeMap<String, i64>,
}

impl Tally {
    pub fn add(&mut self, other: Tally) {
        self.operations += other.operations;
        for (key, total) in other.totals {
            *self.totals.entry(key).or_default() += total;
        }
    }

    /// Every increment counts exactly once.
    pub fn check(&self, dump: &Dump) {
        for (key, total) in &self.totals {
            let expected = Shown::String(total.to_string().into_bytes());
            assert_eq!(dump.0.get(key.as_bytes()), Some(&expected), "counter {key}");
        }
    }
}

/// One client: a thread with a connection.
pub struct Client {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: JoinHandle<Tally>,
}

impl Client {
    /// A client that writes until it is stopped, or has done `limit` operations.
    pub fn start(address: SocketAddr, seed: u64, limit: Option<u64>) -> Client {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (stop.clone(), done.clone());
        let thread = thread::spawn(move || {
            let mut connection = connect(address, REPLY).expect("the server accepts clients");
            let mut random = SmallRng::seed_from_u64(seed);
            let mut tally = Tally::default();
            while !stopped.load(Ordering::Relaxed) && limit.is_none_or(|limit| tally.operations < limit) {
                operation(&mut random, &mut connection, &mut tally);
                count.store(tally.operations, Ordering::Relaxed);
            }
            tally
        });
        Client { stop, done, thread }
    }

    /// Operations done so far.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Stops the client and gives what it did.
    pub fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.finish()
    }

    /// Waits until the client has reached its limit.
    pub fn finish(self) -> Tally {
        self.thread.join().expect("every operation is answered")
    }
}

/// Starts `clients` in each of these regions.
pub fn start(regions: &Regions, names: &[&str], clients: u64, seed: u64, limit: Option<u64>) -> Vec<Client> {
    let client = |(index, name): (usize, &&str), number| {
        Client::start(
            regions.address(name),
            seed * 10_000 + index as u64 * 100 + number,
            limit,
        )
    };
    names
        .iter()
        .enumerate()
        .flat_map(|region| (0..clients).map(move |number| client(region, number)))
        .collect()
}

/// Waits for clients with a limit.
pub fn finish(clients: Vec<Client>) -> Tally {
    total(clients.into_iter().map(Client::finish))
}

pub fn stop(clients: Vec<Client>) -> Tally {
    total(clients.into_iter().map(Client::stop))
}

fn total(tallies: impl Iterator<Item = Tally>) -> Tally {
    tallies.fold(Tally::default(), |mut total, tally| {
        total.add(tally);
        total
    })
}

/// One random command: registers and sets of few keys, so that regions meet on them, and counters that only grow.
fn operation(random: &mut SmallRng, connection: &mut Connection, tally: &mut Tally) {
    let string = format!("string:{}", random.random_range(0..KEYS));
    let set = format!("set:{}", random.random_range(0..KEYS));
    let member = format!("m{}", random.random_range(0..MEMBERS));
    let value = random.random::<u32>().to_string();
    let command = match random.random_range(0..100) {
        0..25 => vec!["GEO.SET", &string, &value],
        25..30 => vec!["GEO.APPEND", &string, "x"],
        30..33 => vec!["GEO.GETSET", &string, &value],
        33..36 => vec!["GEO.DEL", &string],
        36..38 => vec!["GEO.UNLINK", &set],
        38..58 => vec!["GEO.SADD", &set, &member, &value],
        58..68 => vec!["GEO.SREM", &set, &member],
        68..70 => vec!["GEO.SPOP", &set],
        _ => return increment(random, connection, tally),
    };
    let mut request = redis::cmd(command[0]);
    request.arg(&command[1..]);
    let reply: redis::RedisResult<redis::Value> = request.query(connection);
    reply.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    tally.operations += 1;
}

fn increment(random: &mut SmallRng, connection: &mut Connection, tally: &mut Tally) {
    let key = format!("counter:{}", random.random_range(0..COUNTERS));
    let delta = random.random_range(-5..=20i64);
    let _: i64 = redis::cmd("GEO.INCRBY")
        .arg(&key)
        .arg(delta)
        .query(connection)
        .expect("GEO.INCRBY");
    *tally.totals.entry(key).or_default() += delta;
    tally.operations += 1;
}
