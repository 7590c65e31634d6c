//! Changes of members: joint consensus, promotion, removal, and what they refuse.

use std::time::Duration;

use quorate_protocol::{
    Configuration, ConfigurationError, DiskState, Member, MemberChange, NodeId, RefuseReason, ReplicatedLog, Role,
    Signal, StorageLevel, VotingBar,
};
use quorate_raft::testing::{Builder, Cluster};
use quorate_raft::{Message, Settings};

use crate::support::from_environment;

const SECOND: Duration = Duration::from_secs(1);

fn voters(cluster: &Cluster, node: u64) -> Vec<u64> {
    cluster.members(node).voters().map(|node| node.0).collect()
}

fn replace(old: u64, new: u64) -> MemberChange {
    MemberChange::Replace { old: NodeId(old), new: Member::voter(NodeId(new)) }
}

/// Founders 1 to `founders` under node 1, and nodes after them that may join.
fn group(founders: u64, joining: u64) -> Cluster {
    group_with(Settings::default(), founders, joining)
}

fn group_with(settings: Settings, founders: u64, joining: u64) -> Cluster {
    let mut cluster = Builder::new(founders, 7).joining(joining).settings(settings).start();
    cluster.elect_node(1);
    cluster
}

fn settled_at(cluster: &Cluster, node: u64, expected: &[u64]) -> bool {
    let status = cluster.node(node).core().status();
    voters(cluster, node) == expected
        && !status.configuration.is_joint()
        && status.configuration_index <= status.commit_index
}

#[test]
fn a_voter_is_added_once_it_has_caught_up() {
    let mut cluster = group(3, 1);
    cluster.propose(1, b"before");
    let id = cluster.change(1, [MemberChange::Add(Member::voter(NodeId(4)))]);
    assert_eq!(cluster.refusal(1, id), None);
    assert_eq!(voters(&cluster, 1), [1, 2, 3], "it learns first");
    assert!(cluster.run_until(SECOND * 3, |cluster| settled_at(cluster, 1, &[1, 2, 3, 4])), "it votes");
    cluster.propose(1, b"after");
    cluster.run(SECOND);
    assert_eq!(cluster.node(4).commands(), [&b"before"[..], b"after"]);
    assert_eq!(cluster.node(4).core().status().barred, None);
    assert_eq!(cluster.node(4).core().status().role, Role::Follower);
}

#[test]
fn a_leader_that_is_removed_hands_over_and_rests() {
    let mut cluster = group(3, 0);
    cluster.change(1, [MemberChange::Remove(NodeId(1))]);
    assert!(cluster.run_until(SECOND * 3, |cluster| cluster.leader().is_some_and(|leader| leader != 1)));
    let leader = cluster.leader().expect("just seen");
    let term = cluster.node(leader).core().status().term;
    cluster.propose(leader, b"without it");
    cluster.run(SECOND * 30);
    assert_eq!(cluster.node(leader).core().status().term, term, "the removed node disturbs nobody");
    assert!(settled_at(&cluster, leader, &[2, 3]));
    assert_eq!(cluster.node(1).core().status().barred, Some(VotingBar::Removed));
    assert!(cluster.node(leader).commands().contains(&&b"without it"[..]));
}

#[test]
fn all_nodes_are_replaced_at_once() {
    let mut cluster = group(3, 3);
    cluster.propose(1, b"before");
    cluster.change(1, [replace(1, 4), replace(2, 5), replace(3, 6)]);
    let is_done = |cluster: &Cluster| {
        cluster.leader().is_some_and(|leader| leader > 3 && settled_at(cluster, leader, &[4, 5, 6]))
    };
    assert!(cluster.run_until(SECOND * 5, is_done), "{:?}", cluster.members(1));
    for old in 1..=3 {
        cluster.crash(old);
    }
    let leader = cluster.elect();
    cluster.propose(leader, b"after");
    cluster.run(SECOND);
    assert_eq!(cluster.node(5).commands(), [&b"before"[..], b"after"]);
}

