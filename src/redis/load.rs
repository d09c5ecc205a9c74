//! Loading the module: everything is checked before anything is kept, and a refusal is one line in the log.

use std::ffi::c_int;

use redis_module::raw;

use super::api::{Context, Text, api, has};
use super::network::Network;
use super::site::FLAGS;
use super::{
    attention, capture, config, events, expiry, guard, kept, memory, rdb, register, settings, site, status, store,
    turn, wake,
};

const VERSION: c_int = 1;

/// The server calls this when it loads the library.
///
/// # Safety
/// Called by the server, on its main thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RedisModule_OnLoad(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
) -> c_int {
    // Before anything else: from here on memory comes from the server.
    // SAFETY: by contract.
    if unsafe { raw::Export_RedisModule_Init(ctx, c"geo".as_ptr(), VERSION, raw::REDISMODULE_APIVER_1 as c_int) }
        != raw::REDISMODULE_OK as c_int
    {
        return raw::REDISMODULE_ERR as c_int;
    }
    let mut result = raw::REDISMODULE_ERR as c_int;
    // SAFETY: the arguments live during the call; `Text` is transparent over their pointers.
    unsafe {
        let arguments: &[Text<'_>] = if argc > 0 {
            std::slice::from_raw_parts(argv.cast(), argc as usize)
        } else {
            &[]
        };
        guard::callback(ctx, |ctx| match load(ctx, arguments) {
            Ok(()) => result = raw::REDISMODULE_OK as c_int,
            Err(reason) => ctx.log(c"warning", &reason),
        });
    }
    result
}

/// The replication thread and the event loop hold on to the library: it stays until the server ends.
#[unsafe(no_mangle)]
pub extern "C" fn RedisModule_OnUnload(_ctx: *mut raw::RedisModuleCtx) -> c_int {
    raw::REDISMODULE_ERR as c_int
}

fn load(ctx: Context<'_>, arguments: &[Text<'_>]) -> Result<(), String> {
    // SAFETY: after RM_Init.
    let complete = unsafe {
        has!(RedisModule_SetCommandInfo) && has!(RedisModule_EventLoopAdd) && has!(RedisModule_AvoidReplicaTraffic)
    };
    if !complete {
        return Err("this server is too old: Redis 7.0 or later, or Valkey, is needed".to_owned());
    }
    if let Some(name) = store::missing_command(ctx) {
        return Err(format!(
            "the server does not run {name}, which changes of other regions are applied with: rename-command must leave \
             it its name"
        ));
    }
    settings::take_arguments(arguments.iter().map(|argument| argument.bytes()))?;
    config::register(ctx)?;
    let options = settings::options()?;
    site::read_flags(ctx);
    FLAGS.0.detached.set(settings::detached());
    // SAFETY: during load. Direct changes signal for themselves, so that looking at a key does not;
    // `rdb` asks for errors, so that a replica can load from the link.
    unsafe {
        api!(RedisModule_SetModuleOptions(
            ctx.raw,
            (raw::REDISMODULE_OPTION_NO_IMPLICIT_SIGNAL_MODIFIED | raw::REDISMODULE_OPTIONS_HANDLE_IO_ERRORS) as c_int
        ))
    };
    rdb::register(ctx)?;
    register::commands(ctx)?;
    wake::create()?;
    if FLAGS.0.primary.get() && !FLAGS.0.detached.get() {
        site::keep_network(Network::start(&options)?);
    }
    // The server now holds on to our callbacks: from here on nothing may fail but for want of memory or files.
    if let Err(reason) = wake::watch() {
        site::close(ctx);
        return Err(reason);
    }
    kept::open(ctx);
    attention::call();
    events::subscribe(ctx);
    memory::subscribe(ctx);
    expiry::subscribe(ctx);
    capture::subscribe(ctx);
    status::register(ctx);
    turn::arm_timer(ctx);
    let state = if FLAGS.0.detached.get() {
        "loaded, detached"
    } else {
        "loaded"
    };
    ctx.log(
        c"notice",
        &format!("region {} of cluster {} {state}", options.region, options.cluster),
    );
    Ok(())
}
