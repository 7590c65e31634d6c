//! A crash at every boundary: before each message leaves or is received, before each write is queued, done or reported,
//! before each request is made, carried out or answered. Every run heals and must reach one outcome, with nothing in
//! doubt, no lock held and the logs collected. The messages and writes of runs without a crash are those of presumed
//! abort (Mohan, Lindsay, Obermarck 1986, table 1).
//!
//! Pairs of crashes: `QUORATE_TWO_PHASE_COMMIT_PAIRS=1 cargo test --release -p quorate-two-phase-commit boundaries`
//! runs all of them; by default every 23rd pair is run.

use std::time::Duration;

use quorate_protocol::testing::Traffic;
use quorate_protocol::{Input, NodeId, Signal};
use quorate_two_phase_commit::message::Acknowledgement;
use quorate_two_phase_commit::testing::{Builder, Cluster, Ends, Transactions, Work, records};
use quorate_two_phase_commit::{
    Answer, Command, CommandId, Decision, Event, Knowledge, Message, OnePhase, Request, Settings, TransactionId,
    TransactionOutcome, Vote,
};

use crate::solo::{Solo, transaction_of};

const ONE: Work = Work::Write(1);

/// The work of a transaction, and its participants.
#[derive(Clone, Debug)]
struct Scenario {
    nodes: u64,
    branches: Vec<(u64, Work)>,
    one_phase: OnePhase,
    /// The application aborts it as soon as it has asked for the commit.
    is_aborted: bool,
}

fn scenarios() -> Vec<Scenario> {
    let of = |nodes, branches: &[(u64, Work)]| Scenario {
        nodes,
        branches: branches.to_vec(),
        one_phase: OnePhase::Shortcut,
        is_aborted: false,
    };
    vec![
        of(3, &[(2, ONE), (3, ONE)]),
        of(3, &[(1, ONE), (2, ONE)]),
        of(4, &[(2, ONE), (3, ONE), (4, ONE)]),
        of(3, &[(2, ONE), (3, Work::Read)]),
        of(3, &[(2, ONE), (3, Work::Refuse)]),
        of(2, &[(2, ONE)]),
        of(1, &[(1, ONE)]),
        Scenario { one_phase: OnePhase::Never, ..of(2, &[(2, ONE)]) },
        Scenario { is_aborted: true, ..of(3, &[(2, ONE), (3, ONE)]) },
    ]
}

/// Runs a scenario with crashes before these steps, counted from its beginning. Returns the number of steps.
fn run(scenario: &Scenario, crashes: &[u64], restart_after: Duration) -> u64 {
    let settings = Settings { one_phase: scenario.one_phase, outcomes_max: 1, ..Settings::default() };
    let mut cluster = Builder::new(scenario.nodes, 7).settings(settings.into()).start();
    cluster.faults.latency_max = Duration::from_millis(3);
    cluster.restart_after = restart_after;
    let transaction = cluster.begin(1);
    let start = cluster.steps;
    cluster.crashes = crashes.iter().map(|step| start + step).collect();
    cluster.commit(transaction, &scenario.branches);
    if scenario.is_aborted {
        cluster.command(1, |command| Command::Abort { command, transaction });
    }
    cluster.run(Duration::from_secs(15));
    let steps = cluster.steps - start;
    cluster.quiesce();
    check_outcome(&mut cluster, scenario, transaction);
    steps
}

fn check_outcome(cluster: &mut Cluster, scenario: &Scenario, transaction: TransactionId) {
    let writers = scenario.branches.iter().filter(|(_, work)| matches!(work, Work::Write(_))).map(|(node, _)| *node);
    let writers: Vec<u64> = writers.collect();
    let committed = writers.iter().filter(|node| cluster.node(**node).ended(transaction) == Some(Decision::Commit));
    let committed = committed.count();
    assert!(committed == 0 || committed == writers.len(), "all or nothing: {committed} of {writers:?}");
    let knowledge = cluster.query(transaction).expect("the coordinator runs");
    let expected = if committed > 0 { Knowledge::Committed } else { Knowledge::Aborted };
    assert_eq!(knowledge, expected, "the coordinator tells the truth");
    match cluster.node(1).outcome(transaction) {
        Some(TransactionOutcome::Committed) => assert!(committed > 0, "what was told is true"),
        Some(TransactionOutcome::Aborted(_)) => assert_eq!(committed, 0, "what was told is true"),
        Some(TransactionOutcome::ReadOnly) => assert!(writers.is_empty()),
        Some(other) => panic!("no transaction ends like this: {other}"),
        None => {}
    }
    for node in writers {
        let effects =
            cluster.node(node).application.manager.effects.iter().filter(|(id, _)| *id == transaction).count();
        assert_eq!(effects, usize::from(committed > 0), "at node {node} it takes effect once");
    }
}

