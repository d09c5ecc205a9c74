//! One transport and everything it reported.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use redis_geo::replication::LinkId;
use redis_geo::replication::transport::{Command, Event, Handle, InboundFrame, PeerAddress, Settings, start};
use smallvec::SmallVec;

/// Nothing here takes nearly as long.
const DEADLINE: Duration = Duration::from_secs(60);

pub struct Up {
    pub dialed: Option<String>,
    pub certificate: Vec<String>,
    pub address: String,
    pub frames: Vec<InboundFrame>,
    pub down: Option<String>,
}

pub struct Region {
    pub handle: Handle,
    /// All links there ever were.
    pub links: BTreeMap<LinkId, Up>,
    pub dial_failures: Vec<(String, String)>,
    pub log: Vec<String>,
}

impl Region {
    pub fn start(settings: Settings) -> Region {
        Region::of(start(settings, || {}).unwrap())
    }

    pub fn of(handle: Handle) -> Region {
        Region {
            handle,
            links: BTreeMap::new(),
            dial_failures: Vec::new(),
            log: Vec::new(),
        }
    }

    pub fn address(&self, name: &str) -> PeerAddress {
        let address = self.handle.addresses()[0];
        PeerAddress {
            name: name.into(),
            host: address.ip().to_string(),
            port: address.port(),
        }
    }

    /// Takes the events that wait, at most `limit` frames.
    pub fn pump(&mut self, mut limit: usize) {
        while limit > 0 {
            match self.handle.try_recv() {
                None => return,
                Some(Event::Up {
                    link,
                    dialed,
                    certificate,
                    address,
                }) => {
                    let up = Up {
                        dialed,
                        certificate,
                        address,
                        frames: Vec::new(),
                        down: None,
                    };
                    assert!(self.links.insert(link, up).is_none(), "{link:?} came up twice");
                }
                Some(Event::Frame { link, frame }) => {
                    limit -= 1;
                    let up = self.links.get_mut(&link).expect("a frame of an unknown link");
                    assert!(up.down.is_none(), "a frame after the end");
                    up.frames.push(frame);
                }
                Some(Event::Down { link, reason }) => {
                    let up = self.links.get_mut(&link).expect("the end of an unknown link");
                    assert!(up.down.replace(reason).is_none(), "{link:?} went down twice");
                }
                Some(Event::DialFailed { peer, reason }) => self.dial_failures.push((peer, reason)),
                Some(Event::Log { text, .. }) => self.log.push(text),
            }
        }
    }

    /// Links that are up.
    pub fn up(&self) -> Vec<LinkId> {
        self.links
            .iter()
            .filter(|(_, up)| up.down.is_none())
            .map(|(link, _)| *link)
            .collect()
    }

    pub fn send(&self, link: LinkId, frame: impl Into<Arc<[u8]>>) {
        self.handle.send(Command::Send {
            links: SmallVec::from_slice(&[link]),
            frame: frame.into(),
        });
    }

    /// Frames of a link so far, and forgets them.
    pub fn take(&mut self, link: LinkId) -> Vec<InboundFrame> {
        std::mem::take(&mut self.links.get_mut(&link).unwrap().frames)
    }

    pub fn down(&self, link: LinkId) -> Option<&str> {
        self.links[&link].down.as_deref()
    }

    pub fn failed_with(&self, words: &str) -> bool {
        self.dial_failures.iter().any(|(_, reason)| reason.contains(words))
    }

    pub fn logged(&self, words: &str) -> bool {
        self.log.iter().any(|text| text.contains(words))
    }
}

/// Pumps until `condition` holds.
pub fn wait<const N: usize>(what: &str, regions: [&mut Region; N], condition: impl Fn([&Region; N]) -> bool) {
    let mut regions = regions;
    let start = Instant::now();
    loop {
        regions.iter_mut().for_each(|region| region.pump(usize::MAX));
        let view: Vec<&Region> = regions.iter().map(|region| &**region).collect();
        if condition(view.try_into().unwrap_or_else(|_| unreachable!())) {
            return;
        }
        if start.elapsed() > DEADLINE {
            for region in &regions {
                eprintln!("log {:?}\ndial failures {:?}", region.log, region.dial_failures);
                for (link, up) in &region.links {
                    eprintln!("{link:?} {:?} frames {} down {:?}", up.dialed, up.frames.len(), up.down);
                }
            }
            panic!("waited in vain: {what}");
        }
        // Between two looks at the condition: the regions' threads need the cores.
        sleep(Duration::from_millis(2));
    }
}
