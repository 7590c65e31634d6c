//! One stuck transaction stops no other, and is reported: participants and coordinators that stay away, requests that
//! are lost or fail for ever, a log that is too far behind.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_protocol::{Input, NodeId, PersistFailure, Protocol, Signal, Standing};
use quorate_two_phase_commit::message::{Acknowledgement, CommitOnePhase, Finished, Prepare};
use quorate_two_phase_commit::testing::{Builder, Cluster, Ends, Transactions, Work};
use quorate_two_phase_commit::{
    AbortReason, Answer, Command, CommandId, Decision, Epoch, Event, Knowledge, Message, OnePhase, Request,
    RequestKind, Settings, TransactionId, TransactionNumber, TransactionOutcome, TransactionRefusal, Unready, Vote,
};

use crate::solo::{Solo, stamp_of, transaction_of};

const MINUTE: Duration = Duration::from_mins(1);

fn refusal(cluster: &Cluster, node: u64, id: CommandId) -> Option<TransactionRefusal> {
    cluster.node(node).events.iter().find_map(|event| match event {
        Event::Refused { command, reason } if *command == id => Some(*reason),
        _ => None,
    })
}

/// Node 4 votes yes, is told of the commit and never comes back. Returns the transaction.
fn leave_unacknowledged(cluster: &mut Cluster) -> TransactionId {
    cluster.hold_disk(1);
    let stuck = cluster.transact(1, &[(2, Work::Write(250)), (4, Work::Write(250))]);
    cluster.settle();
    cluster.crash(4);
    cluster.release_disk(1);
    assert_eq!(cluster.node(1).outcome(stuck), Some(TransactionOutcome::Committed));
    stuck
}

/// seata#359, postgres-x2#240: a participant's records of ended transactions piled up behind one that does not end.
#[test]
fn a_participant_that_stays_away_does_not_stop_the_others() {
    let settings = Settings { tombstones_max: 32, branches_max: 16, ..Settings::default() };
    let mut cluster = Builder::new(4, 1).settings(settings.into()).start();
    let stuck = leave_unacknowledged(&mut cluster);
    cluster.run(Duration::from_secs(3));
    for number in 0..80_u8 {
        let transaction = cluster.transact(1, &[(2, Work::Write(100 + number)), (3, Work::Write(100 + number))]);
        cluster.run(Duration::from_secs(3));
        let outcome = cluster.node(1).outcome(transaction);
        assert_eq!(outcome, Some(TransactionOutcome::Committed), "transaction {number} after the stuck one");
        assert!(cluster.node(2).core().status().tombstones <= 5, "what has ended is let go");
    }
    let other = cluster.transact(3, &[(2, Work::Write(1)), (3, Work::Write(1))]);
    cluster.run(Duration::from_secs(3));
    assert_eq!(cluster.node(3).outcome(other), Some(TransactionOutcome::Committed));
    let told = cluster.node(1).events.iter().filter(
        |event| matches!(event, Event::Unacknowledged { transaction, participants, .. } if *transaction == stuck && *participants == [NodeId(4)].into()),
    );
    assert_eq!(told.count(), 1, "the stuck one is told once");
    cluster.quiesce();
    assert_eq!(cluster.node(4).ended(stuck), Some(Decision::Commit));
}

#[test]
fn a_transaction_that_only_works_holds_up_no_other() {
    let settings = Settings { tombstones_max: 64, ..Settings::default() };
    let mut cluster = Builder::new(3, 1).settings(settings.into()).start();
    let idle = cluster.begin(1);
    for number in 0..120_u8 {
        let transaction = cluster.transact(1, &[(2, Work::Write(number)), (3, Work::Write(number))]);
        cluster.run(Duration::from_millis(30));
        assert_eq!(cluster.node(1).outcome(transaction), Some(TransactionOutcome::Committed), "transaction {number}");
    }
    // It is asked for after all: transactions that finished after it do not make it old.
    cluster.commit(idle, &[(2, Work::Write(200)), (3, Work::Write(200))]);
    cluster.run(Duration::from_secs(1));
    assert_eq!(cluster.node(1).outcome(idle), Some(TransactionOutcome::Committed));
    cluster.quiesce();
}