#[test]
fn a_crash_at_any_boundary_leaves_one_outcome() {
    for scenario in scenarios() {
        let steps = run(&scenario, &[], Duration::ZERO);
        assert!(steps > 5, "there are boundaries: {steps}");
        for step in 1..=steps {
            run(&scenario, &[step], Duration::ZERO);
            run(&scenario, &[step], Duration::from_secs(10));
        }
    }
}

#[test]
fn two_crashes_at_any_boundaries_leave_one_outcome() {
    let is_thorough = std::env::var_os("QUORATE_TWO_PHASE_COMMIT_PAIRS").is_some();
    let stride = if is_thorough { 1 } else { 23 };
    let (mut pairs, mut count) = (0, 0);
    for scenario in scenarios() {
        let steps = run(&scenario, &[], Duration::ZERO);
        for first in 1..=steps {
            // After a crash there are more steps: recovery has boundaries as well.
            for second in first + 1..=steps + 20 {
                count += 1;
                if count % stride == 0 {
                    pairs += 1;
                    run(&scenario, &[first, second], Duration::from_millis(200));
                }
            }
        }
    }
    assert!(pairs > 100, "{pairs} pairs");
}

/// Messages and writes without a crash, except writes that wait for others.
fn cost(branches: &[(u64, Work)], one_phase: OnePhase) -> (Traffic, Vec<u64>) {
    let settings = Settings { one_phase, lazy_delay: Duration::from_hours(1), ..Settings::default() };
    let mut cluster = Builder::new(4, 1).settings(settings.into()).start();
    let before = cluster.traffic();
    let writes: Vec<u64> = cluster.nodes.values().map(|node| node.traffic.writes).collect();
    cluster.transact(1, branches);
    cluster.settle();
    let writes = writes.iter().zip(cluster.nodes.values()).map(|(before, node)| node.traffic.writes - before);
    let writes: Vec<u64> = writes.collect();
    // Records that need no sync go with the next write, here that of a checkpoint, and acknowledgements come after
    // them.
    for node in 1..=4 {
        cluster.input(NodeId(node), Input::Signal(Signal::CompactRequested));
    }
    cluster.settle();
    let messages = cluster.traffic().messages - before.messages;
    (Traffic { messages, writes: writes.iter().sum() }, writes)
}

#[test]
fn a_commit_costs_what_presumed_abort_promises() {
    // Two messages each way and one forced write for each participant, one forced write at the coordinator. The end of
    // a branch, which as published is the second forced write, waits for another write.
    let (total, writes) = cost(&[(2, ONE), (3, ONE)], OnePhase::Never);
    assert_eq!((total, writes), (Traffic { messages: 8, writes: 3 }, vec![1, 1, 1, 0]));
    let (total, writes) = cost(&[(2, ONE), (3, ONE), (4, ONE)], OnePhase::Never);
    assert_eq!((total, writes), (Traffic { messages: 12, writes: 4 }, vec![1, 1, 1, 1]));
    // A read-only participant: one message each way, no write, no second phase.
    let (total, writes) = cost(&[(2, ONE), (3, Work::Read)], OnePhase::Never);
    assert_eq!((total, writes), (Traffic { messages: 6, writes: 2 }, vec![1, 1, 0, 0]));
    // A coordinator that is also a writer is a participant like others, except that its messages do not leave it. The
    // published cost is one forced write for it, the decision: its own branch is prepared by that write.
    let (total, writes) = cost(&[(1, ONE), (2, ONE)], OnePhase::Never);
    assert_eq!((total, writes), (Traffic { messages: 4, writes: 3 }, vec![2, 1, 0, 0]));
    // All are read-only: no node writes.
    let (total, writes) = cost(&[(2, Work::Read), (3, Work::Read)], OnePhase::Never);
    assert_eq!((total, writes), (Traffic { messages: 4, writes: 0 }, vec![0, 0, 0, 0]));
}

#[test]
fn an_abort_costs_what_presumed_abort_promises() {
    let settings = Settings { lazy_delay: Duration::from_hours(1), ..Settings::default() };
    let mut cluster = Builder::new(3, 1).settings(settings.into()).start();
    let before = cluster.traffic();
    cluster.hold_requests(2);
    cluster.transact(1, &[(2, Work::Refuse), (3, ONE)]);
    cluster.settle();
    cluster.release_requests(2);
    let after = cluster.traffic();
    // Two prepares, a yes and a no. The participant that voted yes is told and does not acknowledge; the one that voted
    // no is not told.
    assert_eq!(after.messages - before.messages, 5);
    // The one write is that of the yes.
    assert_eq!(after.writes - before.writes, 1);
    assert_eq!(records(&cluster.node(1).disk), 0, "the coordinator writes nothing");
}

