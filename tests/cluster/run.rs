//! One run: random commands, deliveries, cuts, sleeps and crashes; then everything is connected, drained and
//! compared with the specification.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use redis_geo::crdt::{Cell, Index, MemoryStore, Number, ScoreRule};
use redis_geo::replication::Engine;

use crate::commands::{Act, SHORT};
use crate::keeping::Keeps;
use crate::spec::{Key, Shown, Spec, deadlines, shown};
use crate::world::{Node, World};

#[derive(Clone, Debug)]
pub struct Options {
    pub regions: usize,
    pub hub: bool,
    pub crashes: bool,
    pub skewed: bool,
    pub types: bool,
    /// Keys expire.
    pub expiry: bool,
    /// They do so while an engine works, too.
    pub passes: bool,
    pub steps: usize,
    /// What each region keeps, in turn.
    pub keeps: &'static [Keeps],
    /// In-region replicas come and take over.
    pub replicas: bool,
    /// A restart may find an old backup that pretends to be current.
    pub backups: bool,
    /// Servers evict keys, each for itself.
    pub evictions: bool,
    /// Servers are short of memory for a while.
    pub pauses: bool,
    /// How likely a region has data when it first starts.
    pub data: f64,
    /// Such data is its own: it is merged with the cluster's.
    pub brings: bool,
    /// How likely a client changes the keyspace behind the engine's back.
    pub roads: f64,
    /// Strings are HyperLogLogs, most of them.
    pub sketches: bool,
    /// All keys are flushed or purged now and then.
    pub sweeps: bool,
    /// How likely a command is a `RENAME`. (Keys that have a type of their own keep it otherwise.)
    pub renames: f64,
    pub scores: ScoreRule,
}

const NOTHING: &[Keeps] = &[Keeps::Nothing];
const KEEPING: [&[Keeps]; 5] = [
    NOTHING,
    &[Keeps::Log],
    &[Keeps::Snapshots],
    &[Keeps::Log, Keeps::Snapshots, Keeps::Nothing],
    &[Keeps::Snapshots, Keeps::Nothing],
];

impl Options {
    /// Features rotate over seeds.
    pub fn of_seed(seed: u64) -> Options {
        Options {
            regions: [3, 2, 3, 4, 3, 5, 2, 4][(seed % 8) as usize],
            hub: seed % 5 == 3,
            crashes: seed % 3 != 1,
            skewed: seed % 7 == 2,
            types: seed.is_multiple_of(2),
            expiry: (seed / 4).is_multiple_of(2),
            passes: false,
            steps: 900,
            keeps: KEEPING[(seed / 2 % 5) as usize],
            replicas: seed % 9 < 3,
            backups: seed % 10 == 3,
            evictions: matches!(seed % 11, 0 | 3 | 4),
            pauses: matches!(seed % 11, 1 | 4 | 10),
            data: if seed % 4 == 1 { 0.7 } else { 0.0 },
            brings: false,
            roads: 0.0,
            sketches: matches!(seed % 13, 2 | 5 | 11),
            sweeps: seed % 7 < 3,
            renames: 0.0,
            scores: ScoreRule::ALL[(seed / 3 % 3) as usize],
        }
    }
}

/// What went wrong, in words.
pub fn run(seed: u64, options: &Options, trace: bool) -> Result<(), String> {
    let mut world = World::new(seed, options, trace);
    settle(&mut world, 400);
    for _ in 0..options.steps {
        random_step(&mut world, options);
        world.mishap.take().map_or(Ok(()), Err)?;
    }
    world.say(|| "healing".into());
    if trace {
        println!("{} landings compared", world.checked);
    }
    for node in &mut world.nodes {
        node.asleep = 0;
    }
    // A word that takes as long as the wait would tell as little of a clock that is wrong.
    for _ in 0..100 {
        world.now += 10;
        while (0..world.pipes.len()).any(|pipe| world.deliver(pipe, 0) || world.deliver(pipe, 1)) {}
    }
    // Nothing expires while results are compared.
    world.passes = None;
    world.now += SHORT;
    if !settle(&mut world, 3000) {
        return Err(describe(&mut world, "the cluster does not come to rest"));
    }
    check(&mut world)?;
    outlive(&mut world)
}

/// After every deadline has passed, nothing is left that had one.
fn outlive(world: &mut World) -> Result<(), String> {
    world.now += 1_000_000_000;
    if !settle(world, 3000) {
        return Err(describe(
            world,
            "the cluster does not come to rest when its keys have expired",
        ));
    }
    let immortal = world.nodes.iter().any(|node| !deadlines(&node.store).is_empty());
    if immortal {
        return Err(describe(world, "something outlives its deadline"));
    }
    check(world)
}

