//! What the transport is told when it starts.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::wire::MAX_LANES;

/// A place to dial a peer at. `name` is its region: the certificate it presents must carry it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerAddress {
    pub name: String,
    /// An IP address or a DNS name; resolved again at every attempt.
    pub host: String,
    pub port: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    Off,
    /// Cheapest: the default.
    #[default]
    Lz4,
    /// Level 1: about a third smaller than lz4 for twice its time. For priced links.
    Zstd,
}

#[derive(Clone, Debug)]
pub struct Settings {
    /// Our region's name: our certificate must carry it as a DNS name (SAN).
    pub region: String,
    /// Where peers reach us; port 0 takes a free one. Empty: we only dial.
    pub listen: Vec<SocketAddr>,
    /// A region may have several places, tried in turn.
    pub peers: Vec<PeerAddress>,
    /// PEM: our certificate, followed by its intermediates if it has any.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
    /// PEM: the authorities whose certificates we accept, ours included.
    pub ca: PathBuf,
    pub compression: Compression,
    /// Bytes of one frame; a peer that announces a greater one is disconnected.
    pub max_frame: usize,
    /// Bytes of delivered and not yet dropped frames per link. At the limit we stop reading the link.
    /// One frame is always let through, however big.
    pub inbound: usize,
    /// Bytes per second the links are dimensioned for, see [`Settings::send_window`].
    pub bandwidth: u64,
    /// Streams a link's frames are spread over, 1 to 16.
    pub streams: u8,
    /// Several datagrams per system call (UDP GSO). Some network cards and tunnels break it.
    pub gso: bool,
    /// Largest UDP payload to try; `None`: found by probing up to 1452. 1200 switches the probing off.
    pub max_mtu: Option<u16>,
}

/// Round-trip time assumed before one is measured.
const ASSUMED_RTT: Duration = Duration::from_millis(100);
/// A link faster than this gains nothing from a smaller window.
const SHORTEST_RTT: Duration = Duration::from_millis(20);
const SMALLEST_SEND_WINDOW: u64 = 512 << 10;
/// A stream window above 2.4 MB kills connections under loss ("too many gaps in stream buffer").
pub(super) const STREAM_WINDOW: u32 = 1 << 20;

impl Settings {
    /// Settings with the defaults: no listener, no peers, lz4, 80 MiB frames, 24 MB/s.
    pub fn new(region: &str, certificate: PathBuf, key: PathBuf, ca: PathBuf) -> Settings {
        Settings {
            region: region.to_string(),
            listen: Vec::new(),
            peers: Vec::new(),
            certificate,
            key,
            ca,
            compression: Compression::default(),
            max_frame: 80 << 20,
            inbound: 16 << 20,
            bandwidth: 24_000_000,
            streams: 8,
            gso: true,
            max_mtu: None,
        }
    }

    /// Bytes in flight or waiting in QUIC's buffers: 1.75 x bandwidth x round-trip time, because BBR
    /// overshoots when it is not capped, and at most what the streams' windows take.
    pub(super) fn send_window(&self, rtt: Option<Duration>) -> u64 {
        let rtt = rtt.unwrap_or(ASSUMED_RTT).max(SHORTEST_RTT);
        let product = u128::from(self.bandwidth) * rtt.as_micros() * 7 / 4 / 1_000_000;
        let largest = u64::from(self.streams) * u64::from(STREAM_WINDOW);
        u64::try_from(product)
            .unwrap_or(u64::MAX)
            .clamp(SMALLEST_SEND_WINDOW, largest)
    }

    /// The places of each peer.
    pub(super) fn places(&self) -> Vec<Vec<PeerAddress>> {
        let mut all: Vec<Vec<PeerAddress>> = Vec::new();
        for place in &self.peers {
            match all.iter_mut().find(|places| places[0].name == place.name) {
                Some(places) => places.push(place.clone()),
                None => all.push(vec![place.clone()]),
            }
        }
        all
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        if self.streams == 0 || self.streams > MAX_LANES {
            return Err(Error::new(format!(
                "streams is {}: take 1 to {MAX_LANES}",
                self.streams
            )));
        }
        if self.bandwidth < 10_000 {
            return Err(Error::new(format!(
                "bandwidth is {} bytes/s: take at least 10000",
                self.bandwidth
            )));
        }
        if self.max_frame == 0 || self.max_frame > LARGEST_FRAME || self.inbound == 0 || self.inbound > LARGEST_FRAME {
            return Err(Error::new(format!(
                "frame and inbound limits must be 1 to {LARGEST_FRAME} bytes"
            )));
        }
        if let Some(mtu) = self.max_mtu.filter(|mtu| !(1200..=65527).contains(mtu)) {
            return Err(Error::new(format!("max-mtu is {mtu}: take 1200 to 65527")));
        }
        for peer in &self.peers {
            region_name(&peer.name)?;
            if peer.name == self.region {
                return Err(Error::new(format!("peer {} has our own region's name", peer.name)));
            }
        }
        region_name(&self.region)
    }
}

/// Lengths travel as 32 bits; half of it leaves room in every sum.
const LARGEST_FRAME: usize = 1 << 30;

/// A region name stands in certificates as a DNS name.
fn region_name(name: &str) -> Result<(), Error> {
    match rustls::pki_types::DnsName::try_from(name) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::new(format!(
            "\"{name}\" cannot be a region's name: letters, digits and hyphens only"
        ))),
    }
}

/// One line: what is wrong, and with which setting or file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error(String);

impl Error {
    pub(super) fn new(text: impl Into<String>) -> Error {
        Error(text.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_send_window_follows_bandwidth_and_round_trip_within_bounds() {
        let mut settings = Settings::new("eu", "c".into(), "k".into(), "a".into());
        assert_eq!(settings.send_window(None), 4_200_000);
        assert_eq!(settings.send_window(Some(Duration::from_micros(50))), 840_000);
        settings.bandwidth = u64::MAX;
        assert_eq!(settings.send_window(None), 8 << 20);
        settings.bandwidth = 10_000;
        assert_eq!(settings.send_window(None), SMALLEST_SEND_WINDOW);
        settings.streams = 1;
        settings.bandwidth = 24_000_000;
        assert_eq!(settings.send_window(None), 1 << 20);
    }

    #[test]
    fn wrong_settings_are_named() {
        let good = Settings::new("eu", "c".into(), "k".into(), "a".into());
        assert_eq!(good.check(), Ok(()));
        let peer = |name: &str| PeerAddress {
            name: name.into(),
            host: "h".into(),
            port: 1,
        };
        for (wrong, word) in [
            (
                Settings {
                    streams: 17,
                    ..good.clone()
                },
                "streams",
            ),
            (
                Settings {
                    bandwidth: 1,
                    ..good.clone()
                },
                "bandwidth",
            ),
            (
                Settings {
                    max_mtu: Some(100),
                    ..good.clone()
                },
                "max-mtu",
            ),
            (
                Settings {
                    region: "no good".into(),
                    ..good.clone()
                },
                "no good",
            ),
            (
                Settings {
                    peers: vec![peer("eu")],
                    ..good.clone()
                },
                "own region",
            ),
            (
                Settings {
                    max_frame: 0,
                    ..good.clone()
                },
                "limits",
            ),
        ] {
            let text = wrong.check().unwrap_err().to_string();
            assert!(text.contains(word), "{text}");
        }
    }
}
