//! Thin wrappers over the server's C API: no allocation, no automatic memory, no lookup by version. A
//! function is there or it is not ([`has!`]); those every supported server has are called with [`api!`].

mod answers;

use std::ffi::{CStr, c_char, c_int, c_long};
use std::marker::PhantomData;
use std::ptr;

use redis_module::raw;

use crate::crdt::{Before, Kind, Native, Score};

pub use answers::{Answer, Info, Nested};

/// Calls a function that every supported server has; `load` checks the few we rely on.
macro_rules! api {
    ($name:ident($($argument:expr),* $(,)?)) => {
        match redis_module::raw::$name {
            Some(function) => function($($argument),*),
            None => $crate::redis::api::absent(stringify!($name)),
        }
    };
}
/// Whether the server has a function. Unsafe only in name: RM_Init has written it, on this thread.
macro_rules! has {
    ($name:ident) => {
        // A copy: no reference to what is a `static mut`.
        { redis_module::raw::$name }.is_some()
    };
}
pub(crate) use {api, has};

#[cold]
pub fn absent(name: &str) -> ! {
    panic!("the server has no {name}")
}

/// Opens for writing without touching LRU data; also how we only look, because it counts no hits or misses.
const LOOK: c_int = (raw::REDISMODULE_READ | raw::REDISMODULE_WRITE | raw::REDISMODULE_OPEN_KEY_NOTOUCH) as c_int;

/// What the API calls a key without a deadline.
const NO_EXPIRE: i64 = -1;

/// A call into the module: valid until its callback returns.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub raw: *mut raw::RedisModuleCtx,
    scope: PhantomData<&'a ()>,
}

/// A string of the server, borrowed: a command's argument, or an [`OwnedText`].
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Text<'a> {
    pub raw: *mut raw::RedisModuleString,
    scope: PhantomData<&'a ()>,
}

impl<'a> Text<'a> {
    /// # Safety
    /// `raw` is a string that lives for `'a`.
    pub unsafe fn new(raw: *mut raw::RedisModuleString) -> Text<'a> {
        Text {
            raw,
            scope: PhantomData,
        }
    }

    pub fn bytes(self) -> &'a [u8] {
        let mut len = 0;
        // SAFETY: the server's string lives for 'a and is not changed while borrowed.
        unsafe {
            let start = api!(RedisModule_StringPtrLen(self.raw, &mut len));
            std::slice::from_raw_parts(start.cast(), len)
        }
    }
}

/// A string of the server that we made.
pub struct OwnedText(*mut raw::RedisModuleString);

impl OwnedText {
    pub fn new(bytes: &[u8]) -> OwnedText {
        // SAFETY: copies the bytes; without a context the caller frees, which Drop does.
        OwnedText(unsafe {
            api!(RedisModule_CreateString(
                ptr::null_mut(),
                bytes.as_ptr().cast(),
                bytes.len()
            ))
        })
    }

    /// # Safety
    /// `raw` is a string that the caller owns.
    pub unsafe fn from_raw(raw: *mut raw::RedisModuleString) -> OwnedText {
        OwnedText(raw)
    }

    pub fn text(&self) -> Text<'_> {
        Text {
            raw: self.0,
            scope: PhantomData,
        }
    }
}

impl Drop for OwnedText {
    fn drop(&mut self) {
        // SAFETY: made by us, freed once.
        unsafe { api!(RedisModule_FreeString(ptr::null_mut(), self.0)) }
    }
}

/// A key opened for writing; nothing is signalled when it closes.
pub struct Key<'a> {
    raw: *mut raw::RedisModuleKey,
    scope: PhantomData<&'a ()>,
}

