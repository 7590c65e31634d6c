//! Messages between the nodes of a group.
//!
//! | Message | from | to | answered by |
//! | --- | --- | --- | --- |
//! | [`RequestVote`] | pre-candidate, candidate | every voter | [`VoteResponse`] |
//! | [`AppendEntries`] | leader | follower | [`AppendResponse`], once the entries are durable |
//! | [`Heartbeat`] | leader | follower | [`HeartbeatResponse`], at once |
//! | [`CommitNotice`] | leader | follower | nothing |
//! | [`InstallSnapshot`] | leader | follower | [`AppendResponse`], once the snapshot is in force |
//! | [`ReadIndex`] | follower | leader | [`ReadIndexResponse`], after a round of heartbeats |
//! | [`LeasePromise`] | follower | leader | nothing; it comes with the answer to a heartbeat |
//! | [`PullEntries`] | node that lacks entries | the voter that has them | [`PulledEntries`] or [`PulledSnapshot`] |
//! | [`TimeoutNow`] | leader | the node that is to lead | [`RequestVote`] to every voter |
//!
//! Every message contains its sender's term. A message of an earlier term is ignored. But its sender is notified of the
//! newer term if it would otherwise continue for ever (a leader, a candidate).
//!
//! ```text
//!            RequestVote(Pre)      RequestVote(Full)     AppendEntries        CommitNotice
//!  leader-to-be ──────────► voter ──────────► voter ──────────────► follower ─────────────►
//!            ◄────────────        ◄────────────      ◄──────────────
//!             VoteResponse         VoteResponse       AppendResponse
//! ```

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{BatchHeader, DiskState, EntryBatch, LogIndex, LogTime, ReadFailure, SnapshotMeta, Term, Wire, WireError};

/// A message between nodes of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Wraps [`RequestVote`].
    RequestVote(RequestVote),
    /// Wraps [`VoteResponse`].
    VoteResponse(VoteResponse),
    /// Wraps [`AppendEntries`].
    AppendEntries(AppendEntries),
    /// Wraps [`AppendResponse`].
    AppendResponse(AppendResponse),
    /// Wraps [`Heartbeat`].
    Heartbeat(Heartbeat),
    /// Wraps [`HeartbeatResponse`].
    HeartbeatResponse(HeartbeatResponse),
    /// Wraps [`CommitNotice`].
    CommitNotice(CommitNotice),
    /// Wraps [`InstallSnapshot`].
    InstallSnapshot(InstallSnapshot),
    /// Wraps [`ReadIndex`].
    ReadIndex(ReadIndex),
    /// Wraps [`ReadIndexResponse`].
    ReadIndexResponse(ReadIndexResponse),
    /// Wraps [`TimeoutNow`].
    TimeoutNow(TimeoutNow),
    /// Wraps [`Removed`].
    Removed(Removed),
    /// Wraps [`LeasePromise`].
    LeasePromise(LeasePromise),
    /// Wraps [`PullEntries`].
    PullEntries(PullEntries),
    /// Wraps [`PulledEntries`].
    PulledEntries(PulledEntries),
    /// Wraps [`PulledSnapshot`].
    PulledSnapshot(PulledSnapshot),
}

/// Requests a vote (Raft §5.2), or asks whether the vote would be given (Raft thesis §9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RequestVote {
    /// The term in which the sender wants to lead. In a pre-vote it is one above the sender's own term, and changes no
    /// node's term.
    pub term: Term,
    /// The kind of vote.
    pub kind: VoteKind,
    /// The index of the last entry in the sender's log.
    pub last_index: LogIndex,
    /// The term of that entry.
    pub last_term: Term,
    /// The checksum of the group's first configuration, if the sender knows it.
    pub founding: Option<u32>,
}

/// The kind of a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum VoteKind {
    /// A pre-vote: the voter answers whether it would vote, and is not bound by the answer.
    Pre,
    /// The vote itself.
    Full,
    /// The vote itself, although the leader is alive, because the leader transfers leadership (Raft thesis §3.10).
    Transfer,
}

/// Answers a [`RequestVote`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VoteResponse {
    /// The voter's own term.
    pub term: Term,
    /// The term of the request.
    pub asked: Term,
    /// The kind of the request.
    pub kind: VoteKind,
    /// The voter's decision.
    pub verdict: Verdict,
    /// The voter's clocks, for a leader that does not know the log time itself.
    pub clock: ClockReading,
    /// The index of the last entry in the voter's log.
    pub last_index: LogIndex,
    /// The term of that entry.
    pub last_term: Term,
}

/// The clocks of a voter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClockReading {
    /// The log time: the last one received from a leader, plus the time that has passed since. `None` if the voter has
    /// received nothing from a leader since its start.
    pub log_time: Option<LogTime>,
    /// The wall clock in Unix milliseconds.
    pub wall_ms: u64,
}

