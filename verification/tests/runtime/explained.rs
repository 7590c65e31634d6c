//! Explanations of what an entry waits for.

use quorate_protocol::LogIndex;
use quorate_runtime::replica::EntryState;
use quorate_runtime::{Delivery, Outcome};

use crate::cluster::{Cluster, N1, N2, N3};

/// The leader has proposed an entry and has not heard that its followers have it. Returns the entry's index.
fn unacknowledged(cluster: &mut Cluster) -> LogIndex {
    cluster.park_inbound(N1);
    cluster.propose(N1, "a", Delivery::AtMostOnce);
    cluster.settle();
    cluster.replica(N1).status().log.last_index
}

#[test]
fn an_entry_names_the_nodes_that_it_waits_for() {
    let mut cluster = Cluster::led();
    assert_eq!(cluster.execute(N1, "a"), Outcome::Applied("1".into()));
    let index = unacknowledged(&mut cluster);
    assert_eq!(cluster.replica(N1).explain_entry(index), EntryState::WaitsForPeers(vec![N2, N3]));
    assert_eq!(cluster.replica(N2).explain_entry(index), EntryState::WaitsForLeader(N1));
    assert_eq!(cluster.replica(N1).explain_entry(index.next()), EntryState::NotReached);
    cluster.release();
    cluster.run(1000);
    for node in [N1, N2, N3] {
        assert_eq!(cluster.replica(node).explain_entry(index), EntryState::Applied, "{node}");
    }
}

#[test]
fn an_entry_without_a_leader_says_so() {
    let mut cluster = Cluster::led();
    let index = unacknowledged(&mut cluster);
    cluster.crash(N1);
    cluster.crash(N3);
    cluster.run(5000);
    assert_eq!(cluster.replica(N2).explain_entry(index), EntryState::NoLeader);
}
