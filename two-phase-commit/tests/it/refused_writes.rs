//! A log that refuses writes because it has no room, and accepts them later in several parts.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_protocol::PersistFailure;
use quorate_two_phase_commit::message::Acknowledgement;
use quorate_two_phase_commit::{Answer, Decision, Event, Message, Request, Settings, TransactionId};

use crate::solo::{Solo, transaction_of};

/// A write has room for about twenty outcomes.
fn small_writes() -> Settings {
    Settings { payload_bytes_max: 16, participants_max: 4, write_bytes_max: 2_000, ..Settings::default() }
}

/// The application has committed this number of branches of node 1, and the first write of their outcomes was refused.
fn committed_and_refused(count: u64) -> Solo {
    let mut solo = Solo::new(2, small_writes());
    let transactions: Vec<TransactionId> = (1..=count).map(|sequence| transaction_of(1, sequence)).collect();
    for transaction in &transactions {
        solo.prepare(*transaction);
    }
    solo.answer(Answer::Voted(quorate_two_phase_commit::Vote::Yes));
    solo.sync();
    for transaction in &transactions {
        solo.decide(*transaction, Decision::Commit);
    }
    solo.take_sent();
    assert!(solo.answer(Answer::Done).iter().all(|request| matches!(request, Request::Commit { .. })));
    solo.advance(Duration::from_millis(500));
    solo.fail_write(PersistFailure::NotWritten);
    assert!(solo.writes.is_empty(), "it waits before it writes again");
    solo.advance(Duration::from_millis(150));
    solo
}

fn acknowledged(solo: &mut Solo) -> BTreeSet<TransactionId> {
    let acknowledged = solo.take_sent().into_iter().filter_map(|(_, message)| match message {
        Message::Acknowledge { transaction, how: Acknowledgement::Applied } => Some(transaction),
        _ => None,
    });
    acknowledged.collect()
}

fn settled(solo: &Solo) -> usize {
    solo.events.iter().filter(|event| matches!(event, Event::Settled { .. })).count()
}

/// The coordinator forgets acknowledged commits. A branch that is in doubt after a crash would then be told that it is
/// aborted, although it is committed.
#[test]
fn a_commit_is_acknowledged_once_its_own_part_is_durable() {
    let mut solo = committed_and_refused(60);
    let first = solo.write_one();
    assert!(first > 0 && first < 60, "{first} outcomes are durable, and others are not");
    let early = acknowledged(&mut solo);
    let told = settled(&solo);
    // Only what a crash leaves counts.
    let mut copy = Solo::new(2, small_writes());
    copy.disk = solo.disk.clone();
    copy.restart();
    let in_doubt: BTreeSet<TransactionId> = copy.asked().iter().map(Request::transaction).collect();
    assert!(early.is_disjoint(&in_doubt), "acknowledged, and in doubt after a crash: {}", early.len());
    assert!(told <= 60 - in_doubt.len(), "{told} may be forgotten by the application");
    solo.sync();
    assert_eq!(early.len() + acknowledged(&mut solo).len(), 60, "in the end all are");
    assert_eq!(settled(&solo), 60);
}

/// The write of a start's epoch may be refused too, and nothing of the epoch is told before it is durable.
#[test]
fn nothing_of_an_epoch_is_said_while_its_write_is_refused() {
    let mut solo = Solo::new(1, small_writes());
    solo.restart();
    for node in [1, 2] {
        let standing = quorate_protocol::Standing::Member;
        solo.input(quorate_protocol::Input::Signal(quorate_protocol::Signal::PeerStanding {
            node: quorate_protocol::NodeId(node),
            standing,
        }));
    }
    for _ in 0..3 {
        solo.fail_write(PersistFailure::NotWritten);
        solo.advance(Duration::from_millis(150));
        assert!(solo.take_sent().is_empty());
    }
    solo.sync();
    assert!(!solo.take_sent().is_empty());
}
