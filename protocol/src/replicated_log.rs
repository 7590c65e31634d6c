//! What raft and Multi-Paxos both are: a log that replicas agree on.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use crate::{
    Configuration, DiskState, Entry, EntryKind, HaltReason, LogIndex, LogTime, Member, NodeId, Now, ProposalId,
    Protocol, ReadId, SnapshotMeta, Term,
};

/// A replicated log: commands and events are the same whatever protocol agrees on it, so that a replica runs on any.
///
/// Payloads are proposed, appended, committed and only then pulled with [`ReplicatedLog::entries`], so that an entry that
/// left the cache is read once, when it is applied.
pub trait ReplicatedLog:
    Protocol<Command = LogCommand, Event = LogEvent, Request = LogRequest, Answer = LogAnswer>
{
    /// Committed entries from `from` on, as many as fit `bytes_max` (at least one if there is any). Never beyond the last
    /// [`LogEvent::Committed`].
    fn entries(&self, from: LogIndex, bytes_max: usize) -> Committed;

    /// The log time `now`: what an entry would bear that was appended at this moment. On a node that does not lead it is what
    /// the leader told last and the time that passed since; where none was told, the log time of the last entry.
    fn log_time(&self, now: Now) -> LogTime;

    /// What an operator wants to know of this node's part in the group.
    fn status(&self) -> LogStatus;
}

/// Committed entries, or where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// Consecutive entries; none when nothing is committed there.
    Cached(Vec<(LogIndex, Term, Entry)>),
    /// They left the cache: load them from the stream.
    NeedsLoad(Range<LogIndex>),
}

/// What the application asks of a replicated log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogCommand {
    /// Append this, if this node leads. Answered by `Appended` or `Refused`.
    Propose(Proposal),
    /// Tell the index that a linearizable read must have applied. Works on any replica. Answered by `ReadReady` or
    /// `ReadFailed`.
    Read {
        /// Names the read.
        id: ReadId,
    },
    /// This snapshot is durable: entries it covers may go, as far as no peer is being brought up with them.
    Compact {
        /// What the snapshot stands for.
        snapshot: SnapshotMeta,
        /// Keep at least the entries behind this one, for peers that lag a little.
        keep_from: LogIndex,
    },
    /// Hand leadership over, and take no proposals meanwhile.
    Transfer {
        /// To whom; to the best candidate if nobody is named.
        to: Option<NodeId>,
        /// Give up after this time.
        timeout: Duration,
    },
    /// Change the members.
    ChangeConfiguration {
        /// Names the change.
        id: ProposalId,
        /// Who takes part from then on.
        members: Vec<Member>,
    },
}

/// Something to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Names it for ever.
    pub id: ProposalId,
    /// What for.
    pub kind: EntryKind,
    /// See [`EntryHeader::acknowledged_below`](crate::EntryHeader::acknowledged_below).
    pub acknowledged_below: u64,
    /// The command.
    pub payload: Bytes,
    /// CRC-32C of the payload.
    pub checksum: u32,
}

/// What a replicated log tells the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// The proposal stands at this place. It is applied if and only if an entry of this term is committed at this index.
    Appended {
        /// Which proposal.
        id: ProposalId,
        /// Where it stands.
        index: LogIndex,
        /// In which term.
        term: Term,
    },
    /// The proposal was not appended and never will be.
    Refused {
        /// Which proposal.
        id: ProposalId,
        /// Why.
        reason: RefuseReason,
        /// Who leads, as far as is known.
        leader: Option<NodeId>,
    },
    /// Entries up to here are committed and durable on this node: pull them.
    Committed {
        /// The newest.
        index: LogIndex,
    },
    /// A read may be answered from state that has applied this index.
    ReadReady {
        /// Which read.
        id: ReadId,
        /// The index.
        index: LogIndex,
    },
    /// A read cannot be answered; nothing happened.
    ReadFailed {
        /// Which read.
        id: ReadId,
        /// Why.
        reason: ReadFailure,
    },
    /// This node's role, term or known leader changed.
    Role {
        /// The role.
        role: Role,
        /// The term.
        term: Term,
        /// Who leads, as far as is known.
        leader: Option<NodeId>,
    },
    /// The log now starts behind this snapshot: restore it.
    Installed {
        /// What it stands for.
        snapshot: SnapshotMeta,
    },
    /// Whether this node may vote changed.
    Voting {
        /// Nothing when it may, else why not.
        barred: Option<VotingBar>,
    },
    /// This node's wall clock has come to differ from log time by more than is allowed, was set while it did, or no longer does.
    /// Log time does not follow it.
    ClockDiffers {
        /// By how many milliseconds the wall clock is ahead, below zero where it is behind; nothing when it agrees again.
        wall_ahead_ms: Option<i64>,
    },
}

