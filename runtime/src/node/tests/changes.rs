//! Groups that are added to running nodes and removed from them, on one node later than on the others.

use std::collections::BTreeSet;

use quorate_protocol::{Configuration, GroupId, NodeId, PersistFailure, Signal, Standing, Ticket, VotingBar};
use quorate_transport::Received;
use quorate_wal::StreamId;

use super::super::roster::PendingStart;
use super::{Fake, World};
use crate::group::change::{GroupError, NewGroup};
use crate::group::interface::CallId;
use crate::group::reply::Reply;
use crate::node::message::{Edition, NodeMessage};
use crate::node::{NodeInput, node_frame};

const NEW: GroupId = GroupId(9);

impl World {
    /// Asks a node to add the group, founded with these voters.
    fn add(&mut self, node: u64, call: u64, voters: &[u64]) {
        let members = Configuration::of_voters(voters.iter().copied().map(NodeId));
        let (now, new) = (self.now, NewGroup { members, made: Fake::boxed(NEW) });
        self.node(node).handle(now, NodeInput::AddGroup { group: NEW, new, call: CallId(call) });
    }

    fn remove(&mut self, node: u64, call: u64) {
        let now = self.now;
        self.node(node).handle(now, NodeInput::RemoveGroup { group: NEW, call: CallId(call) });
    }

    fn result(&self, call: u64) -> Option<&Reply> {
        self.replies.iter().find(|(_, id, _)| *id == CallId(call)).map(|(_, _, reply)| reply)
    }

    fn has(&mut self, node: u64) -> bool {
        self.node(node).group::<Fake>(NEW).is_some()
    }
}

#[test]
fn a_group_runs_once_its_founding_is_durable_and_not_before() {
    let mut world = World::introduced(1);
    world.stalled.insert(NodeId(1));
    world.add(1, 5, &[1, 2, 3]);
    world.add(2, 6, &[1, 2, 3]);
    world.run();
    assert!(!world.has(1) && world.result(5).is_none());
    assert!(world.has(2) && world.result(6) == Some(&Reply::Changed(Ok(()))));
    assert_eq!(world.node(2).standing(NodeId(1), NEW), Standing::Stranger, "it has not said that it has the group");
}

#[test]
fn frames_for_a_group_that_is_not_there_are_counted_and_disturb_no_other() {
    let mut world = World::introduced(1);
    let before = world.node(1).counters();
    world.give(1, NEW.0, 2, "too early");
    world.give(1, 1, 2, "for another");
    world.settle();
    let counters = world.node(1).counters();
    assert_eq!(counters.messages_without_group - before.messages_without_group, 1);
    assert_eq!(counters.messages_dropped - before.messages_dropped, 1);
    assert!(world.fake(1, 1).seen.contains(&"for another from 2".to_owned()));
    world.add(1, 5, &[1, 2, 3]);
    world.run();
    world.remove(1, 6);
    world.run();
    world.give(1, NEW.0, 2, "too late");
    world.run();
    assert_eq!(world.node(1).counters().messages_without_group - before.messages_without_group, 2);
    assert!(!world.has(1), "no frame brings it back");
}

#[test]
fn a_peer_counts_in_a_new_group_once_it_has_the_group_too() {
    let mut world = World::introduced(1);
    world.add(1, 5, &[1, 2, 3]);
    world.add(2, 6, &[1, 2, 3]);
    world.run();
    assert_eq!(world.node(1).standing(NodeId(2), NEW), Standing::Member);
    assert_eq!(world.node(1).standing(NodeId(3), NEW), Standing::Stranger, "it is added there later");
    assert_eq!(world.node(1).voting_bar(NEW), None, "it is introduced to all");
    world.add(3, 7, &[1, 2, 3]);
    world.run();
    for (node, peer) in [(1, 3), (2, 3), (3, 1), (3, 2)] {
        assert_eq!(world.node(node).standing(NodeId(peer), NEW), Standing::Member, "{peer} on {node}");
    }
    // A node that starts again states it in the usual way.
    world.stop(2);
    world.start(2);
    world.run();
    for (node, peer) in [(1, 2), (2, 1), (2, 3)] {
        assert_eq!(world.node(node).standing(NodeId(peer), NEW), Standing::Member, "{peer} on {node}");
    }
}

