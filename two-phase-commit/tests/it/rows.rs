//! The points at which two-phase commit is known to break, by number: crashes and partitions of a coordinator C (node
//! 1) and participants P1 (node 2) and P2 (node 3).

use std::time::Duration;

use quorate_protocol::{HaltReason, NodeId, PersistFailure, WriteRefusal};
use quorate_two_phase_commit::message::{Acknowledgement, Decide, Stamp};
use quorate_two_phase_commit::testing::{Builder, Cluster, Ends, Transactions, Work, records};
use quorate_two_phase_commit::{
    AbortReason, Command, CoordinatorId, Decision, Epoch, Event, Knowledge, Message, Request, Settings, TransactionId,
    TransactionNumber, TransactionOutcome, Vote,
};

const ONE: Work = Work::Write(1);
const BOTH: [(u64, Work); 2] = [(2, ONE), (3, ONE)];
const LONG: Duration = Duration::from_secs(20);

/// All votes have arrived, and the decision waits for C's disk.
fn undecided(seed: u64) -> (Cluster, TransactionId) {
    let mut cluster = Cluster::of_three(seed);
    cluster.hold_disk(1);
    let transaction = cluster.transact(1, &BOTH);
    cluster.settle();
    assert_eq!(cluster.node(2).core().status().in_doubt.len(), 1);
    assert_eq!(cluster.node(3).core().status().in_doubt.len(), 1);
    assert_eq!(cluster.node(1).outcome(transaction), None);
    (cluster, transaction)
}

fn ends(cluster: &Cluster, transaction: TransactionId) -> [Option<Decision>; 2] {
    [2, 3].map(|node| cluster.node(node).ended(transaction))
}

/// Messages from one node to another that are kept back while the rest of the transaction takes its course.
fn kept(cluster: &Cluster, is_wanted: impl Fn(&Message) -> bool) -> Message {
    let found = cluster.parked().iter().find(|(_, _, message)| is_wanted(message));
    found.expect("it was sent").2.clone()
}

fn is_prepare(message: &Message) -> bool {
    matches!(message, Message::Prepare(_))
}

fn is_decide(message: &Message) -> bool {
    matches!(message, Message::Decide(_))
}

#[test]
fn row_01_the_coordinator_crashes_before_any_prepare() {
    let mut cluster = Cluster::of_three(1);
    let transaction = cluster.begin(1);
    for node in [2, 3] {
        cluster.command(node, |command| Command::Enlist { command, transaction });
        assert_eq!(cluster.node(node).core().status().branches, 1);
    }
    cluster.crash(1);
    cluster.run(LONG);
    for node in [2, 3] {
        assert_eq!(cluster.node(node).core().status().branches, 0, "still unprepared, it aborts alone");
    }
    assert_eq!(records(&cluster.node(1).disk), 0, "nothing is in the coordinator's log");
    cluster.restart(1);
    assert_eq!(cluster.query(transaction), Some(Knowledge::Aborted));
    cluster.quiesce();
}

#[test]
fn row_02_the_coordinator_crashes_when_one_participant_is_prepared() {
    let mut cluster = Cluster::of_three(2);
    cluster.park(1, 3);
    let transaction = cluster.transact(1, &BOTH);
    cluster.settle();
    assert_eq!(cluster.node(2).core().status().in_doubt.len(), 1);
    let late = kept(&cluster, is_prepare);
    cluster.crash(1);
    cluster.run(LONG);
    assert_eq!(cluster.node(2).core().status().in_doubt.len(), 1, "who voted never decides alone");
    cluster.restart(1);
    cluster.release();
    cluster.run(LONG);
    assert_eq!(cluster.node(2).ended(transaction), Some(Decision::Abort), "no record is abort");
    let sent = cluster.node(3).traffic.messages;
    cluster.inject(1, 3, late);
    let status = cluster.node(3).core().status();
    assert_eq!((status.branches, cluster.node(3).traffic.messages), (0, sent), "a late prepare is refused");
    assert!(status.ignored["old_epoch"] > 0);
    cluster.quiesce();
}

