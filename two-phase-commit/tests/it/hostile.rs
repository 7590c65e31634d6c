//! Nothing that a peer, the disk or a user sends makes a core panic.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;
use quorate_protocol::{
    HaltReason, Input, NodeId, Now, Output, PersistFailure, Protocol, Recovery, Signal, Standing, StorageLevel, Ticket,
};
use quorate_two_phase_commit::message::{Acknowledgement, CommitOnePhase, Decide, Finished, Prepare, Stamp};
use quorate_two_phase_commit::testing::{Cluster, Transactions, Work};
use quorate_two_phase_commit::{
    Answer, Command, CommandId, Config, CoordinatorId, Decision, Epoch, Message, Settings, TransactionId,
    TransactionNumber, TwoPhaseCommit, Unready, Vote,
};

/// Numbers at the limits: small ones, and the largest.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..5_u64, 1 => (u64::MAX - 2)..=u64::MAX, 1 => any::<u64>()]
}

fn node() -> impl Strategy<Value = NodeId> {
    (1..=4_u64).prop_map(NodeId)
}

fn transaction_number() -> impl Strategy<Value = TransactionNumber> {
    (number(), number()).prop_map(|(epoch, sequence)| TransactionNumber { epoch: Epoch(epoch), sequence })
}

fn transaction() -> impl Strategy<Value = TransactionId> {
    (node(), transaction_number())
        .prop_map(|(node, number)| TransactionId { coordinator: CoordinatorId::of_node(node), number })
}

fn coordinator() -> impl Strategy<Value = CoordinatorId> {
    node().prop_map(CoordinatorId::of_node)
}

fn stamp() -> impl Strategy<Value = Stamp> {
    (coordinator(), number(), transaction_number()).prop_map(|(coordinator, epoch, finished_below)| Stamp {
        coordinator,
        epoch: Epoch(epoch),
        finished_below,
    })
}

fn decision() -> impl Strategy<Value = Decision> {
    prop_oneof![Just(Decision::Commit), Just(Decision::Abort)]
}

fn vote() -> impl Strategy<Value = Vote> {
    prop_oneof![3 => Just(Vote::Yes), 1 => Just(Vote::ReadOnly), 1 => Just(Vote::No)]
}

fn unready() -> impl Strategy<Value = Unready> {
    prop_oneof![3 => Just(Unready::Recovering), 1 => Just(Unready::TooLarge)]
}

