//! A copy of a region's files is started while the original runs.

use std::collections::BTreeSet;
use std::time::Duration;

use redis_geo::lab::ports;
use redis_geo::lab::regions::Regions;
use redis_geo::lab::server::Server;
use redis_geo::lab::status::Fields;
use redis_geo::lab::wait_for;

use crate::pair::{
    PATIENCE, add_lines, agree, await_counter, await_settled, copy_all, launch, prepare, run, shim, write,
};

const ALWAYS: [&str; 2] = ["appendonly yes", "appendfsync always"];
const AHEAD: Duration = Duration::from_secs(600);
const PEERS: [&str; 2] = ["us", "ap"];

/// Three regions that have moved on since eu was copied, and the copy.
struct Scene {
    regions: Regions,
    clone: Server,
    /// Replica ids that servers of eu have had.
    ids: BTreeSet<String>,
}

impl Scene {
    fn start() -> Scene {
        let mut regions = prepare(&["eu", "us", "ap"], &ALWAYS);
        add_lines(&mut regions, "us", &ALWAYS);
        // Ids count time: servers whose clock was ahead once cannot go by theirs alone.
        let shim = shim(&mut regions, "eu");
        shim.set_clock(AHEAD, Duration::ZERO).unwrap();
        launch(&mut regions, &["eu", "us", "ap"]);
        shim.set_clock(Duration::ZERO, Duration::ZERO).unwrap();
        write(&regions, 0);
        agree(&regions, 20);
        let directory = regions.directory().join("clone");
        copy_all(regions.server("eu").directory(), &directory);
        write(&regions, 1);
        run::<()>(&regions, "us", "GEO.SREM set eu-0");
        agree(&regions, 40);
        for peer in PEERS {
            await_settled(&regions, "eu", peer);
        }
        let mut settings = regions.settings("eu").clone();
        settings.listen = ports::free();
        settings.peers = PEERS
            .map(|peer| (peer.to_owned(), regions.settings(peer).listen))
            .into();
        let mut scene = Scene {
            clone: Server::start(&directory, settings).unwrap(),
            regions,
            ids: BTreeSet::new(),
        };
        scene.note_ids();
        scene
    }

    fn of_clone(&self) -> Option<Fields> {
        Fields::of(&mut self.clone.connect().ok()?).ok()
    }

    fn of_original(&self) -> Option<Fields> {
        self.regions.status("eu").ok()
    }

    /// Both have ids that nobody had before.
    fn note_ids(&mut self) {
        for status in [self.of_clone().unwrap(), self.of_original().unwrap()] {
            let id = status.text("replica").to_owned();
            assert!(self.ids.insert(id.clone()), "{id} is used again");
        }
    }

    fn await_links(&self, server: &str, status: impl Fn() -> Option<Fields>) {
        wait_for(&format!("{server} to be linked"), PATIENCE, || {
            let status = status()?;
            let up = PEERS
                .iter()
                .all(|peer| status.peer(peer).is_some_and(|peer| peer.text("state") == "up"));
            (up && status.text("state") == "active").then_some(())
        })
        .unwrap();
    }

    /// Every region refuses the server, and both sides say why. Gives the server's id, which it may have changed when it
    /// heard of a newer one.
    fn await_refusals(&mut self, server: &str, status: impl Fn(&Scene) -> Option<Fields>) -> String {
        const WHY: &str = "duplicate region name";
        wait_for(&format!("{server} to be refused"), PATIENCE, || {
            let status = status(self)?;
            let refused = PEERS.iter().all(|peer| {
                let peer = status.peer(peer).unwrap_or_default();
                peer.text("state") == "refused" && peer.text("reason").contains(WHY)
            });
            refused.then_some(())
        })
        .unwrap();
        let id = Scene::id(status(self));
        for peer in PEERS {
            let log = self.regions.server(peer).log();
            assert!(
                log.lines().any(|line| line.contains(WHY) && line.contains(&id)),
                "{log}"
            );
        }
        id
    }

