//! Nodes with equal views answer every input equally, however they came to them.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_protocol::{Input, Instant, NodeId, Now, Output, Protocol, Signal, Standing, StorageLevel, View};
use quorate_two_phase_commit::testing::{Builder, Cluster, Transactions, Work};
use quorate_two_phase_commit::{
    Command, CommandId, Epoch, Event, Message, Settings, TransactionId, TransactionNumber, TwoPhaseCommit,
};

use crate::from_environment;

/// A core with the view at some time.
struct Seen {
    core: TwoPhaseCommit,
    now: Instant,
}

/// The full check: `QUORATE_TWO_PHASE_COMMIT_TRACES=100000 cargo test -p quorate-two-phase-commit --release views`.
#[test]
fn equal_views_react_alike() {
    let traces = from_environment("QUORATE_TWO_PHASE_COMMIT_TRACES", 300);
    let mut seen: BTreeMap<View, Seen> = BTreeMap::new();
    let mut compared = 0;
    for seed in 0..traces {
        let settings = Settings { outcomes_max: 2, ..Settings::default() };
        let mut cluster = Builder::new(3, seed).settings(settings).start();
        let mut messages: Vec<(NodeId, Message)> = Vec::new();
        for _ in 0..25 {
            act(&mut cluster, &mut messages);
            for node in 1..=3 {
                // A view is taken at the time of the last input; this input changes nothing else.
                cluster.input(NodeId(node), Input::Signal(Signal::PeerAlive(NodeId(99))));
                let Some(core) = &cluster.node(node).core else { continue };
                let now = cluster.now();
                let view = core.model_view();
                match seen.get(&view) {
                    None if seen.len() < 20_000 => {
                        seen.insert(view, Seen { core: core.clone(), now });
                    }
                    None => {}
                    Some(other) => {
                        compared += 1;
                        compare(other, &Seen { core: core.clone(), now }, &messages);
                    }
                }
            }
        }
    }
    assert!(compared > traces, "views do repeat: {compared}");
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

fn compare(one: &Seen, two: &Seen, messages: &[(NodeId, Message)]) {
    let view = format!("{:?}", one.core.model_view());
    let command = CommandId(99);
    let mut inputs: Vec<Input<TwoPhaseCommit>> = vec![
        Input::Command(Command::Begin { command }),
        Input::Signal(Signal::CompactRequested),
        Input::Signal(Signal::Storage(StorageLevel::Low)),
    ];
    for node in [NodeId(1), NodeId(2), NodeId(3)] {
        let number = TransactionNumber { epoch: Epoch(1), sequence: 1 };
        let transaction = TransactionId { coordinator: node, number };
        inputs.push(Input::Command(Command::Abort { command, transaction }));
        inputs.push(Input::Command(Command::Query { command, transaction }));
        inputs.push(Input::Command(Command::Enlist { command, transaction }));
        inputs.push(Input::Signal(Signal::PeerStanding { node, standing: Standing::Stranger }));
        inputs.push(Input::Message { from: node, message: Message::Inquire { transaction } });
        inputs.push(Input::Message { from: node, message: Message::InquireFinished });
    }
    let chosen = messages.iter().rev().take(20);
    inputs.extend(chosen.map(|(from, message)| Input::Message { from: *from, message: message.clone() }));
    for input in inputs {
        let (first, second) = (reaction(one, one.now, input.clone()), reaction(two, two.now, input.clone()));
        assert_eq!(first, second, "to {input:?}\nwith {view}");
    }
    let deadlines = (one.core.deadline(), two.core.deadline());
    if let (Some(first), Some(second)) = deadlines {
        let (first, second) = (
            reaction(one, first, Input::Signal(Signal::Timeout)),
            reaction(two, second, Input::Signal(Signal::Timeout)),
        );
        assert_eq!(first, second, "to the deadline\nwith {view}");
    } else {
        assert_eq!(deadlines.0.is_some(), deadlines.1.is_some(), "both wait or none\nwith {view}");
    }
}

/// The outputs of a core after an input, without the numbers of tickets and the lengths of waits.
fn reaction(seen: &Seen, at: Instant, input: Input<TwoPhaseCommit>) -> Vec<String> {
    let mut core = seen.core.clone();
    core.handle(Now { instant: at, wall_ms: 0 }, input);
    let mut said = Vec::new();
    while let Some(output) = core.poll_output() {
        said.push(match output {
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
        });
    }
    said
}