/// The decision of a voter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// The vote is granted.
    Granted,
    /// The vote is refused.
    Refused,
}

/// Brings entries (Raft §5.3). Without entries it asks whether the logs match at `prev_index`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AppendEntries {
    /// The leader's term.
    pub term: Term,
    /// The index just before the first entry.
    pub prev_index: LogIndex,
    /// The term of the entry at `prev_index`.
    pub prev_term: Term,
    /// The commit index that the leader knows.
    pub commit_index: LogIndex,
    /// The entries.
    pub batch: EntryBatch,
}

/// Answers [`AppendEntries`] and [`InstallSnapshot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AppendResponse {
    /// The follower's term.
    pub term: Term,
    /// The result.
    pub outcome: AppendOutcome,
}

/// The result of [`AppendEntries`] or [`InstallSnapshot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AppendOutcome {
    /// The logs match up to this index, and everything up to it is durable at the follower.
    Matched {
        /// The index of the last matching entry.
        match_index: LogIndex,
    },
    /// The logs do not match just before the entries (Raft §5.3). The hint lets the leader skip one term in each round
    /// trip.
    Conflict {
        /// The `prev_index` that did not match.
        prev_index: LogIndex,
        /// The index of the follower's newest entry at or before `prev_index` whose term is not above `prev_term`.
        hint_index: LogIndex,
        /// The term of that entry.
        hint_term: Term,
    },
    /// The sender no longer leads: this node knows a later term.
    Stale,
    /// The payload of an entry does not match its checksum. Nothing of the message was accepted.
    Corrupt {
        /// The index of the first such entry.
        index: LogIndex,
    },
}

/// Shows that the leader is alive, and asks the follower to confirm that it still follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The leader's term.
    pub term: Term,
    /// An index that is committed and known to be in the follower's log.
    pub commit_index: LogIndex,
    /// Grows with every round of heartbeats in a term. A read waits for a quorum's answers to a round that began after
    /// the read.
    pub round: u64,
    /// State of the group: active, or about to go quiet.
    pub pace: Pace,
    /// The log time. An entry that was appended now would have it.
    pub log_time: LogTime,
}

/// The source of a group's signs of life: heartbeats of its own, or the life of the nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Pace {
    /// Heartbeats continue.
    #[default]
    Lively,
    /// Everything is replicated and committed. No heartbeat follows while the nodes are alive.
    Quiet,
}

/// Answers a [`Heartbeat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HeartbeatResponse {
    /// The follower's term.
    pub term: Term,
    /// The round that it answers.
    pub round: u64,
    /// The index up to which the follower has received the leader's log, durable or not. Entries sent beyond it are
    /// lost.
    pub received_index: LogIndex,
    /// The index up to which the leader's log is durable at the follower. It replaces acknowledgements that got lost.
    pub match_index: LogIndex,
    /// The index of the follower's newest durable entry, even if the leader does not have it. If it is below the index
    /// that the follower acknowledged earlier in the term, the follower runs on an older copy of its disk.
    pub durable_index: LogIndex,
    /// [`Pace::Quiet`] if the follower went quiet.
    pub pace: Pace,
    /// The state of the follower's disk. Leadership is transferred to a node whose disk is in a better state than the
    /// leader's.
    pub disk: DiskState,
}

/// Announces the commit index if no entries are sent that could carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CommitNotice {
    /// The leader's term.
    pub term: Term,
    /// An index that is committed and known to be in the follower's log.
    pub commit_index: LogIndex,
}

/// Announces a snapshot, whose content the application carries (Raft §7).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InstallSnapshot {
    /// The leader's term.
    pub term: Term,
    /// The metadata of the snapshot.
    pub snapshot: SnapshotMeta,
    /// The checksum of the group's first configuration, if the leader knows it.
    pub founding: Option<u32>,
}

/// A follower asks for the index that must be applied before a linearizable read (Raft thesis §6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReadIndex {
    /// The follower's term.
    pub term: Term,
    /// The number of the question, unique over all starts of the follower. The question is repeated if no answer comes.
    pub number: u64,
}

/// Answers a [`ReadIndex`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReadIndexResponse {
    /// The sender's term.
    pub term: Term,
    /// The number of the question.
    pub number: u64,
    /// The answer.
    pub outcome: ReadOutcome,
}

/// The answer to a follower's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ReadOutcome {
    /// The index, which is committed.
    Index(LogIndex),
    /// The receiver does not lead, or lost its leadership meanwhile.
    NotLeader,
    /// Too many reads wait.
    Overloaded,
}