fn random_step(world: &mut World, options: &Options) {
    world.now += world.rng.random_range(0..6);
    let node = world.rng.random_range(0..world.nodes.len());
    let pair = world.pairs[world.rng.random_range(0..world.pairs.len())];
    match world.rng.random_range(0..1000) {
        0..220 => {
            for _ in 0..world.rng.random_range(1..4) {
                command(world, node, options);
            }
        }
        220..560 => {
            let (pipe, direction) = (
                world.rng.random_range(0..world.pipes.len().max(1)),
                world.rng.random_range(0..2),
            );
            let frames = world.rng.random_range(1..12);
            let _ = (0..frames).take_while(|_| world.deliver(pipe, direction)).count();
        }
        560..870 => {
            let steps = world.rng.random_range(1..6);
            let _ = (0..steps).take_while(|_| world.step(node)).count();
        }
        870..960 => world.connect(pair.0, pair.1),
        960..970 => {
            let pipe = world.rng.random_range(0..world.pipes.len().max(1));
            world.cut(pipe);
        }
        970..976 => world.nodes[node].asleep = world.now + world.rng.random_range(10..400),
        976..982 => drop(settle(world, 40)),
        // What goes wrong now may be overwritten later.
        982..987 if settle(world, 600) && differ(world) => {
            world.mishap = Some(describe(world, "regions differ"));
        }
        982..987 => {}
        987..991 if options.crashes => world.crash(node),
        991..992 if options.crashes => {
            for at in 0..world.nodes.len() {
                if world.rng.random_bool(0.4) {
                    world.crash(at);
                }
            }
        }
        992..994 => world.save(node),
        994..996 => world.sync(node),
        996..998 if options.replicas => world.attach(node),
        998..1000 if options.replicas => world.fail_over(node),
        _ => {}
    }
    if world.rng.random_bool(0.2) {
        world.sync(node);
    }
    if options.evictions && world.rng.random_bool(0.03) {
        world.evict(node);
    }
    if options.pauses && world.rng.random_bool(0.02) {
        let room = world.rng.random_bool(0.5);
        world.nodes[node].engine.set_room(room);
    }
    if options.sweeps && world.rng.random_bool(0.02) {
        match world.rng.random_bool(0.3) {
            true => world.flush_all(node),
            false => world.begin_purge(node),
        }
    }
    let some = world.rng.random_range(0..4);
    world.follow(node, some);
}

/// Connects everything and lets time pass; true when the cluster came to rest.
pub fn settle(world: &mut World, rounds: usize) -> bool {
    let mut quiet = 0;
    for node in &mut world.nodes {
        node.engine.set_room(true);
    }
    for _ in 0..rounds {
        if world.mishap.is_some() {
            return false;
        }
        world.now += 10;
        for (a, b) in world.pairs.clone() {
            world.connect(a, b);
        }
        let mut busy = false;
        for pipe in 0..world.pipes.len() {
            for direction in 0..2 {
                while world.deliver(pipe, direction) {
                    busy = true;
                }
            }
        }
        for node in 0..world.nodes.len() {
            world.sync(node);
            world.follow(node, usize::MAX);
            for _ in 0..50 {
                if !world.step(node) {
                    break;
                }
                busy = true;
            }
        }
        // Headers never end; rest is when they change nothing for several heartbeats.
        quiet = if is_settled(world) { quiet + 1 } else { 0 };
        let clean = |world: &mut World| world.nodes.iter_mut().all(|node| leftover(&mut node.engine).is_none());
        if quiet > 60 && !busy && (quiet > 400 || clean(world)) {
            return true;
        }
    }
    quiet > 0
}

fn is_settled(world: &mut World) -> bool {
    let first = world.seen(0);
    let wanted = world.nodes.iter().any(|node| node.engine.status().wanted_keys > 0);
    !wanted && world.all_active() && (0..world.nodes.len()).all(|at| world.seen(at) == first)
}

fn command(world: &mut World, node: usize, options: &Options) {
    if options.renames > 0.0 && world.rng.random_bool(options.renames) {
        return world.rename(node);
    }
    let act = Act::random(world, options);
    let captured = options.roads > 0.0 && world.rng.random_bool(options.roads);
    world.command(node, &act, captured);
}

