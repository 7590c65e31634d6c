//! Turns, budgets, resources that groups share, and the isolation between groups.

use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{
    GroupId, HaltReason, Instant, NodeId, PersistFailure, Signal, StorageLevel, Ticket, WriteRefusal,
};
use quorate_transport::{ChannelId, Frame, Received, codec};
use quorate_wal::StreamId;

use super::{CHANNEL, World, enter};
use crate::group::interface::{CallId, GroupOutput};
use crate::group::notice::Notice;
use crate::group::reply::Reply;
use crate::node::message::{Bundle, Bundled};
use crate::node::{NodeInput, NodeOutput};

fn halts(world: &World) -> Vec<&HaltReason> {
    let reasons = world.notices.iter().map(|(_, notice)| match notice {
        Notice::Halted { reason } => Some(reason),
        _ => None,
    });
    reasons.flatten().collect()
}

#[test]
fn a_panic_halts_its_own_group_and_no_other() {
    let mut world = World::introduced(3);
    enter(&mut world, 1, 2, |fake| fake.waiting.push(CallId(40)));
    world.give(1, 2, 3, "write");
    world.give(1, 2, 3, "panic");
    for group in [1, 3] {
        world.give(1, group, 3, "write");
    }
    let syncs = world.disks[&NodeId(1)].syncs;
    world.settle();
    assert_eq!(halts(&world), [&HaltReason::Panicked("told to panic".to_owned())]);
    assert_eq!(world.replies, [(GroupId(2), CallId(40), Reply::Unknown)]);
    assert_eq!(world.disks[&NodeId(1)].syncs, syncs + 1, "the others' writes were made");
    assert!(!world.disks[&NodeId(1)].journals.contains_key(&StreamId(2)), "the held write was dropped");
    let running: Vec<bool> = world.node(1).groups().map(|(_, runs)| runs).collect();
    assert_eq!(running, [true, false, true]);
    // It is never called again.
    world.give(1, 2, 3, "write");
    world.run();
    assert_eq!(world.fake(1, 2).seen.last().map(String::as_str), Some("halted"));
    let now = world.now;
    assert!(world.node(1).enter(now, GroupId(2), |_| ()).is_none());
}

#[test]
fn a_panic_while_polled_or_entered_is_caught_as_well() {
    let mut world = World::introduced(2);
    enter(&mut world, 1, 1, |fake| fake.waiting.push(CallId(1)));
    world.give(1, 1, 2, "poll panic");
    world.settle();
    assert_eq!(world.replies, [(GroupId(1), CallId(1), Reply::Unknown)]);
    let now = world.now;
    let entered = world.node(1).enter(now, GroupId(2), |_| panic!("in a caller's closure"));
    assert!(entered.is_none());
    world.settle();
    assert_eq!(halts(&world).len(), 2);
    assert_eq!(world.node(1).counters().groups_halted, 2);
}

#[test]
fn a_group_that_halts_may_still_be_asked() {
    let mut world = World::introduced(1);
    world.give(1, 1, 2, "halt");
    world.settle();
    assert_eq!(halts(&world), [&HaltReason::LawBroken("told to halt")]);
    enter(&mut world, 1, 1, |fake| {
        fake.outputs.push_back(GroupOutput::Reply { call: CallId(8), reply: Reply::Unknown });
    });
    world.settle();
    assert_eq!(world.replies, [(GroupId(1), CallId(8), Reply::Unknown)]);
    world.give(1, 1, 2, "late");
    world.settle();
    assert_eq!(world.node(1).counters().messages_dropped, 1);
}

#[test]
fn a_busy_group_does_not_starve_the_others() {
    let mut world = World::introduced(2);
    world.node(1).config.turn_bytes_max = 1000;
    for _ in 0..100 {
        world.give(1, 1, 2, "write");
    }
    world.give(1, 2, 3, "write");
    let mut order = Vec::new();
    while let Some(output) = world.node(1).poll_output() {
        if let NodeOutput::Write(writes) = output {
            order.push(writes.iter().map(|write| write.stream.0).collect::<Vec<_>>());
        }
    }
    assert!(order[0].contains(&2), "group 2 has its turn in the first round: {order:?}");
    assert!(order.len() > 3, "a turn is bounded: {order:?}");
    assert_eq!(order.iter().flatten().filter(|stream| **stream == 1).count(), 100, "nothing is lost");
}

