//! Rows about nodes that forgot, or remember something else.

use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quorate_protocol::{Incarnation, NodeId, Violation, VotingBar};
use quorate_raft::Raft;
use quorate_runtime::shell::{Directory, DirectoryError, cluster_id};
use quorate_simulation::node_machine::{MakeConfig, NodeSetup, ReplicaLaws};
use quorate_simulation::registers::{RegisterClients, RegisterState};
use quorate_simulation::schedule::{Schedule, What, Who};
use quorate_simulation::world::{Workload, run};
use quorate_wal::disk::MemoryDisk;

use super::directed::Director;
use super::foundings::{ClientsOfEach, Founded, FoundingLaws, Foundings, NODES};
use super::seen::Seen;
use super::{Script, acknowledged, config, recording, told};

/// Sees why nodes do not vote, and how far node 2 came in the end.
#[derive(Default)]
struct Barred {
    bars: BTreeSet<(u64, &'static str)>,
    /// How far node 2's log and the longest log are committed.
    reached: (u64, u64),
}

impl Director for Barred {
    fn looks(&mut self, nodes: &[Seen<'_>]) -> Result<(), Violation> {
        let mut longest = 0;
        for status in nodes.iter().filter_map(Seen::status) {
            match status.barred {
                Some(VotingBar::Stranger) => _ = self.bars.insert((status.node.0, "a stranger")),
                Some(VotingBar::NotIntroduced) => _ = self.bars.insert((status.node.0, "not introduced")),
                _ => {}
            }
            longest = longest.max(status.commit_index.0);
            if status.node.0 == 2 {
                self.reached = (status.commit_index.0, self.reached.1);
            }
        }
        self.reached.1 = longest;
        Ok(())
    }
}

/// Raft 24: node 2 loses its disk while node 3 is down. With node 1 it makes no quorum: nothing is acknowledged until
/// node 3 is back. It receives all the same, and is told why it does not vote.
#[test]
fn row_24_a_wiped_voter_does_not_vote() {
    for seed in 0..3 {
        let script = Script::new(3, seed).clients(8).hurry(0, 300, 1).crash(1_000, 8_000, 3);
        let script = script.fault(2_000, 2_100, What::Wipe { node: Who::Node(2) });
        for (outcome, seen) in script.play::<Barred>() {
            assert!(acknowledged(&outcome.history, 1_100, 2_000) > 10, "seed {seed}: two served");
            assert_eq!(acknowledged(&outcome.history, 3_200, 8_000), 0, "seed {seed}: the wiped one makes no quorum");
            assert!(acknowledged(&outcome.history, 8_000, 18_000) > 100, "seed {seed}: the third does");
            assert!(!seen.bars.is_empty(), "seed {seed}: node 2 says why it does not vote: {:?}", seen.bars);
            assert_eq!(seen.reached.0, seen.reached.1, "seed {seed}: and has everything in the end");
        }
    }
}

/// Raft 24: everybody but node 1 is wiped, one after the other. Nobody is elected by those who forgot: what was
/// acknowledged is not lost, because nothing is acknowledged any more.
#[test]
fn row_24_forgetful_nodes_elect_nobody() {
    let script = Script::new(3, 7).exceeding().clients(8).hurry(0, 300, 1);
    let script = script.fault(1_000, 1_100, What::Wipe { node: Who::Node(2) }).crash(2_000, 12_000, 1);
    let script = script.fault(2_000, 2_100, What::Wipe { node: Who::Node(3) });
    for outcome in script.outcomes() {
        assert_eq!(acknowledged(&outcome.history, 3_600, 12_000), 0, "nobody leads");
        // It never serves again, which is right, and more than any protocol promises.
        let law = outcome.failure.map(|failure| failure.law);
        assert!(law.is_none_or(|law| law == "serves after healing"), "safety holds");
    }
}

/// Raft 24: an old copy of a disk that is put back cannot be told from the disk of a node that was down: it is counted,
/// and what it acknowledged since is lost. No protocol without a trusted counter notices; this is shown, not borne.
#[test]
fn row_24_an_old_copy_put_back_loses_what_it_had_acknowledged() {
    let script = Script::new(3, 3).exceeding().clients(8).hurry(0, 300, 1).crash(900, 4_000, 3);
    // Entries are committed by nodes 1 and 2 while node 3 is down; then node 2 forgets them, and node 1 is down.
    let script = script.fault(1_000, 4_000, What::OldCopy { node: Who::Node(2) }).crash(4_000, 9_000, 1);
    for outcome in script.outcomes() {
        assert!(acknowledged(&outcome.history, 1_100, 4_000) > 50, "two served");
        let failure = outcome.failure.expect("what was acknowledged is lost, and the laws see it");
        assert!(failure.law != "serves after healing", "{}: {}", failure.law, failure.detail);
    }
}

/// Six processes, nodes 1 to 3 of these clusters, whose addresses lead from one to the other for a while.
fn founded_twice(seed: u64, clusters: [&str; 2], is_crossed: Range<Duration>, script: &Script) -> Foundings {
    let setup = |founding: usize| {
        let schedule = Schedule { nodes: NODES, seed: seed + founding as u64, ..script.schedule.clone() };
        let of_core: MakeConfig<Raft> = Arc::new(|start| config(start.identity.node, NODES, start.seed));
        NodeSetup::replicated(&schedule, of_core, RegisterState::default)
    };
    let clusters = clusters.map(cluster_id);
    Foundings { setups: [setup(0), setup(1)], clusters, seed, is_crossed, seen: Rc::default() }
}

/// Runs it, with clients for each founding or with the same ones for both; says how many calls they were told to be
/// done in a time, in milliseconds.
///
/// # Panics
/// When a law is broken.
fn play_foundings(script: &Script, foundings: &Foundings, are_two: bool, within_ms: Range<u64>) -> Vec<usize> {
    let laws = || Some(ReplicaLaws::new(quorate_raft::testing::laws()));
    let mut laws = FoundingLaws { laws: [laws(), if are_two { laws() } else { None }] };
    let seed = script.schedule.seed;
    let mut clients = ClientsOfEach((seed..=seed + u64::from(are_two)).map(RegisterClients::new).collect());
    let outcome = told(run::<Founded>(foundings, &script.schedule, &mut laws, &mut clients, recording()));
    if let Some(failure) = &outcome.failure {
        panic!("seed {seed}, at {} us: {}: {}", failure.at_us, failure.law, failure.detail);
    }
    let history = |clients| Workload::<Founded>::history(clients);
    clients.0.iter().map(|clients| acknowledged(&history(clients), within_ms.start, within_ms.end)).collect()
}

/// Raft 24: nodes of another cluster come to the addresses of ours, from the first moment on, and go on to ours where
/// they look for their own. The transport refuses what they say; each cluster is founded and serves as if it were
/// alone.
#[test]
fn row_24_a_foreign_cluster_at_our_addresses() {
    for seed in 0..3 {
        let script = Script::new(2 * NODES, seed).clients(8).lasting(10_000);
        let is_crossed = Duration::ZERO..Duration::from_secs(6);
        let foundings = founded_twice(seed, ["ours", "theirs"], is_crossed, &script);
        let served = play_foundings(&script, &foundings, true, 7_000..10_000);
        assert!(foundings.seen.refused.get() > 100, "seed {seed}: {:?}", foundings.seen);
        assert_eq!(foundings.seen.given.get(), 0, "seed {seed}: nothing of the others got through");
        assert!(served.iter().all(|count| *count > 50), "seed {seed}: both serve: {served:?}");
    }
}

/// Raft 24: a cluster was founded twice under one name, out of sight of each other; then addresses lead from one to the
/// other. The transport cannot tell them apart. Their nodes can: strangers are neither counted nor followed nor served.
#[test]
fn row_24_two_clusters_of_one_name() {
    for seed in 0..3 {
        let script = Script::new(2 * NODES, seed).clients(8).lasting(12_000);
        let is_crossed = Duration::from_secs(2)..Duration::from_secs(8);
        let foundings = founded_twice(seed, ["ours", "ours"], is_crossed, &script);
        let served = play_foundings(&script, &foundings, true, 9_000..12_000);
        assert!(foundings.seen.given.get() > 100, "seed {seed}: {:?}", foundings.seen);
        assert!(served.iter().all(|count| *count > 50), "seed {seed}: both serve: {served:?}");
    }
}

/// Raft 24: a cluster that runs is founded once more under its name, by nodes with empty disks at addresses of its
/// nodes. They are told that they are strangers, like nodes whose disk was wiped: nobody of them leads, and to clients
/// there is one cluster.
#[test]
fn row_24_a_second_bootstrap_is_refused() {
    for seed in 0..3 {
        let mut script = Script::new(2 * NODES, seed).clients(30).lasting(12_000);
        for process in NODES + 1..=2 * NODES {
            script = script.crash(0, 1_000, process);
        }
        let is_crossed = Duration::from_secs(1)..Duration::from_secs(8);
        let foundings = founded_twice(seed, ["ours", "ours"], is_crossed, &script);
        let served = play_foundings(&script, &foundings, false, 9_000..12_000);
        assert!(foundings.seen.given.get() > 100, "seed {seed}: {:?}", foundings.seen);
        assert!(served[0] > 50, "seed {seed}: the first serves: {served:?}");
    }
}

/// Raft 24: a node that is started with the data of another cluster, or of another node, refuses them by name, and
/// changes nothing. One that is started again keeps its identity.
#[test]
fn row_24_foreign_data_and_a_second_start() {
    let disk = MemoryDisk::new();
    let draw = || Ok(Incarnation(7));
    let own = cluster_id("ours");
    let first = Directory::open(disk.clone(), own, NodeId(2), draw).expect("a new directory").identity();
    let before = disk.content("identity");
    let foreign = Directory::open(disk.clone(), cluster_id("theirs"), NodeId(2), draw);
    assert!(matches!(foreign.map(drop), Err(DirectoryError::ForeignCluster { .. })));
    let foreign = Directory::open(disk.clone(), own, NodeId(3), draw);
    assert!(matches!(foreign.map(drop), Err(DirectoryError::ForeignNode { .. })));
    assert_eq!(disk.content("identity"), before);
    let again = Directory::open(disk, own, NodeId(2), || Ok(Incarnation(8))).expect("its own");
    assert_eq!(again.identity(), first, "it does not become another");
}
