//! Transparent mode: native write commands on keys in `geo.keys` become GEO commands before the server looks them up.
//! Reads, and all that the server does not call a write, pass as they are.

use std::cell::RefCell;

use redis_module::raw;

use super::api::{Context, api};
use super::filter::{Arguments, Registered};
use super::guard;
use super::native::{self, Keys, Known, Natives, Treatment};
use super::permissions;
use super::settings;
use super::site::{FLAGS, MainThread};
use crate::commands::native::UNKNOWN;

static FILTER: MainThread<RefCell<Option<Registered>>> = MainThread(RefCell::new(None));

/// Registers the filter on a primary, and takes it back, at the end of a turn, from any other server. It is there even
/// when transparent mode is off, because it also tells of changes of users.
pub fn look(ctx: Context<'_>) {
    let on = FLAGS.0.recording();
    if on {
        native::refresh(ctx);
    }
    let Ok(mut filter) = FILTER.0.try_borrow_mut() else {
        return;
    };
    if on && filter.is_none() {
        *filter = Some(Registered::new(ctx, pass));
        permissions::watch(true);
    } else if let (false, Some(_)) = (on, &*filter) {
        permissions::watch(false);
        if let Some(registered) = filter.take() {
            registered.remove(ctx);
        }
    }
    drop(filter);
    if on {
        permissions::refresh(ctx);
    }
}

/// Runs before every command of every client: nearly all pass after one look at their name. Nothing here may touch a
/// key.
unsafe extern "C" fn pass(command: *mut raw::RedisModuleCommandFilterCtx) {
    // SAFETY: what the server gave to this filter.
    let arguments = unsafe { Arguments::new(command) };
    let may_be_known = arguments.get(0).is_some_and(|name| native::may_be_known(name.bytes()));
    if may_be_known || permissions::is_due() {
        treat_known(&arguments);
    }
}

#[inline(never)]
fn treat_known(arguments: &Arguments) {
    if !FLAGS.0.recording() {
        return;
    }
    let run = |_: Context<'_>| {
        permissions::before_command();
        if let Some(name) = arguments.get(0) {
            native::find(name.bytes(), |natives, known| treat(arguments, natives, known));
        }
    };
    // SAFETY: without a context.
    unsafe { guard::callback(std::ptr::null_mut(), run) }
}

fn treat(arguments: &Arguments, natives: &Natives, known: &Known) {
    match known.treatment {
        Treatment::Acl => {
            if let Some(word) = arguments.get(1) {
                permissions::may_change(word.bytes());
            }
        }
        Treatment::Exec => permissions::may_have_changed(),
        Treatment::Container => {
            let Some(word) = arguments.get(1) else { return };
            let name = [known.name.as_bytes(), b"|", word.bytes()].concat();
            if let Some(known) = natives.find(&name) {
                treat(arguments, natives, known);
            }
        }
        // What the server would refuse for its arguments it refuses with its own words.
        Treatment::Replicated | Treatment::Refused(_) => {
            // What names no keys would take along those that were written by GEO commands.
            let listed = matches!(known.treatment, Treatment::Refused(why) if why != UNKNOWN);
            let refused = listed && matches!(known.keys, Keys::None);
            let applies = (settings::transparent() || refused) && known.takes(arguments.len());
            // What an unknown command that names no keys writes to them is found by comparing.
            let unknown = matches!(known.treatment, Treatment::Refused(UNKNOWN)) && matches!(known.keys, Keys::None);
            let concerns = applies && !unknown && (known.strays || touches(arguments, &known.keys));
            if concerns && !permissions::refuses_to_queue(arguments) {
                arguments.rename(&known.form);
            }
        }
    }
}

/// Whether a command writes a key in `geo.keys`. One that names no keys concerns all.
fn touches(arguments: &Arguments, keys: &Keys) -> bool {
    let has = |at: usize| arguments.get(at).is_some_and(|key| settings::has_key(key.bytes()));
    match keys {
        Keys::None => true,
        Keys::At(specs) => {
            let argument = |at| arguments.get(at).map(|word| word.bytes());
            let mut positions = specs.iter().flat_map(|spec| spec.positions(arguments.len(), argument));
            positions.any(has)
        }
        Keys::Ask => found(arguments, false).into_iter().any(has),
        Keys::AskAll => found(arguments, true).into_iter().any(has),
    }
}

/// Positions of the keys that a command writes, or of all of them, as the server finds them; none when the arguments
/// are wrong.
fn found(arguments: &Arguments, reads: bool) -> Vec<usize> {
    let all = arguments.all();
    let (mut count, mut flags) = (0, std::ptr::null_mut());
    // SAFETY: the server allocates both arrays, of the same length, for us to free; null when there are no keys.
    unsafe {
        let positions = api!(RedisModule_GetCommandKeysWithFlags(
            std::ptr::null_mut(),
            all.as_ptr().cast_mut().cast(),
            all.len() as i32,
            &mut count,
            &mut flags
        ));
        if positions.is_null() {
            return Vec::new();
        }
        let count = count.max(0) as usize;
        let found = std::slice::from_raw_parts(positions, count);
        let kinds = std::slice::from_raw_parts(flags, count);
        let writes = |kind: i32| reads || kind as u32 & raw::REDISMODULE_CMD_KEY_RO == 0;
        let keys = found.iter().zip(kinds).filter(|(_, kind)| writes(**kind));
        let keys = keys.map(|(at, _)| *at as usize).collect();
        api!(RedisModule_Free(positions.cast()));
        api!(RedisModule_Free(flags.cast()));
        keys
    }
}
