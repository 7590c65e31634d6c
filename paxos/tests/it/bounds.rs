//! Bounds and failures: refusals, unknown outcomes, and failing disks.

use std::time::Duration;

use quorate_paxos::synod::testing::{Answers, Builder, Calls, Records};
use quorate_paxos::synod::{
    Command, CommandRefusal, Config, ConfigError, GroupRoles, MEMBERS_MAX, ProposalOutcome, ReadOutcome, Settings,
    Synod,
};
use quorate_paxos::{QuorumError, QuorumSystem};
use quorate_protocol::{
    HaltReason, Input, NodeId, Now, Output, PersistFailure, Protocol, ReadId, Recovery, Signal, Standing, StorageLevel,
    Ticket, WriteRefusal,
};

use crate::support::{accept, ballot, prepare, proposal, three};

fn refused(outcome: Option<&ProposalOutcome>) -> CommandRefusal {
    match outcome {
        Some(ProposalOutcome::NotTried(reason)) => *reason,
        other => panic!("it is refused: {other:?}"),
    }
}

fn failed(outcome: Option<&ReadOutcome>) -> CommandRefusal {
    match outcome {
        Some(ReadOutcome::Failed(reason)) => *reason,
        other => panic!("it fails: {other:?}"),
    }
}

fn group() -> GroupRoles {
    GroupRoles::of(QuorumSystem::majority([1, 2, 3].map(NodeId)).expect("distinct"))
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
    assert_eq!(rule(&|settings| settings.commands_bytes_max = 9), "value_bytes_max <= commands_bytes_max");
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
    let mut cluster = Builder::new(3, 1).settings(settings.into()).start();
    let long = cluster.propose(1, b"nine byte");
    assert_eq!(refused(cluster.node(1).outcome(long)), CommandRefusal::TooLarge);
    cluster.isolate(1);
    let before = cluster.node(1).events.len();
    for _ in 0..2 {
        cluster.propose(1, b"fits");
        cluster.read(1);
    }
    assert_eq!(cluster.node(1).events.len(), before, "they wait");
    let third = cluster.propose(1, b"fits");
    let read = cluster.read(1);
    assert_eq!(refused(cluster.node(1).outcome(third)), CommandRefusal::Overloaded);
    assert_eq!(failed(cluster.node(1).read(read)), CommandRefusal::Overloaded);
}

#[test]
fn values_that_wait_are_bounded_in_bytes() {
    let settings = Settings { value_bytes_max: 8, commands_bytes_max: 20, ..Settings::default() };
    let mut cluster = Builder::new(3, 1).settings(settings.into()).start();
    cluster.isolate(1);
    let waiting = [cluster.propose(1, b"12345678"), cluster.propose(1, b"12345678")];
    let over = cluster.propose(1, b"12345");
    assert_eq!(refused(cluster.node(1).outcome(over)), CommandRefusal::Overloaded);
    assert!(waiting.iter().all(|id| cluster.node(1).outcome(*id).is_none()));
    let fits = cluster.propose(1, b"1234");
    assert_eq!(cluster.node(1).outcome(fits), None);
}

/// A node that knows the chosen value answers commands as they come, without waiting for the next poll.
#[test]
fn what_is_decided_is_told_at_once() {
    let mut cluster = three();
    cluster.propose(1, b"one");
    cluster.deliver();
    let now = Now { instant: cluster.now(), wall_ms: 0 };
    let core = cluster.node_mut(1).core.as_mut().expect("it runs");
    for sequence in 0..5_000 {
        core.handle(now, Input::Command(Command::Propose(proposal(100 + sequence, b"another"))));
        core.handle(now, Input::Command(Command::Read { id: ReadId(sequence) }));
        core.check_invariants();
        assert_eq!(core.status().waiting, 0);
    }
    assert_eq!(std::iter::from_fn(|| core.poll_output()).count(), 10_000);
}

/// Peers continue to ask while the log does not advance: the writes that wait are bounded, and a peer without an answer
/// asks again.
static LONG: [u8; 100_000] = [b'x'; 100_000];