#[test]
fn changes_that_cannot_be_made_are_refused_by_name() {
    let mut cluster = group(3, 1);
    let refused = |cluster: &mut Cluster, node, change: MemberChange| {
        let before = cluster.members(node);
        let id = cluster.change(node, [change]);
        assert_eq!(cluster.members(node), before, "nothing changed");
        cluster.refusal(node, id).expect("it is refused")
    };
    let invalid = |error| RefuseReason::ConfigurationInvalid(error);
    let (two, four) = (NodeId(2), NodeId(4));
    assert_eq!(refused(&mut cluster, 2, MemberChange::Remove(two)), RefuseReason::NotLeader);
    let cases = [
        (MemberChange::Remove(four), ConfigurationError::NotMember(four)),
        (MemberChange::Demote(four), ConfigurationError::NotMember(four)),
        (MemberChange::Promote(two), ConfigurationError::NotLearner(two)),
        (MemberChange::Add(Member::learner(two)), ConfigurationError::AlreadyMember(two)),
        (MemberChange::Replace { old: four, new: Member::voter(four) }, ConfigurationError::NotMember(four)),
        (MemberChange::Replace { old: NodeId(1), new: Member::voter(two) }, ConfigurationError::NotLearner(two)),
        (MemberChange::Replace { old: two, new: Member::voter(two) }, ConfigurationError::IncarnationUnknown(two)),
    ];
    for (change, error) in cases {
        assert_eq!(refused(&mut cluster, 1, change), invalid(error));
    }
    let everybody = (1..=3).map(|node| MemberChange::Remove(NodeId(node)));
    let id = cluster.change(1, everybody);
    assert_eq!(cluster.refusal(1, id), Some(invalid(ConfigurationError::NoVoter)));
    // Nobody acknowledges, so the first change stays under way.
    cluster.isolate(1);
    let first = cluster.change(1, [MemberChange::Add(Member::learner(four))]);
    assert_eq!(cluster.refusal(1, first), None);
    assert_eq!(refused(&mut cluster, 1, MemberChange::Remove(two)), RefuseReason::ConfigurationPending);
}

/// A leader that has committed nothing of its term does not know whether a change of an earlier leader is under way.
#[test]
fn a_change_waits_for_an_entry_of_the_leaders_own_term() {
    let mut cluster = Builder::new(3, 7).start();
    // The votes arrive, the acknowledgements of entries do not.
    cluster.hold(|_, to, message| {
        to == NodeId(1) && matches!(message, Message::AppendResponse(_) | Message::HeartbeatResponse(_))
    });
    cluster.time_out(1);
    assert_eq!(cluster.node(1).core().status().role, Role::Leader);
    let early = cluster.change(1, [MemberChange::Demote(NodeId(3))]);
    assert_eq!(cluster.refusal(1, early), Some(RefuseReason::ConfigurationPending));
    cluster.release();
    cluster.settle();
    let later = cluster.change(1, [MemberChange::Demote(NodeId(3))]);
    assert_eq!(cluster.refusal(1, later), None);
}

#[test]
fn a_new_leader_leaves_the_joint_configuration() {
    let mut cluster = group(3, 2);
    let learners = [4, 5].map(|node| MemberChange::Add(Member::learner(NodeId(node))));
    cluster.change(1, learners);
    cluster.run(SECOND);
    // The joint configuration reaches all, and its leader dies before it can append the next one.
    cluster.change(1, [replace(2, 4), replace(3, 5)]);
    cluster.settle();
    cluster.hold(|_, to, message| to == NodeId(1) && matches!(message, Message::AppendResponse(_)));
    assert!(cluster.run_until(SECOND * 3, |cluster| (2..=5).all(|node| cluster.members(node).is_joint())));
    cluster.crash(1);
    cluster.heal();
    let is_done = |cluster: &Cluster| cluster.leader().is_some_and(|leader| settled_at(cluster, leader, &[1, 4, 5]));
    assert!(cluster.run_until(SECOND * 10, is_done), "the next leader ends it");
    cluster.restart(1);
    let leader = cluster.elect();
    cluster.propose(leader, b"after");
    cluster.run(SECOND);
    assert_eq!(cluster.node(1).commands(), [b"after"]);
}

