//! Another node takes over a coordinator: node 4 starts with the log of node 1, whose decisions lie in it. Participants
//! hear the coordinator's newest epoch, and never a node for its own sake.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{Input, NodeId, Protocol, RecoverError, Signal, Standing};
use quorate_two_phase_commit::message::{CommitOnePhase, Decide, Finished, Prepare, Stamp};
use quorate_two_phase_commit::testing::{Builder, Cluster, Ends, Setup, Transactions, Work, records};
use quorate_two_phase_commit::{
    AbortReason, Answer, Command, CommandId, Config, CoordinatorId, Decision, Epoch, Event, Knowledge, Message,
    OnePhase, Request, Settings, TransactionId, TransactionNumber, TransactionOutcome, TransactionRefusal,
    TwoPhaseCommit, Unready, Vote,
};

use crate::solo::{Solo, stamp_of, transaction_of};

const ONE: Work = Work::Write(1);
const BOTH: [(u64, Work); 2] = [(2, ONE), (3, ONE)];
const LONG: Duration = Duration::from_secs(20);
const COORDINATOR: CoordinatorId = CoordinatorId(1);

/// Node 1 serves the coordinator, and node 4 will.
fn cluster(seed: u64) -> Cluster {
    let coordinators = [(NodeId(4), COORDINATOR)].into();
    Builder::new(4, seed).settings(Setup { settings: Settings::default(), coordinators }).start()
}

/// Node 4 starts with what the coordinator's log holds, and takes the coordinator over.
fn take_over(cluster: &mut Cluster) {
    cluster.crash(4);
    cluster.node_mut(4).disk = cluster.node(1).disk.clone();
    cluster.restart(4);
    cluster.settle();
    assert_eq!(cluster.node(4).core().status().epoch, Epoch(2));
}

fn ends(cluster: &Cluster, transaction: TransactionId) -> [Option<Decision>; 2] {
    [2, 3].map(|node| cluster.node(node).ended(transaction))
}

fn ignored(cluster: &Cluster, node: u64, reason: &str) -> u64 {
    cluster.node(node).core().status().ignored.get(reason).copied().unwrap_or_default()
}

/// C1 (node 1) is paused with all votes. C2 (node 4) takes over its log and aborts. C1 wakes, and its own disk takes
/// the decision: not even this commits anything.
#[test]
fn row_16_a_coordinator_that_was_taken_over_commits_nothing() {
    let mut cluster = cluster(16);
    cluster.hold_disk(1);
    let transaction = cluster.transact(1, &BOTH);
    cluster.settle();
    cluster.isolate(1);
    take_over(&mut cluster);
    cluster.run(LONG);
    assert_eq!(ends(&cluster, transaction), [Some(Decision::Abort); 2], "the log has no decision");
    cluster.park(1, 2);
    cluster.park(1, 3);
    cluster.heal();
    cluster.release_disk(1);
    let commits = cluster.parked().iter().filter(|(_, _, message)| matches!(message, Message::Decide(_))).count();
    assert_eq!(commits, 2, "it wakes, and tells both of the commit");
    let (_, _, commit) = cluster.parked()[0].clone();
    cluster.release();
    for node in [2, 3] {
        assert!(ignored(&cluster, node, "old_epoch") > 0);
        assert_eq!(cluster.node(node).halted, None);
    }
    assert_eq!(ends(&cluster, transaction), [Some(Decision::Abort); 2]);
    // It has learnt of the other by now.
    let status = cluster.node(1).core().status();
    assert_eq!((status.served_by, status.coordinated), (Some(NodeId(4)), 0));
    cluster.crash(2);
    cluster.restart(2);
    cluster.inject(1, 2, commit);
    assert!(ignored(&cluster, 2, "old_epoch") > 0, "what it knows of epochs survives a restart");
    assert_eq!(cluster.query(transaction), Some(Knowledge::Aborted), "the new server knows");
    let next = cluster.transact(4, &[(1, ONE), (2, ONE), (3, ONE)]);
    cluster.run(LONG);
    assert_eq!(cluster.node(4).outcome(next), Some(TransactionOutcome::Committed));
    cluster.quiesce();
}

#[test]
fn a_decision_in_the_log_is_carried_out_by_who_takes_it_over() {
    let mut cluster = cluster(1);
    cluster.hold_disk(1);
    let transaction = cluster.transact(1, &BOTH);
    cluster.settle();
    cluster.isolate(1);
    cluster.land_oldest(1);
    cluster.crash(1);
    take_over(&mut cluster);
    cluster.run(LONG);
    assert_eq!(ends(&cluster, transaction), [Some(Decision::Commit); 2]);
    assert!(cluster.node(4).events.contains(&Event::Finished { transaction }), "they acknowledge to the new server");
    assert_eq!(cluster.query(transaction), Some(Knowledge::Committed));
    let requests = cluster.node(4).core().status();
    assert!(requests.unacknowledged.is_empty());
}

