//! Groups at rest: they are told changes only, and woken when a peer's part of them is not at rest in the same way.

use std::time::Duration;

use quorate_protocol::{GroupId, NodeId, Rest, Term};
use quorate_transport::{Frame, Received, codec};

use super::{World, enter};
use crate::node::message::{Edition, NodeMessage};
use crate::node::{NodeInput, Origin, node_frame};

const GROUPS: u64 = 200;
/// Beats in more than the time after which a peer is silent.
const SILENCE: u32 = 12;
/// Beats in the time of three statements.
const STATEMENTS: u32 = 60;

fn resting(leader: u64, with: &[u64]) -> Rest {
    Rest { leader: NodeId(leader), term: Term(1), with: with.iter().copied().map(NodeId).collect() }
}

/// Three nodes that are introduced to each other, and whose groups may rest.
fn drowsy(groups: u64) -> World {
    let mut world = World::new(groups);
    world.may_rest = true;
    (1..=3).for_each(|node| world.start(node));
    world.run();
    world
}

/// Three nodes whose groups rest, a third of them under each node.
fn at_rest() -> World {
    let mut world = drowsy(GROUPS);
    for group in 1..=GROUPS {
        (1..=3).for_each(|node| rest(&mut world, node, group));
    }
    beats(&mut world, STATEMENTS);
    world
}

fn leader_of(group: u64) -> u64 {
    1 + group % 3
}

fn rest(world: &mut World, node: u64, group: u64) {
    let leader = leader_of(group);
    let followers: Vec<u64> = (1..=3).filter(|it| *it != leader).collect();
    let rest = if node == leader { resting(leader, &followers) } else { resting(leader, &[leader]) };
    enter(world, node, group, |fake| fake.rest = Some(rest));
}

fn beats(world: &mut World, count: u32) {
    for _ in 0..count {
        world.now.instant = world.now.instant.after(Duration::from_millis(50));
        let now = world.now;
        world.nodes.values_mut().for_each(|node| node.handle(now, NodeInput::Timeout));
        world.settle();
    }
}

/// What the group has seen since the last call. Times are cut off.
fn seen(world: &mut World, node: u64, group: u64) -> Vec<String> {
    let mut seen = Vec::new();
    enter(world, node, group, |fake| seen = std::mem::take(&mut fake.seen));
    for it in &mut seen {
        it.truncate(it.find(", heard_at").unwrap_or(it.len()));
    }
    seen
}

fn forget_seen(world: &mut World) {
    for group in 1..=GROUPS {
        (1..=3).for_each(|node| drop(seen(world, node, group)));
    }
}

#[test]
fn while_nothing_happens_groups_at_rest_are_told_nothing() {
    let mut world = at_rest();
    forget_seen(&mut world);
    let frames = world.frames;
    beats(&mut world, 100);
    for group in 1..=GROUPS {
        (1..=3).for_each(|node| assert_eq!(seen(&mut world, node, group), [""; 0]));
    }
    assert_eq!(world.frames - frames, 100 * 6, "one frame a beat from each node to each other");
    assert!((1..=3).all(|node| world.node(node).counters().groups_woken == 0));
}

#[test]
fn a_group_that_may_rest_is_told_once_that_a_peer_is_alive_and_again_after_a_loss() {
    let mut world = drowsy(2);
    beats(&mut world, 10);
    let alive =
        |world: &mut World, group| seen(world, 1, group).iter().filter(|it| *it == "PeerAlive(NodeId(2))").count();
    assert_eq!((alive(&mut world, 1), alive(&mut world, 2)), (1, 1));
    let now = world.now;
    world.node(1).handle(now, NodeInput::SendFailed { to: NodeId(2), origin: Origin::Group(GroupId(1)) });
    beats(&mut world, 10);
    assert_eq!((alive(&mut world, 1), alive(&mut world, 2)), (1, 0));
    let now = world.now;
    world.node(1).handle(now, NodeInput::LinkDown(NodeId(2)));
    beats(&mut world, 10);
    assert_eq!((alive(&mut world, 1), alive(&mut world, 2)), (1, 1));
}

#[test]
fn groups_at_rest_are_told_that_a_peer_is_silent_and_that_it_is_back() {
    let mut world = at_rest();
    forget_seen(&mut world);
    world.stop(2);
    beats(&mut world, SILENCE);
    for group in [1, 2, 3] {
        assert_eq!(seen(&mut world, 1, group), ["PeerSilent { node: NodeId(2)"]);
    }
    beats(&mut world, SILENCE);
    assert_eq!(seen(&mut world, 1, 1), [""; 0], "once");
    world.start(2);
    beats(&mut world, 4);
    let told = seen(&mut world, 1, 1);
    assert!(told.contains(&"PeerAlive(NodeId(2))".to_owned()), "{told:?}");
}

#[test]
fn a_start_of_a_peer_that_nobody_saw_end_wakes_the_groups_that_rest_with_it() {
    let mut world = at_rest();
    forget_seen(&mut world);
    world.stop(2);
    world.start(2);
    world.settle();
    beats(&mut world, 2);
    let unreachable = "Unreachable(NodeId(2))".to_owned();
    // Group 1 is led by node 2, group 3 by node 1, and group 2 by node 3: node 1 does not rely on node 2 there.
    assert!(seen(&mut world, 1, 1).contains(&unreachable));
    assert!(seen(&mut world, 1, 3).contains(&unreachable));
    assert!(!seen(&mut world, 1, 2).contains(&unreachable));
}