/// Node 2 is down. Without node 3 or the leader there would be no quorum, and the change would never end.
#[test]
fn a_change_that_would_leave_no_living_quorum_is_refused() {
    let mut cluster = group(3, 1);
    cluster.crash(2);
    cluster.run(SECOND);
    for change in [MemberChange::Remove(NodeId(3)), MemberChange::Demote(NodeId(3)), MemberChange::Demote(NodeId(1))] {
        let id = cluster.change(1, [change.clone()]);
        assert_eq!(cluster.refusal(1, id), Some(RefuseReason::QuorumSilent), "{change:?}");
    }
    cluster.change(1, [MemberChange::Remove(NodeId(2))]);
    assert!(cluster.run_until(SECOND * 5, |cluster| settled_at(cluster, 1, &[1, 3])));
}

/// A node that was away while it was removed asks for votes when it comes back, and is told.
#[test]
fn a_removed_node_that_was_away_is_told_and_disturbs_nobody() {
    let mut cluster = group(4, 0);
    cluster.isolate(4);
    cluster.change(1, [MemberChange::Remove(NodeId(4))]);
    cluster.run(SECOND * 30);
    assert!(settled_at(&cluster, 1, &[1, 2, 3]));
    let term = cluster.node(1).core().status().term;
    cluster.heal();
    assert!(
        cluster
            .run_until(SECOND * 10, |cluster| { cluster.node(4).core().status().barred == Some(VotingBar::Removed) })
    );
    cluster.run(SECOND * 20);
    assert_eq!((cluster.leader(), cluster.node(1).core().status().term), (Some(1), term));
    // It is admitted again, with the log that it still has.
    cluster.change(1, [MemberChange::Add(Member::voter(NodeId(4)))]);
    assert!(cluster.run_until(SECOND * 5, |cluster| settled_at(cluster, 1, &[1, 2, 3, 4])));
    cluster.run(SECOND);
    assert_eq!(cluster.node(4).core().status().barred, None);
}

/// Node 6 does not know yet that it votes. The candidate does, and needs its vote.
#[test]
fn a_voter_votes_before_it_knows_that_it_is_one() {
    let mut cluster = group(3, 3);
    let learners = [4, 5, 6].map(|node| MemberChange::Add(Member::learner(NodeId(node))));
    cluster.change(1, learners);
    cluster.run(SECOND);
    cluster.change(1, [replace(1, 4), replace(2, 5), replace(3, 6)]);
    // Node 6 has caught up, and receives nothing of its promotion.
    cluster.settle();
    cluster.isolate(6);
    let is_final = |cluster: &Cluster| (4..=5).all(|node| settled_at(cluster, node, &[4, 5, 6]));
    assert!(cluster.run_until(SECOND * 5, is_final));
    for node in 1..=4 {
        cluster.crash(node);
    }
    cluster.heal();
    assert_eq!(cluster.elect(), 5, "6 is behind, and votes");
}

#[test]
fn a_configuration_that_is_truncated_is_not_in_force_any_more() {
    let mut cluster = group(3, 1);
    let before = cluster.members(1);
    cluster.isolate(1);
    cluster.change(1, [MemberChange::Add(Member::learner(NodeId(4)))]);
    assert_ne!(cluster.members(1), before);
    cluster.run(SECOND * 5);
    let leader = cluster.elect();
    cluster.propose(leader, b"another");
    cluster.heal();
    cluster.run(SECOND * 3);
    assert_eq!(cluster.members(1), before);
    assert_eq!(cluster.members(1), Configuration::of_voters([NodeId(1), NodeId(2), NodeId(3)]));
}

#[test]
fn a_demoted_voter_learns_on() {
    let mut cluster = group(3, 0);
    cluster.change(1, [MemberChange::Demote(NodeId(3))]);
    assert!(cluster.run_until(SECOND * 3, |cluster| settled_at(cluster, 1, &[1, 2])));
    cluster.propose(1, b"after");
    cluster.run(SECOND);
    let status = cluster.node(3).core().status();
    assert_eq!((status.role, status.barred), (Role::Learner, Some(VotingBar::NotVoter)));
    assert_eq!(cluster.node(3).commands(), [b"after"]);
    cluster.change(1, [MemberChange::Promote(NodeId(3))]);
    assert!(cluster.run_until(SECOND * 3, |cluster| settled_at(cluster, 1, &[1, 2, 3])));
}