fn payload() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn message() -> impl Strategy<Value = Message> {
    let how = prop_oneof![
        Just(Acknowledgement::Applied),
        Just(Acknowledgement::AlreadyDone),
        Just(Acknowledgement::Forgotten),
        Just(Acknowledgement::HeuristicallyAborted),
        Just(Acknowledgement::HeuristicallyCommitted),
        Just(Acknowledgement::Lost)
    ];
    let participants = prop::collection::btree_set(node(), 0..4);
    prop_oneof![
        4 => (stamp(), transaction(), participants, payload()).prop_map(
            |(stamp, transaction, participants, payload): (_, _, BTreeSet<NodeId>, _)| {
                let stamp = Stamp { coordinator: transaction.coordinator, ..stamp };
                Message::Prepare(Prepare { stamp, transaction, participants, payload })
            }
        ),
        2 => (transaction(), vote()).prop_map(|(transaction, vote)| Message::Vote { transaction, vote }),
        2 => (stamp(), transaction(), decision())
            .prop_map(|(stamp, transaction, decision)| {
                let stamp = Stamp { coordinator: transaction.coordinator, ..stamp };
                Message::Decide(Decide { stamp, transaction, decision })
            }),
        1 => (transaction(), how).prop_map(|(transaction, how)| Message::Acknowledge { transaction, how }),
        1 => transaction().prop_map(|transaction| Message::Inquire { transaction }),
        1 => (stamp(), transaction()).prop_map(|(stamp, transaction)| Message::Presume { stamp, transaction }),
        1 => (transaction(), decision())
            .prop_map(|(transaction, decision)| Message::Outcome { transaction, decision }),
        2 => (stamp(), transaction(), payload()).prop_map(|(stamp, transaction, payload)| {
            let stamp = Stamp { coordinator: transaction.coordinator, ..stamp };
            Message::CommitOnePhase(CommitOnePhase { stamp, transaction, payload })
        }),
        1 => coordinator().prop_map(|coordinator| Message::InquireFinished { coordinator }),
        3 => (stamp(), transaction_number(), prop::collection::btree_set(transaction_number(), 0..4)).prop_map(
            |(stamp, until, unfinished)| Message::Finished(Finished { stamp, until, unfinished })
        ),
        1 => (transaction(), unready()).prop_map(|(transaction, why)| Message::Unready { transaction, why }),
        1 => (stamp(), transaction()).prop_map(|(stamp, transaction)| {
            let stamp = Stamp { coordinator: transaction.coordinator, ..stamp };
            Message::Noted { stamp, transaction }
        }),
        1 => (coordinator(), number(), node()).prop_map(|(coordinator, epoch, server)| {
            Message::Served { coordinator, epoch: Epoch(epoch), server }
        }),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let command = CommandId(1);
    let branches = prop::collection::btree_map(node(), payload(), 0..4);
    prop_oneof![
        3 => Just(Command::Begin { command }),
        3 => (transaction(), branches)
            .prop_map(move |(transaction, branches)| Command::Commit { command, transaction, branches }),
        1 => transaction().prop_map(move |transaction| Command::Abort { command, transaction }),
        1 => transaction().prop_map(move |transaction| Command::Query { command, transaction }),
        1 => transaction().prop_map(move |transaction| Command::Enlist { command, transaction }),
        1 => node().prop_map(move |node| Command::Forget { command, node }),
        3 => (transaction(), decision())
            .prop_map(move |(transaction, decision)| Command::ForceOutcome { command, transaction, decision }),
        1 => transaction().prop_map(move |transaction| Command::ForgetMixed { command, transaction }),
        1 => coordinator().prop_map(move |coordinator| Command::ForgetCoordinator { command, coordinator }),
    ]
}

fn input() -> impl Strategy<Value = Input<TwoPhaseCommit>> {
    let standing = prop_oneof![9 => Just(Standing::Member), 1 => Just(Standing::Stranger)];
    let ticket = || (0..30_u64).prop_map(Ticket);
    let answer = prop_oneof![
        vote().prop_map(Answer::Voted),
        Just(Answer::Done),
        decision().prop_map(Answer::Decided),
        Just(Answer::Failed)
    ];
    let failure = prop_oneof![9 => Just(PersistFailure::NotWritten), 1 => Just(PersistFailure::Unknown)];
    prop_oneof![
        8 => (node(), message()).prop_map(|(from, message)| Input::Message { from, message }),
        4 => command().prop_map(Input::Command),
        2 => Just(Input::Signal(Signal::Timeout)),
        4 => ticket().prop_map(|it| Input::Signal(Signal::Persisted(it))),
        4 => (ticket(), answer).prop_map(|(ticket, answer)| Input::Completed { ticket, answer }),
        1 => (ticket(), failure).prop_map(|(ticket, failure)| Input::Signal(Signal::PersistFailed { ticket, failure })),
        1 => (node(), standing).prop_map(|(node, standing)| Input::Signal(Signal::PeerStanding { node, standing })),
        1 => Just(Input::Signal(Signal::CompactRequested)),
        1 => prop_oneof![Just(StorageLevel::Low), Just(StorageLevel::Enough)].prop_map(|it| Input::Signal(Signal::Storage(it))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn anything_goes_in_and_no_panic_comes_out(inputs in prop::collection::vec(input(), 1..80)) {
        let config = Config::new(NodeId(1), 1, Settings::default()).expect("valid");
        let mut now = Now::default();
        let mut core = TwoPhaseCommit::recover(now, config, Recovery::default()).expect("fresh");
        for node in (1..=4).map(NodeId) {
            core.handle(now, Input::Signal(Signal::PeerStanding { node, standing: Standing::Member }));
        }
        for input in inputs {
            if matches!(input, Input::Signal(Signal::Timeout)) {
                now.instant = core.deadline().unwrap_or(now.instant);
            }
            core.handle(now, input);
            while let Some(output) = core.poll_output() {
                if let Output::Halt { reason } = output {
                    let is_expected = matches!(reason, HaltReason::LawBroken(_) | HaltReason::LogFailed(_));
                    prop_assert!(is_expected, "{reason}");
                }
            }
            core.check_invariants();
            core.model_view();
            core.status();
        }
    }
}

#[test]
fn a_decision_that_contradicts_another_stops_the_group() {
    let mut cluster = Cluster::of_three(1);
    // As long as an earlier transaction is under way, outcomes are kept.
    cluster.begin(1);
    let transaction = cluster.transact(1, &[(2, Work::Write(1)), (3, Work::Write(1))]);
    cluster.settle();
    let stamp = Stamp { coordinator: CoordinatorId(1), epoch: Epoch(1), finished_below: TransactionNumber::default() };
    cluster.inject(1, 2, Message::Presume { stamp, transaction });
    assert_eq!(cluster.node(2).halted, None, "a presumption is only for who is in doubt");
    cluster.inject(1, 2, Message::Decide(Decide { stamp, transaction, decision: Decision::Abort }));
    assert!(matches!(cluster.node(2).halted, Some(HaltReason::LawBroken(_))));
    cluster.command(2, |command| Command::Begin { command });
    let last = cluster.node(2).events.last();
    assert!(matches!(last, Some(quorate_two_phase_commit::Event::Refused { .. })), "{last:?}");
}

#[test]
fn only_the_coordinator_decides() {
    let mut cluster = Cluster::of_three(1);
    cluster.hold_disk(1);
    let transaction = cluster.transact(1, &[(2, Work::Write(1)), (3, Work::Write(1))]);
    cluster.settle();
    let stamp = Stamp { coordinator: CoordinatorId(1), epoch: Epoch(1), finished_below: TransactionNumber::default() };
    cluster.inject(2, 3, Message::Decide(Decide { stamp, transaction, decision: Decision::Abort }));
    cluster.inject(2, 3, Message::Presume { stamp, transaction });
    let status = cluster.node(3).core().status();
    assert_eq!((status.in_doubt.len(), status.ignored["two_servers"]), (1, 2));
}
