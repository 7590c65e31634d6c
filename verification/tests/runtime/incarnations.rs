//! Wiped disks under real cores: a node that has lost its votes does not vote again.

use std::time::Duration;

use quorate_protocol::{GroupId, NodeId, ReplicatedLog, VotingBar};
use quorate_raft::Settings;
use quorate_runtime::group::Notice;

use crate::world::{NODES, World};

const GROUP: u64 = 1;
const LONG: Duration = Duration::from_secs(20);

fn has_leader(world: &World) -> bool {
    world.leader(GROUP).is_some()
}

fn bar(world: &World, id: u64) -> Option<VotingBar> {
    world.node(id).voting_bar(GroupId(GROUP))
}

/// Three nodes of which one leads, with one committed command.
fn settled() -> World {
    settle(World::new(1, Settings::default()))
}

/// Starts all nodes and commits one command.
fn settle(mut world: World) -> World {
    world.start(1);
    world.start(2);
    world.start(3);
    assert!(world.run_until(LONG, has_leader));
    world.propose(GROUP, b"acknowledged");
    world.run(Duration::from_secs(1));
    world
}

#[test]
fn with_a_wiped_voter_and_a_node_down_nothing_is_committed() {
    let mut world = settled();
    let before = world.commit_index(1, GROUP);
    for id in NODES {
        world.kill(id);
    }
    world.wipe(2);
    world.restart(1);
    world.restart(2);
    world.run(LONG);
    assert_eq!(world.leader(GROUP), None, "the wiped node's vote does not count");
    assert!(world.commit_index(1, GROUP) <= before);
    assert_eq!((bar(&world, 1), bar(&world, 2)), (None, Some(VotingBar::WipedDisk)));
    assert!(world.notices.iter().any(|(id, notice)| *id == 2 && matches!(notice, Notice::SelfStranger { .. })));
    // With the third node there is a quorum without the wiped one, which catches up as a stranger.
    world.restart(3);
    assert!(world.run_until(LONG, has_leader));
    assert_ne!(world.leader(GROUP), Some(2));
    world.propose(GROUP, b"more");
    world.run(Duration::from_secs(2));
    let leader = world.leader(GROUP).expect("it still leads");
    assert!(world.commit_index(leader, GROUP) > before);
    assert_eq!(world.commit_index(2, GROUP), world.commit_index(leader, GROUP), "a stranger receives entries");
}

#[test]
fn a_wiped_voter_that_one_node_never_met_does_not_vote() {
    let mut world = World::new(1, Settings::default());
    world.start(2);
    world.start(3);
    world.run(Duration::from_secs(3));
    assert_eq!(world.leader(GROUP), None, "nobody votes before all initial voters have met");
    world.kill(3);
    world.kill(2);
    world.wipe(2);
    world.restart(2);
    world.start(1);
    world.run(LONG);
    assert_eq!(world.leader(GROUP), None, "two nodes that never met the third are no quorum");
    assert_eq!((bar(&world, 1), bar(&world, 2)), (Some(VotingBar::NotIntroduced), Some(VotingBar::NotIntroduced)));
    world.restart(3);
    world.run(LONG);
    assert_eq!(bar(&world, 2), Some(VotingBar::WipedDisk));
}

#[test]
fn all_killed_and_restarted_everything_acknowledged_is_there() {
    let mut world = settled();
    let leader = world.leader(GROUP).expect("it leads");
    let committed = world.commit_index(leader, GROUP);
    for id in NODES {
        world.kill(id);
    }
    for id in NODES {
        world.restart(id);
    }
    assert!(world.run_until(LONG, has_leader));
    let leader = world.leader(GROUP).expect("it leads");
    assert!(world.commit_index(leader, GROUP) > committed, "the new leader's first entry stands behind it");
}