/// Only the leader has the entry that removes it, so it cannot vote for the other node, which would be the only voter.
/// It must lead once more (thesis §4.2.2).
#[test]
fn a_node_that_is_removed_leads_until_that_is_committed() {
    let mut cluster = group(2, 0);
    cluster.hold(|_, to, message| to == NodeId(1) && matches!(message, Message::AppendResponse(_)));
    cluster.change(1, [MemberChange::Remove(NodeId(1))]);
    cluster.settle();
    cluster.isolate(2);
    cluster.release();
    assert!(!cluster.members(1).is_joint(), "the joint configuration is committed");
    assert!(cluster.members(2).is_joint());
    cluster.run(SECOND * 5);
    assert_ne!(cluster.node(1).core().status().role, Role::Leader, "it has lost its quorum");
    cluster.heal();
    assert!(cluster.run_until(SECOND * 10, |cluster| settled_at(cluster, 2, &[2]) && cluster.leader() == Some(2)));
}

/// One-node groups have no peers to lose, and no majority to wait for.
#[test]
fn a_group_grows_from_one_node_to_three_and_back() {
    let mut cluster = group(1, 2);
    cluster.change(1, [2, 3].map(|node| MemberChange::Add(Member::voter(NodeId(node)))));
    assert!(cluster.run_until(SECOND * 5, |cluster| settled_at(cluster, 1, &[1, 2, 3])));
    cluster.change(1, [1, 2].map(|node| MemberChange::Remove(NodeId(node))));
    assert!(cluster.run_until(SECOND * 5, |cluster| settled_at(cluster, 3, &[3]) && cluster.leader() == Some(3)));
    cluster.propose(3, b"alone");
    cluster.run(SECOND);
    assert_eq!(cluster.node(3).commands(), [b"alone"]);
}

/// Two leaders each begin a change that the other does not know (the single-server changes of the thesis, corrected in
/// 2015). No two quorums may decide apart from each other.
#[test]
fn row_02_two_concurrent_changes() {
    let mut cluster = group(4, 0);
    cluster.isolate(1);
    cluster.change(1, [MemberChange::Remove(NodeId(4))]);
    assert!(cluster.run_until(SECOND * 5, |cluster| cluster.leader().is_some_and(|leader| leader != 1)));
    let second = cluster.leader().expect("just seen");
    // The second leader's change reaches nobody either.
    cluster.isolate(second);
    cluster.change(second, [MemberChange::Remove(NodeId(if second == 2 { 3 } else { 2 }))]);
    cluster.run(SECOND * 2);
    cluster.heal();
    let id = loop {
        let leader = cluster.elect();
        let id = cluster.change(leader, [MemberChange::Demote(NodeId(if leader == 4 { 3 } else { 4 }))]);
        if cluster.refusal(leader, id).is_none() {
            break id;
        }
        cluster.run(SECOND);
    };
    cluster.run(SECOND * 3);
    let leader = cluster.elect();
    assert_eq!(cluster.refusal(leader, id), None);
    assert_eq!((cluster.members(leader).voters().count(), cluster.members(leader).is_joint()), (3, false));
}

/// A short leader's uncommitted members are gone once a snapshot with other members has come (openraft#1808).
#[test]
fn row_04_snapshot_over_uncommitted_membership() {
    let mut cluster = group(3, 1);
    cluster.isolate(1);
    cluster.change(1, [MemberChange::Remove(NodeId(2)), MemberChange::Remove(NodeId(3))]);
    assert!(cluster.members(1).is_joint());
    cluster.run(SECOND * 5);
    let leader = cluster.elect();
    cluster.change(leader, [MemberChange::Add(Member::learner(NodeId(4)))]);
    for _ in 0..10 {
        cluster.propose(leader, b"covered");
    }
    cluster.run(SECOND);
    for node in 2..=4 {
        cluster.snapshot(node, 0);
    }
    cluster.heal();
    let has_snapshot = |cluster: &Cluster| {
        cluster.node(1).core().status().first_index > cluster.node(1).core().status().configuration_index
    };
    assert!(cluster.run_until(SECOND * 5, has_snapshot), "the log starts after the snapshot");
    assert_eq!(cluster.members(1), cluster.members(leader));
    // It could win alone only by the members that are gone.
    cluster.isolate(1);
    cluster.run(SECOND * 20);
    assert_ne!(cluster.node(1).core().status().role, Role::Leader);
}

