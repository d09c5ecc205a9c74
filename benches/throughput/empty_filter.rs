//! A module whose command filter does nothing: what the server's own way to any filter costs, for the benches to tell it
//! from what ours does.

use std::ffi::c_int;

use redis_module::raw;

unsafe extern "C" fn ignore(_: *mut raw::RedisModuleCommandFilterCtx) {}

/// # Safety
/// Called by the server, on its main thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RedisModule_OnLoad(
    ctx: *mut raw::RedisModuleCtx,
    _argv: *mut *mut raw::RedisModuleString,
    _argc: c_int,
) -> c_int {
    let failed = raw::REDISMODULE_ERR as c_int;
    // SAFETY: by contract; the filter lives as long as the library, which stays.
    unsafe {
        if raw::Export_RedisModule_Init(ctx, c"filter".as_ptr(), 1, raw::REDISMODULE_APIVER_1 as c_int) == failed {
            return failed;
        }
        let Some(register) = raw::RedisModule_RegisterCommandFilter else {
            return failed;
        };
        match register(ctx, Some(ignore), 0).is_null() {
            true => failed,
            false => raw::REDISMODULE_OK as c_int,
        }
    }
}
