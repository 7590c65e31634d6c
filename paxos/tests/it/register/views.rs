//! Nodes with equal views answer every input equally, however they came to them.

use std::time::Duration;

use bytes::Bytes;
use quorate_paxos::register::message::{RaiseAge, Removal};
use quorate_paxos::register::testing::{Builder, Calls, Cluster};
use quorate_paxos::register::{Change, Command, Message, Register, RolesChange, Settings};
use quorate_protocol::testing::{Alike, PowerCut};
use quorate_protocol::{Input, NodeId, Output, PersistFailure, ProposalId, Protocol, ReadId, Signal, Standing};

use super::support::KEY;
use crate::support::from_environment;

/// The full check: `QUORATE_PAXOS_TRACES=100000 cargo test -p quorate-paxos --release register::views`.
#[test]
fn equal_views_react_alike() {
    let traces = from_environment("QUORATE_PAXOS_TRACES", 500);
    let mut alike = Alike::new(0, words);
    for seed in 0..traces {
        let settings = Settings {
            remove_after: Duration::from_millis(50),
            cache_bytes_max: if seed.is_multiple_of(2) { 0 } else { 1 << 20 },
            copy_max: 1,
            ..Settings::default()
        };
        let mut cluster = Builder::new(3, seed).joining(1).settings(settings.into()).start();
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
    match cluster.choose(18) {
        0 => cluster.crash_leaving(node, PowerCut::Whole),
        1 | 2 if cluster.node(node).core.is_none() => cluster.restart(node),
        3 => cluster.hold_disk(node),
        4 => cluster.release_disk(node),
        5 => {
            let id = ProposalId { sequence: node, ..ProposalId::default() };
            cluster.change_again(node, KEY, id, Change::Set(Bytes::from_static(b"x")));
        }
        6 => {
            let id = ProposalId { sequence: 9, ..ProposalId::default() };
            cluster.change_again(node, KEY, id, Change::Delete);
        }
        7 => {
            cluster.read(node, KEY);
        }
        8 | 9 if node != other => cluster.park(node, other),
        10 => {
            messages.extend(cluster.parked().iter().map(|(from, _, message)| (*from, message.clone())));
            cluster.release();
        }
        11 => cluster.input(NodeId(node), Input::Signal(Signal::CompactRequested)),
        12 => cluster.input(NodeId(node), Input::Signal(Signal::Unreachable(NodeId(other)))),
        13 => cluster.input(NodeId(node), Input::Signal(Signal::PeerAlive(NodeId(other)))),
        14 => {
            let change =
                if node == 1 { RolesChange::Add(NodeId(4).into()) } else { RolesChange::Remove(NodeId(other)) };
            cluster.change_roles(node, change);
        }
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

fn inputs(core: &Register, messages: &[(NodeId, Message)]) -> Vec<Input<Register>> {
    let key = Bytes::from_static(KEY);
    let id = ProposalId { sequence: 99, ..ProposalId::default() };
    let mut inputs: Vec<Input<Register>> = vec![
        Input::Command(Command::Read { key: key.clone(), id: ReadId(77) }),
        Input::Command(Command::Change { key, id, change: Change::Set(Bytes::from_static(b"new")) }),
        Input::Signal(Signal::CompactRequested),
        Input::Signal(Signal::Timeout),
        Input::Signal(Signal::PeerAlive(NodeId(2))),
        Input::Signal(Signal::Unreachable(NodeId(2))),
    ];
    let system = core.system();
    let raise = RaiseAge { system, removal: Removal { start: 1, number: 1 }, round: 3000 };
    inputs.push(Input::Message { from: NodeId(2), message: Message::RaiseAge(raise) });
    for node in [NodeId(1), NodeId(2), NodeId(3)] {
        inputs.push(Input::Signal(Signal::PeerStanding { node, standing: Standing::Stranger }));
    }
    let recent = messages.iter().rev().take(20);
    inputs.extend(recent.map(|(from, message)| Input::Message { from: *from, message: message.clone() }));
    if let Some(ticket) = core.write_in_flight() {
        inputs.push(Input::Signal(Signal::Persisted(ticket)));
        let failure = PersistFailure::NotWritten;
        inputs.push(Input::Signal(Signal::PersistFailed { ticket, failure }));
    }
    inputs
}

/// An output without the numbers of tickets and of the node's start, which is random.
fn words(output: Output<Register>) -> String {
    match output {
        Output::Persist { operations, .. } => format!("persist {operations:?}"),
        Output::Load { range, .. } => format!("load {range:?}"),
        Output::Send { to, message: Message::Query(query) } => format!("ask {to} {} {:?}", query.number, query.key),
        Output::Send { to, message: Message::RaiseAge(raise) } => format!("raise {to} {}", raise.round),
        Output::Send { to, message: Message::RequireAges(require) } => format!("require {to} {:?}", require.ages),
        Output::Send { to, message: Message::Remove(remove) } => format!("remove {to} {:?}", remove.deleted),
        other => format!("{other:?}"),
    }
}