/// A member that rests after 100 time-outs away, and one that was removed without being told, raise no term.
#[test]
fn row_16_a_rejoining_voter_and_a_removed_server() {
    let mut cluster = group(5, 0);
    cluster.isolate(5);
    cluster.isolate(4);
    cluster.change(1, [MemberChange::Remove(NodeId(4))]);
    cluster.run(SECOND * 100);
    let term = cluster.node(1).core().status().term;
    cluster.heal();
    for _ in 0..100 {
        cluster.propose(1, b"x");
        cluster.run(SECOND / 2);
    }
    assert_eq!((cluster.leader(), cluster.node(1).core().status().term), (Some(1), term));
    assert_eq!(cluster.node(5).commands().len(), 100);
    assert_eq!(cluster.node(4).core().status().barred, Some(VotingBar::Removed));
}

/// Every draw of a time-out is a new one, so two survivors with equal draws part at the next (openraft#1838). More
/// seeds: `QUORATE_RAFT_SEEDS=10000`.
#[test]
fn row_27_equal_draws() {
    for seed in 0..from_environment("QUORATE_RAFT_SEEDS", 200) {
        let mut cluster = Builder::new(3, seed).start();
        cluster.elect_node(1);
        cluster.crash(1);
        // Both survivors campaign at the same moment, twice.
        for _ in 0..2 {
            cluster.park(2, 3);
            cluster.park(3, 2);
            cluster.run(SECOND);
            cluster.time_out(2);
            cluster.time_out(3);
            cluster.release();
        }
        let is_led = cluster.run_until(SECOND * 10, |cluster| cluster.leader().is_some());
        assert!(is_led, "seed {seed}: a leader within ten time-outs");
    }
}

/// A learner that waits for its promotion gets it once, when it has caught up, from whichever leader there is then.
#[test]
fn row_29_promotion_by_the_system() {
    let mut cluster = group(3, 1);
    cluster.isolate(4);
    cluster.change(1, [MemberChange::Add(Member::voter(NodeId(4)))]);
    cluster.propose(1, b"x");
    cluster.run(SECOND * 3);
    assert_eq!(voters(&cluster, 1), [1, 2, 3], "it is cut off");
    cluster.crash(1);
    let leader = cluster.elect();
    cluster.run(SECOND * 3);
    assert_eq!(voters(&cluster, leader), [1, 2, 3], "it is cut off from the next leader as well");
    cluster.signal(NodeId(4), Signal::Storage(StorageLevel::Low));
    cluster.heal();
    cluster.run(SECOND * 3);
    assert_eq!(voters(&cluster, leader), [1, 2, 3], "its disk is full");
    cluster.signal(NodeId(4), Signal::Storage(StorageLevel::Enough));
    assert!(cluster.run_until(SECOND * 3, |cluster| settled_at(cluster, leader, &[1, 2, 3, 4])));
    cluster.restart(1);
    cluster.run(SECOND * 3);
    let applied = &cluster.node(1).application.applied;
    let joint = applied.iter().filter(|(_, _, entry)| {
        Configuration::decode(&entry.payload).is_ok_and(|configuration| configuration.is_joint())
    });
    assert_eq!(joint.count(), 1, "it is promoted once");
}

#[test]
fn row_29_a_removal_cancels_the_promotion() {
    let mut cluster = group(3, 1);
    cluster.isolate(4);
    cluster.change(1, [MemberChange::Add(Member::voter(NodeId(4)))]);
    cluster.run(SECOND);
    cluster.change(1, [MemberChange::Remove(NodeId(4))]);
    cluster.heal();
    cluster.run(SECOND * 5);
    assert!(settled_at(&cluster, 1, &[1, 2, 3]));
    assert!(!cluster.members(1).contains(NodeId(4)));
}

