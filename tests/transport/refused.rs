//! What must not come in, on real sockets, and settings that must not start.

use std::fs;
use std::net::UdpSocket;
use std::sync::Arc;

use redis_geo::replication::transport::{Settings, start};
use tempfile::tempdir;

use crate::authority::{Authority, Flaw};
use crate::region::{Region, wait};

fn error_of(settings: Settings) -> String {
    start(settings, || {})
        .err()
        .expect("wrong settings were accepted")
        .to_string()
}

#[test]
fn wrong_settings_do_not_start_and_say_why() {
    let (directory, authority) = (tempdir().unwrap(), Authority::new());
    let at = directory.path();
    let good = authority.region(at, "eu");
    let other = authority.region(at, "us");
    let foreign = Authority::new().issue(tempdir().unwrap().keep().as_path(), "eu", &["eu"], Flaw::None);
    let missing = at.join("missing");
    let broken = at.join("broken");
    fs::write(
        &broken,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _holder = UdpSocket::bind(taken).unwrap();
    let cases = [
        (
            Settings {
                certificate: missing.clone(),
                ..good.clone()
            },
            "cannot read the certificate file",
        ),
        (
            Settings {
                key: missing.clone(),
                ..good.clone()
            },
            "cannot read the key file",
        ),
        (
            Settings {
                ca: missing,
                ..good.clone()
            },
            "cannot read the CA file",
        ),
        (
            Settings {
                key: other.key.clone(),
                ..good.clone()
            },
            "is not the key of",
        ),
        (
            Settings {
                key: good.certificate.clone(),
                ..good.clone()
            },
            "holds no PEM private key",
        ),
        (
            Settings {
                ca: good.key.clone(),
                ..good.clone()
            },
            "holds no PEM certificate",
        ),
        (
            Settings {
                ca: broken,
                ..good.clone()
            },
            "the CA file",
        ),
        (
            Settings {
                ca: foreign.ca,
                ..good.clone()
            },
            "is no server certificate of CA",
        ),
        (
            Settings {
                region: "ap".into(),
                ..good.clone()
            },
            "names [eu] (SAN), not our region \"ap\"",
        ),
        (
            authority.issue(at, "sa", &["sa"], Flaw::ServerOnly),
            "is no client certificate of CA",
        ),
        (
            Settings {
                listen: vec![taken],
                ..good.clone()
            },
            "cannot listen on UDP",
        ),
        (
            Settings {
                streams: 0,
                ..good.clone()
            },
            "streams is 0",
        ),
    ];
    for (settings, words) in cases {
        let text = error_of(settings);
        assert!(text.contains(words) && !text.contains('\n'), "{words}: {text}");
    }
    drop(start(good, || {}).unwrap());
}

/// A region that listens, and one that dials it with these settings; gives both after a failed attempt.
fn attempt(name: &str, prepare: impl FnOnce(&Authority, &std::path::Path) -> Settings) -> (Region, Region) {
    let (directory, elsewhere, authority) = (tempdir().unwrap(), tempdir().unwrap(), Authority::new());
    let mut eu = Region::start(authority.region(directory.path(), "eu"));
    let mut settings = prepare(&authority, elsewhere.path());
    settings.peers = vec![eu.address(name)];
    let mut us = Region::start(settings);
    wait("refusals", [&mut eu, &mut us], |[_, us]| us.dial_failures.len() >= 2);
    assert!(eu.links.is_empty() && us.links.is_empty());
    (eu, us)
}

#[test]
fn another_ca_is_refused() {
    let (_, us) = attempt("eu", |_, at| Authority::new().issue(at, "us", &["us"], Flaw::None));
    assert!(us.failed_with("TLS handshake refused"), "{:?}", us.dial_failures);
}

#[test]
fn a_server_that_does_not_carry_the_peers_name_is_refused() {
    let (_, us) = attempt("ap", |authority, at| authority.issue(at, "us", &["us"], Flaw::None));
    assert!(us.failed_with("not valid for name \"ap\""), "{:?}", us.dial_failures);
}

#[test]
fn an_expired_certificate_is_a_warning_here_and_refused_there() {
    let (mut eu, us) = attempt("eu", |authority, at| authority.issue(at, "us", &["us"], Flaw::Expired));
    assert!(us.logged("has expired"), "{:?}", us.log);
    assert!(
        us.failed_with("the peer refuses the TLS handshake"),
        "{:?}",
        us.dial_failures
    );
    wait("a complaint", [&mut eu], |[eu]| eu.logged("refused a connection from"));
    assert!(eu.logged("expired"), "{:?}", eu.log);
}

/// A QUIC client of our own, which shows no certificate or speaks another protocol.
fn stranger(eu: &mut Region, ca: &std::path::Path, alpn: &[u8]) {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let address = eu.handle.addresses()[0];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let config = quinn::ClientConfig::new(Arc::new(crypto));
        // QUIC's connect may succeed before the server has looked for a certificate.
        if let Ok(connection) = endpoint.connect_with(config, address, "eu").unwrap().await {
            connection.closed().await;
        }
    });
    wait("a complaint", [&mut *eu], |[eu]| eu.logged("refused a connection from"));
    assert!(eu.links.is_empty());
}

