//! An operator forces the outcome of a branch in doubt: it is durable before it is carried out, compared with the
//! decision, and if it differs it is kept and shown until the operator has dealt with it.

use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{NodeId, PersistFailure};
use quorate_two_phase_commit::message::{Acknowledgement, Prepare};
use quorate_two_phase_commit::testing::{Cluster, Ends, Transactions, Work};
use quorate_two_phase_commit::{
    Answer, Command, CommandId, Decision, Deviation, Event, ForcedOutcome, Knowledge, Message, Request, Settings,
    TransactionId, TransactionOutcome, TransactionRefusal,
};

use crate::solo::{Solo, stamp_of, transaction_of};

const ONE: Work = Work::Write(1);
const BOTH: [(u64, Work); 2] = [(2, ONE), (3, ONE)];
const LONG: Duration = Duration::from_secs(20);

/// All votes have arrived, and the decision waits for the coordinator's disk.
fn undecided(seed: u64) -> (Cluster, TransactionId) {
    let mut cluster = Cluster::of_three(seed);
    cluster.hold_disk(1);
    let transaction = cluster.transact(1, &BOTH);
    cluster.settle();
    (cluster, transaction)
}

fn force(cluster: &mut Cluster, node: u64, transaction: TransactionId, decision: Decision) -> CommandId {
    let id = cluster.command(node, |command| Command::ForceOutcome { command, transaction, decision });
    cluster.settle();
    id
}

fn forced(cluster: &Cluster, node: u64, transaction: TransactionId) -> Option<ForcedOutcome> {
    cluster.node(node).core().status().forced.get(&transaction).copied()
}

fn deviations(cluster: &Cluster, transaction: TransactionId) -> Vec<(NodeId, Deviation)> {
    let mixed = cluster.node(1).core().status().mixed;
    mixed.get(&transaction).into_iter().flatten().map(|(node, deviation)| (*node, *deviation)).collect()
}

fn restart(cluster: &mut Cluster, node: u64) {
    cluster.crash(node);
    cluster.restart(node);
    cluster.settle();
}

fn mixed(transaction: TransactionId, decision: Decision, deviation: Deviation) -> Event {
    Event::Mixed { transaction, decision, participant: NodeId(3), deviation }
}

/// The operator has dealt with it, at the participant and at the coordinator.
fn forget_everywhere(cluster: &mut Cluster, transaction: TransactionId) {
    for node in [1, 3] {
        let id = cluster.command(node, |command| Command::ForgetMixed { command, transaction });
        cluster.settle();
        assert!(cluster.node(node).events.contains(&Event::MixedForgotten { command: id, transaction }));
    }
    cluster.quiesce();
    assert_eq!((deviations(cluster, transaction), forced(cluster, 3, transaction)), (vec![], None));
    assert_eq!(cluster.query(transaction), Some(Knowledge::Committed));
}

/// P2 (node 3) is in doubt, and the operator has it abort. C (node 1) then commits. Both crash once, each at every
/// stage.
#[test]
fn row_19_an_operator_aborts_and_the_decision_is_commit() {
    for (crash_3, crash_1) in (0..5).flat_map(|one| (0..4).map(move |other| (one, other))) {
        let (mut cluster, transaction) = undecided(19);
        cluster.hold_requests(3);
        let id = force(&mut cluster, 3, transaction, Decision::Abort);
        let told = Event::Forced { command: id, transaction, decision: Decision::Abort };
        assert!(cluster.node(3).events.contains(&told));
        assert_eq!(cluster.held_requests(3), [Request::Abort { transaction }]);
        if crash_3 == 0 {
            restart(&mut cluster, 3);
        }
        cluster.release_requests(3);
        assert_eq!(cluster.node(3).ended(transaction), Some(Decision::Abort));
        assert!(cluster.node(3).application.manager.locks.is_empty());
        if crash_3 == 1 {
            restart(&mut cluster, 3);
        }
        assert_eq!(forced(&cluster, 3, transaction), Some(ForcedOutcome { forced: Decision::Abort, decision: None }));
        cluster.land_oldest(1);
        if crash_1 == 0 {
            restart(&mut cluster, 1);
        }
        cluster.release_disk(1);
        if crash_3 == 2 {
            restart(&mut cluster, 3);
        }
        if crash_1 == 1 {
            restart(&mut cluster, 1);
        }
        cluster.run(LONG);
        assert!(cluster.node(1).events.contains(&mixed(transaction, Decision::Commit, Deviation::Aborted)));
        assert!(cluster.node(1).events.contains(&Event::Finished { transaction }));
        assert_eq!(cluster.node(2).ended(transaction), Some(Decision::Commit));
        if crash_3 == 3 {
            restart(&mut cluster, 3);
        }
        if crash_1 == 2 {
            restart(&mut cluster, 1);
        }
        let next = cluster.transact(1, &BOTH);
        cluster.run(LONG);
        assert_eq!(cluster.node(1).outcome(next), Some(TransactionOutcome::Committed), "nothing is blocked");
        let decision = Some(Decision::Commit);
        assert_eq!(forced(&cluster, 3, transaction), Some(ForcedOutcome { forced: Decision::Abort, decision }));
        assert_eq!(deviations(&cluster, transaction), [(NodeId(3), Deviation::Aborted)]);
        assert_eq!(cluster.query(transaction), Some(Knowledge::Mixed(Decision::Commit)));
        cluster.quiesce();
        forget_everywhere(&mut cluster, transaction);
    }
}

