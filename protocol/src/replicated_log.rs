//! The interface that raft and Multi-Paxos share: a log that replicas agree on.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use crate::{
    Configuration, ConfigurationError, DiskState, Entry, EntryKind, HaltReason, LogIndex, LogTime, MemberChange,
    NodeId, Now, ProposalId, Protocol, ReadId, SnapshotMeta, Term,
};

/// A replicated log. Its commands and events do not depend on the protocol that agrees on the log, so that a replica
/// runs on any such protocol.
///
/// A payload is proposed, appended and committed. The replica then pulls it with [`ReplicatedLog::entries`], so that an
/// entry that left the cache is read from disk once, when it is applied.
pub trait ReplicatedLog:
    Protocol<Command = LogCommand, Event = LogEvent, Request = LogRequest, Answer = LogAnswer>
{
    /// Number of the transport's channel on which the protocol's messages travel. It stands for the protocol in what a
    /// group is founded with, so that nodes never mix protocols in a group.
    const CHANNEL: u16 = 16;

    /// Committed entries from index `from` on, as many as fit `bytes_max`, but at least one if there is one. Never
    /// beyond the index of the last [`LogEvent::Committed`].
    fn entries(&self, from: LogIndex, bytes_max: usize) -> Committed;

    /// The log time `now`: the log time of an entry that the leader would append at this moment. On a node that does
    /// not lead, it is the leader's last log time plus the time that passed since; without any news of a leader, the
    /// log time of the last entry.
    fn log_time(&self, now: Now) -> LogTime;

    /// If this node leads and holds a lease at `now`, the index that a linearizable read here must have applied. Such a
    /// read takes no message. Without leases always `None`.
    ///
    /// A lease ends by the clock, and a node may be stopped at any point. So ask twice, with no input between: before
    /// the access to the state, and after it with a time that was read from the clock after it. If the second answer
    /// is `None`, the result is void, and the read goes its ordinary way ([`LogCommand::Read`]).
    fn lease(&self, now: Now) -> Option<LogIndex> {
        let _ = now;
        None
    }

    /// State of this node's part in the group, for an operator.
    fn status(&self) -> LogStatus;
}

/// Committed entries, or the range to load them from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// Consecutive entries; empty if nothing is committed there.
    Cached(Vec<(LogIndex, Term, Entry)>),
    /// The entries left the cache: load this range from the stream.
    NeedsLoad(Range<LogIndex>),
}

/// Command of the application to a replicated log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogCommand {
    /// Append this proposal, if this node leads. The answer is `Appended` or `Refused`.
    Propose(Proposal),
    /// Ask for the index that a linearizable read must have applied. Works on any replica. The answer is `ReadReady` or
    /// `ReadFailed`.
    Read {
        /// Number of the read.
        id: ReadId,
    },
    /// A snapshot is durable: remove the entries that it covers, except those that a lagging peer is being sent.
    Compact {
        /// Metadata of the snapshot.
        snapshot: SnapshotMeta,
        /// Keep at least the entries after this one, for peers that lag a little.
        keep_from: LogIndex,
    },
    /// Transfer leadership, and take no proposals meanwhile.
    Transfer {
        /// The new leader; without a name, the best candidate.
        to: Option<NodeId>,
        /// Give up after this time.
        timeout: Duration,
    },
    /// Begin an election now, if this node may be elected and no leader is known to be alive. To replace a leader that
    /// is alive, use `Transfer`.
    Campaign,
    /// Stop leading, whoever leads next. Another node is given the longest election time-out to be elected first.
    /// `Transfer` has a shorter pause.
    StepDown,
    /// Change the members of the group, if this node leads. The answer is `Appended` or `Refused`. The change is in
    /// force once it is appended. It is complete once a configuration that is not joint is committed at its index or
    /// after it.
    ChangeConfiguration {
        /// Id of the change.
        id: ProposalId,
        /// The changes, which are made together.
        changes: Vec<MemberChange>,
    },
}

/// A proposal: the content of an entry to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Id of the proposal, unique for ever.
    pub id: ProposalId,
    /// Kind of the entry.
    pub kind: EntryKind,
    /// See [`EntryHeader::acknowledged_below`](crate::EntryHeader::acknowledged_below).
    pub acknowledged_below: u64,
    /// The command.
    pub payload: Bytes,
    /// CRC-32C of the payload.
    pub checksum: u32,
}

