//! Rows about groups whose members change. The laws of the members hold in each: a node votes once it has caught up,
//! and an operator who is told what became of a change is told the truth.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::{Configuration, DiskState, NodeId, Role, Term, Violation, VotingBar};
use quorate_simulation::node_machine::reached_of_members as reached;
use quorate_simulation::schedule::{MemberStep, What, Who};
use quorate_simulation::world::{Damage, RunOutcome};

use super::directed::Director;
use super::seen::Seen;
use super::{Script, acknowledged, slices_with_writes};

/// Sees the members as each node has them, and who leads.
#[derive(Default)]
struct Members {
    /// The voters that each node had in force, and those that left a joint configuration at the same time.
    seen: BTreeSet<(u64, Vec<u64>, Vec<u64>)>,
    /// The newest configuration of each node.
    newest: BTreeMap<u64, Configuration>,
    /// Reasons why nodes do not vote.
    barred: BTreeMap<u64, Option<VotingBar>>,
    leaders: BTreeSet<(Term, NodeId)>,
    /// The leaders since the newest configuration of node 1 came with a snapshot.
    installed: Option<BTreeSet<NodeId>>,
}

impl Director for Members {
    fn looks(&mut self, nodes: &[Seen<'_>]) -> Result<(), Violation> {
        for status in nodes.iter().filter_map(Seen::status) {
            let (node, configuration) = (status.node.0, status.configuration);
            if status.role == Role::Leader {
                self.leaders.insert((status.term, status.node));
                self.installed.iter_mut().for_each(|leaders| _ = leaders.insert(status.node));
            }
            let is_covered = status.first_index > status.configuration_index;
            if node == 1 && is_covered && configuration.contains(NodeId(4)) {
                self.installed.get_or_insert_default();
            }
            self.barred.insert(node, status.barred);
            if self.newest.get(&node) != Some(&configuration) {
                self.seen.insert((node, ids(configuration.voters()), ids(configuration.outgoing_voters())));
                self.newest.insert(node, configuration);
            }
        }
        Ok(())
    }
}

fn ids(nodes: impl Iterator<Item = NodeId>) -> Vec<u64> {
    nodes.map(|node| node.0).collect()
}

fn voters(members: &Members, node: u64) -> Vec<u64> {
    let newest = &members.newest[&node];
    assert!(!newest.is_joint(), "{newest:?}");
    ids(newest.voters())
}

fn times(outcome: &RunOutcome, what: &str) -> u64 {
    outcome.sometimes.get(what).copied().unwrap_or(0)
}

fn remove(node: u64) -> MemberStep {
    MemberStep::Remove { node: Who::Node(node) }
}

/// Raft 2: two leaders that are cut off each begin a change that the other does not know (the single-server changes of
/// the thesis, corrected in 2015). Neither is made, no two quorums decide apart from each other, and a later change is.
#[test]
fn row_02_two_concurrent_changes() {
    let script = Script::new(4, 2).clients(8).hurry(0, 300, 1).hurry(1_000, 1_800, 2);
    let script = script.isolate(1_000, 4_000, 1).change(1_050, 1_100, &[remove(4)]);
    let script = script.isolate(1_900, 4_000, 2).change(1_950, 2_000, &[remove(3)]);
    let script = script.change(6_000, 9_000, &[MemberStep::Demote { node: 4 }]).lasting(9_000);
    let (outcome, members) = script.play_whole::<Members>();
    assert!(members.seen.contains(&(1, vec![1, 2, 3], vec![1, 2, 3, 4])), "node 1 began: {:?}", members.seen);
    assert!(members.seen.contains(&(2, vec![1, 2, 4], vec![1, 2, 3, 4])), "node 2 began: {:?}", members.seen);
    assert_eq!(voters(&members, 3), [1, 2, 3]);
    assert_eq!((times(&outcome, reached::APPLIED), times(&outcome, reached::LEADER_REMOVED)), (1, 0));
}

/// Raft 4: a short leader's uncommitted members are gone once a snapshot with other members has come (openraft#1808).
/// It could lead alone only by the members that are gone.
#[test]
fn row_04_snapshot_over_uncommitted_membership() {
    let script = Script::new(4, 4).joining(1).clients(8).snapshot_every(30).hurry(0, 300, 1);
    let script = script.isolate(1_000, 5_000, 1).change(1_050, 1_100, &[remove(2), remove(3)]);
    let script = script.change(2_800, 4_500, &[MemberStep::AddLearner { node: 4 }]);
    let (_, members) = script.isolate(7_000, 12_000, 1).play_whole::<Members>();
    assert!(members.seen.contains(&(1, vec![1], vec![1, 2, 3])), "node 1 began: {:?}", members.seen);
    let leaders = members.installed.as_ref().expect("a snapshot brought node 1 other members");
    assert!(!leaders.is_empty() && !leaders.contains(&NodeId(1)), "{leaders:?}");
    assert!(members.newest[&1].contains(NodeId(4)));
}

/// Raft 16: a voter was away for thirty time-outs and another node was removed meanwhile without being told. Both come
/// back: the leader stays, and so does its term, and the removed node learns of it.
#[test]
fn row_16_a_removed_server_that_was_not_told() {
    let script = Script::new(5, 16).clients(2).at_leader(100).hurry(0, 300, 1);
    let script = script.isolate(1_000, 32_000, 4).isolate(1_000, 32_000, 5);
    let (outcome, members) = script.change(1_500, 3_000, &[remove(4)]).lasting(40_000).play_whole::<Members>();
    assert_eq!(members.leaders.len(), 1, "one leader: {:?}", members.leaders);
    assert_eq!(slices_with_writes(&outcome.history, 1, 40), 39);
    assert_eq!((voters(&members, 5), members.barred[&4]), (vec![1, 2, 3, 5], Some(VotingBar::Removed)));
}

/// Sees survivors campaign at the same time.
#[derive(Default)]
struct Campaigns {
    are_together: u64,
}

impl Director for Campaigns {
    fn looks(&mut self, nodes: &[Seen<'_>]) -> Result<(), Violation> {
        let campaigns = |view: &&Seen<'_>| {
            view.status().is_some_and(|status| matches!(status.role, Role::PreCandidate | Role::Candidate))
        };
        self.are_together += u64::from(nodes.iter().filter(campaigns).count() > 1);
        Ok(())
    }
}

/// Raft 27: the time-outs of both survivors end at the same moment, three times in a row (openraft#1838). Each draws
/// anew, and a leader is there within ten time-outs. More seeds: `QUORATE_ROWS_SEEDS=10000`.
#[test]
fn row_27_equal_draws() {
    let seeds = std::env::var("QUORATE_ROWS_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(10);
    let mut together = [0; 2];
    for seed in 0..seeds {
        let mut script = Script::new(3, seed).clients(2).hurry(0, 300, 1).crash(1_000, 14_000, 1);
        for from_ms in [1_100, 3_700, 6_300] {
            // Both find their deadlines passed when they go on, and hear of each other late.
            for node in 2..=3 {
                script = script.fault(from_ms, from_ms + 2_500, What::Pause { node: Who::Node(node) });
            }
            script = script.fault(from_ms + 2_400, from_ms + 2_600, What::Delay { up_to_us: 50_000 });
        }
        for ((outcome, campaigns), together) in script.play::<Campaigns>().into_iter().zip(&mut together) {
            *together += campaigns.are_together;
            assert!(acknowledged(&outcome.history, 8_900, 18_800) > 0, "seed {seed}: a leader within ten time-outs");
        }
    }
    assert!(together.iter().all(|times| *times > 0), "they campaign together: {together:?}");
}

/// Sees the disks of followers as their leader does.
#[derive(Default)]
struct Stalled {
    /// Node 3 answered, and had its disk named as stalled by the leader.
    is_named: bool,
    leaders: BTreeSet<(Term, NodeId)>,
}

impl Director for Stalled {
    fn looks(&mut self, nodes: &[Seen<'_>]) -> Result<(), Violation> {
        for status in nodes.iter().filter_map(Seen::status).filter(|status| status.role == Role::Leader) {
            self.leaders.insert((status.term, status.node));
            let is_stalled =
                |peer: &&quorate_protocol::PeerProgress| peer.node.0 == 3 && peer.disk == DiskState::Stalled;
            self.is_named |= status.peers.iter().find(is_stalled).is_some_and(|peer| peer.is_active);
        }
        Ok(())
    }
}

/// Raft 28: a follower hears and does not persist for a long time, and then the leader (hashicorp#612; consul#22064).
/// The follower is named and counts for nothing; the leader gives way. Nobody is started again.
#[test]
fn row_28_hears_and_does_not_persist() {
    let script = Script::new(3, 28).clients(2).at_leader(100).hurry(0, 300, 1);
    let script = script.fault(1_000, 31_000, What::StallDisk { node: Who::Node(3) });
    let script = script.fault(33_000, 63_000, What::StallDisk { node: Who::LEADER });
    for (outcome, stalled) in script.play::<Stalled>() {
        assert!(stalled.is_named, "the leader says so");
        assert!(slices_with_writes(&outcome.history, 1, 33) >= 31, "the others are a quorum");
        assert!(stalled.leaders.len() >= 2, "the second gives way: {:?}", stalled.leaders);
        assert!(slices_with_writes(&outcome.history, 43, 63) >= 19, "the next one serves");
    }
}

/// Raft 29: a learner waits for its promotion while it is cut off, its leader dies, and its disk is full. The next
/// leader promotes it, once, when it has caught up.
#[test]
fn row_29_promotion_by_the_system() {
    let script = Script::new(4, 29).joining(1).clients(8).hurry(0, 300, 1).isolate(1_000, 6_000, 4);
    let script = script.change(1_200, 2_000, &[MemberStep::AddVoter { node: 4 }]).crash(3_000, 12_000, 1);
    let full = What::Damage { node: Who::Node(4), damage: Damage::FullDisk };
    let (outcome, members) = script.fault(5_500, 8_000, full).play_whole::<Members>();
    assert_eq!(times(&outcome, reached::PROMOTED), 1);
    assert_eq!(times(&outcome, reached::PROMOTED_BY_ANOTHER), 1);
    assert_eq!(voters(&members, 4), [1, 2, 3, 4]);
}

#[test]
fn row_29_a_removal_cancels_the_promotion() {
    let script = Script::new(4, 30).joining(1).clients(8).hurry(0, 300, 1).isolate(1_000, 4_000, 4);
    let script = script.change(1_200, 2_000, &[MemberStep::AddVoter { node: 4 }]);
    let (outcome, members) = script.change(2_500, 4_000, &[remove(4)]).lasting(8_000).play_whole::<Members>();
    assert_eq!((times(&outcome, reached::APPLIED), times(&outcome, reached::PROMOTED)), (2, 0));
    assert!(!members.newest[&1].contains(NodeId(4)));
}

/// Raft 34: two voters are replaced at once, and the leader that began it is gone in the midst of it, at any moment;
/// the new node 4 and the old node 2 are cut off by turns. The operator asks again until it is done: it is done once.
#[test]
fn row_34_two_changes_race_a_leader_change() {
    let mut by_another = 0;
    for moment in 0..8 {
        let both = [MemberStep::Replace { old: 2, new: 4 }, MemberStep::Replace { old: 3, new: 5 }];
        let script = Script::new(5, moment).joining(2).hurry(0, 300, 1).change(1_000, 14_000, &both);
        let crash_ms = 1_002 + moment * 25;
        let [first, second] = if moment % 2 == 0 { [4, 2] } else { [2, 4] };
        let script = script.crash(crash_ms, crash_ms + 2_000, 1).isolate(crash_ms, crash_ms + 1_000, first);
        let script = script.isolate(crash_ms + 1_000, crash_ms + 2_000, second);
        let (outcome, members) = script.play_whole::<Members>();
        assert_eq!(voters(&members, 1), [1, 4, 5], "moment {moment}");
        by_another += times(&outcome, reached::PROMOTED_BY_ANOTHER);
    }
    assert!(by_another > 0, "another leader carried the change on");
}
