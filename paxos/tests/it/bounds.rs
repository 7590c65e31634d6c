//! Bounds and failures: what is refused, when nothing is known, and what a disk that fails does.

use std::time::Duration;

use quorate_paxos::QuorumSystem;
use quorate_paxos::synod::testing::Builder;
use quorate_paxos::synod::{
    Config, ConfigError, Group, MEMBERS_MAX, Outcome, ReadOutcome, RefuseReason, Settings, Synod,
};
use quorate_protocol::{HaltReason, Input, NodeId, PersistFailure, StorageLevel, Ticket, WriteRefusal};

use crate::support::three;

fn refused(outcome: Option<&Outcome>) -> RefuseReason {
    match outcome {
        Some(Outcome::Refused(reason)) => *reason,
        other => panic!("it is refused: {other:?}"),
    }
}

fn failed(outcome: Option<&ReadOutcome>) -> RefuseReason {
    match outcome {
        Some(ReadOutcome::Failed(reason)) => *reason,
        other => panic!("it fails: {other:?}"),
    }
}

fn group() -> Group {
    Group::of(QuorumSystem::majority([1, 2, 3].map(NodeId)).expect("distinct"))
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let rule = |change: &dyn Fn(&mut Settings)| {
        let mut settings = Settings::default();
        change(&mut settings);
        match Config::new(NodeId(1), 1, group(), settings) {
            Err(ConfigError::Contradiction(rule)) => rule,
            other => panic!("not refused: {other:?}"),
        }
    };
    assert_eq!(rule(&|settings| settings.value_bytes_max = 0), "value_bytes_max is above zero");
    assert_eq!(rule(&|settings| settings.value_bytes_max = 1 << 33), "value_bytes_max fits 32 bits");
    assert_eq!(rule(&|settings| settings.command_timeout = Duration::ZERO), "command_timeout is above zero");
    assert_eq!(rule(&|settings| settings.retry_interval_min = Duration::ZERO), "retry_interval_min is above zero");
    assert_eq!(
        rule(&|settings| settings.retry_interval_max = Duration::from_millis(1)),
        "retry_interval_min <= retry_interval_max"
    );
    assert_eq!(rule(&|settings| settings.backoff_min = Duration::ZERO), "backoff_min is a microsecond or more");
    assert_eq!(rule(&|settings| settings.backoff_max = Duration::from_millis(1)), "backoff_min <= backoff_max");
    assert_eq!(rule(&|settings| settings.settle_after = Duration::ZERO), "settle_after is above zero");
    assert_eq!(rule(&|settings| settings.commands_max = 0), "commands_max is above zero");
    assert_eq!(rule(&|settings| settings.held_messages_max = 0), "held_messages_max is above zero");
}

#[test]
fn groups_that_cannot_decide_are_refused() {
    let error = |node, group| Config::new(NodeId(node), 1, group, Settings::default()).expect_err("it is refused");
    assert_eq!(error(4, group()), ConfigError::NotMember(NodeId(4)));
    assert_eq!(error(1, group().with_proposers([])), ConfigError::NoProposer);
    let many = (1..=MEMBERS_MAX as u64 + 1).map(NodeId);
    assert_eq!(error(1, group().with_learners(many)), ConfigError::TooManyMembers);
}

#[test]
fn what_is_too_much_is_refused() {
    let settings = Settings { value_bytes_max: 8, commands_max: 2, ..Settings::default() };
    let mut cluster = Builder::new(3, 1).settings(settings).start();
    let long = cluster.propose(1, b"nine byte");
    assert_eq!(refused(cluster.node(1).outcome(long)), RefuseReason::TooLarge);
    cluster.isolate(1);
    for _ in 0..2 {
        cluster.propose(1, b"fits");
        cluster.read(1);
    }
    let third = cluster.propose(1, b"fits");
    let read = cluster.read(1);
    assert_eq!(refused(cluster.node(1).outcome(third)), RefuseReason::Overloaded);
    assert_eq!(failed(cluster.node(1).read(read)), RefuseReason::Overloaded);
}

#[test]
fn a_disk_that_is_nearly_full_takes_no_proposals_and_goes_on_voting() {
    let mut cluster = three();
    for node in [1, 2] {
        cluster.input(NodeId(node), Input::Storage(StorageLevel::Low));
    }
    let id = cluster.propose(1, b"one");
    assert_eq!(refused(cluster.node(1).outcome(id)), RefuseReason::StorageLow);
    let id = cluster.propose(3, b"three");
    cluster.deliver();
    assert_eq!(cluster.node(3).outcome(id), Some(&Outcome::Chosen));
    cluster.propose_again(1, id, b"three");
    assert_eq!(cluster.node(1).outcome(id), Some(&Outcome::Chosen), "what is decided costs nothing to tell");
    cluster.input(NodeId(1), Input::Storage(StorageLevel::Enough));
}