#[test]
fn a_peer_that_starts_again_is_told_of_the_new_group_again() {
    let mut world = World::introduced(1);
    world.add(1, 5, &[1, 2, 3]);
    world.run();
    world.stop(2);
    world.start(2);
    world.add(2, 6, &[1, 2, 3]);
    world.run();
    assert_eq!(world.node(2).standing(NodeId(1), NEW), Standing::Member);
}

#[test]
fn a_group_that_was_founded_otherwise_while_both_run_never_mixes() {
    let mut world = World::introduced(1);
    world.add(1, 5, &[1, 2, 3]);
    world.add(2, 6, &[1, 2]);
    world.run();
    assert_eq!(world.node(1).standing(NodeId(2), NEW), Standing::Stranger);
    assert_eq!(world.node(1).voting_bar(NEW), Some(VotingBar::FoundedOtherwise));
    let dropped = world.node(1).counters().messages_dropped;
    world.give(1, NEW.0, 2, "an entry");
    world.settle();
    assert_eq!(world.node(1).counters().messages_dropped - dropped, 1);
    assert!(world.fake(1, NEW.0).seen.iter().all(|seen| !seen.contains("an entry")));
}

#[test]
fn an_older_list_of_groups_never_replaces_a_newer_one() {
    let mut world = World::introduced(1);
    for node in [1, 2] {
        world.add(node, node, &[1, 2, 3]);
    }
    world.run();
    assert_eq!(world.node(1).standing(NodeId(2), NEW), Standing::Member);
    // A list that was under way for long arrives: that of the start of node 2.
    let (now, from) = (world.now, world.sender(2));
    let edition = Edition { start: 1, changes: 0 };
    let frame = node_frame(&NodeMessage::Groups { edition, foundings: Vec::new() });
    world.node(1).handle(now, NodeInput::Frame(Received { from, frame }));
    world.run();
    assert_eq!(world.node(1).standing(NodeId(2), NEW), Standing::Member);
}

#[test]
fn a_group_that_is_removed_before_its_founding_is_written_never_runs() {
    let mut world = World::introduced(1);
    world.full.insert(NodeId(1));
    world.add(1, 5, &[1, 2, 3]);
    world.run();
    world.remove(1, 6);
    world.full.clear();
    for _ in 0..20 {
        world.run();
    }
    assert_eq!(world.result(5), Some(&Reply::Changed(Err(GroupError::Removed))));
    assert_eq!(world.result(6), Some(&Reply::Changed(Ok(()))));
    assert!(!world.has(1));
    let (identity, recovery) = (world.node(1).identity(), world.disks[&NodeId(1)].recover(StreamId(0)));
    let pending = PendingStart::recover(identity, 1, recovery).expect("readable");
    assert!(pending.is_removed(NEW) && pending.groups().collect::<BTreeSet<_>>() == BTreeSet::from([GroupId(1)]));
}

#[test]
fn when_the_log_fails_those_who_wait_for_a_change_learn_it() {
    let mut world = World::introduced(1);
    world.stalled.insert(NodeId(1));
    world.add(1, 5, &[1, 2, 3]);
    world.settle();
    let (now, failure) = (world.now, PersistFailure::Unknown);
    let signal = Signal::PersistFailed { ticket: Ticket(1), failure };
    world.node(1).handle(now, NodeInput::Signal { stream: StreamId(1), signal });
    world.add(1, 6, &[1, 2, 3]);
    world.settle();
    for call in [5, 6] {
        assert_eq!(world.result(call), Some(&Reply::Changed(Err(GroupError::LogFailed))), "{call}");
    }
}