/// Two voters are replaced at once, and the leader that began it is gone in the midst of it, at any moment.
#[test]
fn row_34_two_changes_race_a_leader_change() {
    for moment in 0..60 {
        let mut cluster = Builder::new(3, moment).joining(2).start();
        cluster.elect_node(1);
        cluster.faults.latency_max = Duration::from_millis(20);
        cluster.run(SECOND / 2);
        let both = [replace(2, 4), replace(3, 5)];
        let id = cluster.change(1, both.clone());
        assert_eq!(cluster.refusal(1, id), None);
        cluster.run(Duration::from_millis(moment * 5));
        cluster.isolate(if moment % 2 == 0 { 4 } else { 2 });
        cluster.crash(1);
        cluster.run(SECOND);
        cluster.isolate(if moment % 2 == 0 { 2 } else { 4 });
        cluster.run(SECOND);
        cluster.restart(1);
        cluster.heal();
        let is_done = |cluster: &Cluster| {
            cluster.leader().is_some_and(|leader| {
                settled_at(cluster, leader, &[1, 4, 5]) || settled_at(cluster, leader, &[1, 2, 3])
            })
        };
        cluster.run(SECOND * 10);
        assert!(cluster.run_until(SECOND * 20, is_done), "moment {moment}");
        let leader = cluster.elect();
        // The same call again: it is done, or it was never begun.
        let again = cluster.change(leader, both);
        let refused = cluster.refusal(leader, again);
        if voters(&cluster, leader) == [1, 4, 5] {
            let gone = RefuseReason::ConfigurationInvalid(ConfigurationError::NotMember(NodeId(2)));
            assert_eq!(refused, Some(gone), "moment {moment}");
        } else {
            assert_eq!(refused, None, "moment {moment}");
        }
    }
}

/// A removed node that the leader reaches learns of its removal from the log, and asks nobody for votes.
#[test]
fn a_removed_node_learns_it_from_the_log() {
    let mut cluster = group(3, 0);
    cluster.propose(1, b"x");
    cluster.run(SECOND);
    cluster.hold(|from, _, message| from == NodeId(3) && matches!(message, Message::RequestVote(_)));
    cluster.change(1, [MemberChange::Remove(NodeId(3))]);
    cluster.run(SECOND * 30);
    assert_eq!(cluster.node(3).core().status().barred, Some(VotingBar::Removed));
    assert_eq!(cluster.parked().len(), 0, "it never campaigned");
    assert!(cluster.node(1).core().status().peers.iter().all(|peer| peer.node != NodeId(3)), "it gets no more");
}

/// The log is kept for peers that are alive and behind, but not for one that is a member no more.
#[test]
fn a_removed_peer_does_not_hold_the_log() {
    let mut cluster = group(3, 0);
    cluster.propose(1, b"x");
    cluster.run(SECOND);
    // Node 3 answers heartbeats, and gets no entries.
    cluster.hold(|_, to, message| to == NodeId(3) && matches!(message, Message::AppendEntries(_)));
    for _ in 0..50 {
        cluster.propose(1, b"x");
    }
    cluster.run(SECOND);
    cluster.change(1, [MemberChange::Remove(NodeId(3))]);
    cluster.run(SECOND);
    assert!(cluster.node(1).core().status().peers.iter().any(|peer| peer.node == NodeId(3)), "it is still sent to");
    cluster.snapshot(1, 0);
    cluster.settle();
    let status = cluster.node(1).core().status();
    assert_eq!(status.first_index, status.commit_index.next(), "nothing is kept for it");
}

/// Entries come faster than the learner's disk takes them: it would slow the group down as a voter.
#[test]
fn a_learner_that_never_catches_up_is_not_promoted() {
    let mut cluster = group(3, 1);
    cluster.change(1, [MemberChange::Add(Member::voter(NodeId(4)))]);
    cluster.settle();
    for moment in 0..200 {
        cluster.propose(1, b"x");
        cluster.run(SECOND / 20);
        if moment % 16 == 0 {
            cluster.release_disk(4);
            cluster.settle();
            cluster.hold_disk(4);
        }
    }
    assert_eq!(voters(&cluster, 1), [1, 2, 3], "each round takes 0.8 s");
    cluster.release_disk(4);
    assert!(cluster.run_until(SECOND * 5, |cluster| settled_at(cluster, 1, &[1, 2, 3, 4])));
}

