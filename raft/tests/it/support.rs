//! Helpers that several tests need.

use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{
    Configuration, Entry, EntryBatch, EntryKind, Input, LogCommand, LogEvent, LogIndex, LogPosition, LogRequest,
    LogTime, NodeId, Now, Operation, Output, Proposal, ProposalId, Protocol, Recovery, ReplicatedLog, Role, Signal,
    Standing, Term, Ticket,
};
use quorate_raft::message::{AppendEntries, ClockReading, Verdict, VoteKind, VoteResponse};
use quorate_raft::{Config, Message, Raft, Settings, Start};

/// A number from the environment, to run more of a test than by default.
pub(crate) fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Node 1 of three (or more), alone with a test that simulates its peers, its disk and its application.
pub(crate) struct Bench {
    pub(crate) core: Raft,
    pub(crate) now: Now,
    /// True if writes complete at once.
    pub(crate) writes_complete: bool,
    pub(crate) pending: Vec<Ticket>,
    pub(crate) operations: Vec<Operation>,
    pub(crate) events: Vec<LogEvent>,
    pub(crate) requests: Vec<(Ticket, LogRequest)>,
}

impl Bench {
    /// A fresh node 1 of `count` members.
    pub(crate) fn new(count: u64) -> Self {
        Self::recovered(count, Recovery::default())
    }

    /// Node 1 with this log. All nodes are members.
    pub(crate) fn recovered(count: u64, recovery: Recovery) -> Self {
        let members = Configuration::of_voters((1..=count).map(NodeId));
        let settings = Settings { commit_notice_delay: Duration::ZERO, ..Settings::default() };
        let config = Config::new(NodeId(1), 7, Start::Initial(members), settings).expect("valid");
        let now = Now { instant: quorate_protocol::Instant::ZERO, wall_ms: 0 };
        let core = Raft::recover(now, config, recovery).expect("it is read");
        let (pending, operations, events) = (Vec::new(), Vec::new(), Vec::new());
        let mut bench = Self { core, now, writes_complete: true, pending, operations, events, requests: Vec::new() };
        for node in 1..=count {
            bench.input(Input::Signal(Signal::PeerStanding { node: NodeId(node), standing: Standing::Member }));
        }
        bench
    }

    /// A follower in `term` whose log holds entries of these terms, from index 1.
    pub(crate) fn with_log(count: u64, term: u64, terms: &[u64]) -> Self {
        Self::recovered(count, recovery(count, term, terms))
    }

    /// Passes one input to the core, and returns its outputs.
    pub(crate) fn input(&mut self, input: Input<Raft>) -> Vec<(u64, Message)> {
        self.core.handle(self.now, input);
        self.poll()
    }

    /// Returns the outputs of the core.
    pub(crate) fn poll(&mut self) -> Vec<(u64, Message)> {
        let mut sent = Vec::new();
        while let Some(output) = self.core.poll_output() {
            self.core.check_invariants();
            match output {
                Output::Persist { ticket, operations } => {
                    self.operations.extend(operations);
                    if self.writes_complete {
                        self.core.handle(self.now, Input::Signal(Signal::Persisted(ticket)));
                    } else {
                        self.pending.push(ticket);
                    }
                }
                Output::Send { to, message } => sent.push((to.0, message)),
                Output::Event(event) => self.events.push(event),
                Output::Request { ticket, request } => self.requests.push((ticket, request)),
                _ => {}
            }
        }
        sent
    }

    /// Delivers a message.
    pub(crate) fn hear(&mut self, from: u64, message: impl Into<Message>) -> Vec<(u64, Message)> {
        self.input(Input::Message { from: NodeId(from), message: message.into() })
    }

    /// Completes every write.
    pub(crate) fn complete(&mut self) -> Vec<(u64, Message)> {
        self.writes_complete = true;
        for ticket in std::mem::take(&mut self.pending) {
            self.core.handle(self.now, Input::Signal(Signal::Persisted(ticket)));
        }
        self.poll()
    }

    /// Moves the clock to the deadline.
    pub(crate) fn time_out(&mut self) -> Vec<(u64, Message)> {
        self.now.instant = self.now.instant.max(self.core.deadline().expect("it waits"));
        self.input(Input::Signal(Signal::Timeout))
    }