#[test]
fn row_03_the_coordinator_crashes_before_its_decision_is_durable() {
    let (mut cluster, transaction) = undecided(3);
    cluster.crash(1);
    cluster.restart(1);
    cluster.run(LONG);
    assert_eq!(ends(&cluster, transaction), [Some(Decision::Abort); 2]);
    assert_eq!(cluster.node(1).outcome(transaction), None, "nobody was told that it is committed");
    assert_eq!(cluster.query(transaction), Some(Knowledge::Aborted));
    cluster.quiesce();
}

#[test]
fn row_04_a_decision_whose_write_fails_is_not_told_either_way() {
    for is_there in [false, true] {
        let (mut cluster, transaction) = undecided(4);
        let sent = cluster.node(1).traffic.messages;
        if is_there {
            cluster.land_oldest(1);
        }
        cluster.fail_oldest(1, PersistFailure::Unknown);
        cluster.run(LONG);
        assert_eq!(cluster.node(1).halted, Some(HaltReason::LogFailed(PersistFailure::Unknown)));
        assert_eq!(cluster.node(1).traffic.messages, sent, "neither commit nor abort is sent");
        assert_eq!(cluster.node(1).outcome(transaction), None);
        assert_eq!(ends(&cluster, transaction), [None; 2]);
        cluster.crash(1);
        cluster.restart(1);
        cluster.run(LONG);
        let expected = if is_there { Decision::Commit } else { Decision::Abort };
        assert_eq!(ends(&cluster, transaction), [Some(expected); 2], "its log says what was decided");
        cluster.quiesce();
    }
}

#[test]
fn row_04_a_decision_that_certainly_was_not_written_is_abort() {
    let (mut cluster, transaction) = undecided(4);
    cluster.fail_oldest(1, PersistFailure::NotWritten);
    cluster.run(LONG);
    let reason = AbortReason::NotWritten;
    assert_eq!(cluster.node(1).outcome(transaction), Some(TransactionOutcome::Aborted(reason)));
    assert_eq!(ends(&cluster, transaction), [Some(Decision::Abort); 2]);
    cluster.release_disk(1);
    let next = cluster.transact(1, &BOTH);
    cluster.run(LONG);
    assert_eq!(cluster.node(1).outcome(next), Some(TransactionOutcome::Committed), "it goes on without a restart");
    cluster.quiesce();
}

#[test]
fn row_05_the_coordinator_crashes_before_any_commit_is_sent() {
    let (mut cluster, transaction) = undecided(5);
    cluster.land_oldest(1);
    cluster.crash(1);
    cluster.restart(1);
    assert_eq!(cluster.query(transaction), Some(Knowledge::Committed));
    cluster.run(LONG);
    assert_eq!(ends(&cluster, transaction), [Some(Decision::Commit); 2]);
    cluster.quiesce();
    assert_eq!(cluster.query(transaction), Some(Knowledge::Committed), "also when all is finished");
}

#[test]
fn row_06_a_participant_learns_the_commit_from_another() {
    let (mut cluster, transaction) = undecided(6);
    cluster.cut(1, 3);
    cluster.release_disk(1);
    assert_eq!(ends(&cluster, transaction), [Some(Decision::Commit), None]);
    cluster.crash(1);
    cluster.run(LONG);
    assert_eq!(ends(&cluster, transaction), [Some(Decision::Commit); 2], "without the coordinator");
    cluster.quiesce();
}

#[test]
fn row_06_with_nobody_to_ask_it_stays_in_doubt_and_says_so() {
    let (mut cluster, transaction) = undecided(6);
    cluster.cut(1, 3);
    cluster.release_disk(1);
    cluster.crash(1);
    cluster.crash(2);
    cluster.run(LONG * 5);
    assert_eq!(cluster.node(3).ended(transaction), None);
    assert_eq!(cluster.node(3).application.manager.locks.get(&1), Some(&transaction), "it holds its lock");
    let told = cluster.node(3).events.iter().filter(|event| matches!(event, Event::InDoubt { .. })).count();
    assert_eq!(told, 1, "and says so");
    cluster.quiesce();
    assert_eq!(cluster.node(3).ended(transaction), Some(Decision::Commit));
}

