//! Cores of protocols: what their peers say, and what their logs hold.

use bytes::Bytes;
use quorate_paxos::{QuorumSystem, log::MultiPaxos, register, synod};
use quorate_protocol::{
    Configuration, Input, Instant, JournalRecords, NodeId, Now, Output, Protocol, Recovery, Signal, Standing,
};
use quorate_raft::{Raft, Settings, Start};
use quorate_transport::codec;
use quorate_two_phase_commit::{self as two_phase, TwoPhaseCommit, three_phase};
use serde::de::DeserializeOwned;

use crate::peers::frame_of;

/// The nodes of a group.
const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

pub(crate) fn raft(bytes: &[u8]) {
    hear(bytes, || raft_core(Recovery::default()));
}

pub(crate) fn multi_paxos(bytes: &[u8]) {
    hear(bytes, || multi_paxos_core(Recovery::default()));
}

pub(crate) fn synod(bytes: &[u8]) {
    hear(bytes, || synod_core(Recovery::default()));
}

pub(crate) fn register(bytes: &[u8]) {
    hear(bytes, || register_core(Recovery::default()));
}

pub(crate) fn two_phase_commit(bytes: &[u8]) {
    hear(bytes, || two_phase_core(Recovery::default()));
}

pub(crate) fn three_phase_commit(bytes: &[u8]) {
    hear(bytes, || three_phase_core(Recovery::default()));
}

/// The first byte names the core, the second the length of the state record, and the rest are journal records.
pub(crate) fn records(bytes: &[u8]) {
    let [core, length, rest @ ..] = bytes else { return };
    let (state, mut rest) = rest.split_at(usize::from(*length).min(rest.len()));
    let mut records = Vec::new();
    while let [key, length, after @ ..] = rest {
        let (record, after) = after.split_at(usize::from(*length).min(after.len()));
        records.push((u64::from(*key), Bytes::copy_from_slice(record)));
        rest = after;
    }
    let journal: JournalRecords = Box::new(records.into_iter().map(Ok));
    let state = Some(Bytes::copy_from_slice(state));
    let recovery = Recovery { state, checkpoint: Some(1), journal: Some(journal), ..Recovery::default() };
    match core % 6 {
        0 => drop(raft_core(recovery)),
        1 => drop(multi_paxos_core(recovery)),
        2 => drop(synod_core(recovery)),
        3 => drop(register_core(recovery)),
        4 => drop(two_phase_core(recovery)),
        _ => drop(three_phase_core(recovery)),
    }
}

fn raft_core(recovery: Recovery) -> Option<Raft> {
    let start = Start::Initial(Configuration::of_voters(NODES));
    let config = quorate_raft::Config::new(NODES[0], 7, start, Settings::default()).ok()?;
    Raft::recover(Now::default(), config, recovery).ok()
}

fn multi_paxos_core(recovery: Recovery) -> Option<MultiPaxos> {
    let start = Start::Initial(Configuration::of_voters(NODES));
    let config = quorate_raft::Config::new(NODES[0], 7, start, Settings::default()).ok()?;
    MultiPaxos::recover(Now::default(), config, recovery).ok()
}

fn synod_core(recovery: Recovery) -> Option<synod::Synod> {
    let group = synod::GroupRoles::of(QuorumSystem::majority(NODES).ok()?);
    let config = synod::Config::new(NODES[0], 7, group, synod::Settings::default()).ok()?;
    synod::Synod::recover(Now::default(), config, recovery).ok()
}

fn register_core(recovery: Recovery) -> Option<register::Register> {
    let roles = register::Roles::of(QuorumSystem::majority(NODES).ok()?);
    let settings = register::Settings::default();
    let config = register::Config::new(NODES[0], 7, roles, register::Functions::default(), settings).ok()?;
    register::Register::recover(Now::default(), config, recovery).ok()
}

fn two_phase_core(recovery: Recovery) -> Option<TwoPhaseCommit> {
    let config = two_phase::Config::new(NODES[0], 7, two_phase::Settings::default()).ok()?;
    TwoPhaseCommit::recover(Now::default(), config, recovery).ok()
}

fn three_phase_core(recovery: Recovery) -> Option<three_phase::ThreePhaseCommit> {
    let config = three_phase::Config::new(NODES[0], 7, three_phase::Settings::default()).ok()?;
    three_phase::ThreePhaseCommit::recover(Now::default(), config, recovery).ok()
}

/// Tells a fresh core what a peer said, if it is a message at all, and lets it go on.
fn hear<P>(bytes: &[u8], core: impl FnOnce() -> Option<P>)
where
    P: Protocol,
    <P::Message as quorate_protocol::Wire>::Small: DeserializeOwned,
{
    let Some(message) = frame_of(bytes).and_then(|frame| codec::decode::<P::Message>(frame).ok()) else { return };
    let mut core = core().expect("a fresh core starts");
    introduce(&mut core);
    settle(&mut core, Now::default());
    core.handle(Now::default(), Input::Message { from: NODES[1], message });
    settle(&mut core, Now::default());
    for _ in 0..3 {
        let Some(instant) = core.deadline() else { return };
        let now = Now { instant, ..Now::default() };
        core.handle(now, Input::Signal(Signal::Timeout));
        settle(&mut core, now);
    }
}

/// Tells a core that all nodes are members.
fn introduce<P: Protocol>(core: &mut P) {
    for node in NODES {
        let standing = Signal::PeerStanding { node, standing: Standing::Member };
        core.handle(Now { instant: Instant::ZERO, ..Now::default() }, Input::Signal(standing));
    }
}

/// Takes all outputs, and makes all writes durable at once.
fn settle<P: Protocol>(core: &mut P, now: Now) {
    for _ in 0..OUTPUTS_MAX {
        match core.poll_output() {
            None | Some(Output::Halt { .. }) => return,
            Some(Output::Persist { ticket, .. }) => core.handle(now, Input::Signal(Signal::Persisted(ticket))),
            Some(_) => {}
        }
    }
    panic!("a core that hears one message has no end of outputs");
}

const OUTPUTS_MAX: usize = 10_000;
