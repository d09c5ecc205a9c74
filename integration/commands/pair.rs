//! A plain server and one with the module, given the same commands.

use crate::plain::{Client, Server, strings};

pub struct Pair {
    pub plain: Server,
    pub geo: Server,
    pub native: Client,
    pub module: Client,
    /// What the module's server is sent in front of a native name.
    prefix: &'static str,
}

pub const COMMANDS: [&str; 20] = [
    "SET",
    "SETNX",
    "GETSET",
    "GETDEL",
    "MSET",
    "MSETNX",
    "APPEND",
    "SETRANGE",
    "SETBIT",
    "INCR",
    "DECR",
    "INCRBY",
    "DECRBY",
    "INCRBYFLOAT",
    "SADD",
    "SREM",
    "SPOP",
    "SMOVE",
    "DEL",
    "UNLINK",
];

impl Pair {
    pub fn start() -> Pair {
        Pair::with(Server::geo(&[]), "GEO.")
    }

    /// GEO commands against native ones, and then in transparent mode native ones against native ones. Keys named
    /// after a type that does not replicate stay here.
    pub fn each() -> impl Iterator<Item = Pair> {
        let named = std::iter::once_with(Pair::start);
        named.chain(std::iter::once_with(|| {
            Pair::transparent("!list !hash !zset !stream !deadline")
        }))
    }

    /// Both are sent the same; native commands on keys in `keys` replicate.
    pub fn transparent(keys: &str) -> Pair {
        Pair::with(Server::transparent(keys), "")
    }

    pub fn is_transparent(&self) -> bool {
        self.prefix.is_empty()
    }

    fn with(geo: Server, prefix: &'static str) -> Pair {
        let plain = Server::plain(&[]);
        let (native, module) = (plain.client(), geo.client());
        Pair {
            plain,
            geo,
            native,
            module,
            prefix,
        }
    }

    /// The same command, not ours, on both.
    pub fn both(&mut self, line: &str) {
        assert_eq!(self.native.text(line), self.module.text(line), "{line}");
    }

    /// A native command and its GEO form give the same reply; gives it.
    pub fn same(&mut self, arguments: &[&[u8]]) -> Vec<u8> {
        let expected = self.native.command(arguments);
        let found = self.ours(arguments);
        assert_eq!(shown(&expected), shown(&found), "{}", line(arguments));
        expected
    }

    /// What the module's server replies; an error names the native command.
    pub fn ours(&mut self, arguments: &[&[u8]]) -> Vec<u8> {
        let name = [self.prefix.as_bytes(), arguments[0]].concat();
        let mut all = arguments.to_vec();
        all[0] = &name;
        let reply = self.module.command(&all);
        if self.prefix.is_empty() { reply } else { unnamed(reply) }
    }

    pub fn same_text(&mut self, line: &str) -> Vec<u8> {
        self.same(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    /// Both servers hold the same data in the same encodings, with or without a deadline.
    pub fn same_data(&mut self) {
        let mut keys = strings(&self.native.text("KEYS *"));
        let mut others = strings(&self.module.text("KEYS *"));
        keys.sort();
        others.sort();
        assert_eq!(keys, others, "keys differ");
        for key in &keys {
            let kind: [&[u8]; 2] = [b"TYPE", key];
            assert_eq!(
                self.native.command(&kind),
                self.module.command(&kind),
                "{}",
                line(&kind)
            );
            let forever = |client: &mut Client| client.command(&[b"PTTL", key]) == b":-1\r\n";
            assert_eq!(
                forever(&mut self.native),
                forever(&mut self.module),
                "deadline of {}",
                shown(key)
            );
            self.same_value(key);
        }
    }

    fn same_value(&mut self, key: &[u8]) {
        let kind = self.native.command(&[b"TYPE", key]);
        let encoding: [&[u8]; 3] = [b"OBJECT", b"ENCODING", key];
        assert_eq!(
            self.native.command(&encoding),
            self.module.command(&encoding),
            "{}",
            line(&encoding)
        );
        let read: &[u8] = match kind.as_slice() {
            b"+string\r\n" => b"GET",
            b"+set\r\n" => b"SMEMBERS",
            _ => return,
        };
        let (mut one, mut other) = (
            strings(&self.native.command(&[read, key])),
            strings(&self.module.command(&[read, key])),
        );
        one.sort();
        other.sort();
        assert_eq!(one, other, "{}", line(&[read, key]));
    }
}

/// Errors name the command they are about.
fn unnamed(reply: Vec<u8>) -> Vec<u8> {
    if !reply.starts_with(b"-") {
        return reply;
    }
    String::from_utf8_lossy(&reply).replace("'geo.", "'").into_bytes()
}

pub fn shown(reply: &[u8]) -> String {
    reply[..reply.len().min(2000)].escape_ascii().to_string()
}

pub fn line(arguments: &[&[u8]]) -> String {
    arguments.iter().map(|one| shown(one)).collect::<Vec<_>>().join(" ")
}