#[test]
fn row_07_the_coordinator_crashes_before_the_end_record() {
    let mut cluster = Cluster::of_three(7);
    let transaction = cluster.transact(1, &BOTH);
    cluster.run(Duration::from_millis(700));
    assert!(cluster.node(1).events.contains(&Event::Finished { transaction }), "all have acknowledged");
    cluster.crash(1);
    cluster.restart(1);
    assert_eq!(cluster.node(1).core().status().unacknowledged.len(), 1, "the end was not on disk");
    cluster.park(2, 1);
    cluster.run(Duration::from_millis(300));
    let how = kept(&cluster, |message| matches!(message, Message::Acknowledge { .. }));
    assert_eq!(how, Message::Acknowledge { transaction, how: Acknowledgement::AlreadyDone });
    cluster.release();
    cluster.quiesce();
    assert_eq!(cluster.node(1).core().status().remembered, 1);
    for node in [2, 3] {
        assert_eq!(cluster.node(node).application.manager.effects, [(transaction, 1)]);
    }
}

#[test]
fn row_08_a_participant_that_forgot_lets_the_coordinator_forget() {
    let mut cluster = Cluster::of_three(8);
    cluster.park(1, 3);
    let transaction = cluster.transact(1, &BOTH);
    cluster.settle();
    let prepare = kept(&cluster, is_prepare);
    cluster.inject(1, 3, prepare);
    let commit = kept(&cluster, is_decide);
    cluster.release();
    cluster.quiesce();
    assert_eq!(cluster.node(3).core().status().tombstones, 0, "it has forgotten");
    cluster.park(3, 1);
    cluster.inject(1, 3, commit);
    let how = kept(&cluster, |message| matches!(message, Message::Acknowledge { .. }));
    assert_eq!(how, Message::Acknowledge { transaction, how: Acknowledgement::Forgotten });

    // The coordinator treats it correctly: the commit is complete.
    let (mut cluster, transaction) = undecided(8);
    cluster.cut(3, 1);
    cluster.release_disk(1);
    cluster.run(Duration::from_secs(1));
    assert!(!cluster.node(1).events.contains(&Event::Finished { transaction }));
    cluster.inject(3, 1, Message::Acknowledge { transaction, how: Acknowledgement::Forgotten });
    let events = &cluster.node(1).events;
    assert!(events.contains(&Event::BranchForgotten { transaction, participant: NodeId(3) }));
    assert!(events.contains(&Event::Finished { transaction }));
    cluster.quiesce();
}

#[test]
fn row_08_an_abort_of_what_was_refused_is_no_error() {
    let mut cluster = Cluster::of_three(8);
    cluster.park(1, 3);
    let transaction = cluster.transact(1, &[(2, Work::Refuse), (3, ONE)]);
    cluster.settle();
    let abort = kept(&cluster, is_decide);
    cluster.inject(1, 2, abort.clone());
    cluster.inject(1, 2, abort);
    assert_eq!(cluster.node(2).halted, None);
    assert_eq!(
        cluster.node(1).outcome(transaction),
        Some(TransactionOutcome::Aborted(AbortReason::Refused(NodeId(2))))
    );
    cluster.quiesce();
}

#[test]
fn row_09_a_vote_that_comes_too_late_is_answered_with_abort() {
    let mut cluster = Cluster::of_three(9);
    cluster.park(3, 1);
    let transaction = cluster.transact(1, &BOTH);
    cluster.settle();
    cluster.cut(1, 3);
    cluster.run(Duration::from_secs(3));
    assert_eq!(cluster.node(1).outcome(transaction), Some(TransactionOutcome::Aborted(AbortReason::TimedOut)));
    assert_eq!(ends(&cluster, transaction), [Some(Decision::Abort), None]);
    cluster.heal();
    cluster.release();
    assert_eq!(ends(&cluster, transaction), [Some(Decision::Abort); 2]);
    assert_eq!(cluster.query(transaction), Some(Knowledge::Aborted), "the vote brings nothing back");
    cluster.quiesce();
}

