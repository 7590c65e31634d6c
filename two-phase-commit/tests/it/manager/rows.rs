//! The crash and partition points that a transaction manager must survive, by their numbers. Rows of protocols between
//! nodes (1, 6, 13, 14, 20) are in `rows.rs` of the core.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_protocol::{HaltReason, Input, PersistFailure, Signal};
use quorate_two_phase_commit::manager::core::{
    AbortReason, Ended, Hazard, ManagerAnswer, ManagerCommand, ManagerEvent, ManagerRequest,
};
use quorate_two_phase_commit::manager::{BranchId, ResourceManager, Sessions};
use quorate_two_phase_commit::{CommandId, Decision, Epoch, Knowledge, TransactionNumber, Vote};

use super::bench::{Bench, Crash, Fault, MANAGER, Work, id, ready, settings};

const MINUTE: Duration = Duration::from_mins(1);

/// A bench at rest, with a transaction that has done its work.
fn begun(works: &[Work]) -> (Bench, TransactionNumber) {
    let mut bench = Bench::new(works);
    bench.settle();
    let transaction = begin(&mut bench);
    (bench, transaction)
}

fn begin(bench: &mut Bench) -> TransactionNumber {
    bench.begin();
    bench.settle();
    let transaction = *bench.begun.last().expect("it has begun");
    bench.work(transaction);
    transaction
}

fn commit(bench: &mut Bench, transaction: TransactionNumber) {
    bench.commit(transaction);
}

/// Steps until this request is the next to be carried out.
fn until(bench: &mut Bench, is_it: impl Fn(&ManagerRequest) -> bool) {
    for _ in 0..1_000 {
        if bench.writes.is_empty() && bench.requests.front().is_some_and(|(_, request)| is_it(request)) {
            return;
        }
        assert!(bench.step(), "the request never comes");
    }
}

fn committed() -> Ended {
    Ended::Committed { without: BTreeSet::new() }
}

fn assert_clean(bench: &Bench) {
    for site in bench.sites.values() {
        assert!(site.memory.prepared().is_empty() && site.memory.locked().is_empty(), "nothing is left: {site:?}");
    }
    let status = bench.core.status();
    assert!(status.open == 0 && status.in_doubt.is_empty() && status.stuck.is_empty(), "{status:?}");
}

fn effects(bench: &Bench, transaction: TransactionNumber) -> Vec<bool> {
    (0..bench.sites.len()).map(|number| bench.has_effect(number, transaction)).collect()
}

#[test]
fn row_2_a_crash_between_two_prepares_aborts_both() {
    let (mut bench, transaction) = begun(&[Work::Write; 2]);
    commit(&mut bench, transaction);
    bench.step();
    assert_eq!(bench.sites.values().filter(|site| site.memory.prepared().len() == 1).count(), 1);
    bench.crash(Crash::ManagerWithLateRequests);
    bench.settle();
    assert_clean_but_for_the_late(&bench);
    // The second prepare was on its way, and arrives now.
    assert!(bench.arrive());
    bench.pass(MINUTE);
    assert_clean(&bench);
    assert_eq!(effects(&bench, transaction), [false, false]);
    assert_eq!(bench.knowledge(transaction), Knowledge::Aborted);
}

fn assert_clean_but_for_the_late(bench: &Bench) {
    assert!(bench.sites.values().all(|site| site.memory.prepared().is_empty()), "the first is rolled back");
}

#[test]
fn row_3_a_crash_before_the_decision_is_durable_is_an_abort() {
    let (mut bench, transaction) = begun(&[Work::Write; 2]);
    commit(&mut bench, transaction);
    while bench.writes.is_empty() {
        assert!(bench.step(), "the decision is written");
    }
    assert_eq!(bench.told.get(&transaction), None, "nothing is said before it is durable");
    let has_commit = |request: &ManagerRequest| matches!(request, ManagerRequest::Commit(_));
    assert!(!bench.made.iter().any(has_commit), "nobody is asked to commit before it is durable");
    bench.crash(Crash::ManagerWithoutWrite);
    bench.pass(MINUTE);
    assert_clean(&bench);
    assert_eq!(effects(&bench, transaction), [false, false]);
    assert_eq!(bench.knowledge(transaction), Knowledge::Aborted);
}