/// Outcomes that are collected above the watermark are fenced like those below it, even after a restart.
#[test]
fn a_prepare_of_what_is_finished_out_of_turn_is_known_to_be_old() {
    let mut solo = Solo::new(2, Settings::default());
    let ended = transaction_of(1, 2);
    solo.vote_yes(ended);
    solo.decide(ended, Decision::Commit);
    solo.answer(Answer::Done);
    solo.sync();
    let number = |sequence| TransactionNumber { epoch: Epoch(1), sequence };
    let unfinished = [number(1)].into();
    let finished = Finished { stamp: stamp_of(1), until: number(3), unfinished };
    // An earlier report arrives late: where more is known already, it does not count.
    let stale = Finished { stamp: stamp_of(1), until: number(3), unfinished: [number(1), number(2)].into() };
    for news in [finished.clone(), stale] {
        solo.hear(1, Message::Finished(news));
    }
    solo.advance(Duration::from_secs(1));
    solo.sync();
    assert_eq!(solo.core.status().tombstones, 0);
    for _ in 0..2 {
        solo.take_sent();
        solo.prepare(ended);
        assert_eq!((solo.asked().len(), solo.core.status().ignored["collected"]), (0, 1));
        solo.prepare(transaction_of(1, 1));
        let asked = solo.asked();
        assert!(matches!(asked[..], [Request::Prepare { .. }]), "the unfinished one is new: {asked:?}");
        solo.restart();
        solo.meet(&[1, 2, 3]);
    }
    // The watermark passes it: nothing is stored beside the watermark any more.
    let past = Finished { stamp: stamp_of(9), until: number(9), unfinished: BTreeSet::new() };
    solo.hear(1, Message::Finished(past));
    solo.advance(Duration::from_secs(1));
    solo.sync();
    solo.restart();
    solo.meet(&[1, 2, 3]);
    solo.prepare(ended);
    assert_eq!(solo.core.status().ignored["collected"], 1);
}

/// No transaction is begun, so the list of unfinished ones only gets shorter.
#[test]
fn what_ends_while_nothing_begins_is_let_go() {
    let mut solo = Solo::new(2, Settings::default());
    for sequence in [2, 3] {
        let ended = transaction_of(1, sequence);
        solo.vote_yes(ended);
        solo.decide(ended, Decision::Commit);
        solo.answer(Answer::Done);
        solo.sync();
    }
    let number = |sequence| TransactionNumber { epoch: Epoch(1), sequence };
    for (unfinished, kept) in [(vec![1, 3], 1), (vec![1], 0)] {
        let unfinished = unfinished.into_iter().map(number).collect();
        let finished = Finished { stamp: stamp_of(1), until: number(4), unfinished };
        solo.hear(1, Message::Finished(finished));
        assert_eq!(solo.core.status().tombstones, kept);
    }
}

/// A coordinator that is gone leaves outcomes that no node collects. They take no more than its share.
#[test]
fn a_coordinator_that_is_gone_does_not_use_up_the_room_of_others() {
    let settings = Settings { tombstones_max: 8, branches_max: 4, ..Settings::default() };
    let mut solo = Solo::new(2, settings);
    for sequence in 1..=20 {
        let transaction = transaction_of(1, sequence);
        solo.prepare(transaction);
        solo.answer(Answer::Voted(Vote::No));
        solo.sync();
    }
    let full = solo.core.status().tombstones;
    assert!((8..=9).contains(&full), "{full} outcomes of node 1 are kept");
    assert_eq!(solo.core.status().unready, Some(Unready::Outcomes));
    for sequence in 1..=4 {
        solo.vote_yes(transaction_of(3, sequence));
        assert_eq!(solo.core.status().in_doubt.len() as u64, sequence, "node 3 is served");
    }
    let told = solo.events.iter().filter(|event| matches!(event, Event::Unready { why: Unready::Outcomes, .. }));
    assert_eq!(told.count(), 1, "and the reason is told once");
}

#[test]
fn a_refused_branch_is_told_with_its_reason() {
    let settings = Settings { branches_max: 1, ..Settings::default() };
    let mut cluster = Builder::new(3, 1).settings(settings.into()).start();
    cluster.hold_requests(2);
    let first = cluster.transact(1, &[(2, Work::Write(1)), (3, Work::Write(1))]);
    let second = cluster.transact(1, &[(2, Work::Write(2)), (3, Work::Write(2))]);
    cluster.settle();
    assert_eq!(cluster.node(2).core().status().branches, 1);
    assert!(cluster.node(2).core().status().ignored["unready"] > 0);
    cluster.release_requests(2);
    cluster.run(Duration::from_secs(1));
    for transaction in [first, second] {
        assert_eq!(cluster.node(1).outcome(transaction), Some(TransactionOutcome::Committed), "it was asked again");
    }
    cluster.quiesce();
    cluster.hold_requests(2);
    cluster.transact(1, &[(2, Work::Write(1)), (3, Work::Write(1))]);
    cluster.run(Duration::from_millis(1));
    let late = cluster.transact(1, &[(2, Work::Write(2)), (3, Work::Write(2))]);
    cluster.run(Duration::from_secs(3));
    let why = AbortReason::Unready(NodeId(2), Unready::Branches);
    assert_eq!(cluster.node(1).outcome(late), Some(TransactionOutcome::Aborted(why)));
    cluster.quiesce();
}

