//! Native reads while the region recovers: its data may be old or incomplete. With `geo.recovering-reads no` a command
//! filter, registered only for that time, answers them with an error.

use std::cell::RefCell;
use std::collections::BTreeSet;

use redis_module::raw;

use super::api::{Context, OwnedText, Text};
use super::filter::{Arguments, Registered};
use super::site::MainThread;

/// What a refused command is turned into.
const REFUSED: &[u8] = b"geo.refused";

struct Filter {
    registered: Registered,
    /// Lower case; `memory|usage` for a subcommand.
    reads: BTreeSet<Vec<u8>>,
    refused: OwnedText,
}

static FILTER: MainThread<RefCell<Option<Filter>>> = MainThread(RefCell::new(None));

/// Refuses reads from now on, or serves them.
pub fn refuse(ctx: Context<'_>, on: bool) {
    let Ok(mut filter) = FILTER.0.try_borrow_mut() else {
        return;
    };
    match (filter.take(), on) {
        (Some(old), true) => *filter = Some(old),
        (Some(old), false) => old.registered.remove(ctx),
        (None, true) => {
            *filter = Some(Filter {
                reads: reads(ctx),
                registered: Registered::new(ctx, check),
                refused: OwnedText::new(REFUSED),
            });
        }
        (None, false) => {}
    }
}

/// The server's own read commands.
fn reads(ctx: Context<'_>) -> BTreeSet<Vec<u8>> {
    let words: Vec<OwnedText> = ["LIST", "FILTERBY", "ACLCAT", "read"]
        .map(|word| OwnedText::new(word.as_bytes()))
        .into();
    let texts: Vec<Text<'_>> = words.iter().map(OwnedText::text).collect();
    let answer = ctx.ask(c"COMMAND", &texts);
    let names = answer.iter().flat_map(|answer| answer.strings());
    names
        .filter(|name| !name.starts_with(b"geo."))
        .map(<[u8]>::to_ascii_lowercase)
        .collect()
}

/// Runs for every command. Nothing here may touch a key.
unsafe extern "C" fn check(command: *mut raw::RedisModuleCommandFilterCtx) {
    let Ok(filter) = FILTER.0.try_borrow() else { return };
    let Some(filter) = filter.as_ref() else { return };
    // SAFETY: what the server gave to this filter.
    let arguments = unsafe { Arguments::new(command) };
    let argument = |at| arguments.get(at).map(|text| text.bytes().to_ascii_lowercase());
    let Some(mut name) = argument(0) else { return };
    let mut read = filter.reads.contains(&name);
    if let (false, Some(sub)) = (read, argument(1)) {
        name.push(b'|');
        name.extend(sub);
        read = filter.reads.contains(&name);
    }
    if read {
        arguments.rename(&filter.refused);
    }
}