impl Key<'_> {
    pub fn kind(&self) -> Option<Native> {
        // SAFETY: an open key.
        match unsafe { api!(RedisModule_KeyType(self.raw)) } as isize {
            raw::REDISMODULE_KEYTYPE_EMPTY => None,
            raw::REDISMODULE_KEYTYPE_STRING => Some(Native::Kind(Kind::String)),
            raw::REDISMODULE_KEYTYPE_SET => Some(Native::Kind(Kind::Set)),
            raw::REDISMODULE_KEYTYPE_HASH => Some(Native::Kind(Kind::Hash)),
            raw::REDISMODULE_KEYTYPE_ZSET => Some(Native::Kind(Kind::Zset)),
            _ => Some(Native::Other),
        }
    }

    /// What the key holds, and until when.
    pub fn before(&self) -> Before {
        let native = self.kind();
        Before {
            native,
            deadline: native.and_then(|_| self.deadline()),
        }
    }

    /// When the key expires, Unix time in ms.
    pub fn deadline(&self) -> Option<u64> {
        // SAFETY: an open key.
        let at = unsafe { api!(RedisModule_GetAbsExpire(self.raw)) };
        u64::try_from(at).ok()
    }

    /// Lets the key expire then, or never. A deadline in the past is kept, too: the server removes the key when it
    /// meets it.
    pub fn set_deadline(&mut self, deadline: Option<u64>) {
        let at = deadline.map_or(NO_EXPIRE, |at| i64::try_from(at).unwrap_or(i64::MAX));
        // SAFETY: an open key; refused for an absent one, which has no deadline.
        unsafe { api!(RedisModule_SetAbsExpire(self.raw, at)) };
    }

    /// A sorted set's score.
    pub fn score(&self, member: Text<'_>) -> Option<Score> {
        let mut score = 0.0;
        // SAFETY: an open key, empty or a sorted set.
        let found = unsafe { api!(RedisModule_ZsetScore(self.raw, member.raw, &mut score)) };
        (found == raw::REDISMODULE_OK as c_int)
            .then(|| Score::new(score))
            .flatten()
    }

    /// Bytes of a string, number of elements of anything else.
    pub fn len(&self) -> usize {
        // SAFETY: an open key.
        unsafe { api!(RedisModule_ValueLength(self.raw)) }
    }

    /// Replaces whatever the key holds; its expiry goes. The value is shared, not copied.
    pub fn set(&mut self, value: Text<'_>) {
        // SAFETY: the key is open for writing; fails only when it is not.
        unsafe { api!(RedisModule_StringSet(self.raw, value.raw)) };
    }

    /// Puts a value in the place of another, which spares the server from taking the key out and in again. The
    /// expiry goes, as with [`Key::set`]. Refused, with nothing changed, unless both values are longer than
    /// `beyond`: shorter ones may be stored in a compact encoding, which this would undo.
    pub fn overwrite(&mut self, value: &[u8], beyond: usize) -> bool {
        let len = self.len();
        if len <= beyond || value.len() <= beyond {
            return false;
        }
        // SAFETY: an open string; after the resize it has exactly the value's bytes.
        unsafe {
            if len != value.len() {
                api!(RedisModule_StringTruncate(self.raw, value.len()));
            }
            let mut len = 0;
            let start = api!(RedisModule_StringDMA(
                self.raw,
                &mut len,
                raw::REDISMODULE_WRITE as c_int
            ));
            if start.is_null() || len != value.len() {
                return false;
            }
            start.cast::<u8>().copy_from_nonoverlapping(value.as_ptr(), len);
            if api!(RedisModule_GetExpire(self.raw)) != NO_EXPIRE {
                api!(RedisModule_SetExpire(self.raw, NO_EXPIRE));
            }
            // A write counts as a use. Frequencies, which stay as they are, are refused.
            api!(RedisModule_SetLRU(self.raw, 0));
        }
        true
    }

    /// The bytes of a string that the last native command left in plain (`raw`) encoding. In any other
    /// encoding the server would convert the stored value for us, which must not happen.
    pub fn raw_bytes(&self) -> &[u8] {
        let mut len = 0;
        // SAFETY: valid until the key is changed or closed, which the borrow prevents.
        unsafe {
            let start = api!(RedisModule_StringDMA(
                self.raw,
                &mut len,
                raw::REDISMODULE_READ as c_int
            ));
            if start.is_null() {
                &[]
            } else {
                std::slice::from_raw_parts(start.cast(), len)
            }
        }
    }
}

impl Drop for Key<'_> {
    fn drop(&mut self) {
        // SAFETY: opened by us, closed once.
        unsafe { api!(RedisModule_CloseKey(self.raw)) }
    }
}