fn differ(world: &World) -> bool {
    common(world).is_err()
}

/// What the regions hold, which must be the same where it is not evicted; and keys that all have evicted.
fn common(world: &World) -> Result<(BTreeMap<Key, Shown>, BTreeSet<Key>), String> {
    let data: Vec<BTreeMap<Key, Shown>> = world.nodes.iter().map(|node| shown(&node.store)).collect();
    let mut held = BTreeMap::new();
    let mut gone = BTreeSet::new();
    for at in 0..world.keys {
        let key: Key = (0, vec![b'k', b'0' + at]);
        let mut values = world.nodes.iter().zip(&data).filter(|(node, _)| !node.lacks(&key));
        let absent = |(node, data): (&Node, &BTreeMap<Key, Shown>)| node.lacks(&key) && data.contains_key(&key);
        if world.nodes.iter().zip(&data).any(absent) {
            return Err(format!("{key:?} is evicted and there"));
        }
        let Some((_, first)) = values.next() else {
            gone.insert(key);
            continue;
        };
        if values.any(|(_, other)| other.get(&key) != first.get(&key)) {
            return Err("regions differ".into());
        }
        first.get(&key).map(|value| held.insert(key, value.clone()));
    }
    match world.deadlines_differ() {
        true => Err("deadlines differ".into()),
        false => Ok((held, gone)),
    }
}

/// All that hold a key hold the same, and that is what the specification says.
fn agree(world: &mut World) -> Result<(), String> {
    let (held, gone) = match common(world) {
        Ok(found) => found,
        Err(why) => return Err(describe(world, &why)),
    };
    let histories = world
        .nodes
        .iter_mut()
        .map(|node| node.engine.state().history.cells.clone())
        .collect::<Vec<_>>();
    let mut spec = Spec::of(world.issued.iter(), &histories, world.scores).data;
    spec.retain(|key, _| !gone.contains(key));
    if held != spec {
        let expected = format!("the data is not what happened; expected {spec:?}");
        return Err(describe(world, &expected));
    }
    Ok(())
}

fn check(world: &mut World) -> Result<(), String> {
    agree(world)?;
    // What was evicted must come back as it is elsewhere.
    if world.nodes.iter().any(|node| node.engine.status().evicted_keys > 0) {
        for node in &mut world.nodes {
            node.engine.want_evicted();
        }
        if !settle(world, 3000) {
            return Err(describe(world, "what was evicted does not come back"));
        }
        if world.nodes.iter().any(|node| node.engine.status().evicted_keys > 0) {
            return Err(describe(world, "something stays evicted"));
        }
        agree(world)?;
    }
    let histories = world
        .nodes
        .iter_mut()
        .map(|node| node.engine.state().history.cells.clone())
        .collect::<Vec<_>>();
    let spec = Spec::of(world.issued.iter(), &histories, world.scores);
    if !world.skewed && deadlines(&world.nodes[0].store) != spec.deadlines {
        let expected = format!("the deadlines are not what happened; expected {:?}", spec.deadlines);
        return Err(describe(world, &expected));
    }
    let extensions = world.extensions_in_force();
    if let Some(lost) = spec.lost_extension(&world.issued, &histories, extensions.iter()) {
        return Err(describe(world, &format!("an accepted extension is lost: {lost}")));
    }
    let seen = world.seen(0);
    if let Some(lost) = spec.lost(&world.issued, &histories, &seen) {
        return Err(describe(
            world,
            &format!("covered by every vector, yet not included: {lost}"),
        ));
    }
    let promised = world.promised.clone();
    if let Some(lost) = spec
        .lost(&world.issued, &histories, &promised)
        .filter(|_| world.restored == 0)
    {
        return Err(describe(world, &format!("promised, and lost: {lost}")));
    }
    // Primaries tell now and then what they compacted by.
    settle(world, 60);
    for at in 0..world.nodes.len() {
        if let Some(what) = strays(world, at) {
            return Err(describe(
                world,
                &format!("the replica of {} differs: {what}", crate::world::NAMES[at]),
            ));
        }
    }
    if world.forced > world.restored {
        return Err(describe(
            world,
            "a region was forced to adopt although nobody lost anything it had acknowledged",
        ));
    }
    for at in 0..world.nodes.len() {
        if let Some(left) = leftover(&mut world.nodes[at].engine) {
            return Err(describe(
                world,
                &format!("metadata left at {}: {left}", crate::world::NAMES[at]),
            ));
        }
    }
    Ok(())
}

