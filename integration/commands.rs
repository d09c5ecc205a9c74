//! Every GEO command against the native command on a plain server: replies, errors and data must be the same,
//! byte for byte, but for the command's name in error texts.

#[path = "support/plain.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod plain;

#[path = "commands/arguments.rs"]
mod arguments;
#[path = "commands/blocking.rs"]
mod blocking;
#[path = "commands/converge.rs"]
mod converge;
#[path = "commands/description.rs"]
mod description;
#[path = "commands/draw.rs"]
mod draw;
#[path = "commands/effects.rs"]
mod effects;
#[path = "commands/everywhere.rs"]
mod everywhere;
#[path = "commands/held.rs"]
mod held;
#[path = "commands/pair.rs"]
mod pair;
#[path = "commands/permissions.rs"]
mod permissions;
#[path = "commands/random.rs"]
mod random;
#[path = "commands/refusals.rs"]
mod refusals;
#[path = "commands/remote.rs"]
mod remote;
#[path = "commands/replication.rs"]
mod replication;
#[path = "commands/reports.rs"]
mod reports;
#[path = "commands/settings.rs"]
mod settings;
#[path = "commands/transparent.rs"]
mod transparent;
#[path = "commands/writes.rs"]
mod writes;
