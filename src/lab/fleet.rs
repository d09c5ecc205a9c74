//! Regions that each consist of a primary and replicas.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::ports;
use super::regions::{CLUSTER, Result, issue};
use super::relay::Link;
use super::server::{Server, Settings};
use super::shim::{Library, Shim};
use crate::certificates::{Files, authority_certificate};

/// What a region is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    pub name: String,
    /// Servers; the first starts as the primary.
    pub nodes: usize,
    /// How many of them its peers are told of, the first ones.
    pub told: usize,
    /// Lines of redis.conf of each server.
    pub lines: Vec<String>,
}

/// One server of a region.
pub struct Node {
    pub server: Server,
    pub shim: Shim,
    lines: Vec<String>,
}

impl Node {
    /// Starts the process again as a replica of `primary`, or as a primary.
    pub fn restart(&mut self, primary: Option<SocketAddr>) -> io::Result<()> {
        self.server.settings.lines = with_role(&self.lines, primary);
        self.server.restart()
    }

    /// Removes the server's data; to be called while it does not run.
    pub fn wipe(&self) -> io::Result<()> {
        fs::remove_dir_all(self.server.directory())?;
        fs::create_dir_all(self.server.directory())
    }

    /// Copies the server's data to `directory`, as a backup tool does.
    pub fn back_up(&self, directory: &Path) -> io::Result<()> {
        copy(self.server.directory(), directory)
    }

    /// Puts the data that was copied to `directory` in place of the server's; to be called while it does not run.
    pub fn restore(&self, directory: &Path) -> io::Result<()> {
        self.wipe()?;
        copy(directory, self.server.directory())
    }

    /// Ends the process and takes from its files what was not synced to disk.
    pub fn cut_power(&mut self) -> io::Result<()> {
        self.server.kill();
        self.shim.cut_power(self.server.directory())
    }
}

fn with_role(lines: &[String], primary: Option<SocketAddr>) -> Vec<String> {
    let role = primary.map(|address| format!("replicaof {} {}", address.ip(), address.port()));
    lines.iter().cloned().chain(role).collect()
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Regions in the order of their plans, every two of them linked through relays. Dropping it kills the servers and
/// removes their files.
pub struct Fleet {
    nodes: BTreeMap<(usize, usize), Node>,
    links: BTreeMap<(usize, usize), Link>,
    // Last: the servers' files go after the servers.
    directory: TempDir,
}

impl Fleet {
    /// Starts every region. `seed` decides what the links lose.
    ///
    /// The processes also end when the calling thread ends: call this from a thread that lives on.
    pub fn start(module: &Path, plans: &[Plan], seed: u64) -> Result<Fleet> {
        let directory = tempfile::Builder::new().prefix("redis-geo-").tempdir()?;
        let certificates = directory.path().join("certificates");
        let names: Vec<&str> = plans.iter().map(|plan| plan.name.as_str()).collect();
        issue(&certificates, &names)?;
        let listen: Vec<Vec<SocketAddr>> = plans
            .iter()
            .map(|plan| (0..plan.nodes).map(|_| ports::free()).collect())
            .collect();
        let mut fleet = Fleet {
            nodes: BTreeMap::new(),
            links: links(&listen, seed)?,
            directory,
        };
        let library = Library::build(fleet.directory.path())?;
        for (region, plan) in plans.iter().enumerate() {
            for (node, listen) in listen[region].iter().enumerate() {
                let settings = Settings {
                    module: Some(module.into()),
                    region: plan.name.clone(),
                    cluster: CLUSTER.into(),
                    listen: *listen,
                    peers: fleet.peers(region, plans),
                    certificate: Files::of(&certificates, &plan.name),
                    authority: authority_certificate(&certificates),
                    arguments: Vec::new(),
                    lines: Vec::new(),
                    environment: Vec::new(),
                };
                fleet.launch((region, node), settings, plan, &library)?;
            }
        }
        Ok(fleet)
    }

    /// The addresses of the other regions' servers, through the relays.
    fn peers(&self, region: usize, plans: &[Plan]) -> Vec<(String, SocketAddr)> {
        let mut peers = Vec::new();
        for (&(a, b), link) in &self.links {
            let (other, addresses): (usize, Vec<SocketAddr>) = match region {
                _ if region == a => (b, link.addresses_of_b().collect()),
                _ if region == b => (a, link.addresses_of_a().collect()),
                _ => continue,
            };
            let Plan { name, told, .. } = &plans[other];
            peers.extend(addresses.into_iter().take(*told).map(|address| (name.clone(), address)));
        }
        peers
    }

    fn launch(&mut self, id: (usize, usize), mut settings: Settings, plan: &Plan, library: &Library) -> Result<()> {
        let primary = (id.1 > 0).then(|| self.nodes[&(id.0, 0)].server.address);
        let name = format!("{}-{}", plan.name, id.1);
        let shim = Shim::new(library, self.directory.path(), &name)?;
        settings.lines = with_role(&plan.lines, primary);
        settings.environment = shim.environment();
        let node = Node {
            server: Server::start(&self.directory.path().join(name), settings)?,
            shim,
            lines: plan.lines.clone(),
        };
        self.nodes.insert(id, node);
        Ok(())
    }

    /// # Panics
    /// When there is no such server.
    pub fn node(&mut self, region: usize, node: usize) -> &mut Node {
        self.nodes.get_mut(&(region, node)).expect("a server of the plan")
    }

    pub fn nodes(&self) -> impl Iterator<Item = ((usize, usize), &Node)> {
        self.nodes.iter().map(|(id, node)| (*id, node))
    }

    /// The link between two regions, the one with the lower number first.
    ///
    /// # Panics
    /// When there is no such link.
    pub fn link(&self, a: usize, b: usize) -> &Link {
        &self.links[&(a, b)]
    }

    pub fn links(&self) -> impl Iterator<Item = ((usize, usize), &Link)> {
        self.links.iter().map(|(ends, link)| (*ends, link))
    }

    /// A directory for further files; it goes with the fleet.
    pub fn directory(&self) -> PathBuf {
        self.directory.path().into()
    }
}

/// A link between every two regions.
fn links(listen: &[Vec<SocketAddr>], seed: u64) -> io::Result<BTreeMap<(usize, usize), Link>> {
    let pairs = (0..listen.len()).flat_map(|b| (0..b).map(move |a| (a, b)));
    let link = |(a, b): (usize, usize)| {
        let seed = seed.wrapping_mul(1_000_003).wrapping_add((a * 64 + b) as u64);
        Ok(((a, b), Link::between(&listen[a], &listen[b], seed)?))
    };
    pairs.map(link).collect()
}
