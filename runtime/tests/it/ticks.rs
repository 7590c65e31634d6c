//! Log time passes without commands, and only as fast as it must.

use quorate_runtime::Outcome;

use crate::cluster::{Cluster, N1, N2, N3};

#[test]
fn a_tick_comes_when_something_is_due() {
    let mut cluster = Cluster::led();
    let due = cluster.now.wall_ms + 1000;
    assert!(matches!(cluster.execute(N2, &format!("due {due}")), Outcome::Applied(_)));
    cluster.run(900);
    assert!(cluster.ledger(N1).ticks.is_empty(), "nothing is due yet");
    cluster.run(300);
    let ticks = cluster.ledger(N1).ticks.clone();
    assert_eq!(ticks.len(), 1, "one tick was enough");
    assert!(ticks[0] >= due && ticks[0] <= due + 100);
    for node in [N2, N3] {
        assert_eq!(cluster.ledger(node).ticks, ticks, "log time is the same everywhere");
    }
}

#[test]
fn ticks_keep_their_distance_while_more_is_due_than_one_brings() {
    let mut cluster = Cluster::led();
    // The wall clock stands still, so that a tick does not get there.
    let due = cluster.now.wall_ms + 50_000;
    assert!(matches!(cluster.execute(N1, &format!("due {due}")), Outcome::Applied(_)));
    cluster.now.wall_ms = due - 1;
    for _ in 0..1000 {
        cluster.run(1);
        cluster.now.wall_ms = due - 1;
    }
    assert!(cluster.ledger(N1).ticks.len() <= 11, "{:?}", cluster.ledger(N1).ticks);
}

#[test]
fn an_idle_group_without_deadlines_appends_nothing() {
    let mut cluster = Cluster::led();
    let before = cluster.replica(N1).status().log.last_index;
    cluster.run(5000);
    assert_eq!(cluster.replica(N1).status().log.last_index, before);
}