    /// Lets time pass, without any deadline.
    pub(crate) fn wait(&mut self, millis: u64) {
        self.now.instant = self.now.instant.after(Duration::from_millis(millis));
    }

    /// Makes the node the leader of the next term, with the votes of node 2 and as many others as it needs.
    pub(crate) fn lead(&mut self) -> Vec<(u64, Message)> {
        self.time_out();
        let own = self.term();
        let voters = self.core.status().configuration.members().len() as u64 / 2 + 1;
        for node in 2..=voters {
            self.hear(node, granted(own, own + 1, VoteKind::Pre));
        }
        let mut sent = Vec::new();
        for node in 2..=voters {
            sent = self.hear(node, granted(own + 1, own + 1, VoteKind::Full));
        }
        assert_eq!(self.role(), Role::Leader);
        sent
    }

    /// Proposes a command.
    pub(crate) fn propose(&mut self, payload: &'static [u8]) -> Vec<(u64, Message)> {
        let payload = Bytes::from_static(payload);
        let checksum = quorate_protocol::crc32c(&payload);
        let (id, kind) = (ProposalId { sequence: 1, ..ProposalId::default() }, EntryKind::Command);
        let proposal = Proposal { id, kind, acknowledged_below: 0, payload, checksum };
        self.input(Input::Command(LogCommand::Propose(proposal)))
    }

    pub(crate) fn term(&self) -> u64 {
        self.core.status().term.0
    }

    pub(crate) fn role(&self) -> Role {
        self.core.status().role
    }

    pub(crate) fn commit(&self) -> u64 {
        self.core.status().commit_index.0
    }

    pub(crate) fn last(&self) -> u64 {
        self.core.status().last_index.0
    }
}

/// The content of a disk with entries of these terms, from index 1. The first entry is the configuration.
pub(crate) fn recovery(count: u64, term: u64, terms: &[u64]) -> Recovery {
    let members = Configuration::of_voters((1..=count).map(NodeId));
    let configuration = Entry::internal(EntryKind::Configuration, LogTime(0), members.encode());
    let mut runs: Vec<LogPosition> = Vec::new();
    let mut tail = Vec::new();
    for (index, term) in (1..).map(LogIndex).zip(terms) {
        if runs.last().is_none_or(|run| run.term != Term(*term)) {
            runs.push(LogPosition { index, term: Term(*term) });
        }
        tail.push((index, if index == LogIndex(1) { configuration.clone() } else { entry(*term) }));
    }
    let mut state = vec![1];
    state.extend(term.to_le_bytes());
    state.extend([0; 18]);
    Recovery {
        state: Some(state.into()),
        last: LogIndex(terms.len() as u64),
        runs,
        configurations: tail.first().cloned().into_iter().collect(),
        tail,
        ..Recovery::default()
    }
}

/// A command whose payload is its term.
pub(crate) fn entry(term: u64) -> Entry {
    Entry::internal(EntryKind::Command, LogTime(0), Bytes::copy_from_slice(&term.to_le_bytes()))
}

/// The checksum of the first configuration of nodes 1 to `count`.
pub(crate) fn founding(count: u64) -> u32 {
    quorate_protocol::crc32c(&Configuration::of_voters((1..=count).map(NodeId)).encode())
}

/// A vote.
pub(crate) fn granted(term: u64, asked: u64, kind: VoteKind) -> Message {
    let (term, asked) = (Term(term), Term(asked));
    Message::VoteResponse(VoteResponse {
        term,
        asked,
        kind,
        verdict: Verdict::Granted,
        clock: ClockReading::default(),
        last_index: LogIndex::ZERO,
        last_term: Term(0),
    })
}

/// Entries of these terms after `prev`, an index and its term.
pub(crate) fn append(term: u64, prev: (u64, u64), commit: u64, terms: &[u64]) -> Message {
    let entries: Vec<Entry> = terms.iter().map(|term| entry(*term)).collect();
    let numbered: Vec<(Term, &Entry)> = terms.iter().map(|term| Term(*term)).zip(&entries).collect();
    Message::AppendEntries(AppendEntries {
        term: Term(term),
        prev_index: LogIndex(prev.0),
        prev_term: Term(prev.1),
        commit_index: LogIndex(commit),
        batch: EntryBatch::encode(LogIndex(prev.0 + 1), numbered),
    })
}