#[test]
fn a_spare_takes_the_place_of_a_voter_that_is_gone() {
    let settings = Settings { replace_after: Some(SECOND * 10), ..Settings::default() };
    let mut cluster = group_with(settings, 3, 1);
    cluster.change(1, [MemberChange::Add(Member::learner(NodeId(4)))]);
    cluster.run(SECOND);
    cluster.crash(3);
    cluster.run(SECOND * 9);
    assert!(settled_at(&cluster, 1, &[1, 2, 3]), "it may come back");
    cluster.run(SECOND * 2);
    assert!(settled_at(&cluster, 1, &[1, 2, 4]));
    // It comes back as a spare, and takes the next place.
    cluster.restart(3);
    cluster.run(SECOND * 2);
    cluster.crash(2);
    cluster.run(SECOND * 11);
    assert!(settled_at(&cluster, 1, &[1, 3, 4]), "{:?}", cluster.members(1));
}

#[test]
fn nobody_is_replaced_unless_that_is_asked_for() {
    let mut cluster = group(3, 1);
    cluster.change(1, [MemberChange::Add(Member::learner(NodeId(4)))]);
    cluster.crash(3);
    cluster.run(SECOND * 200);
    assert!(settled_at(&cluster, 1, &[1, 2, 3]));
}

#[test]
fn a_voter_of_higher_priority_leads_once_it_has_caught_up() {
    let mut cluster = group(3, 0);
    cluster.isolate(3);
    cluster.change(1, [MemberChange::Update { node: NodeId(3), priority: Some(9), context: None }]);
    cluster.run(SECOND * 5);
    assert_eq!(cluster.leader(), Some(1), "it is cut off");
    cluster.heal();
    assert!(cluster.run_until(SECOND * 10, |cluster| cluster.leader() == Some(3)));
    let term = cluster.node(3).core().status().term;
    cluster.run(SECOND * 60);
    assert_eq!((cluster.leader(), cluster.node(3).core().status().term), (Some(3), term), "it stays");
}

#[test]
fn a_voter_of_priority_zero_never_leads() {
    let mut cluster = group(3, 0);
    cluster.change(1, [MemberChange::Update { node: NodeId(3), priority: Some(0), context: None }]);
    cluster.run(SECOND);
    cluster.crash(1);
    assert_eq!(cluster.elect(), 2);
    cluster.restart(1);
    cluster.run(SECOND);
    cluster.crash(2);
    assert_eq!(cluster.elect(), 1);
}

/// A follower that answers heartbeats while its disk stands still counts for no quorum, and the leader knows it
/// (hashicorp#612). As leader it gives way. It needs no restart.
#[test]
fn row_28_hears_and_does_not_persist() {
    let mut cluster = group(3, 0);
    cluster.hold_disk(3);
    for _ in 0..100 {
        cluster.propose(1, b"x");
        cluster.run(SECOND / 2);
    }
    let status = cluster.node(1).core().status();
    let third = status.peers.iter().find(|peer| peer.node == NodeId(3)).expect("a peer");
    assert_eq!((third.disk, third.is_active), (DiskState::Stalled, true));
    assert_eq!(status.commit_index, status.last_index, "the others are a quorum");
    assert!(third.match_index < status.commit_index, "what it did not write counts for nothing");
    cluster.release_disk(3);
    cluster.run(SECOND * 2);
    assert_eq!(cluster.node(3).commands().len(), 100);
    cluster.hold_disk(1);
    cluster.propose(1, b"y");
    assert!(cluster.run_until(SECOND * 10, |cluster| cluster.leader().is_some_and(|leader| leader != 1)));
    let leader = cluster.leader().expect("just seen");
    for _ in 0..100 {
        cluster.propose(leader, b"z");
        cluster.run(SECOND / 2);
    }
    assert_eq!(cluster.leader(), Some(leader));
    cluster.release_disk(1);
    cluster.run(SECOND * 2);
    assert_eq!(cluster.node(1).commands().len(), cluster.node(leader).commands().len());
}
