//! Merging whole states is a join.

use std::time::Duration;

use proptest::prelude::*;
use redis_geo::crdt::{MemoryStore, ReplicaId, State};

use crate::canonical::{Data, canonical, records};
use crate::replicas::{Replica, World, live, skews, steps, whole_transfer};

struct Copy {
    state: State,
    store: MemoryStore,
}

impl Copy {
    fn of(state: &State, store: &mut MemoryStore) -> Copy {
        let me = ReplicaId::new(state.me().region(), state.me().incarnation() + 1);
        let mut copy = Copy {
            state: State::new(me, Duration::from_secs(60)),
            store: store.clone(),
        };
        for record in records(state, store) {
            copy.state.adopt(record, &mut copy.store);
        }
        copy.state.advance(state.seen());
        copy
    }

    fn of_replica(replica: &mut Replica) -> Copy {
        Copy::of(&replica.state, &mut replica.store)
    }

    fn canonical(&mut self) -> (Vec<u8>, Data) {
        canonical(&self.state, &mut self.store)
    }
}

fn join(ours: &mut Copy, theirs: &mut Copy) -> Copy {
    let mut joined = Copy::of(&ours.state, &mut ours.store);
    for record in records(&theirs.state, &mut theirs.store) {
        joined.state.merge(&record, theirs.state.seen(), &mut joined.store);
    }
    joined.state.advance(theirs.state.seen());
    joined
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merging_is_commutative_associative_and_idempotent(
        skews in skews(),
        steps in steps(prop_oneof![8 => live(), 1 => whole_transfer()].boxed()),
    ) {
        let mut world = World::new(&skews);
        world.run(&steps);
        let mut copies: Vec<Copy> = world.replicas.iter_mut().map(Copy::of_replica).collect();
        for (copy, replica) in copies.iter_mut().zip(&mut world.replicas) {
            prop_assert_eq!(copy.canonical(), canonical(&replica.state, &mut replica.store), "adoption copies");
        }
        let mut c = copies.pop().expect("a replica");
        let mut a = copies.swap_remove(0);
        let mut b = copies.pop().unwrap_or_else(|| Copy::of(&a.state, &mut a.store));
        let (mut ab, mut ba) = (join(&mut a, &mut b), join(&mut b, &mut a));
        prop_assert_eq!(ab.canonical(), ba.canonical(), "commutative");
        let mut bc = join(&mut b, &mut c);
        prop_assert_eq!(join(&mut ab, &mut c).canonical(), join(&mut a, &mut bc).canonical(), "associative");
        let mut twin = Copy::of(&a.state, &mut a.store);
        prop_assert_eq!(join(&mut a, &mut twin).canonical(), a.canonical(), "idempotent");
        prop_assert_eq!(join(&mut ab, &mut b).canonical(), ab.canonical(), "absorbing");
    }
}