impl<'a> Context<'a> {
    /// # Safety
    /// `raw` is the context of a running callback, or null where the API allows it.
    pub unsafe fn new(raw: *mut raw::RedisModuleCtx) -> Context<'a> {
        Context {
            raw,
            scope: PhantomData,
        }
    }

    /// Listens for an event of the server, or with `None` no longer.
    pub fn subscribe(self, id: u64, callback: raw::RedisModuleEventCallback) {
        // The header's own constants are local to C files.
        let event = raw::RedisModuleEvent { id, dataver: 1 };
        // SAFETY: a context of this module, which listens to one callback for each event.
        unsafe { api!(RedisModule_SubscribeToServerEvent(self.raw, event, callback)) };
    }

    pub fn open(self, name: Text<'_>) -> Key<'a> {
        // SAFETY: in write mode the key is never null.
        let raw = unsafe { api!(RedisModule_OpenKey(self.raw, name.raw, LOOK)) };
        Key {
            raw,
            scope: PhantomData,
        }
    }

    pub fn database(self) -> u32 {
        // SAFETY: valid in any context.
        unsafe { api!(RedisModule_GetSelectedDb(self.raw)) as u32 }
    }

    /// False when there is no such database.
    pub fn select(self, database: u32) -> bool {
        // SAFETY: valid in any context.
        unsafe { api!(RedisModule_SelectDb(self.raw, database as c_int)) == raw::REDISMODULE_OK as c_int }
    }

    /// Number of keys in the selected database.
    pub fn keys(self) -> u64 {
        // SAFETY: valid in any context.
        unsafe { api!(RedisModule_DbSize(self.raw)) }
    }

    /// After a direct change: WATCH and client-side caches hear of it.
    pub fn changed(self, key: Text<'_>) {
        // SAFETY: valid arguments.
        unsafe { api!(RedisModule_SignalModifiedKey(self.raw, key.raw)) };
    }

    /// After a direct change: keyspace notifications.
    pub fn notify(self, class: c_int, event: &CStr, key: Text<'_>) {
        // SAFETY: valid arguments.
        unsafe {
            api!(RedisModule_NotifyKeyspaceEvent(
                self.raw,
                class,
                event.as_ptr(),
                key.raw
            ))
        };
    }

    /// Runs a native command on arguments as they are, and answers in the client's protocol. Nothing is propagated:
    /// the region's log carries what it did.
    /// `None`: the server does not know the command or refuses its arity.
    pub fn call(self, name: &CStr, arguments: &[Text<'_>]) -> Option<Answer> {
        // SAFETY: `v` takes an array of strings and its length.
        Answer::new(unsafe {
            api!(RedisModule_Call(
                self.raw,
                name.as_ptr(),
                c"0v".as_ptr(),
                arguments.as_ptr(),
                arguments.len()
            ))
        })
    }

    /// Like [`Context::call`], with the rights of the client's user, of which there must be one ([`Context::has_user`]).
    pub fn call_as_user(self, name: &CStr, arguments: &[Text<'_>]) -> Option<Answer> {
        // SAFETY: as above.
        Answer::new(unsafe {
            api!(RedisModule_Call(
                self.raw,
                name.as_ptr(),
                c"0Cv".as_ptr(),
                arguments.as_ptr(),
                arguments.len()
            ))
        })
    }

    /// Like [`Context::call`], and the command itself is propagated to the AOF and the replicas.
    pub fn call_and_propagate(self, name: &CStr, arguments: &[Text<'_>]) -> Option<Answer> {
        // SAFETY: `v` takes an array of strings and its length.
        Answer::new(unsafe {
            api!(RedisModule_Call(
                self.raw,
                name.as_ptr(),
                c"0!v".as_ptr(),
                arguments.as_ptr(),
                arguments.len()
            ))
        })
    }

    /// Like [`Context::call`], always in the older protocol: for what we read ourselves.
    pub fn ask(self, name: &CStr, arguments: &[Text<'_>]) -> Option<Answer> {
        // SAFETY: as above.
        Answer::new(unsafe {
            api!(RedisModule_Call(
                self.raw,
                name.as_ptr(),
                c"v".as_ptr(),
                arguments.as_ptr(),
                arguments.len()
            ))
        })
    }

    /// Whether the running command has a user, in whose name others can be run.
    pub fn has_user(self) -> bool {
        // SAFETY: this thread's own.
        unsafe { *libc::__errno_location() = 0 };
        // SAFETY: C runs it as the user, with no arguments.
        drop(Answer::new(unsafe {
            api!(RedisModule_Call(self.raw, c"PING".as_ptr(), c"C".as_ptr()))
        }));
        std::io::Error::last_os_error().raw_os_error() != Some(libc::ENOTSUP)
    }

    /// A native command with a value that it may store in compact encoding: only a copy that nobody else
    /// holds is encoded.
    pub fn call_with_value(self, name: &CStr, key: Text<'_>, value: &[u8], rest: &[Text<'_>]) -> Option<Answer> {
        // SAFETY: `s` a string, `b` pointer and length, `v` an array and its length.
        Answer::new(unsafe {
            api!(RedisModule_Call(
                self.raw,
                name.as_ptr(),
                c"0sbv".as_ptr(),
                key.raw,
                value.as_ptr().cast::<c_char>(),
                value.len(),
                rest.as_ptr(),
                rest.len(),
            ))
        })
    }

    /// The same for a value that has other arguments before it.
    pub fn call_with_value_after(
        self,
        name: &CStr,
        first: &[Text<'_>],
        value: &[u8],
        rest: &[Text<'_>],
    ) -> Option<Answer> {
        // SAFETY: as above.
        Answer::new(unsafe {
            api!(RedisModule_Call(
                self.raw,
                name.as_ptr(),
                c"0vbv".as_ptr(),
                first.as_ptr(),
                first.len(),
                value.as_ptr().cast::<c_char>(),
                value.len(),
                rest.as_ptr(),
                rest.len(),
            ))
        })
    }

    /// Sends a command with one argument to the AOF and the replicas. Costs as much as a command even when there are
    /// none.
    pub fn replicate_bytes(self, name: &CStr, argument: &[u8]) {
        // SAFETY: `b` takes a pointer and a length.
        unsafe {
            api!(RedisModule_Replicate(
                self.raw,
                name.as_ptr(),
                c"b".as_ptr(),
                argument.as_ptr().cast::<c_char>(),
                argument.len()
            ))
        };
    }

    /// Sends a key as it is now, or that it is gone, to the AOF and the replicas.
    pub fn replicate_key(self, key: Text<'_>) {
        let value = self.ask(c"DUMP", &[key]);
        let deadline = self.ask(c"PEXPIRETIME", &[key]).and_then(|answer| answer.integer());
        // SAFETY: `s` a string, `l` a number, `b` pointer and length, `c` C strings.
        unsafe {
            match value.as_ref().and_then(Answer::bytes) {
                Some(value) => api!(RedisModule_Replicate(
                    self.raw,
                    c"RESTORE".as_ptr(),
                    c"slbcc".as_ptr(),
                    key.raw,
                    deadline.unwrap_or(0).max(0),
                    value.as_ptr().cast::<c_char>(),
                    value.len(),
                    c"REPLACE".as_ptr(),
                    c"ABSTTL".as_ptr()
                )),
                None => api!(RedisModule_Replicate(self.raw, c"DEL".as_ptr(), c"s".as_ptr(), key.raw)),
            }
        };
    }

    /// Sends a command to the AOF, not to the replicas.
    pub fn log_only(self, name: &CStr, arguments: &[&[u8]]) {
        let owned: Vec<OwnedText> = arguments.iter().map(|argument| OwnedText::new(argument)).collect();
        let texts: Vec<Text<'_>> = owned.iter().map(OwnedText::text).collect();
        // SAFETY: `v` takes an array of strings and its length; `R` leaves the replicas out.
        unsafe {
            api!(RedisModule_Replicate(
                self.raw,
                name.as_ptr(),
                c"vR".as_ptr(),
                texts.as_ptr(),
                texts.len()
            ))
        };
    }

    /// Counts one change towards the server's save points, when nobody listens.
    pub fn count_change(self) {
        // SAFETY: no arguments.
        unsafe { api!(RedisModule_Replicate(self.raw, c"PING".as_ptr(), c"".as_ptr())) };
    }

    /// A setting of the server.
    pub fn setting(self, name: &CStr) -> Option<Vec<u8>> {
        let (get, name) = (OwnedText::new(b"GET"), OwnedText::new(name.to_bytes()));
        let answer = self.ask(c"CONFIG", &[get.text(), name.text()])?;
        answer.strings().nth(1).map(<[u8]>::to_vec)
    }

    /// Runs with one section of `INFO`.
    pub fn info<R>(self, section: &CStr, run: impl FnOnce(&Info) -> R) -> R {
        // SAFETY: valid in any context; `Info` frees it.
        run(&Info(unsafe {
            api!(RedisModule_GetServerInfo(self.raw, section.as_ptr()))
        }))
    }

    pub fn info_is(self, section: &CStr, field: &CStr, value: u64) -> bool {
        self.info(section, |info| info.number(field) == Some(value))
    }

    /// Sends the running command itself; nearly free when nobody listens, and counts as a change for `SAVE`.
    pub fn replicate_verbatim(self) {
        // SAFETY: in a command's context.
        unsafe { api!(RedisModule_ReplicateVerbatim(self.raw)) };
    }

    pub fn log(self, level: &CStr, text: &str) {
        let text = text.replace('\0', "?");
        // SAFETY: the format takes a length and that many bytes.
        unsafe {
            api!(RedisModule_Log(
                self.raw,
                level.as_ptr(),
                c"%.*s".as_ptr(),
                text.len().min(4000) as c_int,
                text.as_ptr().cast::<c_char>(),
            ))
        }
    }
}

/// Length of an array for the reply functions.
pub fn long(len: usize) -> c_long {
    c_long::try_from(len).unwrap_or(c_long::MAX)
}
