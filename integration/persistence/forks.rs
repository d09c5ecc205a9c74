//! Forks that fail, and servers that are killed while a fork saves.

use redis_geo::lab::regions::Regions;
use redis_geo::lab::wait_for;

use crate::pair::{
    PATIENCE, agree, await_counter, await_settled, fill, filled, info, pair, run, shimmed_pair, try_run, write,
};

#[test]
fn a_server_that_cannot_fork() {
    let (regions, shim) = shimmed_pair(&["save 3600 1000000", "appendonly yes", "appendfsync everysec"]);
    write(&regions, 0);
    agree(&regions, 20);
    for (round, error) in (0..).zip([libc::ENOMEM, libc::EAGAIN]) {
        let before = 20 + 20 * round;
        shim.fail_forks(Some(error)).unwrap();
        assert!(try_run::<()>(&regions, "eu", "BGREWRITEAOF").is_err());
        assert!(try_run::<()>(&regions, "eu", "BGSAVE").is_err());
        assert_eq!(info(&regions, "eu", "rdb_last_bgsave_status"), "err");
        assert_eq!(info(&regions, "eu", "aof_last_bgrewrite_status"), "err");
        let issued = || regions.status("eu").unwrap().number("operations_issued");
        let issued_before = issued();
        let native = try_run::<()>(&regions, "eu", "SET native 1").unwrap_err().to_string();
        let ours = try_run::<()>(&regions, "eu", "GEO.INCRBY counter 1")
            .unwrap_err()
            .to_string();
        assert!(ours.contains("MISCONF"), "{ours}");
        assert_eq!(ours, native);
        assert_eq!(issued(), issued_before, "something was issued");
        // The file is complete, so that it counts, also after other settings have changed.
        run::<()>(&regions, "eu", "CONFIG SET maxmemory-samples 7");
        run::<()>(&regions, "us", "GEO.INCRBY counter 10");
        await_counter(&regions, "eu", before + 10);
        await_settled(&regions, "us", "eu");
        let status = regions.status("eu").unwrap();
        assert_eq!((status.text("state"), status.text("durability")), ("active", "disk"));
        shim.fail_forks(None).unwrap();
        run::<()>(&regions, "eu", "BGSAVE");
        wait_for("eu to take writes again", PATIENCE, || {
            try_run::<i64>(&regions, "eu", "GEO.INCRBY counter 10").ok()
        })
        .unwrap();
        agree(&regions, before + 20);
        await_settled(&regions, "eu", "us");
        run::<()>(&regions, "eu", "BGREWRITEAOF");
        wait_for("the rewrite", PATIENCE, || {
            (info(&regions, "eu", "aof_last_bgrewrite_status") == "ok"
                && info(&regions, "eu", "aof_rewrite_in_progress") == "0"
                && info(&regions, "eu", "rdb_bgsave_in_progress") == "0")
                .then_some(())
        })
        .unwrap();
    }
}

const KEYS: usize = 3_000;
/// Microseconds that the saving child takes for each key.
const DELAY: &str = "rdb-key-save-delay 3000";

/// Begins a save and kills the server in the middle of it, after both regions have written.
fn killed_while(regions: &mut Regions, command: &str, progress: &str, round: u32) {
    // The server may have begun one itself, for its file has no base.
    if let Err(error) = try_run::<()>(regions, "eu", command) {
        assert!(error.to_string().contains("already in progress"), "{error}");
    }
    wait_for("the save to begin", PATIENCE, || {
        (info(regions, "eu", progress) == "1").then_some(())
    })
    .unwrap();
    write(regions, round);
    // Without a file, what has not reached a peer is lost.
    await_counter(regions, "us", 20 + 20 * i64::from(round));
    assert_eq!(info(regions, "eu", progress), "1", "the save was over");
    regions.server("eu").kill();
    regions.server("eu").restart().unwrap();
}

#[test]
fn a_server_killed_while_it_saves() {
    let mut regions = pair(&[DELAY]);
    fill(&regions, "eu", "filled", KEYS);
    write(&regions, 0);
    agree(&regions, 20);
    run::<()>(&regions, "eu", "CONFIG SET rdb-key-save-delay 0");
    run::<()>(&regions, "eu", "SAVE");
    run::<()>(&regions, "eu", "CONFIG SET rdb-key-save-delay 3000");
    killed_while(&mut regions, "BGSAVE", "rdb_bgsave_in_progress", 1);
    write(&regions, 2);
    agree(&regions, 60);
    filled(&regions, "filled", KEYS);
}

#[test]
fn a_server_killed_while_it_rewrites_its_file() {
    for preamble in ["yes", "no"] {
        let mut regions = pair(&[
            DELAY,
            "appendonly yes",
            "appendfsync always",
            &format!("aof-use-rdb-preamble {preamble}"),
        ]);
        fill(&regions, "eu", "filled", KEYS);
        write(&regions, 0);
        agree(&regions, 20);
        for round in 1..3 {
            killed_while(&mut regions, "BGREWRITEAOF", "aof_rewrite_in_progress", round);
            agree(&regions, 20 + 20 * i64::from(round));
        }
        write(&regions, 3);
        agree(&regions, 80);
        filled(&regions, "filled", KEYS);
    }
}

/// As in a failover: what a child has inherited must not be in the way.
#[test]
fn a_region_opens_again_while_a_child_saves() {
    let mut regions = pair(&["rdb-key-save-delay 20000"]);
    fill(&regions, "eu", "filled", KEYS);
    write(&regions, 0);
    agree(&regions, 20);
    run::<()>(&regions, "eu", "BGSAVE");
    run::<()>(&regions, "eu", "REPLICAOF 127.0.0.1 1");
    wait_for("the region to close", PATIENCE, || {
        (regions.status("eu").ok()?.text("state") == "replica").then_some(())
    })
    .unwrap();
    run::<()>(&regions, "eu", "REPLICAOF NO ONE");
    agree(&regions, 20);
    assert_eq!(info(&regions, "eu", "rdb_bgsave_in_progress"), "1", "the save was over");
    write(&regions, 1);
    agree(&regions, 40);
    // Ends the child, too.
    regions.server("eu").stop().unwrap();
}