#[test]
fn an_operator_commits_and_the_decision_is_abort() {
    for crashes in [false, true] {
        let (mut cluster, transaction) = undecided(1);
        force(&mut cluster, 3, transaction, Decision::Commit);
        assert_eq!(cluster.node(3).ended(transaction), Some(Decision::Commit));
        cluster.crash(1);
        cluster.restart(1);
        cluster.cut(3, 1);
        // The other participant is told, and asks nobody: node 3 does not speak of what it only presumes.
        cluster.run(LONG);
        cluster.heal();
        cluster.cut(1, 3);
        cluster.run(LONG);
        cluster.heal();
        if crashes {
            cluster.crash(1);
            cluster.run(LONG);
            cluster.restart(1);
            restart(&mut cluster, 3);
        }
        cluster.run(LONG);
        assert_eq!(cluster.node(2).ended(transaction), Some(Decision::Abort));
        assert!(cluster.node(1).events.contains(&mixed(transaction, Decision::Abort, Deviation::Committed)));
        assert!(cluster.node(3).events.contains(&mixed(transaction, Decision::Abort, Deviation::Committed)));
        assert_eq!(cluster.query(transaction), Some(Knowledge::Mixed(Decision::Abort)));
        let sent = cluster.node(3).traffic.messages;
        cluster.run(LONG * 3);
        assert_eq!(cluster.node(3).traffic.messages, sent, "once it is noted, nothing is said of it any more");
        cluster.quiesce();
        assert_eq!(
            deviations(&cluster, transaction),
            [(NodeId(3), Deviation::Committed)],
            "it stays until it is forgotten"
        );
    }
}

#[test]
fn a_forced_outcome_that_was_right_does_no_harm() {
    for decision in [Decision::Commit, Decision::Abort] {
        let (mut cluster, transaction) = undecided(2);
        force(&mut cluster, 3, transaction, decision);
        match decision {
            Decision::Commit => cluster.release_disk(1),
            Decision::Abort => restart(&mut cluster, 1),
        }
        cluster.quiesce();
        assert_eq!([2, 3].map(|node| cluster.node(node).ended(transaction)), [Some(decision); 2]);
        assert_eq!((deviations(&cluster, transaction), forced(&cluster, 3, transaction)), (vec![], None));
        let is_mixed = |event: &Event| matches!(event, Event::Mixed { .. });
        assert!(!cluster.nodes.values().any(|node| node.events.iter().any(is_mixed)));
    }
}

