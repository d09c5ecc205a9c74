//! What strangers send to the port where a region listens for its peers.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use redis_geo::lab::wait_for;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{NAMES, PATIENCE, mesh, workload};

#[test]
fn garbage_datagrams_change_nothing() {
    let mut regions = mesh(60);
    let targets = NAMES.map(|name| regions.settings(name).listen);
    let clients = workload::start(&regions, &NAMES, 1, 60, None);
    throw_garbage(&targets);
    let tally = workload::stop(clients);
    regions.await_links(PATIENCE).unwrap();
    tally.check(&regions.await_equal(PATIENCE).unwrap());
    for name in NAMES {
        assert!(regions.server(name).pid().is_some());
    }
}

/// Random bytes of all lengths, half of them with the first byte of a QUIC packet of version 1.
fn throw_garbage(targets: &[SocketAddr]) {
    let mut random = SmallRng::seed_from_u64(60);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for number in 0..20_000usize {
        let mut datagram = vec![0; random.random_range(0..1500)];
        random.fill_bytes(&mut datagram);
        if number % 2 == 0 && datagram.len() >= 5 {
            datagram[..5].copy_from_slice(&[0xC0 | random.random_range(0..64u8), 0, 0, 0, 1]);
        }
        // A full socket buffer loses datagrams; that is what UDP is.
        let _ = socket.send_to(&datagram, targets[number % targets.len()]);
    }
}

#[test]
fn a_peer_without_a_certificate_is_refused() {
    let mut regions = mesh(61);
    let target = regions.settings("eu").listen;
    let authority = regions.settings("eu").authority.clone();
    let closed = knock(target, &authority);
    assert!(closed.contains("certificate"), "closed with: {closed}");
    let server = regions.server("eu");
    wait_for("a line in the log", PATIENCE, || {
        server
            .log()
            .lines()
            .any(|line| line.to_lowercase().contains("certificate"))
            .then_some(())
    })
    .unwrap();
    regions.await_links(PATIENCE).unwrap();
}

/// Connects as a client that trusts the authority and shows no certificate; gives the reason of the close.
fn knock(target: SocketAddr, authority: &std::path::Path) -> String {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
            match endpoint.connect_with(config, target, "eu").unwrap().await {
                // The client's side stands before the server has looked at the certificate.
                Ok(connection) => connection.closed().await.to_string(),
                Err(error) => error.to_string(),
            }
        })
}

/// The protocol name that peers agree on.
const ALPN: &[u8] = b"redis-geo/1";
