//! Resources that do wrong, on the bench. One stuck resource stops no other transaction, and is said.

use std::time::Duration;

use quorate_two_phase_commit::manager::core::{
    AbortReason, Ended, Hazard, ManagerCommand, ManagerEvent, ManagerRequest,
};
use quorate_two_phase_commit::manager::{BranchId, Sessions};
use quorate_two_phase_commit::{CommandId, TransactionNumber, Vote};

use super::bench::{Bench, Crash, Fault, MANAGER, Work, id, ready};

const MINUTE: Duration = Duration::from_mins(1);

fn begin(bench: &mut Bench) -> TransactionNumber {
    bench.begin();
    bench.settle();
    let transaction = *bench.begun.last().expect("it has begun");
    bench.work(transaction);
    transaction
}

fn run(fault: Fault) -> (Bench, TransactionNumber) {
    let mut bench = Bench::new(&[Work::Write; 2]);
    bench.settle();
    let transaction = begin(&mut bench);
    bench.fault(1, fault);
    bench.commit(transaction);
    (bench, transaction)
}

fn assert_clean(bench: &Bench) {
    for site in bench.sites.values() {
        assert!(site.memory.prepared().is_empty() && site.memory.locked().is_empty(), "{site:?}");
    }
    assert!(bench.core.status().stuck.is_empty());
}

#[test]
fn a_prepare_that_hangs_is_replaced_or_rolled_back() {
    // It has prepared the branch, and is asked again: the answer is the same.
    let (mut bench, transaction) = run(Fault::HangsInPrepare);
    bench.pass(MINUTE);
    assert_eq!(bench.told[&transaction], Ended::Committed { without: [].into() });
    assert_clean(&bench);
    // Without a second answer in time, it is rolled back.
    let (mut bench, transaction) = run(Fault::Dead);
    bench.pass(MINUTE);
    assert_eq!(bench.told[&transaction], Ended::Aborted(AbortReason::Late));
    assert_eq!(bench.memory(0).prepared().len(), 0, "the other is free at once");
    bench.fault(1, Fault::None);
    bench.pass(2 * MINUTE);
    assert_clean(&bench);
}

#[test]
fn one_dead_resource_stops_no_transaction_of_others() {
    let mut bench = Bench::new(&[Work::Write; 3]);
    bench.fault(2, Fault::Dead);
    bench.pass(MINUTE);
    let status = bench.core.status();
    assert!(!status.resources[&id(2)].has_listed && status.resources[&id(0)].has_listed);
    assert!(status.stuck.iter().any(|stuck| stuck.request == ManagerRequest::Recover(id(2))), "{status:?}");
    let overdue = |event: &&ManagerEvent| matches!(event, ManagerEvent::Overdue { .. });
    assert_eq!(bench.events.iter().filter(overdue).count(), 1, "it is said once");
    // One transaction waits for the dead one, and others are not touched by it.
    let stuck = begin(&mut bench);
    bench.commit(stuck);
    bench.pass(MINUTE);
    assert_eq!(bench.told[&stuck], Ended::Aborted(AbortReason::Late));
    bench.sites.remove(&id(2));
    for _ in 0..50 {
        let transaction = begin(&mut bench);
        bench.commit(transaction);
        bench.sites.insert(id(2), dead());
        bench.settle();
        bench.sites.remove(&id(2));
        assert_eq!(bench.told[&transaction], Ended::Committed { without: [].into() });
    }
}

fn dead() -> super::bench::Site {
    let memory = quorate_two_phase_commit::manager::memory::Memory::new();
    super::bench::Site { memory, fault: Fault::Dead, work: Work::Write }
}

#[test]
fn a_branch_that_was_lost_is_never_counted_as_committed() {
    let (mut bench, transaction) = run(Fault::LosesPrepared);
    bench.pass(MINUTE);
    assert_eq!(bench.told[&transaction], Ended::Committed { without: [id(1)].into() });
    let is_said = |event: &&ManagerEvent| matches!(event, ManagerEvent::Hazard { branch, hazard: Hazard::Lost } if branch.number == transaction);
    assert_eq!(bench.events.iter().filter(is_said).count(), 1);
    bench.fault(1, Fault::None);
    for _ in 0..3 {
        bench.restart();
        bench.pass(MINUTE);
        let status = bench.core.status();
        assert_eq!(status.hazards[&transaction][&id(1)], Hazard::Lost, "it is kept");
        assert!(status.in_doubt.is_empty(), "and takes no room of others");
    }
}

