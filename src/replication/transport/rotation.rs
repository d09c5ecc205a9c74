//! New certificate files take effect while links stand.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use super::Level;
use super::lock;
use super::network::Network;
use super::node::Node;
use super::quic;
use super::settings::Settings;
use super::tls::{accepts, load, peer_chain};

/// How often the files are looked at.
pub(super) const POLL: Duration = Duration::from_secs(2);

/// What changes when a file, or what its symbolic link points at, is replaced: time, inode, device, size.
/// (Kubernetes swaps a link in the middle of the path.)
pub(super) type Fingerprint = [Option<(i64, i64, u64, u64, u64)>; 3];

pub(super) fn fingerprint(settings: &Settings) -> Fingerprint {
    [&settings.certificate, &settings.key, &settings.ca].map(|path| {
        let file = fs::metadata(path).ok()?;
        Some((file.mtime(), file.mtime_nsec(), file.ino(), file.dev(), file.len()))
    })
}

/// Takes the files over when they changed since `seen`; files that do not fit together change nothing.
pub(super) fn follow<N: Network>(node: &Node<N>, seen: &mut Fingerprint) {
    let now = fingerprint(&node.settings);
    if now == *seen {
        return;
    }
    *seen = now;
    let tls = match load(&node.settings) {
        Ok(tls) => tls,
        Err(error) => {
            node.events.log(
                Level::Warning,
                format!("the certificate files changed, the old ones stay: {error}"),
            );
            return;
        }
    };
    for endpoint in lock(&node.endpoints).iter() {
        endpoint.set_server_config(Some(quic::server(&tls, &node.settings)));
    }
    for warning in &tls.warnings {
        node.events.log(Level::Warning, warning.as_str());
    }
    node.events.log(
        Level::Notice,
        "the certificate files changed: new links use the new ones",
    );
    for link in node.all_links() {
        if !accepts(&tls.roots, &peer_chain(&link.connection)) {
            link.close("our CA no longer accepts the peer's certificate", true);
        }
    }
    node.tls.store(tls.into());
}
