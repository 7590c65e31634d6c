//! Nodes with equal views answer every input equally, however they got there.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{
    EntryKind, Input, Instant, LogCommand, NodeId, Now, Output, Proposal, ProposalId, Protocol, ReadId, Signal,
    Standing, View,
};
use quorate_raft::testing::{Builder, Cluster};
use quorate_raft::{Message, Raft, Settings};

use crate::support::from_environment;

/// A core that was seen with a view, and the messages that were on their way to it.
struct Seen {
    core: Raft,
    now: Instant,
}

/// The full check: `QUORATE_RAFT_TRACES=100000 cargo test -p quorate-raft --release views`.
#[test]
fn equal_views_react_alike() {
    let traces = from_environment("QUORATE_RAFT_TRACES", 600);
    let mut seen: BTreeMap<View, Seen> = BTreeMap::new();
    let mut compared = 0;
    for seed in 0..traces {
        // All waits of a trace together are shorter than a millisecond, so that log time, which affects no decision,
        // stands still.
        let settings = Settings {
            election_timeout_min: Duration::from_nanos(500),
            election_timeout_max: Duration::from_micros(1),
            heartbeat_interval: Duration::from_nanos(100),
            commit_notice_delay: Duration::from_nanos(2),
            quiet_after: Some(Duration::from_nanos(300)),
            quiet_max: Duration::from_micros(10),
            ..Settings::default()
        };
        let mut cluster = Builder::new(3, seed).settings(settings).start();
        let mut messages: Vec<(NodeId, Message)> = Vec::new();
        for _ in 0..30 {
            act(&mut cluster, &mut messages);
            for node in 1..=3 {
                // A view belongs to the time of the last input. This input has no other effect.
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

/// One possible event. No more time passes than it takes.
fn act(cluster: &mut Cluster, messages: &mut Vec<(NodeId, Message)>) {
    let node = 1 + cluster.choose(3);
    let other = 1 + cluster.choose(3);
    match cluster.choose(14) {
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

fn compare(one: &Seen, two: &Seen, messages: &[(NodeId, Message)]) {
    let view = format!("{:?}", one.core.model_view());
    let mut inputs: Vec<Input<Raft>> = Vec::new();
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

/// The outputs of a core for an input. Tickets are numbered from the first one.
fn reaction(seen: &Seen, at: Instant, input: Input<Raft>) -> Vec<String> {
    let mut core = seen.core.clone();
    core.handle(Now { instant: at, wall_ms: WALL_MS }, input);
    let mut said = Vec::new();
    while let Some(output) = core.poll_output() {
        said.push(match output {
            Output::Persist { operations, .. } => format!("persist {operations:?}"),
            Output::Load { range, .. } => format!("load {range:?}"),
            Output::Request { request, .. } => format!("request {request:?}"),
            other => format!("{other:?}"),
        });
    }
    said
}

/// The wall clock at the start of a cluster.
const WALL_MS: u64 = 1_700_000_001_000;