#[test]
fn row_4_a_write_that_certainly_failed_aborts_and_one_that_perhaps_failed_says_nothing() {
    let (mut bench, transaction) = begun(&[Work::Write; 2]);
    commit(&mut bench, transaction);
    while bench.writes.is_empty() {
        assert!(bench.step(), "the decision is written");
    }
    let (ticket, _) = bench.writes.pop_front().expect("the decision");
    bench.input(Input::Signal(Signal::PersistFailed { ticket, failure: PersistFailure::NotWritten }));
    bench.pass(MINUTE);
    assert_eq!(bench.told.get(&transaction), Some(&Ended::Aborted(AbortReason::NotWritten)));
    assert_clean(&bench);

    let transaction = begin(&mut bench);
    commit(&mut bench, transaction);
    while bench.writes.is_empty() {
        assert!(bench.step(), "the decision is written");
    }
    let (ticket, operations) = bench.writes.pop_front().expect("the decision");
    bench.disk.write(&operations);
    bench.input(Input::Signal(Signal::PersistFailed { ticket, failure: PersistFailure::Unknown }));
    bench.settle();
    assert!(matches!(bench.halted, Some(HaltReason::LogFailed(PersistFailure::Unknown))));
    assert_eq!(bench.told.get(&transaction), None, "neither commit nor abort is said");
    assert!(bench.sites.values().all(|site| site.memory.prepared().len() == 1), "both wait for the next start");
    bench.restart();
    bench.pass(MINUTE);
    assert_clean(&bench);
    assert_eq!(effects(&bench, transaction), [true, true], "the log had it");
}

#[test]
fn row_5_a_durable_decision_is_carried_out_by_the_next_start() {
    let (mut bench, transaction) = begun(&[Work::Write; 2]);
    commit(&mut bench, transaction);
    until(&mut bench, |request| matches!(request, ManagerRequest::Commit(_)));
    bench.crash(Crash::ManagerWithoutWrite);
    bench.pass(MINUTE);
    assert_clean(&bench);
    assert_eq!(effects(&bench, transaction), [true, true]);
    assert_eq!(bench.knowledge(transaction), Knowledge::Committed);
}

#[test]
fn row_7_and_12_a_commit_that_is_asked_for_again_takes_effect_once() {
    let (mut bench, transaction) = begun(&[Work::Write; 2]);
    commit(&mut bench, transaction);
    while !bench.told.contains_key(&transaction) {
        assert!(bench.step());
    }
    assert_eq!(effects(&bench, transaction), [true, true]);
    // The end of the transaction is not durable yet.
    bench.crash(Crash::ManagerWithoutWrite);
    bench.made.clear();
    let later = begin(&mut bench);
    commit(&mut bench, later);
    bench.pass(MINUTE);
    let again =
        |request: &&ManagerRequest| matches!(request, ManagerRequest::Commit(branch) if branch.number == transaction);
    assert_eq!(bench.made.iter().filter(again).count(), 2, "each is asked again");
    assert_clean(&bench);
    assert_eq!(effects(&bench, later), [true, true], "the earlier one was not applied again");
    assert!(bench.core.status().hazards.is_empty(), "what is done is no damage");
}

#[test]
fn row_8_a_branch_that_is_gone_is_judged_by_evidence() {
    let (mut bench, transaction) = begun(&[Work::Write; 2]);
    commit(&mut bench, transaction);
    until(&mut bench, |request| matches!(request, ManagerRequest::Commit(_)));
    // The commit is carried out, and its answer is lost.
    let branch = bench.requests[0].1.branch().expect("a commit");
    ready(bench.sites[&branch.resource].memory.commit(branch)).expect("in memory");
    bench.crash(Crash::ManagerWithoutWrite);
    bench.pass(MINUTE);
    assert_clean(&bench);
    assert_eq!(effects(&bench, transaction), [true, true]);
    assert!(bench.core.status().hazards.is_empty());
    // The evidence is gone once the transaction is finished.
    assert!(bench.sites.values().all(|site| site.memory.evidence().is_empty()));
}

#[test]
fn evidence_stays_as_long_as_its_transaction_is_not_finished() {
    let (mut bench, transaction) = begun(&[Work::Write; 2]);
    bench.fault(0, Fault::FailsToCommit);
    commit(&mut bench, transaction);
    bench.pass(MINUTE);
    assert_eq!(bench.memory(1).evidence().len(), 1, "the other may be asked again after a crash");
    bench.restart();
    bench.pass(MINUTE);
    assert_eq!(bench.memory(1).evidence().len(), 1);
    assert!(bench.core.status().hazards.is_empty());
    bench.fault(0, Fault::None);
    bench.pass(MINUTE);
    assert_clean(&bench);
    assert!(bench.memory(1).evidence().is_empty() && bench.memory(0).evidence().is_empty());
}