#[test]
fn row_10_a_participant_crashes_before_its_vote_leaves() {
    let mut cluster = Cluster::of_three(10);
    cluster.hold_disk(3);
    let transaction = cluster.transact(1, &BOTH);
    cluster.settle();
    cluster.land_oldest(3);
    cluster.crash(3);
    cluster.run(Duration::from_secs(3));
    assert_eq!(cluster.node(1).outcome(transaction), Some(TransactionOutcome::Aborted(AbortReason::TimedOut)));
    cluster.cut(3, 1);
    cluster.restart(3);
    cluster.settle();
    assert_eq!(cluster.node(3).application.manager.locks.get(&1), Some(&transaction), "it has its lock again");
    cluster.heal();
    cluster.run(LONG);
    assert_eq!(ends(&cluster, transaction), [Some(Decision::Abort); 2]);
    cluster.quiesce();
}

#[test]
fn row_11_locks_come_back_before_anything_is_served() {
    let (mut cluster, transaction) = undecided(11);
    cluster.crash(3);
    cluster.part(1, 3);
    cluster.restart(3);
    cluster.hold_requests(3);
    let early = cluster.transact(2, &[(2, Work::Write(5)), (3, ONE)]);
    cluster.settle();
    let payload = ONE.payload();
    assert_eq!(cluster.held_requests(3), [Request::Recover { transaction, payload }], "nothing is asked before");
    assert!(cluster.node(3).core().status().ignored["unready"] > 0);
    cluster.release_requests(3);
    cluster.run(Duration::from_secs(5));
    let refused = TransactionOutcome::Aborted(AbortReason::Refused(NodeId(3)));
    assert_eq!(cluster.node(2).outcome(early), Some(refused), "the key is locked");
    cluster.heal();
    cluster.release_disk(1);
    cluster.run(LONG);
    assert_eq!(ends(&cluster, transaction), [Some(Decision::Commit); 2]);
    let next = cluster.transact(2, &[(2, Work::Write(5)), (3, ONE)]);
    cluster.run(LONG);
    assert_eq!(cluster.node(2).outcome(next), Some(TransactionOutcome::Committed));
    cluster.quiesce();
}

#[test]
fn row_12_a_commit_takes_effect_once() {
    let (mut cluster, transaction) = undecided(12);
    cluster.hold_disk(3);
    cluster.park(1, 3);
    cluster.release_disk(1);
    let commit = kept(&cluster, is_decide);
    cluster.release();
    assert_eq!(cluster.node(3).ended(transaction), Some(Decision::Commit), "applied, and not written down");
    cluster.crash(3);
    cluster.restart(3);
    cluster.run(LONG);
    assert!(cluster.node(1).events.contains(&Event::Finished { transaction }));
    cluster.park(3, 1);
    cluster.inject(1, 3, commit.clone());
    cluster.inject(1, 3, commit);
    let is_acknowledgement = |message: &Message| matches!(message, Message::Acknowledge { .. });
    let acknowledged = cluster.parked().iter().filter(|(_, _, message)| is_acknowledgement(message)).count();
    assert_eq!(acknowledged, 2, "both are acknowledged");
    assert_eq!(cluster.node(3).application.manager.effects, [(transaction, 1)]);
    cluster.quiesce();
}

#[test]
fn row_13_an_abort_ahead_of_the_prepare_fences_it_off() {
    let mut cluster = Cluster::of_three(13);
    // As long as an earlier transaction is under way, it is not known that this one is finished.
    let earlier = cluster.begin(1);
    cluster.park(1, 3);
    let transaction = cluster.transact(1, &BOTH);
    cluster.settle();
    cluster.command(1, |command| Command::Abort { command, transaction });
    cluster.settle();
    let (prepare, abort) = (kept(&cluster, is_prepare), kept(&cluster, is_decide));
    cluster.inject(1, 3, abort);
    assert_eq!(cluster.node(3).core().status().tombstones, 1, "a fence");
    cluster.park(3, 1);
    cluster.inject(1, 3, prepare);
    let vote = kept(&cluster, |message| matches!(message, Message::Vote { .. }));
    assert_eq!(vote, Message::Vote { transaction, vote: Vote::No });
    assert_eq!(
        (cluster.node(3).core().status().branches, cluster.node(3).application.manager.prepared().count()),
        (0, 0)
    );
    cluster.release();
    cluster.command(1, |command| Command::Abort { command, transaction: earlier });
    cluster.quiesce();
}

