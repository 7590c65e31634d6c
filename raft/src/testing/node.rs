//! One node of a cluster under test: a core, its disk, and the events that its application saw.

use std::collections::{BTreeMap, VecDeque};

use quorate_protocol::{
    Committed, Entry, EntryKind, HaltReason, LoadRange, Loaded, LogEvent, LogIndex, LogRequest, NodeId, Now, Operation,
    Protocol, ReplicatedLog, SnapshotMeta, Standing, Term, Ticket,
};

use crate::{Config, Message, Raft};

/// An entry that the application applied.
pub type Applied = (LogIndex, Term, Entry);

/// One node of a cluster under test.
#[derive(Debug)]
pub struct Node {
    /// Its core while it runs.
    pub core: Option<Raft>,
    /// The part that survives a crash.
    pub disk: Disk,
    /// Every event so far, in order.
    pub events: Vec<LogEvent>,
    /// The applied entries, in order. A node that restarts begins from its newest snapshot.
    pub applied: Vec<Applied>,
    /// Reason why it halted, if it did.
    pub halted: Option<HaltReason>,
    /// Writes on their way to the disk.
    pub(super) writes: VecDeque<(Ticket, Vec<Operation>)>,
    /// True if writes do not complete.
    pub(super) is_disk_held: bool,
    /// The incarnation of this node's disk.
    pub(super) incarnation: u64,
    /// The incarnations that this node knows.
    pub(super) known: BTreeMap<NodeId, u64>,
    /// Number of starts so far. Results that belong to an earlier start are ignored.
    pub(super) starts: u64,
    pub(super) receiving: Option<(Ticket, NodeId, Term, SnapshotMeta)>,
    /// The content of the snapshot on this node's disk.
    pub(super) snapshot_content: Vec<Applied>,
    pub(super) config: Config,
}

use super::disk::Disk;

/// An effect of a node that concerns others or takes time.
#[derive(Debug)]
pub(super) enum Effect {
    Send(NodeId, Message),
    Write(Ticket, Vec<Operation>),
    Told(LogEvent),
    Halted(HaltReason),
    Load(Ticket, LoadRange),
    SendSnapshot { ticket: Ticket, to: NodeId, term: Term, snapshot: SnapshotMeta },
}

impl Node {
    pub(super) fn new(config: Config) -> Self {
        Self {
            core: None,
            disk: Disk::default(),
            events: Vec::new(),
            applied: Vec::new(),
            halted: None,
            writes: VecDeque::new(),
            is_disk_held: false,
            incarnation: 1,
            known: BTreeMap::new(),
            starts: 0,
            receiving: None,
            snapshot_content: Vec::new(),
            config,
        }
    }

    /// The running core.
    ///
    /// # Panics
    /// When the node is down.
    pub fn core(&self) -> &Raft {
        self.core.as_ref().expect("the node runs")
    }

    /// Returns the newest write that is on its way to the disk.
    pub fn pending_write(&self) -> Option<Ticket> {
        self.writes.back().map(|(ticket, _)| *ticket)
    }

    /// Returns the payloads of the applied commands.
    pub fn commands(&self) -> Vec<&[u8]> {
        let is_command = |(_, _, entry): &&Applied| entry.header.kind == EntryKind::Command;
        self.applied.iter().filter(is_command).map(|(_, _, entry)| &entry.payload[..]).collect()
    }

    /// Returns the standing of another node's incarnation on this node.
    pub(super) fn standing_of(&self, node: NodeId, incarnation: u64) -> Standing {
        if self.known.get(&node) == Some(&incarnation) { Standing::Member } else { Standing::Stranger }
    }

    /// Starts the node from its disk.
    pub(super) fn start(&mut self, now: Now, tail_bytes_max: usize) {
        self.writes.clear();
        self.receiving = None;
        self.starts += 1;
        self.applied.clone_from(&self.snapshot_content);
        let recovery = self.disk.recovery(tail_bytes_max);
        self.core = Some(Raft::recover(now, self.config.clone(), recovery).expect("the disk holds what was written"));
    }

    /// Polls all outputs of the core and carries out those that concern this node alone.
    pub(super) fn poll(&mut self) -> Vec<Effect> {
        use quorate_protocol::Output;
        let mut effects = Vec::new();
        let Some(core) = &mut self.core else { return effects };
        let mut pulled_to = None;
        let mut installed = Vec::new();
        while let Some(output) = core.poll_output() {
            match output {
                Output::Send { to, message } => effects.push(Effect::Send(to, message)),
                Output::Persist { ticket, operations } => {
                    self.writes.push_back((ticket, operations.clone()));
                    effects.push(Effect::Write(ticket, operations));
                }
                Output::Load { ticket, range } => effects.push(Effect::Load(ticket, range)),
                Output::Request { ticket, request: LogRequest::SendSnapshot { to, term, snapshot } } => {
                    effects.push(Effect::SendSnapshot { ticket, to, term, snapshot });
                }
                Output::Request { ticket, request: LogRequest::ReceiveSnapshot { from, term, snapshot } } => {
                    self.receiving = Some((ticket, from, term, snapshot));
                }
                Output::Event(event) => {
                    match &event {
                        LogEvent::Committed { index } => pulled_to = Some(*index),
                        LogEvent::Installed { .. } => installed.push(event.clone()),
                        _ => {}
                    }
                    self.events.push(event.clone());
                    effects.push(Effect::Told(event));
                }
                Output::Halt { reason } => {
                    self.halted = Some(reason.clone());
                    effects.push(Effect::Halted(reason));
                }
            }
        }
        if !installed.is_empty() {
            self.applied.clone_from(&self.snapshot_content);
        }
        if pulled_to.is_some() {
            self.apply();
        }
        effects
    }

    /// Makes a snapshot of the applied entries and lets the core compact, keeping `keep` entries.
    pub(super) fn snapshot(&mut self, keep: u64) -> Option<(SnapshotMeta, LogIndex)> {
        let (index, term, entry) = self.applied.last()?;
        let configuration = self.core().status().configuration;
        let meta = SnapshotMeta { index: *index, term: *term, log_time: entry.header.log_time, configuration };
        if self.disk.snapshot.as_ref().is_some_and(|newest| newest.index >= meta.index) {
            return None;
        }
        let keep_from = LogIndex(index.0.saturating_sub(keep));
        self.disk.snapshot = Some(meta.clone());
        self.snapshot_content.clone_from(&self.applied);
        Some((meta, keep_from))
    }

    fn apply(&mut self) {
        let core = self.core.as_ref().expect("just polled");
        loop {
            let next = self.applied.last().map_or(LogIndex(1), |(index, ..)| index.next());
            let entries = match core.entries(next, 4096) {
                Committed::Cached(entries) if entries.is_empty() => return,
                Committed::Cached(entries) => entries,
                Committed::NeedsLoad(range) => {
                    match self.disk.load(&LoadRange::Entries { range, bytes_max: 4096 }) {
                        Ok(Loaded::Entries(entries)) => entries,
                        // The application gets a snapshot instead.
                        _ => return,
                    }
                }
            };
            for (index, term, entry) in entries {
                assert_eq!(index, self.applied.last().map_or(LogIndex(1), |(last, ..)| last.next()), "no gap");
                self.applied.push((index, term, entry));
            }
        }
    }
}
