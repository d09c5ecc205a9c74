//! Several regions on one machine, with their certificates, linked through relays.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redis::Connection;
use tempfile::TempDir;

use super::dump::Dump;
use super::relay::{Conditions, Link};
use super::server::{Server, Settings};
use super::status::Fields;
use super::{ports, wait_for};
use crate::certificates::{Authority, Files, Request, authority_certificate};

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

const DAYS: u32 = 7;
pub const CLUSTER: &str = "test";

/// Which regions know each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// Every pair.
    Mesh,
    /// The first region and every other.
    Hub,
}

impl Topology {
    fn links(self, first: usize, second: usize) -> bool {
        self == Topology::Mesh || first.min(second) == 0
    }
}

/// Regions by name, and the links between them. Dropping it kills the servers and removes their files.
pub struct Regions {
    servers: BTreeMap<String, Server>,
    /// By the names of its ends, in the order of the regions.
    links: BTreeMap<(String, String), Link>,
    settings: BTreeMap<String, Settings>,
    // Last: the servers' files go after the servers.
    directory: TempDir,
}

impl Regions {
    /// Makes certificates and links; no server runs yet. With `relayed` false, regions dial each other directly.
    /// `seed` decides what the links lose.
    pub fn prepare(module: &Path, names: &[&str], topology: Topology, relayed: bool, seed: u64) -> Result<Regions> {
        let directory = tempfile::Builder::new().prefix("redis-geo-").tempdir()?;
        let certificates = directory.path().join("certificates");
        issue(&certificates, names)?;
        let mut settings = BTreeMap::new();
        for name in names {
            let region = Settings {
                module: Some(module.into()),
                region: name.to_string(),
                cluster: CLUSTER.into(),
                listen: ports::free(),
                peers: Vec::new(),
                certificate: Files::of(&certificates, name),
                authority: authority_certificate(&certificates),
                arguments: Vec::new(),
                lines: Vec::new(),
                environment: Vec::new(),
            };
            settings.insert(name.to_string(), region);
        }
        let mut regions = Regions {
            servers: BTreeMap::new(),
            links: BTreeMap::new(),
            settings,
            directory,
        };
        for (second, b) in names.iter().enumerate() {
            for (first, a) in names[..second]
                .iter()
                .enumerate()
                .filter(|(first, _)| topology.links(*first, second))
            {
                regions.link(
                    a,
                    b,
                    relayed,
                    seed.wrapping_mul(1_000_003).wrapping_add((first * 64 + second) as u64),
                )?;
            }
        }
        Ok(regions)
    }

    /// Prepares relayed regions and starts them all.
    pub fn start(module: &Path, names: &[&str], topology: Topology, seed: u64) -> Result<Regions> {
        let mut regions = Regions::prepare(module, names, topology, true, seed)?;
        for name in names {
            regions.launch(name)?;
        }
        Ok(regions)
    }

    fn link(&mut self, a: &str, b: &str, relayed: bool, seed: u64) -> Result<()> {
        let (at_a, at_b) = (self.settings(a).listen, self.settings(b).listen);
        let (mut to_a, mut to_b) = (at_a, at_b);
        if relayed {
            let link = Link::new(at_a, at_b, seed)?;
            (to_a, to_b) = (link.address_of_a(), link.address_of_b());
            self.links.insert((a.into(), b.into()), link);
        }
        self.settings(a).peers.push((b.into(), to_b));
        self.settings(b).peers.push((a.into(), to_a));
        Ok(())
    }

    /// The settings with which [`Regions::launch`] starts a region.
    ///
    /// # Panics
    /// When there is no such region.
    pub fn settings(&mut self, name: &str) -> &mut Settings {
        self.settings
            .get_mut(name)
            .unwrap_or_else(|| panic!("no region {name}"))
    }

    /// Starts a region's server.
    pub fn launch(&mut self, name: &str) -> Result<()> {
        let settings = self.settings(name).clone();
        let server = Server::start(&self.directory.path().join(name), settings)?;
        self.servers.insert(name.into(), server);
        Ok(())
    }