#[test]
fn frames_beyond_the_bound_are_dropped_and_counted() {
    let mut world = World::introduced(1);
    world.node(1).config.frames_bytes_max = 300;
    for _ in 0..10 {
        world.give(1, 1, 2, "write");
    }
    let dropped = world.node(1).counters().messages_dropped;
    assert!((1..10).contains(&dropped), "{dropped}");
    world.settle();
    world.give(1, 1, 2, "write");
    assert_eq!(world.node(1).counters().messages_dropped, dropped, "there is room again");
}

#[test]
fn groups_share_syncs_and_frames() {
    let mut world = World::introduced(1000);
    let (syncs, frames) = (world.disks.clone(), world.frames);
    for group in 1..=1000 {
        world.give(1, group, 3, "replicate");
    }
    world.settle();
    assert_eq!(world.disks[&NodeId(1)].syncs - syncs[&NodeId(1)].syncs, 1, "one sync for a thousand writes");
    for follower in [2, 3] {
        let made = world.disks[&NodeId(follower)].syncs - syncs[&NodeId(follower)].syncs;
        assert!(made <= 2, "{made} syncs on node {follower}");
        assert_eq!(world.disks[&NodeId(follower)].journals.len(), 1001, "every group has written, and the node");
    }
    assert!(world.frames - frames <= 4, "{} frames for two thousand messages", world.frames - frames);
}

#[test]
fn bundles_arrive_as_they_were_sent() {
    let mut world = World::introduced(3);
    let raw = vec![Bytes::from_static(b"one"), Bytes::new(), Bytes::from(vec![7; 100])];
    let large = Bytes::from(vec![8; 5000]);
    let mut outgoing = super::super::bundle::Outgoing::default();
    for (name, raw) in [("small", raw), ("big", vec![large]), ("last", vec![])] {
        for group in 1..=3 {
            outgoing.push(Frame::new(CHANNEL, GroupId(group), name.into(), raw.clone()).expect("it fits"));
        }
    }
    let (now, from) = (world.now, world.sender(2));
    let packed = outgoing.pack();
    let bundles: Vec<bool> = packed.iter().map(|packed| packed.frame.channel() == ChannelId::BUNDLES).collect();
    assert_eq!(bundles, [true, false, false, false, true]);
    for packed in packed {
        world.node(1).handle(now, NodeInput::Frame(Received { from, frame: packed.frame }));
    }
    world.settle();
    for group in 1..=3 {
        let seen: Vec<_> = world.fake(1, group).seen.iter().filter(|seen| seen.ends_with("from 2")).cloned().collect();
        assert_eq!(seen, ["small from 2", "big from 2", "last from 2"]);
    }
}

#[test]
fn malformed_node_frames_are_counted() {
    let mut world = World::introduced(1);
    let from = world.sender(2);
    let now = world.now;
    let bundled = Bundled { channel: CHANNEL.0, group: GroupId(1), small: 9, raw: vec![] };
    let bundle = codec::encode_small(&Bundle { frames: vec![bundled] }).expect("small");
    let short = Frame::new(ChannelId::BUNDLES, GroupId(0), bundle, vec![Bytes::from_static(b"short")]);
    let garbage = Frame::new(ChannelId::NODE, GroupId(0), Bytes::from_static(b"\xff"), vec![]);
    for frame in [short.expect("small"), garbage.expect("small")] {
        world.node(1).handle(now, NodeInput::Frame(Received { from, frame }));
    }
    assert_eq!(world.node(1).counters().frames_malformed, 2);
}

#[test]
fn a_poisoned_log_is_told_to_every_group() {
    let mut world = World::introduced(3);
    let now = world.now;
    let signal = Signal::PersistFailed { ticket: Ticket(4), failure: PersistFailure::Unknown };
    let failed = NodeInput::Signal { stream: StreamId(2), signal };
    world.node(1).handle(now, failed);
    world.settle();
    assert_eq!(halts(&world), [&HaltReason::LogFailed(PersistFailure::Unknown); 3]);
}