#[test]
fn a_branch_that_is_never_taken_ends_its_transaction_at_once() {
    let small = Settings { payload_bytes_max: 8, ..Settings::default() };
    let mut solo = Solo::new(2, small);
    let (stamp, payload) = (stamp_of(0), bytes::Bytes::from_static(b"more than eight"));
    let (both, alone) = (transaction_of(1, 1), transaction_of(1, 2));
    let participants = [NodeId(2), NodeId(3)].into();
    solo.hear(1, Message::Prepare(Prepare { stamp, transaction: both, participants, payload: payload.clone() }));
    let why = Unready::TooLarge;
    assert_eq!(solo.take_sent(), [(NodeId(1), Message::Unready { transaction: both, why })]);
    // The decision was left to it: it tells its decision once that is durable.
    solo.hear(1, Message::CommitOnePhase(CommitOnePhase { stamp, transaction: alone, payload }));
    assert!(solo.take_sent().is_empty());
    solo.sync();
    let decision = Decision::Abort;
    assert_eq!(solo.take_sent(), [(NodeId(1), Message::Outcome { transaction: alone, decision })]);

    let mut cluster = Cluster::of_three(1);
    cluster.hold_requests(2);
    let transaction = cluster.transact(1, &[(2, Work::Write(1)), (3, Work::Write(1))]);
    cluster.settle();
    cluster.inject(2, 1, Message::Unready { transaction, why });
    let reason = AbortReason::Unready(NodeId(2), why);
    assert_eq!(cluster.node(1).outcome(transaction), Some(TransactionOutcome::Aborted(reason)));
    cluster.quiesce();
}

/// One branch cannot be recovered. New branches wait until the application was told what it holds, and no longer.
#[test]
fn a_branch_that_cannot_be_recovered_stops_no_other() {
    let mut solo = Solo::new(2, Settings::default());
    let (bad, good) = (transaction_of(1, 1), transaction_of(1, 2));
    solo.vote_yes(bad);
    solo.vote_yes(good);
    solo.restart();
    solo.meet(&[1, 2, 3]);
    assert_eq!(solo.requests.len(), 2);
    let new = transaction_of(3, 1);
    solo.prepare(new);
    let why = Unready::Recovering;
    assert_eq!(solo.take_sent(), [(NodeId(3), Message::Unready { transaction: new, why })]);
    let requests = std::mem::take(&mut solo.requests);
    for (ticket, request) in requests {
        let answer = if request.transaction() == bad { Answer::Failed } else { Answer::Done };
        solo.input(Input::Completed { ticket, answer });
    }
    let without = BTreeSet::from([bad]);
    assert!(solo.events.contains(&Event::Recovered { without }));
    solo.prepare(new);
    assert!(matches!(solo.answer(Answer::Voted(Vote::Yes))[..], [Request::Prepare { .. }]));
    solo.sync();
    assert_eq!(solo.core.status().in_doubt.len(), 3, "others are served");
    for _ in 0..12 {
        solo.answer(Answer::Failed);
        solo.advance(Duration::from_secs(5));
    }
    let told = solo.events.iter().filter(|event| {
        matches!(event, Event::RequestOverdue { request: RequestKind::Recover, transaction, .. } if *transaction == bad)
    });
    assert_eq!(told.count(), 1);
    assert_eq!(solo.core.status().asked[&bad].request, RequestKind::Recover);
    let inquires = |(_, message): &(NodeId, Message)| *message == Message::Inquire { transaction: bad };
    assert!(solo.take_sent().iter().any(inquires), "it asks for its decision all the same");
    solo.requests.clear();
    solo.advance(Duration::from_mins(2));
    solo.answer(Answer::Failed);
    solo.decide(bad, Decision::Commit);
    assert_eq!(solo.answer(Answer::Done), [Request::Commit { transaction: bad }], "which ends it");
    solo.advance(Duration::from_secs(1));
    solo.sync();
    let how = Acknowledgement::Applied;
    assert!(solo.take_sent().contains(&(NodeId(1), Message::Acknowledge { transaction: bad, how })));
}