#[test]
fn one_participant_alone_costs_two_messages_and_two_writes() {
    let (total, writes) = cost(&[(2, ONE)], OnePhase::Shortcut);
    assert_eq!((total, writes), (Traffic { messages: 2, writes: 2 }, vec![1, 1, 0, 0]));
    let (total, writes) = cost(&[(2, ONE)], OnePhase::Never);
    assert_eq!((total, writes), (Traffic { messages: 4, writes: 2 }, vec![1, 1, 0, 0]));
}

#[test]
fn decisions_that_come_together_are_one_write() {
    let settings = Settings { lazy_delay: Duration::from_hours(1), ..Settings::default() };
    let mut cluster = Builder::new(3, 1).settings(settings.into()).start();
    cluster.hold_disk(1);
    let first = cluster.transact(1, &[(2, Work::Write(0)), (3, Work::Write(0))]);
    cluster.settle();
    let before = cluster.node(1).traffic.writes;
    for key in 1..=20 {
        cluster.transact(1, &[(2, Work::Write(key)), (3, Work::Write(key))]);
    }
    cluster.settle();
    cluster.release_disk(1);
    cluster.settle();
    assert_eq!(cluster.node(1).traffic.writes - before, 1, "twenty decisions, one write");
    assert_eq!(cluster.node(1).outcome(first), Some(TransactionOutcome::Committed));
    assert_eq!(cluster.nodes[&NodeId(2)].application.manager.effects.len(), 21);
}

/// The end of a committed branch waits for another write, and its acknowledgement with it. The branch itself does not.
#[test]
fn a_commit_is_acknowledged_with_the_next_write_and_holds_nothing_until_then() {
    let mut solo = Solo::new(2, Settings::default());
    let (transaction, wait) = (transaction_of(1, 1), Settings::default().lazy_delay);
    for is_lost in [true, false] {
        if is_lost {
            solo.vote_yes(transaction);
            solo.take_sent();
        }
        solo.decide(transaction, Decision::Commit);
        assert_eq!(solo.answer(Answer::Done), [Request::Commit { transaction }], "it is applied at once");
        assert_eq!((solo.writes.len(), solo.core.status().branches), (0, 0));
        solo.decide(transaction, Decision::Commit);
        assert!(solo.take_sent().is_empty() && solo.writes.is_empty(), "to ask again changes nothing");
        if is_lost {
            solo.restart();
            solo.meet(&[1, 2, 3]);
            assert_eq!(solo.answer(Answer::Done).len(), 1, "in doubt again");
        }
    }
    solo.advance(wait);
    let is_settled = |event: &Event| matches!(event, Event::Settled { .. });
    assert!(!solo.events.iter().any(is_settled));
    let is_acknowledgement = |(_, message): &(NodeId, Message)| matches!(message, Message::Acknowledge { .. });
    assert!(!solo.take_sent().iter().any(is_acknowledgement), "not before it is durable");
    assert_eq!(solo.writes.len(), 1);
    solo.sync();
    let acknowledged = (NodeId(1), Message::Acknowledge { transaction, how: Acknowledgement::Applied });
    assert!(solo.take_sent().contains(&acknowledged));
    assert!(solo.events.iter().any(is_settled));
}

#[test]
fn a_coordinator_leaves_its_participants_time_for_their_write() {
    let settings = Settings { one_phase: OnePhase::Never, ..Settings::default() };
    let (wait, more) = (settings.lazy_delay, settings.retry_min * 2);
    let mut solo = Solo::new(1, settings);
    let command = CommandId(1);
    solo.input(Input::Command(Command::Begin { command }));
    let Some(Event::Begun { transaction, .. }) = solo.events.last().cloned() else { panic!("it is begun") };
    let branches = [(NodeId(2), bytes::Bytes::new())].into();
    solo.input(Input::Command(Command::Commit { command, transaction, branches }));
    solo.hear(2, Message::Vote { transaction, vote: Vote::Yes });
    solo.take_sent();
    solo.sync();
    let is_decide = |(_, message): &(NodeId, Message)| matches!(message, Message::Decide(_));
    for (time, expected) in [(Duration::ZERO, 1), (wait, 0), (more, 1)] {
        solo.advance(time);
        assert_eq!(solo.take_sent().iter().filter(|sent| is_decide(sent)).count(), expected, "after {time:?} more");
    }
}
