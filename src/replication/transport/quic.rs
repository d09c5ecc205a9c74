//! QUIC settings and sockets. BBR with a bounded send window and several 1 MiB streams kept 16-23 of 25 MB/s at 80 ms
//! and 0-5 % loss (`measure_goodput` in the tests); the default, Cubic with one stream, 0.1-1 at any loss.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::BbrConfig;
use quinn::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig,
    TransportConfig, VarInt,
};
use ring::rand::{SecureRandom, SystemRandom};
use socket2::{Domain, Protocol, Socket, Type};

use super::children;
use super::settings::{Error, STREAM_WINDOW, Settings};
use super::tls::Tls;
use super::wire::MAX_LANES;

/// A silent peer is given up after this.
const IDLE: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// Asked of the kernel; it gives what `net.core.rmem_max` and `wmem_max` allow.
const SOCKET_BUFFER: usize = 4 << 20;
/// Connection attempts that may wait for us to look at them.
const MAX_INCOMING: usize = 64;

fn transport(settings: &Settings) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    let lanes = u32::from(MAX_LANES);
    config
        .congestion_controller_factory(Arc::new(BbrConfig::default()))
        .send_window(settings.send_window(None))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        // All lanes full still leave room for the control stream.
        .receive_window(VarInt::from_u32(lanes * STREAM_WINDOW + (64 << 10)))
        .max_concurrent_uni_streams(VarInt::from_u32(lanes + 1))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .initial_rtt(Duration::from_millis(100))
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        .keep_alive_interval(Some(KEEP_ALIVE))
        .enable_segmentation_offload(settings.gso);
    match settings.max_mtu {
        None => {}
        Some(1200) => {
            config.mtu_discovery_config(None);
        }
        Some(mtu) => {
            let mut discovery = MtuDiscoveryConfig::default();
            discovery.upper_bound(mtu);
            config.mtu_discovery_config(Some(discovery));
        }
    }
    Arc::new(config)
}

pub(super) fn client(tls: &Tls, settings: &Settings) -> ClientConfig {
    let mut config = ClientConfig::new(tls.client.clone());
    config.transport_config(transport(settings));
    config
}

pub(super) fn server(tls: &Tls, settings: &Settings) -> ServerConfig {
    let mut config = ServerConfig::with_crypto(tls.server.clone());
    config
        .transport_config(transport(settings))
        .max_incoming(MAX_INCOMING)
        // Data before the handshake is not ours: a few datagrams are enough.
        .incoming_buffer_size(16 << 10)
        .incoming_buffer_size_total(1 << 20);
    config
}

/// `seed` fixes what QUIC does at random that shows on the wire's timing (simulation).
pub(super) fn endpoint(tls: &Tls, settings: &Settings, seed: Option<u64>) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(tls.reset_key.clone()));
    config.cid_generator(|| Box::new(RandomIds));
    config.rng_seed(seed.map(|seed| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        bytes
    }));
    if let Some(mtu) = settings.max_mtu.filter(|mtu| *mtu > 1472) {
        let _ = config.max_udp_payload_size(mtu);
    }
    config
}

/// Connection ids of 8 random bytes. quinn's own carry a mark of the process: after a restart it would take
/// the peers' datagrams for garbage and not answer with a reset.
struct RandomIds;

const ID_LENGTH: usize = 8;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; ID_LENGTH];
        // It does not fail on Linux; equal ids would be told apart by quinn, which asks again.
        let _ = SystemRandom::new().fill(&mut id);
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        ID_LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

pub(super) fn bind(address: SocketAddr) -> Result<UdpSocket, Error> {
    open(address).map_err(|e| Error::new(format!("cannot listen on UDP {address}: {e}")))
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    children::keep_from(&socket);
    if address.is_ipv6() {
        // 0.0.0.0 and [::] can then share a port.
        socket.set_only_v6(true)?;
    }
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
