//! The log while a snapshot replaces it, and leaders that cannot send a snapshot.

use quorate_protocol::{
    Committed, Configuration, DiskState, Input, LogAnswer, LogCommand, LogEvent, LogIndex, LogTime, NodeId, Output,
    Protocol, ReplicatedLog, Role, Signal, SnapshotMeta, Term,
};
use quorate_raft::Message;
use quorate_raft::message::{AppendOutcome, AppendResponse, HeartbeatResponse, InstallSnapshot};

use crate::support::Bench;

/// A deposed leader had entries of its own at the indexes that a snapshot replaced. Until the log had started again on
/// disk, it returned those as committed: `simulate --protocol raft-core`, seed 293.
#[test]
fn entries_that_a_snapshot_replaces_are_not_handed_out() {
    let mut bench = Bench::with_log(3, 2, &[0, 1, 2, 2, 2]);
    bench.writes_complete = false;
    let configuration = Configuration::of_voters((1..=3).map(NodeId));
    let snapshot = SnapshotMeta { index: LogIndex(4), term: Term(3), log_time: LogTime(0), configuration };
    let message =
        Message::InstallSnapshot(InstallSnapshot { term: Term(3), snapshot: snapshot.clone(), founding: None });
    bench.core.handle(bench.now, Input::Message { from: NodeId(2), message });
    let mut ticket = None;
    while let Some(output) = bench.core.poll_output() {
        match output {
            Output::Request { ticket: asked, .. } => ticket = Some(asked),
            Output::Persist { ticket, .. } => bench.pending.push(ticket),
            _ => {}
        }
    }
    let ticket = ticket.expect("it takes the snapshot");
    bench.complete();
    bench.writes_complete = false;

    bench.input(Input::Completed { ticket, answer: LogAnswer::SnapshotDurable { snapshot: snapshot.clone() } });
    assert_eq!(bench.commit(), 4);
    let handed_out = bench.core.entries(LogIndex(1), usize::MAX);
    assert!(matches!(&handed_out, Committed::Cached(entries) if entries.is_empty()), "{handed_out:?}");
    assert!(!bench.events.contains(&LogEvent::Installed { snapshot: snapshot.clone() }));

    bench.complete();
    assert!(bench.events.contains(&LogEvent::Installed { snapshot }));
}

/// A leader that cannot read its snapshot from its own disk steps down at the third failure in a row, as for failed
/// loads. Failures of peers and connections neither count nor reset the count; a successful transfer resets it.
#[test]
fn a_leader_that_cannot_read_its_snapshot_steps_down() {
    let mut bench = leader_of_one_that_needs_a_snapshot();
    let (to, index) = (NodeId(3), LogIndex(5));
    let unread = || LogAnswer::SnapshotUnreadable { to };
    let refused = || LogAnswer::SnapshotSendFailed { to };
    let stays = [refused(), refused(), refused(), unread(), unread(), LogAnswer::SnapshotSent { to, index }, unread()];
    for answer in stays.into_iter().chain([unread(), refused()]) {
        end_transfer(&mut bench, answer.clone());
        assert_eq!(bench.role(), Role::Leader, "after {answer:?}");
    }
    end_transfer(&mut bench, unread());
    assert_eq!((bench.role(), bench.term()), (Role::Follower, 3));
}

/// Node 1 leads in term 3. Node 2 has everything. Node 3 has only one entry of its own, and the log begins after it.
fn leader_of_one_that_needs_a_snapshot() -> Bench {
    let mut bench = Bench::with_log(3, 2, &[0, 1, 2, 2, 2]);
    bench.lead();
    let answer = |outcome| Message::AppendResponse(AppendResponse { term: Term(3), outcome });
    bench.hear(2, answer(AppendOutcome::Matched { match_index: LogIndex(6) }));
    assert_eq!(bench.commit(), 6);
    let configuration = Configuration::of_voters((1..=3).map(NodeId));
    let snapshot = SnapshotMeta { index: LogIndex(5), term: Term(2), log_time: LogTime(0), configuration };
    bench.input(Input::Command(LogCommand::Compact { snapshot, keep_from: LogIndex(5) }));
    bench.input(Input::Signal(Signal::CompactRequested));
    assert_eq!(bench.core.status().first_index, LogIndex(6));
    let (prev_index, hint_index, hint_term) = (LogIndex(5), LogIndex(1), Term(0));
    bench.hear(3, answer(AppendOutcome::Conflict { prev_index, hint_index, hint_term }));
    bench
}

/// Waits until the leader requests a transfer while node 3 answers its heartbeats, and ends that transfer.
fn end_transfer(bench: &mut Bench, answer: LogAnswer) {
    for _ in 0..1_000 {
        if let Some((ticket, _)) = bench.requests.pop() {
            bench.input(Input::Completed { ticket, answer });
            return;
        }
        for (to, message) in bench.time_out() {
            let Message::Heartbeat(heartbeat) = message else { continue };
            if to == 3 {
                let (received_index, match_index) = (LogIndex(1), LogIndex::ZERO);
                let (term, round, pace) = (heartbeat.term, heartbeat.round, heartbeat.pace);
                let (durable_index, disk) = (LogIndex(1), DiskState::Ready);
                let response =
                    HeartbeatResponse { term, round, received_index, match_index, durable_index, pace, disk };
                bench.hear(3, Message::HeartbeatResponse(response));
            }
        }
    }
    panic!("no transfer was asked for");
}
