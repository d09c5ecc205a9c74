//! What clients do to a region, and what its server does to keys by itself.

use rand::Rng;
use redis_geo::crdt::{KeyRef, Store};

use super::{Key, NAMES, Node, World, now_of};
use crate::commands::{Act, Client};

impl Node {
    /// `now`: Unix time in ms, by the server's clock.
    pub fn client<'a>(&'a mut self, key: KeyRef<'a>, now: u64) -> Client<'a> {
        Client {
            engine: &mut self.engine,
            store: &mut self.store,
            key,
            now,
            behind: false,
        }
    }
}

impl World {
    /// What is due expires, as a server does it by itself.
    pub(super) fn expire(&mut self, at: usize) {
        let now = self.wall(at);
        let node = &mut self.nodes[at];
        let mut gone: Vec<Key> = Vec::new();
        for (db, name) in node.store.expire(now) {
            let key = KeyRef { db, name: &name };
            node.client(key, now).expired();
            gone.push((db, name.to_vec()));
        }
        gone.iter().for_each(|key| self.has_expired(at, key));
    }

    /// Time goes on for a region; gives what its clock says, Unix time in ms.
    pub fn begin_command(&mut self, at: usize) -> u64 {
        let node = &mut self.nodes[at];
        node.engine.set_time(now_of(self.now, node.skew));
        self.expire(at);
        self.wall(at)
    }

    /// `captured`: not as a command, but behind the engine's back, which is then told to look.
    pub fn command(&mut self, at: usize, act: &Act, captured: bool) {
        let mut out = Vec::new();
        self.begin_command(at);
        let key = KeyRef { db: 0, name: &act.key };
        match captured {
            true => self.nodes[at].noted.forget(&(0, act.key.to_vec())),
            false => self.prepare(at, key),
        }
        let now = self.begin_command(at);
        let node = &mut self.nodes[at];
        let was_noted = node.engine.is_noted(key);
        let mut client = node.client(key, now);
        client.behind = captured;
        let what = client.run(act);
        if let Some(what) = what.filter(|_| !captured) {
            let act = Act { what, ..act.clone() };
            self.note(at, was_noted, &act);
        }
        if self.rng.random_bool(0.7) {
            self.nodes[at].engine.flush(&mut out);
        }
        self.outputs(at, out);
    }

    /// The server needs memory, and takes it from a key.
    pub fn evict(&mut self, at: usize) {
        let keys: Vec<_> = self.nodes[at].store.keys().keys().cloned().collect();
        if keys.is_empty() {
            return;
        }
        let (db, name) = keys[self.rng.random_range(0..keys.len())].clone();
        self.say(|| format!("{} evicts {:?}", NAMES[at], String::from_utf8_lossy(&name)));
        let node = &mut self.nodes[at];
        let key = KeyRef { db, name: &name };
        node.engine.prepare(key, &mut node.store);
        node.store.delete(key);
        node.engine.evict(key);
        node.noted.is_unclear(&(db, name.to_vec()));
        // What was promised for its deadline was for what is gone now.
        let me = node.engine.state().me();
        self.extensions
            .retain(|extension| extension.dot.replica != me || extension.key != (db, name.to_vec()));
        self.outputs(at, Vec::new());
    }
}
