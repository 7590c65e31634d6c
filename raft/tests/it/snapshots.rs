//! What stands in the log while a snapshot takes its place.

use quorate_protocol::{
    Committed, Configuration, Input, LogAnswer, LogEvent, LogIndex, LogTime, NodeId, Output, Protocol, ReplicatedLog,
    SnapshotMeta, Term,
};
use quorate_raft::Message;
use quorate_raft::message::InstallSnapshot;

use crate::support::Bench;

/// A deposed leader had entries of its own where a snapshot was installed. Until the log had started anew on disk, it handed
/// those out as committed: `simulate --protocol raft-core`, seed 293.
#[test]
fn entries_that_a_snapshot_replaces_are_not_handed_out() {
    let mut bench = Bench::with_log(3, 2, &[0, 1, 2, 2, 2]);
    bench.writes_complete = false;
    let configuration = Configuration::of_voters((1..=3).map(NodeId));
    let snapshot = SnapshotMeta { index: LogIndex(4), term: Term(3), log_time: LogTime(0), configuration };
    let message = Message::InstallSnapshot(InstallSnapshot { term: Term(3), snapshot: snapshot.clone() });
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
