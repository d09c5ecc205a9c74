//! Certificates: loading, checking, and what QUIC is given of them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use webpki::{EndEntityCert, KeyUsage};

use super::settings::{Error, Settings};

const ALPN: &[u8] = b"redis-geo/1";
const EXPIRY_NOTICE: Duration = Duration::from_secs(14 * 24 * 3600);

/// The files, parsed and checked against each other.
pub(super) struct Tls {
    pub client: Arc<QuicClientConfig>,
    pub server: Arc<QuicServerConfig>,
    /// What our CA file accepts.
    pub roots: Arc<RootCertStore>,
    /// Usable, but somebody should know.
    pub warnings: Vec<String>,
}

pub(super) fn load(settings: &Settings) -> Result<Tls, Error> {
    let provider = Arc::new(provider());
    let chain = certificates(&settings.certificate, "certificate")?;
    let key = private_key(&settings.key)?;
    let roots = Arc::new(roots(&settings.ca)?);
    let warnings = check_own(&chain, &roots, settings)?;

    let mismatch = |error: rustls::Error| {
        let (key, certificate) = (settings.key.display(), settings.certificate.display());
        match error {
            rustls::Error::InconsistentKeys(_) => Error::new(format!("{key} is not the key of {certificate}")),
            other => Error::new(format!("{certificate} with {key}: {other}")),
        }
    };
    let internal = |error: &dyn std::fmt::Display| Error::new(format!("TLS: {error}"));

    let mut client = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| internal(&e))?
        .with_root_certificates(roots.clone())
        .with_client_auth_cert(chain.clone(), key.clone_key())
        .map_err(mismatch)?;
    client.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session would skip the certificates.
    client.resumption = rustls::client::Resumption::disabled();

    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
        .build()
        .map_err(|e| internal(&e))?;
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| internal(&e))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(mismatch)?;
    server.alpn_protocols = vec![ALPN.to_vec()];
    server.send_tls13_tickets = 0;
    server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    server.max_early_data_size = 0;

    Ok(Tls {
        client: Arc::new(client.try_into().map_err(|e| internal(&e))?),
        server: Arc::new(server.try_into().map_err(|e| internal(&e))?),
        roots,
        warnings,
    })
}

/// *ring*, never the process's default: the server may carry other modules. AES first, ChaCha costs more
/// where the processor knows AES.
fn provider() -> CryptoProvider {
    use ring::cipher_suite::*;
    let cipher_suites = vec![
        TLS13_AES_128_GCM_SHA256,
        TLS13_AES_256_GCM_SHA384,
        TLS13_CHACHA20_POLY1305_SHA256,
    ];
    CryptoProvider {
        cipher_suites,
        ..ring::default_provider()
    }
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|e| Error::new(format!("cannot read the {what} file {}: {e}", path.display())))
}

fn certificates(path: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = read(path, what)?;
    let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match list {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(Error::new(format!(
            "the {what} file {} holds no PEM certificate",
            path.display()
        ))),
        Err(e) => Err(Error::new(format!(
            "the {what} file {} is not PEM: {e}",
            path.display()
        ))),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(&read(path, "key")?)
        .map_err(|e| Error::new(format!("the key file {} holds no PEM private key: {e}", path.display())))
}

fn roots(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, "CA")? {
        roots
            .add(certificate)
            .map_err(|e| Error::new(format!("the CA file {}: {e}", path.display())))?;
    }
    Ok(roots)
}

/// Our own certificate as the peers will judge it. An expired one is only a warning: it may be renewed
/// while we run.
fn check_own(chain: &[CertificateDer<'_>], roots: &RootCertStore, settings: &Settings) -> Result<Vec<String>, Error> {
    let path = settings.certificate.display();
    let names = dns_names(&chain[0]);
    if !names.iter().any(|name| *name == settings.region) {
        return Err(Error::new(format!(
            "certificate {path} names [{}] (SAN), not our region \"{}\": make one with this DNS name",
            names.join(", "),
            settings.region
        )));
    }
    let now = UnixTime::now();
    let soon = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + EXPIRY_NOTICE);
    for (usage, word) in [(KeyUsage::server_auth(), "server"), (KeyUsage::client_auth(), "client")] {
        match verify(chain, roots, now, usage) {
            Ok(()) => {}
            Err(webpki::Error::CertExpired { .. }) => {
                return Ok(vec![format!(
                    "certificate {path} (or its authority) has expired: peers will refuse it"
                )]);
            }
            Err(webpki::Error::CertNotValidYet { .. }) => {
                return Ok(vec![format!("certificate {path} is not valid yet: check the clock")]);
            }
            Err(e) => {
                let ca = settings.ca.display();
                return Err(Error::new(format!(
                    "certificate {path} is no {word} certificate of CA {ca}: {e}"
                )));
            }
        }
    }
    match verify(chain, roots, soon, KeyUsage::server_auth()) {
        Err(webpki::Error::CertExpired { .. }) => Ok(vec![format!(
            "certificate {path} (or its authority) expires within 14 days"
        )]),
        _ => Ok(Vec::new()),
    }
}

fn verify(
    chain: &[CertificateDer<'_>],
    roots: &RootCertStore,
    now: UnixTime,
    usage: KeyUsage,
) -> Result<(), webpki::Error> {
    let algorithms = ring::default_provider().signature_verification_algorithms.all;
    let leaf = EndEntityCert::try_from(&chain[0])?;
    leaf.verify_for_usage(algorithms, &roots.roots, &chain[1..], now, usage, None, None)?;
    Ok(())
}

/// DNS names (SAN) of a certificate; none when it does not parse.
pub(super) fn dns_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    match EndEntityCert::try_from(certificate) {
        Ok(certificate) => certificate.valid_dns_names().map(str::to_string).collect(),
        Err(_) => Vec::new(),
    }
}

/// The certificates a peer presented, its own first.
pub(super) fn peer_chain(connection: &quinn::Connection) -> Vec<CertificateDer<'static>> {
    let identity = connection.peer_identity();
    identity
        .and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok())
        .map_or(Vec::new(), |chain| *chain)
}

/// Whether these authorities would still let a connected peer in.
pub(super) fn accepts(roots: &RootCertStore, chain: &[CertificateDer<'_>]) -> bool {
    !chain.is_empty() && verify(chain, roots, UnixTime::now(), KeyUsage::client_auth()).is_ok()
}