#[test]
fn no_certificate_is_refused() {
    let (directory, authority) = (tempdir().unwrap(), Authority::new());
    let settings = authority.region(directory.path(), "eu");
    let mut eu = Region::start(settings.clone());
    stranger(&mut eu, &settings.ca, b"redis-geo/1");
    assert!(eu.logged("peer sent no certificates"), "{:?}", eu.log);
}

#[test]
fn another_protocol_is_refused() {
    let (directory, authority) = (tempdir().unwrap(), Authority::new());
    let settings = authority.region(directory.path(), "eu");
    let mut eu = Region::start(settings.clone());
    stranger(&mut eu, &settings.ca, b"h3");
}

#[test]
fn garbage_datagrams_change_nothing() {
    let (directory, authority) = (tempdir().unwrap(), Authority::new());
    let mut eu = Region::start(authority.region(directory.path(), "eu"));
    let mut settings = authority.region(directory.path(), "us");
    settings.peers = vec![eu.address("eu")];
    let mut us = Region::start(settings);
    wait("up", [&mut eu, &mut us], |[eu, us]| {
        eu.up().len() == 1 && us.up().len() == 1
    });
    let (at_eu, at_us) = (eu.up()[0], us.up()[0]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut state = 7u64;
    for i in 0..20_000u32 {
        let mut datagram = vec![0; (i % 1500) as usize];
        for byte in &mut datagram {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            *byte = (state >> 56) as u8;
        }
        // A third looks like the beginning of a QUIC handshake: long header, version 1, plausible lengths.
        if i % 3 == 0 && datagram.len() > 20 {
            datagram[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
            datagram[14] = 8;
        }
        let _ = socket.send_to(&datagram, eu.handle.addresses()[0]);
        if i % 100 == 0 {
            us.send(at_us, i.to_be_bytes());
        }
    }
    wait("the frames", [&mut eu, &mut us], |[eu, _]| {
        eu.links[&at_eu].frames.len() == 200
    });
    assert!(eu.down(at_eu).is_none() && us.down(at_us).is_none() && eu.links.len() == 1);
}

#[test]
fn too_big_a_frame_ends_the_link_at_either_end() {
    let (directory, authority) = (tempdir().unwrap(), Authority::new());
    let mut settings = authority.region(directory.path(), "eu");
    settings.max_frame = 1 << 20;
    let mut eu = Region::start(settings);
    let mut settings = authority.region(directory.path(), "us");
    settings.peers = vec![eu.address("eu")];
    settings.max_frame = 2 << 20;
    let mut us = Region::start(settings);
    for (size, words) in [
        (3 << 20, "a frame of 3145728 bytes to send"),
        (1 << 21, "protocol error: a frame of 2097152"),
    ] {
        wait("up", [&mut eu, &mut us], |[eu, us]| {
            eu.up().len() == 1 && us.up().len() == 1
        });
        let (at_eu, at_us) = (eu.up()[0], us.up()[0]);
        us.send(at_us, vec![1; size]);
        wait("down", [&mut eu, &mut us], |[eu, us]| {
            eu.down(at_eu).is_some() && us.down(at_us).is_some()
        });
        assert!(us.down(at_us).unwrap().contains(words), "{:?}", us.down(at_us));
        assert!(eu.down(at_eu).unwrap().contains(words), "{:?}", eu.down(at_eu));
        assert!(eu.links[&at_eu].frames.is_empty());
    }
}
