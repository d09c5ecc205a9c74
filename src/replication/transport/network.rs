//! What the transport stands on: real sockets and DNS, or simulated ones in tests.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::{Endpoint, EndpointConfig, ServerConfig, TokioRuntime};

use super::children;
use super::quic;
use super::settings::{Error, Settings};

pub trait Network: Send + Sync + 'static {
    /// An endpoint for each listening address. Called inside the runtime, and again after a restart of the
    /// replication thread.
    fn listen(&self, config: EndpointConfig, server: ServerConfig) -> io::Result<Vec<Endpoint>>;

    /// An endpoint that only dials, for addresses like `to`.
    fn dialing(&self, config: EndpointConfig, to: SocketAddr) -> io::Result<Endpoint>;

    fn resolve(&self, host: &str, port: u16) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;

    /// Fixes every random choice; `None`: choose at random.
    fn seed(&self) -> Option<u64> {
        None
    }
}

/// UDP sockets of this machine, bound before the replication thread starts.
pub(super) struct Udp {
    sockets: Vec<UdpSocket>,
}

impl Udp {
    pub fn bind(settings: &Settings) -> Result<Udp, Error> {
        let sockets = settings.listen.iter().map(|address| quic::bind(*address));
        Ok(Udp {
            sockets: sockets.collect::<Result<_, _>>()?,
        })
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets
            .iter()
            .filter_map(|socket| socket.local_addr().ok())
            .collect()
    }
}

impl Network for Udp {
    fn listen(&self, config: EndpointConfig, server: ServerConfig) -> io::Result<Vec<Endpoint>> {
        let endpoint = |socket: &UdpSocket| {
            let socket = socket.try_clone()?;
            children::keep_from(&socket);
            Endpoint::new(config.clone(), Some(server.clone()), socket, Arc::new(TokioRuntime))
        };
        self.sockets.iter().map(endpoint).collect()
    }

    fn dialing(&self, config: EndpointConfig, to: SocketAddr) -> io::Result<Endpoint> {
        let any: SocketAddr = match to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = quic::bind(any).map_err(io::Error::other)?;
        Endpoint::new(config, None, socket, Arc::new(TokioRuntime))
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}
