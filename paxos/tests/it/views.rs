//! Nodes with equal views answer every input equally, however they came to them.

use std::time::Duration;

use quorate_paxos::synod::message::Report;
use quorate_paxos::synod::testing::{Builder, Calls, Cluster};
use quorate_paxos::synod::{Command, Message, Settings, Synod};
use quorate_protocol::testing::{Alike, PowerCut};
use quorate_protocol::{Input, NodeId, Output, PersistFailure, Protocol, ReadId, Signal, Standing, StorageLevel};

use crate::support::{ballot, from_environment, proposal};

/// The full check: `QUORATE_PAXOS_TRACES=100000 cargo test -p quorate-paxos --release views`.
#[test]
fn equal_views_react_alike() {
    let traces = from_environment("QUORATE_PAXOS_TRACES", 1000);
    let mut alike = Alike::new(0, words);
    for seed in 0..traces {
        let settings = Settings { settle_after: Duration::from_millis(50), ..Settings::default() };
        let mut cluster = Builder::new(3, seed).settings(settings.into()).start();
        let mut messages: Vec<(NodeId, Message)> = Vec::new();
        for _ in 0..30 {
            act(&mut cluster, &mut messages);
            alike.look(&mut cluster, |core| inputs(core, &messages));
        }
    }
    assert!(alike.compared() > traces, "views do repeat: {}", alike.compared());
}

/// One event. No more time passes than it needs.
fn act(cluster: &mut Cluster, messages: &mut Vec<(NodeId, Message)>) {
    let node = 1 + cluster.choose(3);
    let other = 1 + cluster.choose(3);
    match cluster.choose(16) {
        12 => cluster.input(NodeId(node), Input::Signal(Signal::Unreachable(NodeId(other)))),
        13 => cluster.input(NodeId(node), Input::Signal(Signal::PeerAlive(NodeId(other)))),
        0 => cluster.crash_leaving(node, PowerCut::Whole),
        1 | 2 if cluster.node(node).core.is_none() => cluster.restart(node),
        3 => cluster.hold_disk(node),
        4 => cluster.release_disk(node),
        5 => cluster.propose_again(node, proposal(node, b"").id, b"x"),
        6 => {
            cluster.read(node);
        }
        7 | 8 if node != other => cluster.park(node, other),
        9 => {
            messages.extend(cluster.parked().iter().map(|(from, _, message)| (*from, message.clone())));
            cluster.release();
        }
        10 => cluster.input(NodeId(node), Input::Signal(Signal::Storage(StorageLevel::Low))),
        _ => {
            // The next deadline passes.
            let due = cluster.nodes.values().filter_map(|state| state.core.as_ref()?.deadline()).min();
            let wait = due.map_or(Duration::ZERO, |due| due.since(cluster.now()));
            cluster.run(wait);
        }
    }
    cluster.deliver();
    let surplus = messages.len().saturating_sub(200);
    messages.drain(..surplus);
}

fn inputs(core: &Synod, messages: &[(NodeId, Message)]) -> Vec<Input<Synod>> {
    let mut inputs: Vec<Input<Synod>> = vec![
        Input::Command(Command::Read { id: ReadId(77) }),
        Input::Command(Command::Propose(proposal(99, b"new"))),
        Input::Signal(Signal::CompactRequested),
    ];
    for node in [NodeId(1), NodeId(2), NodeId(3)] {
        inputs.push(Input::Message { from: node, message: Message::Announce });
        inputs.push(Input::Message { from: node, message: Message::Inquire });
        inputs.push(Input::Message { from: node, message: Message::Known });
        inputs.push(Input::Signal(Signal::PeerStanding { node, standing: Standing::Stranger }));
    }
    inputs.push(Input::Signal(Signal::PeerAlive(NodeId(2))));
    inputs.push(Input::Signal(Signal::Unreachable(NodeId(2))));
    let chosen = messages.iter().rev().take(20);
    inputs.extend(chosen.map(|(from, message)| Input::Message { from: *from, message: message.clone() }));
    for accepted in [None, Some((ballot(1, 2), proposal(9, b"nine")))] {
        let (start, number) = core.question().unwrap_or_default();
        inputs.push(Input::Message { from: NodeId(2), message: Message::Report(Report { start, number, accepted }) });
    }
    let ticket = core.write_in_flight().unwrap_or_default();
    inputs.push(Input::Signal(Signal::Persisted(ticket)));
    inputs.push(Input::Signal(Signal::PersistFailed { ticket, failure: PersistFailure::NotWritten }));
    inputs
}

/// An output without the numbers of tickets and of the node's start, which is random.
fn words(output: Output<Synod>) -> String {
    match output {
        Output::Persist { operations, .. } => format!("persist {operations:?}"),
        Output::Send { to, message: Message::Query(query) } => format!("ask {to} {}", query.number),
        other => format!("{other:?}"),
    }
}
