//! Two or three regions that write, forget, and agree again.

use std::fs;
use std::path::Path;
use std::time::Duration;

use redis::FromRedisValue;
use redis_geo::lab::module::built;
use redis_geo::lab::regions::{Regions, Topology};
use redis_geo::lab::shim::{Library, Shim};
use redis_geo::lab::wait_for;

pub const PATIENCE: Duration = Duration::from_secs(60);

/// eu, with these lines in its redis.conf, and us, with all links up.
pub fn pair(lines: &[&str]) -> Regions {
    let mut regions = prepare(&["eu", "us"], lines);
    launch(&mut regions, &["eu", "us"]);
    regions
}

/// The same, and what can happen to the machine that eu runs on.
pub fn shimmed_pair(lines: &[&str]) -> (Regions, Shim) {
    let mut regions = prepare(&["eu", "us"], lines);
    let shim = shim(&mut regions, "eu");
    launch(&mut regions, &["eu", "us"]);
    (regions, shim)
}

/// What can happen to the machine of a region that is not launched yet.
pub fn shim(regions: &mut Regions, region: &str) -> Shim {
    let directory = regions.directory();
    let shim = Shim::new(&Library::build(&directory).unwrap(), &directory, region).unwrap();
    regions.settings(region).environment = shim.environment();
    shim
}

/// Regions that do not run yet, the first one with these lines in its redis.conf; all linked through relays.
pub fn prepare(names: &[&str], lines: &[&str]) -> Regions {
    let mut regions = Regions::prepare(&built(), names, Topology::Mesh, true, 1).unwrap();
    add_lines(&mut regions, names[0], lines);
    regions
}

pub fn add_lines(regions: &mut Regions, region: &str, lines: &[&str]) {
    let lines = lines.iter().map(|line| (*line).to_owned());
    regions.settings(region).lines.extend(lines);
}

pub fn launch(regions: &mut Regions, names: &[&str]) {
    for name in names {
        regions.launch(name).unwrap();
    }
    regions.await_links(PATIENCE).unwrap();
}

pub fn try_run<T: FromRedisValue>(regions: &Regions, region: &str, command: &str) -> redis::RedisResult<T> {
    let mut words = command.split(' ');
    let mut request = redis::cmd(words.next().unwrap_or_default());
    for word in words {
        request.arg(word);
    }
    request.query(&mut regions.connect(region).unwrap())
}

pub fn run<T: FromRedisValue>(regions: &Regions, region: &str, command: &str) -> T {
    try_run(regions, region, command).unwrap_or_else(|error| panic!("{region}> {command}: {error}"))
}

/// One field of a region's `INFO`; empty when there is none.
pub fn info(regions: &Regions, region: &str, field: &str) -> String {
    let text: String = run(regions, region, "INFO everything");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_default().trim_end().to_owned()
}

pub fn write(regions: &Regions, round: u32) {
    for region in ["eu", "us"] {
        run::<()>(regions, region, &format!("GEO.SET {region}-{round} value"));
        run::<()>(regions, region, "GEO.INCRBY counter 10");
        run::<()>(regions, region, &format!("GEO.SADD set {region}-{round}"));
    }
}

/// Writes `count` keys whose names begin with `name` in a region, and their number to a counter of that name.
pub fn fill(regions: &Regions, region: &str, name: &str, count: usize) {
    let mut connection = regions.connect(region).unwrap();
    let mut pipeline = redis::pipe();
    for number in 0..count {
        pipeline
            .cmd("GEO.SET")
            .arg(format!("{name}:{number}"))
            .arg(incompressible(number))
            .ignore();
        pipeline.cmd("GEO.INCR").arg(name).ignore();
    }
    pipeline.query::<()>(&mut connection).unwrap();
}

/// A hundred bytes or so.
fn incompressible(number: usize) -> String {
    let mut state = number as u64;
    let words = (0..6).map(|_| {
        state = (state ^ (state >> 29))
            .wrapping_mul(0xBF58_476D_1CE4_E5B9)
            .wrapping_add(0x9E37_79B9_7F4A_7C15);
        format!("{state:016x}")
    });
    words.collect()
}

/// All that [`fill`] wrote is there, once, in all regions.
pub fn filled(regions: &Regions, name: &str, count: usize) {
    let dump = regions.await_equal(PATIENCE).unwrap();
    let prefix = format!("{name}:");
    let keys = dump.0.keys().filter(|key| key.starts_with(prefix.as_bytes())).count();
    assert_eq!(keys, count, "keys of {name}");
    assert_eq!(run::<usize>(regions, "us", &format!("GET {name}")), count, "{name}");
}

pub fn await_counter(regions: &Regions, region: &str, expected: i64) {
    wait_for(&format!("{region} to count {expected}"), PATIENCE, || {
        (run::<Option<i64>>(regions, region, "GET counter") == Some(expected)).then_some(())
    })
    .unwrap();
}

/// Waits until the regions are equal, and every increment counts once.
pub fn agree(regions: &Regions, counter: i64) {
    regions.await_links(PATIENCE).unwrap();
    await_counter(regions, "eu", counter);
    regions.await_equal(PATIENCE).unwrap();
    await_counter(regions, "us", counter);
    assert_eq!(
        run::<i64>(regions, "eu", "GET counter"),
        counter,
        "every increment once"
    );
}

/// Operations of `region` that `peer` has not acknowledged.
pub fn unsettled(regions: &Regions, region: &str, peer: &str) -> Option<i64> {
    regions.status(region).ok()?.peer(peer)?.number("unsettled_operations")
}

pub fn await_settled(regions: &Regions, region: &str, peer: &str) {
    wait_for(&format!("{peer} to acknowledge all of {region}"), PATIENCE, || {
        (unsettled(regions, region, peer) == Some(0)).then_some(())
    })
    .unwrap();
}

pub fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_all(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}