#[test]
fn a_log_that_stands_still_is_not_given_ever_more() {
    let mut cluster = three();
    let system = cluster.node(2).core().config().system();
    cluster.hold_disk(2);
    cluster.park_all();
    for round in 1..1_000 {
        let message = accept(system, ballot(round, 1), proposal(1, &LONG));
        cluster.input(NodeId(2), Input::Message { from: NodeId(1), message });
        cluster.input(NodeId(2), Input::Message { from: NodeId(1), message: prepare(system, ballot(round, 1)) });
        cluster.input(NodeId(2), Input::Signal(Signal::CompactRequested));
    }
    assert!(cluster.node(2).core().status().ignored["log_behind"] > 900);
    cluster.release_disk(2);
    let message = accept(system, ballot(1_000, 1), proposal(1, &LONG));
    cluster.input(NodeId(2), Input::Message { from: NodeId(1), message });
    cluster.deliver();
    assert_eq!(cluster.node(2).disk.accepted().expect("it accepts again").0, ballot(1_000, 1));
}

/// Every constructor accepts every number, or returns a reason.
#[test]
fn extremes_are_taken_or_refused() {
    let times = [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(u64::MAX / 1_000), Duration::MAX];
    let numbers = [0, 1, usize::MAX / 2, usize::MAX];
    let mut taken = 0;
    let all = times.map(|time| times.map(|other| numbers.map(|number| (time, other, number))));
    for (time, other, number) in all.into_iter().flatten().flatten() {
        let settings = Settings {
            value_bytes_max: number.min(u32::MAX as usize),
            command_timeout: time,
            retry_interval_min: other,
            retry_interval_max: time,
            backoff_min: other,
            backoff_max: time,
            settle_after: time,
            commands_max: number,
            commands_bytes_max: number,
            held_messages_max: number,
        };
        let Ok(config) = Config::new(NodeId(1), u64::MAX, group(), settings) else { continue };
        taken += 1;
        lives_with(&config);
    }
    assert!(taken > 3, "some extremes are valid: {taken}");
    let all = || (0..3).map(NodeId);
    assert_eq!(QuorumSystem::flexible(all(), usize::MAX, usize::MAX), Err(QuorumError::Size));
    assert_eq!(QuorumSystem::flexible(all(), 0, 3), Err(QuorumError::Size));
    assert_eq!(QuorumSystem::majority((0..u64::MAX).map(NodeId)), Err(QuorumError::TooMany));
    assert_eq!(QuorumSystem::grid(vec![vec![]; 1_000]), Err(QuorumError::Empty));
}

/// A core with this configuration accepts, proposes, reads, times out, and starts again.
fn lives_with(config: &Config) {
    let mut now = Now::default();
    let mut core = Synod::recover(now, config.clone(), Recovery::default()).expect("a fresh disk");
    let mut step = |input| {
        core.handle(now, input);
        core.check_invariants();
        while let Some(output) = core.poll_output() {
            if let Output::Persist { ticket, .. } = output {
                core.handle(now, Input::Signal(Signal::Persisted(ticket)));
            }
        }
        now.instant = core.deadline().unwrap_or(now.instant);
    };
    for node in [1, 2, 3].map(NodeId) {
        step(Input::Signal(Signal::PeerStanding { node, standing: Standing::Member }));
        step(Input::Signal(Signal::Unreachable(node)));
    }
    step(Input::Message { from: NodeId(2), message: accept(config.system(), ballot(1, 2), proposal(1, b"")) });
    step(Input::Command(Command::Propose(proposal(2, b"x"))));
    step(Input::Command(Command::Read { id: ReadId(1) }));
    for _ in 0..40 {
        step(Input::Signal(Signal::Timeout));
    }
    step(Input::Signal(Signal::PeerAlive(NodeId(2))));
    step(Input::Signal(Signal::Timeout));
    assert_eq!(core.status().accepted.expect("it accepted").1.value, "");
}