/// The application dropped a request, or its answer was lost.
#[test]
fn a_request_is_made_again_under_its_ticket_until_it_is_answered() {
    let mut solo = Solo::new(2, Settings::default());
    let transaction = transaction_of(1, 1);
    solo.vote_yes(transaction);
    solo.decide(transaction, Decision::Commit);
    let first = solo.requests.pop().expect("it is asked");
    solo.advance(Duration::from_secs(4));
    assert!(solo.requests.is_empty(), "it has time");
    solo.advance(Duration::from_secs(1));
    assert_eq!(solo.requests, std::slice::from_ref(&first), "the same once more");
    solo.advance(Duration::from_mins(10));
    assert!((8..20).contains(&solo.requests.len()), "and again and again, later and later: {}", solo.requests.len());
    assert!(solo.requests.iter().all(|again| *again == first));
    let told: Vec<&Event> = solo.events.iter().filter(|event| matches!(event, Event::RequestOverdue { .. })).collect();
    assert!(
        matches!(told[..], [Event::RequestOverdue { request: RequestKind::Commit, failures: 0, .. }]),
        "that is told once: {told:?}"
    );
    solo.requests.truncate(2);
    solo.answer(Answer::Done);
    solo.sync();
    assert_eq!(solo.core.status().ignored["stale_answer"], 1, "one answer counts");
    assert_eq!(solo.core.status().branches, 0);
}

#[test]
fn a_commit_that_fails_for_ever_is_told_on_both_sides() {
    let settings = Settings { one_phase: OnePhase::Never, ..Settings::default() };
    let mut cluster = Builder::new(2, 1).settings(settings.into()).start();
    cluster.hold_disk(1);
    let transaction = cluster.transact(1, &[(2, Work::Write(1))]);
    cluster.settle();
    cluster.release_disk(1);
    let mut solo = Solo::new(2, Settings::default());
    let failing = transaction_of(1, 1);
    solo.vote_yes(failing);
    solo.decide(failing, Decision::Commit);
    for _ in 0..20 {
        solo.answer(Answer::Failed);
        solo.advance(Duration::from_secs(5));
    }
    let told = solo.events.iter().find_map(|event| match event {
        Event::RequestOverdue { request, transaction, failures, .. } => Some((*request, *transaction, *failures)),
        _ => None,
    });
    let (request, overdue, failures) = told.expect("it is told");
    assert_eq!((request, overdue), (RequestKind::Commit, failing));
    assert!(failures > 0);
    cluster.run(Duration::from_secs(1));
    assert!(cluster.node(1).events.contains(&Event::Finished { transaction }));
}

/// The way out for commits that wait for a node that is gone for good.
#[test]
fn a_node_that_is_given_up_is_waited_for_no_longer() {
    let mut cluster = Builder::new(4, 1).settings(Settings { outcomes_max: 1, ..Settings::default() }.into()).start();
    let early = cluster.command(1, |command| Command::Forget { command, node: NodeId(4) });
    assert_eq!(refusal(&cluster, 1, early), Some(TransactionRefusal::StillMember));
    let stuck = leave_unacknowledged(&mut cluster);
    cluster.run(MINUTE);
    assert_eq!(cluster.node(1).core().status().unacknowledged.len(), 1);
    cluster.input(NodeId(1), Input::Signal(Signal::PeerStanding { node: NodeId(4), standing: Standing::Stranger }));
    let command = cluster.command(1, |command| Command::Forget { command, node: NodeId(4) });
    cluster.settle();
    let events = &cluster.node(1).events;
    assert!(events.contains(&Event::Forgotten { command, node: NodeId(4) }));
    assert!(events.contains(&Event::BranchForgotten { transaction: stuck, participant: NodeId(4) }));
    assert!(events.contains(&Event::Finished { transaction: stuck }));
    let begun = cluster.begin(1);
    let id = cluster.commit(begun, &[(2, Work::Write(1)), (4, Work::Write(1))]);
    assert_eq!(refusal(&cluster, 1, id), Some(TransactionRefusal::ParticipantForgotten(NodeId(4))));
    // The outcome is forgotten in time. If the node came back in doubt, it would not be told of a presumed abort.
    for _ in 0..2 {
        cluster.transact(1, &[(2, Work::Write(1)), (3, Work::Write(1))]);
        cluster.run(Duration::from_secs(2));
    }
    assert_eq!(cluster.query(stuck), Some(Knowledge::Forgotten));
    cluster.part(2, 4);
    cluster.crash(1);
    cluster.restart(1);
    cluster.restart(4);
    cluster.run(MINUTE);
    assert_eq!(cluster.node(4).ended(stuck), None, "it stays in doubt");
    assert!(cluster.node(1).core().status().ignored["forgotten"] > 0);
    assert_eq!(cluster.node(1).core().status().forgotten, [NodeId(4)].into());
}

