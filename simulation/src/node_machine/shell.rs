//! The work of the tokio shell on a real node: it carries out the node's outputs and reports the results.

use std::collections::VecDeque;
use std::time::Duration;

use quorate_protocol::{GroupId, Now, PersistFailure, Signal, StorageLevel};
use quorate_runtime::group::{Notice, SnapshotLane, SnapshotOperation};
use quorate_runtime::node::{NodeInput, NodeOutput, Write};
use quorate_wal::{Completions, StreamWork, Submission};

use super::work::{SnapshotWork, Work};
use super::{Application, NodeDisk, NodeFrame, NodeMachine};
use crate::world::{Machine, MachineOutput, reached};

/// Events that nodes reach sooner or later, with any application.
pub const EXPECTED_OF_NODES: &[&str] = &[
    reached::TAIL_TORN,
    reached::LOG_POISONED,
    "a state record was adopted from a torn tail",
    "a damaged batch was repaired",
    "a node refused to start from a damaged disk",
    "a write was refused",
    "the disk was low",
    "the disk had room again",
    "a stream was asked to compact",
    "a stranger was refused",
    "a node learned that it is a stranger",
    "two nodes were introduced",
];

impl<A: Application> NodeMachine<A> {
    pub(super) fn carry_out(&mut self, now: Now, disk: &mut NodeDisk<A>, output: NodeOutput) {
        match output {
            NodeOutput::Send { to, origin, .. } if self.unlinked.contains(&to) || !self.knows(to) => {
                self.unsent.push((to, origin));
            }
            NodeOutput::Send { to, frame, .. } => {
                self.drawers.outputs.push_back(MachineOutput::Send { to, message: NodeFrame::new(frame, A::describe) });
            }
            NodeOutput::Write(writes) => self.submit(disk, writes),
            NodeOutput::DeleteStream { stream, ticket } => {
                self.queue.push_back(Submission { stream, ticket, work: StreamWork::Delete });
                self.begin_set(disk);
            }
            NodeOutput::Load { stream, ticket, range } => {
                // The read happens now or when its answer is due; the log may have moved on by then.
                let work = if self.flip() {
                    let result = self.reader.load(stream, &range);
                    Work::Tell(NodeInput::Signal { stream, signal: Signal::Loaded { ticket, result } })
                } else {
                    Work::Load { stream, ticket, range }
                };
                self.ask(work, Asked::Read);
            }
            NodeOutput::Snapshot { group, ticket, operation } => {
                let lane = operation.lane();
                self.snapshot_queues.entry(lane).or_default().push_back((group, ticket, operation));
                self.next_snapshot_operation(lane);
            }
            NodeOutput::Job { group, ticket, job } => {
                let result = job.run();
                self.ask(Work::Tell(NodeInput::Job { group, ticket, result }), Asked::Read);
            }
            NodeOutput::Reply { group, call, reply } => {
                let (application, mut desk) = self.desk(now, disk);
                application.reply(&mut desk, group, call, reply);
            }
            NodeOutput::Peers(peers) => {
                self.contexts = peers;
                self.drawers.outputs.push_back(MachineOutput::Peers);
            }
            NodeOutput::Notice { group, notice } => self.on_notice(now, disk, group, &notice),
        }
    }

    pub(super) fn on_done(&mut self, now: Now, disk: &mut NodeDisk<A>, token: u64) {
        if let Some((_, mut writes)) = self.writing.take_if(|(writing, _)| *writing == token) {
            let is_synced = self.scribe.wal().needs_sync();
            if self.scribe.sync(&mut writes).is_ok() && is_synced {
                disk.ledger.synced();
            }
            self.tell(now, Completions { writes, ..Completions::default() });
            self.settle(now, disk);
            self.begin_set(disk);
            return;
        }
        let input = match self.work.remove(&token) {
            None => return,
            Some(Work::Load { stream, ticket, range }) => {
                let result = self.reader.load(stream, &range);
                NodeInput::Signal { stream, signal: Signal::Loaded { ticket, result } }
            }
            Some(Work::Tell(input)) => input,
            Some(Work::TellSnapshot(lane, input)) => {
                self.busy_lanes.remove(&lane);
                self.next_snapshot_operation(lane);
                input
            }
            Some(Work::Snapshot(work)) => {
                let lane = work.2.lane();
                let input = self.perform(work);
                self.busy_lanes.remove(&lane);
                self.next_snapshot_operation(lane);
                input
            }
        };
        self.node.handle(now, input);
    }

    /// While the log has too little room, it looks for some at intervals, even if nothing is written.
    pub(super) fn look_for_room(&mut self, now: Now, disk: &mut NodeDisk<A>) {
        // A set that is under way does it at its end.
        if self.room_at.take_if(|at| *at <= now.instant).is_some() && self.writing.is_none() {
            self.settle(now, disk);
        }
    }

    /// The log's work after the writers of a set were told.
    fn settle(&mut self, now: Now, disk: &mut NodeDisk<A>) {
        let changes = self.scribe.settle(self.queue.is_empty());
        self.tell(now, changes);
        self.note_poisoned(now, disk);
        let pause = if self.scribe.wal().is_making_room() { MAKING_ROOM } else { ROOM_INTERVAL };
        self.room_at = self.scribe.is_short_of_room().then(|| now.instant.after(pause));
    }