#[test]
fn row_9_a_vote_that_comes_after_the_abort_changes_nothing() {
    let (mut bench, transaction) = begun(&[Work::Write; 2]);
    commit(&mut bench, transaction);
    // Both prepares are carried out, and the second answer is late.
    bench.step();
    bench.step();
    bench.step();
    let (ticket, vote) = bench.answers.pop_front().expect("the second vote");
    assert_eq!(vote, ManagerAnswer::Voted(Vote::Yes));
    while !bench.told.contains_key(&transaction) {
        bench.wait();
        let is_again = |(_, request): &(_, ManagerRequest)| !matches!(request, ManagerRequest::Prepare(_));
        bench.requests.retain(is_again);
    }
    assert_eq!(bench.told[&transaction], Ended::Aborted(AbortReason::Late));
    bench.input(Input::Completed { ticket, answer: vote });
    bench.pass(MINUTE);
    assert_clean(&bench);
    assert_eq!(effects(&bench, transaction), [false, false]);
}

#[test]
fn row_10_a_resource_that_crashes_after_its_prepare_is_rolled_back() {
    let (mut bench, transaction) = begun(&[Work::Write; 2]);
    bench.fault(1, Fault::HangsInPrepare);
    bench.fault(0, Fault::Refuses);
    commit(&mut bench, transaction);
    bench.settle();
    assert_eq!(bench.told[&transaction], Ended::Aborted(AbortReason::Refused(id(0))));
    bench.crash(Crash::Resource(id(1)));
    bench.pass(MINUTE);
    assert_clean(&bench);
    assert_eq!(effects(&bench, transaction), [false, false]);
}

#[test]
fn row_11_new_work_waits_for_what_is_in_doubt() {
    let (mut bench, transaction) = begun(&[Work::Write; 2]);
    commit(&mut bench, transaction);
    until(&mut bench, |request| matches!(request, ManagerRequest::Commit(_)));
    bench.crash(Crash::Resource(id(0)));
    bench.crash(Crash::Resource(id(1)));
    // Work on the same key comes before the commit, and finds the lock.
    let other = BranchId { manager: MANAGER, number: TransactionNumber::default(), resource: id(0) };
    let memory = bench.memory(0).clone();
    let session = ready(memory.begin(other)).expect("a session");
    assert!(session.put("value", 1).is_err(), "the prepared branch holds its lock");
    memory.suspend(other, session);
    ready(memory.roll_back(other)).expect("in memory");
    bench.pass(MINUTE);
    assert_clean(&bench);
    assert_eq!(effects(&bench, transaction), [true, true]);
}

#[test]
fn row_15_recovery_rolls_no_live_transaction_back_whatever_its_interval() {
    for interval in [1, 100, 100_000] {
        let mut settings = settings();
        settings.scan_interval = Duration::from_millis(interval);
        let mut bench = Bench::with(&[Work::Write; 2], settings);
        bench.settle();
        // An orphan of an earlier start.
        let old = begin(&mut bench);
        commit(&mut bench, old);
        bench.step();
        bench.crash(Crash::ManagerWithoutWrite);
        // A live transaction of this start is prepared while lists come all the time.
        let live = *{
            bench.begin();
            bench.write();
            bench.begun.last().expect("begun")
        };
        assert_eq!(live.epoch, Epoch(2));
        bench.pass(Duration::from_millis(1));
        bench.work(live);
        commit(&mut bench, live);
        bench.fault(1, Fault::FailsToCommit);
        bench.pass(MINUTE);
        let is_live =
            |request: &ManagerRequest| matches!(request, ManagerRequest::RollBack(branch) if branch.number == live);
        assert!(!bench.made.iter().any(is_live), "a live branch is never rolled back");
        bench.fault(1, Fault::None);
        bench.pass(MINUTE);
        assert_clean(&bench);
        assert_eq!(effects(&bench, live), [true, true]);
        assert_eq!(effects(&bench, old), [false, false]);
    }
}

#[test]
fn row_15_orphans_are_found_with_no_transaction_in_flight() {
    let (mut bench, transaction) = begun(&[Work::Write; 2]);
    commit(&mut bench, transaction);
    bench.step();
    bench.crash(Crash::ManagerWithoutWrite);
    bench.settle();
    assert_clean(&bench);
}

