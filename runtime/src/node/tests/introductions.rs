//! The incarnation rules: the standing of nodes after a start, a restart, a wiped disk.

use std::any::Any;

use bytes::Bytes;
use quorate_protocol::{Configuration, GroupId, Incarnation, NodeId, Signal, Standing, VotingBar};
use quorate_transport::Received;

use super::{Disk, Fake, World};
use crate::group::interface::{Group, GroupOutput, Membership};
use crate::group::notice::Notice;
use crate::node::foundings::{FoundingRun, runs};
use crate::node::message::NodeMessage;
use crate::node::roster::Start;
use crate::node::{NodeInput, NodeOutput, node_frame};

const GROUP: GroupId = GroupId(1);

#[test]
fn fresh_nodes_vote_once_all_three_know_each_other_durably() {
    let mut world = World::new(1);
    world.start(1);
    world.start(2);
    world.run();
    assert_eq!(world.node(1).voting_bar(GROUP), Some(VotingBar::NotIntroduced));
    assert_eq!(world.node(1).standing(NodeId(2), GROUP), Standing::Member);
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
    assert_eq!(world.node(2).standing(NodeId(1), GROUP), Standing::Stranger);
    assert_eq!(world.node(2).voting_bar(GROUP), Some(VotingBar::NotIntroduced));
    // Node 2 must not state that it knows the others, so they do not vote either.
    assert_eq!(world.node(1).voting_bar(GROUP), Some(VotingBar::NotIntroduced));
}

#[test]
fn restarted_nodes_vote_at_once_though_they_are_alone() {
    let mut world = World::introduced(1);
    (1..=3).for_each(|id| world.stop(id));
    world.start(2);
    world.settle();
    assert_eq!(world.node(2).voting_bar(GROUP), None);
    assert!(world.fake(2, 1).seen.contains(&"Barred(None)".to_owned()));
    // The others count once they have stated in this start how they founded the group.
    assert_eq!(world.node(2).standing(NodeId(1), GROUP), Standing::Stranger);
    world.start(1);
    world.run();
    assert_eq!(world.node(2).standing(NodeId(1), GROUP), Standing::Member);
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
    assert_eq!(world.node(1).standing(NodeId(2), GROUP), Standing::Stranger);
    assert!(world.notices.contains(&(NodeId(2), Notice::SelfStranger { peer: NodeId(1), known })));
    // It does not vote either when all nodes are there again: an operator has to act.
    world.start(3);
    world.run();
    assert_eq!(world.node(2).voting_bar(GROUP), Some(VotingBar::WipedDisk));
    assert_eq!(world.node(3).standing(NodeId(2), GROUP), Standing::Stranger);
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
    // Node 1 takes the new node 2 for the only one that ever existed, and that is not enough.
    assert_eq!(world.node(1).standing(NodeId(2), GROUP), Standing::Member);
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
    // Both peers answer at once that they know another disk. The second must be met as well, or its entries are never
    // accepted.
    for peer in [1, 3] {
        let (known, foundings) = (quorate_protocol::Incarnation(102), foundings(&mut world));
        let known = NodeMessage::Mismatch { known, foundings };
        let (now, from) = (world.now, world.sender(peer));
        let received = Received { from, frame: node_frame(&known) };
        world.node(2).handle(now, NodeInput::Frame(received));
        while let Some(output) = world.node(2).poll_output() {
            if let NodeOutput::Write(writes) = output {
                for write in writes {
                    let signal = Signal::Persisted(write.ticket);
                    let persisted = NodeInput::Signal { stream: write.stream, signal };
                    world.node(2).handle(now, persisted);
                }
            }
        }
    }
    assert_eq!(world.node(2).voting_bar(GROUP), Some(VotingBar::WipedDisk));
    assert_eq!([1, 3].map(|peer| world.node(2).standing(NodeId(peer), GROUP)), [Standing::Member; 2]);
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
    assert_eq!(world.node(2).standing(NodeId(1), GROUP), Standing::Stranger);
}

/// The foundings of the groups, equal on all nodes.
fn foundings(world: &mut World) -> Vec<FoundingRun> {
    runs(&world.node(1).roster().groups)
}

/// Node 1 is greeted by the present owner of id 2.
fn greet_1_as_2(world: &mut World) {
    let (start, foundings) = (Start::default(), foundings(world));
    let hello = NodeMessage::Hello { known: None, start, is_older: false, foundings };
    let (now, from) = (world.now, world.sender(2));
    world.node(1).handle(now, NodeInput::Frame(Received { from, frame: node_frame(&hello) }));
}

