//! The region's state in the RDB: auxiliary data of a module type that has no values.
//!
//! ```text
//!  role of the writer (1: it led the region) │ pieces of at most about 64 KiB ... │ an empty piece
//! ```

use std::ffi::{CStr, c_int};

use redis_module::raw;

use super::api::{Context, api};
use super::followed;
use super::guard;
use super::site::{self, FLAGS};
use crate::replication::Region;

/// Nine characters, as a module type's name must have. Never to be changed: RDB files carry it.
const NAME: &CStr = c"redis-geo";
/// Raised when an older version could not read what is written.
const VERSION: c_int = 1;

const OK: c_int = raw::REDISMODULE_OK as c_int;
const ERR: c_int = raw::REDISMODULE_ERR as c_int;

/// Registers the type. Only during load.
pub fn register(ctx: Context<'_>) -> Result<(), String> {
    // SAFETY: plain data; what is not set stays zero. The server copies it.
    let made = unsafe {
        let mut methods: raw::RedisModuleTypeMethods = std::mem::zeroed();
        methods.version = u64::from(raw::REDISMODULE_TYPE_METHOD_VERSION);
        methods.rdb_load = Some(no_value_load);
        methods.rdb_save = Some(no_value_save);
        methods.free = Some(no_value_free);
        methods.aux_load = Some(aux_load);
        // Servers that know the second call it instead of the first, and it may write nothing at all. On the others a
        // trace of us is in every RDB, which only a server with the module loads, unless there is no such function.
        methods.aux_save = (!FLAGS.0.detached.get()).then_some(aux_save as _);
        methods.aux_save2 = Some(aux_save_or_nothing);
        methods.aux_save_triggers = raw::REDISMODULE_AUX_BEFORE_RDB as c_int;
        api!(RedisModule_CreateDataType(
            ctx.raw,
            NAME.as_ptr(),
            VERSION,
            &mut methods
        ))
    };
    if made.is_null() {
        return Err("the server does not take the module type redis-geo".to_owned());
    }
    Ok(())
}

unsafe extern "C" fn aux_save_or_nothing(io: *mut raw::RedisModuleIO, when: c_int) {
    if !FLAGS.0.detached.get() {
        // SAFETY: as we were called.
        unsafe { aux_save(io, when) }
    }
}

/// Runs in the forked child, or on the main thread for `SAVE`: it takes no lock and changes nothing.
unsafe extern "C" fn aux_save(io: *mut raw::RedisModuleIO, _when: c_int) {
    // SAFETY: during a save.
    unsafe {
        guard::callback(
            raw::RedisModule_GetContextFromIO.map_or(std::ptr::null_mut(), |get| get(io)),
            |_| {
                api!(RedisModule_SaveUnsigned(io, u64::from(FLAGS.0.primary.get())));
                let mut write = |piece: &[u8]| {
                    api!(RedisModule_SaveStringBuffer(io, piece.as_ptr().cast(), piece.len()));
                };
                save(&mut write);
                write(b"");
            },
        )
    }
}

fn save(write: &mut dyn FnMut(&[u8])) {
    let mut pieces = |region: &Region| region.save(&mut *write);
    if site::look(&mut pieces).is_none() {
        followed::look(&mut pieces);
    }
}

unsafe extern "C" fn aux_load(io: *mut raw::RedisModuleIO, version: c_int, _when: c_int) -> c_int {
    let mut result = ERR;
    // SAFETY: during a load.
    unsafe {
        let ctx = api!(RedisModule_GetContextFromIO(io));
        guard::callback(ctx, |ctx| match load(io, version) {
            Ok(()) => result = OK,
            Err(reason) => ctx.log(
                c"warning",
                &format!("the region's state in the RDB is refused: {reason}"),
            ),
        });
    }
    result
}

fn load(io: *mut raw::RedisModuleIO, version: c_int) -> Result<(), String> {
    if version > VERSION {
        return Err(format!(
            "it has version {version}, this module reads up to {VERSION}: load a newer redis-geo"
        ));
    }
    // SAFETY: during a load; an error is asked for after each read.
    followed::written_by(unsafe { api!(RedisModule_LoadUnsigned(io)) } == 1);
    loop {
        let piece = Piece::read(io)?;
        if piece.bytes().is_empty() {
            break;
        }
        followed::load_piece(piece.bytes())?;
    }
    match followed::is_partial() {
        true => Err("it ends before its last piece".to_owned()),
        false => Ok(()),
    }
}

/// A string that the server has read for us.
struct Piece {
    start: *mut u8,
    len: usize,
}

impl Piece {
    fn read(io: *mut raw::RedisModuleIO) -> Result<Piece, String> {
        let mut len = 0;
        // SAFETY: during a load. After an error the pointer is null or means nothing.
        unsafe {
            let start = api!(RedisModule_LoadStringBuffer(io, &mut len)).cast::<u8>();
            if start.is_null() || api!(RedisModule_IsIOError(io)) != 0 {
                return Err("the file or the link ended inside it".to_owned());
            }
            Ok(Piece { start, len })
        }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: as read.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        // SAFETY: ours, freed once.
        unsafe { api!(RedisModule_Free(self.start.cast())) }
    }
}

unsafe extern "C" fn no_value_load(_io: *mut raw::RedisModuleIO, _version: c_int) -> *mut std::ffi::c_void {
    std::ptr::null_mut()
}

unsafe extern "C" fn no_value_save(_io: *mut raw::RedisModuleIO, _value: *mut std::ffi::c_void) {}

unsafe extern "C" fn no_value_free(_value: *mut std::ffi::c_void) {}
