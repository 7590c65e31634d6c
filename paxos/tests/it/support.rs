//! Helpers of several tests.

use std::time::Duration;

use bytes::Bytes;
use quorate_paxos::synod::message::{Accept, Prepare};
use quorate_paxos::synod::testing::{Builder, Calls, Cluster};
use quorate_paxos::synod::{Message, Proposal, Settings};
use quorate_paxos::{Ballot, QuorumSystem};
use quorate_protocol::{NodeId, ProposalId};

/// A number from the environment, to run more of a test than by default.
pub(crate) fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Different quorums by seed: of one node to five, of sizes, and a grid.
pub(crate) fn quorums(seed: u64) -> QuorumSystem {
    let nodes = |range: std::ops::RangeInclusive<u64>| range.map(NodeId);
    let quorums = match seed % 7 {
        0 => QuorumSystem::majority(nodes(1..=1)),
        1 => QuorumSystem::flexible(nodes(1..=4), 3, 2),
        2 => QuorumSystem::majority(nodes(1..=5)),
        3 => QuorumSystem::grid(vec![nodes(1..=2).collect(), nodes(3..=4).collect()]),
        _ => QuorumSystem::majority(nodes(1..=3)),
    };
    quorums.expect("quorums that meet")
}

/// Three nodes that never settle an undecided proposal by themselves, so that a test does it.
pub(crate) fn three() -> Cluster {
    let settings = Settings { settle_after: Duration::from_hours(1), ..Settings::default() };
    Builder::new(3, 1).settings(settings.into()).start()
}

/// Makes node 1 propose `one`. Its messages, and all that follow, are held back.
pub(crate) fn propose_parked(cluster: &mut Cluster) {
    cluster.park_all();
    cluster.propose(1, b"one");
    cluster.deliver();
}

/// Makes it prepare with one other node as well. No other message is delivered.
pub(crate) fn prepare_with(cluster: &mut Cluster, other: u64) {
    propose_parked(cluster);
    cluster.release_if(|_, to, message| to == other && is_prepare(message));
    cluster.release_if(|_, _, message| is_promise(message));
}

pub(crate) fn ballot(round: u64, node: u64) -> Ballot {
    Ballot { round, node: NodeId(node) }
}

pub(crate) fn proposal(sequence: u64, value: &'static [u8]) -> Proposal {
    Proposal::new(ProposalId { sequence, ..ProposalId::default() }, Bytes::from_static(value))
}

pub(crate) fn is_prepare(message: &Message) -> bool {
    matches!(message, Message::Prepare(_))
}

pub(crate) fn is_promise(message: &Message) -> bool {
    matches!(message, Message::Promise(_))
}

pub(crate) fn is_accept(message: &Message) -> bool {
    matches!(message, Message::Accept(_))
}

pub(crate) fn is_accepted(message: &Message) -> bool {
    matches!(message, Message::Accepted(_))
}

pub(crate) fn is_query(message: &Message) -> bool {
    matches!(message, Message::Query(_))
}

pub(crate) fn is_report(message: &Message) -> bool {
    matches!(message, Message::Report(_))
}

pub(crate) fn prepare(system: u32, ballot: Ballot) -> Message {
    Message::Prepare(Prepare { system, ballot })
}

pub(crate) fn accept(system: u32, ballot: Ballot, proposal: Proposal) -> Message {
    Message::Accept(Accept { system, ballot, proposal })
}
