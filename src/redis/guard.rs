//! The border: every callback of the server enters through here, and no panic leaves.

use std::any::Any;
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use redis_module::raw;

use super::api::{Context, Text};
use super::attention;
use super::blocked::{self, Wait};
use super::log;
use super::native;
use super::permissions;
use super::reply::{self, Refusal, Reply};
use super::settings;
use super::site::{self, FLAGS};

/// One running command. `args[0]` is its name.
pub struct Command<'a> {
    pub ctx: Context<'a>,
    pub args: &'a [Text<'a>],
    /// It runs again for a client that waited: this key is ready.
    pub ready: Option<Text<'a>>,
}

pub type Handler = fn(&Command<'_>) -> Result<Reply, Refusal>;

/// Runs a handler and sends what it answers. A handler that panicked has answered nothing yet.
///
/// # Safety
/// Called by the server with a command's context and arguments.
pub unsafe fn command(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
    handler: Handler,
) -> c_int {
    // SAFETY: by contract.
    let (ctx, args) = unsafe { (Context::new(ctx), arguments(argv, argc)) };
    let command = Command { ctx, args, ready: None };
    if let Some(wait) = run(&command, handler) {
        blocked::wait(ctx, args, &wait, handler);
    }
    raw::REDISMODULE_OK as c_int
}

/// Runs a handler again for a client that waited for the key `ready`. Whether it was answered.
///
/// # Safety
/// Called by the server with a blocked client's context and arguments.
pub unsafe fn again(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
    handler: Handler,
    ready: Text<'_>,
) -> bool {
    // SAFETY: by contract.
    let (ctx, args) = unsafe { (Context::new(ctx), arguments(argv, argc)) };
    let ready = Some(ready);
    run(&Command { ctx, args, ready }, handler).is_none()
}

/// # Safety
/// What the server hands to a callback; used during its call only.
unsafe fn arguments<'a>(argv: *mut *mut raw::RedisModuleString, argc: c_int) -> &'a [Text<'a>] {
    // SAFETY: `Text` is transparent over the pointers, valid during the call.
    unsafe { std::slice::from_raw_parts(argv.cast::<Text<'_>>(), argc.max(0) as usize) }
}

/// Sends what a handler answers, or tells what its client is to wait for.
fn run(command: &Command<'_>, handler: Handler) -> Option<Wait> {
    let (ctx, args) = (command.ctx, command.args);
    let run = || {
        attention::call();
        permissions::check(ctx, args)?;
        FLAGS.0.native.set(!settings::all_keys() && sent_name(args).is_some());
        let answer = handler(command);
        log::after_command(ctx);
        FLAGS.0.native.set(false);
        answer
    };
    match at_work(run) {
        Ok(Ok(Reply::Wait(wait))) => return Some(wait),
        Ok(Ok(Reply::WrongArity)) if sent_name(args).is_some() => reply::refuse(ctx, &wrong_arity(args)),
        Ok(Ok(reply)) => reply::send(ctx, reply),
        Ok(Err(refusal)) => reply::refuse(ctx, &refusal),
        Err(panic) => {
            site::fail(ctx, &message(&*panic));
            reply::refuse(ctx, &site::FAILED.into());
        }
    }
    None
}

/// The native name that the client sent, if it did.
fn sent_name(args: &[Text<'_>]) -> Option<String> {
    native::sent(*args.first()?, |known| known.name.to_string())
}

fn wrong_arity(args: &[Text<'_>]) -> Refusal {
    let name = sent_name(args).unwrap_or_default();
    Refusal::from(format!("ERR wrong number of arguments for '{name}' command"))
}

/// Runs any other callback of the server.
///
/// # Safety
/// `ctx` is the callback's context, or null.
pub unsafe fn callback(ctx: *mut raw::RedisModuleCtx, run: impl FnOnce(Context<'_>)) {
    // SAFETY: by contract.
    let ctx = unsafe { Context::new(ctx) };
    if let Err(panic) = at_work(|| run(ctx)) {
        site::fail(ctx, &message(&*panic));
    }
}

/// Nothing that happens to keys meanwhile is news.
fn at_work<R>(run: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    let outer = FLAGS.0.busy.replace(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    FLAGS.0.busy.set(outer);
    result
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "unknown".to_owned())
}

/// The C function of a command: a table row names its handler with this.
macro_rules! entry {
    ($handler:path) => {{
        unsafe extern "C" fn run(
            ctx: *mut redis_module::raw::RedisModuleCtx,
            argv: *mut *mut redis_module::raw::RedisModuleString,
            argc: std::ffi::c_int,
        ) -> std::ffi::c_int {
            unsafe { $crate::redis::guard::command(ctx, argv, argc, $handler) }
        }
        run
    }};
}
pub(crate) use entry;