#[test]
fn only_what_is_in_doubt_is_forced() {
    let mut solo = Solo::new(2, Settings::default());
    let (transaction, decision, command) = (transaction_of(1, 1), Decision::Abort, CommandId(1));
    let force = || quorate_protocol::Input::Command(Command::ForceOutcome { command, transaction, decision });
    let forget = || quorate_protocol::Input::Command(Command::ForgetMixed { command, transaction });
    let refused = |solo: &Solo, reason| solo.events.last() == Some(&Event::Refused { command, reason });
    solo.input(force());
    assert!(refused(&solo, TransactionRefusal::NotInDoubt), "nothing is known of it");
    solo.prepare(transaction);
    solo.input(force());
    assert!(refused(&solo, TransactionRefusal::NotInDoubt), "it has not voted");
    solo.answer(Answer::Voted(quorate_two_phase_commit::Vote::Yes));
    solo.input(force());
    assert!(refused(&solo, TransactionRefusal::NotInDoubt), "its vote is not durable");
    solo.sync();
    solo.input(force());
    assert_eq!((solo.asked(), solo.writes.len()), (vec![], 1), "it is durable before it is carried out");
    solo.fail_write(PersistFailure::NotWritten);
    assert!(solo.asked().is_empty());
    solo.advance(Duration::from_secs(1));
    solo.input(force());
    assert!(refused(&solo, TransactionRefusal::NotInDoubt), "it is forced already");
    solo.sync();
    solo.decide(transaction, Decision::Commit);
    assert_eq!(solo.core.status().ignored["forced"], 1, "a decision is compared once that is carried out");
    assert_eq!(solo.answer(Answer::Done), [Request::Abort { transaction }]);
    solo.sync();
    solo.input(forget());
    assert!(refused(&solo, TransactionRefusal::NotMixed), "nobody knows yet whether it was right");
    solo.take_sent();
    let prepare = Prepare {
        stamp: stamp_of(0),
        transaction,
        participants: [NodeId(2), NodeId(3)].into(),
        payload: Bytes::from_static(b"x"),
    };
    solo.hear(1, Message::Prepare(prepare));
    solo.hear(3, Message::Inquire { transaction });
    assert!(solo.take_sent().is_empty() && solo.asked().is_empty(), "it is not done again, and is nobody's decision");
    // The decision is the other one. It is told once it is durable that it is, and told again after it was forgotten.
    solo.decide(transaction, Decision::Commit);
    assert!(solo.take_sent().is_empty());
    solo.sync();
    let how = Acknowledgement::HeuristicallyAborted;
    let told = (NodeId(1), Message::Acknowledge { transaction, how });
    assert_eq!(solo.take_sent(), std::slice::from_ref(&told));
    for round in 0..2 {
        solo.decide(transaction, Decision::Commit);
        solo.sync();
        assert_eq!(solo.take_sent(), std::slice::from_ref(&told), "round {round}");
        if round == 0 {
            solo.input(forget());
            solo.sync();
            assert_eq!(solo.events.last(), Some(&Event::MixedForgotten { command, transaction }));
            solo.restart();
            solo.meet(&[1, 2, 3]);
            assert!(solo.core.status().forced.is_empty());
        }
    }
}

/// What resources report that ended a branch by themselves, or lost it.
#[test]
fn the_coordinator_notes_what_its_participants_say_they_did() {
    for (how, deviation) in [
        (Acknowledgement::HeuristicallyAborted, Some(Deviation::Aborted)),
        (Acknowledgement::Lost, Some(Deviation::Lost)),
        (Acknowledgement::HeuristicallyCommitted, None),
    ] {
        let (mut cluster, transaction) = undecided(3);
        cluster.cut(3, 1);
        cluster.release_disk(1);
        cluster.run(Duration::from_secs(1));
        cluster.hold_disk(1);
        cluster.inject(3, 1, Message::Acknowledge { transaction, how });
        let event = deviation.map(|deviation| mixed(transaction, Decision::Commit, deviation));
        assert!(event.as_ref().is_none_or(|event| !cluster.node(1).events.contains(event)), "not before it is durable");
        cluster.release_disk(1);
        cluster.run(Duration::from_secs(1));
        assert!(event.as_ref().is_none_or(|event| cluster.node(1).events.contains(event)));
        assert!(cluster.node(1).events.contains(&Event::Finished { transaction }), "the commit waits for nobody");
        restart(&mut cluster, 1);
        cluster.quiesce();
        let expected = if deviation.is_some() { Knowledge::Mixed(Decision::Commit) } else { Knowledge::Committed };
        assert_eq!(cluster.query(transaction), Some(expected));
        assert_eq!(
            deviations(&cluster, transaction),
            deviation.map(|it| (NodeId(3), it)).into_iter().collect::<Vec<_>>()
        );
    }
}
