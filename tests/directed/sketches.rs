//! HyperLogLogs that a number was added to: their cells stay, and hold what all of them have counted.

use redis_geo::crdt::{Change, Meeting};

use crate::cluster::{Cluster, data, limits};
use crate::semantics::sketch::{of_s, raise};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

/// Two regions count, and a third one increments, all at the same time. C may evict what it has before that settles.
fn counted(evict: bool) -> (Cluster, String) {
    let mut cluster = Cluster::with_base(&["a", "b", "c"], &[], limits());
    let mut both = of_s();
    for (at, what) in [(A, 1), (B, 2)] {
        let mut sketch = of_s();
        raise(&mut sketch, what);
        raise(&mut both, what);
        cluster.change(at, "k", Change::meet(&sketch, Meeting::Unite));
    }
    cluster.increment(C, "k", 8);
    cluster.exchange();
    if evict {
        cluster.evict(C, "k");
    }
    cluster.settle(6);
    (cluster, String::from_utf8_lossy(&both).into_owned())
}

/// Who takes over the settled state has counted what the others have.
#[test]
fn a_region_that_adopts_has_all_that_was_counted() {
    let (mut cluster, both) = counted(false);
    cluster.crash(C);
    cluster.rest();
    assert_eq!(cluster.is(&data(&[("k", &both)])), Ok(()));
}

/// What settles while it is not here comes back as what was counted together.
#[test]
fn what_was_evicted_before_it_settled_comes_back_whole() {
    let (mut cluster, both) = counted(true);
    cluster.nodes[C].engine.want_evicted();
    cluster.rest();
    assert_eq!(cluster.is(&data(&[("k", &both)])), Ok(()));
}
