//! Carries the faults out, and knows what a server that comes back must have kept.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis_geo::lab::fleet::{Fleet, Node};
use redis_geo::lab::wait_for;

use crate::client::Clock;
use crate::faults::{Event, Fault, Return, Role};
use crate::history::{Restart, Time};
use crate::place::{Place, text};
use crate::sites::Durability;

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How long a server may take for what it is asked to do on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// A region as it is operated.
pub struct Region {
    pub durability: Durability,
    /// A sentinel decides who is the primary; otherwise the operator does.
    pub sentinel: bool,
    pub primary: usize,
    backup: Option<Backup>,
}

/// Copied files, with all that was held at `taken`.
#[derive(Clone)]
struct Backup {
    taken: Time,
    /// `run_id` of the server they are of.
    process: String,
    directory: PathBuf,
}

/// A server that is down.
struct Down {
    region: usize,
    node: usize,
    back: Return,
    was_primary: bool,
    /// `run_id`.
    process: String,
    killed: Time,
    /// Its append-only file is complete: not so while a server that was a replica writes the first one after it was
    /// synchronized.
    complete: bool,
}

pub struct Operator {
    pub fleet: Fleet,
    pub regions: Vec<Region>,
    pub places: Vec<Vec<Place>>,
    pub timeline: Vec<(Time, String)>,
    pub restarts: Vec<Restart>,
    clock: Arc<Clock>,
    down: Option<Down>,
    frozen: Option<(usize, usize)>,
}

impl Operator {
    pub fn new(fleet: Fleet, durability: &[(Durability, bool)], clock: Arc<Clock>) -> Operator {
        let regions = durability.iter().map(|&(durability, sentinel)| Region {
            durability,
            sentinel,
            primary: 0,
            backup: None,
        });
        let places = Place::all(&fleet);
        Operator {
            fleet,
            regions: regions.collect(),
            places,
            timeline: Vec::new(),
            restarts: Vec::new(),
            clock,
            down: None,
            frozen: None,
        }
    }

    pub fn say(&mut self, what: String) {
        self.timeline.push((self.clock.now(), what));
    }

    /// Makes one fault happen.
    pub fn perform(&mut self, event: &Event) -> Result<()> {
        self.say(format!("{:?}", event.fault));
        match event.fault {
            Fault::Kill { region, role, back } => self.kill(region, role, back),
            Fault::Restart => self.restart(),
            Fault::Freeze { region, role } => {
                let node = self.find(region, role);
                self.node(region, node).server.freeze();
                self.frozen = Some((region, node));
                Ok(())
            }
            Fault::Thaw => {
                self.thaw();
                Ok(())
            }
            Fault::Promote { region } => self.promote(region, true),
            Fault::Save { region, role } => self.background(region, role, "BGSAVE"),
            Fault::Rewrite { region, role } => self.background(region, role, "BGREWRITEAOF"),
            Fault::BackUp { region } => self.back_up(region),
            Fault::Clock { region, node, ahead } => {
                let (ahead, behind) = (ahead.max(0) as u64, ahead.min(0).unsigned_abs());
                let shim = &self.node(region, node).shim;
                Ok(shim.set_clock(Duration::from_secs(ahead), Duration::from_secs(behind))?)
            }
            Fault::Cut { link, forth } => {
                self.direction(link, forth).cut();
                Ok(())
            }
            Fault::Heal { link, forth } => {
                self.direction(link, forth).heal();
                Ok(())
            }
            Fault::Conditions {
                link,
                forth,
                conditions,
            } => {
                self.direction(link, forth).set(conditions);
                Ok(())
            }
        }
    }

    /// Undoes what can be undone: links are well, clocks are right, nobody is frozen, everybody runs. A server whose clock
    /// stays hours behind waits so long for its next synchronization or fsync: it takes the time from that clock.
    pub fn relent(&mut self) -> Result<()> {
        self.say("all faults are over".into());
        for (_, link) in self.fleet.links() {
            link.set(redis_geo::lab::relay::Conditions::PERFECT);
            link.heal();
        }
        for (_, node) in self.fleet.nodes() {
            node.shim.set_clock(Duration::ZERO, Duration::ZERO)?;
        }
        self.thaw();
        self.restart()
    }

    fn node(&mut self, region: usize, node: usize) -> &mut Node {
        self.fleet.node(region, node)
    }

    fn direction(&self, (a, b): (usize, usize), forth: bool) -> &redis_geo::lab::relay::Direction {
        let link = self.fleet.link(a, b);
        if forth { &link.forth } else { &link.back }
    }

    fn thaw(&mut self) {
        if let Some((region, node)) = self.frozen.take() {
            self.node(region, node).server.thaw();
        }
    }

    /// The server of the region that has the role now, as well as one can know.
    fn find(&mut self, region: usize, role: Role) -> usize {
        if self.regions[region].sentinel {
            let mut places = self.places[region].iter();
            if let Some(primary) = places.position(|place| place.primary().is_some()) {
                self.regions[region].primary = primary;
            }
        }
        let primary = self.regions[region].primary;
        match role {
            Role::Primary => primary,
            Role::Replica => (primary + 1) % self.places[region].len(),
        }
    }

    fn address(&self, region: usize, node: usize) -> SocketAddr {
        self.places[region][node].address
    }