    /// Continues pending work as long as the power lasts, and reports nothing.
    pub(super) fn work_on(&mut self, disk: &mut NodeDisk<A>) {
        if let Some((_, mut writes)) = self.writing.take() {
            let _ = self.scribe.sync(&mut writes);
            let _ = self.scribe.settle(self.queue.is_empty());
            self.begin_set(disk);
        }
        for work in std::mem::take(&mut self.work).into_values() {
            if let Work::Snapshot(work) = work {
                let _ = self.perform(work);
            }
        }
    }

    fn submit(&mut self, disk: &mut NodeDisk<A>, writes: Vec<Write>) {
        let submissions = writes.into_iter().map(|Write { stream, ticket, operations }| Submission {
            stream,
            ticket,
            work: StreamWork::Write(operations),
        });
        self.queue.extend(submissions);
        self.begin_set(disk);
    }

    /// Starts a set of writes, unless one is on its way. The next one grows meanwhile.
    fn begin_set(&mut self, disk: &mut NodeDisk<A>) {
        if self.writing.is_some() || self.queue.is_empty() {
            return;
        }
        let set = std::mem::take(&mut self.queue);
        let operations: Vec<_> = set.iter().map(|submission| (submission.stream, submission.work.clone())).collect();
        let writes = self.scribe.write(set);
        for ((stream, work), completion) in operations.into_iter().zip(&writes) {
            // A write that failed half-way may be there after a crash, and so may the writes before it.
            let is_refused = matches!(completion.result, Err(quorate_wal::WriteError::Refused(_)));
            if let StreamWork::Write(operations) = work
                && !is_refused
            {
                disk.ledger.wrote(stream, operations);
            }
        }
        let token = self.drawers.number();
        self.writing = Some((token, writes));
        let output =
            if self.scribe.wal().needs_sync() { MachineOutput::Write { token } } else { MachineOutput::Read { token } };
        self.drawers.outputs.push_back(output);
    }

    fn next_snapshot_operation(&mut self, lane: SnapshotLane) {
        if self.busy_lanes.contains(&lane) {
            return;
        }
        let Some(work) = self.snapshot_queues.get_mut(&lane).and_then(VecDeque::pop_front) else { return };
        self.busy_lanes.insert(lane);
        let asked = match work.2 {
            SnapshotOperation::Read { .. } | SnapshotOperation::Restore { .. } => Asked::Read,
            SnapshotOperation::Build { .. } => Asked::Build,
            _ => Asked::Write,
        };
        // Carried out at once and reported later, or carried out later: a crash in between finds it done, or not begun.
        let work = if self.flip() { Work::TellSnapshot(lane, self.perform(work)) } else { Work::Snapshot(work) };
        self.ask(work, asked);
    }

    fn perform(&mut self, (group, ticket, operation): SnapshotWork) -> NodeInput {
        NodeInput::Snapshot { group, ticket, result: self.snapshots.perform(group, operation) }
    }

    fn ask(&mut self, work: Work, asked: Asked) {
        let token = self.drawers.number();
        self.work.insert(token, work);
        self.drawers.outputs.push_back(match asked {
            Asked::Read => MachineOutput::Read { token },
            Asked::Write => MachineOutput::Write { token },
            Asked::Build => MachineOutput::Build { token },
        });
    }

    fn flip(&mut self) -> bool {
        self.drawers.random.between(0, 2) == 0
    }

    fn tell(&mut self, now: Now, done: Completions) {
        for input in NodeInput::of_log(done) {
            let reached = match &input {
                NodeInput::Storage(StorageLevel::Low) => Some("the disk was low"),
                NodeInput::Storage(_) => Some("the disk had room again"),
                NodeInput::Signal { signal: Signal::CompactRequested, .. } => Some("a stream was asked to compact"),
                NodeInput::Signal {
                    signal: Signal::PersistFailed { failure: PersistFailure::NotWritten, .. }, ..
                } => Some("a write was refused"),
                _ => None,
            };
            self.drawers.outputs.extend(reached.map(MachineOutput::Sometimes));
            self.node.handle(now, input);
        }
    }

    fn note_poisoned(&mut self, now: Now, disk: &mut NodeDisk<A>) {
        if self.scribe.wal().poisoned().is_some() && !std::mem::replace(&mut self.is_poisoned, true) {
            let (_, mut desk) = self.desk(now, disk);
            desk.sometimes(reached::LOG_POISONED);
        }
    }

    fn on_notice(&mut self, now: Now, disk: &mut NodeDisk<A>, group: Option<GroupId>, notice: &Notice) {
        let (application, mut desk) = self.desk(now, disk);
        match notice {
            Notice::SelfStranger { .. } => desk.sometimes("a node learned that it is a stranger"),
            Notice::PeerStranger { .. } => desk.sometimes("a stranger was refused"),
            Notice::Introduced { .. } => desk.sometimes("two nodes were introduced"),
            Notice::Halted { reason } => desk.halt(reason.to_string()),
            Notice::Added => desk.sometimes(GROUP_ADDED),
            Notice::Removed => desk.sometimes(GROUP_REMOVED),
            _ => {}
        }
        application.notice(&mut desk, group, notice);
    }
}

/// Kind of work, which decides how long it takes.
#[derive(Clone, Copy)]
enum Asked {
    Read,
    Write,
    Build,
}

/// A group was added to a running node.
pub const GROUP_ADDED: &str = "a group was added to a running node";
/// A group was removed from a running node.
pub const GROUP_REMOVED: &str = "a group was removed from a running node";
/// Interval at which a log without room looks for some.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);
/// Interval while it makes a segment.
const MAKING_ROOM: Duration = Duration::from_millis(1);
