//! The bytes on the wire: golden vectors with readable twins, round trips, and frames that nobody sane would send.

mod engine;
mod golden;
mod hostile;
mod keeping;
mod memory;
mod roundtrip;
mod samples;

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;