/// The log does not advance. The records that wait are bounded, and refusals name this reason.
#[test]
fn a_log_that_stalls_is_not_waited_for_without_bound() {
    let settings = Settings {
        payload_bytes_max: 16,
        participants_max: 4,
        write_bytes_max: 2_000,
        journal_bytes_max: 20_000,
        ..Settings::default()
    };
    let mut solo = Solo::new(2, settings);
    let mut refused = 0;
    for sequence in 1..=2_000 {
        let transaction = transaction_of(1, sequence);
        let participants = [NodeId(2), NodeId(3)].into();
        let payload = bytes::Bytes::from_static(b"x");
        let stamp = stamp_of(sequence);
        solo.hear(1, Message::Prepare(Prepare { stamp, transaction, participants, payload }));
        solo.answer(Answer::Voted(Vote::No));
        let is_refused =
            |(_, message): &(NodeId, Message)| matches!(message, Message::Unready { why: Unready::LogBehind, .. });
        refused += solo.take_sent().iter().filter(|sent| is_refused(sent)).count();
        if sequence % 10 == 0 {
            solo.advance(Duration::from_millis(600));
        }
    }
    assert!(refused > 1_000, "{refused}");
    assert!(solo.core.status().journal_bytes < 21_000, "{}", solo.core.status().journal_bytes);
    solo.input(Input::Command(Command::Begin { command: CommandId(1) }));
    let reason = TransactionRefusal::LogBehind;
    assert_eq!(solo.events.last(), Some(&Event::Refused { command: CommandId(1), reason }));
    solo.sync();
    solo.advance(Duration::from_secs(1));
    solo.sync();
    assert!(solo.core.status().journal_bytes < 200, "but for news that go with the next write");
    solo.input(Input::Command(Command::Begin { command: CommandId(2) }));
    assert!(matches!(solo.events.last(), Some(Event::Begun { .. })));
}

/// In a cluster above a hundred nodes, messages of those that came last were always ignored.
#[test]
fn every_coordinator_of_a_large_cluster_is_heard() {
    let mut solo = Solo::new(2, Settings::default());
    let last = 400;
    for coordinator in 10..=last {
        solo.input(Input::Signal(Signal::PeerStanding { node: NodeId(coordinator), standing: Standing::Member }));
        solo.vote_yes(transaction_of(coordinator, 1));
    }
    assert_eq!(solo.core.status().in_doubt.len() as u64, last - 9);
    solo.restart();
    assert_eq!(solo.asked().len() as u64, last - 9);
}

/// Decisions are reported, whatever happens at the same moment.
#[test]
fn a_group_that_stops_tells_what_is_decided() {
    let mut solo = Solo::new(1, Settings { one_phase: OnePhase::Never, ..Settings::default() });
    let (mut transactions, mut votes) = (Vec::new(), Vec::new());
    for id in 1..=2 {
        let command = CommandId(id);
        solo.input(Input::Command(Command::Begin { command }));
        let Some(Event::Begun { transaction, .. }) = solo.events.last().cloned() else { panic!("it is begun") };
        let branches = [(NodeId(2), bytes::Bytes::new())].into();
        solo.input(Input::Command(Command::Commit { command, transaction, branches }));
        transactions.push(transaction);
        votes.push(Message::Vote { transaction, vote: Vote::Yes });
    }
    solo.hear(2, votes.remove(0));
    solo.hear(2, votes.remove(0));
    solo.take_sent();
    // Both in one round: the first decision is durable, and then the log fails.
    let (first, operations) = solo.writes.pop_front().expect("the first decision is on its way");
    solo.disk.write(&operations);
    solo.core.handle(solo.now, Input::Signal(Signal::Persisted(first)));
    let failure = PersistFailure::Unknown;
    solo.core.handle(solo.now, Input::Signal(Signal::PersistFailed { ticket: quorate_protocol::Ticket(99), failure }));
    solo.poll();
    assert!(solo.halted.is_some());
    let ended: Vec<&Event> = solo.events.iter().filter(|event| matches!(event, Event::Ended { .. })).collect();
    let outcome = TransactionOutcome::Committed;
    assert_eq!(ended, [&Event::Ended { transaction: transactions[0], outcome }]);
    assert!(solo.take_sent().is_empty(), "and nothing else is said");
}