/// A branch that is at work for the old epoch is voted for at the new server, which knows no such transaction.
#[test]
fn a_vote_of_an_older_epoch_comes_to_nothing() {
    let mut cluster = cluster(2);
    cluster.hold_requests(2);
    let transaction = cluster.transact(1, &BOTH);
    cluster.settle();
    cluster.crash(1);
    take_over(&mut cluster);
    cluster.release_requests(2);
    cluster.settle();
    assert_eq!(cluster.node(2).ended(transaction), Some(Decision::Abort), "at once, and not only when it asks");
    cluster.run(LONG);
    assert_eq!(ends(&cluster, transaction), [Some(Decision::Abort); 2]);
}

#[test]
fn the_only_participant_tells_the_new_server_how_it_decided() {
    let mut cluster = cluster(3);
    cluster.cut(2, 1);
    let transaction = cluster.transact(1, &[(2, ONE)]);
    cluster.settle();
    assert_eq!(cluster.node(2).ended(transaction), Some(Decision::Commit));
    cluster.isolate(1);
    take_over(&mut cluster);
    assert_eq!(cluster.query(transaction), Some(Knowledge::InDoubt));
    cluster.run(LONG);
    assert_eq!(cluster.query(transaction), Some(Knowledge::Committed));
    assert_eq!(cluster.node(2).application.manager.effects, [(transaction, 1)]);
}

/// The new server's first message is lost. Who asks the old one in vain comes to the new one in the end.
#[test]
fn who_missed_a_take_over_finds_the_new_server() {
    let mut cluster = cluster(4);
    let settled = cluster.transact(1, &[(3, Work::Refuse), (2, ONE)]);
    cluster.run(Duration::from_millis(5));
    cluster.hold_disk(1);
    let transaction = cluster.transact(1, &BOTH);
    cluster.settle();
    cluster.crash(1);
    cluster.isolate(3);
    take_over(&mut cluster);
    cluster.heal();
    assert_eq!(cluster.node(3).core().status().in_doubt.len(), 1);
    cluster.part(2, 3);
    cluster.run(LONG * 3);
    assert_eq!(ends(&cluster, transaction), [Some(Decision::Abort); 2]);
    assert!(settled < transaction);
    assert_eq!(cluster.node(3).core().status().tombstones, 0, "its outcomes are collected");
}

/// A participant with outcomes and nothing in doubt finds it as well.
#[test]
fn outcomes_are_collected_at_the_new_server() {
    let mut solo = Solo::new(2, Settings::default());
    let transaction = transaction_of(1, 1);
    solo.prepare(transaction);
    solo.answer(Answer::Voted(Vote::No));
    solo.sync();
    solo.take_sent();
    solo.advance(Duration::from_mins(1));
    let asked: BTreeSet<NodeId> = solo.take_sent().into_iter().map(|(to, _)| to).collect();
    assert_eq!(asked, [NodeId(1), NodeId(3)].into(), "its server does not answer, so that others are asked in turn");
}

#[test]
fn of_two_nodes_that_claim_one_epoch_the_second_is_ignored() {
    let mut solo = Solo::new(2, Settings::default());
    let (coordinator, epoch) = (CoordinatorId(7), Epoch(1));
    let stamp = Stamp { coordinator, epoch, finished_below: TransactionNumber::default() };
    let transaction = TransactionId { coordinator, number: TransactionNumber { epoch, sequence: 1 } };
    let participants: BTreeSet<NodeId> = [NodeId(2), NodeId(3)].into();
    let payload = Bytes::from_static(b"x");
    let prepare = Message::Prepare(Prepare { stamp, transaction, participants, payload });
    solo.hear(1, prepare.clone());
    solo.answer(Answer::Voted(Vote::Yes));
    solo.sync();
    let vote = Message::Vote { transaction, vote: Vote::Yes };
    assert_eq!(
        solo.take_sent(),
        [(NodeId(1), vote)],
        "the vote goes to the server, whatever the coordinator is called"
    );
    let abort = |stamp| Message::Decide(Decide { stamp, transaction, decision: Decision::Abort });
    for round in 1..=2 {
        solo.hear(3, abort(stamp));
        assert_eq!(solo.core.status().ignored["two_servers"], 1, "round {round}");
        assert_eq!(solo.core.status().in_doubt.len(), 1);
        solo.restart();
        solo.meet(&[1, 2, 3]);
        solo.answer(Answer::Done);
    }
    let next = Stamp { epoch: Epoch(2), ..stamp };
    solo.hear(3, abort(next));
    assert!(matches!(solo.asked()[..], [Request::Abort { .. }]), "a higher epoch is taken over from any member");
    assert_eq!(solo.writes.len(), 1, "and who serves it is written at once");
    solo.sync();
    solo.take_sent();
    solo.hear(1, prepare);
    assert_eq!(solo.core.status().ignored["old_epoch"], 1);
    let served = Message::Served { coordinator, epoch: Epoch(2), server: NodeId(3) };
    assert_eq!(solo.take_sent(), [(NodeId(1), served)], "the earlier server is told");
}

