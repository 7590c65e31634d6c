//! Messages and other inputs that no correct node would send, and many that are nearly right.

use std::time::Duration;

use bytes::Bytes;

use crate::replication::message::{
    AppendEntries, AppendOutcome, AppendResponse, ClockReading, CommitNotice, Heartbeat, HeartbeatResponse,
    InstallSnapshot, LeasePromise, Pace, PullEntries, PulledEntries, PulledSnapshot, ReadIndex, ReadIndexResponse,
    ReadOutcome, Removed, RequestVote, TimeoutNow, Verdict, VoteKind, VoteResponse,
};
use crate::replication::{Election, LogCore, Message};
use crate::{
    BatchHeader, Configuration, DiskState, Entry, EntryBatch, EntryKind, Input, LoadFailure, Loaded, LogAnswer,
    LogCommand, LogIndex, LogPosition, LogTime, NodeId, Proposal, ProposalId, Random, ReadId, Run, Signal,
    SnapshotMeta, Standing, StorageLevel, Term, Ticket,
};

/// Draws inputs for a node of three.
pub(super) struct Forger {
    random: Random,
    /// The peer in whose name most messages come. Two leaders in a term would stop the node at once.
    peer: NodeId,
    /// The term of the node, and the end of its log.
    term: Term,
    end: LogPosition,
}

impl Forger {
    pub(super) fn new(seed: u64, peer: NodeId) -> Self {
        Self { random: Random::new(seed), peer, term: Term(1), end: LogPosition::default() }
    }

    /// Looks at the node, so that the next message is nearly right.
    pub(super) fn look<E: Election>(&mut self, core: &LogCore<E>) {
        (self.term, self.end) = (core.shared.term(), core.shared.log.end());
    }

    /// A number below `high`.
    pub(super) fn below(&mut self, high: u64) -> u64 {
        self.random.between(0, high - 1)
    }

    /// An input of any kind; most are messages.
    pub(super) fn input<E: Election>(&mut self) -> Input<LogCore<E>> {
        match self.below(11) {
            0..6 => {
                let from = if self.below(10) == 0 { self.node() } else { self.peer };
                Input::Message { from, message: self.message() }
            }
            6 => Input::Signal(Signal::Timeout),
            7 | 8 => self.rare(),
            _ => Input::Command(self.command()),
        }
    }

    /// A small number, one near a limit, or any.
    fn number(&mut self) -> u64 {
        match self.below(18) {
            0 => u64::MAX / 2 - 2 + self.below(5),
            1 => u64::MAX - self.below(3),
            2 => self.random.next_u64(),
            _ => self.below(14),
        }
    }

    fn count(&mut self) -> u32 {
        u32::try_from(self.below(1 << 32)).expect("below the limit")
    }

    fn one_of<T: Copy, const N: usize>(&mut self, all: [T; N]) -> T {
        all[usize::try_from(self.below(N as u64)).expect("small")]
    }

    fn node(&mut self) -> NodeId {
        NodeId(1 + self.below(4))
    }

    fn term(&mut self) -> Term {
        match self.below(8) {
            0 => Term(self.number()),
            1 => Term(self.term.0.saturating_add(1)),
            2 => self.end.term,
            _ => self.term,
        }
    }

    fn index(&mut self) -> LogIndex {
        LogIndex(self.number())
    }

    fn position(&mut self) -> LogPosition {
        if self.is() { self.end } else { LogPosition { index: self.index(), term: self.term() } }
    }

    fn is(&mut self) -> bool {
        self.below(2) == 0
    }

    fn founding(&mut self) -> Option<u32> {
        let right = crate::crc32c(&members().encode());
        match self.below(4) {
            0 => Some(7),
            1 => None,
            _ => Some(right),
        }
    }

    fn snapshot(&mut self) -> SnapshotMeta {
        let (index, term, log_time) = (self.index(), self.term(), LogTime(self.number()));
        SnapshotMeta { index, term, log_time, configuration: members() }
    }

