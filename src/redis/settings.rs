//! THE table of settings. `loadmodule` arguments, `CONFIG`, `redis.conf.example` and every check derive from
//! it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::glob::Patterns;
use super::site::{self, MainThread};
use crate::crdt::ScoreRule;
use crate::replication::transport::{Compression, PeerAddress};
use crate::replication::{Config, Limits};

pub struct Setting {
    /// The argument of `loadmodule`; `geo.<name>` in redis.conf and `CONFIG`.
    pub name: &'static str,
    pub kind: Kind,
    /// Sizes in bytes.
    pub default: &'static str,
    /// Whether `CONFIG SET` takes it while the server runs.
    pub mutable: bool,
}

#[derive(Clone, Copy)]
pub enum Kind {
    Text,
    /// Glob patterns of keys, between blanks or commas; `!` excludes.
    Patterns,
    Number {
        min: i64,
        max: i64,
    },
    /// Bytes; `64mb` is understood.
    Size {
        min: i64,
        max: i64,
    },
    Choice(&'static [&'static str]),
}

const COMPRESSION: &[&str] = &["off", "lz4", "zstd"];
const SCORES: &[&str] = &["max", "min", "last"];
const DURABILITY: &[&str] = &["auto", "volatile", "disk", "replica", "disk+replica"];
const EVICTION: &[&str] = &["replicate", LOCAL];
const LOCAL: &str = "local";
const SWITCH: &[&str] = &["no", "yes"];
const MB: i64 = 1 << 20;
/// Bytes of a frame beyond the greatest value in it.
const FRAME_ROOM: usize = 16 << 20;

const fn text(name: &'static str, default: &'static str) -> Setting {
    Setting {
        name,
        kind: Kind::Text,
        default,
        mutable: false,
    }
}

const fn number(name: &'static str, default: &'static str, min: i64, max: i64) -> Setting {
    Setting {
        name,
        kind: Kind::Number { min, max },
        default,
        mutable: false,
    }
}

const fn size(name: &'static str, default: &'static str, min: i64, max: i64) -> Setting {
    Setting {
        name,
        kind: Kind::Size { min, max },
        default,
        mutable: false,
    }
}

const fn choice(name: &'static str, default: &'static str, of: &'static [&'static str]) -> Setting {
    Setting {
        name,
        kind: Kind::Choice(of),
        default,
        mutable: false,
    }
}

pub static SETTINGS: &[Setting] = &[
    text("region", ""),
    text("cluster", "geo"),
    text("listen", "0.0.0.0:7379"),
    text("peers", ""),
    text("certificate", ""),
    text("key", ""),
    text("ca", ""),
    choice("zset-merge", "max", SCORES),
    // Only GEO.DETACH changes it.
    choice(DETACHED, "no", SWITCH),
    choice("compression", "lz4", COMPRESSION),
    size("bandwidth", "24000000", 64 << 10, 10 << 30),
    number("streams", "8", 1, 16),
    choice("gso", "yes", SWITCH),
    number("max-mtu", "0", 0, 9000),
    Setting {
        mutable: true,
        ..choice(TRANSPARENT, "yes", SWITCH)
    },
    Setting {
        name: KEYS,
        kind: Kind::Patterns,
        default: "*",
        mutable: true,
    },
    Setting {
        mutable: true,
        ..choice("acl-grant", "yes", SWITCH)
    },
    Setting {
        mutable: true,
        ..size(MAX_VALUE, "67108864", 1024, 64 * MB)
    },
    Setting {
        mutable: true,
        ..choice("durability", "auto", DURABILITY)
    },
    Setting {
        mutable: true,
        ..choice("recovering-reads", "yes", SWITCH)
    },
    Setting {
        mutable: true,
        ..number("recovery-timeout", "0", 0, 31_536_000)
    },
    Setting {
        mutable: true,
        ..number("memory-reserve", "10", 0, 100)
    },
    Setting {
        mutable: true,
        ..choice("eviction", "replicate", EVICTION)
    },
    Setting {
        mutable: true,
        ..number("max-evicted-keys", "10000000", 0, 1 << 32)
    },
    size("stream-window", "8388608", 64 << 10, 256 * MB),
    size("transfer-window", "4194304", 64 << 10, 256 * MB),
    size("queue", "67108864", MB, 64 << 30),
    number("relay-delay-ms", "300", 10, 60_000),
    number("heartbeat-ms", "1000", 100, 60_000),
    number("max-clock-drift-ms", "60000", 1, 86_400_000),
];

