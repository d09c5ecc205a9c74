//! Nothing is lost: what a server's own persistence, its replicas and its peers carry through restarts and failovers.

#[path = "../support/plain.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod plain;

mod adopt;
mod amnesia;
mod aof;
mod capture;
mod clones;
mod deadlines;
mod deaths;
mod detach;
mod disks;
mod durability;
mod forks;
mod golden;
mod limits;
mod pair;
mod rdb;
mod replicas;
mod state;
mod units;
