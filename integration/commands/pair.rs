//! A plain server and one with the module, given the same commands.

use crate::plain::{Client, Server, strings};

pub struct Pair {
    pub plain: Server,
    pub geo: Server,
    pub native: Client,
    pub module: Client,
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
        let (plain, geo) = (Server::plain(&[]), Server::geo(&[]));
        let (native, module) = (plain.client(), geo.client());
        Pair {
            plain,
            geo,
            native,
            module,
        }
    }

    /// The same command, not ours, on both.
    pub fn both(&mut self, line: &str) {
        assert_eq!(self.native.text(line), self.module.text(line), "{line}");
    }

    /// A native command and its GEO form give the same reply; gives it.
    pub fn same(&mut self, arguments: &[&[u8]]) -> Vec<u8> {
        let expected = self.native.command(arguments);
        let found = unnamed(
            self.module
                .command(&geo(arguments).iter().map(Vec::as_slice).collect::<Vec<_>>()),
        );
        assert_eq!(shown(&expected), shown(&found), "{}", line(arguments));
        expected
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

pub fn geo(arguments: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = arguments.iter().map(|one| one.to_vec()).collect();
    all[0] = [b"GEO.", arguments[0]].concat();
    all
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
