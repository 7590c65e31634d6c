//! Groups that are added to a running node and removed from it, with a crash at every change of the disk.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use bytes::Bytes;
use quorate_protocol::{
    ClusterId, Configuration, GroupId, HaltReason, Instant, LogIndex, LogTime, NodeId, Now, Operation, Signal,
    SnapshotMeta, Term, Ticket,
};
use quorate_runtime::group::{
    CallId, ChannelId, Group, GroupError, GroupInput, GroupOutput, MakeGroup, Reply, SnapshotOperation,
};
use quorate_runtime::node::{NODE_STREAM, NodeInput, NodeOutput, StreamId};
use quorate_runtime::shell::{Opened, Opening};
use quorate_runtime::{BoxError, GroupStart, ServerOpenError};
use quorate_wal::disk::{Crash, Disk, MemoryDisk};

const STAYS: GroupId = GroupId(1);
const GOES: GroupId = GroupId(2);
const FOLLOWS: GroupId = GroupId(3);

/// A group that writes one record as soon as it runs, and knows whether it is durable.
struct Plain {
    is_written: bool,
    outputs: VecDeque<GroupOutput>,
    waiting: Vec<CallId>,
}

impl Plain {
    #[expect(clippy::unnecessary_wraps, reason = "a maker of groups may fail")]
    fn make(start: GroupStart) -> Result<Box<dyn Group>, BoxError> {
        let is_written = start.recovery.journal.into_iter().flatten().count() > 0;
        let operations = vec![Operation::Journal { key: 1, bytes: Bytes::from_static(b"a record") }];
        let write = GroupOutput::Persist { ticket: Ticket(1), operations };
        let outputs = if is_written { VecDeque::new() } else { VecDeque::from([write]) };
        Ok(Box::new(Self { is_written, outputs, waiting: Vec::new() }))
    }
}

impl Group for Plain {
    fn handle(&mut self, _: Now, input: GroupInput) {
        if let GroupInput::Signal(Signal::Persisted(_)) = input {
            self.is_written = true;
        }
    }

    fn poll_output(&mut self) -> Option<GroupOutput> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn halted(&mut self, _: &HaltReason) {
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        self.outputs = waiting.map(|call| GroupOutput::Reply { call, reply: Reply::Unknown }).collect();
    }

    fn channel(&self) -> ChannelId {
        ChannelId::FIRST_CORE
    }

    fn is_settled(&self) -> bool {
        true
    }
}

/// A node and its log, without threads.
struct Shell {
    opened: Opened<MemoryDisk>,
    now: Now,
    replies: BTreeMap<CallId, Reply>,
    /// The streams of writes and deletions, in their order.
    written: Vec<StreamId>,
}

fn open(disk: &MemoryDisk, groups: &[GroupId]) -> Result<Shell, ServerOpenError> {
    let log = quorate_wal::LogSettings { segment_bytes: 64 << 10, batch_bytes_max: 32 << 10, ..Default::default() };
    let opening = Opening {
        cluster: ClusterId(1),
        node: NodeId(1),
        members: Configuration::of_voters([NodeId(1)]),
        joining: BTreeSet::new(),
        log,
        frame_bytes_max: 1 << 20,
        tail_bytes_max: 1 << 20,
        groups: groups.iter().map(|group| (*group, Box::new(Plain::make) as MakeGroup)).collect(),
        reopen: Box::new(|_| Some(Box::new(Plain::make))),
    };
    let opened = opening.open(disk.clone(), Now::default, || Ok(7))?;
    Ok(Shell { opened, now: Now::default(), replies: BTreeMap::new(), written: Vec::new() })
}

/// The disk has failed. Its node is as good as dead.
#[derive(Debug)]
struct Dead;

impl Shell {
    fn add(&mut self, group: GroupId, call: u64) -> Result<(), Dead> {
        let new = self.opened.site.make(self.now, group, None, 1, Box::new(Plain::make)).expect("made");
        self.handle(NodeInput::AddGroup { group, new, call: CallId(call) })
    }

