//! What happens to servers and links, drawn from a seed before the run begins.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redis_geo::lab::relay::Conditions;

use crate::history::Time;

/// Which of a region's servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Primary,
    Replica,
}

/// How a region goes on after its primary was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// It starts again where it was, with its files.
    SamePlace,
    /// Without its files.
    Blank,
    /// With the files of the last backup.
    Backup,
    /// A replica is promoted; it comes back as a replica.
    Failover,
}

#[derive(Clone, Debug)]
pub enum Fault {
    Kill {
        region: usize,
        role: Role,
        back: Return,
    },
    /// The server that was killed last starts again.
    Restart,
    Freeze {
        region: usize,
        role: Role,
    },
    Thaw,
    /// A replica is promoted while its primary lives; the old primary follows it.
    Promote {
        region: usize,
    },
    Save {
        region: usize,
        role: Role,
    },
    Rewrite {
        region: usize,
        role: Role,
    },
    BackUp {
        region: usize,
    },
    /// The wall clock is wrong by this many seconds from now on.
    Clock {
        region: usize,
        node: usize,
        ahead: i64,
    },
    Cut {
        link: (usize, usize),
        forth: bool,
    },
    Heal {
        link: (usize, usize),
        forth: bool,
    },
    Conditions {
        link: (usize, usize),
        forth: bool,
        conditions: Conditions,
    },
}

#[derive(Clone, Debug)]
pub struct Event {
    pub at: Time,
    pub fault: Fault,
}

/// What a region can live through.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    pub replicas: usize,
    /// It can be promoted by hand: no sentinel does.
    pub failover: bool,
    /// It has files to come back with.
    pub files: bool,
}

/// All faults of a run of this length, in order.
pub fn schedule(seed: u64, length: Duration, regions: &[Region]) -> Vec<Event> {
    let mut plan = Plan {
        random: SmallRng::seed_from_u64(seed),
        length,
        regions,
        events: Vec::new(),
    };
    plan.servers();
    plan.links();
    plan.files_and_clocks();
    plan.events.sort_by_key(|event| event.at);
    plan.events
}

struct Plan<'a> {
    random: SmallRng,
    length: Duration,
    regions: &'a [Region],
    events: Vec<Event>,
}

impl Plan<'_> {
    fn span(&mut self, least: f64, most: f64) -> Duration {
        Duration::from_secs_f64(self.random.random_range(least..most))
    }

    fn region(&mut self) -> usize {
        self.random.random_range(0..self.regions.len())
    }

    fn role(&mut self, region: usize) -> Role {
        let replica = self.regions[region].replicas > 0 && self.random.random_bool(0.3);
        if replica { Role::Replica } else { Role::Primary }
    }

    fn push(&mut self, at: Time, fault: Fault) {
        self.events.push(Event { at, fault });
    }

    /// One server at a time is killed, frozen or replaced.
    fn servers(&mut self) {
        let mut at = self.span(2.0, 5.0);
        while at < self.length {
            let region = self.region();
            let role = self.role(region);
            let end = at + self.span(0.2, 8.0);
            match self.random.random_range(0..10) {
                0..6 => {
                    let back = self.back(region);
                    self.push(at, Fault::Kill { region, role, back });
                    self.push(end, Fault::Restart);
                }
                6 if self.regions[region].failover => self.push(at, Fault::Promote { region }),
                _ => {
                    self.push(at, Fault::Freeze { region, role });
                    self.push(end, Fault::Thaw);
                }
            }
            at = end + self.span(0.5, 6.0);
        }
    }

    fn back(&mut self, region: usize) -> Return {
        let Region { failover, files, .. } = self.regions[region];
        match self.random.random_range(0..10) {
            0..4 if failover => Return::Failover,
            0..7 if files => Return::SamePlace,
            7..9 if files => Return::Backup,
            _ => Return::Blank,
        }
    }

    /// Each direction of each link is cut, slow or lossy for a while, then well for a while.
    fn links(&mut self) {
        let count = self.regions.len();
        for link in (0..count).flat_map(|b| (0..b).map(move |a| (a, b))) {
            for forth in [true, false] {
                let mut at = self.span(0.0, 15.0);
                while at < self.length {
                    let end = at + self.span(0.5, 15.0);
                    if self.random.random_bool(0.4) {
                        self.push(at, Fault::Cut { link, forth });
                        self.push(end, Fault::Heal { link, forth });
                    } else {
                        let conditions = self.conditions();
                        self.push(
                            at,
                            Fault::Conditions {
                                link,
                                forth,
                                conditions,
                            },
                        );
                        let conditions = Conditions::PERFECT;
                        self.push(
                            end,
                            Fault::Conditions {
                                link,
                                forth,
                                conditions,
                            },
                        );
                    }
                    at = end + self.span(2.0, 20.0);
                }
            }
        }
    }

    fn conditions(&mut self) -> Conditions {
        Conditions {
            delay: self.span(0.0, 0.15),
            jitter: self.span(0.0, 0.03),
            loss: self.random.random_range(0.0..0.1),
            duplicate: self.random.random_range(0.0..0.05),
            reorder: self.random.random_range(0.0..0.05),
            bandwidth: self.random.random_bool(0.3).then_some(1 << 20),
        }
    }

    fn files_and_clocks(&mut self) {
        let mut at = self.span(1.0, 5.0);
        while at < self.length {
            let region = self.region();
            let role = self.role(region);
            let fault = match self.random.random_range(0..8) {
                0..2 => Fault::Save { region, role },
                2..4 => Fault::Rewrite { region, role },
                4..6 => Fault::BackUp { region },
                _ => {
                    let node = self.random.random_range(0..=self.regions[region].replicas);
                    // Certificates are valid from an hour before they were made.
                    let ahead = [-2400, -90, -5, 0, 0, 5, 90, 7200][self.random.random_range(0..8)];
                    Fault::Clock { region, node, ahead }
                }
            };
            self.push(at, fault);
            at += self.span(1.0, 8.0);
        }
    }
}
