//! Nodes with equal views answer every input equally, however they came to them.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_paxos::synod::message::Report;
use quorate_paxos::synod::testing::{Builder, Calls, Cluster};
use quorate_paxos::synod::{Command, Message, Settings, Synod};
use quorate_protocol::testing::PowerCut;
use quorate_protocol::{
    Input, Instant, NodeId, Now, Output, PersistFailure, Protocol, ReadId, Signal, Standing, StorageLevel, Ticket, View,
};

use crate::support::{ballot, from_environment, proposal};

/// A core with the view at some time.
struct Seen {
    core: Synod,
    now: Instant,
}

/// The full check: `QUORATE_PAXOS_TRACES=100000 cargo test -p quorate-paxos --release views`.
#[test]
fn equal_views_react_alike() {
    let traces = from_environment("QUORATE_PAXOS_TRACES", 1000);
    let mut seen: BTreeMap<String, (View, Seen)> = BTreeMap::new();
    let mut compared = 0;
    for seed in 0..traces {
        let settings = Settings { settle_after: Duration::from_millis(50), ..Settings::default() };
        let mut cluster = Builder::new(3, seed).settings(settings.into()).start();
        let mut messages: Vec<(NodeId, Message)> = Vec::new();
        for _ in 0..30 {
            act(&mut cluster, &mut messages);
            for node in 1..=3 {
                // A view is taken at the time of the last input; this input changes nothing else.
                cluster.input(NodeId(node), Input::Signal(Signal::PeerAlive(NodeId(99))));
                let Some(core) = &cluster.node(node).core else { continue };
                let now = cluster.now();
                let view = core.model_view();
                // A view has no order except that of its text.
                let text = format!("{view:?}");
                match seen.get(&text) {
                    None if seen.len() < 20_000 => {
                        seen.insert(text, (view, Seen { core: core.clone(), now }));
                    }
                    None => {}
                    Some((other_view, other)) => {
                        assert_eq!(*other_view, view);
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

fn compare(one: &Seen, two: &Seen, messages: &[(NodeId, Message)]) {
    let view = format!("{:?}", one.core.model_view());
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
    for input in inputs {
        let (first, second) = (reaction(one, one.now, |_| input.clone()), reaction(two, two.now, |_| input.clone()));
        assert_eq!(first, second, "to {input:?}\nwith {view}");
    }
    for accepted in [None, Some((ballot(1, 2), proposal(9, b"nine")))] {
        let report = |core: &Synod| {
            let (start, number) = core.question().unwrap_or_default();
            let message = Message::Report(Report { start, number, accepted: accepted.clone() });
            Input::Message { from: NodeId(2), message }
        };
        assert_eq!(reaction(one, one.now, report), reaction(two, two.now, report), "to a report\nwith {view}");
    }
    let persisted = |core: &Synod| Input::Signal(Signal::Persisted(in_flight(core)));
    assert_eq!(reaction(one, one.now, persisted), reaction(two, two.now, persisted), "to a write\nwith {view}");
    let refused = |core: &Synod| {
        Input::Signal(Signal::PersistFailed { ticket: in_flight(core), failure: PersistFailure::NotWritten })
    };
    assert_eq!(reaction(one, one.now, refused), reaction(two, two.now, refused), "to a refusal\nwith {view}");
    let deadlines = (one.core.deadline(), two.core.deadline());
    if let (Some(first), Some(second)) = deadlines {
        let timeout = |_: &Synod| Input::Signal(Signal::Timeout);
        let (first, second) = (reaction(one, first, timeout), reaction(two, second, timeout));
        assert_eq!(first, second, "to the deadline\nwith {view}");
    } else {
        assert_eq!(deadlines.0.is_some(), deadlines.1.is_some(), "both wait or none\nwith {view}");
    }
}

fn in_flight(core: &Synod) -> Ticket {
    core.write_in_flight().unwrap_or_default()
}

/// The outputs of a core after an input, which may depend on its state.
fn reaction(seen: &Seen, at: Instant, input: impl Fn(&Synod) -> Input<Synod>) -> Vec<String> {
    let mut core = seen.core.clone();
    core.handle(Now { instant: at, wall_ms: 0 }, input(&seen.core));
    let mut said = Vec::new();
    while let Some(output) = core.poll_output() {
        said.push(match output {
            Output::Persist { operations, .. } => format!("persist {operations:?}"),
            // The number of the node's start is random.
            Output::Send { to, message: Message::Query(query) } => format!("ask {to} {}", query.number),
            other => format!("{other:?}"),
        });
    }
    said
}