#[test]
fn row_16_a_manager_that_sees_a_later_start_touches_nothing() {
    let (mut bench, transaction) = begun(&[Work::Write; 2]);
    // Another process continued from a copy of the log, and has prepared a branch.
    let number = TransactionNumber { epoch: Epoch(2), sequence: 1 };
    let memory = bench.memory(0).clone();
    let branch = BranchId { manager: MANAGER, number, resource: id(0) };
    ready(bench.memory(0).roll_back(BranchId { number: transaction, ..branch })).expect("in memory");
    let session = ready(memory.begin(branch)).expect("a session");
    session.put("value", 1).expect("free");
    memory.suspend(branch, session);
    assert_eq!(ready(memory.prepare(branch)).expect("in memory"), Vote::Yes);
    bench.pass(MINUTE);
    let is_said = |event: &ManagerEvent| matches!(event, ManagerEvent::Superseded { resource, epoch: Epoch(2) } if *resource == id(0));
    assert_eq!(bench.events.iter().filter(|event| is_said(event)).count(), 1);
    assert!(bench.halted.is_some());
    assert_eq!(memory.prepared(), [branch].into(), "the branch of the later start is not touched");
    bench.made.clear();
    bench.command(ManagerCommand::Begin { command: CommandId(99), timeout: Some(MINUTE) });
    bench.pass(MINUTE);
    assert!(bench.made.is_empty(), "nothing is asked of any resource");
    let is_refused = |event: &ManagerEvent| matches!(event, ManagerEvent::Refused { command: CommandId(99), .. });
    assert!(bench.events.iter().any(is_refused));
}

#[test]
fn branches_of_another_manager_are_not_touched() {
    let (mut bench, _) = begun(&[Work::Write; 2]);
    let mut other = BranchId { manager: MANAGER, number: TransactionNumber::default(), resource: id(0) };
    other.manager.log += 1;
    // A resource that lists what it must not list.
    let listed = [other, BranchId { resource: id(1), ..other }].into();
    bench.pass(MINUTE);
    bench.made.clear();
    for _ in 0..100 {
        if bench.requests.iter().any(|(_, request)| *request == ManagerRequest::Recover(id(0))) {
            break;
        }
        bench.wait();
    }
    let at = bench.requests.iter().position(|(_, request)| *request == ManagerRequest::Recover(id(0)));
    let (ticket, _) = bench.requests.remove(at.expect("a list is asked for")).expect("just seen");
    bench.input(Input::Completed { ticket, answer: ManagerAnswer::Listed(listed) });
    bench.pass(MINUTE);
    let is_of_old = |request: &ManagerRequest| request.branch().is_some_and(|branch| branch.number == other.number);
    assert!(!bench.made.iter().any(is_of_old), "nothing is asked about them, under any name");
}

#[test]
fn row_17_a_resource_that_cannot_be_reached_commits_when_it_can() {
    let (mut bench, transaction) = begun(&[Work::Write; 2]);
    commit(&mut bench, transaction);
    until(&mut bench, |request| matches!(request, ManagerRequest::Commit(_)));
    bench.fault(1, Fault::Dead);
    bench.pass(100 * MINUTE);
    assert_eq!(bench.told[&transaction], committed());
    assert_eq!(effects(&bench, transaction), [true, false]);
    let status = bench.core.status();
    let doubt = &status.in_doubt[&transaction];
    assert!(doubt.is_committed && doubt.age >= 99 * MINUTE, "{doubt:?}");
    assert_eq!(doubt.resources.get(&id(1)), Some(&Some("resource 1".to_owned())));
    assert!(status.stuck.iter().any(|stuck| matches!(stuck.request, ManagerRequest::Commit(_))));
    let said = bench.events.iter().filter(|event| matches!(event, ManagerEvent::Uncommitted { .. })).count();
    assert_eq!(said, 1, "it is said once");
    bench.fault(1, Fault::None);
    bench.pass(2 * MINUTE);
    assert_eq!(effects(&bench, transaction), [true, true]);
    assert_clean(&bench);
}