#[test]
fn who_is_no_proposer_answers_only_what_it_knows() {
    let group = group().with_proposers([NodeId(1)]);
    let mut cluster = Builder::new(3, 1).group(group).start();
    let (id, read) = (cluster.propose(2, b"two"), cluster.read(2));
    assert_eq!(refused(cluster.node(2).outcome(id)), RefuseReason::NotProposer);
    assert_eq!(failed(cluster.node(2).read(read)), RefuseReason::NotProposer);
    cluster.propose(1, b"one");
    cluster.deliver();
    let read = cluster.read(2);
    assert!(matches!(cluster.node(2).read(read), Some(ReadOutcome::Chosen(proposal)) if proposal.value == "one"));
}

#[test]
fn without_a_quorum_nothing_is_known_in_time() {
    let mut cluster = three();
    cluster.isolate(1);
    let (id, read) = (cluster.propose(1, b"one"), cluster.read(1));
    cluster.run(Settings::default().command_timeout);
    assert_eq!(cluster.node(1).outcome(id), Some(&Outcome::Unknown));
    assert_eq!(failed(cluster.node(1).read(read)), RefuseReason::TimedOut);
    let before = cluster.sent;
    cluster.run(Duration::from_mins(10));
    assert!(cluster.sent < before + 10, "who waits for nothing asks nobody");
    cluster.heal();
    let other = cluster.propose(2, b"two");
    cluster.run(Duration::from_secs(1));
    assert_eq!(cluster.node(2).outcome(other), Some(&Outcome::Chosen));
    cluster.propose_again(1, id, b"one");
    let chosen = cluster.node(2).chosen().expect("it is decided").clone();
    assert_eq!(cluster.node(1).outcome(id), Some(&Outcome::Superseded { chosen }), "tried again, it is known");
}

#[test]
fn a_write_of_which_nothing_is_known_stops_the_group() {
    a_failure_stops_the_group(PersistFailure::Unknown);
}

#[test]
fn a_write_that_the_log_will_never_take_stops_the_group() {
    a_failure_stops_the_group(PersistFailure::Refused { reason: WriteRefusal::TooLarge });
}

fn a_failure_stops_the_group(failure: PersistFailure) {
    let mut cluster = three();
    cluster.hold_disk(1);
    let id = cluster.propose(1, b"one");
    let ticket = cluster.node(1).core().write_in_flight().expect("it writes first");
    cluster.input(NodeId(1), Input::PersistFailed { ticket, failure });
    assert_eq!(cluster.node(1).halted, Some(HaltReason::LogFailed(failure)));
    assert_eq!(cluster.node(1).outcome(id), None, "its caller learns nothing from the core");
    let late = cluster.propose(1, b"late");
    assert_eq!(refused(cluster.node(1).outcome(late)), RefuseReason::Halted);
    cluster.release_disk(1);
    let other = cluster.propose(2, b"two");
    cluster.run(Duration::from_secs(1));
    assert_eq!(cluster.node(2).outcome(other), Some(&Outcome::Chosen), "the others go on");
    assert_eq!(cluster.node(1).core().status().chosen, None);
}

#[test]
fn a_refused_write_is_written_again_as_a_whole() {
    let mut cluster = three();
    cluster.hold_disk(2);
    let id = cluster.propose(1, b"one");
    cluster.deliver();
    assert_eq!(cluster.node(1).outcome(id), Some(&Outcome::Chosen), "1 and 3 are enough");
    let mut refusals = 0;
    while let Some(ticket) = cluster.node(2).core().write_in_flight().filter(|_| refusals < 3) {
        cluster.node_mut(2).forget_writes();
        cluster.input(NodeId(2), Input::PersistFailed { ticket, failure: PersistFailure::NotWritten });
        cluster.input(NodeId(2), Input::PersistFailed { ticket, failure: PersistFailure::NotWritten });
        refusals += 1;
        cluster.run(Settings::default().retry_interval_min);
    }
    assert_eq!(cluster.node(2).core().status().ignored["stale_answer"], refusals, "news comes once");
    assert_eq!(cluster.node(2).disk.promised().round, 0);
    cluster.release_disk(2);
    cluster.run(Duration::from_secs(30));
    assert_eq!(cluster.node(2).disk.chosen().expect("it learned").value, "one");
    cluster.input(NodeId(2), Input::Persisted(Ticket(1)));
}

#[test]
fn cores_can_be_moved_and_shared() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Synod>();
    is_send_and_sync::<Config>();
}