/// Event of a replicated log for the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// The proposal was appended at this index. It is applied if and only if an entry of this term is committed at this
    /// index.
    Appended {
        /// Id of the proposal.
        id: ProposalId,
        /// Index of its entry.
        index: LogIndex,
        /// Term of its entry.
        term: Term,
    },
    /// The proposal was not appended and never will be.
    Refused {
        /// Id of the proposal.
        id: ProposalId,
        /// Reason of the refusal.
        reason: RefuseReason,
        /// The leader, if this node knows one.
        leader: Option<NodeId>,
    },
    /// Entries up to this index are committed and durable on this node: pull them.
    Committed {
        /// The highest committed index.
        index: LogIndex,
    },
    /// A read may be answered from a state that has applied this index.
    ReadReady {
        /// Number of the read.
        id: ReadId,
        /// The index.
        index: LogIndex,
    },
    /// A read cannot be answered. It had no effect.
    ReadFailed {
        /// Number of the read.
        id: ReadId,
        /// Reason of the failure.
        reason: ReadFailure,
    },
    /// This node's role, term or known leader changed.
    Role {
        /// The role.
        role: Role,
        /// The term.
        term: Term,
        /// The leader, if this node knows one.
        leader: Option<NodeId>,
    },
    /// The log now starts after this snapshot: restore it.
    Installed {
        /// Metadata of the snapshot.
        snapshot: SnapshotMeta,
    },
    /// Another configuration is in force on this node: it was appended, committed or not, or an entry after it was
    /// truncated, or a snapshot brought it.
    Configuration {
        /// The configuration.
        configuration: Configuration,
    },
    /// This node gained or lost its right to vote.
    Voting {
        /// Reason why the node may not vote; `None` if it may.
        barred: Option<VotingBar>,
    },
    /// A node no longer has what it acknowledged to this leader: it runs on an older copy of its disk and must not
    /// count. Reported with each of its answers until [`Signal::PeerStanding`](crate::Signal::PeerStanding) takes it
    /// out.
    AcknowledgedLost {
        /// The node.
        node: NodeId,
    },
    /// This node's wall clock now differs from log time by more than the bound, or was set while it did, or agrees
    /// again. Log time does not follow the wall clock.
    ClockDiffers {
        /// Milliseconds by which the wall clock is ahead, negative if it is behind; `None` if it agrees again.
        wall_ahead_ms: Option<i64>,
    },
}

/// Reason why a proposal was certainly not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefuseReason {
    /// This node does not lead.
    NotLeader,
    /// This node leads, but has transferred its leadership or is about to.
    Transferring,
    /// More proposals wait for commitment than the bound allows.
    Overloaded,
    /// The payload is longer than the bound.
    TooLarge,
    /// The disk's reserve is used up.
    DiskFull,
    /// Another change of the members is under way, or this leader has not committed an entry of its term yet.
    ConfigurationPending,
    /// The change of members cannot be made.
    ConfigurationInvalid(ConfigurationError),
    /// Too few of the voters before or after a change of members were heard from lately. The change could not be
    /// completed, and no other one could be made after it.
    QuorumSilent,
    /// The log failed; the node must be restarted.
    Halted,
}

/// Reason why a read cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadFailure {
    /// This node knows no leader.
    NoLeader,
    /// The leader changed or lost its quorum while the read was under way.
    LeadershipLost,
    /// More reads wait than the bound allows.
    Overloaded,
}

/// A node's role in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether it could win an election, without raising the terms of others.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads the group.
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

/// Reason why a node does not vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VotingBar {
    /// It has not yet exchanged incarnations with every initial voter.
    NotIntroduced,
    /// The core was told that its node is a stranger. The shell knows the reason; the core does not.
    Stranger,
    /// A peer knows another incarnation under this node's id: the disk was wiped or belongs to another node.
    WipedDisk,
    /// A peer knows a later start of this node: its disk is an older copy, which lacks the promises made since.
    OlderCopy,
    /// An initial voter founded the group with other members or another protocol.
    FoundedOtherwise,
    /// The node is a learner of the configuration in force.
    NotVoter,
    /// The node is not a member of the configuration in force: it was not added yet.
    NotMember,
    /// The node was a member and was removed.
    Removed,
    /// The node is in the highest possible term, so that no further leader can be elected.
    TermsUsedUp,
}

