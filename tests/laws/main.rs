//! The laws of the kernel alone: replicas, operations and transfers, without engines, links or a server.

mod canonical;
mod compaction;
mod convergence;
mod merging;
mod replicas;
mod spec;
mod types;