#[test]
fn an_aborted_branch_that_somebody_committed_is_said() {
    let (mut bench, transaction) = run(Fault::IsCommittedByHand);
    bench.fault(0, Fault::Refuses);
    bench.pass(MINUTE);
    assert!(matches!(bench.told[&transaction], Ended::Aborted(AbortReason::Refused(_))));
    assert_eq!(bench.core.status().hazards[&transaction][&id(1)], Hazard::Committed);
    bench.restart();
    bench.pass(MINUTE);
    assert_eq!(bench.core.status().hazards[&transaction][&id(1)], Hazard::Committed, "kept over a restart");
}

#[test]
fn a_roll_back_is_repeated_until_it_is_done() {
    let (mut bench, transaction) = run(Fault::FailsToRollBack(20));
    bench.fault(0, Fault::Refuses);
    bench.settle();
    assert!(matches!(bench.told[&transaction], Ended::Aborted(_)), "the answer waits for no roll-back");
    assert_eq!(bench.memory(1).prepared().len(), 1);
    let stuck = bench.core.status().stuck;
    assert!(stuck.iter().any(|stuck| stuck.why.as_deref() == Some("it cannot be reached")), "{stuck:?}");
    bench.pass(10 * MINUTE);
    assert_clean(&bench);
}

#[test]
fn a_second_answer_changes_nothing() {
    let (mut bench, transaction) = run(Fault::AnswersTwice);
    bench.pass(MINUTE);
    assert_eq!(bench.told[&transaction], Ended::Committed { without: [].into() });
    assert_clean(&bench);
    bench.fault(0, Fault::AnswersTwice);
    let transaction = begin(&mut bench);
    bench.command(ManagerCommand::Abort { transaction });
    bench.pass(MINUTE);
    assert_eq!(bench.told[&transaction], Ended::Aborted(AbortReason::Asked));
    assert_clean(&bench);
}

#[test]
fn a_deadline_aborts_what_is_not_decided() {
    let mut bench = Bench::new(&[Work::Write; 2]);
    bench.settle();
    bench.begin_within(Duration::from_secs(3));
    let transaction = bench.begun[0];
    bench.work(transaction);
    bench.pass(Duration::from_millis(2_999));
    assert_eq!(bench.told.get(&transaction), None);
    bench.pass(Duration::from_millis(2));
    assert_eq!(bench.told[&transaction], Ended::Aborted(AbortReason::Deadline));
    assert_clean(&bench);
    // Work that begins later is rolled back, and a commit comes too late.
    bench.work(transaction);
    bench.commit(transaction);
    bench.pass(MINUTE);
    assert_clean(&bench);
    assert!((0..2).all(|number| !bench.has_effect(number, transaction)));
}

#[test]
fn a_transaction_without_a_resource_is_committed() {
    let mut bench = Bench::new(&[Work::Write]);
    bench.settle();
    bench.begin();
    let transaction = bench.begun[0];
    bench.commit(transaction);
    bench.settle();
    assert_eq!(bench.told[&transaction], Ended::Committed { without: [].into() });
}

#[test]
fn a_commit_costs_one_forced_write() {
    let (mut bench, transaction) = run(Fault::None);
    bench.forced = 0;
    while !bench.told.contains_key(&transaction) {
        assert!(bench.step());
    }
    assert_eq!(bench.forced, 1);
    let (mut bench, transaction) = run(Fault::Refuses);
    bench.forced = 0;
    bench.settle();
    assert!(bench.told.contains_key(&transaction));
    assert_eq!(bench.forced, 0, "an abort costs none");
}

#[test]
fn a_checkpoint_of_the_log_keeps_the_names_of_resources() {
    use quorate_protocol::{Input, Signal};
    let (mut bench, transaction) = run(Fault::Dead);
    bench.fault(1, Fault::None);
    bench.pass(MINUTE);
    bench.input(Input::Signal(Signal::CompactRequested));
    bench.settle();
    let has_name = |(_, bytes): (u64, &bytes::Bytes)| bytes.windows(10).any(|part| part == b"resource 1");
    assert!(bench.disk.written().any(has_name));
    bench.restart();
    bench.pass(MINUTE);
    assert!(bench.told.contains_key(&transaction));
}

#[test]
fn votes_that_come_with_the_commit_are_not_asked_for() {
    let mut bench = Bench::new(&[Work::Write, Work::Read, Work::Write]);
    bench.settle();
    let transaction = begin(&mut bench);
    bench.made.clear();
    bench.commit_with_votes(transaction, &[id(0), id(1), id(2)]);
    bench.pass(MINUTE);
    assert_eq!(bench.told[&transaction], Ended::Committed { without: [].into() });
    assert!(!bench.made.iter().any(|request| matches!(request, ManagerRequest::Prepare(_))), "{:?}", bench.made);
    let commits = bench.made.iter().filter(|request| matches!(request, ManagerRequest::Commit(_))).count();
    assert_eq!(commits, 2, "a branch that changed nothing is not committed");
    assert_clean(&bench);
}