    fn remove(&mut self, group: GroupId, call: u64) -> Result<(), Dead> {
        self.handle(NodeInput::RemoveGroup { group, call: CallId(call) })
    }

    fn handle(&mut self, input: NodeInput) -> Result<(), Dead> {
        self.opened.node.handle(self.now, input);
        self.carry_out()
    }

    /// Lets seconds pass, in which refused work is tried again.
    fn pass(&mut self) -> Result<(), Dead> {
        for _ in 0..3 {
            self.now.instant = self.now.instant.after(std::time::Duration::from_secs(2));
            self.handle(NodeInput::Timeout)?;
        }
        Ok(())
    }

    fn carry_out(&mut self) -> Result<(), Dead> {
        while let Some(output) = self.opened.node.poll_output() {
            match output {
                NodeOutput::Write(writes) => {
                    for write in writes {
                        self.written.push(write.stream);
                        let written = self.opened.log.write(&[(write.stream, write.operations)]).map_err(|_| Dead)?;
                        assert_eq!(written.refused, []);
                        self.opened.log.sync().map_err(|_| Dead)?;
                        self.tell(write.stream, write.ticket);
                    }
                }
                NodeOutput::DeleteStream { stream, ticket } => {
                    self.written.push(stream);
                    let deleted = self.opened.log.delete_stream(stream);
                    self.opened.log.sync().map_err(|_| Dead)?;
                    let signal = match deleted {
                        Ok(()) => Signal::Persisted(ticket),
                        Err(error) => Signal::PersistFailed { ticket, failure: error.failure() },
                    };
                    self.opened.node.handle(self.now, NodeInput::Signal { stream, signal });
                }
                NodeOutput::Snapshot { group, ticket, operation } => {
                    let result = self.opened.snapshots.perform(group, operation);
                    self.opened.node.handle(self.now, NodeInput::Snapshot { group, ticket, result });
                }
                NodeOutput::Reply { call, reply, .. } => drop(self.replies.insert(call, reply)),
                NodeOutput::Send { .. } | NodeOutput::Notice { .. } => {}
                other => panic!("not expected: {other:?}"),
            }
        }
        self.opened.log.settle(true).map_err(|_| Dead)
    }

    fn tell(&mut self, stream: StreamId, ticket: Ticket) {
        let signal = Signal::Persisted(ticket);
        self.opened.node.handle(self.now, NodeInput::Signal { stream, signal });
    }

    /// Makes a snapshot of a group.
    fn snapshot(&mut self, group: GroupId) -> Result<(), Dead> {
        let configuration = Configuration::of_voters([NodeId(1)]);
        let (index, term, log_time) = (LogIndex(1), Term(1), LogTime(0));
        let meta = SnapshotMeta { index, term, log_time, configuration };
        let operation = SnapshotOperation::Build { meta, write: Box::new(|out| out.write_all(&[7; 9000])) };
        self.opened.snapshots.perform(group, operation).map_err(|_| Dead).map(drop)
    }

    fn is_written(&self, group: GroupId) -> Option<bool> {
        self.opened.node.group::<Plain>(group).map(|plain| plain.is_written)
    }

    fn reply(&self, call: u64) -> Option<&Reply> {
        self.replies.get(&CallId(call))
    }

    fn is_done(&self, call: u64) -> bool {
        self.reply(call) == Some(&Reply::Changed(Ok(())))
    }

    /// True if nothing of the group is in the log or among the snapshots.
    fn is_gone(&self, disk: &MemoryDisk, group: GroupId, stream: StreamId) -> bool {
        let folder = disk.list(&Path::new("snapshots").join(group.to_string()));
        folder.is_err() && !self.opened.log.streams().contains(&stream)
    }
}

/// What the caller of a node learned before the node died.
#[derive(Default)]
struct Learned {
    is_added: bool,
    is_written: bool,
    is_removed: bool,
    stream: Option<StreamId>,
}