#[test]
fn row_18_a_reader_gets_no_second_phase_and_the_only_writer_is_never_guessed_about() {
    let (mut bench, transaction) = begun(&[Work::Write, Work::Read]);
    commit(&mut bench, transaction);
    bench.pass(MINUTE);
    let second = |request: &&ManagerRequest| matches!(request, ManagerRequest::Commit(branch) | ManagerRequest::RollBack(branch) if branch.resource == id(1));
    assert_eq!(bench.made.iter().filter(second).count(), 0);
    assert_eq!(bench.told[&transaction], committed());
    assert_clean(&bench);

    let (mut bench, transaction) = begun(&[Work::Write]);
    commit(&mut bench, transaction);
    until(&mut bench, |request| matches!(request, ManagerRequest::CommitOnePhase(_)));
    // It commits, and its answer is lost.
    bench.step();
    bench.answers.clear();
    bench.fault(0, Fault::Dead);
    bench.pass(10 * MINUTE);
    assert_eq!(bench.told.get(&transaction), None, "nothing is guessed");
    assert!(bench.events.iter().any(|event| matches!(event, ManagerEvent::InDoubt { .. })));
    assert_eq!(bench.knowledge(transaction), Knowledge::InDoubt);
    bench.restart();
    bench.fault(0, Fault::None);
    bench.pass(MINUTE);
    assert_eq!(bench.told[&transaction], committed());
    assert_clean(&bench);
}

#[test]
fn an_operator_ends_what_a_resource_never_will() {
    // The only resource is gone, and the operator knows how it decided.
    let (mut bench, transaction) = begun(&[Work::Write]);
    let (command, decision) = (CommandId(50), Decision::Abort);
    bench.command(ManagerCommand::Resolve { command, transaction, decision });
    let is_refused = |event: &ManagerEvent| matches!(event, ManagerEvent::Refused { command: CommandId(50), .. });
    assert!(bench.events.iter().any(is_refused), "it is not in doubt");
    bench.fault(0, Fault::Dead);
    commit(&mut bench, transaction);
    bench.pass(MINUTE);
    bench.command(ManagerCommand::Resolve { command: CommandId(51), transaction, decision });
    bench.pass(MINUTE);
    assert!(bench.events.contains(&ManagerEvent::Done { command: CommandId(51) }));
    assert_eq!(bench.told[&transaction], Ended::Aborted(AbortReason::Refused(id(0))));
    assert_eq!(bench.knowledge(transaction), Knowledge::Aborted);

    // A resource that has voted yes is gone.
    let (mut bench, transaction) = begun(&[Work::Write; 2]);
    commit(&mut bench, transaction);
    until(&mut bench, |request| matches!(request, ManagerRequest::Commit(_)));
    bench.fault(1, Fault::Dead);
    bench.pass(MINUTE);
    bench.restart();
    bench.pass(MINUTE);
    assert_eq!(bench.core.status().in_doubt.len(), 1);
    bench.command(ManagerCommand::Release { command: CommandId(52), transaction, resource: id(0) });
    let is_refused = |event: &ManagerEvent| matches!(event, ManagerEvent::Refused { command: CommandId(52), .. });
    assert!(bench.events.iter().any(is_refused), "this one has committed");
    bench.command(ManagerCommand::Release { command: CommandId(53), transaction, resource: id(1) });
    bench.pass(MINUTE);
    assert!(bench.core.status().in_doubt.is_empty());
    assert_eq!(bench.knowledge(transaction), Knowledge::Committed);
}

#[test]
fn row_19_a_branch_that_was_resolved_by_hand_is_said_and_kept() {
    let (mut bench, transaction) = begun(&[Work::Write; 2]);
    bench.fault(1, Fault::IsResolvedByHand);
    commit(&mut bench, transaction);
    bench.settle();
    assert_eq!(bench.told[&transaction], Ended::Committed { without: [id(1)].into() });
    bench.restart();
    bench.crash(Crash::Resource(id(1)));
    bench.pass(MINUTE);
    assert_eq!(bench.core.status().hazards[&transaction][&id(1)], Hazard::RolledBack, "kept over a restart");
    // Others go on.
    bench.fault(1, Fault::None);
    let other = begin(&mut bench);
    commit(&mut bench, other);
    bench.pass(MINUTE);
    assert_eq!(bench.told[&other], committed());
    assert!(bench.core.status().in_doubt.is_empty(), "nothing waits for it");
    assert_eq!(bench.knowledge(transaction), Knowledge::Mixed(Decision::Commit));
    bench.command(ManagerCommand::Forget { command: CommandId(77), transaction });
    bench.pass(MINUTE);
    assert!(bench.events.contains(&ManagerEvent::Done { command: CommandId(77) }));
    assert_clean(&bench);
    bench.restart();
    bench.pass(MINUTE);
    assert!(bench.core.status().hazards.is_empty());
    bench.command(ManagerCommand::Forget { command: CommandId(78), transaction });
    let is_refused = |event: &ManagerEvent| matches!(event, ManagerEvent::Refused { command: CommandId(78), .. });
    assert!(bench.events.iter().any(is_refused), "there is nothing more to forget");
}