#[test]
fn a_missing_vote_is_asked_for_and_only_that() {
    let mut bench = Bench::new(&[Work::Write; 3]);
    bench.settle();
    let transaction = begin(&mut bench);
    bench.made.clear();
    bench.commit_with_votes(transaction, &[id(0), id(2)]);
    bench.settle();
    let asked = bench.made.iter().filter_map(|request| match request {
        ManagerRequest::Prepare(branch) => Some(branch.resource),
        _ => None,
    });
    assert_eq!(asked.collect::<Vec<_>>(), [id(1)]);
    bench.pass(MINUTE);
    assert_eq!(bench.told[&transaction], Ended::Committed { without: [].into() });
    assert_clean(&bench);
}

#[test]
fn a_no_that_comes_with_the_commit_aborts() {
    let mut bench = Bench::new(&[Work::Write; 2]);
    bench.settle();
    let transaction = begin(&mut bench);
    // The resource has lost the work, so that it votes no.
    bench.crash(Crash::Resource(id(1)));
    bench.commit_with_votes(transaction, &[id(0), id(1)]);
    bench.pass(MINUTE);
    assert_eq!(bench.told[&transaction], Ended::Aborted(AbortReason::Refused(id(1))));
    assert!((0..2).all(|number| !bench.has_effect(number, transaction)));
    assert_clean(&bench);
}

#[test]
fn votes_that_come_too_late_or_for_the_only_resource_do_not_count() {
    let mut bench = Bench::new(&[Work::Write; 2]);
    bench.settle();
    bench.begin_within(Duration::from_secs(3));
    let transaction = bench.begun[0];
    bench.work(transaction);
    bench.pass(Duration::from_secs(4));
    assert_eq!(bench.told[&transaction], Ended::Aborted(AbortReason::Deadline));
    bench.commit_with_votes(transaction, &[id(0), id(1)]);
    bench.pass(MINUTE);
    assert!((0..2).all(|number| !bench.has_effect(number, transaction)));
    assert_clean(&bench);

    let mut bench = Bench::new(&[Work::Write]);
    bench.settle();
    let transaction = begin(&mut bench);
    let votes = [(id(0), Some(Vote::No))].into();
    bench.command(ManagerCommand::Commit { transaction, votes });
    bench.pass(MINUTE);
    assert_eq!(bench.told[&transaction], Ended::Committed { without: [].into() }, "it decides itself");
    assert_clean(&bench);
}

/// A branch that the core was not told of before is committed, and rolled back, with the others.
#[test]
fn a_commit_names_the_resources_that_count() {
    let mut bench = Bench::new(&[Work::Write; 2]);
    bench.settle();
    bench.begin();
    bench.settle();
    let transaction = bench.begun[0];
    for number in 0..2 {
        let branch = BranchId { manager: MANAGER, number: transaction, resource: id(number) };
        let session = ready(bench.memory(number).begin(branch)).expect("a session");
        session.put("value", 100 * transaction.epoch.0 + transaction.sequence).expect("free");
        bench.memory(number).suspend(branch, session);
    }
    bench.commit_with_votes(transaction, &[]);
    bench.pass(MINUTE);
    assert!((0..2).all(|number| bench.has_effect(number, transaction)));
    assert_clean(&bench);
}

#[test]
fn a_transaction_begun_in_advance_has_a_deadline_once_it_is_used() {
    let mut bench = Bench::new(&[Work::Write; 2]);
    bench.settle();
    bench.command(ManagerCommand::Begin { command: CommandId(1_000), timeout: None });
    bench.settle();
    let transaction = bench.begun[0];
    bench.pass(10 * MINUTE);
    assert_eq!((bench.told.get(&transaction), bench.core.status().open), (None, 0), "nobody uses it");
    bench.command(ManagerCommand::Start { transaction, timeout: Duration::from_secs(3) });
    bench.work(transaction);
    bench.pass(Duration::from_millis(2_999));
    assert_eq!((bench.told.get(&transaction), bench.core.status().open), (None, 1));
    // Only the first start counts.
    bench.command(ManagerCommand::Start { transaction, timeout: MINUTE });
    bench.pass(Duration::from_millis(2));
    assert_eq!(bench.told[&transaction], Ended::Aborted(AbortReason::Deadline));
    bench.pass(MINUTE);
    assert_clean(&bench);
}
