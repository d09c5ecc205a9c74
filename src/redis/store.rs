//! The keyspace as the engine sees it.

use std::ffi::CStr;

use redis_module::raw;

use super::api::{Context, OwnedText, Text};
use super::site::FLAGS;
use crate::crdt::{Cursor, Element, KeyRef, Kind, Native, Number, OwnedValue, Store, Value};

/// Elements and keys asked for at once while scanning.
const SCAN_COUNT: &[u8] = b"64";

/// Reads and writes native values. Restores the selected database when dropped: in a command's context it
/// is the client's.
pub struct RedisStore<'a> {
    ctx: Context<'a>,
    home: u32,
    selected: u32,
    /// A change went by that the server has not counted towards its save points.
    uncounted: bool,
}

impl<'a> RedisStore<'a> {
    pub fn new(ctx: Context<'a>) -> RedisStore<'a> {
        let home = ctx.database();
        RedisStore {
            ctx,
            home,
            selected: home,
            uncounted: false,
        }
    }

    /// False when this server has no such database: the key cannot exist.
    fn select(&mut self, database: u32) -> bool {
        if self.selected != database {
            if !self.ctx.select(database) {
                return false;
            }
            self.selected = database;
        }
        true
    }

    /// Selects the key's database; `None` when there is no such database.
    fn name(&mut self, key: KeyRef<'_>) -> Option<OwnedText> {
        self.select(key.db).then(|| OwnedText::new(key.name))
    }

    fn assign(&mut self, key: Text<'_>, value: &[u8]) {
        if compact_integer(value) {
            self.ctx.call_with_value(c"SET", key, value, &[]);
            return;
        }
        let value = OwnedText::new(value);
        set_plain(self.ctx, key, value.text());
        if FLAGS.0.listeners.get() {
            self.ctx.replicate(c"SET", &[key, value.text()]);
        } else {
            self.uncounted = true;
        }
    }

    /// All of one native answer's strings, as set members.
    fn members(&mut self, key: KeyRef<'_>, visit: &mut dyn FnMut(Element<'_>, Value<'_>)) {
        let Some(name) = self.name(key) else { return };
        let Some(answer) = self.ctx.ask(c"SMEMBERS", &[name.text()]) else {
            return;
        };
        answer
            .strings()
            .for_each(|member| visit(Element::member(member), Value::Member));
    }

    fn get(&mut self, name: &OwnedText) -> Option<Box<[u8]>> {
        let answer = self.ctx.ask(c"GET", &[name.text()])?;
        answer.bytes().map(Into::into)
    }
}

impl Drop for RedisStore<'_> {
    fn drop(&mut self) {
        if self.uncounted {
            // Nobody listens, so this goes nowhere; it counts one change for the server's save points. One
            // per slice rather than per change, because it costs as much as a command.
            self.ctx.replicate(c"PING", &[]);
        }
        self.select(self.home);
    }
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
        match element.kind {
            Kind::String => self.get(&name).map(OwnedValue::Bytes),
            Kind::Set => {
                let member = OwnedText::new(element.name);
                let answer = self.ctx.ask(c"SISMEMBER", &[name.text(), member.text()])?;
                (answer.integer() == Some(1)).then_some(OwnedValue::Member)
            }
        }
    }

    fn elements(&mut self, key: KeyRef<'_>, visit: &mut dyn FnMut(Element<'_>, Value<'_>)) {
        match self.kind(key) {
            Some(Native::Kind(Kind::String)) => {
                if let Some(OwnedValue::Bytes(value)) = self.read(key, Element::STRING) {
                    visit(Element::STRING, Value::Bytes(&value));
                }
            }
            Some(Native::Kind(Kind::Set)) => self.members(key, visit),
            _ => {}
        }
    }

    fn write(&mut self, key: KeyRef<'_>, element: Element<'_>, value: Option<Value<'_>>) {
        let Some(name) = self.name(key) else { return };
        let command: &CStr = match (element.kind, value) {
            (Kind::String, Some(Value::Bytes(bytes))) => return self.assign(name.text(), bytes),
            (Kind::String, _) => return self.delete(key),
            (Kind::Set, Some(_)) => c"SADD",
            (Kind::Set, None) => c"SREM",
        };
        let member = OwnedText::new(element.name);
        self.ctx.call(command, &[name.text(), member.text()]);
    }

    fn delete(&mut self, key: KeyRef<'_>) {
        if let Some(name) = self.name(key) {
            self.ctx.call(c"UNLINK", &[name.text()]);
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
        if self.kind(key) != Some(Native::Kind(Kind::Set)) {
            self.elements(key, visit);
            return false;
        }
        let Some(name) = self.name(key) else { return false };
        let (at, count) = (
            OwnedText::new(cursor.to_string().as_bytes()),
            OwnedText::new(SCAN_COUNT),
        );
        let word = OwnedText::new(b"COUNT");
        let arguments = [name.text(), at.text(), word.text(), count.text()];
        let Some(answer) = self.ctx.ask(c"SSCAN", &arguments) else {
            return false;
        };
        answer
            .nested(1)
            .strings()
            .for_each(|member| visit(Element::member(member), Value::Member));
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

fn number(text: Option<&[u8]>) -> u64 {
    text.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok())
        .unwrap_or(0)
}