    /// Entries after `prev`, or anything.
    fn batch(&mut self, prev: LogIndex) -> EntryBatch {
        match self.below(8) {
            0 => {
                let runs = (0..self.below(3)).map(|_| Run { term: self.term(), count: self.count() });
                let runs = runs.collect();
                let raw: Vec<u8> =
                    (0..self.below(120)).map(|_| u8::try_from(self.below(256)).expect("a byte")).collect();
                EntryBatch::from_parts(BatchHeader { first: self.index(), runs }, raw.into())
            }
            1 => EntryBatch::default(),
            2 => {
                let first = self.index();
                self.entries(first)
            }
            _ => self.entries(LogIndex(prev.0.wrapping_add(1))),
        }
    }

    fn entries(&mut self, first: LogIndex) -> EntryBatch {
        let mut term = self.term();
        let entries: Vec<(Term, Entry)> = (0..self.below(5)).map(|_| (self.rise(&mut term), self.entry())).collect();
        EntryBatch::encode(first, entries.iter().map(|(term, entry)| (*term, entry)))
    }

    fn rise(&mut self, term: &mut Term) -> Term {
        *term = Term(term.0.saturating_add(self.below(2)));
        *term
    }

    fn entry(&mut self) -> Entry {
        let payload = if self.is() { members().encode() } else { Bytes::from_static(b"payload") };
        let kind = if self.below(4) == 0 { EntryKind::Configuration } else { EntryKind::Command };
        let mut entry = Entry::internal(kind, LogTime(self.number()), payload);
        entry.header.checksum ^= u32::from(self.below(12) == 0);
        entry
    }

    fn message(&mut self) -> Message {
        let (term, index, number) = (self.term(), self.index(), self.number());
        let LogPosition { index: prev_index, term: prev_term } = self.position();
        match self.below(16) {
            0 => self.request_vote(),
            1 => self.vote_response(),
            2 => {
                let batch = self.batch(prev_index);
                Message::AppendEntries(AppendEntries { term, prev_index, prev_term, commit_index: index, batch })
            }
            3 => Message::AppendResponse(AppendResponse { term, outcome: self.append_outcome() }),
            4 => {
                let (pace, log_time) = (self.pace(), LogTime(self.number()));
                Message::Heartbeat(Heartbeat { term, commit_index: index, round: number, pace, log_time })
            }
            5 => self.heartbeat_response(),
            6 => Message::CommitNotice(CommitNotice { term, commit_index: index }),
            7 => {
                let (snapshot, founding) = (self.snapshot(), self.founding());
                Message::InstallSnapshot(InstallSnapshot { term, snapshot, founding })
            }
            8 => Message::ReadIndex(ReadIndex { term, number }),
            9 => {
                let outcome = [ReadOutcome::Index(index), ReadOutcome::NotLeader, ReadOutcome::Overloaded];
                let outcome = self.one_of(outcome);
                Message::ReadIndexResponse(ReadIndexResponse { term, number, outcome })
            }
            10 => Message::TimeoutNow(TimeoutNow { term }),
            11 => Message::Removed(Removed { term, index }),
            12 => Message::LeasePromise(LeasePromise { term, round: number, span_us: self.number() }),
            13 => Message::PullEntries(PullEntries { term, prev_index, prev_term }),
            14 => {
                let batch = self.batch(prev_index);
                Message::PulledEntries(PulledEntries { term, prev_index, prev_term, batch })
            }
            _ => {
                let (snapshot, founding) = (self.snapshot(), self.founding());
                Message::PulledSnapshot(PulledSnapshot { term, snapshot, founding })
            }
        }
    }

    fn kind(&mut self) -> VoteKind {
        self.one_of([VoteKind::Pre, VoteKind::Full, VoteKind::Transfer])
    }

    fn pace(&mut self) -> Pace {
        if self.is() { Pace::Lively } else { Pace::Quiet }
    }

    fn request_vote(&mut self) -> Message {
        let (term, kind, last_index, last_term) = (self.term(), self.kind(), self.index(), self.term());
        Message::RequestVote(RequestVote { term, kind, last_index, last_term, founding: self.founding() })
    }