/// A group comes, writes, makes a snapshot, and goes; another one follows.
fn come_and_go(disk: &MemoryDisk, learned: &mut Learned) -> Result<(), Dead> {
    let mut shell = open(disk, &[STAYS]).map_err(|_| Dead)?;
    shell.carry_out()?;
    let mut come = || {
        shell.add(GOES, 1)?;
        shell.snapshot(GOES)?;
        shell.remove(GOES, 2)?;
        shell.add(FOLLOWS, 3)
    };
    let outcome = come();
    learned.is_added |= shell.is_done(1);
    learned.is_removed |= shell.is_done(2);
    learned.stream = shell.opened.node.roster().stream(GOES).or(learned.stream);
    learned.is_written |= shell.written.iter().filter(|stream| **stream == StreamId(2)).count() > 1;
    outcome
}

#[test]
fn row_33_a_crash_at_each_write_leaves_a_state_that_the_next_start_completes() {
    let steps = {
        let disk = MemoryDisk::new();
        come_and_go(&disk, &mut Learned::default()).expect("a disk that works");
        disk.operations()
    };
    let mut found = BTreeMap::new();
    for step in 0..=steps {
        for crash in [Crash::LoseUnsynced, Crash::KeepAll, Crash::LoseBytes, Crash::Seeded(step), Crash::Process] {
            let disk = MemoryDisk::new();
            disk.power_off_after(step);
            let mut learned = Learned::default();
            let _ = come_and_go(&disk, &mut learned);
            disk.crash(crash);
            *found.entry(completes(&disk, &learned, &format!("step {step}, {crash:?}"))).or_insert(0) += 1;
        }
    }
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), ["not there", "removed", "runs"], "{found:?}");
}

/// Starts the node again after a crash, and checks it against what its caller had learned.
fn completes(disk: &MemoryDisk, learned: &Learned, at: &str) -> &'static str {
    let mut shell = open(disk, &[STAYS]).unwrap_or_else(|error| panic!("{at}: {error}"));
    shell.carry_out().expect("a disk that works");
    shell.pass().expect("a disk that works");
    assert_eq!(shell.is_written(STAYS), Some(true), "{at}: the other group is not disturbed");
    let roster = shell.opened.node.roster();
    let outcome = match shell.is_written(GOES) {
        Some(is_written) => {
            assert!(is_written && !learned.is_removed, "{at}: it runs again");
            "runs"
        }
        None if roster.is_removed(GOES) => {
            assert!(shell.is_gone(disk, GOES, StreamId(2)), "{at}: something is left of it");
            "removed"
        }
        None => {
            assert!(!learned.is_added, "{at}: it was added");
            "not there"
        }
    };
    // Whatever became of it: it can be removed once, and its id and its stream are never used again.
    let taken: BTreeSet<StreamId> = [STAYS, GOES, FOLLOWS].iter().filter_map(|group| roster.stream(*group)).collect();
    shell.remove(GOES, 11).expect("a disk that works");
    shell.pass().expect("a disk that works");
    shell.add(GOES, 12).expect("a disk that works");
    if outcome != "not there" {
        assert_eq!(shell.reply(12), Some(&Reply::Changed(Err(GroupError::Removed))), "{at}");
        assert!(shell.is_gone(disk, GOES, StreamId(2)), "{at}: something is left of it");
    }
    shell.add(GroupId(9), 13).expect("a disk that works");
    let stream = shell.opened.node.roster().stream(GroupId(9)).expect("added");
    assert!(!taken.contains(&stream) && stream > StreamId(1), "{at}: {stream}");
    assert!(learned.stream.is_none_or(|old| old < stream), "{at}: {stream}");
    outcome
}

#[test]
fn nothing_of_a_group_is_written_before_its_founding_nor_after_its_removal() {
    let disk = MemoryDisk::new();
    let mut shell = open(&disk, &[STAYS]).expect("opened");
    shell.carry_out().expect("a disk that works");
    shell.written.clear();
    shell.add(GOES, 1).expect("a disk that works");
    assert_eq!(shell.written, [NODE_STREAM, StreamId(2)]);
    shell.remove(GOES, 2).expect("a disk that works");
    assert_eq!(shell.written[2..], [NODE_STREAM, StreamId(2)], "the removal, and the deletion of the stream");
    assert!(shell.is_done(1) && shell.is_done(2));
}

