//! Random commands in two regions: both end with the same data, whatever a command does to its keys.

use redis_geo::lab::wait_for;

use crate::draw::Random;
use crate::held::{Held, everything};
use crate::pair::{line, shown};
use crate::plain::{Client, PATIENCE, Server};
use crate::remote::Regions;

/// Commands between two looks.
const ROUND: u64 = 25;

/// By one region alone, by the other alone, and by both at once; some in transactions. A replica follows.
#[test]
fn random_commands_of_two_regions_converge() {
    let regions = Regions::start(&["--repl-diskless-sync-delay", "0"]);
    let primary = regions.us.port.to_string();
    let replica = Server::start(&["--replicaof", "127.0.0.1", &primary], &["region", "us"]);
    let mut clients = [&regions.eu, &regions.us, &replica].map(Server::client);
    let mut random = Random::new(&mut clients[0], 5_000);
    for round in 0..random.steps / ROUND {
        let mut sent = Vec::new();
        let unit = random.below(4) == 0;
        if unit {
            clients[..2].iter_mut().for_each(|client| drop(client.text("MULTI")));
        }
        for _ in 0..ROUND {
            let which = if round % 4 < 2 {
                round as usize % 4
            } else {
                random.below(2)
            };
            sent.extend(send(&mut random, &mut clients[which], which));
        }
        if unit {
            sent.extend(clients[..2].iter_mut().map(|client| shown(&client.text("EXEC"))));
        }
        converge(&mut clients, &sent);
    }
}

/// A GEO command; what has none is not sent.
fn send(random: &mut Random, client: &mut Client, which: usize) -> Option<String> {
    let mut command = random.command(client);
    if command[0] == b"RPUSH" {
        return None;
    }
    command[0].splice(0..0, *b"GEO.");
    let command: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
    let reply = client.command(&command);
    Some(format!(
        "{} {} -> {}",
        ["eu", "us"][which],
        line(&command),
        shown(&reply)
    ))
}

/// By database and key.
type Data = Vec<(&'static str, Vec<u8>, Held)>;

fn converge(clients: &mut [Client; 3], sent: &[String]) {
    let mut last = None;
    let same = wait_for("the same data everywhere", PATIENCE, || {
        let data = clients.each_mut().map(held);
        let same = data[0] == data[1] && data[1] == data[2];
        last = Some(data);
        same.then_some(())
    });
    if same.is_err() {
        let data = last.expect("data");
        let differences = ["eu", "us", "the replica"].iter().enumerate().map(|(at, name)| {
            let other = &data[if at == 1 { 0 } else { 1 }];
            format!("{name} has\n{}", only(&data[at], other, &mut clients[at]))
        });
        let differences: String = differences.collect();
        panic!("after {sent:#?}\n{differences}");
    }
}

/// What `one` has and `other` has not, and what the client's server knows of it.
fn only(one: &Data, other: &Data, client: &mut Client) -> String {
    let only = one.iter().filter(|held| !other.contains(held));
    let text = |(database, key, held): &(&str, Vec<u8>, Held)| {
        client.text(database);
        let value: Vec<String> = held.value.iter().map(|part| shown(part)).collect();
        let known = shown(&client.command(&[b"GEO.INSPECT", key]));
        let (key, kind, deadline) = (shown(key), &held.kind, held.deadline);
        format!("    {database}: {key} {kind} {value:?} until {deadline}\n    {known}\n")
    };
    only.map(text).collect()
}

/// Of two databases. A small sorted set holds -0 as 0, a great one does not, and that it was great once depends on the
/// order of what came.
fn held(client: &mut Client) -> Data {
    let mut all = Vec::new();
    for database in ["SELECT 1", "SELECT 0"] {
        client.text(database);
        for (key, mut held) in everything(client) {
            held.value = held.value.iter().map(|part| positive(part)).collect();
            all.push((database, key, held));
        }
    }
    all
}

/// With 0 for each score of -0.
fn positive(reply: &[u8]) -> Vec<u8> {
    let text: String = reply.iter().map(|byte| char::from(*byte)).collect();
    let text = text.replace("$2\r\n-0\r\n", "$1\r\n0\r\n");
    text.chars().map(|one| one as u8).collect()
}
