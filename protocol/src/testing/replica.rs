//! Clusters of replicated logs: an application that keeps the entries themselves, and commands for it.

use std::time::Duration;

use bytes::Bytes;

use super::{Cluster, Node, Subject};
use crate::{
    Committed, Configuration, Entry, EntryKind, Input, LoadRange, Loaded, LogAnswer, LogCommand, LogEvent, LogIndex,
    LogRequest, MemberChange, NodeId, Proposal, ProposalId, ReadId, RefuseReason, ReplicatedLog, Role, SnapshotMeta,
    Term, Ticket, crc32c,
};

/// An entry that was applied.
pub type Applied = (LogIndex, Term, Entry);

/// A state machine whose state is the list of all applied entries.
#[derive(Debug, Default)]
pub struct Replica {
    /// The applied entries, in order. A node that restarts begins from its newest snapshot.
    pub applied: Vec<Applied>,
    /// True if the snapshot on its disk cannot be read.
    pub is_snapshot_unreadable: bool,
    /// The content of the snapshot on its disk.
    snapshot: Vec<Applied>,
    /// The snapshot that the core wants to receive.
    receiving: Option<(Ticket, NodeId, Term, SnapshotMeta)>,
}

impl Replica {
    /// Loses what is not in the snapshot.
    pub fn crash(&mut self) {
        self.receiving = None;
        self.applied.clone_from(&self.snapshot);
    }

    /// Takes the state of the newest snapshot if the log was continued after it.
    pub fn hear(&mut self, event: &LogEvent) {
        if matches!(event, LogEvent::Installed { .. }) {
            self.applied.clone_from(&self.snapshot);
        }
    }

    fn next(&self) -> LogIndex {
        self.applied.last().map_or(LogIndex(1), |(index, ..)| index.next())
    }
}

/// A log core whose application is a [`Replica`].
pub trait LogSubject: Subject<Application = Replica> + ReplicatedLog {}

impl<P: Subject<Application = Replica> + ReplicatedLog> LogSubject for P {}

impl<P: LogSubject> Node<P> {
    /// The payloads of the applied commands.
    #[must_use]
    pub fn commands(&self) -> Vec<&[u8]> {
        let is_command = |(_, _, entry): &&Applied| entry.header.kind == EntryKind::Command;
        self.application.applied.iter().filter(is_command).map(|(_, _, entry)| &entry.payload[..]).collect()
    }

    /// Applies everything that is committed.
    ///
    /// # Panics
    /// When an entry is missing between two others.
    pub fn apply(&mut self) {
        let Some(core) = &self.core else { return };
        loop {
            let entries = match core.entries(self.application.next(), PULL_BYTES_MAX) {
                Committed::Cached(entries) => entries,
                Committed::NeedsLoad(range) => {
                    match self.disk.load(&LoadRange::Entries { range, bytes_max: PULL_BYTES_MAX }) {
                        Ok(Loaded::Entries(entries)) => entries,
                        // The application gets a snapshot instead.
                        _ => return,
                    }
                }
            };
            if entries.is_empty() {
                return;
            }
            for (index, term, entry) in entries {
                assert_eq!(index, self.application.next(), "no gap");
                self.application.applied.push((index, term, entry));
            }
        }
    }

    /// Makes a snapshot of the applied entries, unless there is one already.
    fn snapshot(&mut self) -> Option<SnapshotMeta> {
        let (index, term, entry) = self.application.applied.last()?;
        if self.disk.snapshot.as_ref().is_some_and(|newest| newest.index >= *index) {
            return None;
        }
        let is_configuration = |(_, _, entry): &&Applied| entry.header.kind == EntryKind::Configuration;
        let newest = self.application.applied.iter().rev().find(is_configuration);
        let configuration = Configuration::decode(&newest?.2.payload).expect("an applied configuration can be read");
        let meta = SnapshotMeta { index: *index, term: *term, log_time: entry.header.log_time, configuration };
        self.disk.snapshot = Some(meta.clone());
        self.application.snapshot.clone_from(&self.application.applied);
        Some(meta)
    }
}

impl<P: LogSubject> Cluster<P> {
    /// Proposes on a node, and returns the proposal's id.
    pub fn propose(&mut self, node: u64, payload: &[u8]) -> ProposalId {
        let id = ProposalId { sequence: self.next_id(), ..ProposalId::default() };
        let payload = Bytes::copy_from_slice(payload);
        let checksum = crc32c(&payload);
        let proposal = Proposal { id, kind: EntryKind::Command, acknowledged_below: 0, payload, checksum };
        self.input(NodeId(node), Input::Command(LogCommand::Propose(proposal)));
        id
    }

    /// Asks a node to change the members, and returns the change's id.
    pub fn change(&mut self, node: u64, changes: impl IntoIterator<Item = MemberChange>) -> ProposalId {
        let id = ProposalId { sequence: self.next_id(), ..ProposalId::default() };
        let changes = changes.into_iter().collect();
        self.input(NodeId(node), Input::Command(LogCommand::ChangeConfiguration { id, changes }));
        id
    }

