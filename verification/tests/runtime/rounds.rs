//! Rounds of the loop: several frames, then a time-out, then their outputs.

use std::time::Duration;

use quorate_protocol::{DiskState, Incarnation, LogIndex, NodeId, ReplicatedLog, Role};
use quorate_raft::message::{AppendOutcome, AppendResponse, HeartbeatResponse, Pace};
use quorate_raft::{Message, Settings};
use quorate_transport::Sender;

use crate::world::{NODES, World};

const LONG: Duration = Duration::from_mins(1);

/// Three nodes with this number of groups, each of which has a leader.
fn led(groups: u64) -> World {
    let mut world = World::new(groups, Settings::default());
    for id in NODES {
        world.start(id);
    }
    assert!(world.run_until(LONG, |world| (1..=groups).all(|group| world.leader(group).is_some())));
    world.run(Duration::from_secs(3));
    world
}

#[test]
fn a_leader_whose_loop_stood_still_reads_its_answers_before_it_steps_down() {
    let mut world = led(1);
    let leader = world.leader(1).expect("it leads");
    world.propose(1, b"keeps the group from falling silent");
    world.run(Duration::from_millis(20));
    // The leader's heartbeats are sent and answered, and the answers lie in its inbox. Its loop is blocked for longer
    // than a leader keeps its office without answers.
    world.pass(Settings::default().heartbeat_interval);
    world.round(leader);
    world.deliver();
    NODES.into_iter().filter(|id| *id != leader).for_each(|id| world.round(id));
    world.deliver();
    world.pass(Settings::default().election_timeout_max);
    world.round(leader);
    assert_eq!(world.raft(leader, 1).status().role, Role::Leader, "the answers of a quorum lay in its inbox");
}

#[test]
fn bundles_do_not_overtake_single_frames() {
    let mut world = led(12);
    let led_by = |world: &World, id| (1..=12).filter(|group| world.leader(*group) == Some(id)).collect::<Vec<u64>>();
    let leader = NODES.into_iter().max_by_key(|id| led_by(&world, *id).len()).expect("three");
    let groups = led_by(&world, leader);
    let first = groups[0];
    let last = |world: &World, id: u64| world.raft(id, first).status().last_index.0;
    let before = last(&world, leader);
    // Two entries of the first group: one goes alone, the next in a bundle with others.
    world.propose(first, b"one");
    world.round(leader);
    groups[..3].iter().for_each(|group| world.propose(*group, b"two"));
    world.round(leader);
    world.deliver();
    for other in NODES.into_iter().filter(|id| *id != leader) {
        world.round(other);
        assert_eq!(last(&world, other), before + 2, "nothing was lost or reordered");
    }
}

/// Two processes run under one id: the node, and a stranger with an empty disk.
fn acknowledged_by_a_stranger(is_followed_by_the_known_one: bool) {
    let mut world = led(1);
    let leader = world.leader(1).expect("it leads");
    let peer = NODES.into_iter().find(|id| *id != leader).expect("another");
    let known = world.node(peer).identity().incarnation;
    let before = world.raft(leader, 1).status();
    world.propose(1, b"x");
    world.round(leader);
    world.round(leader);
    let index = world.raft(leader, 1).status().last_index;
    assert_eq!(world.raft(leader, 1).status().commit_index, before.commit_index);
    let from = |incarnation| Sender { node: NodeId(peer), incarnation };
    let outcome = AppendOutcome::Matched { match_index: index };
    let acknowledgement = Message::AppendResponse(AppendResponse { term: before.term, outcome });
    let mut messages = vec![(from(Incarnation(999)), acknowledgement)];
    if is_followed_by_the_known_one {
        let (received_index, match_index, durable_index) = (LogIndex(0), LogIndex(0), index);
        let (term, pace, disk) = (before.term, Pace::Lively, DiskState::Ready);
        let alive = HeartbeatResponse { term, round: 0, received_index, match_index, durable_index, pace, disk };
        messages.push((from(known), Message::HeartbeatResponse(alive)));
    }
    world.hand_in(leader, messages);
    assert_eq!(world.raft(leader, 1).status().commit_index, before.commit_index, "nobody but the leader has it");
}

#[test]
fn what_a_stranger_acknowledges_never_counts() {
    acknowledged_by_a_stranger(false);
}

#[test]
fn what_a_stranger_acknowledges_never_counts_when_the_known_one_speaks_next() {
    acknowledged_by_a_stranger(true);
}