#[test]
fn a_removed_group_answers_its_callers_and_is_refused_for_good() {
    let disk = MemoryDisk::new();
    let mut shell = open(&disk, &[STAYS]).expect("opened");
    shell.add(GOES, 1).expect("a disk that works");
    let now = shell.now;
    shell.opened.node.enter(now, GOES, |group| {
        let group: &mut dyn Any = group;
        group.downcast_mut::<Plain>().expect("one of these").waiting.push(CallId(7));
    });
    shell.remove(GOES, 2).expect("a disk that works");
    assert_eq!(shell.reply(7), Some(&Reply::Unknown));
    assert!(shell.opened.node.enter(now, GOES, |_| ()).is_none());
    let refused = [(3, GOES, GroupError::Removed), (4, GroupId(8), GroupError::NoGroup)];
    for (call, group, error) in refused {
        shell.remove(group, call).expect("a disk that works");
        assert_eq!(shell.reply(call), Some(&Reply::Changed(Err(error))));
    }
    for (call, group, error) in [(5, GOES, GroupError::Removed), (6, STAYS, GroupError::Exists)] {
        shell.add(group, call).expect("a disk that works");
        assert_eq!(shell.reply(call), Some(&Reply::Changed(Err(error))));
    }
    drop(shell);
    disk.crash(Crash::Process);
    let refused = open(&disk, &[STAYS, GOES]).err().expect("refused");
    assert!(matches!(refused, ServerOpenError::RemovedGroup(GOES)), "{refused}");
}

#[test]
fn a_founded_group_that_is_not_opened_stays_closed_and_can_be_removed() {
    let disk = MemoryDisk::new();
    let mut shell = open(&disk, &[STAYS]).expect("opened");
    shell.add(GOES, 1).expect("a disk that works");
    drop(shell);
    disk.crash(Crash::Process);
    let log = quorate_wal::LogSettings { segment_bytes: 64 << 10, batch_bytes_max: 32 << 10, ..Default::default() };
    let opening = Opening {
        cluster: ClusterId(1),
        node: NodeId(1),
        members: Configuration::of_voters([NodeId(1)]),
        joining: BTreeSet::new(),
        log,
        frame_bytes_max: 1 << 20,
        tail_bytes_max: 1 << 20,
        groups: BTreeMap::from([(STAYS, Box::new(Plain::make) as MakeGroup)]),
        reopen: Box::new(|_| None),
    };
    let opened = opening.open(disk.clone(), Now::default, || Ok(7)).expect("opened");
    let mut shell = Shell { opened, now: Now::default(), replies: BTreeMap::new(), written: Vec::new() };
    shell.add(GOES, 2).expect("a disk that works");
    assert_eq!(shell.reply(2), Some(&Reply::Changed(Err(GroupError::NotOpened))));
    assert!(shell.opened.log.streams().contains(&StreamId(2)), "its data stay");
    shell.remove(GOES, 3).expect("a disk that works");
    assert!(shell.is_done(3) && shell.is_gone(&disk, GOES, StreamId(2)));
}

#[test]
fn a_full_disk_delays_a_change_and_loses_none() {
    let disk = MemoryDisk::new();
    let mut shell = open(&disk, &[STAYS]).expect("opened");
    shell.carry_out().expect("a disk that works");
    let now = shell.now;
    let new = shell.opened.site.make(now, GOES, None, 1, Box::new(Plain::make)).expect("made");
    shell.opened.node.handle(now, NodeInput::AddGroup { group: GOES, new, call: CallId(1) });
    let Some(NodeOutput::Write(writes)) = shell.opened.node.poll_output() else { panic!("the founding is written") };
    let failure = quorate_protocol::PersistFailure::NotWritten;
    for write in writes {
        let signal = Signal::PersistFailed { ticket: write.ticket, failure };
        shell.handle(NodeInput::Signal { stream: write.stream, signal }).expect("a disk that works");
    }
    assert!(shell.reply(1).is_none() && shell.is_written(GOES).is_none());
    shell.pass().expect("a disk that works");
    assert!(shell.is_done(1) && shell.is_written(GOES) == Some(true));
}
