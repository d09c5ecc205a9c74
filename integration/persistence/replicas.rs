//! In-region replicas: what they follow, and what a promoted one goes on from.

use crate::plain::{Server, until};
use crate::state::{LONELY, active, info, lonely, ok, same, shown, state, status, write};

pub fn replica_of(primary: &Server, arguments: &[&str]) -> Server {
    let port = primary.port.to_string();
    let replica = Server::start(&[&["--replicaof", "127.0.0.1", &port], arguments].concat(), &LONELY);
    until("the replica is in sync", || {
        (info(&replica, "master_link_status") == "up").then_some(())
    });
    replica
}

/// Waits until a replica has applied all that its primary has sent so far.
pub fn caught_up(primary: &Server, replica: &Server) {
    let sent: u64 = info(primary, "master_repl_offset").parse().unwrap();
    until("the replica has caught up", || {
        let offset: u64 = info(replica, "slave_repl_offset").parse().unwrap_or(0);
        (info(replica, "master_link_status") == "up" && offset >= sent).then_some(())
    });
}

/// Makes a replica a primary and asserts that it holds what its primary held.
fn promote(primary: &Server, replica: &Server) {
    caught_up(primary, replica);
    let expected = state(&mut primary.client());
    assert_eq!(status(replica, "state"), "replica");
    ok(&mut replica.client(), "REPLICAOF NO ONE");
    until("the site is open", || {
        (!status(replica, "replica").is_empty()).then_some(())
    });
    same(&expected, &state(&mut replica.client()));
}

#[test]
fn a_replica_follows_from_every_kind_of_full_synchronization() {
    for (diskless, load) in [
        ("no", "disabled"),
        ("yes", "disabled"),
        ("yes", "on-empty-db"),
        ("yes", "swapdb"),
    ] {
        let server = lonely(&["--repl-diskless-sync", diskless, "--repl-diskless-sync-delay", "0"]);
        let mut client = server.client();
        write(&mut client);
        let replica = replica_of(&server, &["--repl-diskless-load", load]);
        write(&mut client);
        promote(&server, &replica);
    }
}

#[test]
fn writes_during_the_synchronization_come_after_it() {
    let server = lonely(&["--repl-diskless-sync-delay", "0"]);
    let mut client = server.client();
    write(&mut client);
    let replica = Server::start(&[], &LONELY);
    ok(&mut replica.client(), &format!("REPLICAOF 127.0.0.1 {}", server.port));
    let mut count = 0;
    until("the replica is in sync", || {
        count += 1;
        ok(&mut client, &format!("GEO.SADD during {count}"));
        ok(&mut client, "GEO.INCR counted");
        (info(&replica, "master_link_status") == "up").then_some(())
    });
    promote(&server, &replica);
}

#[test]
fn a_chain_of_replicas_follows() {
    let server = lonely(&["--repl-diskless-sync-delay", "0"]);
    let middle = replica_of(&server, &["--repl-diskless-sync-delay", "0"]);
    let last = replica_of(&middle, &[]);
    write(&mut server.client());
    caught_up(&server, &middle);
    promote(&server, &last);
}

#[test]
fn a_short_break_is_caught_up_from_the_backlog() {
    let server = lonely(&["--repl-diskless-sync-delay", "0"]);
    let replica = replica_of(&server, &[]);
    let mut client = server.client();
    for _ in 0..3 {
        ok(&mut client, "CLIENT KILL TYPE replica");
        write(&mut client);
        caught_up(&server, &replica);
    }
    assert_eq!(info(&server, "sync_full"), "1");
    assert_ne!(info(&server, "sync_partial_ok"), "0");
    promote(&server, &replica);
}

#[test]
fn a_replica_takes_no_writes_and_nobody_elses_log() {
    let server = lonely(&["--repl-diskless-sync-delay", "0"]);
    let replica = replica_of(&server, &["--replica-read-only", "no"]);
    let mut client = replica.client();
    assert!(client.text("GEO.SET k v").starts_with(b"-READONLY"));
    for line in ["GEO.APPLY x", "GEO.STATE primary x"] {
        assert!(client.text(line).starts_with(b"-ERR GEO."), "{line}");
        assert!(server.client().text(line).starts_with(b"-ERR GEO."), "{line}");
    }
    ok(&mut client, "CONFIG SET replica-read-only yes");
    assert!(client.text("GEO.SET k v").starts_with(b"-READONLY"));
    assert!(
        status(&replica, "follows").starts_with("eu."),
        "{}",
        status(&replica, "follows")
    );
    assert_eq!(status(&replica, "listen"), "");
}

#[test]
fn a_failover_and_the_way_back() {
    let first = lonely(&["--repl-diskless-sync-delay", "0"]);
    let second = replica_of(&first, &["--repl-diskless-sync-delay", "0"]);
    write(&mut first.client());
    caught_up(&first, &second);
    let before = state(&mut first.client());
    let mut servers = [&first, &second];
    for round in 0..4 {
        let [old, new] = servers;
        ok(&mut old.client(), &format!("FAILOVER TO 127.0.0.1 {}", new.port));
        until("the roles are swapped", || {
            let swapped = info(new, "role") == "master"
                && info(old, "role") == "slave"
                && info(old, "master_link_status") == "up";
            swapped.then_some(())
        });
        if round == 0 {
            same(&before, &state(&mut new.client()));
        }
        recover(new);
        let mut client = new.client();
        write(&mut client);
        ok(&mut client, &format!("GEO.SET round {round}"));
        caught_up(new, old);
        servers = [new, old];
    }
    let full = [&first, &second].map(|server| info(server, "sync_full"));
    assert_eq!(full, ["1", "0"], "all but the first by partial synchronization");
    promote(servers[0], servers[1]);
}

/// Lets a promoted region go on when it waits for a peer.
fn recover(server: &Server) {
    // It may have gone on by itself by now: then this is refused.
    server.client().text("GEO.RECOVER");
    active(server);
}

#[test]
fn a_confirmed_replica_is_trusted_when_promoted() {
    let server = lonely(&["--repl-diskless-sync-delay", "0"]);
    let replica = replica_of(&server, &[]);
    write(&mut server.client());
    until("a replica has everything", || {
        (status(&server, "durability") == "replica" && status(&server, "unconfirmed_ms") == "0").then_some(())
    });
    promote(&server, &replica);
    active(&replica);
}

#[test]
fn a_replicas_own_file_brings_it_back() {
    let server = lonely(&["--repl-diskless-sync-delay", "0"]);
    let replica = replica_of(&server, &["--appendonly", "yes", "--appendfsync", "always"]);
    write(&mut server.client());
    caught_up(&server, &replica);
    until("its file is complete", || {
        (info(&replica, "aof_rewrite_in_progress") == "0" && info(&replica, "aof_rewrite_scheduled") == "0")
            .then_some(())
    });
    let before = state(&mut server.client());
    drop(server);
    let replica = replica.restart();
    ok(&mut replica.client(), "REPLICAOF NO ONE");
    until("the site is open", || {
        (!status(&replica, "replica").is_empty()).then_some(())
    });
    same(&before, &state(&mut replica.client()));
    assert_eq!(
        status(&replica, "state"),
        "recovering",
        "the file of a server that followed may lack the end: {}",
        shown(&replica.client().text("GEO.STATUS"))
    );
}
