//! Each type does what its specification says.

use proptest::prelude::*;
use redis_geo::crdt::{Element, Kind};

use crate::replicas::{Step, World, key, live, skews, steps, whole_transfer};
use crate::spec;

/// Dots that survive in the cell of a string, by what the index knows.
fn siblings(world: &World, at: u8) -> Option<Vec<redis_geo::crdt::Dot>> {
    let index = world.replicas[0].state.index();
    let id = index.find_cell(
        index.find(key(at))?,
        Element {
            kind: Kind::String,
            name: b"",
        },
    )?;
    Some(index.cell(id).live.iter().map(|live| live.dot).collect())
}

fn on_spec(world: &World) -> Result<(), TestCaseError> {
    let expected = spec::data(world);
    for replica in &world.replicas {
        prop_assert_eq!(replica.store.keys(), &expected);
    }
    for at in 0..3 {
        if let Some(live) = siblings(world, at) {
            prop_assert_eq!(live, spec::register(&world.done, at).into_keys().collect::<Vec<_>>());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn data_are_what_the_commands_say(
        skews in skews(),
        steps in steps(prop_oneof![8 => live(), 1 => whole_transfer()].boxed()),
        first in 0..16_usize,
    ) {
        let mut world = World::new(&skews);
        world.run(&steps);
        world.drain(first);
        on_spec(&world)?;
    }

    /// The same without clashes: each key keeps one type, so more is left to each type's own rule.
    #[test]
    fn each_type_alone_is_what_its_commands_say(
        skews in skews(),
        steps in steps(live()),
        first in 0..16_usize,
    ) {
        use crate::replicas::Act;
        let fits = |step: &Step| match step {
            Step::Command(_, key, Act::Set(_) | Act::Increment(_)) => *key != 2,
            Step::Command(_, key, Act::Add(_) | Act::Remove(_)) => *key == 2,
            _ => true,
        };
        let steps: Vec<Step> = steps.into_iter().filter(fits).collect();
        let mut world = World::new(&skews);
        world.run(&steps);
        world.drain(first);
        on_spec(&world)?;
    }
}
