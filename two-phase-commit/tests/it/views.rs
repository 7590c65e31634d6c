//! Nodes with equal views answer every input equally, however they came to them.

use std::time::Duration;

use quorate_protocol::testing::Alike;
use quorate_protocol::{Input, NodeId, Output, Protocol, Signal, Standing, StorageLevel};
use quorate_two_phase_commit::testing::{Builder, Cluster, Transactions, Work};
use quorate_two_phase_commit::{
    Command, CommandId, CoordinatorId, Epoch, Event, Message, Settings, TransactionId, TransactionNumber,
    TwoPhaseCommit,
};

use crate::from_environment;

/// The full check: `QUORATE_TWO_PHASE_COMMIT_TRACES=100000 cargo test -p quorate-two-phase-commit --release views`.
#[test]
fn equal_views_react_alike() {
    let traces = from_environment("QUORATE_TWO_PHASE_COMMIT_TRACES", 300);
    let mut alike = Alike::new(0, words);
    for seed in 0..traces {
        let settings = Settings { outcomes_max: 2, ..Settings::default() };
        let mut cluster = Builder::new(3, seed).settings(settings.into()).start();
        let mut messages: Vec<(NodeId, Message)> = Vec::new();
        for _ in 0..25 {
            act(&mut cluster, &mut messages);
            alike.look(&mut cluster, |_| inputs(&messages));
        }
    }
    assert!(alike.compared() > traces, "views do repeat: {}", alike.compared());
}

/// One event. No more time passes than it needs.
fn act(cluster: &mut Cluster, messages: &mut Vec<(NodeId, Message)>) {
    let node = 1 + cluster.choose(3);
    let other = 1 + cluster.choose(3);
    match cluster.choose(14) {
        0 => cluster.crash(node),
        1 | 2 if cluster.node(node).core.is_none() => cluster.restart(node),
        3 => cluster.hold_disk(node),
        4 => cluster.release_disk(node),
        5 => cluster.hold_requests(node),
        6 => cluster.release_requests(node),
        7 if node != other => cluster.park(node, other),
        8 => messages.extend(cluster.release().into_iter().map(|(from, _, message)| (from, message))),
        9 | 10 if cluster.is_ready(node) => {
            let last = if cluster.choose(3) == 0 { Work::Read } else { Work::Write(1) };
            cluster.transact(node, &[(1, Work::Write(1)), (2, Work::Write(1)), (3, last)]);
        }
        _ => {
            // The next deadline passes.
            let due = cluster.nodes.values().filter_map(|it| it.core.as_ref()?.deadline()).min();
            let wait = due.map_or(Duration::ZERO, |due| due.since(cluster.now()));
            cluster.run(wait);
        }
    }
    cluster.settle();
    messages.truncate(200);
}

fn inputs(messages: &[(NodeId, Message)]) -> Vec<Input<TwoPhaseCommit>> {
    let command = CommandId(99);
    let mut inputs: Vec<Input<TwoPhaseCommit>> = vec![
        Input::Command(Command::Begin { command }),
        Input::Signal(Signal::CompactRequested),
        Input::Signal(Signal::Storage(StorageLevel::Low)),
    ];
    for node in [NodeId(1), NodeId(2), NodeId(3)] {
        let number = TransactionNumber { epoch: Epoch(1), sequence: 1 };
        let transaction = TransactionId { coordinator: CoordinatorId::of_node(node), number };
        inputs.push(Input::Command(Command::Abort { command, transaction }));
        inputs.push(Input::Command(Command::Query { command, transaction }));
        inputs.push(Input::Command(Command::Enlist { command, transaction }));
        inputs.push(Input::Signal(Signal::PeerStanding { node, standing: Standing::Stranger }));
        inputs.push(Input::Message { from: node, message: Message::Inquire { transaction } });
        inputs.push(Input::Message {
            from: node,
            message: Message::InquireFinished { coordinator: CoordinatorId::of_node(node) },
        });
    }
    let chosen = messages.iter().rev().take(20);
    inputs.extend(chosen.map(|(from, message)| Input::Message { from: *from, message: message.clone() }));
    inputs
}

/// An output without the numbers of tickets and the lengths of waits.
fn words(output: Output<TwoPhaseCommit>) -> String {
    match output {
        Output::Persist { operations, .. } => format!("persist {operations:?}"),
        Output::Request { request, .. } => format!("request {request:?}"),
        Output::Event(Event::InDoubt { transaction, .. }) => {
            format!("in doubt {transaction}")
        }
        Output::Event(Event::RequestOverdue { transaction, request, .. }) => {
            format!("overdue {request:?} of {transaction}")
        }
        Output::Event(Event::Unacknowledged { transaction, participants, .. }) => {
            format!("unacknowledged {transaction} by {participants:?}")
        }
        other => format!("{other:?}"),
    }
}