    fn vote_response(&mut self) -> Message {
        let (term, asked, kind) = (self.term(), self.term(), self.kind());
        let verdict = if self.below(4) > 0 { Verdict::Granted } else { Verdict::Refused };
        let log_time = self.is().then(|| LogTime(self.number()));
        let clock = ClockReading { log_time, wall_ms: self.number() };
        let (last_index, last_term) = (self.index(), self.term());
        Message::VoteResponse(VoteResponse { term, asked, kind, verdict, clock, last_index, last_term })
    }

    fn append_outcome(&mut self) -> AppendOutcome {
        match self.below(4) {
            0 => AppendOutcome::Matched { match_index: self.index() },
            1 => AppendOutcome::Conflict { prev_index: self.index(), hint_index: self.index(), hint_term: self.term() },
            2 => AppendOutcome::Stale,
            _ => AppendOutcome::Corrupt { index: self.index() },
        }
    }

    fn heartbeat_response(&mut self) -> Message {
        let (term, round, pace) = (self.term(), self.number(), self.pace());
        let [received_index, match_index, durable_index] = [self.index(), self.index(), self.index()];
        let disk = self.one_of([DiskState::Ready, DiskState::Low, DiskState::Stalled]);
        let answer = HeartbeatResponse { term, round, received_index, match_index, durable_index, pace, disk };
        Message::HeartbeatResponse(answer)
    }

    fn ticket(&mut self) -> Ticket {
        Ticket(self.number())
    }

    /// An input of the disk, the application or the node.
    fn rare<E: Election>(&mut self) -> Input<LogCore<E>> {
        let (ticket, node) = (self.ticket(), self.node());
        match self.below(14) {
            0 => Input::Signal(Signal::Persisted(ticket)),
            1 => Input::Signal(Signal::PeerAlive(node)),
            2 => Input::Signal(Signal::Unreachable(node)),
            3 => {
                let standing = if self.below(5) > 0 { Standing::Member } else { Standing::Stranger };
                Input::Signal(Signal::PeerStanding { node, standing })
            }
            4 => Input::Signal(Signal::CompactRequested),
            5 => Input::Signal(Signal::Storage(StorageLevel::Low)),
            6 => Input::Signal(Signal::Storage(StorageLevel::Enough)),
            7 | 8 => {
                let entries = vec![(self.index(), self.term(), self.entry())];
                Input::Signal(Signal::Loaded { ticket, result: Ok(Loaded::Entries(entries)) })
            }
            9 => Input::Signal(Signal::Loaded { ticket, result: Ok(Loaded::Keys(Vec::new())) }),
            10 => Input::Signal(Signal::Loaded { ticket, result: Err(LoadFailure::Io) }),
            11 => Input::Completed { ticket, answer: LogAnswer::SnapshotUnreadable { to: node } },
            12 => Input::Completed { ticket, answer: LogAnswer::SnapshotReceiveFailed },
            _ => Input::Completed { ticket, answer: LogAnswer::SnapshotDurable { snapshot: self.snapshot() } },
        }
    }

    fn command(&mut self) -> LogCommand {
        match self.below(6) {
            0 => LogCommand::Compact { snapshot: self.snapshot(), keep_from: self.index() },
            1 => LogCommand::Read { id: ReadId(self.number()) },
            2 => LogCommand::Transfer { to: None, timeout: Duration::from_nanos(self.number()) },
            3 => LogCommand::Campaign,
            _ => {
                let payload = Bytes::from(vec![0; usize::try_from(self.below(300)).expect("small")]);
                let (id, kind) = (ProposalId::default(), EntryKind::Command);
                LogCommand::Propose(Proposal { id, kind, acknowledged_below: 0, payload, checksum: 0 })
            }
        }
    }
}

/// The members of the group.
fn members() -> Configuration {
    Configuration::of_voters([NodeId(1), NodeId(2), NodeId(3)])
}
