//! Nodes with equal views answer every input equally, however they came to them.

use std::time::Duration;

use quorate_protocol::testing::Alike;
use quorate_protocol::{Input, NodeId, Output, Protocol, Signal, Standing, StorageLevel};
use quorate_two_phase_commit::three_phase::testing::{Builder, Cluster, ThreePhases};
use quorate_two_phase_commit::three_phase::{Message, ThreePhaseCommit};

use super::ALL;
use crate::from_environment;

/// The full check: `QUORATE_THREE_PHASE_COMMIT_TRACES=100000 cargo test -p quorate-two-phase-commit --release
/// three_phase`.
#[test]
fn equal_views_react_alike() {
    let traces = from_environment("QUORATE_THREE_PHASE_COMMIT_TRACES", 200);
    let mut alike = Alike::new(0, words);
    for seed in 0..traces {
        let mut cluster = Builder::new(3, seed).start();
        let mut messages: Vec<(NodeId, Message)> = Vec::new();
        for _ in 0..25 {
            act(&mut cluster, &mut messages);
            alike.look(&mut cluster, |_| inputs(&messages));
        }
    }
    assert!(alike.compared() > traces, "views do repeat: {}", alike.compared());
}

fn act(cluster: &mut Cluster, messages: &mut Vec<(NodeId, Message)>) {
    let node = 1 + cluster.choose(3);
    let other = 1 + cluster.choose(3);
    match cluster.choose(11) {
        0 => cluster.crash(node),
        1 | 2 if cluster.node(node).core.is_none() => cluster.restart(node),
        3 => cluster.hold_disk(node),
        4 => cluster.release_disk(node),
        5 if node != other => cluster.park(node, other),
        6 => messages.extend(cluster.release().into_iter().map(|(from, _, message)| (from, message))),
        7 | 8 if cluster.is_ready(node) => {
            cluster.transact(node, &ALL);
        }
        _ => {
            let due = cluster.nodes.values().filter_map(|it| it.core.as_ref()?.deadline()).min();
            let wait = due.map_or(Duration::ZERO, |due| due.since(cluster.now()));
            cluster.run(wait);
        }
    }
    cluster.settle();
    messages.truncate(200);
}

fn inputs(messages: &[(NodeId, Message)]) -> Vec<Input<ThreePhaseCommit>> {
    let mut inputs = vec![
        Input::Signal(Signal::CompactRequested),
        Input::Signal(Signal::Storage(StorageLevel::Low)),
        Input::Signal(Signal::PeerStanding { node: NodeId(1), standing: Standing::Stranger }),
    ];
    let chosen = messages.iter().rev().take(20);
    inputs.extend(chosen.map(|(from, message)| Input::Message { from: *from, message: message.clone() }));
    inputs
}

/// An output without the numbers of tickets.
fn words(output: Output<ThreePhaseCommit>) -> String {
    match output {
        Output::Persist { operations, .. } => format!("persist {operations:?}"),
        Output::Request { request, .. } => format!("request {request:?}"),
        other => format!("{other:?}"),
    }
}