/// Two processes run under one id. In one round the known node's frame comes after the stranger's.
#[test]
fn each_frame_is_judged_by_its_own_sender() {
    let mut world = World::introduced(1);
    let known = world.incarnations.insert(NodeId(2), Incarnation(999)).expect("it was introduced");
    greet_1_as_2(&mut world);
    world.give(1, 1, 2, "acknowledged");
    world.incarnations.insert(NodeId(2), known);
    greet_1_as_2(&mut world);
    world.give(1, 1, 2, "alive");
    world.settle();
    let of_2 = |seen: &&String| seen.starts_with("PeerStanding { node: NodeId(2)") || seen.ends_with("from 2");
    let seen: Vec<&String> = world.fake(1, 1).seen.iter().filter(of_2).collect();
    let told = |standing| format!("PeerStanding {{ node: NodeId(2), standing: {standing} }}");
    let expected = [&told("Stranger"), &"acknowledged from 2".to_owned(), &told("Member"), &"alive from 2".to_owned()];
    assert!(seen.ends_with(&expected), "{seen:?}");
}

#[test]
fn a_stranger_is_one_from_its_first_frame_on() {
    let mut world = World::introduced(1);
    world.wipe(2);
    world.incarnations.insert(NodeId(2), Incarnation(999));
    world.give(1, 1, 2, "too early");
    // It states how it founded the group. From then on its frames are passed on, but it does not count.
    greet_1_as_2(&mut world);
    world.give(1, 1, 2, "hello");
    world.settle();
    assert!(!world.fake(1, 1).seen.iter().any(|seen| seen.starts_with("too early")));
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

/// Restarts a node with the content that its disk had at an earlier time.
fn restart_on(world: &mut World, id: u64, disk: Disk) {
    world.stop(id);
    world.disks.insert(NodeId(id), disk);
    world.start(id);
}

#[test]
fn an_older_copy_of_a_disk_is_told_before_it_says_a_word_and_never_counts_again() {
    let mut world = World::introduced(1);
    let copy = world.disks[&NodeId(2)].clone();
    world.stop(2);
    world.start(2);
    world.run();
    assert_eq!(world.node(2).voting_bar(GROUP), None, "a start more is no older copy");
    restart_on(&mut world, 2, copy);
    // Its group tries to send at once, as a candidate would that remembers nothing.
    let now = world.now;
    for peer in [1, 3] {
        let outputs = |group: &mut dyn Group| {
            let group: &mut dyn std::any::Any = group;
            group.downcast_mut::<Fake>().expect("a fake").send(peer, "vote for me");
        };
        world.node(2).enter(now, GROUP, outputs);
    }
    world.run();
    assert_eq!(world.node(2).voting_bar(GROUP), Some(VotingBar::OlderCopy));
    for peer in [1, 3] {
        assert_eq!(world.node(peer).standing(NodeId(2), GROUP), Standing::Stranger);
        assert!(!world.fake(peer, 1).seen.iter().any(|seen| seen.starts_with("vote for me")));
    }
    let notices = world.notices.iter();
    assert!(notices.clone().any(|(node, notice)| node.0 == 2 && matches!(notice, Notice::SelfOlder { .. })));
    assert_eq!(notices.filter(|(_, notice)| matches!(notice, Notice::PeerOlder { .. })).count(), 2);
    // It still learns, but does not count, however often it is started.
    for _ in 0..3 {
        world.stop(2);
        world.start(2);
        world.run();
    }
    assert_eq!(world.node(2).voting_bar(GROUP), Some(VotingBar::OlderCopy));
    world.give(2, 1, 1, "entries");
    world.settle();
    assert!(world.fake(2, 1).seen.iter().any(|seen| seen.starts_with("entries")));
    assert_eq!((world.node(1).voting_bar(GROUP), world.node(3).voting_bar(GROUP)), (None, None));
}

#[test]
fn two_starts_with_one_counter_are_told_apart() {
    let mut world = World::introduced(1);
    let copy = world.disks[&NodeId(2)].clone();
    for disk in [None, Some(copy)] {
        world.stop(2);
        world.disks.extend(disk.map(|disk| (NodeId(2), disk)));
        world.start(2);
        world.run();
    }
    assert_eq!(world.node(2).voting_bar(GROUP), Some(VotingBar::OlderCopy));
}

#[test]
fn all_nodes_restart_at_once_and_speak_after_one_round_trip() {
    let mut world = World::introduced(1);
    (1..=3).for_each(|id| world.stop(id));
    (1..=3).for_each(|id| world.start(id));
    world.run();
    for id in 1..=3 {
        assert_eq!(world.node(id).voting_bar(GROUP), None);
        for peer in (1..=3).filter(|peer| *peer != id) {
            assert_eq!(world.node(id).standing(NodeId(peer), GROUP), Standing::Member);
        }
    }
    assert!(!world.notices.iter().any(|(_, notice)| matches!(notice, Notice::SelfOlder { .. })));
}

#[test]
fn nodes_that_founded_a_group_otherwise_refuse_each_other_by_name() {
    let mut world = World::new(1);
    world.founders.insert(NodeId(1), vec![1]);
    world.start(1);
    world.run();
    assert_eq!(world.node(1).voting_bar(GROUP), None, "it is alone, and decides");
    world.start(2);
    world.start(3);
    world.run();
    for (id, peer) in [(1, 2), (1, 3), (2, 1), (3, 1)] {
        assert_eq!(world.node(id).standing(NodeId(peer), GROUP), Standing::Stranger);
        assert!(world.node(id).introductions.foreign(GROUP).contains(&NodeId(peer)));
        let is_said = |(node, notice): &(NodeId, Notice)| {
            node.0 == id && matches!(notice, Notice::FoundedOtherwise { peer: of, .. } if of.0 == peer)
        };
        assert_eq!(world.notices.iter().filter(|notice| is_said(notice)).count(), 1, "{id} of {peer}");
        let before = world.fake(id, 1).seen.len();
        world.give(id, 1, peer, "entries of another");
        world.settle();
        assert_eq!(world.fake(id, 1).seen.len(), before, "nothing of it reaches the group");
    }
    assert_eq!(world.node(2).voting_bar(GROUP), Some(VotingBar::FoundedOtherwise));
    assert_eq!(world.node(2).standing(NodeId(3), GROUP), Standing::Member);
    let told = world.fake(2, 1).seen.iter().any(|seen| seen == "FoundedOtherwise({NodeId(1)})");
    assert!(told, "{:?}", world.fake(2, 1).seen);
    // Neither a restart nor the right description changes what was founded.
    world.founders.clear();
    world.stop(1);
    world.start(1);
    world.run();
    assert_eq!(world.node(2).voting_bar(GROUP), Some(VotingBar::FoundedOtherwise));
}

#[test]
fn adding_a_node_to_the_description_bars_no_old_voter() {
    let mut world = World::introduced(1);
    for id in 1..=3 {
        world.stop(id);
        world.founders.insert(NodeId(id), vec![1, 2, 3, 4]);
        world.start(id);
    }
    world.run();
    for id in 1..=3 {
        assert_eq!(world.node(id).voting_bar(GROUP), None);
        let members = Configuration::of_voters((1..=4).map(NodeId));
        world.node(id).note_description(GROUP, &members);
    }
    world.settle();
    let said = world.notices.iter().filter(|(_, notice)| matches!(notice, Notice::DescribedOtherwise { .. }));
    assert_eq!(said.count(), 3);
}

#[test]
fn a_refused_write_of_the_own_stream_is_said_and_made_when_there_is_room() {
    let mut world = World::new(1);
    (1..=3).for_each(|id| world.start(id));
    world.full.insert(NodeId(2));
    world.run();
    assert_eq!(world.node(2).voting_bar(GROUP), Some(VotingBar::NotIntroduced));
    let is_said = |(node, notice): &&(NodeId, Notice)| node.0 == 2 && *notice == Notice::OwnStreamRefused;
    assert_eq!(world.notices.iter().filter(is_said).count(), 1);
    assert!(!world.fake(2, 1).seen.iter().any(|seen| seen.contains("halted")));
    world.full.clear();
    for _ in 0..10 {
        world.now.instant = world.now.instant.after(std::time::Duration::from_millis(200));
        world.run();
    }
    for id in 1..=3 {
        assert_eq!(world.node(id).voting_bar(GROUP), None, "node {id}");
    }
}

/// The disk that founded the group is gone, and the new one counts for nothing.
#[test]
fn a_replaced_voter_with_another_description_stops_no_other() {
    let mut world = World::introduced(1);
    world.wipe(3);
    world.founders.insert(NodeId(3), vec![1, 2, 3, 4]);
    world.start(3);
    world.run();
    assert_eq!(world.node(1).standing(NodeId(3), GROUP), Standing::Stranger);
    assert_eq!(world.node(3).voting_bar(GROUP), Some(VotingBar::WipedDisk));
    assert_eq!((world.node(1).voting_bar(GROUP), world.node(2).voting_bar(GROUP)), (None, None));
    world.stop(3);
    world.run();
    assert_eq!((world.node(1).voting_bar(GROUP), world.node(2).voting_bar(GROUP)), (None, None));
}

#[test]
fn an_older_copy_counts_no_longer_when_it_is_noticed_though_the_disk_is_full() {
    let mut world = World::introduced(1);
    world.full.insert(NodeId(1));
    world.node(1).introductions.note_older(NodeId(2));
    world.run();
    assert_eq!(world.node(1).standing(NodeId(2), GROUP), Standing::Stranger);
}

/// Lets the group on a node report its membership: these voters, and these disks.
fn report(world: &mut World, node: u64, group: GroupId, voters: &[u64], disks: &[(u64, Incarnation)]) {
    let contexts = voters.iter().map(|voter| (NodeId(*voter), Bytes::new())).collect();
    let membership = Membership {
        voters: voters.iter().copied().map(NodeId).collect(),
        disks: disks.iter().map(|(node, disk)| (NodeId(*node), *disk)).collect(),
    };
    let now = world.now;
    world.node(node).enter(now, group, |group| {
        let group: &mut dyn Any = group;
        let fake: &mut Fake = group.downcast_mut().expect("a fake");
        fake.outputs.push_back(GroupOutput::Members { contexts, membership });
    });
    world.run();
}

#[test]
fn a_disk_that_a_configuration_names_counts_in_its_group_and_in_no_other() {
    let other = GroupId(2);
    let mut world = World::introduced(2);
    let lost = world.incarnations[&NodeId(2)];
    world.wipe(2);
    world.start(2);
    world.run();
    let admitted = world.incarnations[&NodeId(2)];
    let all = [1, 2, 3];
    for id in all {
        report(&mut world, id, GROUP, &all, &[(2, admitted)]);
    }
    assert_eq!(world.node(2).voting_bar(GROUP), None);
    assert_eq!(world.node(2).voting_bar(other), Some(VotingBar::WipedDisk));
    for id in [1, 3] {
        assert_eq!(world.node(id).standing(NodeId(2), GROUP), Standing::Member);
        assert_eq!(world.node(id).standing(NodeId(2), other), Standing::Stranger);
        assert_eq!(world.node(id).voting_bar(GROUP), None);
    }
    // A disk that is not named does not count, whatever the nodes know of it.
    for id in all {
        report(&mut world, id, GROUP, &all, &[(2, lost), (3, lost)]);
    }
    assert_eq!(world.node(2).voting_bar(GROUP), Some(VotingBar::WipedDisk));
    assert_eq!(world.node(1).standing(NodeId(2), GROUP), Standing::Stranger);
    assert_eq!(world.node(1).standing(NodeId(3), GROUP), Standing::Stranger);
    assert_eq!(world.node(3).voting_bar(GROUP), Some(VotingBar::WipedDisk));
    assert_eq!(world.node(3).voting_bar(other), None);
}

#[test]
fn a_node_that_joins_bars_nobody_and_meets_the_voters_that_it_knows_of() {
    let mut world = World::new(1);
    (1..=3).for_each(|id| drop(world.founders.insert(NodeId(id), vec![1, 2])));
    (1..=2).for_each(|id| world.start(id));
    world.run();
    assert_eq!((world.node(1).voting_bar(GROUP), world.node(2).voting_bar(GROUP)), (None, None));
    world.stop(2);
    world.start(3);
    world.run();
    assert_eq!(world.node(3).voting_bar(GROUP), Some(VotingBar::NotIntroduced), "it knows no voter yet");
    report(&mut world, 3, GROUP, &[1, 2, 3], &[]);
    assert_eq!(world.node(3).voting_bar(GROUP), Some(VotingBar::NotIntroduced), "it has not met node 2");
    assert_eq!(world.node(1).voting_bar(GROUP), None, "it votes already");
    let disk = world.incarnations[&NodeId(3)];
    report(&mut world, 3, GROUP, &[1, 2, 3], &[(3, disk)]);
    assert_eq!(world.node(3).voting_bar(GROUP), None, "the others know its disk from their log");
    report(&mut world, 3, GROUP, &[1, 2, 3], &[]);
    world.start(2);
    world.run();
    assert_eq!(world.node(3).voting_bar(GROUP), None, "it has met all");
}
