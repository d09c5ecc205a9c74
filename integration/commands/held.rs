//! What a key holds: type, value, deadline.

use crate::plain::{Client, strings};

/// Deadlines that differ by less, in ms, are taken for the same: each server reads its own clock.
const TOLERANCE: u64 = 2000;

#[derive(Clone, Debug)]
pub struct Held {
    pub kind: String,
    /// Sorted where the server gives no order.
    pub value: Vec<Vec<u8>>,
    /// Unix time in ms; negative for none.
    pub deadline: i64,
}

impl Held {
    pub fn by(client: &mut Client, key: &[u8]) -> Held {
        let kind = String::from_utf8_lossy(&client.command(&[b"TYPE", key])[1..])
            .trim_end()
            .to_owned();
        let value = match kind.as_str() {
            "string" => strings(&client.command(&[b"GET", key])),
            "set" => sorted(strings(&client.command(&[b"SMEMBERS", key]))),
            "hash" => {
                let all = strings(&client.command(&[b"HGETALL", key]));
                sorted(all.chunks(2).map(|pair| pair.join(&b"\0="[..])).collect())
            }
            "zset" => vec![client.command(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"])],
            "list" => strings(&client.command(&[b"LRANGE", key, b"0", b"-1"])),
            _ => Vec::new(),
        };
        let deadline = client.command(&[b"PEXPIRETIME", key]);
        let deadline = String::from_utf8_lossy(&deadline[1..]).trim_end().parse();
        Held {
            kind,
            value,
            deadline: deadline.expect("a number"),
        }
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Held) -> bool {
        let near = self.deadline.abs_diff(other.deadline) < TOLERANCE;
        let forever = self.deadline < 0 && other.deadline < 0;
        self.kind == other.kind
            && self.value == other.value
            && (forever || near && (self.deadline < 0) == (other.deadline < 0))
    }
}

/// Every key of the selected database.
pub fn everything(client: &mut Client) -> Vec<(Vec<u8>, Held)> {
    let keys = sorted(strings(&client.text("KEYS *")));
    keys.into_iter()
        .map(|key| {
            let held = Held::by(client, &key);
            (key, held)
        })
        .collect()
}

fn sorted(mut all: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    all.sort();
    all
}