#[test]
fn a_backup_put_back_after_a_restart_counts_for_nothing() {
    let mut world = settled();
    let backup = world.backup(2);
    for _ in 0..2 {
        world.kill(2);
        world.restart(2);
        world.run(Duration::from_secs(1));
    }
    world.propose(GROUP, b"acknowledged since the backup");
    world.run(Duration::from_secs(1));
    world.kill(2);
    world.restore(2, backup);
    world.restart(2);
    world.run(Duration::from_secs(2));
    assert_eq!(bar(&world, 2), Some(VotingBar::OlderCopy));
    assert!(world.notices.iter().any(|(id, notice)| *id == 2 && matches!(notice, Notice::SelfOlder { .. })));
    let leader = world.leader(GROUP).expect("two are a quorum");
    assert_eq!(
        world.commit_index(2, GROUP),
        world.commit_index(leader, GROUP),
        "it is barred from deciding, not from learning"
    );
    // One of the two nodes that count stops: the copy does not replace it.
    let other = NODES.into_iter().find(|id| *id != 2 && *id != leader).expect("three");
    world.kill(other);
    world.run(LONG);
    assert_eq!(world.leader(GROUP), None);
}

/// The copy is of the start that the peers know, so the start does not reveal it. The leader detects it, because it
/// knows the acknowledged entries.
#[test]
fn a_copy_of_the_newest_start_counts_for_nothing_once_its_leader_misses_what_it_acknowledged() {
    let mut world = settled();
    let leader = world.leader(GROUP).expect("it leads");
    let copied = NODES.into_iter().find(|id| *id != leader).expect("three");
    let backup = world.backup(copied);
    world.propose(GROUP, b"acknowledged since the backup");
    world.run(Duration::from_secs(1));
    world.kill(copied);
    world.restore(copied, backup);
    world.restart(copied);
    world.run(Duration::from_secs(5));
    assert_eq!(bar(&world, copied), Some(VotingBar::OlderCopy));
    assert!(world.notices.contains(&(leader, Notice::PeerOlder { peer: NodeId(copied) })));
    assert_eq!(world.leader(GROUP), Some(leader), "two are a quorum");
    assert_eq!(world.commit_index(copied, GROUP), world.commit_index(leader, GROUP), "it learns");
    let other = NODES.into_iter().find(|id| *id != copied && *id != leader).expect("three");
    world.kill(other);
    world.run(LONG);
    assert_eq!(world.leader(GROUP), None, "the copy does not make up for a lost node");
}

#[test]
fn nodes_of_one_name_with_other_first_members_never_mix() {
    let mut world = World::new(1, Settings::default());
    world.descriptions.insert(1, vec![1]);
    let mut world = settle(world);
    assert_eq!((world.leader(GROUP), world.commit_index(2, GROUP).0), (Some(1), 0), "acknowledged by node 1 alone");
    world.kill(1);
    world.descriptions.clear();
    world.restart(1);
    world.run(LONG);
    assert_eq!(world.leader(GROUP), Some(1), "it goes on as it was founded");
    for id in [2, 3] {
        assert_eq!(bar(&world, id), Some(VotingBar::FoundedOtherwise));
        assert_eq!(world.commit_index(id, GROUP).0, 0, "nothing of node 1 was taken");
        assert!(world.raft(id, GROUP).status().halted.is_none());
    }
    let said =
        |of: u64| world.notices.iter().any(|(id, told)| *id == of && matches!(told, Notice::FoundedOtherwise { .. }));
    assert!(said(1) && said(2) && said(3), "both sides say why");
    let described = |(id, told): &(u64, Notice)| *id == 1 && matches!(told, Notice::DescribedOtherwise { .. });
    assert!(world.notices.iter().any(described), "and that the description says otherwise");
}

#[test]
fn a_node_whose_own_stream_found_no_room_once_goes_on() {
    let mut world = settled();
    let leader = world.leader(GROUP).expect("it leads");
    let restarted = NODES.into_iter().find(|id| *id != leader).expect("three");
    // The leader's disk refuses the record of the restarted node's start, once.
    world.refuse_own_write(leader);
    world.kill(restarted);
    world.restart(restarted);
    world.run(Duration::from_secs(5));
    assert!(world.notices.contains(&(leader, Notice::OwnStreamRefused)));
    world.propose(GROUP, b"more");
    world.run(Duration::from_secs(3));
    let committed = world.commit_index(leader, GROUP);
    for id in NODES {
        assert_eq!(world.commit_index(id, GROUP), committed, "node {id}");
    }
}
