//! Compaction forgets what everyone has, and nobody can tell.

use proptest::prelude::*;

use crate::replicas::{Replica, World, compaction, live, skews, steps, transfer};
use crate::spec;

/// Metadata beyond live counter contributions.
fn leftover(replica: &Replica) -> Option<String> {
    let index = replica.state.index();
    let mut next = 0;
    while let Some(key) = index.next_key(next) {
        next = key + 1;
        if !index.key(key).clears().is_empty() {
            return Some(format!("{:?} {:?}", index.key(key).key(), index.key(key).clears()));
        }
        for id in index.cells_of(key) {
            let cell = index.cell(id);
            let counts = !cell.contributions().is_empty() && cell.contributions().iter().all(|(_, c)| c.alive());
            let settled = cell.live.iter().all(|live| live.dot.is_base());
            if !counts || !settled || !cell.touched.is_empty() || !cell.named().is_empty() {
                return Some(format!(
                    "{:?} {:?} {cell:?}",
                    index.key(key).key(),
                    index.node(id).element()
                ));
            }
        }
    }
    None
}

/// Everyone acknowledges everything and compacts, until no operation is issued for it.
fn settle(world: &mut World, first: usize) {
    for _ in 0..8 {
        world.drain(first);
        (0..world.replicas.len()).for_each(|at| world.header(at));
        world.drain(first);
        for at in 0..world.replicas.len() {
            while world.compact(at, 3) {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_left_but_live_contributions(
        skews in skews(),
        steps in steps(prop_oneof![6 => live(), 1 => transfer()].boxed()),
        first in 0..16_usize,
    ) {
        let mut world = World::new(&skews);
        world.run(&steps);
        world.drain(first);
        let before = world.replicas[0].store.clone();
        settle(&mut world, first);
        for replica in &world.replicas {
            prop_assert_eq!(&replica.store, &before);
            prop_assert_eq!(leftover(replica), None);
        }
    }

    #[test]
    fn compaction_at_any_moment_changes_nothing_visible(
        skews in skews(),
        steps in steps(prop_oneof![6 => live(), 3 => compaction()].boxed()),
        first in 0..16_usize,
    ) {
        let mut world = World::new(&skews);
        world.run(&steps);
        world.drain(first);
        let expected = spec::data(&world);
        for replica in &world.replicas {
            prop_assert_eq!(replica.store.keys(), &expected);
        }
        settle(&mut world, first);
        for replica in &world.replicas {
            prop_assert_eq!(replica.store.keys(), &expected);
            prop_assert_eq!(leftover(replica), None);
        }
    }

    #[test]
    fn compaction_between_transfers_diverges_nowhere(
        skews in skews(),
        steps in steps(prop_oneof![6 => live(), 2 => transfer(), 3 => compaction()].boxed()),
        first in 0..16_usize,
    ) {
        let mut world = World::new(&skews);
        world.run(&steps);
        settle(&mut world, first);
        for replica in &world.replicas {
            prop_assert_eq!(&replica.store, &world.replicas[0].store);
            prop_assert_eq!(leftover(replica), None);
        }
    }
}
