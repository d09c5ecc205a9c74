//! The keyspace as the engine sees it.

use std::ffi::CStr;

use hashbrown::HashMap;
use redis_module::raw;

use super::api::{Answer, Context, OwnedText, Text};
use super::expiry;
use super::kept;
use super::settings;
use super::site::{self, FLAGS};
use crate::crdt::{
    Before, Cursor, Element, KeyName, KeyRef, Kind, NEVER, Native, Number, OwnedValue, Score, Store, Value,
};

/// Elements and keys asked for at once while scanning.
const SCAN_COUNT: &[u8] = b"64";

/// Ms that the engine may be at work on one key, even on a machine that stands still in between.
const SOON: u128 = 60_000;

/// What the keyspace is read and written with. Under another name the server would not find it.
const NEEDED: &[&CStr] = &[
    c"GET",
    c"SADD",
    c"SREM",
    c"SMEMBERS",
    c"SISMEMBER",
    c"SSCAN",
    c"HSET",
    c"HDEL",
    c"HGET",
    c"HGETALL",
    c"HSCAN",
    c"ZADD",
    c"ZREM",
    c"ZRANGE",
    c"ZSCAN",
    c"UNLINK",
    c"SCAN",
];

/// The first of the commands needed here that this server does not run.
pub fn missing_command(ctx: Context<'_>) -> Option<String> {
    let words: Vec<OwnedText> = std::iter::once(c"INFO")
        .chain(NEEDED.iter().copied())
        .map(|name| OwnedText::new(name.to_bytes()))
        .collect();
    let answer = ctx.ask(c"COMMAND", &words.iter().map(OwnedText::text).collect::<Vec<_>>())?;
    let found = answer.items().zip(NEEDED);
    let mut missing = found.filter(|(entry, _)| entry.items().next().is_none());
    missing.next().map(|(_, name)| name.to_string_lossy().into_owned())
}

/// Reads and writes native values. Restores the selected database when dropped: in a command's context it
/// is the client's.
pub struct RedisStore<'a> {
    /// What it was made with.
    client: Context<'a>,
    /// Has the database selected.
    ctx: Context<'a>,
    home: u32,
    selected: u32,
    /// Keys that the engine is at work on whose deadline is near: the time goes on meanwhile, and the server would remove
    /// them between two looks. So they have no deadline until the engine is done, but the one here.
    held: HashMap<KeyName, Option<u64>>,
    /// A change went by that the server has not counted towards its save points.
    pub uncounted: bool,
    /// A score was written: a client may wait for it.
    pub scored: bool,
}

