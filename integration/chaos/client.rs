//! Clients: they write what they can remember, to the primary of their region, wherever it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use redis::{Cmd, Connection, RedisError, RedisResult};
use redis_geo::lab::status::Fields;

use crate::history::{Effect, Life, Time, Write};
use crate::place::Place;

const SETS: u32 = 30;
const STRINGS: u32 = 30;
const COUNTERS: u32 = 8;
/// Clients write at a person's machine's pace, not as fast as it can: the history must stay small enough to check.
const PACE: Duration = Duration::from_millis(10);
/// How long a connection is used.
const SESSION: Duration = Duration::from_secs(1);
/// Errors with which a server says that it did nothing.
const REFUSALS: [&str; 8] = [
    "READONLY",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "EXECABORT",
    "NOREPLICAS",
    "OOM",
    "CLUSTERDOWN",
];

/// What all threads of a run share.
pub struct Clock {
    start: Instant,
    stop: AtomicBool,
}

impl Clock {
    pub fn start() -> Arc<Clock> {
        Arc::new(Clock {
            start: Instant::now(),
            stop: AtomicBool::new(false),
        })
    }

    pub fn now(&self) -> Time {
        self.start.elapsed()
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// What a client remembers.
#[derive(Default)]
pub struct Record {
    pub writes: Vec<Write>,
    /// Errors that no server should give.
    pub errors: Vec<String>,
}

pub struct Client {
    number: usize,
    clock: Arc<Clock>,
    places: Vec<Place>,
    random: SmallRng,
    /// Names given so far: values and members are unique.
    names: u64,
    removed: Vec<(String, String)>,
    record: Record,
}

/// A connection to a primary.
struct Session {
    connection: Connection,
    life: Arc<Life>,
    recovering: bool,
}

/// The connection is of no use any more.
struct Broken;

impl Client {
    /// A client that writes until the clock is stopped.
    pub fn start(clock: Arc<Clock>, places: Vec<Place>, seed: u64, number: usize) -> JoinHandle<Record> {
        let mut client = Client {
            number,
            clock,
            places,
            random: SmallRng::seed_from_u64(seed ^ (number as u64) << 32),
            names: 0,
            removed: Vec::new(),
            record: Record::default(),
        };
        thread::spawn(move || {
            while !client.clock.stopped() {
                client.session();
                thread::sleep(PACE);
            }
            client.record
        })
    }

    /// Works with one connection until it breaks.
    fn session(&mut self) {
        self.places.shuffle(&mut self.random);
        let Some((mut connection, identity)) = self.places.iter().find_map(Place::primary) else {
            return;
        };
        let Ok(status) = Fields::of(&mut connection) else {
            return;
        };
        let mut session = Session {
            recovering: status.text("state") != "active",
            connection,
            life: identity.life,
        };
        // A server may begin a new life under our hands: writes under an old name prove nothing.
        let begin = self.clock.now();
        while !self.clock.stopped() && self.clock.now() < begin + SESSION && self.operation(&mut session).is_ok() {
            thread::sleep(PACE.mul_f64(2.0 * self.random.random::<f64>()));
        }
    }

    fn operation(&mut self, session: &mut Session) -> Result<(), Broken> {
        let set = format!("set:{}", self.random.random_range(0..SETS));
        let string = format!("string:{}", self.random.random_range(0..STRINGS));
        match self.random.random_range(0..100) {
            0..33 => self.add(session, set),
            33..40 => self.add_again(session),
            40..57 => self.remove(session, set),
            57..60 => self.pop(session, set),
            60..62 => self.delete_set(session, set),
            62..77 => self.assign(session, string),
            77..81 => self.delete(session, string),
            _ => self.increment(session),
        }
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("{}-{}", self.number, self.names)
    }

    fn add(&mut self, session: &mut Session, key: String) -> Result<(), Broken> {
        let member = self.name();
        self.add_member(session, key, member)
    }

    fn add_again(&mut self, session: &mut Session) -> Result<(), Broken> {
        if self.removed.is_empty() {
            return Ok(());
        }
        let index = self.random.random_range(0..self.removed.len());
        let (key, member) = self.removed.swap_remove(index);
        self.add_member(session, key, member)
    }

    fn add_member(&mut self, session: &mut Session, key: String, member: String) -> Result<(), Broken> {
        let command = command("GEO.SADD", &[&key, &member]);
        self.write(
            session,
            |connection| command.query::<i64>(connection),
            |_| Some(Effect::Add { key, member }),
        )
    }

    fn remove(&mut self, session: &mut Session, key: String) -> Result<(), Broken> {
        let found = command("SRANDMEMBER", &[&key]).query::<Option<String>>(&mut session.connection);
        let Some(member) = found.map_err(|_| Broken)? else {
            return Ok(());
        };
        let command = command("GEO.SREM", &[&key, &member]);
        let mut removed = None;
        let effect = |answer: Option<i64>| {
            removed = (answer == Some(1)).then(|| (key.clone(), member.clone()));
            let members = vec![member];
            (answer != Some(0)).then_some(Effect::Remove {
                key,
                members,
                whole: false,
            })
        };
        let outcome = self.write(session, |connection| command.query::<i64>(connection), effect);
        self.removed.extend(removed);
        outcome
    }

    fn pop(&mut self, session: &mut Session, key: String) -> Result<(), Broken> {
        let command = command("GEO.SPOP", &[&key]);
        let effect = |answer: Option<Option<String>>| match answer {
            None => Some(Effect::RemoveAny { key }),
            Some(member) => member.map(|member| Effect::Remove {
                key,
                members: vec![member],
                whole: false,
            }),
        };
        self.write(session, |connection| command.query(connection), effect)
    }

    fn delete_set(&mut self, session: &mut Session, key: String) -> Result<(), Broken> {
        let mut pipeline = redis::pipe();
        pipeline
            .atomic()
            .cmd("SMEMBERS")
            .arg(&key)
            .cmd("GEO.DEL")
            .arg(&key)
            .ignore();
        let effect = |answer: Option<(Vec<String>,)>| match answer {
            None => Some(Effect::RemoveAny { key }),
            Some((members,)) => Some(Effect::Remove {
                key,
                members,
                whole: true,
            }),
        };
        self.write(session, |connection| pipeline.query(connection), effect)
    }

    fn assign(&mut self, session: &mut Session, key: String) -> Result<(), Broken> {
        let value = self.name();
        let command = command("GEO.SET", &[&key, &value, "GET"]);
        let effect = |answer: Option<Option<String>>| {
            Some(Effect::Assign {
                key,
                value,
                instead: answer.flatten(),
            })
        };
        self.write(session, |connection| command.query(connection), effect)
    }

    fn delete(&mut self, session: &mut Session, key: String) -> Result<(), Broken> {
        let command = command("GEO.GETDEL", &[&key]);
        let effect = |answer: Option<Option<String>>| match answer {
            Some(None) => None,
            other => Some(Effect::Delete {
                key,
                value: other.flatten(),
            }),
        };
        self.write(session, |connection| command.query(connection), effect)
    }

    fn increment(&mut self, session: &mut Session) -> Result<(), Broken> {
        let key = format!("counter:{}", self.random.random_range(0..COUNTERS));
        let by = self.random.random_range(-5..=20i64);
        let command = command("GEO.INCRBY", &[&key, &by.to_string()]);
        self.write(
            session,
            |connection| command.query::<i64>(connection),
            |_| Some(Effect::Increment { key, by }),
        )
    }

    /// Sends a write and remembers its outcome. `effect` says what it did by its answer, or may have done without one.
    fn write<T>(
        &mut self,
        session: &mut Session,
        send: impl FnOnce(&mut Connection) -> RedisResult<T>,
        effect: impl FnOnce(Option<T>) -> Option<Effect>,
    ) -> Result<(), Broken> {
        let sent = self.clock.now();
        let result = send(&mut session.connection);
        let now = self.clock.now();
        let outcome = result.as_ref().map(|_| ()).map_err(|_| Broken);
        let (effect, answered) = match result {
            Ok(answer) => (effect(Some(answer)), Some(now)),
            Err(error) if refused(&error) => return Err(Broken),
            Err(error) => {
                if !error.is_io_error() {
                    self.record.errors.push(format!("{:.3} s: {error}", now.as_secs_f64()));
                }
                (effect(None), None)
            }
        };
        self.record.writes.extend(effect.map(|effect| Write {
            life: session.life.clone(),
            sent,
            answered,
            provisional: session.recovering,
            effect,
        }));
        outcome
    }
}

fn refused(error: &RedisError) -> bool {
    error.code().is_some_and(|code| REFUSALS.contains(&code))
}

fn command(name: &str, arguments: &[&str]) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(arguments);
    command
}