pub const MAX_VALUE: &str = "max-value-size";
const TRANSPARENT: &str = "transparent";
const KEYS: &str = "keys";
const DETACHED: &str = "detached";

/// The current value of every setting, in the table's order, in the form it is shown: sizes are bytes.
static VALUES: MainThread<RefCell<Vec<String>>> = MainThread(RefCell::new(Vec::new()));
static MAX_VALUE_BYTES: MainThread<Cell<usize>> = MainThread(Cell::new(64 << 20));

static IS_TRANSPARENT: MainThread<Cell<bool>> = MainThread(Cell::new(true));
/// `None`: all keys.
static PATTERNS: MainThread<RefCell<Option<Patterns>>> = MainThread(RefCell::new(None));

/// Whether native write commands are turned into GEO commands.
pub fn transparent() -> bool {
    IS_TRANSPARENT.0.get()
}

/// Whether `geo.keys` has every key.
pub fn all_keys() -> bool {
    PATTERNS.0.borrow().is_none()
}

/// Whether `geo.keys` has a key.
pub fn has_key(key: &[u8]) -> bool {
    PATTERNS
        .0
        .borrow()
        .as_ref()
        .is_none_or(|patterns| patterns.matches(key))
}

/// Whether users are given the GEO forms of the commands they may run.
pub fn acl_grant() -> bool {
    text_of("acl-grant") == "yes"
}

/// Whether the region was told to replicate no more.
pub fn detached() -> bool {
    text_of(DETACHED) == "yes"
}

pub fn detach() {
    if let Some(index) = find(DETACHED) {
        set(index, "yes".to_owned());
    }
}

/// Bytes that a GEO command may store under one string key or set member.
pub fn max_value() -> usize {
    MAX_VALUE_BYTES.0.get()
}

pub fn find(name: &str) -> Option<usize> {
    SETTINGS
        .iter()
        .position(|setting| setting.name.eq_ignore_ascii_case(name))
}

pub fn value(index: usize) -> String {
    VALUES.0.borrow().get(index).cloned().unwrap_or_default()
}

/// Sets one value that [`parse`] has accepted.
pub fn set(index: usize, value: String) {
    match SETTINGS[index].name {
        MAX_VALUE => MAX_VALUE_BYTES.0.set(value.parse().unwrap_or(64 << 20)),
        TRANSPARENT => IS_TRANSPARENT.0.set(value == "yes"),
        KEYS => *PATTERNS.0.borrow_mut() = Patterns::parse(&value).filter(|patterns| !patterns.is_everything()),
        _ => {}
    }
    VALUES.0.borrow_mut()[index] = value;
}

/// Brings a value into the form it is kept in; says what is wrong and what is right.
pub fn parse(setting: &Setting, text: &str) -> Result<String, String> {
    let wrong = |need: String| Err(format!("setting '{}' is '{text}': it must be {need}", setting.name));
    match setting.kind {
        Kind::Text => Ok(text.to_owned()),
        Kind::Patterns => match Patterns::parse(text) {
            Some(_) => Ok(text.to_owned()),
            None => wrong("at least one pattern, such as app:*".to_owned()),
        },
        Kind::Choice(of) => match of.iter().find(|word| word.eq_ignore_ascii_case(text)) {
            Some(word) => Ok((*word).to_owned()),
            None => wrong(format!("one of: {}", of.join(", "))),
        },
        Kind::Number { min, max } => match text.parse::<i64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(number.to_string()),
            _ => wrong(format!("a number from {min} to {max}")),
        },
        Kind::Size { min, max } => match bytes(text) {
            Some(number) if (min..=max).contains(&number) => Ok(number.to_string()),
            _ => wrong(format!("a size from {min} to {max} bytes, such as 64mb")),
        },
    }
}