/// Why a proposal was certainly not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefuseReason {
    /// This node does not lead.
    NotLeader,
    /// It leads but has handed over, or is about to.
    Transferring,
    /// More is waiting for commitment than the configured bound.
    Overloaded,
    /// The payload is above the configured bound.
    TooLarge,
    /// The disk's reserve is used up.
    DiskFull,
    /// Another change of the members is under way, or none is possible yet.
    ConfigurationPending,
    /// The change of members cannot be made.
    ConfigurationInvalid,
    /// The log failed; the node must be restarted.
    Halted,
}

/// Why a read cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadFailure {
    /// Nobody leads, as far as this node knows.
    NoLeader,
    /// Leadership moved or a quorum was lost while the read was under way.
    LeadershipLost,
    /// More reads wait than the configured bound.
    Overloaded,
}

/// A node's role in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether an election could be won, without disturbing anybody.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
    /// Receives the log and does not vote.
    Learner,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Follower => "follower",
            Self::PreCandidate => "pre-candidate",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
            Self::Learner => "learner",
        })
    }
}

/// Why a node does not vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VotingBar {
    /// It has not yet exchanged incarnations with every initial voter.
    NotIntroduced,
    /// The core was told that its node is a stranger. Whoever told it knows why; a core alone does not.
    Stranger,
    /// A peer knows another incarnation under its id: its disk was wiped or is another's.
    WipedDisk,
    /// A peer knows a later start of it: its disk is an older copy, which has lost what was promised since.
    OlderCopy,
    /// An initial voter founded the group with other members or another protocol.
    FoundedOtherwise,
    /// It is not a voter of the configuration in force.
    NotVoter,
    /// It is in the last term that there is: nobody can be elected any more.
    TermsUsedUp,
}

/// Work that only the application can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogRequest {
    /// Send the newest durable snapshot to a peer that the log no longer reaches. Answered by `SnapshotSent`,
    /// `SnapshotSendFailed` or `SnapshotUnreadable`.
    SendSnapshot {
        /// To whom.
        to: NodeId,
        /// The leader's term: every chunk bears it.
        term: Term,
        /// Which snapshot.
        snapshot: SnapshotMeta,
    },
    /// Take in the snapshot that this leader sends; a transfer under way from anybody else is given up. Answered by
    /// `SnapshotDurable` or `SnapshotReceiveFailed`.
    ReceiveSnapshot {
        /// The leader.
        from: NodeId,
        /// Its term: chunks of another are refused.
        term: Term,
        /// Which snapshot.
        snapshot: SnapshotMeta,
    },
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogAnswer {
    /// The peer has the whole snapshot, durable.
    SnapshotSent {
        /// Which peer.
        to: NodeId,
        /// Which snapshot.
        index: LogIndex,
    },
    /// The transfer was given up for the peer's sake or the connection's; it may be asked for again.
    SnapshotSendFailed {
        /// Which peer.
        to: NodeId,
    },
    /// The transfer was given up because this node's own store did not give the snapshot. It may be asked for again, and
    /// another node may be able to read its own.
    SnapshotUnreadable {
        /// Which peer.
        to: NodeId,
    },
    /// The snapshot is durable here, verified, and not yet in force.
    SnapshotDurable {
        /// What it stands for.
        snapshot: SnapshotMeta,
    },
    /// The snapshot did not arrive whole.
    SnapshotReceiveFailed,
}

/// What an operator wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStatus {
    /// This node.
    pub node: NodeId,
    /// Its role.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// Who leads, as far as is known.
    pub leader: Option<NodeId>,
    /// The first entry still in the log.
    pub first_index: LogIndex,
    /// The last entry, durable or not.
    pub last_index: LogIndex,
    /// The last entry that is durable here.
    pub durable_index: LogIndex,
    /// The last entry known to be committed.
    pub commit_index: LogIndex,
    /// The log time of the last entry.
    pub log_time: LogTime,
    /// By how many milliseconds this node's wall clock is ahead of the log time now, below zero where it is behind; nothing
    /// where the node was not told the log time since its start.
    pub wall_ahead_ms: Option<i64>,
    /// The configuration in force.
    pub configuration: Configuration,
    /// Why this node does not vote, if it does not.
    pub barred: Option<VotingBar>,
    /// What this node's disk does.
    pub disk: DiskState,
    /// Why this group stopped here, if it did.
    pub halted: Option<HaltReason>,
    /// On a leader: how far each peer is.
    pub peers: Vec<PeerProgress>,
    /// How often messages were ignored, by reason.
    pub ignored: Vec<(&'static str, u64)>,
}

/// How far a peer is, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerProgress {
    /// Which peer.
    pub node: NodeId,
    /// The log of the peer is known to match up to here.
    pub match_index: LogIndex,
    /// The next entry to send.
    pub next_index: LogIndex,
    /// How entries reach it.
    pub state: ProgressState,
    /// What its disk does, as it said last.
    pub disk: DiskState,
    /// Whether it was heard of within an election time-out.
    pub is_active: bool,
}

/// How entries reach a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProgressState {
    /// One message at a time, until it is known where the logs match.
    Probe,
    /// A stream of messages, bounded in bytes.
    Replicate,
    /// A snapshot is on its way.
    Snapshot,
}
