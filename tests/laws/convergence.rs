//! Whatever way operations take, equal knowledge is equal state.

use proptest::prelude::*;

use crate::canonical::canonical;
use crate::replicas::{World, live, skews, steps, transfer};

pub fn equal(world: &mut World) -> Result<(), TestCaseError> {
    let mut states = world
        .replicas
        .iter_mut()
        .map(|replica| canonical(&replica.state, &mut replica.store));
    let first = states.next().expect("a replica");
    for other in states {
        prop_assert_eq!(&first.1, &other.1, "the data differ");
        prop_assert_eq!(&first.0, &other.0, "the states differ");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_causal_order_with_repetitions(skews in skews(), steps in steps(live()), first in 0..16_usize) {
        let mut world = World::new(&skews);
        world.run(&steps);
        world.drain(first);
        equal(&mut world)?;
    }

    #[test]
    fn any_mix_of_operations_and_transfers(
        skews in skews(),
        steps in steps(prop_oneof![5 => live(), 1 => transfer()].boxed()),
        first in 0..16_usize,
    ) {
        let mut world = World::new(&skews);
        world.run(&steps);
        world.drain(first);
        equal(&mut world)?;
    }
}