/// A size as redis.conf writes it: `k` and `kb`, `m` and `mb`, `g` and `gb`.
fn bytes(text: &str) -> Option<i64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match text[digits..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    text[..digits].parse::<i64>().ok()?.checked_mul(unit)
}

/// Takes the arguments of `loadmodule`: pairs of a name and a value. `peer` may be repeated.
pub fn take_arguments<'a>(mut arguments: impl Iterator<Item = &'a [u8]>) -> Result<(), String> {
    *VALUES.0.borrow_mut() = SETTINGS.iter().map(|setting| setting.default.to_owned()).collect();
    while let Some(name) = arguments.next() {
        let name = String::from_utf8_lossy(name).into_owned();
        let known = if name.eq_ignore_ascii_case("peer") {
            find("peers")
        } else {
            find(&name)
        };
        let Some(index) = known else { return Err(unknown(&name)) };
        let Some(text) = arguments.next() else {
            return Err(format!(
                "argument '{name}' has no value: give pairs of a name and a value"
            ));
        };
        let text = String::from_utf8(text.to_vec()).map_err(|_| format!("argument '{name}' is not UTF-8"))?;
        let mut parsed = parse(&SETTINGS[index], &text)?;
        if SETTINGS[index].name == "peers" && !value(index).is_empty() {
            parsed = format!("{} {parsed}", value(index));
        }
        set(index, parsed);
    }
    Ok(())
}

fn unknown(name: &str) -> String {
    let names: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
    format!("unknown argument '{name}': known are peer, {}", names.join(", "))
}

/// The settings, checked as a whole.
#[derive(Clone, Debug)]
pub struct Options {
    pub region: String,
    pub cluster: String,
    pub listen: Vec<SocketAddr>,
    pub peers: Vec<PeerAddress>,
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub ca: PathBuf,
    pub compression: Compression,
    pub bandwidth: u64,
    pub streams: u8,
    pub gso: bool,
    pub max_mtu: Option<u16>,
    pub limits: Limits,
}

impl Options {
    pub fn engine(&self) -> Config {
        let mut peers: Vec<String> = Vec::new();
        for peer in &self.peers {
            if !peers.contains(&peer.name) {
                peers.push(peer.name.clone());
            }
        }
        Config {
            cluster: self.cluster.clone(),
            region: self.region.clone(),
            peers,
            limits: self.limits.clone(),
            scores: scores(),
            salt: site::choice(),
        }
    }
}

/// Checks the settings together. The error is one line that says what to change.
pub fn options() -> Result<Options, String> {
    let region = name("region", "the name of this region, such as eu")?;
    let cluster = name("cluster", "a name that all regions share")?;
    let peers = peers(&text_of("peers"), &region)?;
    let listen = listen(&text_of("listen"))?;
    Ok(Options {
        certificate: file("certificate", "this region's certificate (PEM)")?,
        key: file("key", "this region's private key (PEM)")?,
        ca: file("ca", "the certificate authority of all regions (PEM)")?,
        compression: compression(),
        bandwidth: number_of("bandwidth"),
        streams: number_of("streams") as u8,
        gso: text_of("gso") == "yes",
        max_mtu: Some(number_of("max-mtu") as u16).filter(|mtu| *mtu != 0),
        limits: limits(),
        region,
        cluster,
        listen,
        peers,
    })
}

fn compression() -> Compression {
    match text_of("compression").as_str() {
        "off" => Compression::Off,
        "zstd" => Compression::Zstd,
        _ => Compression::Lz4,
    }
}

fn limits() -> Limits {
    let millis = |name| Duration::from_millis(number_of(name));
    Limits {
        stream_window: number_of("stream-window") as usize,
        transfer_window: number_of("transfer-window") as usize,
        queue: number_of("queue") as usize,
        relay_delay: millis("relay-delay-ms"),
        heartbeat: millis("heartbeat-ms"),
        drift: drift(),
        frame: 64 * MB as usize + FRAME_ROOM,
        ..Limits::default()
    }
}

/// What concurrent scores merge to.
pub fn scores() -> ScoreRule {
    ScoreRule::of_name(&text_of("zset-merge")).unwrap_or_default()
}

/// The region's name, checked when the module was loaded.
pub fn region() -> String {
    text_of("region")
}

pub fn durability() -> String {
    text_of("durability")
}

