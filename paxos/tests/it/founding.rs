//! A group keeps the quorum system with which it was founded, whatever nodes are added later.

use std::any::Any;

use quorate_paxos::QuorumSystem;
use quorate_paxos::runtime::group::Group;
use quorate_paxos::runtime::{BoxError, GroupStart};
use quorate_paxos::synod::testing::Calls;
use quorate_paxos::synod::{self, Decision, Settings, host, host_with};
use quorate_protocol::testing::Stream;
use quorate_protocol::{ClusterId, Configuration, GroupId, Identity, Incarnation, Input, NodeId, Now, SessionId};

use crate::support::{ballot, prepare, three};

pub(crate) fn start(node: u64, nodes: u64, disk: &Stream) -> GroupStart {
    GroupStart {
        now: Now::default(),
        group: GroupId(1),
        identity: Identity { cluster: ClusterId(1), node: NodeId(node), incarnation: Incarnation(1) },
        session: SessionId::default(),
        members: Configuration::of_voters((1..=nodes).map(NodeId)),
        recovery: disk.recovery(usize::MAX),
        skipped: Vec::new(),
        seed: 1,
        frame_bytes_max: 2 << 20,
        write_bytes_max: 2 << 20,
    }
}

/// The acceptors and the learners.
fn roles(group: Result<Box<dyn Group>, BoxError>) -> (Vec<u64>, Vec<u64>) {
    let group: Box<dyn Any> = group.expect("it opens");
    let decision: &Decision = group.downcast_ref().expect("a decision");
    let group = decision.core().expect("served").config().group();
    let ids = |nodes: &std::collections::BTreeSet<NodeId>| nodes.iter().map(|node| node.0).collect();
    (ids(group.quorums().acceptors()), ids(group.learners()))
}

/// A fourth node in the description does not prevent a group of three from starting, decided or not.
#[test]
fn nodes_that_are_described_later_leave_the_quorums_as_they_were() {
    let mut cluster = three();
    let system = cluster.node(1).core().config().system();
    cluster.input(NodeId(2), Input::Message { from: NodeId(1), message: prepare(system, ballot(1, 1)) });
    cluster.deliver();
    let (three, four) = (vec![1, 2, 3], vec![1, 2, 3, 4]);
    let is = |node, nodes, disk: &Stream| roles(host(start(node, nodes, disk), Settings::default()));
    assert_eq!(is(2, 4, &cluster.node(2).disk), (three.clone(), four.clone()), "it has promised");
    assert_eq!(is(2, 2, &cluster.node(2).disk), (three.clone(), three.clone()), "one is left out");
    cluster.propose(1, b"one");
    cluster.deliver();
    for node in 1..=3 {
        assert_eq!(is(node, 4, &cluster.node(node).disk), (three.clone(), four.clone()), "it knows what is chosen");
    }
    assert_eq!(is(4, 4, &Stream::default()), (four.clone(), four), "nothing was founded there");
}

/// Quorums that are given by hand are used, or refused by name.
#[test]
fn quorums_given_by_hand_are_those_of_the_founding() {
    let mut cluster = three();
    cluster.propose(1, b"one");
    cluster.deliver();
    let by_hand = |nodes: u64| {
        let quorums = QuorumSystem::majority((1..=nodes).map(NodeId)).expect("distinct");
        host_with(start(1, 4, &cluster.node(1).disk), synod::GroupRoles::of(quorums), Settings::default())
    };
    assert_eq!(roles(by_hand(3)).0, [1, 2, 3]);
    let error = by_hand(4).err().expect("it is another group").to_string();
    assert!(error.contains("the quorum system is another than the group was founded with"), "{error}");
}

#[test]
fn settings_that_do_not_fit_the_node_are_refused() {
    for value_bytes_max in [2 << 20, usize::MAX] {
        let settings = Settings { value_bytes_max, ..Settings::default() };
        let error = host(start(1, 3, &Stream::default()), settings).err().expect("it is too long").to_string();
        assert!(error.contains("the node's bounds are lower"), "{error}");
    }
}