#[test]
fn row_13_an_abort_while_the_branch_still_works_leaves_no_orphan() {
    let mut cluster = Cluster::of_three(13);
    cluster.hold_requests(3);
    let transaction = cluster.transact(1, &BOTH);
    cluster.settle();
    cluster.command(1, |command| Command::Abort { command, transaction });
    cluster.settle();
    assert_eq!(cluster.held_requests(3).len(), 2, "the prepare, and behind it the abort");
    cluster.release_requests(3);
    assert_eq!(cluster.node(3).application.manager.prepared().count(), 0);
    assert!(cluster.node(3).application.manager.locks.is_empty());
    assert_eq!(cluster.node(3).core().status().ignored["stale_answer"], 1, "its yes comes too late");
    cluster.quiesce();
}

#[test]
fn row_14_an_old_prepare_is_known_to_be_old() {
    let mut cluster = Cluster::of_three(14);
    cluster.park(1, 3);
    let transaction = cluster.transact(1, &BOTH);
    cluster.settle();
    let prepare = kept(&cluster, is_prepare);
    cluster.release();
    cluster.quiesce();
    assert_eq!(records(&cluster.node(3).disk), 0, "its record is collected");
    for _ in 0..2 {
        cluster.inject(1, 3, prepare.clone());
        assert_eq!(cluster.node(3).core().status().branches, 0, "no branch");
        assert!(cluster.node(3).application.manager.locks.is_empty(), "no lock");
        assert_eq!(cluster.node(3).core().status().ignored["collected"], 1);
        // The same after a restart: the node's knowledge is on its disk.
        cluster.crash(3);
        cluster.restart(3);
        cluster.settle();
    }
    let next = cluster.transact(1, &BOTH);
    cluster.run(LONG);
    assert_eq!(cluster.node(1).outcome(next), Some(TransactionOutcome::Committed), "the next one is not hindered");
    assert!(next > transaction);
    cluster.quiesce();
}

#[test]
fn row_15_questions_abort_nothing_that_lives() {
    let mut cluster = Cluster::of_three(15);
    cluster.faults.latency_max = Duration::from_millis(5);
    cluster.faults.write_max = Duration::from_millis(2);
    let mut live = Vec::new();
    for number in 0..1000_u64 {
        let key = Work::Write(u8::try_from(number % 250).expect("small"));
        live.push(cluster.transact(1, &[(2, key), (3, key)]));
        cluster.run(Duration::from_millis(1));
        for transaction in live.iter().rev().take(3).copied().collect::<Vec<_>>() {
            cluster.inject(2, 1, Message::Inquire { transaction });
            cluster.inject(2, 3, Message::Inquire { transaction });
            cluster.inject(3, 2, Message::Inquire { transaction });
        }
    }
    cluster.run(LONG);
    for transaction in live {
        assert_eq!(cluster.node(1).outcome(transaction), Some(TransactionOutcome::Committed));
        assert_eq!(ends(&cluster, transaction), [Some(Decision::Commit); 2]);
    }
    cluster.quiesce();
}

#[test]
fn row_15_orphans_are_resolved_with_nothing_else_going_on() {
    for retry_max in [Duration::from_millis(200), Duration::from_secs(30)] {
        let settings = Settings { retry_max, ..Settings::default() };
        let mut cluster = Builder::new(3, 15).settings(settings.into()).start();
        cluster.hold_disk(1);
        let transaction = cluster.transact(1, &BOTH);
        cluster.settle();
        cluster.crash(1);
        cluster.crash(2);
        cluster.crash(3);
        for node in 1..=3 {
            cluster.restart(node);
        }
        cluster.run(retry_max * 4);
        assert_eq!(ends(&cluster, transaction), [Some(Decision::Abort); 2]);
        cluster.quiesce();
    }
}