pub fn recovering_reads() -> bool {
    text_of("recovering-reads") == "yes"
}

/// After this long a recovering region goes on alone; never when zero.
pub fn recovery_timeout() -> Duration {
    Duration::from_secs(number_of("recovery-timeout"))
}

/// Percent of `maxmemory`.
pub fn memory_reserve() -> u64 {
    number_of("memory-reserve")
}

/// Whether what this server evicts stays in the other regions.
pub fn evicts_locally() -> bool {
    text_of("eviction") == LOCAL
}

/// Keys that may be evicted here only, at a time.
pub fn max_evicted_keys() -> u64 {
    number_of("max-evicted-keys")
}

pub fn drift() -> Duration {
    Duration::from_millis(number_of("max-clock-drift-ms"))
}

fn text_of(name: &str) -> String {
    find(name).map(value).unwrap_or_default()
}

fn number_of(name: &str) -> u64 {
    text_of(name).parse().unwrap_or_default()
}

/// A region's or cluster's name: it goes into certificates and logs.
fn name(setting: &str, what: &str) -> Result<String, String> {
    let text = text_of(setting);
    if text.is_empty() {
        return Err(format!(
            "setting '{setting}' is missing: add '{setting} <name>' to loadmodule: {what}"
        ));
    }
    check_name(&text).map_err(|why| format!("setting '{setting}' is '{text}': {why}"))?;
    Ok(text)
}

/// Names are DNS labels, because a region's certificate carries its name.
fn check_name(text: &str) -> Result<(), &'static str> {
    let letters = text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if letters && (1..=63).contains(&text.len()) && !text.starts_with('-') && !text.ends_with('-') {
        return Ok(());
    }
    Err("use 1 to 63 characters a-z, 0-9 and '-', not '-' at either end")
}

fn peers(text: &str, region: &str) -> Result<Vec<PeerAddress>, String> {
    let mut peers: Vec<PeerAddress> = Vec::new();
    for item in text.split([' ', ',']).filter(|item| !item.is_empty()) {
        // An address without a name is another one of the region before it.
        let named = match (item.contains('@'), peers.last()) {
            (false, Some(last)) => format!("{}@{item}", last.name),
            _ => item.to_owned(),
        };
        let peer = peer(&named).ok_or_else(|| format!("peer '{item}' is not of the form name@host:port"))?;
        check_name(&peer.name).map_err(|why| format!("peer '{item}': its name is not a region's: {why}"))?;
        if peer.name == region {
            return Err(format!(
                "peer '{item}' is this region itself: list only the other regions"
            ));
        }
        if peers.contains(&peer) {
            return Err(format!("peer '{named}' is listed twice"));
        }
        peers.push(peer);
    }
    Ok(peers)
}

fn peer(item: &str) -> Option<PeerAddress> {
    let (name, address) = item.split_once('@')?;
    let (host, port) = address.rsplit_once(':')?;
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match inner {
        Some(address) => address,
        None if host.contains(':') => return None,
        None => host,
    };
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty()).then(|| PeerAddress {
        name: name.to_owned(),
        host: host.to_owned(),
        port,
    })
}

fn listen(text: &str) -> Result<Vec<SocketAddr>, String> {
    let wrong = |item: &str| format!("setting 'listen' has '{item}': give address:port, such as 0.0.0.0:7379");
    let items = text.split([' ', ',']).filter(|item| !item.is_empty());
    let addresses: Vec<SocketAddr> = items
        .map(|item| item.parse().map_err(|_| wrong(item)))
        .collect::<Result<_, String>>()?;
    if addresses.is_empty() {
        Err(wrong(""))
    } else {
        Ok(addresses)
    }
}

fn file(setting: &str, what: &str) -> Result<PathBuf, String> {
    let text = text_of(setting);
    if text.is_empty() {
        return Err(format!(
            "setting '{setting}' is missing: give the path of {what}; `geoctl certs` makes them"
        ));
    }
    match std::fs::File::open(&text) {
        Ok(_) => Ok(Path::new(&text).to_owned()),
        Err(error) => Err(format!("setting '{setting}': {text}: {error}; it must be {what}")),
    }
}

#[cfg(test)]
mod tests;