    fn on_clone<T: redis::FromRedisValue>(&self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut request = redis::cmd(words.next().unwrap_or_default());
        words.for_each(|word| {
            request.arg(word);
        });
        request.query(&mut self.clone.connect().unwrap()).unwrap()
    }

    fn id(status: Option<Fields>) -> String {
        status.unwrap().text("replica").to_owned()
    }
}

#[test]
fn a_copy_started_beside_the_original_waits_for_its_place() {
    let mut scene = Scene::start();
    scene.await_refusals("the copy", Scene::of_clone);
    scene.on_clone::<()>("GEO.INCRBY counter 1000");
    scene.on_clone::<()>("GEO.SADD set clone");
    // The others and the original go on.
    write(&scene.regions, 2);
    agree(&scene.regions, 60);
    let original = Scene::id(scene.of_original());
    for peer in PEERS {
        let eu = scene.regions.status(peer).unwrap().peer("eu").unwrap();
        assert_eq!((eu.text("state"), eu.text("replica")), ("up", original.as_str()));
    }

    // The original goes, its place is free.
    scene.regions.server("eu").stop().unwrap();
    scene.await_links("the copy", || scene.of_clone());
    for peer in PEERS {
        await_counter(&scene.regions, peer, 1060);
    }
    wait_for("the copy to have all", PATIENCE, || {
        (scene.on_clone::<i64>("GET counter") == 1060).then_some(())
    })
    .unwrap();
    assert_eq!(
        scene.on_clone::<i64>("SISMEMBER set eu-0"),
        0,
        "removed members stay removed"
    );
    assert_eq!(scene.on_clone::<i64>("GEO.INCRBY counter 1"), 1061);
    let clone = Scene::id(scene.of_clone());
    scene.ids.insert(clone);

    // The original comes back with its old data, while the copy has its place, and takes writes.
    scene.regions.server("eu").restart().unwrap();
    let id = scene.await_refusals("the original", Scene::of_original);
    assert!(scene.ids.insert(id.clone()), "{id} is used again");
    run::<()>(&scene.regions, "eu", "GEO.INCRBY counter 500");
    for peer in PEERS {
        await_counter(&scene.regions, peer, 1061);
    }
    scene.clone.stop().unwrap();
    agree(&scene.regions, 1561);
    write(&scene.regions, 3);
    agree(&scene.regions, 1581);
    assert_eq!(run::<i64>(&scene.regions, "eu", "SISMEMBER set clone"), 1);
    assert_eq!(run::<i64>(&scene.regions, "eu", "SISMEMBER set eu-0"), 0);
    for peer in PEERS {
        await_settled(&scene.regions, "eu", peer);
    }
}

/// While a link is cut the copy takes the original's place in one region and not in the other.
#[test]
fn a_copy_that_slips_in_through_a_cut_loses_nothing() {
    let mut scene = Scene::start();
    scene.await_refusals("the copy", Scene::of_clone);
    scene.on_clone::<()>("GEO.INCRBY counter 1000");
    let link = |scene: &Scene, cut: bool| {
        let (_, _, link) = scene
            .regions
            .links()
            .find(|(a, b, _)| [*a, *b].contains(&"eu") && [*a, *b].contains(&"us"))
            .unwrap();
        if cut { link.cut() } else { link.heal() }
    };
    link(&scene, true);
    wait_for("us to take the copy", PATIENCE, || {
        (scene.of_clone()?.peer("us")?.text("state") == "up").then_some(())
    })
    .unwrap();
    run::<()>(&scene.regions, "eu", "GEO.INCRBY counter 500");
    scene.on_clone::<()>("GEO.INCRBY counter 1");
    run::<()>(&scene.regions, "us", "GEO.INCRBY counter 2");
    await_counter(&scene.regions, "us", 1543);
    await_counter(&scene.regions, "ap", 1543);
    link(&scene, false);
    scene.clone.stop().unwrap();
    agree(&scene.regions, 1543);
    write(&scene.regions, 2);
    agree(&scene.regions, 1563);
    for peer in PEERS {
        await_settled(&scene.regions, "eu", peer);
    }
}