#[test]
fn a_group_that_comes_to_rest_is_told_what_its_rest_contradicts() {
    let mut world = drowsy(3);
    world.stop(2);
    beats(&mut world, SILENCE);
    // Group 1 is led by node 2, which is silent. Group 3 is led by node 1, which relies on node 2 and not on node 3.
    enter(&mut world, 1, 1, |fake| fake.rest = Some(resting(2, &[2])));
    enter(&mut world, 1, 3, |fake| fake.rest = Some(resting(1, &[2])));
    world.settle();
    let told = seen(&mut world, 1, 1);
    assert_eq!(told.last().map(String::as_str), Some("PeerSilent { node: NodeId(2)"));
    let told = seen(&mut world, 1, 3);
    assert_eq!(told[told.len() - 2..], ["PeerSilent { node: NodeId(2)", "PeerAlive(NodeId(3))"]);
}

#[test]
fn groups_that_a_peer_does_not_hold_at_rest_are_woken() {
    let mut world = at_rest();
    forget_seen(&mut world);
    // Group 7 is led by node 2. It halts there, and no message shows it.
    world.give(2, 7, 3, "halt");
    world.settle();
    drop(seen(&mut world, 2, 7));
    beats(&mut world, STATEMENTS);
    for group in 1..=GROUPS {
        for node in [1, 3] {
            let expected = if group == 7 { vec!["Unreachable(NodeId(2))", "PeerAlive(NodeId(2))"] } else { vec![] };
            let mut told = seen(&mut world, node, group);
            // As the group does not wake here, it is woken again and again.
            told.truncate(expected.len());
            assert_eq!(told, expected, "group {group} on node {node}");
        }
    }
}

#[test]
fn another_term_or_leader_is_another_rest() {
    for other in [Rest { term: Term(2), ..resting(2, &[2]) }, resting(3, &[3])] {
        let mut world = at_rest();
        enter(&mut world, 1, 7, |fake| fake.rest = Some(other));
        forget_seen(&mut world);
        beats(&mut world, STATEMENTS);
        assert!(seen(&mut world, 1, 7).iter().any(|it| it.starts_with("Unreachable")));
        assert!(seen(&mut world, 2, 7).contains(&"Unreachable(NodeId(1))".to_owned()));
    }
}

#[test]
fn a_group_on_its_way_to_rest_is_left_alone() {
    let mut world = at_rest();
    enter(&mut world, 2, 7, |fake| fake.rest = None);
    // The leader comes to rest later than its followers.
    beats(&mut world, 15);
    rest(&mut world, 2, 7);
    forget_seen(&mut world);
    beats(&mut world, STATEMENTS);
    assert_eq!(seen(&mut world, 1, 7), [""; 0]);
    assert!((1..=3).all(|node| world.node(node).counters().groups_woken == 0));
}

#[test]
fn the_absence_of_a_node_is_no_silence_of_its_peers() {
    let mut world = at_rest();
    // From now on nothing of the others reaches node 1.
    let beat_alone = |world: &mut World, after| {
        world.now.instant = world.now.instant.after(after);
        let now = world.now;
        world.node(1).handle(now, NodeInput::Timeout);
        while world.node(1).poll_output().is_some() {}
    };
    let silent = |world: &mut World| world.fake(1, 1).seen.iter().filter(|it| it.starts_with("PeerSilent")).count();
    beat_alone(&mut world, Duration::from_millis(50));
    beat_alone(&mut world, Duration::from_secs(10));
    assert_eq!(silent(&mut world), 0);
    for _ in 0..SILENCE {
        beat_alone(&mut world, Duration::from_millis(50));
    }
    assert_eq!(silent(&mut world), 2, "both peers");
}

#[test]
fn a_removed_group_is_no_longer_summed_up() {
    let mut world = at_rest();
    let now = world.now;
    for node in 1..=3 {
        let remove = NodeInput::RemoveGroup { group: GroupId(7), call: crate::group::interface::CallId(node) };
        world.node(node).handle(now, remove);
    }
    // The fakes delete no snapshots, which does not matter here.
    world.settle();
    beats(&mut world, STATEMENTS);
    assert!((1..=3).all(|node| world.node(node).counters().groups_woken == 0));
}

#[test]
fn sums_of_another_number_of_parts_are_malformed() {
    let mut world = at_rest();
    let (now, from) = (world.now, world.sender(2));
    let frame = node_frame(&NodeMessage::RestingParts { parts: vec![0; 3] });
    world.node(1).handle(now, NodeInput::Frame(Received { from, frame }));
    assert_eq!(world.node(1).counters().frames_malformed, 1);
}

#[test]
fn the_messages_about_rest_never_change() {
    let hex = |frame: Frame| frame.small().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let groups = vec![(GroupId(1), Term(2), NodeId(3)), (GroupId(65), Term(1), NodeId(1))];
    let edition = Edition { start: 1, changes: 2 };
    let before = NodeMessage::GroupsKnown { edition, start: 3 };
    let messages = [
        before,
        NodeMessage::Resting { sum: 0x0123_4567_89ab_cdef },
        NodeMessage::RestingParts { parts: vec![0, 1, u64::MAX] },
        NodeMessage::RestingGroups { part: 1, groups },
    ];
    let golden = include_str!("resting_messages_1.hex");
    let written: String = messages.iter().map(|message| hex(node_frame(message)) + "\n").collect();
    assert_eq!(written, golden);
    for (line, message) in golden.lines().zip(messages) {
        let bytes: Vec<u8> =
            (0..line.len()).step_by(2).map(|at| u8::from_str_radix(&line[at..at + 2], 16).expect("hex")).collect();
        assert_eq!(codec::decode_small::<NodeMessage>(&bytes).expect("it is read"), message);
    }
}