    pub fn names(&self) -> Vec<String> {
        self.servers.keys().cloned().collect()
    }

    /// # Panics
    /// When the region was not started.
    pub fn server(&mut self, name: &str) -> &mut Server {
        self.servers
            .get_mut(name)
            .unwrap_or_else(|| panic!("region {name} was not started"))
    }

    pub fn address(&self, name: &str) -> SocketAddr {
        self.servers[name].address
    }

    pub fn connect(&self, name: &str) -> Result<Connection> {
        Ok(self.servers[name].connect()?)
    }

    pub fn status(&self, name: &str) -> Result<Fields> {
        Ok(Fields::of(&mut self.connect(name)?)?)
    }

    /// The directory of the certificates and servers.
    pub fn directory(&self) -> PathBuf {
        self.directory.path().into()
    }

    pub fn links(&self) -> impl Iterator<Item = (&str, &str, &Link)> {
        self.links.iter().map(|((a, b), link)| (a.as_str(), b.as_str(), link))
    }

    /// The links that end at a region.
    pub fn links_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Link> {
        self.links()
            .filter(move |(a, b, _)| *a == name || *b == name)
            .map(|(_, _, link)| link)
    }

    /// Cuts a region off from all others.
    pub fn isolate(&self, name: &str) {
        self.links_of(name).for_each(Link::cut);
    }

    /// Heals every link; their other conditions stay.
    pub fn heal(&self) {
        self.links().for_each(|(_, _, link)| link.heal());
    }

    /// Sets the same conditions on every link, both ways.
    pub fn set(&self, conditions: Conditions) {
        self.links().for_each(|(_, _, link)| link.set(conditions));
    }

    /// Waits until every running region is active and has a link with every configured peer that runs.
    pub fn await_links(&self, patience: Duration) -> Result<()> {
        let mut missing = String::new();
        let waited = wait_for("all links to be up", patience, || {
            missing = self.missing_link()?;
            missing.is_empty().then_some(())
        });
        waited.map_err(|timeout| format!("{timeout}: {missing}").into())
    }

    /// A region that is not active or a link that is not up, in words; empty when there is none.
    fn missing_link(&self) -> Option<String> {
        for (name, server) in &self.servers {
            let status = self.status(name).ok()?;
            if status.text("state") != "active" {
                return Some(format!(
                    "{name} is {} ({})",
                    status.text("state"),
                    status.text("detail")
                ));
            }
            for (peer, _) in server
                .settings
                .peers
                .iter()
                .filter(|(peer, _)| self.servers.contains_key(peer))
            {
                let known = status.peer(peer).unwrap_or_default();
                if known.text("state") != "up" {
                    return Some(format!(
                        "{name} -> {peer} is {} ({})",
                        known.text("state"),
                        known.text("reason")
                    ));
                }
            }
        }
        Some(String::new())
    }

    /// Waits until plain reads give the same data in all running regions, and gives that data.
    pub fn await_equal(&self, patience: Duration) -> Result<Dump> {
        let mut connections = Vec::new();
        for name in self.names() {
            connections.push((name.clone(), self.connect(&name)?));
        }
        let mut difference = String::new();
        let equal = wait_for("equal data", patience, || {
            let mut dumps = connections
                .iter_mut()
                .map(|(name, connection)| (name.clone(), Dump::of(connection)));
            let (first, dump) = dumps.next()?;
            let dump = dump.ok()?;
            for (name, other) in dumps {
                if let Some(found) = dump.difference(&other.ok()?) {
                    difference = format!("{first} / {name}: {found}");
                    return None;
                }
            }
            Some(dump)
        });
        equal.map_err(|timeout| format!("{timeout}: {difference}").into())
    }
}

pub(super) fn issue(directory: &Path, names: &[&str]) -> Result<()> {
    let requests: Vec<Request> = names
        .iter()
        .map(|name| Request {
            region: name.to_string(),
            names: Vec::new(),
            days: DAYS,
        })
        .collect();
    let (authority, _) = Authority::open_or_create(directory, DAYS)?;
    authority.issue(directory, &requests)?;
    Ok(())
}
