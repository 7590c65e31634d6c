//! No message of a peer, content of the disk or input of a user panics a core.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use quorate_protocol::{
    BatchHeader, Configuration, DiskState, Entry, EntryBatch, EntryKind, Input, LoadFailure, Loaded, LogAnswer,
    LogCommand, LogIndex, LogTime, NodeId, Now, Output, Proposal, ProposalId, Protocol, ReadId, Run, Signal,
    SnapshotMeta, Standing, StorageLevel, Term, Ticket,
};
use quorate_raft::message::{
    AppendEntries, AppendOutcome, AppendResponse, ClockReading, CommitNotice, Heartbeat, HeartbeatResponse,
    InstallSnapshot, Pace, ReadIndex, ReadIndexResponse, ReadOutcome, RequestVote, TimeoutNow, Verdict, VoteKind,
    VoteResponse,
};
use quorate_raft::testing::Cluster;
use quorate_raft::{Message, Raft};

/// Important numbers: small ones, those near the limits, and arbitrary ones.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0..8_u64, 1 => (u64::MAX / 2 - 2)..=(u64::MAX / 2 + 2), 1 => (u64::MAX - 2)..=u64::MAX, 1 => any::<u64>()]
}

fn term() -> impl Strategy<Value = Term> {
    number().prop_map(Term)
}

fn index() -> impl Strategy<Value = LogIndex> {
    number().prop_map(LogIndex)
}

fn batch() -> impl Strategy<Value = EntryBatch> {
    let honest = (index(), term(), 0..4_u64, any::<bool>()).prop_map(|(first, term, count, is_configuration)| {
        let kind = if is_configuration { EntryKind::Configuration } else { EntryKind::Command };
        let entry = Entry::internal(kind, LogTime(count), Bytes::from_static(b"payload"));
        EntryBatch::encode(first, (0..count).map(|_| (term, &entry)).collect::<Vec<_>>())
    });
    let header = (index(), prop::collection::vec((term(), any::<u32>()), 0..3)).prop_map(|(first, runs)| BatchHeader {
        first,
        runs: runs.into_iter().map(|(term, count)| Run { term, count }).collect(),
    });
    let raw = prop::collection::vec(any::<u8>(), 0..120).prop_map(Bytes::from);
    prop_oneof![3 => honest, 1 => (header, raw).prop_map(|(header, raw)| EntryBatch::from_parts(header, raw))]
}

fn snapshot() -> impl Strategy<Value = SnapshotMeta> {
    (index(), term(), number()).prop_map(|(index, term, log_time)| SnapshotMeta {
        index,
        term,
        log_time: LogTime(log_time),
        configuration: Configuration::of_voters([NodeId(1), NodeId(2), NodeId(3)]),
    })
}

fn message() -> impl Strategy<Value = Message> {
    let kind = prop_oneof![Just(VoteKind::Pre), Just(VoteKind::Full), Just(VoteKind::Transfer)];
    let verdict = prop_oneof![Just(Verdict::Granted), Just(Verdict::Refused)];
    let log_time = number().prop_map(LogTime);
    let clock = (prop::option::of(number()), number())
        .prop_map(|(log_time, wall_ms)| ClockReading { log_time: log_time.map(LogTime), wall_ms });
    let pace = prop_oneof![Just(Pace::Lively), Just(Pace::Quiet)];
    let disk = prop_oneof![Just(DiskState::Ready), Just(DiskState::Low), Just(DiskState::Stalled)];
    let outcome = prop_oneof![
        index().prop_map(|match_index| AppendOutcome::Matched { match_index }),
        (index(), index(), term()).prop_map(|(prev_index, hint_index, hint_term)| AppendOutcome::Conflict {
            prev_index,
            hint_index,
            hint_term
        }),
        Just(AppendOutcome::Stale),
        index().prop_map(|index| AppendOutcome::Corrupt { index }),
    ];
    let read = prop_oneof![index().prop_map(ReadOutcome::Index), Just(ReadOutcome::NotLeader)];
    prop_oneof![
        (term(), kind.clone(), index(), term()).prop_map(|(term, kind, last_index, last_term)| {
            Message::RequestVote(RequestVote { term, kind, last_index, last_term, founding: None })
        }),
        (term(), term(), kind, verdict, clock, index(), term()).prop_map(
            |(term, asked, kind, verdict, clock, last_index, last_term)| {
                Message::VoteResponse(VoteResponse { term, asked, kind, verdict, clock, last_index, last_term })
            }
        ),
        (term(), index(), term(), index(), batch()).prop_map(|(term, prev_index, prev_term, commit_index, batch)| {
            Message::AppendEntries(AppendEntries { term, prev_index, prev_term, commit_index, batch })
        }),
        (term(), outcome).prop_map(|(term, outcome)| Message::AppendResponse(AppendResponse { term, outcome })),
        (term(), index(), number(), pace.clone(), log_time).prop_map(|(term, commit_index, round, pace, log_time)| {
            Message::Heartbeat(Heartbeat { term, commit_index, round, pace, log_time })
        }),
        (term(), number(), [(); 3].map(|()| index()), pace, disk).prop_map(
            |(term, round, [received_index, match_index, durable_index], pace, disk)| {
                let answer = HeartbeatResponse { term, round, received_index, match_index, durable_index, pace, disk };
                Message::HeartbeatResponse(answer)
            }
        ),
        (term(), index()).prop_map(|(term, commit_index)| Message::CommitNotice(CommitNotice { term, commit_index })),
        (term(), snapshot()).prop_map(|(term, snapshot)| Message::InstallSnapshot(InstallSnapshot {
            term,
            snapshot,
            founding: None
        })),
        (term(), number()).prop_map(|(term, number)| Message::ReadIndex(ReadIndex { term, number })),
        (term(), number(), read).prop_map(|(term, number, outcome)| {
            Message::ReadIndexResponse(ReadIndexResponse { term, number, outcome })
        }),
        term().prop_map(|term| Message::TimeoutNow(TimeoutNow { term })),
    ]
}

