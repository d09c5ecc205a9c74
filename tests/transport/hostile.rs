//! Peers with a good certificate that send what they must not, and strangers that only take our time.

use std::sync::Arc;

use quinn::{Connection, Endpoint, SendStream};
use redis_geo::replication::transport::Settings;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tempfile::{TempDir, tempdir};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::authority::{Authority, Flaw};
use crate::region::{Region, wait};

/// A region, and a raw QUIC client with the certificate of another.
struct Stage {
    eu: Region,
    /// Links of eu that have been looked at.
    seen: usize,
    /// Driven by a thread until `_stop` is dropped.
    runtime: Handle,
    _stop: oneshot::Sender<()>,
    endpoint: Endpoint,
    directory: TempDir,
    authority: Authority,
}

impl Stage {
    fn new() -> Stage {
        let (directory, authority) = (tempdir().unwrap(), Authority::new());
        let mut settings = authority.region(directory.path(), "eu");
        settings.max_frame = 1 << 20;
        let eu = Region::start(settings);
        let us = authority.issue(directory.path(), "us", &["us"], Flaw::None);
        let driven = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let runtime = driven.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::spawn(move || driven.block_on(stopped).is_ok());
        let inside = runtime.enter();
        let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        endpoint.set_default_client_config(client(&us));
        drop(inside);
        Stage {
            eu,
            seen: 0,
            runtime,
            _stop: stop,
            endpoint,
            directory,
            authority,
        }
    }

    fn connect(&self) -> Connection {
        let address = self.eu.handle.addresses()[0];
        self.runtime
            .block_on(async { self.endpoint.connect(address, "eu").unwrap().await.unwrap() })
    }

    /// A connection that comes up with two lanes, the link's streams, control first.
    fn link(&mut self) -> (Connection, Vec<SendStream>) {
        let connection = self.connect();
        let streams = self.runtime.block_on(async {
            let mut streams = Vec::new();
            for prelude in [[1, 0, 2, 0], [1, 1, 0, 0], [1, 1, 0, 0]] {
                let mut stream = connection.open_uni().await.unwrap();
                stream.write_all(&prelude).await.unwrap();
                streams.push(stream);
            }
            streams
        });
        let reader = connection.clone();
        self.runtime.spawn(async move {
            // Its goodbye is the last word on its control stream.
            if let Ok(mut control) = reader.accept_uni().await {
                let _ = control.read_to_end(1 << 16).await;
                reader.close(0u32.into(), b"read");
            }
        });
        self.seen += 1;
        let seen = self.seen;
        wait("up", [&mut self.eu], |[eu]| eu.links.len() == seen);
        (connection, streams)
    }

    /// Sends these bytes on these streams of a new link, ends the streams, and gives why the link went down.
    fn send(&mut self, bytes: &[(usize, &[u8])]) -> String {
        let (connection, mut streams) = self.link();
        self.runtime.block_on(async {
            for (stream, bytes) in bytes {
                // The other side may already have hung up.
                let _ = streams[*stream].write_all(bytes).await;
            }
            let silent = !bytes.is_empty() && bytes.iter().all(|(stream, _)| *stream > 0);
            for stream in &mut streams[usize::from(silent)..] {
                let _ = stream.finish();
            }
            let reason = connection.closed().await.to_string();
            assert!(!reason.contains("timed out"), "{reason}");
        });
        let last = *self.eu.links.keys().last().unwrap();
        wait("down", [&mut self.eu], |[eu]| eu.down(last).is_some());
        self.eu.down(last).unwrap().to_string()
    }
}

fn client(us: &Settings) -> quinn::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&us.ca).unwrap()).unwrap();
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_file(&us.certificate).unwrap()],
            PrivateKeyDer::from_pem_file(&us.key).unwrap(),
        )
        .unwrap();
    tls.alpn_protocols = vec![b"redis-geo/1".to_vec()];
    quinn::ClientConfig::new(Arc::new(
        quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap(),
    ))
}