/// In what an in-region replica differs from its primary, once it has followed.
fn strays(world: &mut World, at: usize) -> Option<String> {
    let node = &mut world.nodes[at];
    let mut replica = node.replica.take()?;
    replica.follow(usize::MAX);
    while replica.region.settle(1000, &mut replica.store) {}
    let (theirs, ours) = (cells(replica.region.index()), cells(node.engine.state().index()));
    let (data, shows) = (&replica.store, &node.store);
    let only = |a: &BTreeMap<String, String>, b: &BTreeMap<String, String>| {
        let differs = |(name, cell): &(&String, &String)| b.get(*name) != Some(*cell);
        a.iter()
            .filter(differs)
            .map(|(name, cell)| format!("\n    {name} {cell}"))
            .collect::<String>()
    };
    let difference = || {
        format!(
            "{data:?}{} instead of {shows:?}{}",
            only(&theirs, &ours),
            only(&ours, &theirs)
        )
    };
    let strays = (theirs != ours || data != shows).then(difference);
    node.replica = Some(replica);
    strays
}

/// Every cell of an index, in order.
fn cells(index: &Index) -> BTreeMap<String, String> {
    let mut next = 0;
    let mut found = BTreeMap::new();
    while let Some(key) = index.next_key(next) {
        next = key + 1;
        for id in index.cells_of(key) {
            let node = index.node(id);
            let name = format!("{:?} {:?}", index.key(key).key(), node.element());
            found.insert(name, format!("{:?}", without_old_resets(index.cell(id))));
        }
    }
    found
}

/// A reset from before a contribution's birth says nothing. A primary may have forgotten it when its replica has not.
fn without_old_resets(cell: &Cell) -> Cell {
    let mut plain = cell.clone();
    plain.retain_contributions(|_, _| false);
    for (replica, contribution) in cell.contributions() {
        let mut contribution = contribution.clone();
        if contribution.reset_hlc < contribution.birth {
            (contribution.reset_hlc, contribution.reset_total) = (0, Number::ZERO);
        }
        plain.merge_contribution(*replica, contribution);
    }
    plain
}

/// Metadata other than live counter contributions.
fn leftover(engine: &mut Engine) -> Option<String> {
    let index = engine.state().index();
    let mut next = 0;
    while let Some(key) = index.next_key(next) {
        next = key + 1;
        if !index.key(key).clears().is_empty() {
            return Some(format!(
                "pending clear on {:?} {:?}",
                index.key(key).key(),
                index.key(key).clears()
            ));
        }
        for id in index.cells_of(key) {
            let cell = index.cell(id);
            let counts = !cell.contributions().is_empty() && cell.contributions().iter().all(|(_, c)| c.alive());
            if !cell.touched.is_empty() || !cell.named().is_empty() || !counts {
                return Some(format!("{:?} {cell:?}", index.node(id).element()));
            }
        }
    }
    None
}

/// A region's data and index, for traces.
pub fn dump(store: &MemoryStore, engine: &mut Engine) -> String {
    let mut text = format!("{:?} {:?}", shown(store), deadlines(store));
    let index = engine.state().index();
    let mut next = 0;
    while let Some(key) = index.next_key(next) {
        next = key + 1;
        text += &format!("\n            {:?} {:?}", index.key(key).key(), index.key(key).clears());
        for id in index.cells_of(key) {
            text += &format!("\n              {:?} {:?}", index.node(id).element(), index.cell(id));
        }
    }
    brief(&text)
}

fn describe(world: &mut World, what: &str) -> String {
    let mut text = format!("at {}: {what}", world.now);
    text.extend(world.mishap.iter().map(|mishap| format!(": {mishap}")));
    for at in 0..world.nodes.len() {
        let seen = world.seen(at);
        let node = &world.nodes[at];
        let status = node.engine.status();
        text += &format!("\n  {} {:?} {} seen {seen:?}", node.name, status.state, status.detail);
        text += &format!("\n     data {:?} {:?}", shown(&node.store), deadlines(&node.store));
        text += &format!("\n     stable {}", node.engine.stability());
        for peer in status.peers {
            text += &format!(
                "\n     peer {} {} {} transfer {} queue {}",
                peer.region, peer.state, peer.reason, peer.transfer, peer.queue_bytes
            );
        }
    }
    brief(&text)
}

/// A text without most of the zeros that HyperLogLogs are made of.
pub fn brief(text: &str) -> String {
    text.replace(&", 0".repeat(64), "")
}