fn input() -> impl Strategy<Value = Input<Raft>> {
    let node = (1..=4_u64).prop_map(NodeId);
    let ticket = || number().prop_map(Ticket);
    let standing = prop_oneof![4 => Just(Standing::Member), 1 => Just(Standing::Stranger)];
    let message = (node.clone(), message()).prop_map(|(from, message)| Input::Message { from, message });
    let loaded = (ticket(), index()).prop_map(|(ticket, index)| {
        let entry = Entry::internal(EntryKind::NoOp, LogTime(0), Bytes::new());
        Input::Signal(Signal::Loaded { ticket, result: Ok(Loaded::Entries(vec![(index, Term(1), entry)])) })
    });
    let durable = (ticket(), snapshot())
        .prop_map(|(ticket, snapshot)| Input::Completed { ticket, answer: LogAnswer::SnapshotDurable { snapshot } });
    let rare = prop_oneof![
        ticket().prop_map(|it| Input::Signal(Signal::Persisted(it))),
        node.clone().prop_map(|it| Input::Signal(Signal::PeerAlive(it))),
        node.clone().prop_map(|it| Input::Signal(Signal::Unreachable(it))),
        (node.clone(), standing).prop_map(|(node, standing)| Input::Signal(Signal::PeerStanding { node, standing })),
        Just(Input::Signal(Signal::CompactRequested)),
        Just(Input::Signal(Signal::Storage(StorageLevel::Low))),
        Just(Input::Signal(Signal::Storage(StorageLevel::Enough))),
        loaded,
        ticket().prop_map(|ticket| Input::Signal(Signal::Loaded { ticket, result: Ok(Loaded::Keys(Vec::new())) })),
        ticket().prop_map(|ticket| Input::Signal(Signal::Loaded { ticket, result: Err(LoadFailure::Io) })),
        (ticket(), node)
            .prop_map(|(ticket, to)| Input::Completed { ticket, answer: LogAnswer::SnapshotUnreadable { to } }),
        durable,
    ];
    prop_oneof![6 => message, 1 => Just(Input::Signal(Signal::Timeout)), 2 => rare, 2 => command().prop_map(Input::Command)]
}

fn command() -> impl Strategy<Value = LogCommand> {
    let propose = (0..300_usize).prop_map(|length| {
        LogCommand::Propose(Proposal {
            id: ProposalId::default(),
            kind: EntryKind::Command,
            acknowledged_below: 0,
            payload: vec![0; length].into(),
            checksum: 0,
        })
    });
    prop_oneof![
        propose,
        (snapshot(), index()).prop_map(|(snapshot, keep_from)| LogCommand::Compact { snapshot, keep_from }),
        number().prop_map(|id| LogCommand::Read { id: ReadId(id) }),
        number().prop_map(|nanos| LogCommand::Transfer { to: None, timeout: Duration::from_nanos(nanos) }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn no_input_panics_a_core(inputs in prop::collection::vec(input(), 1..60), is_leading: bool, complete: bool) {
        let mut cluster = Cluster::of_three(1);
        cluster.elect_node(1);
        let node = if is_leading { 1 } else { 2 };
        let mut core = cluster.node_mut(node).core.take().expect("it runs");
        let mut now = Now { instant: cluster.now(), wall_ms: 0 };
        for input in inputs {
            if matches!(input, Input::Signal(Signal::Timeout)) && let Some(deadline) = core.deadline() {
                now.instant = now.instant.max(deadline);
            }
            core.handle(now, input);
            while let Some(output) = core.poll_output() {
                if let Output::Persist { ticket, .. } = output && complete {
                    core.handle(now, Input::Signal(Signal::Persisted(ticket)));
                }
            }
            core.check_invariants();
        }
    }
}