    fn kill(&mut self, region: usize, role: Role, back: Return) -> Result<()> {
        let node = self.find(region, role);
        let place = &self.places[region][node];
        let known = place.connect().and_then(|mut connection| {
            let mut ask = redis::pipe();
            ask.cmd("INFO").arg("persistence");
            place.identify(&mut connection, ask)
        });
        let (was_primary, process, complete) = match known {
            Ok((identity, answers)) => {
                let rewriting = answers
                    .iter()
                    .any(|answer| text(answer).contains("aof_rewrite_in_progress:1"));
                let complete = !rewriting || identity.continues.bytes().all(|digit| digit == b'0');
                (identity.primary, identity.life.process.clone(), complete)
            }
            Err(_) => (role == Role::Primary, String::new(), false),
        };
        let killed = self.clock.now();
        self.node(region, node).server.kill();
        self.say(format!(
            "killed {} (primary: {was_primary})",
            self.places[region][node].name
        ));
        self.down = Some(Down {
            region,
            node,
            back,
            was_primary,
            process,
            killed,
            complete,
        });
        if was_primary && back == Return::Failover && !self.regions[region].sentinel {
            self.promote(region, false)?;
        }
        Ok(())
    }

    /// Makes the replica the primary. `follow`: the old primary lives and follows it.
    fn promote(&mut self, region: usize, follow: bool) -> Result<()> {
        let old = self.regions[region].primary;
        let new = (old + 1) % self.places[region].len();
        replicate(&self.places[region][new], None)?;
        self.regions[region].primary = new;
        self.say(format!("{} is promoted", self.places[region][new].name));
        if follow {
            replicate(&self.places[region][old], Some(self.address(region, new)))?;
        }
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        let Some(down) = self.down.take() else { return Ok(()) };
        let (region, node) = (down.region, down.node);
        // Under a sentinel a server comes back as what it was, until it is told otherwise.
        let primary = if self.regions[region].sentinel {
            down.was_primary
        } else {
            self.regions[region].primary == node
        };
        let follows = (!primary).then(|| {
            let primary = self.find(region, Role::Primary);
            let other = if primary == node {
                (node + 1) % self.places[region].len()
            } else {
                primary
            };
            self.address(region, other)
        });
        let (before, kept) = self.prepare_files(&down)?;
        let started = self.clock.now();
        self.node(region, node).restart(follows)?;
        let name = self.places[region][node].name.clone();
        self.say(format!(
            "{name} is back ({:?}), primary: {primary}, kept what it held at {kept:?}",
            down.back
        ));
        if primary {
            self.note(&down, before, started, kept)?;
        }
        Ok(())
    }

    /// Remembers what the server that is back must have kept.
    fn note(&mut self, down: &Down, before: String, started: Time, kept: Option<Time>) -> Result<()> {
        let place = self.places[down.region][down.node].clone();
        let found = wait_for("the server that is back", PATIENCE, || {
            place.identify(&mut place.connect().ok()?, redis::pipe()).ok()
        })?;
        self.restarts.push(Restart {
            before,
            after: found.0.life.process.clone(),
            started,
            blank: down.back == Return::Blank || self.regions[down.region].durability == Durability::Volatile,
            kept,
        });
        Ok(())
    }

    /// Brings the files of a server that is down into the state in which it starts. Gives the `run_id` of the process
    /// whose files they are, and up to when they hold what it held.
    fn prepare_files(&mut self, down: &Down) -> Result<(String, Option<Time>)> {
        let durability = self.regions[down.region].durability;
        let backup = self.regions[down.region].backup.clone();
        let node = self.node(down.region, down.node);
        match (down.back, backup) {
            (Return::Backup, Some(backup)) => {
                node.restore(&backup.directory)?;
                Ok((backup.process, durability.kept(backup.taken)))
            }
            (back, _) if back == Return::Blank || durability == Durability::Volatile => {
                node.wipe()?;
                Ok((down.process.clone(), None))
            }
            _ => Ok((
                down.process.clone(),
                durability.kept(down.killed).filter(|_| down.complete),
            )),
        }
    }

    /// Copies the primary's files while it works.
    fn back_up(&mut self, region: usize) -> Result<()> {
        let node = self.find(region, Role::Primary);
        let place = &self.places[region][node];
        let Some((_, identity)) = place.primary() else {
            return Ok(());
        };
        let taken = self.clock.now();
        let directory = self
            .fleet
            .directory()
            .join(format!("backup-{region}-{}", taken.as_millis()));
        // Files may come and go meanwhile: such a copy is of no use.
        if self.node(region, node).back_up(&directory).is_ok() {
            let process = identity.life.process.clone();
            self.regions[region].backup = Some(Backup {
                taken,
                process,
                directory,
            });
        }
        Ok(())
    }

    /// Asks for a save or a rewrite; a server that is down, frozen or busy with another need not do it.
    fn background(&mut self, region: usize, role: Role, command: &str) -> Result<()> {
        let node = self.find(region, role);
        let place = &self.places[region][node];
        let answer = place
            .connect()
            .and_then(|mut connection| redis::cmd(command).query::<String>(&mut connection));
        self.say(format!("{command} of {}: {answer:?}", self.places[region][node].name));
        Ok(())
    }
}

/// Makes a server follow `primary`, or nobody.
pub fn replicate(place: &Place, primary: Option<SocketAddr>) -> Result<()> {
    let (host, port) = match primary {
        Some(address) => (address.ip().to_string(), address.port().to_string()),
        None => ("NO".into(), "ONE".into()),
    };
    let mut command = redis::cmd("REPLICAOF");
    command.arg(host).arg(port);
    // A server that is loading refuses.
    wait_for("REPLICAOF", PATIENCE, || {
        command.query::<()>(&mut place.connect().ok()?).ok()
    })?;
    Ok(())
}