    /// The reason why a node refused a proposal or a change, if it did.
    #[must_use]
    pub fn refusal(&self, node: u64, proposal: ProposalId) -> Option<RefuseReason> {
        self.node(node).events.iter().find_map(|event| match event {
            LogEvent::Refused { id, reason, .. } if *id == proposal => Some(*reason),
            _ => None,
        })
    }

    /// The configuration that is in force on a running node.
    #[must_use]
    pub fn members(&self, node: u64) -> Configuration {
        self.node(node).core().status().configuration
    }

    /// Starts a read on a node, and returns the read's id.
    pub fn read(&mut self, node: u64) -> ReadId {
        let id = ReadId(self.next_id());
        self.input(NodeId(node), Input::Command(LogCommand::Read { id }));
        id
    }

    /// The index at which a read may be answered, if it may.
    #[must_use]
    pub fn read_index(&self, node: u64, read: ReadId) -> Option<LogIndex> {
        self.node(node).events.iter().find_map(|event| match event {
            LogEvent::ReadReady { id, index } if *id == read => Some(*index),
            _ => None,
        })
    }

    /// Makes a snapshot on a node and compacts its log, all but `keep` entries.
    pub fn snapshot(&mut self, node: u64, keep: u64) {
        if let Some(snapshot) = self.node_mut(node).snapshot() {
            let keep_from = LogIndex(snapshot.index.0.saturating_sub(keep));
            self.input(NodeId(node), Input::Command(LogCommand::Compact { snapshot, keep_from }));
        }
    }

    /// Runs until a node leads that a quorum follows, and returns it.
    ///
    /// # Panics
    /// When there is none within a minute.
    pub fn elect(&mut self) -> u64 {
        assert!(self.run_until(ELECTION_MAX, |cluster| cluster.leader().is_some()), "a leader is elected");
        self.settle();
        self.leader().expect("just seen")
    }

    /// Makes node `node` the leader. No other node's deadline passes before.
    ///
    /// # Panics
    /// When it is not elected.
    pub fn elect_node(&mut self, node: u64) {
        self.time_out(node);
        assert_eq!(self.leader(), Some(node), "it leads");
    }

    /// The leader of the latest term, if it has committed an entry of that term.
    #[must_use]
    pub fn leader(&self) -> Option<u64> {
        let running = self.nodes.iter().filter_map(|(node, state)| Some((node, state, state.core.as_ref()?.status())));
        let leading = running.filter(|(.., status)| status.role == Role::Leader);
        let (node, state, status) = leading.max_by_key(|(.., status)| status.term)?;
        (state.disk.term_at(status.commit_index) == Some(status.term)).then_some(node.0)
    }
}

/// Gives a node's application a request of the core: it waits for a snapshot at once, and sends one later.
pub fn on_snapshot_request<P: LogSubject>(cluster: &mut Cluster<P>, node: NodeId, ticket: Ticket, request: LogRequest) {
    match request {
        LogRequest::ReceiveSnapshot { from, term, snapshot } => {
            cluster.node_mut(node.0).application.receiving = Some((ticket, from, term, snapshot));
        }
        LogRequest::SendSnapshot { .. } => {
            let delay = cluster.draw(cluster.faults.write_max * 4).max(Duration::from_millis(1));
            cluster.ask_later(node, delay, ticket, request);
        }
    }
}

/// Sends a snapshot: it arrives as a whole if the receiver waits for it.
pub fn send_snapshot<P: LogSubject>(cluster: &mut Cluster<P>, from: NodeId, ticket: Ticket, request: LogRequest) {
    let LogRequest::SendSnapshot { to, term, snapshot } = request else { return };
    let sender = &cluster.node(from.0).application;
    if sender.is_snapshot_unreadable {
        let answer = LogAnswer::SnapshotUnreadable { to };
        return cluster.input(from, Input::Completed { ticket, answer });
    }
    let content = sender.snapshot.iter().filter(|(index, ..)| *index <= snapshot.index).cloned().collect();
    let is_cut = cluster.is_cut(from, to) || cluster.is_cut(to, from);
    let receiver = cluster.node_mut(to.0);
    let is_awaited = |(_, sender, of_term, meta): &mut (Ticket, NodeId, Term, SnapshotMeta)| {
        !is_cut && (*sender, *of_term, &*meta) == (from, term, &snapshot)
    };
    let awaited = receiver.application.receiving.take_if(is_awaited).filter(|_| receiver.core.is_some());
    let Some((receive_ticket, ..)) = awaited else {
        let answer = LogAnswer::SnapshotSendFailed { to };
        return cluster.input(from, Input::Completed { ticket, answer });
    };
    receiver.disk.snapshot = Some(snapshot.clone());
    receiver.application.snapshot = content;
    let index = snapshot.index;
    cluster.input(to, Input::Completed { ticket: receive_ticket, answer: LogAnswer::SnapshotDurable { snapshot } });
    cluster.input(from, Input::Completed { ticket, answer: LogAnswer::SnapshotSent { to, index } });
}

const PULL_BYTES_MAX: usize = 4096;
const ELECTION_MAX: Duration = Duration::from_mins(1);
