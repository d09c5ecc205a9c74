//! Disks that hang or are full: what is not on them is not acknowledged, and clients get what the plain server gives them.

use std::thread;
use std::time::{Duration, Instant};

use redis_geo::lab::regions::Regions;
use redis_geo::lab::shim::Shim;
use redis_geo::lab::wait_for;

use crate::pair::{PATIENCE, agree, await_counter, await_settled, info, run, shimmed_pair, try_run, unsettled, write};

/// How a disk that hangs goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Released,
    /// What was not synced is gone.
    PowerCut,
}

fn end(regions: &mut Regions, shim: &Shim, end: End) {
    if end == End::PowerCut {
        cut_power(regions, shim);
    }
    shim.release_syncs().unwrap();
    if end == End::PowerCut {
        regions.server("eu").restart().unwrap();
    }
}

fn cut_power(regions: &mut Regions, shim: &Shim) {
    let server = regions.server("eu");
    server.kill();
    shim.cut_power(server.directory()).unwrap();
}

/// eu with this `appendfsync`, settled, whose fsyncs hang from now on.
fn hanging(fsync: &str) -> (Regions, Shim) {
    let (regions, shim) = shimmed_pair(&["appendonly yes", &format!("appendfsync {fsync}")]);
    write(&regions, 0);
    at_rest(&regions);
    shim.hold_syncs().unwrap();
    (regions, shim)
}

/// eu and us agree, and eu writes nothing down of its own: what it has settled it notes a heartbeat later.
fn at_rest(regions: &Regions) {
    const HEARTBEATS: Duration = Duration::from_millis(2500);
    agree(regions, 20);
    await_settled(regions, "us", "eu");
    await_settled(regions, "eu", "us");
    let mut last = (String::new(), Instant::now());
    wait_for("eu's file to stay as it is", PATIENCE, || {
        let size = info(regions, "eu", "aof_current_size");
        if size != last.0 {
            last = (size, Instant::now());
        }
        (last.1.elapsed() > HEARTBEATS).then_some(())
    })
    .unwrap();
}

fn await_held(shim: &Shim) {
    wait_for("an fsync to hang", PATIENCE, || {
        shim.holds_a_sync().unwrap().then_some(())
    })
    .unwrap();
}

/// The server itself waits: for its clients as for its peers.
#[test]
fn a_disk_that_hangs_under_appendfsync_always() {
    for how in [End::Released, End::PowerCut] {
        let (mut regions, shim) = hanging("always");
        let mut client = regions.connect("eu").unwrap();
        let client = thread::spawn(move || redis::cmd("GEO.INCRBY").arg("counter").arg(5).query::<i64>(&mut client));
        await_held(&shim);
        // Peers may know before the disk does.
        await_counter(&regions, "us", 25);
        run::<()>(&regions, "us", "GEO.INCRBY counter 10");
        wait_for("us to see that eu lags", PATIENCE, || {
            let eu = regions.status("us").ok()?.peer("eu")?;
            (eu.number("lag_ms") > Some(2_000) && eu.number("unsettled_operations") > Some(0)).then_some(())
        })
        .unwrap();
        assert!(
            !client.is_finished(),
            "a client was answered before its write was on disk"
        );
        end(&mut regions, &shim, how);
        let answer = client.join().unwrap();
        match how {
            End::Released => assert_eq!(answer.unwrap(), 25),
            End::PowerCut => assert!(answer.is_err()),
        }
        agree(&regions, 35);
        await_settled(&regions, "us", "eu");
    }
}

#[test]
fn a_disk_that_hangs_under_appendfsync_everysec() {
    for how in [End::Released, End::PowerCut] {
        let (mut regions, shim) = hanging("everysec");
        assert_eq!(run::<i64>(&regions, "eu", "GEO.INCRBY counter 5"), 25, "clients go on");
        await_held(&shim);
        run::<()>(&regions, "us", "GEO.INCRBY counter 10");
        await_counter(&regions, "eu", 35);
        // Long after a round would be over.
        wait_for("eu to say what is not on disk", PATIENCE, || {
            (regions.status("eu").ok()?.number("unconfirmed_ms") > Some(5_000)).then_some(())
        })
        .unwrap();
        assert!(
            unsettled(&regions, "us", "eu") > Some(0),
            "acknowledged what is not on disk"
        );
        assert_eq!(run::<i64>(&regions, "eu", "GEO.INCRBY counter 5"), 40, "clients go on");
        await_counter(&regions, "us", 40);
        end(&mut regions, &shim, how);
        agree(&regions, 40);
        await_settled(&regions, "us", "eu");
    }
}

/// Room for a part of a command.
const ROOM: u32 = 7;

/// Fills eu's disk and waits until the server knows.
fn fill_disk(regions: &Regions, shim: &Shim) {
    shim.fill_disk(ROOM).unwrap();
    // The write that finds out is answered: with `everysec` a reply does not wait for the disk.
    assert_eq!(run::<i64>(regions, "eu", "GEO.INCRBY counter 5"), 25);
    wait_for("the server to notice", PATIENCE, || {
        (info(regions, "eu", "aof_last_write_status") == "err").then_some(())
    })
    .unwrap();
}

