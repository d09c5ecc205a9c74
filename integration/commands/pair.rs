//! A plain server and one with the module, given the same commands.

use crate::held::everything;
use crate::plain::{Client, Server, strings};

pub struct Pair {
    pub plain: Server,
    pub geo: Server,
    pub native: Client,
    pub module: Client,
    /// What the module's server is sent in front of a native name.
    prefix: &'static str,
}

/// All that Redis 7.0 has.
pub const COMMANDS: [&str; 67] = [
    "SET",
    "SETNX",
    "SETEX",
    "PSETEX",
    "GETSET",
    "GETDEL",
    "GETEX",
    "MSET",
    "MSETNX",
    "APPEND",
    "SETRANGE",
    "INCR",
    "DECR",
    "INCRBY",
    "DECRBY",
    "INCRBYFLOAT",
    "SETBIT",
    "BITFIELD",
    "BITOP",
    "PFADD",
    "PFMERGE",
    "HSET",
    "HMSET",
    "HSETNX",
    "HDEL",
    "HINCRBY",
    "HINCRBYFLOAT",
    "SADD",
    "SREM",
    "SPOP",
    "SMOVE",
    "SINTERSTORE",
    "SUNIONSTORE",
    "SDIFFSTORE",
    "ZADD",
    "ZINCRBY",
    "ZREM",
    "ZREMRANGEBYSCORE",
    "ZREMRANGEBYLEX",
    "ZREMRANGEBYRANK",
    "ZPOPMIN",
    "ZPOPMAX",
    "ZMPOP",
    "BZPOPMIN",
    "BZPOPMAX",
    "BZMPOP",
    "ZRANGESTORE",
    "ZINTERSTORE",
    "ZUNIONSTORE",
    "ZDIFFSTORE",
    "GEOADD",
    "GEOSEARCHSTORE",
    "GEORADIUS",
    "GEORADIUSBYMEMBER",
    "DEL",
    "UNLINK",
    "EXPIRE",
    "PEXPIRE",
    "EXPIREAT",
    "PEXPIREAT",
    "PERSIST",
    "RENAME",
    "RENAMENX",
    "MOVE",
    "COPY",
    "RESTORE",
    "SORT",
];

/// What newer servers have beside it.
const NEWER: [&str; 4] = ["MSETEX", "DELEX", "DELIFEQ", "HGETDEL"];

/// Of these, what the server has.
pub fn commands(client: &mut Client) -> Vec<&'static str> {
    let newer = NEWER.into_iter().filter(|name| has(client, name));
    COMMANDS.into_iter().chain(newer).collect()
}

/// Whether the server has the command that a line begins with.
pub fn has(client: &mut Client, line: &str) -> bool {
    let name = line.split(' ').next().expect("a name");
    !strings(&client.text(&format!("COMMAND INFO {name}"))).is_empty()
}

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

    /// Both servers hold the same data in the same encodings, with the same deadlines.
    pub fn same_data(&mut self) {
        for key in self.same_values() {
            let encoding: [&[u8]; 3] = [b"OBJECT", b"ENCODING", &key];
            assert_eq!(
                self.native.command(&encoding),
                self.module.command(&encoding),
                "{}",
                line(&encoding)
            );
        }
    }

    /// Both servers hold the same data with the same deadlines: the keys.
    pub fn same_values(&mut self) -> Vec<Vec<u8>> {
        let (native, module) = (everything(&mut self.native), everything(&mut self.module));
        for (one, other) in native.iter().zip(&module) {
            assert_eq!(one, other, "{}", shown(&one.0));
        }
        assert_eq!(native.len(), module.len(), "keys differ");
        native.into_iter().map(|(key, _)| key).collect()
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