impl<'a> RedisStore<'a> {
    pub fn new(ctx: Context<'a>) -> RedisStore<'a> {
        let home = ctx.database();
        RedisStore {
            client: ctx,
            ctx,
            home,
            selected: home,
            held: HashMap::new(),
            uncounted: false,
            scored: false,
        }
    }

    /// One `SCAN` of a database: `None` when there is no such database.
    pub fn scan_matching(
        &mut self,
        database: u32,
        cursor: &[u8],
        pattern: Text<'_>,
        count: Text<'_>,
    ) -> Option<Answer> {
        if !self.select(database) {
            return None;
        }
        let (cursor, matching, counting) = (
            OwnedText::new(cursor),
            OwnedText::new(b"MATCH"),
            OwnedText::new(b"COUNT"),
        );
        let words = [cursor.text(), matching.text(), pattern, counting.text(), count];
        self.ctx.ask(c"SCAN", &words)
    }

    /// False when this server has no such database: the key cannot exist.
    fn select(&mut self, database: u32) -> bool {
        if self.selected != database {
            let Some(ctx) = kept::at(self.client, database) else {
                return false;
            };
            self.ctx = ctx;
            self.selected = database;
        }
        true
    }

    /// Selects the key's database; `None` when there is no such database.
    fn name(&mut self, key: KeyRef<'_>) -> Option<OwnedText> {
        self.select(key.db).then(|| OwnedText::new(key.name))
    }

    /// Writes a string. Its deadline stays.
    fn assign(&mut self, key: Text<'_>, value: &[u8]) {
        if compact_integer(value) {
            let keep = OwnedText::new(b"KEEPTTL");
            // Where it has another name, the encoding is less compact.
            if self.ctx.call_with_value(c"SET", key, value, &[keep.text()]).is_some() {
                return;
            }
        }
        let deadline = self.ctx.open(key).before().deadline;
        let value = OwnedText::new(value);
        set_plain(self.ctx, key, value.text());
        if deadline.is_some() {
            self.ctx.open(key).set_deadline(deadline);
        }
        self.uncounted = true;
    }

    fn set_deadline(&mut self, key: KeyRef<'_>, deadline: Option<u64>) {
        let Some(name) = self.name(key) else { return };
        let mut open = self.ctx.open(name.text());
        let Before { native, deadline: set } = open.before();
        let held = self.held.get_mut(&key);
        if native.is_none() || held.as_deref().copied().unwrap_or(set) == deadline {
            return;
        }
        match held {
            Some(held) => *held = deadline,
            None => {
                let holds = is_near(deadline);
                open.set_deadline(deadline.filter(|_| !holds));
                if holds {
                    self.held.insert((key.db, key.name.into()), deadline);
                }
            }
        }
        drop(open);
        let event = if deadline.is_some() { c"expire" } else { c"persist" };
        self.ctx.changed(name.text());
        self.ctx.notify(raw::REDISMODULE_NOTIFY_GENERIC, event, name.text());
        self.uncounted = true;
    }

    /// A key that has gone takes its deadline along.
    fn look_whether_gone(&mut self, key: KeyRef<'_>) {
        if self.held.contains_key(&key) && self.kind(key).is_none() {
            self.held.remove(&key);
        }
    }

    /// All elements of one native answer: names, or names and values in turn.
    fn visit(kind: Kind, texts: &mut dyn Iterator<Item = &[u8]>, visit: &mut dyn FnMut(Element<'_>, Value<'_>)) {
        while let Some(name) = texts.next() {
            let value = match kind {
                Kind::Set => Some(Value::Member),
                Kind::Zset => texts.next().and_then(score).map(Value::Score),
                _ => texts.next().map(Value::Bytes),
            };
            if let Some(value) = value {
                visit(Element::new(kind, name), value);
            }
        }
    }

    fn get(&mut self, name: &OwnedText) -> Option<Box<[u8]>> {
        let answer = self.ctx.ask(c"GET", &[name.text()])?;
        answer.bytes().map(Into::into)
    }
}

impl Drop for RedisStore<'_> {
    fn drop(&mut self) {
        self.release();
        self.select(self.home);
    }
}

/// Whether the engine may still be at work on a key when it expires.
fn is_near(deadline: Option<u64>) -> bool {
    deadline.is_some_and(|at| u128::from(at) < site::since_epoch().as_millis() + SOON)
}

/// Whether `SET` would store the value as an integer: only the server itself can do that.
pub fn compact_integer(value: &[u8]) -> bool {
    Number::parse_int(value).is_some()
}

/// What native `SET` does with a value that is not an integer, without its cost. The value is shared or copied.
/// Tells what the key held before.
pub fn set_plain(ctx: Context<'_>, key: Text<'_>, value: Text<'_>) -> Option<Native> {
    let mut open = ctx.open(key);
    let before = open.kind();
    let string = before == Some(Native::Kind(Kind::String));
    if !(string && open.overwrite(value.bytes(), FLAGS.0.compact.get())) {
        open.set(value);
    }
    drop(open);
    announce_set(ctx, key);
    before
}

fn announce_set(ctx: Context<'_>, key: Text<'_>) {
    ctx.changed(key);
    ctx.notify(raw::REDISMODULE_NOTIFY_STRING, c"set", key);
}

