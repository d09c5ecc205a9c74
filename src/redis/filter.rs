//! Command filters: what runs before the server looks a command up, and may put another name into its place.
//!
//! Servers run a filter again for a command that they have put off, and some keep what they counted of its arguments:
//! what a filter does must be the same the second time, and it never adds or removes an argument.

use redis_module::raw;
use smallvec::SmallVec;

use super::api::{Context, OwnedText, Text, api, has};

pub type Callback = unsafe extern "C" fn(*mut raw::RedisModuleCommandFilterCtx);

/// A registered filter; dropped, it is none any more. It is not run for commands that this module calls.
pub struct Registered(*mut raw::RedisModuleCommandFilter);

impl Registered {
    pub fn new(ctx: Context<'_>, callback: Callback) -> Registered {
        // SAFETY: the callback lives as long as the library, which stays.
        Registered(unsafe {
            let flags = raw::REDISMODULE_CMDFILTER_NOSELF as i32;
            api!(RedisModule_RegisterCommandFilter(ctx.raw, Some(callback), flags))
        })
    }

    pub fn remove(self, ctx: Context<'_>) {
        // SAFETY: registered by us, unregistered once, not while it runs.
        unsafe { api!(RedisModule_UnregisterCommandFilter(ctx.raw, self.0)) };
    }
}

/// The arguments of the command that a filter looks at, its name first.
pub struct Arguments(*mut raw::RedisModuleCommandFilterCtx);

impl Arguments {
    /// # Safety
    /// `raw` is what the server gave to the filter that is running.
    pub unsafe fn new(raw: *mut raw::RedisModuleCommandFilterCtx) -> Arguments {
        Arguments(raw)
    }

    pub fn len(&self) -> usize {
        // SAFETY: a running filter.
        unsafe { api!(RedisModule_CommandFilterArgsCount(self.0)) }.max(0) as usize
    }

    pub fn get(&self, at: usize) -> Option<Text<'_>> {
        // SAFETY: arguments live while the filter runs; beyond the last there is none.
        unsafe {
            let raw = api!(RedisModule_CommandFilterArgGet(self.0, at as i32));
            (!raw.is_null()).then(|| Text::new(raw))
        }
    }

    /// Whose command it is; `None` where the server does not tell, before Redis 7.2. A script's is nobody's that is
    /// listed.
    pub fn client(&self) -> Option<u64> {
        // SAFETY: a running filter, and a function that the server has.
        unsafe {
            has!(RedisModule_CommandFilterGetClientId).then(|| api!(RedisModule_CommandFilterGetClientId(self.0)))
        }
    }

    pub fn all(&self) -> SmallVec<[Text<'_>; 16]> {
        (0..self.len()).filter_map(|at| self.get(at)).collect()
    }

    /// Makes it another command. The text itself, not a copy, takes the name's place.
    pub fn rename(&self, name: &OwnedText) {
        let name = name.text().raw;
        // SAFETY: a replacement takes over one reference, which we add.
        unsafe {
            api!(RedisModule_RetainString(std::ptr::null_mut(), name));
            api!(RedisModule_CommandFilterArgReplace(self.0, 0, name));
        }
    }
}