fn finished_of(epoch: u64) -> Message {
    let (epoch, coordinator) = (Epoch(epoch), COORDINATOR);
    let until = TransactionNumber { epoch, sequence: 1 };
    let stamp = Stamp { coordinator, epoch, finished_below: until };
    Message::Finished(Finished { stamp, until, unfinished: BTreeSet::new() })
}

/// Node 1 alone, in epoch 2, with a transaction at work and one whose decision is on its way to the disk.
fn serving() -> (Solo, [TransactionId; 2]) {
    let mut solo = Solo::new(1, Settings { one_phase: OnePhase::Never, ..Settings::default() });
    solo.restart();
    solo.meet(&[1, 2, 3]);
    let mut begin = |id| {
        solo.input(Input::Command(Command::Begin { command: CommandId(id) }));
        let Some(Event::Begun { transaction, .. }) = solo.events.last().cloned() else { panic!("it is begun") };
        transaction
    };
    let [working, deciding] = [begin(1), begin(2)];
    let branches = [(NodeId(2), Bytes::new())].into();
    solo.input(Input::Command(Command::Commit { command: CommandId(3), transaction: deciding, branches }));
    solo.hear(2, Message::Vote { transaction: deciding, vote: Vote::Yes });
    assert_eq!(solo.writes.len(), 1);
    solo.events.clear();
    (solo, [working, deciding])
}

#[test]
fn who_was_taken_over_says_so_and_decides_nothing_any_more() {
    let (mut solo, [working, deciding]) = serving();
    for (epoch, reason) in [(1, "old_epoch"), (2, "two_servers")] {
        solo.hear(3, finished_of(epoch));
        assert_eq!(solo.core.status().ignored[reason], 1);
        assert_eq!(solo.core.status().served_by, None);
    }
    solo.take_sent();
    solo.hear(2, Message::Served { coordinator: COORDINATOR, epoch: Epoch(3), server: NodeId(3) });
    let question = Message::InquireFinished { coordinator: COORDINATOR };
    assert_eq!(solo.take_sent(), [(NodeId(3), question.clone())], "hearsay is only a reason to ask");
    assert!(solo.events.is_empty());
    solo.hear(3, finished_of(3));
    let outcome = TransactionOutcome::Aborted(AbortReason::TakenOver);
    let taken_over = Event::TakenOver { server: NodeId(3), epoch: Epoch(3), unknown: [deciding].into() };
    assert_eq!(solo.events, [Event::Ended { transaction: working, outcome }, taken_over]);
    solo.sync();
    solo.hear(2, Message::Inquire { transaction: deciding });
    solo.hear(2, Message::Vote { transaction: working, vote: Vote::Yes });
    solo.hear(2, question);
    solo.advance(LONG);
    assert!(solo.take_sent().is_empty(), "it answers nothing");
    for restarted in [false, true] {
        solo.events.clear();
        let command = CommandId(9);
        solo.input(Input::Command(Command::Begin { command }));
        solo.input(Input::Command(Command::Query { command, transaction: deciding }));
        let refused = Event::Refused { command, reason: TransactionRefusal::NotCoordinator };
        assert_eq!(solo.events, [refused.clone(), refused], "restarted: {restarted}");
        // A checkpoint keeps what its log has of the coordinator.
        solo.input(Input::Signal(Signal::CompactRequested));
        solo.sync();
        assert_eq!(records(&solo.disk), 1);
        assert_eq!(solo.core.status().epoch, Epoch(2), "a restart does not claim an epoch");
        solo.restart();
        solo.meet(&[1, 2, 3]);
    }
}

/// It goes on as a participant.
#[test]
fn who_was_taken_over_takes_part_as_before() {
    let (mut solo, _) = serving();
    let number = TransactionNumber { epoch: Epoch(1), sequence: 4 };
    let other = TransactionId { coordinator: CoordinatorId(3), number };
    let stamp = Stamp { coordinator: CoordinatorId(3), ..stamp_of(0) };
    let participants: BTreeSet<NodeId> = [NodeId(1), NodeId(2)].into();
    let payload = Bytes::from_static(b"x");
    solo.hear(3, finished_of(3));
    solo.hear(3, Message::Prepare(Prepare { stamp, transaction: other, participants, payload }));
    solo.answer(Answer::Voted(Vote::Yes));
    solo.sync();
    assert!(solo.take_sent().contains(&(NodeId(3), Message::Vote { transaction: other, vote: Vote::Yes })));
    assert_eq!(solo.core.status().in_doubt.len(), 1);
}