impl Store for RedisStore<'_> {
    fn kind(&mut self, key: KeyRef<'_>) -> Option<Native> {
        let name = self.name(key)?;
        self.ctx.open(name.text()).kind()
    }

    fn read(&mut self, key: KeyRef<'_>, element: Element<'_>) -> Option<OwnedValue> {
        let name = self.name(key)?;
        let element_name = OwnedText::new(element.name);
        match element.kind {
            Kind::String => self.get(&name).map(OwnedValue::Bytes),
            Kind::Expiry => {
                let Before { native, deadline } = self.ctx.open(name.text()).before();
                native?;
                let held = self.held.get(&key).copied();
                held.unwrap_or(deadline).map(OwnedValue::Deadline)
            }
            Kind::Set => {
                let answer = self.ctx.ask(c"SISMEMBER", &[name.text(), element_name.text()])?;
                (answer.integer() == Some(1)).then_some(OwnedValue::Member)
            }
            Kind::Hash => {
                let answer = self.ctx.ask(c"HGET", &[name.text(), element_name.text()])?;
                answer.bytes().map(|bytes| OwnedValue::Bytes(bytes.into()))
            }
            Kind::Zset => {
                let open = self.ctx.open(name.text());
                let fits = open.kind() == Some(Native::Kind(Kind::Zset));
                fits.then(|| open.score(element_name.text()))?.map(OwnedValue::Score)
            }
        }
    }

    fn elements(&mut self, key: KeyRef<'_>, visit: &mut dyn FnMut(Element<'_>, Value<'_>)) {
        let Some(Native::Kind(kind)) = self.kind(key) else {
            return;
        };
        let Some(name) = self.name(key) else { return };
        let (all, last, scores) = (
            OwnedText::new(b"0"),
            OwnedText::new(b"-1"),
            OwnedText::new(b"WITHSCORES"),
        );
        let answer = match kind {
            Kind::String => {
                if let Some(value) = self.get(&name) {
                    visit(Element::STRING, Value::Bytes(&value));
                }
                return;
            }
            Kind::Set => self.ctx.ask(c"SMEMBERS", &[name.text()]),
            Kind::Hash => self.ctx.ask(c"HGETALL", &[name.text()]),
            Kind::Zset => {
                let arguments = [name.text(), all.text(), last.text(), scores.text()];
                self.ctx.ask(c"ZRANGE", &arguments)
            }
            Kind::Expiry => None,
        };
        if let Some(answer) = answer {
            Self::visit(kind, &mut answer.strings(), visit);
        }
    }

    fn write(&mut self, key: KeyRef<'_>, element: Element<'_>, value: Option<Value<'_>>) {
        if element.kind == Kind::Expiry {
            let deadline = match value {
                Some(Value::Deadline(at)) if at < NEVER => Some(at),
                _ => None,
            };
            return self.set_deadline(key, deadline);
        }
        let Some(name) = self.name(key) else { return };
        let field = OwnedText::new(element.name);
        let (key_text, field_text) = (name.text(), field.text());
        match (element.kind, value) {
            (Kind::String, Some(Value::Bytes(bytes))) => self.assign(key_text, bytes),
            (Kind::Set, Some(_)) => drop(self.ctx.call(c"SADD", &[key_text, field_text])),
            (Kind::Hash, Some(Value::Bytes(bytes))) => {
                let value = OwnedText::new(bytes);
                self.ctx.call(c"HSET", &[key_text, field_text, value.text()]);
            }
            (Kind::Zset, Some(Value::Score(score))) => {
                let mut deadline = None;
                // The server takes 0 and -0 for equal, and would leave the one for the other. The key may go with it.
                if score.get() == 0.0 {
                    deadline = self.deadline(key);
                    self.ctx.call(c"ZREM", &[key_text, field_text]);
                }
                let score = OwnedText::new(score_text(score).as_bytes());
                self.ctx.call(c"ZADD", &[key_text, score.text(), field_text]);
                if deadline.is_some() {
                    self.set_deadline(key, deadline);
                }
                self.scored = true;
            }
            (Kind::Set, None) => drop(self.ctx.call(c"SREM", &[key_text, field_text])),
            (Kind::Hash, None) => drop(self.ctx.call(c"HDEL", &[key_text, field_text])),
            (Kind::Zset, None) => drop(self.ctx.call(c"ZREM", &[key_text, field_text])),
            _ => self.delete(key),
        }
        if value.is_none() {
            self.look_whether_gone(key);
        }
    }

    fn has_expired(&mut self, key: KeyRef<'_>) -> bool {
        let Some(name) = self.name(key) else { return false };
        // Looking at a key that is past its deadline makes the server remove it.
        let mut open = self.ctx.open(name.text());
        let Before { native, deadline } = open.before();
        if expiry::take(key) {
            drop(open);
            if native.is_some() {
                // Written since, on top of what has gone.
                self.delete(key);
            }
            return true;
        }
        if native.is_some() && is_near(deadline) {
            open.set_deadline(None);
            self.held.insert((key.db, key.name.into()), deadline);
        }
        false
    }

    fn release(&mut self) {
        for ((db, name), deadline) in std::mem::take(&mut self.held) {
            if let (Some(name), Some(_)) = (self.name(KeyRef { db, name: &name }), deadline) {
                // Refused for a key that is not there any more.
                self.ctx.open(name.text()).set_deadline(deadline);
            }
        }
    }

    fn is_replicated(&self, key: KeyRef<'_>) -> bool {
        settings::has_key(key.name)
    }

    fn delete(&mut self, key: KeyRef<'_>) {
        if let Some(name) = self.name(key) {
            self.ctx.call(c"UNLINK", &[name.text()]);
            self.look_whether_gone(key);
        }
    }

    fn scan_keys(&mut self, cursor: &mut Cursor, visit: &mut dyn FnMut(KeyRef<'_>, Kind)) -> bool {
        if !self.select(cursor.db) {
            return false;
        }
        let (at, count) = (
            OwnedText::new(cursor.at.to_string().as_bytes()),
            OwnedText::new(SCAN_COUNT),
        );
        let word = OwnedText::new(b"COUNT");
        let Some(answer) = self.ctx.ask(c"SCAN", &[at.text(), word.text(), count.text()]) else {
            return false;
        };
        for name in answer.nested(1).strings() {
            let key = KeyRef { db: cursor.db, name };
            if let Some(Native::Kind(kind)) = self.kind(key) {
                visit(key, kind);
            }
        }
        cursor.at = number(answer.nested(0).bytes());
        if cursor.at == 0 {
            cursor.db += 1;
        }
        cursor.at != 0 || self.select(cursor.db)
    }

    fn scan_elements(
        &mut self,
        key: KeyRef<'_>,
        cursor: &mut u64,
        visit: &mut dyn FnMut(Element<'_>, Value<'_>),
    ) -> bool {
        let (command, kind): (&CStr, Kind) = match self.kind(key) {
            Some(Native::Kind(Kind::Set)) => (c"SSCAN", Kind::Set),
            Some(Native::Kind(Kind::Hash)) => (c"HSCAN", Kind::Hash),
            Some(Native::Kind(Kind::Zset)) => (c"ZSCAN", Kind::Zset),
            _ => {
                self.elements(key, visit);
                return false;
            }
        };
        let Some(name) = self.name(key) else { return false };
        let (at, count) = (
            OwnedText::new(cursor.to_string().as_bytes()),
            OwnedText::new(SCAN_COUNT),
        );
        let word = OwnedText::new(b"COUNT");
        let arguments = [name.text(), at.text(), word.text(), count.text()];
        let Some(answer) = self.ctx.ask(command, &arguments) else {
            return false;
        };
        Self::visit(kind, &mut answer.nested(1).strings(), visit);
        *cursor = number(answer.nested(0).bytes());
        *cursor != 0
    }

    fn key_count(&mut self) -> u64 {
        let mut sum = 0;
        let mut database = 0;
        while self.select(database) {
            sum += self.ctx.keys();
            database += 1;
        }
        sum
    }
}

/// A score as the server writes it: 17 significant digits say exactly which double it is.
pub fn score(text: &[u8]) -> Option<Score> {
    std::str::from_utf8(text).ok()?.parse().ok().and_then(Score::new)
}

/// A score as the server reads it back to the last bit.
pub fn score_text(score: Score) -> String {
    match score.get() {
        f64::INFINITY => "inf".to_owned(),
        f64::NEG_INFINITY => "-inf".to_owned(),
        finite => format!("{finite:e}"),
    }
}

fn number(text: Option<&[u8]>) -> u64 {
    text.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok())
        .unwrap_or(0)
}
