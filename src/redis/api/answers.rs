//! What the server answers: replies of commands, and sections of `INFO`.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr;

use redis_module::raw;

use super::api;

/// One section of `INFO`.
pub struct Info(pub(super) *mut raw::RedisModuleServerInfoData);

impl Info {
    pub fn number(&self, field: &CStr) -> Option<u64> {
        let mut error = 0;
        // SAFETY: live data.
        let number = unsafe {
            api!(RedisModule_ServerInfoGetFieldUnsigned(
                self.0,
                field.as_ptr(),
                &mut error
            ))
        };
        (error == 0).then_some(number)
    }

    /// A field's text.
    pub fn text(&self, field: &CStr) -> Option<&str> {
        // SAFETY: the text lives as long as the data.
        unsafe {
            let start = api!(RedisModule_ServerInfoGetFieldC(self.0, field.as_ptr()));
            (!start.is_null())
                .then(|| CStr::from_ptr(start))
                .and_then(|text| text.to_str().ok())
        }
    }
}

impl Drop for Info {
    fn drop(&mut self) {
        // SAFETY: made by us, freed once; the context is needed only for automatic memory, which is not used.
        unsafe { api!(RedisModule_FreeServerInfo(ptr::null_mut(), self.0)) }
    }
}

/// What a native command answered.
pub struct Answer(pub(super) *mut raw::RedisModuleCallReply);

impl Answer {
    pub(super) fn new(raw: *mut raw::RedisModuleCallReply) -> Option<Answer> {
        // Not `then_some`: a null answer must not be dropped.
        (!raw.is_null()).then(|| Answer(raw))
    }

    pub fn raw(&self) -> *mut raw::RedisModuleCallReply {
        self.0
    }

    fn kind(&self) -> isize {
        // SAFETY: a live reply.
        unsafe { api!(RedisModule_CallReplyType(self.0)) as isize }
    }

    pub fn is_error(&self) -> bool {
        self.kind() == raw::REDISMODULE_REPLY_ERROR
    }

    pub fn is_null(&self) -> bool {
        self.kind() == raw::REDISMODULE_REPLY_NULL
    }

    pub fn integer(&self) -> Option<i64> {
        // SAFETY: a live reply of this type.
        (self.kind() == raw::REDISMODULE_REPLY_INTEGER).then(|| unsafe { api!(RedisModule_CallReplyInteger(self.0)) })
    }

    /// The bytes of a string reply (`+OK` is one too).
    pub fn bytes(&self) -> Option<&[u8]> {
        (self.kind() == raw::REDISMODULE_REPLY_STRING)
            .then(|| string_of(self.0))
            .flatten()
    }

    pub fn len(&self) -> usize {
        // SAFETY: a live reply.
        unsafe { api!(RedisModule_CallReplyLength(self.0)) }
    }

    fn element(&self, index: usize) -> *mut raw::RedisModuleCallReply {
        // SAFETY: a live reply; beyond its end the answer is null.
        unsafe {
            if self.kind() == raw::REDISMODULE_REPLY_SET {
                api!(RedisModule_CallReplySetElement(self.0, index))
            } else {
                api!(RedisModule_CallReplyArrayElement(self.0, index))
            }
        }
    }

    /// The strings of an array or set reply.
    pub fn strings(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|index| string_of(self.element(index)))
    }

    pub fn items(&self) -> impl Iterator<Item = Nested<'_>> {
        (0..self.len()).map(|index| self.nested(index))
    }

    /// The array inside an array, as `SCAN` answers.
    pub fn nested(&self, index: usize) -> Nested<'_> {
        Nested {
            raw: self.element(index),
            scope: PhantomData,
        }
    }
}

/// An array that belongs to an [`Answer`].
pub struct Nested<'a> {
    raw: *mut raw::RedisModuleCallReply,
    scope: PhantomData<&'a ()>,
}

impl<'a> Nested<'a> {
    pub fn integer(&self) -> Option<i64> {
        // SAFETY: part of a live reply, of this type.
        unsafe {
            let is_number = !self.raw.is_null()
                && api!(RedisModule_CallReplyType(self.raw)) as isize == raw::REDISMODULE_REPLY_INTEGER;
            is_number.then(|| api!(RedisModule_CallReplyInteger(self.raw)))
        }
    }

    /// The elements of an array.
    pub fn items(&self) -> impl Iterator<Item = Nested<'a>> {
        // SAFETY: parts of a live reply.
        let len = if self.raw.is_null() {
            0
        } else {
            unsafe { api!(RedisModule_CallReplyLength(self.raw)) }
        };
        let raw = self.raw;
        (0..len).map(move |index| Nested {
            raw: unsafe { api!(RedisModule_CallReplyArrayElement(raw, index)) },
            scope: PhantomData,
        })
    }

    pub fn bytes(&self) -> Option<&'a [u8]> {
        string_of(self.raw)
    }

    pub fn strings(&self) -> impl Iterator<Item = &'a [u8]> {
        self.items().filter_map(|item| item.bytes())
    }
}

fn string_of<'a>(reply: *mut raw::RedisModuleCallReply) -> Option<&'a [u8]> {
    let mut len = 0;
    // SAFETY: null for anything but a string; the bytes live as long as the reply that the caller borrows.
    unsafe {
        let start = if reply.is_null() {
            ptr::null()
        } else {
            api!(RedisModule_CallReplyStringPtr(reply, &mut len))
        };
        (!start.is_null()).then(|| std::slice::from_raw_parts(start.cast(), len))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: ours, freed once.
        unsafe { api!(RedisModule_FreeCallReply(self.0)) }
    }
}