#[test]
fn a_log_with_branches_of_another_node_is_refused() {
    let mut solo = Solo::new(2, Settings::default());
    solo.vote_yes(transaction_of(1, 1));
    let config = Config::new(NodeId(4), 1, Settings::default()).expect("usable").with_coordinator(CoordinatorId(2));
    let refused = TwoPhaseCommit::recover(solo.now, config, solo.disk.recovery(usize::MAX)).expect_err("not its own");
    assert!(matches!(refused, RecoverError::Inconsistent(_)), "{refused}");
}

/// A node that is given up may have left its log to another one, which asks the only participant for its decision.
#[test]
fn giving_a_node_up_keeps_what_its_coordinator_may_ask_for() {
    let mut solo = Solo::new(2, Settings::default());
    let transaction = transaction_of(1, 1);
    let ask = |epoch| {
        let (epoch, payload) = (Epoch(epoch), Bytes::from_static(b"x"));
        Message::CommitOnePhase(CommitOnePhase { stamp: Stamp { epoch, ..stamp_of(0) }, transaction, payload })
    };
    solo.hear(1, ask(1));
    solo.answer(Answer::Decided(Decision::Commit));
    solo.sync();
    solo.input(Input::Signal(Signal::PeerStanding { node: NodeId(1), standing: Standing::Stranger }));
    let command = CommandId(1);
    solo.input(Input::Command(Command::Forget { command, node: NodeId(1) }));
    solo.sync();
    assert!(solo.events.contains(&Event::Forgotten { command, node: NodeId(1) }));
    solo.take_sent();
    solo.hear(3, ask(2));
    assert!(solo.asked().is_empty(), "it is not done twice");
    solo.sync();
    assert_eq!(solo.take_sent(), [(NodeId(3), Message::Outcome { transaction, decision: Decision::Commit })]);
}

#[test]
fn a_coordinator_whose_log_is_lost_is_given_up_with_its_outcomes() {
    let mut solo = Solo::new(2, Settings::default());
    let transaction = transaction_of(1, 1);
    solo.vote_yes(transaction);
    solo.decide(transaction, Decision::Commit);
    solo.answer(Answer::Done);
    solo.sync();
    let command = CommandId(1);
    let coordinator = COORDINATOR;
    for served in [COORDINATOR, CoordinatorId(2)] {
        solo.input(Input::Command(Command::ForgetCoordinator { command, coordinator: served }));
        let reason = TransactionRefusal::StillMember;
        assert_eq!(solo.events.last(), Some(&Event::Refused { command, reason }), "{served} is served");
    }
    solo.input(Input::Signal(Signal::PeerStanding { node: NodeId(1), standing: Standing::Stranger }));
    solo.input(Input::Command(Command::ForgetCoordinator { command, coordinator }));
    assert_ne!(
        solo.events.last(),
        Some(&Event::CoordinatorForgotten { command, coordinator }),
        "not before it is durable"
    );
    solo.sync();
    assert!(solo.events.contains(&Event::CoordinatorForgotten { command, coordinator }));
    assert_eq!(solo.core.status().tombstones, 0);
    for _ in 0..2 {
        assert_eq!(solo.core.status().forgotten_coordinators, [coordinator].into());
        solo.hear(3, finished_of(9));
        assert_eq!(solo.core.status().ignored["forgotten"], 1, "nobody is heard in its name");
        solo.restart();
        solo.meet(&[1, 2, 3]);
    }
}

/// The share of room is a coordinator's, and a new server does not bring another one.
#[test]
fn a_coordinator_has_one_share_whoever_serves_it() {
    let settings = Settings { tombstones_max: 4, ..Settings::default() };
    let mut solo = Solo::new(2, settings);
    for sequence in 1..=8 {
        let transaction = transaction_of(1, sequence);
        solo.prepare(transaction);
        solo.answer(Answer::Voted(Vote::No));
        solo.sync();
    }
    let full = solo.core.status().tombstones;
    solo.take_sent();
    let epoch = Epoch(2);
    let stamp = Stamp { epoch, ..stamp_of(0) };
    let transaction = TransactionId { coordinator: COORDINATOR, number: TransactionNumber { epoch, sequence: 1 } };
    let participants: BTreeSet<NodeId> = [NodeId(2), NodeId(3)].into();
    solo.hear(3, Message::Prepare(Prepare { stamp, transaction, participants, payload: Bytes::new() }));
    solo.sync();
    assert_eq!(solo.take_sent(), [(NodeId(3), Message::Unready { transaction, why: Unready::Outcomes })]);
    assert_eq!(solo.core.status().tombstones, full);
}