/// The log will never accept the write: it is not tried again, and nothing that depends on it is told.
#[test]
fn row_04_a_decision_that_the_log_will_never_take_stops_the_group() {
    let (mut cluster, transaction) = undecided(16);
    let failure = PersistFailure::Refused { reason: WriteRefusal::TooLarge };
    cluster.fail_oldest(1, failure);
    assert_eq!(cluster.node(1).halted, Some(HaltReason::LogFailed(failure)));
    assert_eq!(cluster.node(1).outcome(transaction), None);
}

#[test]
fn row_16_an_old_coordinator_is_not_heard() {
    let (mut cluster, transaction) = undecided(16);
    // Another process opened the log: this node's write is refused for good.
    cluster.fail_oldest(1, PersistFailure::Fenced);
    assert_eq!(cluster.node(1).halted, Some(HaltReason::LogFailed(PersistFailure::Fenced)));
    cluster.crash(1);
    cluster.restart(1);
    cluster.run(LONG);
    assert_eq!(ends(&cluster, transaction), [Some(Decision::Abort); 2]);
    let old = Stamp { coordinator: CoordinatorId(1), epoch: Epoch(1), finished_below: TransactionNumber::default() };
    let commit = Message::Decide(Decide { stamp: old, transaction, decision: Decision::Commit });
    for node in [2, 3] {
        cluster.inject(1, node, commit.clone());
        assert_eq!(cluster.node(node).halted, None);
        assert!(cluster.node(node).core().status().ignored["old_epoch"] > 0);
    }
    assert_eq!(ends(&cluster, transaction), [Some(Decision::Abort); 2]);
    cluster.quiesce();
}

#[test]
fn row_17_who_is_cut_off_never_decides_alone() {
    let (mut cluster, transaction) = undecided(17);
    cluster.part(1, 3);
    cluster.part(2, 3);
    cluster.release_disk(1);
    let mut age = Duration::ZERO;
    for _ in 0..30 {
        cluster.run(Duration::from_secs(7));
        let now = cluster.node(3).core().status().in_doubt[&transaction];
        assert!(now > age, "its age rises");
        age = now;
    }
    assert_eq!(ends(&cluster, transaction), [Some(Decision::Commit), None]);
    cluster.heal();
    cluster.run(LONG);
    assert_eq!(ends(&cluster, transaction), [Some(Decision::Commit); 2]);
    cluster.quiesce();
}

#[test]
fn row_18_who_only_reads_has_no_second_phase() {
    let mut cluster = Cluster::of_three(18);
    cluster.hold_disk(2);
    let transaction = cluster.transact(1, &[(2, ONE), (3, Work::Read)]);
    cluster.settle();
    assert_eq!(cluster.node(3).core().status().branches, 0, "it has let go of everything");
    cluster.part(1, 3);
    cluster.release_disk(2);
    assert_eq!(cluster.node(1).outcome(transaction), Some(TransactionOutcome::Committed));
    cluster.run(Duration::from_secs(1));
    assert!(cluster.node(1).events.contains(&Event::Finished { transaction }));
    cluster.quiesce();
}

#[test]
fn row_18_the_only_participant_is_in_doubt_until_it_answers() {
    let mut cluster = Cluster::of_three(18);
    cluster.hold_disk(2);
    let transaction = cluster.transact(1, &[(2, ONE)]);
    cluster.settle();
    assert_eq!(cluster.node(2).application.manager.effects.len(), 1, "it has committed, and not written it down");
    cluster.crash(2);
    cluster.run(LONG);
    assert_eq!(cluster.query(transaction), Some(Knowledge::InDoubt), "the coordinator never guesses");
    assert!(cluster.node(1).events.iter().any(|event| matches!(event, Event::InDoubt { .. })));
    // Nor does it after its own crash.
    cluster.crash(1);
    cluster.restart(1);
    assert_eq!(cluster.query(transaction), Some(Knowledge::InDoubt));
    cluster.restart(2);
    cluster.run(LONG);
    assert_eq!(cluster.node(1).outcome(transaction), Some(TransactionOutcome::Committed));
    assert_eq!(cluster.node(2).application.manager.effects, [(transaction, 1)]);
    cluster.quiesce();
}