impl ReadOutcome {
    /// Returns the failure as the application gets it; `None` for an index.
    pub(crate) fn failure(self) -> Option<ReadFailure> {
        match self {
            Self::Index(_) => None,
            Self::NotLeader => Some(ReadFailure::LeadershipLost),
            Self::Overloaded => Some(ReadFailure::Overloaded),
        }
    }
}

/// The leader transfers leadership: the receiver campaigns at once (Raft thesis §3.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TimeoutNow {
    /// The leader's term.
    pub term: Term,
}

/// Tells a node that asks for votes that it is no member any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Removed {
    /// The sender's term.
    pub term: Term,
    /// The index of a committed configuration without the receiver.
    pub index: LogIndex,
}

/// Promises a leader to vote for no other node for a while, so that the leader may read by its lease. A follower whose
/// leases are on sends it beside each [`HeartbeatResponse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeasePromise {
    /// The follower's term.
    pub term: Term,
    /// The round of heartbeats that it answers.
    pub round: u64,
    /// The time for which the promise holds, by the follower's clock, from the receipt of that heartbeat on, in
    /// microseconds.
    pub span_us: u64,
}

/// Asks a voter for the entries that the sender lacks: the voter that elected it although its own log is newer, or one
/// that refused a pre-vote ([`Settings::pull_before_election`](crate::replication::Settings::pull_before_election)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PullEntries {
    /// The sender's term. It changes no node's term.
    pub term: Term,
    /// The index of the entry after which entries are wanted.
    pub prev_index: LogIndex,
    /// The term of that entry.
    pub prev_term: Term,
}

/// Answers a [`PullEntries`]. The entries come from no leader: they are never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PulledEntries {
    /// The sender's term.
    pub term: Term,
    /// The index just before the first entry, as it was asked.
    pub prev_index: LogIndex,
    /// The term of that entry.
    pub prev_term: Term,
    /// The entries after it.
    pub batch: EntryBatch,
}

/// Answers a [`PullEntries`] of a node that was elected, if the log no longer has the entries: the content follows by
/// way of the application.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PulledSnapshot {
    /// The term of both nodes.
    pub term: Term,
    /// The metadata of the snapshot.
    pub snapshot: SnapshotMeta,
    /// The checksum of the group's first configuration, if the sender knows it.
    pub founding: Option<u32>,
}

impl Message {
    /// Returns the term of the message.
    pub fn term(&self) -> Term {
        match self {
            Self::RequestVote(message) => message.term,
            Self::VoteResponse(message) => message.term,
            Self::AppendEntries(message) => message.term,
            Self::AppendResponse(message) => message.term,
            Self::Heartbeat(message) => message.term,
            Self::HeartbeatResponse(message) => message.term,
            Self::CommitNotice(message) => message.term,
            Self::InstallSnapshot(message) => message.term,
            Self::ReadIndex(message) => message.term,
            Self::ReadIndexResponse(message) => message.term,
            Self::TimeoutNow(message) => message.term,
            Self::Removed(message) => message.term,
            Self::LeasePromise(message) => message.term,
            Self::PullEntries(message) => message.term,
            Self::PulledEntries(message) => message.term,
            Self::PulledSnapshot(message) => message.term,
        }
    }
}

/// The small section of a message. Variants are only appended, and a variant's fields never change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Small {
    /// The complete message.
    RequestVote(RequestVote),
    /// The complete message.
    VoteResponse(VoteResponse),
    /// The fields beside the entries, which are the raw section.
    AppendEntries {
        /// The leader's term.
        term: Term,
        /// The index just before the first entry.
        prev_index: LogIndex,
        /// The term of the entry at `prev_index`.
        prev_term: Term,
        /// The commit index that the leader knows.
        commit_index: LogIndex,
        /// First index and terms of the entries.
        header: BatchHeader,
    },
    /// The complete message.
    AppendResponse(AppendResponse),
    /// The complete message.
    Heartbeat(Heartbeat),
    /// The complete message.
    HeartbeatResponse(HeartbeatResponse),
    /// The complete message.
    CommitNotice(CommitNotice),
    /// The term and the founding. The bytes of the metadata are the raw section.
    InstallSnapshot {
        /// The leader's term.
        term: Term,
        /// The checksum of the group's first configuration, if the leader knows it.
        founding: Option<u32>,
    },
    /// The complete message.
    ReadIndex(ReadIndex),
    /// The complete message.
    ReadIndexResponse(ReadIndexResponse),
    /// The complete message.
    TimeoutNow(TimeoutNow),
    /// The complete message.
    Removed(Removed),
    /// The complete message.
    LeasePromise(LeasePromise),
    /// The complete message.
    PullEntries(PullEntries),
    /// The fields beside the entries, which are the raw section.
    PulledEntries {
        /// The sender's term.
        term: Term,
        /// The index just before the first entry.
        prev_index: LogIndex,
        /// The term of the entry at `prev_index`.
        prev_term: Term,
        /// First index and terms of the entries.
        header: BatchHeader,
    },
    /// The term and the founding. The bytes of the metadata are the raw section.
    PulledSnapshot {
        /// The term of both nodes.
        term: Term,
        /// The checksum of the group's first configuration, if the sender knows it.
        founding: Option<u32>,
    },
}