impl VotingBar {
    /// Returns true if the other nodes treat this node as a stranger. It receives the log, but it neither votes nor
    /// proposes.
    #[must_use]
    pub fn is_stranger(self) -> bool {
        matches!(self, Self::Stranger | Self::WipedDisk | Self::OlderCopy | Self::FoundedOtherwise)
    }
}

/// Request for work that only the application can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogRequest {
    /// Send the newest durable snapshot to a peer that needs entries which the log no longer has. Answered by
    /// `SnapshotSent`, `SnapshotSendFailed` or `SnapshotUnreadable`.
    SendSnapshot {
        /// Receiver of the snapshot.
        to: NodeId,
        /// The leader's term, which every chunk bears.
        term: Term,
        /// Metadata of the snapshot.
        snapshot: SnapshotMeta,
    },
    /// Receive the snapshot that this leader sends, and give up any transfer from another sender. The answer is
    /// `SnapshotDurable` or `SnapshotReceiveFailed`.
    ReceiveSnapshot {
        /// The leader.
        from: NodeId,
        /// Its term; chunks of another term are refused.
        term: Term,
        /// Metadata of the snapshot.
        snapshot: SnapshotMeta,
    },
}

/// The application's answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogAnswer {
    /// The peer has the whole snapshot, and it is durable there.
    SnapshotSent {
        /// Id of the peer.
        to: NodeId,
        /// Last index that the snapshot covers.
        index: LogIndex,
    },
    /// The transfer failed because of the peer or the connection. The core may ask for it again.
    SnapshotSendFailed {
        /// Id of the peer.
        to: NodeId,
    },
    /// The transfer failed because this node's own store could not read the snapshot. The core may ask for it again.
    /// Another node may be able to read its own snapshot.
    SnapshotUnreadable {
        /// Id of the peer.
        to: NodeId,
    },
    /// The snapshot is verified and durable here, but not in force yet.
    SnapshotDurable {
        /// Metadata of the snapshot.
        snapshot: SnapshotMeta,
    },
    /// The snapshot did not arrive complete.
    SnapshotReceiveFailed,
}

/// State of a node's part in a group, for an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStatus {
    /// Id of this node.
    pub node: NodeId,
    /// Its role.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// The leader, if this node knows one.
    pub leader: Option<NodeId>,
    /// Index of the first entry still in the log.
    pub first_index: LogIndex,
    /// Index of the last entry, durable or not.
    pub last_index: LogIndex,
    /// Index of the last entry that is durable here.
    pub durable_index: LogIndex,
    /// Index of the last entry that is known to be committed.
    pub commit_index: LogIndex,
    /// The log time of the last entry.
    pub log_time: LogTime,
    /// Milliseconds by which this node's wall clock is ahead of log time, negative if it is behind; `None` if the node
    /// has not heard of log time since its start.
    pub wall_ahead_ms: Option<i64>,
    /// The configuration in force.
    pub configuration: Configuration,
    /// Index of its entry, or of a later one if it came with a snapshot. It is committed if this is not above the
    /// commit index.
    pub configuration_index: LogIndex,
    /// Reason why this node does not vote; `None` if it does.
    pub barred: Option<VotingBar>,
    /// State of this node's disk.
    pub disk: DiskState,
    /// Reason why this group stopped on this node; `None` if it runs.
    pub halted: Option<HaltReason>,
    /// Progress of each peer; empty unless this node leads.
    pub peers: Vec<PeerProgress>,
    /// Number of ignored messages by reason.
    pub ignored: Vec<(&'static str, u64)>,
}

/// Progress of a peer, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerProgress {
    /// Id of the peer.
    pub node: NodeId,
    /// The peer's log is known to match the leader's up to here.
    pub match_index: LogIndex,
    /// Index of the next entry to send.
    pub next_index: LogIndex,
    /// How entries are sent to the peer.
    pub state: ProgressState,
    /// State of its disk, as the peer last reported it.
    pub disk: DiskState,
    /// True if the leader heard from the peer within the last election time-out.
    pub is_active: bool,
}

/// How entries are sent to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProgressState {
    /// One message at a time, until the leader knows where the logs match.
    Probe,
    /// A stream of messages, bounded in bytes.
    Replicate,
    /// A snapshot is being sent.
    Snapshot,
}
