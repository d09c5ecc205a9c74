//! What the families of commands share.

use std::ffi::CStr;

use crate::crdt::{Kind, Native};
use crate::redis::api::{Answer, Context, Text};
use crate::redis::reply::Refusal;
use crate::redis::{settings, site};

pub const STRING: Option<Native> = Some(Native::Kind(Kind::String));

/// Gets a key ready for a write and tells what it holds.
pub fn prepare(ctx: Context<'_>, key: Text<'_>) -> Result<Option<Native>, Refusal> {
    site::prepare(ctx, key)?;
    Ok(ctx.open(key).kind())
}

/// Runs a native command on arguments as they are.
pub fn call(ctx: Context<'_>, name: &CStr, arguments: &[Text<'_>]) -> Result<Answer, Refusal> {
    ctx.call(name, arguments).ok_or_else(|| not_run(name))
}

/// The native command could not be run at all: renamed or disabled, most likely.
#[cold]
pub fn not_run(name: &CStr) -> Refusal {
    Refusal::from(format!(
        "ERR the server does not run {}, which this command needs",
        name.to_string_lossy()
    ))
}

/// Refuses a value that could not be replicated.
pub fn check_size(bytes: usize) -> Result<(), Refusal> {
    let limit = settings::max_value();
    if bytes <= limit {
        return Ok(());
    }
    Err(Refusal::from(format!(
        "ERR the value would have {bytes} bytes: geo.max-value-size allows {limit}"
    )))
}

/// The number in an argument that the native command accepts, or has accepted.
pub fn integer(argument: Text<'_>) -> Option<i64> {
    std::str::from_utf8(argument.bytes()).ok()?.parse().ok()
}