impl Wire for Message {
    type Small = Small;

    fn to_parts(&self, raw: &mut Vec<Bytes>) -> Small {
        match self {
            Self::RequestVote(message) => Small::RequestVote(*message),
            Self::VoteResponse(message) => Small::VoteResponse(*message),
            Self::AppendEntries(message) => {
                raw.push(message.batch.raw().clone());
                Small::AppendEntries {
                    term: message.term,
                    prev_index: message.prev_index,
                    prev_term: message.prev_term,
                    commit_index: message.commit_index,
                    header: message.batch.header().clone(),
                }
            }
            Self::AppendResponse(message) => Small::AppendResponse(*message),
            Self::Heartbeat(message) => Small::Heartbeat(*message),
            Self::HeartbeatResponse(message) => Small::HeartbeatResponse(*message),
            Self::CommitNotice(message) => Small::CommitNotice(*message),
            Self::InstallSnapshot(message) => {
                raw.push(message.snapshot.encode());
                Small::InstallSnapshot { term: message.term, founding: message.founding }
            }
            Self::ReadIndex(message) => Small::ReadIndex(*message),
            Self::ReadIndexResponse(message) => Small::ReadIndexResponse(*message),
            Self::TimeoutNow(message) => Small::TimeoutNow(*message),
            Self::Removed(message) => Small::Removed(*message),
            Self::LeasePromise(message) => Small::LeasePromise(*message),
            Self::PullEntries(message) => Small::PullEntries(*message),
            Self::PulledEntries(message) => {
                raw.push(message.batch.raw().clone());
                let PulledEntries { term, prev_index, prev_term, .. } = *message;
                Small::PulledEntries { term, prev_index, prev_term, header: message.batch.header().clone() }
            }
            Self::PulledSnapshot(message) => {
                raw.push(message.snapshot.encode());
                Small::PulledSnapshot { term: message.term, founding: message.founding }
            }
        }
    }

    fn from_parts(small: Small, raw: Vec<Bytes>) -> Result<Self, WireError> {
        match small {
            Small::AppendEntries { term, prev_index, prev_term, commit_index, header } => {
                let [raw] = raw.try_into().map_err(|_| WireError::Sections)?;
                let batch = EntryBatch::from_parts(header, raw);
                Ok(Self::AppendEntries(AppendEntries { term, prev_index, prev_term, commit_index, batch }))
            }
            Small::PulledEntries { term, prev_index, prev_term, header } => {
                let [raw] = raw.try_into().map_err(|_| WireError::Sections)?;
                let batch = EntryBatch::from_parts(header, raw);
                Ok(Self::PulledEntries(PulledEntries { term, prev_index, prev_term, batch }))
            }
            Small::InstallSnapshot { term, founding } => {
                Ok(Self::InstallSnapshot(InstallSnapshot { term, snapshot: metadata(raw)?, founding }))
            }
            Small::PulledSnapshot { term, founding } => {
                Ok(Self::PulledSnapshot(PulledSnapshot { term, snapshot: metadata(raw)?, founding }))
            }
            _ if !raw.is_empty() => Err(WireError::Sections),
            Small::RequestVote(message) => Ok(Self::RequestVote(message)),
            Small::VoteResponse(message) => Ok(Self::VoteResponse(message)),
            Small::AppendResponse(message) => Ok(Self::AppendResponse(message)),
            Small::Heartbeat(message) => Ok(Self::Heartbeat(message)),
            Small::HeartbeatResponse(message) => Ok(Self::HeartbeatResponse(message)),
            Small::CommitNotice(message) => Ok(Self::CommitNotice(message)),
            Small::ReadIndex(message) => Ok(Self::ReadIndex(message)),
            Small::ReadIndexResponse(message) => Ok(Self::ReadIndexResponse(message)),
            Small::TimeoutNow(message) => Ok(Self::TimeoutNow(message)),
            Small::Removed(message) => Ok(Self::Removed(message)),
            Small::LeasePromise(message) => Ok(Self::LeasePromise(message)),
            Small::PullEntries(message) => Ok(Self::PullEntries(message)),
        }
    }
}

/// Decodes the metadata of a snapshot, the only raw section.
fn metadata(raw: Vec<Bytes>) -> Result<SnapshotMeta, WireError> {
    let [raw] = raw.try_into().map_err(|_| WireError::Sections)?;
    SnapshotMeta::decode(&raw).map_err(|_| WireError::Malformed("snapshot metadata"))
}
