//! The peers of a node follow the members of its groups.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{NodeId, Now};

use super::{World, enter};
use crate::group::interface::{GroupOutput, Membership};
use crate::group::notice::Notice;
use crate::node::NodeInput;

/// The report of a group with these members, each with a context.
fn named(contexts: &[(u64, &'static str)]) -> GroupOutput {
    let context = |(node, context): &(u64, &'static str)| (NodeId(*node), Bytes::from_static(context.as_bytes()));
    GroupOutput::Members { contexts: contexts.iter().map(context).collect(), membership: Membership::default() }
}

/// Peers, each with its contexts.
fn peers(contexts: &[(u64, &[&'static str])]) -> BTreeMap<NodeId, Vec<Bytes>> {
    let bytes = |contexts: &[&'static str]| contexts.iter().copied().map(Bytes::from).collect();
    contexts.iter().map(|(node, contexts)| (NodeId(*node), bytes(contexts))).collect()
}

impl World {
    /// A group has these members now, on one node.
    fn name(&mut self, node: u64, group: u64, contexts: &[(u64, &'static str)]) {
        enter(self, node, group, |fake| fake.outputs.push_back(named(contexts)));
        self.settle();
    }

    /// The peers that a node told since the last call.
    fn told(&mut self, node: u64) -> Vec<BTreeMap<NodeId, Vec<Bytes>>> {
        let (told, rest) = std::mem::take(&mut self.peers).into_iter().partition(|(from, _)| from.0 == node);
        self.peers = rest;
        let told: Vec<(NodeId, _)> = told;
        told.into_iter().map(|(_, peers)| peers).collect()
    }

    fn is_introduced(&self, node: u64, peer: u64) -> bool {
        let is_it = |notice: &Notice| matches!(notice, Notice::Introduced { peer: met, .. } if met.0 == peer);
        self.notices.iter().any(|(at, notice)| at.0 == node && is_it(notice))
    }

    /// Lets as much time pass as a node has to leave.
    fn let_leave(&mut self) {
        self.now.instant = self.now.instant.after(Duration::from_secs(6));
        self.run();
    }
}

const THREE: [(u64, &str); 3] = [(1, "one"), (2, "two"), (3, "three")];

#[test]
fn a_member_becomes_a_peer_and_is_introduced() {
    let mut world = World::introduced(2);
    world.start(4);
    world.run();
    assert!(!world.is_introduced(1, 4), "it is nobody's peer yet");
    for node in 1..=3 {
        world.name(node, 1, &[(1, "one"), (2, "two"), (3, "three"), (4, "four")]);
    }
    world.run();
    assert!((1..=3).all(|node| world.is_introduced(node, 4) && world.is_introduced(4, node)));
    let is_alive = |seen: &String| *seen == format!("PeerAlive({:?})", NodeId(4));
    assert!(world.fake(1, 2).seen.iter().any(is_alive), "every group hears that it is alive");
    assert_eq!(world.told(1), [peers(&[(2, &["two"]), (3, &["three"]), (4, &["four"])])]);
    world.give(1, 1, 4, "hello");
    world.settle();
    assert!(world.fake(1, 1).seen.contains(&"hello from 4".to_owned()));
}

#[test]
fn a_move_of_all_groups_is_told_at_its_begin_and_at_its_end() {
    const GROUPS: u64 = 40;
    let mut world = World::introduced(GROUPS);
    for group in 1..=GROUPS {
        enter(&mut world, 1, group, |fake| fake.outputs.push_back(named(&THREE)));
    }
    world.settle();
    assert_eq!(world.told(1), [peers(&[(2, &["two"]), (3, &["three"])])], "once for all groups");
    for group in 1..=GROUPS {
        world.name(1, group, &[(1, "one"), (2, "two"), (3, "elsewhere")]);
    }
    let both = peers(&[(2, &["two"]), (3, &["elsewhere", "three"])]);
    let moved = peers(&[(2, &["two"]), (3, &["elsewhere"])]);
    assert_eq!(world.told(1), [both, moved]);
    world.name(1, 7, &[(1, "one"), (2, "two"), (3, "elsewhere")]);
    assert!(world.told(1).is_empty(), "the members are the same");
}

#[test]
fn both_halves_of_a_joint_configuration_are_peers() {
    let mut world = World::introduced(1);
    world.name(1, 1, &THREE);
    world.told(1);
    world.name(1, 1, &[(1, "one"), (2, "two"), (3, "three"), (3, "elsewhere"), (4, "four")]);
    let joint = peers(&[(2, &["two"]), (3, &["elsewhere", "three"]), (4, &["four"])]);
    assert_eq!(world.told(1), [joint]);
}

#[test]
fn who_is_named_no_more_stays_for_a_while_and_is_then_forgotten() {
    let mut world = World::introduced(2);
    world.start(4);
    let four = [(1, "one"), (2, "two"), (3, "three"), (4, "four")];
    for node in 1..=3 {
        world.name(node, 1, &four);
    }
    world.run();
    world.told(1);
    world.name(1, 1, &THREE);
    world.run();
    assert!(world.told(1).is_empty(), "it may still learn that it was removed");
    world.give(1, 1, 4, "a last word");
    world.settle();
    assert_eq!(world.fake(1, 1).seen.last().map(String::as_str), Some("a last word from 4"));

    world.let_leave();
    assert_eq!(world.told(1), [peers(&[(2, &["two"]), (3, &["three"])])]);
    let heard = |world: &mut World| world.node(4).counters().frames_received;
    let before = heard(&mut world);
    world.nodes.remove(&NodeId(2));
    world.nodes.remove(&NodeId(3));
    world.run();
    assert_eq!(heard(&mut world), before, "node 1 sends it nothing any more");

    world.name(1, 1, &four);
    world.run();
    assert_eq!(world.told(1), [peers(&[(2, &["two"]), (3, &["three"]), (4, &["four"])])]);
    world.give(1, 1, 4, "back again");
    world.settle();
    assert_eq!(world.fake(1, 1).seen.last().map(String::as_str), Some("back again from 4"));
}

#[test]
fn who_is_named_again_in_time_never_left() {
    let mut world = World::introduced(1);
    world.name(1, 1, &[(1, "one"), (4, "four")]);
    world.name(1, 1, &[(1, "one")]);
    world.run();
    world.name(1, 1, &[(1, "one"), (4, "four")]);
    world.let_leave();
    assert_eq!(world.told(1), [peers(&[(2, &[]), (3, &[]), (4, &["four"])])]);
}

#[test]
fn the_peers_of_the_settings_always_stay() {
    let mut world = World::introduced(1);
    world.name(1, 1, &THREE);
    world.name(1, 1, &[(1, "one"), (2, "")]);
    world.let_leave();
    let told = world.told(1);
    assert_eq!(told.last(), Some(&peers(&[(2, &[]), (3, &[])])));
    assert_eq!(world.node(1).peers().collect::<Vec<_>>(), [NodeId(2), NodeId(3)]);
}

#[test]
fn first_voters_that_have_left_before_the_start_are_never_told() {
    let mut world = World::new(1);
    world.founders.insert(NodeId(1), vec![1, 2, 9]);
    world.start(1);
    enter(&mut world, 1, 1, |fake| fake.outputs.push_back(named(&[(1, ""), (2, "two")])));
    world.settle();
    assert_eq!(world.told(1), [peers(&[(2, &["two"]), (3, &[])])]);
    let Now { instant, .. } = world.now;
    let beat = Now { instant: instant.after(Duration::from_millis(60)), ..world.now };
    world.node(1).handle(beat, NodeInput::Timeout);
    let sent: Vec<NodeId> = std::iter::from_fn(|| world.node(1).poll_output())
        .filter_map(|output| match output {
            crate::node::NodeOutput::Send { to, .. } => Some(to),
            _ => None,
        })
        .collect();
    assert!(!sent.is_empty() && !sent.contains(&NodeId(9)), "{sent:?}");
}
