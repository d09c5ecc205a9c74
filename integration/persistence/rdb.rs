//! The region's state in the RDB.

use crate::plain::Server;
use crate::state::{lonely, needs_a_peer, ok, same, state, status, write};

/// A server with an RDB of a region with metadata. Without a checksum, so that damage reaches the module.
fn saved() -> Server {
    let server = lonely(&["--rdbchecksum", "no"]);
    let mut client = server.client();
    write(&mut client);
    ok(&mut client, "SAVE");
    server
}

#[test]
fn an_rdb_carries_the_metadata() {
    let server = saved();
    let before = state(&mut server.client());
    assert!(
        before["0/set"].contains("eu."),
        "nothing to compare: {}",
        before["0/set"]
    );
    let server = server.restart();
    same(&before, &state(&mut server.client()));
    needs_a_peer(&server);
}

#[test]
fn a_forked_save_carries_it_too() {
    let server = lonely(&[]);
    let mut client = server.client();
    write(&mut client);
    ok(&mut client, "BGSAVE");
    let before = state(&mut client);
    crate::plain::until("the save is done", || {
        (crate::state::info(&server, "rdb_bgsave_in_progress") == "0").then_some(())
    });
    ok(&mut client, "GEO.SET later 1");
    same(&before, &state(&mut server.restart().client()));
}

#[test]
fn a_reload_comes_back_under_a_fresh_incarnation() {
    let server = lonely(&["--enable-debug-command", "yes"]);
    let mut client = server.client();
    write(&mut client);
    let (before, replica) = (state(&mut client), status(&server, "replica"));
    ok(&mut client, "DEBUG RELOAD");
    same(&before, &state(&mut client));
    assert_ne!(replica, status(&server, "replica"));
}

/// Where the auxiliary data begins: its opcode, and the identity of the module's type, which ends in its version.
fn place(rdb: &[u8]) -> usize {
    rdb.windows(2)
        .position(|two| two == [0xf7, 0x81])
        .expect("the module's data")
}

fn refusal(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let server = saved();
    let path = server.path("dump.rdb");
    let mut rdb = std::fs::read(&path).unwrap();
    change(&mut rdb);
    std::fs::write(&path, rdb).unwrap();
    server.refuses_to_start()
}

#[test]
fn damaged_metadata_is_refused() {
    let log = refusal(|rdb| {
        let at = place(rdb) + 60;
        rdb[at] ^= 0x10;
    });
    assert!(log.contains("the region's state in the RDB is refused"), "{log}");
}

#[test]
fn metadata_of_a_newer_version_is_refused() {
    let log = refusal(|rdb| {
        let at = place(rdb) + 9;
        rdb[at] += 1;
    });
    assert!(
        log.contains("it has version 2") && log.contains("load a newer redis-geo"),
        "{log}"
    );
}
