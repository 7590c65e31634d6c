//! The incarnation rules: who counts for what after a start, a restart, a wiped disk.

use quorate_protocol::{GroupId, NodeId, Standing, VotingBar};
use quorate_transport::Received;

use super::World;
use crate::Notice;
use crate::node::message::NodeMessage;
use crate::node::{NodeInput, NodeOutput, node_frame};

const GROUP: GroupId = GroupId(1);

#[test]
fn fresh_nodes_vote_once_all_three_know_each_other_durably() {
    let mut world = World::new(1);
    world.start(1);
    world.start(2);
    world.run();
    assert_eq!(world.node(1).voting_bar(GROUP), Some(VotingBar::NotIntroduced));
    assert_eq!(world.node(1).standing(NodeId(2)), Standing::Member);
    world.start(3);
    world.run();
    for id in 1..=3 {
        assert_eq!(world.node(id).voting_bar(GROUP), None, "node {id}");
        let told = format!("PeerStanding {{ node: NodeId({id}), standing: Member }}");
        assert!(world.fake(id, 1).seen.contains(&told), "node {id}: {:?}", world.fake(id, 1).seen);
    }
}

#[test]
fn nothing_counts_before_it_is_durable() {
    let mut world = World::new(1);
    (1..=3).for_each(|id| world.start(id));
    world.stalled.insert(NodeId(2));
    world.run();
    assert_eq!(world.node(2).standing(NodeId(1)), Standing::Stranger);
    assert_eq!(world.node(2).voting_bar(GROUP), Some(VotingBar::NotIntroduced));
    // Node 2 must not say that it knows the others, so they do not vote either.
    assert_eq!(world.node(1).voting_bar(GROUP), Some(VotingBar::NotIntroduced));
}

#[test]
fn restarted_nodes_vote_at_once_though_they_are_alone() {
    let mut world = World::introduced(1);
    (1..=3).for_each(|id| world.stop(id));
    world.start(2);
    world.settle();
    assert_eq!(world.node(2).voting_bar(GROUP), None);
    assert_eq!(world.node(2).standing(NodeId(1)), Standing::Member);
    assert!(world.fake(2, 1).seen.contains(&"Barred(None)".to_owned()));
}

#[test]
fn a_wiped_voter_does_not_vote_while_the_third_node_is_down() {
    let mut world = World::introduced(1);
    world.stop(3);
    let known = world.incarnations[&NodeId(2)];
    world.wipe(2);
    world.start(2);
    world.run();
    assert_eq!(world.node(2).voting_bar(GROUP), Some(VotingBar::WipedDisk));
    assert_eq!(world.node(1).standing(NodeId(2)), Standing::Stranger);
    assert!(world.notices.contains(&(NodeId(2), Notice::SelfStranger { peer: NodeId(1), known })));
    // Nor when all are there again: it takes an operator.
    world.start(3);
    world.run();
    assert_eq!(world.node(2).voting_bar(GROUP), Some(VotingBar::WipedDisk));
    assert_eq!(world.node(3).standing(NodeId(2)), Standing::Stranger);
    assert_eq!((world.node(1).voting_bar(GROUP), world.node(3).voting_bar(GROUP)), (None, None));
}

#[test]
fn a_wiped_voter_that_one_node_never_met_does_not_vote() {
    let mut world = World::new(1);
    world.start(2);
    world.start(3);
    world.run();
    world.stop(3);
    world.wipe(2);
    world.start(2);
    world.start(1);
    world.run();
    // Node 1 takes the new node 2 for the only one there ever was, and that is not enough.
    assert_eq!(world.node(1).standing(NodeId(2)), Standing::Member);
    assert_eq!(world.node(1).voting_bar(GROUP), Some(VotingBar::NotIntroduced));
    assert_eq!(world.node(2).voting_bar(GROUP), Some(VotingBar::NotIntroduced));
    world.start(3);
    world.run();
    assert_eq!(world.node(2).voting_bar(GROUP), Some(VotingBar::WipedDisk));
}

#[test]
fn two_wiped_voters_do_not_make_a_quorum_of_strangers() {
    let mut world = World::introduced(1);
    world.stop(3);
    for id in [1, 2] {
        world.wipe(id);
        world.start(id);
    }
    world.run();
    for id in [1, 2] {
        assert_eq!(world.node(id).voting_bar(GROUP), Some(VotingBar::NotIntroduced), "node {id}");
    }
}

#[test]
fn a_wiped_node_comes_to_know_every_peer_though_the_first_bars_it() {
    let mut world = World::introduced(1);
    world.wipe(2);
    world.start(2);
    // Both peers say at once that they know another disk. The second must be met as well, or its entries are never taken.
    for peer in [1, 3] {
        let known = NodeMessage::Mismatch { known: quorate_protocol::Incarnation(102) };
        let (now, from) = (world.now, world.sender(peer));
        let received = Received { from, frame: node_frame(&known, Vec::new()) };
        world.node(2).handle(now, NodeInput::Frame(received));
        while let Some(output) = world.node(2).poll_output() {
            if let NodeOutput::Write(writes) = output {
                for write in writes {
                    let persisted = NodeInput::Persisted { stream: write.stream, ticket: write.ticket };
                    world.node(2).handle(now, persisted);
                }
            }
        }
    }
    assert_eq!(world.node(2).voting_bar(GROUP), Some(VotingBar::WipedDisk));
    assert_eq!([1, 3].map(|peer| world.node(2).standing(NodeId(peer))), [Standing::Member; 2]);
}

#[test]
fn what_a_stranger_says_of_us_counts_for_nothing() {
    let mut world = World::introduced(1);
    // Node 1 loses its disk and meets an impostor of node 2 first.
    world.stop(2);
    world.wipe(1);
    world.start(1);
    world.stop(3);
    let real = (world.disks[&NodeId(2)].clone(), world.incarnations[&NodeId(2)]);
    world.wipe(2);
    world.start(2);
    world.run();
    world.stop(2);
    world.disks.insert(NodeId(2), real.0);
    world.incarnations.insert(NodeId(2), real.1);
    world.start(2);
    world.run();
    assert_eq!(world.node(2).voting_bar(GROUP), None);
    assert_eq!(world.node(2).standing(NodeId(1)), Standing::Stranger);
}

#[test]
fn a_stranger_is_one_from_its_first_frame_on() {
    let mut world = World::introduced(1);
    world.wipe(2);
    world.incarnations.insert(NodeId(2), quorate_protocol::Incarnation(999));
    world.give(1, 1, 2, "hello");
    world.settle();
    let seen = &world.fake(1, 1).seen;
    let stranger = seen.iter().rposition(|seen| seen == "PeerStanding { node: NodeId(2), standing: Stranger }");
    let frame = seen.iter().position(|seen| seen == "hello from 2");
    assert!(stranger.expect("told") < frame.expect("passed on"), "{seen:?}");
}

#[test]
fn introductions_end_when_they_are_done() {
    let mut world = World::introduced(1);
    world.run();
    let frames = world.frames;
    world.settle();
    assert_eq!(world.frames, frames, "an idle world is silent between heartbeats");
    let syncs: u64 = world.disks.values().map(|disk| disk.syncs).sum();
    world.run();
    assert_eq!(world.disks.values().map(|disk| disk.syncs).sum::<u64>(), syncs);
    // Three beats, one heartbeat to each peer from each node.
    assert_eq!(world.frames - frames, 3 * 6);
}
