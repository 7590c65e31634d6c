//! Nodes with equal views answer every input equally, however they got there.

use std::time::Duration;

use bytes::Bytes;

use super::{Builder, Cluster};
use crate::replication::{Election, LogCore, Message, Settings};
use crate::testing::Alike;
use crate::{EntryKind, Input, LogCommand, NodeId, Output, Proposal, ProposalId, Protocol, ReadId, Signal, Standing};

/// Plays random traces, and compares the answers of all cores whose views are equal. Returns the number of pairs that
/// were compared.
///
/// # Panics
/// When two of them differ.
#[must_use]
pub fn views_react_alike<E: Election>(traces: u64) -> u64 {
    let mut alike = Alike::new(WALL_MS, words::<E>);
    for seed in 0..traces {
        // All waits of a trace together are shorter than a millisecond, so that log time, which affects no decision,
        // stands still.
        let settings = Settings {
            election_timeout_min: Duration::from_nanos(500),
            election_timeout_max: Duration::from_micros(1),
            heartbeat_interval: Duration::from_nanos(100),
            commit_notice_delay: Duration::from_nanos(2),
            quiet_after: Some(Duration::from_nanos(300)),
            ..Settings::default()
        };
        let mut cluster = Builder::new(3, seed).settings(settings).start();
        let mut messages: Vec<(NodeId, Message)> = Vec::new();
        for _ in 0..30 {
            act(&mut cluster, &mut messages);
            alike.look(&mut cluster, |_| inputs(&messages));
        }
    }
    alike.compared()
}

/// One possible event. No more time passes than it takes.
fn act<E: Election>(cluster: &mut Cluster<E>, messages: &mut Vec<(NodeId, Message)>) {
    let node = 1 + cluster.choose(3);
    let other = 1 + cluster.choose(3);
    match cluster.choose(15) {
        0 => cluster.crash(node),
        1 | 2 if cluster.node(node).core.is_none() => cluster.restart(node),
        3 => cluster.hold_disk(node),
        4 => cluster.release_disk(node),
        5 => {
            cluster.propose(node, b"x");
        }
        6 => {
            cluster.read(node);
        }
        7 if node != other => cluster.park(node, other),
        8 => {
            messages.extend(cluster.parked().iter().map(|(from, _, message)| (*from, message.clone())));
            cluster.release();
        }
        9 => cluster.input(NodeId(node), Input::Signal(Signal::PeerAlive(NodeId(other)))),
        10 => {
            let heard_at = cluster.now();
            cluster.input(NodeId(node), Input::Signal(Signal::PeerSilent { node: NodeId(other), heard_at }));
        }
        _ => {
            // The next deadline of this node passes, unless another's comes first.
            let due = cluster.nodes.values().filter_map(|state| state.core.as_ref()?.deadline()).min();
            let wait = due.map_or(Duration::ZERO, |due| due.since(cluster.now()));
            cluster.run(wait);
        }
    }
    cluster.settle();
    messages.truncate(200);
}

fn inputs<E: Election>(messages: &[(NodeId, Message)]) -> Vec<Input<LogCore<E>>> {
    let mut inputs: Vec<Input<LogCore<E>>> = Vec::new();
    inputs.push(Input::Command(LogCommand::Read { id: ReadId(77) }));
    inputs.push(Input::Command(LogCommand::Transfer { to: None, timeout: Duration::from_secs(1) }));
    let proposal = Proposal {
        id: ProposalId::default(),
        kind: EntryKind::Command,
        acknowledged_below: 0,
        payload: Bytes::from_static(b"new"),
        checksum: 0,
    };
    inputs.push(Input::Command(LogCommand::Propose(proposal)));
    for node in [NodeId(1), NodeId(2), NodeId(3)] {
        inputs.push(Input::Signal(Signal::PeerAlive(node)));
        inputs.push(Input::Signal(Signal::Unreachable(node)));
        inputs.push(Input::Signal(Signal::PeerStanding { node, standing: Standing::Stranger }));
    }
    let chosen = messages.iter().rev().take(20);
    inputs.extend(chosen.map(|(from, message)| Input::Message { from: *from, message: message.clone() }));
    inputs
}

/// An output without the numbers of tickets.
fn words<E: Election>(output: Output<LogCore<E>>) -> String {
    match output {
        Output::Persist { operations, .. } => format!("persist {operations:?}"),
        Output::Load { range, .. } => format!("load {range:?}"),
        Output::Request { request, .. } => format!("request {request:?}"),
        other => format!("{other:?}"),
    }
}

/// The wall clock at the start of a cluster.
const WALL_MS: u64 = 1_700_000_001_000;
