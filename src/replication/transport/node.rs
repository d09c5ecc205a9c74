//! What the tasks of one transport share.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use quinn::{Connection, Endpoint};
use tokio::sync::{Semaphore, watch};

use super::event::{Event, Events};
use super::link::{Link, Streams, serve};
use super::network::Network;
use super::quic;
use super::settings::Settings;
use super::statistics::{LinkStatistics, Meter};
use super::tls::{Tls, dns_names, peer_chain};
use super::{LinkId, lock};

/// Connections whose certificate is not checked yet.
pub(super) const MAX_UNAUTHENTICATED: usize = 32;

pub(super) struct Node<N> {
    pub settings: Settings,
    pub network: N,
    pub events: Events,
    pub tls: ArcSwap<Tls>,
    pub endpoints: Mutex<Vec<Endpoint>>,
    /// In the order they came up.
    pub links: Mutex<BTreeMap<LinkId, (Arc<Link>, Meter)>>,
    /// Links whose handshake the engine has accepted, with the peer's region.
    established: watch::Sender<BTreeMap<LinkId, String>>,
    next_link: AtomicU64,
    pub statistics: Arc<ArcSwap<HashMap<LinkId, LinkStatistics>>>,
    pub unauthenticated: Arc<Semaphore>,
}

impl<N: Network> Node<N> {
    pub fn new(settings: Settings, network: N, events: Events, tls: Tls) -> Node<N> {
        Node {
            settings,
            network,
            events,
            tls: ArcSwap::from_pointee(tls),
            endpoints: Mutex::default(),
            links: Mutex::default(),
            established: watch::Sender::default(),
            next_link: AtomicU64::new(1),
            statistics: Arc::default(),
            unauthenticated: Arc::new(Semaphore::new(MAX_UNAUTHENTICATED)),
        }
    }

    pub fn link(&self, id: LinkId) -> Option<Arc<Link>> {
        lock(&self.links).get(&id).map(|(link, _)| link.clone())
    }

    pub fn all_links(&self) -> Vec<Arc<Link>> {
        lock(&self.links).values().map(|(link, _)| link.clone()).collect()
    }

    pub fn establish(&self, id: LinkId, region: String) {
        if self.link(id).is_some() {
            self.established.send_modify(|established| {
                established.insert(id, region);
            });
        }
    }

    /// Waits until a link to the region is established, or until none is.
    pub async fn until_established(&self, region: &str, wanted: bool) {
        let mut watch = self.established.subscribe();
        let _ = watch
            .wait_for(|established| established.values().any(|name| name == region) == wanted)
            .await;
    }

    /// Carries one link from Up to Down. True when it was established.
    pub async fn carry(&self, connection: Connection, streams: Streams, dialed: Option<String>) -> bool {
        let id = LinkId(self.next_link.fetch_add(1, Ordering::Relaxed));
        let certificate = peer_chain(&connection).first().map_or(Vec::new(), dns_names);
        let address = connection.remote_address().to_string();
        let link = Arc::new(Link::new(id, connection));
        lock(&self.links).insert(id, (link.clone(), Meter::default()));
        let mut down = Down {
            node: self,
            id,
            reason: "internal error".into(),
            established: false,
        };
        self.events.push(Event::Up {
            link: id,
            dialed,
            certificate,
            address,
        });
        down.reason = serve(&link, streams, &self.settings, &self.events).await;
        down.established = self.established.borrow().contains_key(&id);
        down.established
    }

    /// The endpoint to dial `to` from: one that listens where it can reach it, else one made for it.
    pub fn endpoint_for(&self, to: SocketAddr) -> io::Result<Endpoint> {
        let mut endpoints = lock(&self.endpoints);
        let fits = |from: SocketAddr| {
            from.is_ipv4() == to.is_ipv4()
                && (from.ip().is_unspecified() || from.ip().is_loopback() == to.ip().is_loopback())
        };
        if let Some(endpoint) = endpoints.iter().find(|endpoint| endpoint.local_addr().is_ok_and(fits)) {
            return Ok(endpoint.clone());
        }
        let endpoint = self
            .network
            .dialing(quic::endpoint(&self.settings, self.network.seed()), to)?;
        endpoints.push(endpoint.clone());
        Ok(endpoint)
    }
}

/// Ends a link in every table and says so, also when its task dies.
struct Down<'a, N: Network> {
    node: &'a Node<N>,
    id: LinkId,
    reason: String,
    established: bool,
}

impl<N: Network> Drop for Down<'_, N> {
    fn drop(&mut self) {
        lock(&self.node.links).remove(&self.id);
        self.node.established.send_modify(|established| {
            established.remove(&self.id);
        });
        let reason = std::mem::take(&mut self.reason);
        self.node.events.push(Event::Down { link: self.id, reason });
    }
}