/// Client writes are refused as the server refuses its own, and nothing is issued.
fn refused(regions: &Regions) {
    let issued = || regions.status("eu").unwrap().number("operations_issued");
    let before = issued();
    let native = try_run::<()>(regions, "eu", "SET native 1").unwrap_err().to_string();
    assert!(native.contains("MISCONF"), "{native}");
    for line in ["GEO.INCRBY counter 1", "GEO.SADD set x", "GEO.DEL counter"] {
        let error = try_run::<()>(regions, "eu", line).unwrap_err().to_string();
        assert_eq!(error, native, "{line}");
    }
    let mut connection = regions.connect("eu").unwrap();
    let script = redis::cmd("EVAL")
        .arg("return redis.call('GEO.INCRBY', 'counter', 1)")
        .arg(0)
        .query::<i64>(&mut connection);
    assert!(script.unwrap_err().to_string().contains("MISCONF"));
    let unit = redis::pipe()
        .atomic()
        .cmd("GEO.INCRBY")
        .arg("counter")
        .arg(1)
        .query::<()>(&mut connection);
    assert!(unit.unwrap_err().to_string().contains("MISCONF"));
    assert_eq!(issued(), before, "something was issued");
}

fn writable(regions: &Regions, expected: i64) {
    wait_for("eu to take writes again", PATIENCE, || {
        try_run::<i64>(regions, "eu", "GEO.INCRBY counter 5").ok()
    })
    .map(|counter| assert_eq!(counter, expected))
    .unwrap();
}

#[test]
fn a_full_disk_that_gets_room_again() {
    for how in [End::Released, End::PowerCut] {
        let (mut regions, shim) = shimmed_pair(&["appendonly yes", "appendfsync everysec"]);
        write(&regions, 0);
        at_rest(&regions);
        fill_disk(&regions, &shim);
        refused(&regions);
        // Changes of peers are applied, and not acknowledged.
        run::<()>(&regions, "us", "GEO.INCRBY counter 10");
        await_counter(&regions, "eu", 35);
        wait_for("eu to say that its disk fails", PATIENCE, || {
            let status = regions.status("eu").ok()?;
            (status.text("durability") == "unavailable" && status.number("unconfirmed_ms") > Some(3_000)).then_some(())
        })
        .unwrap();
        assert!(
            unsettled(&regions, "us", "eu") > Some(0),
            "acknowledged what is not on disk"
        );
        assert!(
            regions
                .server("eu")
                .log()
                .contains("the append-only file cannot be written")
        );
        if how == End::PowerCut {
            cut_power(&mut regions, &shim);
        }
        shim.empty_disk().unwrap();
        if how == End::PowerCut {
            regions.server("eu").restart().unwrap();
            agree(&regions, 35);
        }
        writable(&regions, 40);
        agree(&regions, 40);
        await_settled(&regions, "us", "eu");
        wait_for("eu to be well", PATIENCE, || {
            (regions.status("eu").ok()?.text("durability") == "disk").then_some(())
        })
        .unwrap();
        // All of it is in the file.
        cut_power(&mut regions, &shim);
        regions.server("eu").restart().unwrap();
        agree(&regions, 40);
    }
}

/// What peers send does not fill the memory of a server that cannot write it down.
#[test]
fn what_waits_for_a_full_disk_is_bounded() {
    const VALUE: usize = 1 << 20;
    let (mut regions, shim) = shimmed_pair(&["appendonly yes", "appendfsync everysec"]);
    write(&regions, 0);
    at_rest(&regions);
    fill_disk(&regions, &shim);
    // The module looks from time to time: what comes before it has noticed is not counted.
    wait_for("eu's module to notice", PATIENCE, || {
        (regions.status("eu").ok()?.text("durability") == "unavailable").then_some(())
    })
    .unwrap();
    let mut us = regions.connect("us").unwrap();
    let value = vec![b'v'; VALUE];
    for at in 0..150 {
        redis::cmd("SET")
            .arg(format!("big-{at}"))
            .arg(&value)
            .query::<()>(&mut us)
            .unwrap();
    }
    wait_for("eu to wait for its disk", PATIENCE, || {
        (regions.status("eu").ok()?.text("remote_changes") == "paused").then_some(())
    })
    .unwrap();
    let waiting: usize = info(&regions, "eu", "aof_buffer_length").parse().unwrap();
    assert!(waiting < 130 * VALUE, "{waiting} bytes wait");
    assert!(regions.server("eu").log().contains("Make room on the disk"));
    shim.empty_disk().unwrap();
    wait_for("eu to have everything", PATIENCE, || {
        (run::<i64>(&regions, "eu", "EXISTS big-149") == 1).then_some(())
    })
    .unwrap();
    regions.await_equal(PATIENCE).unwrap();
    await_settled(&regions, "us", "eu");
}

/// With `always` the server ends rather than to answer for what is not on disk.
#[test]
fn a_full_disk_ends_a_server_that_always_syncs() {
    for region in ["eu", "us"] {
        let (mut regions, shim) = shimmed_pair(&["appendonly yes", "appendfsync always"]);
        write(&regions, 0);
        at_rest(&regions);
        shim.fill_disk(ROOM).unwrap();
        let answer = try_run::<i64>(&regions, region, "GEO.INCRBY counter 5");
        assert_eq!(answer.is_ok(), region == "us", "eu must not answer: {answer:?}");
        regions.server("eu").await_end().unwrap();
        assert!(
            regions
                .server("eu")
                .log()
                .contains("Can't recover from AOF write error")
        );
        shim.empty_disk().unwrap();
        regions.server("eu").restart().unwrap();
        regions.await_links(PATIENCE).unwrap();
        regions.await_equal(PATIENCE).unwrap();
        let counter: i64 = run(&regions, "us", "GET counter");
        // What eu's own client was not answered may have reached us, or not.
        assert!(counter == 25 || counter == 20 && region == "eu", "{counter}");
        write(&regions, 1);
        agree(&regions, counter + 20);
    }
}
