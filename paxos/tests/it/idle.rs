//! A node without work is silent, and a node that comes back is told the chosen value.

use std::time::Duration;

use quorate_paxos::QuorumSystem;
use quorate_paxos::synod::testing::{Answers, Builder, Calls, Cluster, Records};
use quorate_paxos::synod::{DecisionObstacle, GroupRoles, Message, ProposalOutcome};
use quorate_protocol::{Input, NodeId};

use crate::support::{ballot, is_accept, is_prepare, is_promise, propose_parked, three};

const HOUR: Duration = Duration::from_hours(1);

fn sent_in(cluster: &mut Cluster, duration: Duration) -> u64 {
    let before = cluster.traffic().messages;
    cluster.run(duration);
    cluster.traffic().messages - before
}

/// Each of the two nodes that know tells the third at most twice an hour, once its waits have reached their bound.
#[test]
fn a_decided_group_with_a_node_down_is_nearly_silent() {
    let mut cluster = Builder::new(3, 1).start();
    cluster.crash(3);
    cluster.propose(1, b"one");
    cluster.run(Duration::from_mins(1));
    let first = sent_in(&mut cluster, HOUR);
    assert!(first <= 20, "{first} messages in the first hour");
    let day = sent_in(&mut cluster, HOUR * 24);
    assert!(day <= 24 * 4, "{day} messages in a day");
    cluster.restart(3);
    cluster.run(Duration::from_secs(6));
    assert_eq!(cluster.node(3).chosen().expect("it is told when it is back").value, "one");
    assert_eq!(sent_in(&mut cluster, HOUR * 24), 0, "when all know nobody talks");
}

/// A node that hears and does not answer, or whose group has stopped, also causes few messages.
#[test]
fn a_node_that_never_confirms_is_told_ever_less() {
    let mut cluster = three();
    cluster.cut(3, 1);
    cluster.cut(3, 2);
    cluster.propose(1, b"one");
    cluster.run(Duration::from_mins(1));
    assert_eq!(cluster.node(3).chosen().expect("it hears").value, "one");
    let first = sent_in(&mut cluster, HOUR);
    assert!(first <= 40, "{first} messages in the first hour");
}

/// A decision that cannot be finished is not tried without end, and is finished when the others are back.
#[test]
fn an_open_decision_without_a_quorum_is_nearly_silent() {
    for proposers in [&[1, 2, 3][..], &[1]] {
        let quorums = QuorumSystem::majority([1, 2, 3].map(NodeId)).expect("distinct");
        let group = GroupRoles::of(quorums).with_proposers(proposers.iter().copied().map(NodeId));
        let mut cluster = Builder::new(3, 1).settings(group.into()).start();
        cluster.park_all();
        cluster.propose(1, b"one");
        cluster.deliver();
        cluster.release_if(|_, to, message| to == 2 && is_prepare(message));
        cluster.release_if(|_, _, message| is_promise(message));
        cluster.release_if(|_, to, message| to == 2 && is_accept(message));
        cluster.forget_parked();
        cluster.crash(1);
        cluster.crash(3);
        cluster.run(Duration::from_mins(1));
        let first = sent_in(&mut cluster, HOUR);
        assert!(first <= 30, "{first} messages in the first hour");
        if proposers.len() > 1 {
            assert_eq!(
                cluster.node(2).core().explain(),
                [DecisionObstacle::AcceptorsSilent(vec![NodeId(1), NodeId(3)])]
            );
        }
        cluster.restart(1);
        cluster.run(Duration::from_secs(8));
        assert_eq!(cluster.node(2).chosen().expect("it is decided").value, "one");
    }
}

/// An acceptor that is slower than the others, and is not a proposer, has accepted a proposal that only it knows.
#[test]
fn who_is_asked_to_settle_waits_for_all_promises() {
    let quorums = QuorumSystem::majority([1, 2, 3].map(NodeId)).expect("distinct");
    let group = GroupRoles::of(quorums).with_proposers([1, 2].map(NodeId));
    let mut cluster = Builder::new(3, 1).settings(group.into()).start();
    propose_parked(&mut cluster);
    cluster.release_if(|_, to, message| to == 3 && is_prepare(message));
    cluster.hold_disk(1);
    cluster.release_if(|_, _, message| is_promise(message));
    cluster.release_if(|_, to, message| to == 3 && is_accept(message));
    cluster.forget_parked();
    // Its own acceptance is lost with the power.
    assert!(cluster.node(3).disk.accepted().is_some() && cluster.node(1).disk.accepted().is_none());
    cluster.crash(1);
    cluster.restart(1);
    cluster.release_disk(1);
    cluster.park_all();
    cluster.run(Duration::from_secs(3));
    cluster.release_if(|_, to, message| to == 2 && *message == Message::Inquire);
    cluster.release_if(|from, _, message| from == 2 && is_prepare(message));
    cluster.release_if(|from, _, message| from == 1 && is_promise(message));
    assert_eq!(cluster.node(2).core().status().attempt.expect("it waits for all").proposal, None);
    cluster.release_if(|from, _, message| from == 3 && is_promise(message));
    assert_eq!(cluster.node(2).core().status().attempt.expect("it goes on").proposal.expect("it knows").value, "one");
    cluster.release();
    cluster.run(Duration::from_secs(1));
    assert_eq!(cluster.node(3).chosen().expect("it is decided").value, "one");
}

/// The same when a node that might have accepted a proposal is away: the others do not wait for it without end.
#[test]
fn who_is_asked_to_settle_does_not_wait_for_who_is_away() {
    let quorums = QuorumSystem::majority([1, 2, 3].map(NodeId)).expect("distinct");
    let mut cluster = Builder::new(3, 1).settings(GroupRoles::of(quorums).with_proposers([NodeId(1)]).into()).start();
    cluster.crash(3);
    cluster.input(NodeId(1), Input::Message { from: NodeId(2), message: Message::Inquire });
    cluster.run(Duration::from_secs(1));
    let status = cluster.node(1).core().status();
    assert_eq!((status.attempt, status.promised), (None, ballot(1, 1)));
    let id = cluster.propose(1, b"one");
    cluster.deliver();
    assert_eq!(cluster.node(1).outcome(id), Some(&ProposalOutcome::Chosen));
}

/// A disk is lost, and lost again: the others cannot distinguish the second stranger from the first.
#[test]
fn a_node_that_lost_its_disk_twice_learns_twice() {
    let mut cluster = three();
    cluster.propose(1, b"one");
    cluster.run(Duration::from_secs(1));
    for time in 0..3 {
        cluster.wipe(3);
        cluster.run(Duration::from_secs(2));
        cluster.restart(3);
        cluster.run(Duration::from_secs(6));
        assert_eq!(cluster.node(3).core().status().chosen.expect("it is told").value, "one", "time {time}");
        assert_eq!(cluster.node(3).core().explain(), [DecisionObstacle::Stranger], "it goes on to say what it is");
    }
    assert_eq!(sent_in(&mut cluster, HOUR), 0);
}