#[test]
fn a_write_that_was_refused_concerns_its_group_alone() {
    for failure in [PersistFailure::NotWritten, PersistFailure::Refused { reason: WriteRefusal::TooLarge }] {
        let mut world = World::introduced(3);
        let now = world.now;
        let signal = Signal::PersistFailed { ticket: Ticket(4), failure };
        let failed = NodeInput::Signal { stream: StreamId(2), signal };
        world.node(1).handle(now, failed);
        world.settle();
        assert_eq!(halts(&world), [&HaltReason::LogFailed(failure)]);
    }
}

#[test]
fn one_heartbeat_between_nodes_keeps_every_group_alive() {
    let mut world = World::introduced(50);
    let frames = world.frames;
    world.run();
    assert_eq!(world.frames - frames, 3 * 6, "three beats of three nodes to two peers");
    let alive = world.fake(1, 50).seen.iter().filter(|seen| *seen == "PeerAlive(NodeId(2))").count();
    assert!(alive >= 3, "{alive}");
    world.stop(2);
    world.run();
    let alive = world.fake(1, 50).seen.iter().filter(|seen| *seen == "PeerAlive(NodeId(2))").count();
    world.run();
    let later = world.fake(1, 50).seen.iter().filter(|seen| *seen == "PeerAlive(NodeId(2))").count();
    assert_eq!(later, alive, "a dead node is not called alive");
}

#[test]
fn timers_of_groups_are_kept() {
    let mut world = World::introduced(2);
    let wanted = world.now.instant.after(Duration::from_millis(7));
    enter(&mut world, 1, 2, |fake| fake.deadline = Some(wanted));
    world.settle();
    assert_eq!(world.node(1).deadline(), wanted);
    world.now.instant = wanted;
    let now = world.now;
    world.node(1).handle(now, NodeInput::Timeout);
    world.settle();
    assert_eq!(world.fake(1, 2).seen.last().map(String::as_str), Some("timeout"));
    assert!(world.node(1).deadline() > wanted);
    assert_eq!(world.fake(1, 1).deadline, None::<Instant>);
}

/// A group detects silence by the frames that came: frames that lay in the inbox of a blocked loop come before the
/// time-out.
#[test]
fn a_time_out_waits_behind_the_frames_that_came_before_it() {
    let mut world = World::introduced(1);
    let due = world.now.instant.after(Duration::from_millis(7));
    enter(&mut world, 1, 1, |fake| fake.deadline = Some(due));
    world.settle();
    world.now.instant = due;
    let now = world.now;
    world.give(1, 1, 2, "early");
    world.node(1).handle(now, NodeInput::Timeout);
    world.give(1, 1, 3, "late");
    world.settle();
    let seen = world.fake(1, 1).seen.iter().filter(|seen| !seen.starts_with("PeerAlive"));
    let last: Vec<_> = seen.rev().take(3).collect();
    assert_eq!(last, ["late from 3", "timeout", "early from 2"], "newest first");
}

#[test]
fn storage_and_lost_links_are_told_to_all_groups() {
    let mut world = World::introduced(2);
    let now = world.now;
    world.node(1).handle(now, NodeInput::Storage(StorageLevel::Low));
    world.node(1).handle(now, NodeInput::LinkDown(NodeId(3)));
    world.node(1).handle(now, NodeInput::Signal { stream: StreamId(2), signal: Signal::CompactRequested });
    for group in [1, 2] {
        let seen = &world.fake(1, group).seen;
        assert!(seen.contains(&"Storage(Low)".to_owned()));
        assert!(seen.contains(&"Unreachable(NodeId(3))".to_owned()));
        assert_eq!(seen.contains(&"CompactRequested".to_owned()), group == 2);
    }
}

#[test]
fn the_node_rewrites_its_own_stream_when_it_pins_the_log() {
    let mut world = World::introduced(5);
    let now = world.now;
    world.node(1).handle(now, NodeInput::Signal { stream: StreamId(0), signal: Signal::CompactRequested });
    let Some(NodeOutput::Write(writes)) = world.node(1).poll_output() else { panic!("a write") };
    assert_eq!(writes[0].operations.len(), 10, "two marks, the state, five groups and two peers");
}

#[test]
fn a_node_is_settled_when_its_groups_are() {
    let mut world = World::introduced(2);
    enter(&mut world, 1, 2, |fake| fake.is_leading = true);
    assert!(!world.node(1).is_settled());
    let now = world.now;
    world.node(1).handle(now, NodeInput::Shutdown { deadline: now.instant });
    assert!(world.node(1).is_settled());
}