/// What is written on which stream, and words of the reason.
type Case = (Vec<(usize, Vec<u8>)>, &'static str);

fn chunk(sequence: u64, codec: u8, total: u32, raw: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = sequence.to_be_bytes().to_vec();
    bytes.push(codec);
    bytes.extend(&(body.len() as u32).to_be_bytes()[1..]);
    bytes.extend(total.to_be_bytes());
    bytes.extend(raw.to_be_bytes());
    bytes.extend(body);
    bytes
}

#[test]
fn violations_end_the_link_with_a_reason() {
    let mut stage = Stage::new();
    let good = chunk(0, 0, 2, 2, b"ok");
    let full = vec![0; 64 << 10];
    let mut cut_short = chunk(1, 0, 100, 100, &[1; 100]);
    cut_short.truncate(50);
    let two = |a: &[u8], b: &[u8]| [a, b].concat();
    let cases: [Case; 17] = [
        (vec![(1, two(&good, &good))], "chunk 0 twice"),
        (vec![(1, good.clone()), (2, good.clone())], "chunk 0 twice"),
        (vec![(1, chunk(5, 0, 2, 2, b"no"))], "chunk 0 is missing"),
        (vec![(1, two(&good, &cut_short))], "ends within a chunk"),
        (vec![(1, good[..10].to_vec())], "ends within a header"),
        (vec![(1, chunk(0, 7, 2, 2, b"no"))], "unknown codec 7"),
        (vec![(1, chunk(0, 0, 2 << 20, 2 << 20, &full))], "our limit is 1048576"),
        (vec![(1, chunk(0, 2, 20, u32::MAX, b"bomb"))], "our limit is 1048576"),
        (vec![(1, chunk(0, 1, 4, 1 << 20, b"bomb"))], "sent as 4"),
        (vec![(1, chunk(0, 1, 5, 1000, b"wrong"))], "protocol error"),
        (vec![(1, chunk(0, 2, 5, 1000, b"wrong"))], "protocol error"),
        (vec![(1, chunk(0, 0, 200, 200, b"short"))], "in the middle of a frame"),
        (
            vec![(1, chunk(0, 0, 70_000, 70_000, &full)), (1, chunk(1, 0, 2, 2, b"no"))],
            "contradict",
        ),
        (vec![(0, vec![9, 0, 1, 0])], "control message 9"),
        (vec![(0, vec![2, 0xff, 0xff])], "control message 2 of 65535 bytes"),
        (vec![(0, vec![1, 0, 9, 1])], "ends within a message"),
        (vec![], "without a goodbye"),
    ];
    for (bytes, words) in &cases {
        let bytes: Vec<_> = bytes.iter().map(|(stream, bytes)| (*stream, &bytes[..])).collect();
        let reason = stage.send(&bytes);
        assert!(reason.contains(words), "{words}: {reason}");
    }
    // The control experiment: the same by the rules.
    let goodbye = [&[2, 0, 4][..], b"done"].concat();
    assert_eq!(
        stage.send(&[(1, &good), (2, &chunk(1, 0, 0, 0, b"")), (0, &goodbye)]),
        "closed by the peer: done"
    );
    let frames = &stage.eu.links.values().last().unwrap().frames;
    assert_eq!(
        frames.iter().map(|frame| frame.to_vec()).collect::<Vec<_>>(),
        [&b"ok"[..], b""]
    );
}

#[test]
fn random_bytes_on_a_link_only_end_it() {
    let mut stage = Stage::new();
    let mut state = 11u64;
    for _ in 0..100 {
        let mut random = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            state >> 40
        };
        let mut bytes = Vec::new();
        // Often a plausible beginning, so that more than the first check is reached.
        for sequence in 0..random() % 4 {
            let size = (random() % 2000) as usize;
            bytes.extend(chunk(
                sequence,
                (random() % 3) as u8,
                size as u32,
                (random() % 4000) as u32,
                &vec![7; size],
            ));
        }
        bytes.extend(std::iter::repeat_with(|| random() as u8).take(300));
        let stream = (state >> 33) as usize % 3;
        let reason = stage.send(&[(stream, &bytes)]);
        assert_ne!(reason, "internal error");
    }
}

#[test]
fn wrong_preludes_are_refused_before_anything_is_up() {
    let mut stage = Stage::new();
    for (preludes, words) in [
        (vec![[2, 0, 1, 0]], "transport version 2, ours is 1"),
        (vec![[1, 0, 17, 0]], "unknown prelude"),
        (vec![[1, 1, 0, 0]], "not the control stream"),
        (vec![[1, 0, 2, 0], [1, 0, 2, 0]], "two control streams"),
    ] {
        let connection = stage.connect();
        let reason = stage.runtime.block_on(async {
            for prelude in preludes {
                connection.open_uni().await.unwrap().write_all(&prelude).await.unwrap();
            }
            connection.closed().await.to_string()
        });
        assert!(reason.contains(words), "{words}: {reason}");
    }
    stage.eu.pump(usize::MAX);
    assert!(stage.eu.links.is_empty());
}

#[test]
fn connections_that_only_wait_are_bounded_and_do_not_keep_a_peer_out() {
    let mut stage = Stage::new();
    let address = stage.eu.handle.addresses()[0];
    let attempts = stage.runtime.block_on(async {
        let attempts: Vec<_> = (0..60)
            .map(|_| stage.endpoint.connect(address, "eu").unwrap())
            .collect();
        let mut results = Vec::new();
        for attempt in attempts {
            results.push(attempt.await);
        }
        results
    });
    let open = attempts.iter().filter(|attempt| attempt.is_ok()).count();
    assert!(open <= 32, "{open} connections in the handshake");
    let mut settings = stage.authority.region(stage.directory.path(), "ap");
    settings.peers = vec![stage.eu.address("eu")];
    let mut ap = Region::start(settings);
    wait("a real peer", [&mut stage.eu, &mut ap], |[eu, ap]| {
        eu.up().len() == 1 && ap.up().len() == 1
    });
    assert!(stage.eu.logged("handshake not done in time"), "{:?}", stage.eu.log);
}