/// A participant is dead for good while others go on under load: every transaction without it commits, and those with
/// it end.
#[test]
fn a_participant_that_is_dead_for_good_costs_only_its_own_transactions() {
    let settings = Settings { tombstones_max: 40, transactions_max: 64, ..Settings::default() };
    let mut cluster = Builder::new(4, 5).settings(settings.into()).start();
    cluster.faults.latency_max = Duration::from_millis(5);
    cluster.faults.write_max = Duration::from_millis(2);
    let mut with_it = Vec::new();
    for number in 0..200_u64 {
        if number == 30 {
            cluster.crash(4);
        }
        let (key, coordinator) = (u8::try_from(number % 250).expect("small"), 1 + number % 3);
        let others = [(1 + (number + 1) % 3, Work::Write(key)), (1 + (number + 2) % 3, Work::Write(key))];
        let transaction = cluster.transact(coordinator, &others);
        if number % 5 == 0 {
            let (participant, key) = (others[0].0, 255 - u8::try_from(number / 5).expect("small"));
            with_it.push(cluster.transact(coordinator, &[(participant, Work::Write(key)), (4, Work::Write(key))]));
        }
        cluster.run(Duration::from_millis(40));
        let outcome = cluster.node(coordinator).outcome(transaction);
        assert_eq!(outcome, Some(TransactionOutcome::Committed), "transaction {number}");
    }
    cluster.run(Duration::from_secs(10));
    for transaction in with_it {
        let outcome = cluster.node(cluster.server(transaction.coordinator)).outcome(transaction);
        assert!(outcome.is_some(), "{transaction} has ended for whoever asked for it");
    }
    cluster.quiesce();
}

/// A dead node is the only participant of one transaction after another, and of many at once. Its coordinator does not
/// know how those end whose decision was left to it, and goes on to serve others.
#[test]
fn an_only_participant_that_is_dead_does_not_use_up_its_coordinator() {
    let settings = Settings { transactions_max: 16, ..Settings::default() };
    let report_after = settings.report_after;
    for first_burst in [1, 12] {
        let mut cluster = Builder::new(4, 1).settings(settings.clone().into()).start();
        cluster.crash(3);
        for number in 0..40 {
            for key in 0..if number == 0 { first_burst } else { 2 } {
                cluster.transact(1, &[(3, Work::Write(key))]);
            }
            cluster.run(report_after);
            let other = cluster.transact(1, &[(2, Work::Write(number)), (4, Work::Write(number))]);
            cluster.run(Duration::from_secs(1));
            assert_eq!(cluster.node(1).outcome(other), Some(TransactionOutcome::Committed), "beside {number}");
        }
        assert!(cluster.node(1).core().status().coordinated <= 8, "{:?}", cluster.node(1).core().status());
        let told = |event: &&Event| matches!(event, Event::InDoubt { .. });
        assert!(cluster.node(1).events.iter().filter(told).count() > 0);
        let last = cluster.transact(1, &[(3, Work::Write(250))]);
        cluster.run(Duration::from_secs(3));
        let timed_out = TransactionOutcome::Aborted(AbortReason::TimedOut);
        assert_eq!(cluster.node(1).outcome(last), Some(timed_out), "it is asked for its vote, which has a time");
        cluster.quiesce();
        let alone = cluster.transact(1, &[(3, Work::Write(251))]);
        cluster.run(Duration::from_secs(1));
        assert_eq!(cluster.node(1).outcome(alone), Some(TransactionOutcome::Committed));
    }
}

/// Half of a room of one is nothing: the only participant is asked for its vote, which has a time.
#[test]
fn a_room_of_one_is_not_used_up_by_one_dead_participant() {
    let settings = Settings { transactions_max: 1, ..Settings::default() };
    let mut cluster = Builder::new(4, 1).settings(settings.into()).start();
    cluster.crash(3);
    cluster.transact(1, &[(3, Work::Write(1))]);
    cluster.run(MINUTE);
    let other = cluster.transact(1, &[(2, Work::Write(1)), (4, Work::Write(1))]);
    cluster.run(Duration::from_secs(5));
    assert_eq!(cluster.node(1).outcome(other), Some(TransactionOutcome::Committed));
}
