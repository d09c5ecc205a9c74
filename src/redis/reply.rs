//! What a command answers, and how it is sent.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ffi::{CStr, CString};

use super::api::{Answer, Context, OwnedText, api, long};
use super::blocked::Wait;
use super::site::MainThread;

/// A command's answer. It is sent after the command has done everything else.
pub enum Reply {
    Ok,
    Integer(i64),
    /// Exactly what the native command answered, errors included.
    Native(Answer),
    Tree(Tree),
    WrongArity,
    /// None yet: the client waits.
    Wait(Wait),
}

/// A refusal, with its error code in front.
pub struct Refusal(pub Cow<'static, CStr>);

impl From<&'static CStr> for Refusal {
    fn from(text: &'static CStr) -> Refusal {
        Refusal(Cow::Borrowed(text))
    }
}

impl From<String> for Refusal {
    fn from(text: String) -> Refusal {
        Refusal(Cow::Owned(CString::new(text.replace('\0', "?")).unwrap_or_default()))
    }
}

/// A report for people and programs: `GEO.STATUS`, `GEO.INSPECT`, `INFO geo`.
#[derive(Clone, PartialEq, Debug)]
pub enum Tree {
    Text(String),
    Bytes(Vec<u8>),
    Integer(i64),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

pub fn send(ctx: Context<'_>, reply: Reply) {
    // SAFETY: in a command's context, once per command.
    unsafe {
        match reply {
            Reply::Ok => send_ok(ctx),
            Reply::Integer(number) => {
                api!(RedisModule_ReplyWithLongLong(ctx.raw, number));
            }
            Reply::Native(answer) => {
                api!(RedisModule_ReplyWithCallReply(ctx.raw, answer.raw()));
            }
            Reply::WrongArity => {
                api!(RedisModule_WrongArity(ctx.raw));
            }
            Reply::Tree(tree) => send_tree(ctx, &tree),
            Reply::Wait(_) => {}
        }
    }
}

/// Sends `+OK` as the server itself wrote it once, which costs a fifth of making it anew each time.
fn send_ok(ctx: Context<'_>) {
    static WRITTEN: MainThread<OnceCell<Option<Answer>>> = MainThread(OnceCell::new());
    // SAFETY: in a command's context, once per command.
    unsafe {
        match WRITTEN.0.get_or_init(|| written_ok(ctx)) {
            Some(answer) => api!(RedisModule_ReplyWithCallReply(ctx.raw, answer.raw())),
            None => api!(RedisModule_ReplyWithSimpleString(ctx.raw, c"OK".as_ptr())),
        };
    }
}

/// Selecting the database that is selected changes nothing, and is answered with `+OK`.
fn written_ok(ctx: Context<'_>) -> Option<Answer> {
    let database = OwnedText::new(ctx.database().to_string().as_bytes());
    ctx.ask(c"SELECT", &[database.text()])
        .filter(|answer| answer.bytes() == Some(b"OK"))
}

pub fn refuse(ctx: Context<'_>, refusal: &Refusal) {
    // SAFETY: in a command's context, once per command.
    unsafe { api!(RedisModule_ReplyWithError(ctx.raw, refusal.0.as_ptr())) };
}

fn send_tree(ctx: Context<'_>, tree: &Tree) {
    // SAFETY: in a command's context; every announced element is sent.
    unsafe {
        match tree {
            Tree::Text(text) => send_bytes(ctx, text.as_bytes()),
            Tree::Bytes(bytes) => send_bytes(ctx, bytes),
            Tree::Integer(number) => {
                api!(RedisModule_ReplyWithLongLong(ctx.raw, *number));
            }
            Tree::List(items) => {
                api!(RedisModule_ReplyWithArray(ctx.raw, long(items.len())));
                items.iter().for_each(|item| send_tree(ctx, item));
            }
            Tree::Map(fields) => {
                // The server makes it a flat array for RESP2 clients.
                api!(RedisModule_ReplyWithMap(ctx.raw, long(fields.len())));
                for (name, value) in fields {
                    send_bytes(ctx, name.as_bytes());
                    send_tree(ctx, value);
                }
            }
        }
    }
}

fn send_bytes(ctx: Context<'_>, bytes: &[u8]) {
    // SAFETY: pointer and length of one slice.
    unsafe {
        api!(RedisModule_ReplyWithStringBuffer(
            ctx.raw,
            bytes.as_ptr().cast(),
            bytes.len()
        ))
    };
}