#[test]
fn a_disk_that_is_nearly_full_takes_no_proposals_and_goes_on_voting() {
    let mut cluster = three();
    for node in [1, 2] {
        cluster.input(NodeId(node), Input::Signal(Signal::Storage(StorageLevel::Low)));
    }
    let id = cluster.propose(1, b"one");
    assert_eq!(refused(cluster.node(1).outcome(id)), CommandRefusal::StorageLow);
    let id = cluster.propose(3, b"three");
    cluster.deliver();
    assert_eq!(cluster.node(3).outcome(id), Some(&ProposalOutcome::Chosen));
    cluster.propose_again(1, id, b"three");
    assert_eq!(cluster.node(1).outcome(id), Some(&ProposalOutcome::Chosen), "what is decided costs nothing to tell");
    cluster.input(NodeId(1), Input::Signal(Signal::Storage(StorageLevel::Enough)));
}

#[test]
fn who_is_no_proposer_answers_only_what_it_knows() {
    let group = group().with_proposers([NodeId(1)]);
    let mut cluster = Builder::new(3, 1).settings(group.into()).start();
    let (id, read) = (cluster.propose(2, b"two"), cluster.read(2));
    assert_eq!(refused(cluster.node(2).outcome(id)), CommandRefusal::NotProposer);
    assert_eq!(failed(cluster.node(2).read(read)), CommandRefusal::NotProposer);
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
    assert_eq!(refused(cluster.node(1).outcome(id)), CommandRefusal::TimedOut, "nobody was asked to accept it");
    assert_eq!(failed(cluster.node(1).read(read)), CommandRefusal::TimedOut);
    let before = cluster.traffic().messages;
    cluster.run(Duration::from_mins(10));
    assert!(cluster.traffic().messages < before + 10, "who waits for nothing asks nobody");
    cluster.heal();
    let other = cluster.propose(2, b"two");
    cluster.run(Duration::from_secs(1));
    assert_eq!(cluster.node(2).outcome(other), Some(&ProposalOutcome::Chosen));
    cluster.propose_again(1, id, b"one");
    let chosen = cluster.node(2).chosen().expect("it is decided").clone();
    assert_eq!(cluster.node(1).outcome(id), Some(&ProposalOutcome::Superseded { chosen }), "tried again, it is known");
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
    cluster.input(NodeId(1), Input::Signal(Signal::PersistFailed { ticket, failure }));
    assert_eq!(cluster.node(1).halted, Some(HaltReason::LogFailed(failure)));
    assert_eq!(cluster.node(1).outcome(id), None, "its caller learns nothing from the core");
    let late = cluster.propose(1, b"late");
    assert_eq!(refused(cluster.node(1).outcome(late)), CommandRefusal::Halted);
    cluster.release_disk(1);
    let other = cluster.propose(2, b"two");
    cluster.run(Duration::from_secs(1));
    assert_eq!(cluster.node(2).outcome(other), Some(&ProposalOutcome::Chosen), "the others go on");
    assert_eq!(cluster.node(1).core().status().chosen, None);
}

#[test]
fn a_refused_write_is_written_again_as_a_whole() {
    let mut cluster = three();
    cluster.hold_disk(2);
    let id = cluster.propose(1, b"one");
    cluster.deliver();
    assert_eq!(cluster.node(1).outcome(id), Some(&ProposalOutcome::Chosen), "1 and 3 are enough");
    let mut refusals = 0;
    while let Some(ticket) = cluster.node(2).core().write_in_flight().filter(|_| refusals < 3) {
        cluster.node_mut(2).writes.clear();
        cluster.input(NodeId(2), Input::Signal(Signal::PersistFailed { ticket, failure: PersistFailure::NotWritten }));
        cluster.input(NodeId(2), Input::Signal(Signal::PersistFailed { ticket, failure: PersistFailure::NotWritten }));
        refusals += 1;
        cluster.run(Settings::default().retry_interval_min);
    }
    assert_eq!(cluster.node(2).core().status().ignored["stale_answer"], refusals, "news comes once");
    assert_eq!(cluster.node(2).disk.promised().round, 0);
    cluster.release_disk(2);
    cluster.run(Duration::from_secs(30));
    assert_eq!(cluster.node(2).disk.chosen().expect("it learned").value, "one");
    cluster.input(NodeId(2), Input::Signal(Signal::Persisted(Ticket(1))));
}

#[test]
fn cores_can_be_moved_and_shared() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Synod>();
    is_send_and_sync::<Config>();
}
