//! What nodes say to each other.
//!
//! | Message | from | to | answered by |
//! | --- | --- | --- | --- |
//! | [`RequestVote`] | pre-candidate, candidate | every voter | [`VoteResponse`] |
//! | [`AppendEntries`] | leader | follower | [`AppendResponse`], once the entries are durable |
//! | [`Heartbeat`] | leader | follower | [`HeartbeatResponse`], at once |
//! | [`CommitNotice`] | leader | follower | nothing |
//! | [`InstallSnapshot`] | leader | follower | [`AppendResponse`], once the snapshot is in force |
//! | [`ReadIndex`] | follower | leader | [`ReadIndexResponse`], after a round of heartbeats |
//! | [`TimeoutNow`] | leader | the node it hands over to | [`RequestVote`] to everybody |
//!
//! Every message bears its sender's term. One of an earlier term is ignored, save that its sender is told the newer
//! term where it would otherwise go on for ever (a leader, a candidate).
//!
//! ```text
//!            RequestVote(Pre)      RequestVote(Full)     AppendEntries        CommitNotice
//!  leader-to-be ──────────► voter ──────────► voter ──────────────► follower ─────────────►
//!            ◄────────────        ◄────────────      ◄──────────────
//!             VoteResponse         VoteResponse       AppendResponse
//! ```

use bytes::Bytes;
use quorate_protocol::{
    BatchHeader, DiskState, EntryBatch, LogIndex, LogTime, ReadFailure, SnapshotMeta, Term, Wire, WireError,
};
use serde::{Deserialize, Serialize};

/// What nodes of a group say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// See [`RequestVote`].
    RequestVote(RequestVote),
    /// See [`VoteResponse`].
    VoteResponse(VoteResponse),
    /// See [`AppendEntries`].
    AppendEntries(AppendEntries),
    /// See [`AppendResponse`].
    AppendResponse(AppendResponse),
    /// See [`Heartbeat`].
    Heartbeat(Heartbeat),
    /// See [`HeartbeatResponse`].
    HeartbeatResponse(HeartbeatResponse),
    /// See [`CommitNotice`].
    CommitNotice(CommitNotice),
    /// See [`InstallSnapshot`].
    InstallSnapshot(InstallSnapshot),
    /// See [`ReadIndex`].
    ReadIndex(ReadIndex),
    /// See [`ReadIndexResponse`].
    ReadIndexResponse(ReadIndexResponse),
    /// See [`TimeoutNow`].
    TimeoutNow(TimeoutNow),
}

/// Asks for a vote (Raft §5.2), or whether there would be one (Raft thesis §9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RequestVote {
    /// The term to lead in. A pre-vote's is one above the sender's own, and changes nobody's.
    pub term: Term,
    /// What is asked.
    pub kind: VoteKind,
    /// The last entry of the sender's log.
    pub last_index: LogIndex,
    /// Its term.
    pub last_term: Term,
    /// The checksum of the group's first configuration, as the sender knows it.
    pub founding: Option<u32>,
}

/// What is asked of a voter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum VoteKind {
    /// Whether it would vote. Binds nobody.
    Pre,
    /// Its vote.
    Full,
    /// Its vote, although the leader is alive: the leader itself asked for this (Raft thesis §3.10).
    Transfer,
}

/// Answers a [`RequestVote`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VoteResponse {
    /// The voter's own term.
    pub term: Term,
    /// The term that was asked for.
    pub asked: Term,
    /// What was asked.
    pub kind: VoteKind,
    /// The answer.
    pub verdict: Verdict,
    /// What time it is, for a leader that does not know the log time itself.
    pub clock: ClockReading,
}

/// What a voter's clocks say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClockReading {
    /// The log time: what a leader told last, and the time that passed since. Nothing where no leader was heard of
    /// since the voter's start.
    pub log_time: Option<LogTime>,
    /// The wall clock in Unix milliseconds.
    pub wall_ms: u64,
}

/// A voter's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// Yes.
    Granted,
    /// No.
    Refused,
}

/// Brings entries (Raft §5.3); without any it asks whether the logs match at `prev_index`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AppendEntries {
    /// The leader's term.
    pub term: Term,
    /// The entry just before the first.
    pub prev_index: LogIndex,
    /// Its term.
    pub prev_term: Term,
    /// What the leader knows to be committed.
    pub commit_index: LogIndex,
    /// The entries.
    pub batch: EntryBatch,
}

/// Answers [`AppendEntries`] and [`InstallSnapshot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AppendResponse {
    /// The follower's term.
    pub term: Term,
    /// What became of it.
    pub outcome: AppendOutcome,
}

/// What became of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AppendOutcome {
    /// The logs match up to here, and all of it is durable at the follower.
    Matched {
        /// The last such entry.
        match_index: LogIndex,
    },
    /// The logs do not match just before the entries (Raft §5.3; the hint skips a term a round trip).
    Conflict {
        /// The `prev_index` that did not match.
        prev_index: LogIndex,
        /// The follower's newest entry at or before `prev_index` whose term is not above `prev_term`.
        hint_index: LogIndex,
        /// Its term.
        hint_term: Term,
    },
    /// The sender no longer leads: this node knows a later term.
    Stale,
    /// The payload of an entry is not the one that its checksum was made of. Nothing of the message was taken.
    Corrupt {
        /// The first such entry.
        index: LogIndex,
    },
}

/// Shows that the leader is alive, and asks the follower to confirm that it still follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The leader's term.
    pub term: Term,
    /// Committed, and known to be in the follower's log.
    pub commit_index: LogIndex,
    /// Grows with every round of heartbeats in a term: a read waits for a quorum's answers to a round that began after
    /// it.
    pub round: u64,
    /// Whether heartbeats end here.
    pub pace: Pace,
    /// The log time: an entry that was appended now would bear it.
    pub log_time: LogTime,
}

/// Whether a group lives on heartbeats of its own or on the life of nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Pace {
    /// Heartbeats go on.
    #[default]
    Lively,
    /// Everything is replicated and committed; no heartbeat follows while the nodes are alive.
    Quiet,
}

/// Answers a [`Heartbeat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HeartbeatResponse {
    /// The follower's term.
    pub term: Term,
    /// The round that it answers.
    pub round: u64,
    /// How far the follower has received the leader's log, durable or not: what was sent beyond is lost.
    pub received_index: LogIndex,
    /// How much of the leader's log is durable at the follower: an acknowledgement that got lost is made good here.
    pub match_index: LogIndex,
    /// The follower's newest durable entry, the leader's or not. Below what it acknowledged earlier in the term, it
    /// runs on an older copy of its disk.
    pub durable_index: LogIndex,
    /// Whether the follower went quiet.
    pub pace: Pace,
    /// What the follower's disk does: leadership is handed to one whose disk does better than the leader's.
    pub disk: DiskState,
}

/// Tells what is committed, when no entries go out that could.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CommitNotice {
    /// The leader's term.
    pub term: Term,
    /// Committed, and known to be in the follower's log.
    pub commit_index: LogIndex,
}

/// Announces a snapshot, whose content the application carries (Raft §7).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InstallSnapshot {
    /// The leader's term.
    pub term: Term,
    /// What the snapshot stands for.
    pub snapshot: SnapshotMeta,
    /// The checksum of the group's first configuration, as the leader knows it.
    pub founding: Option<u32>,
}

/// A follower asks which index a linearizable read must have applied (Raft thesis §6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReadIndex {
    /// The follower's term.
    pub term: Term,
    /// Names the question, once for all starts of the follower. Repeated when no answer comes.
    pub number: u64,
}

/// Answers a [`ReadIndex`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReadIndexResponse {
    /// The sender's term.
    pub term: Term,
    /// The question.
    pub number: u64,
    /// The answer.
    pub outcome: ReadOutcome,
}

/// The answer to a follower's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ReadOutcome {
    /// The index. It is committed.
    Index(LogIndex),
    /// The node asked does not lead, or lost its leadership meanwhile.
    NotLeader,
    /// Too many reads wait.
    Overloaded,
}

impl ReadOutcome {
    /// How the failure is told to the application.
    pub(crate) fn failure(self) -> Option<ReadFailure> {
        match self {
            Self::Index(_) => None,
            Self::NotLeader => Some(ReadFailure::LeadershipLost),
            Self::Overloaded => Some(ReadFailure::Overloaded),
        }
    }
}

/// The leader hands over: the receiver campaigns at once (Raft thesis §3.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TimeoutNow {
    /// The leader's term.
    pub term: Term,
}

impl Message {
    /// The term that the message bears.
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
        }
    }
}

/// The small section of a message. Variants are only appended, and a variant's fields never change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Small {
    /// All of it.
    RequestVote(RequestVote),
    /// All of it.
    VoteResponse(VoteResponse),
    /// What stands beside the entries, which are the raw section.
    AppendEntries {
        /// The leader's term.
        term: Term,
        /// The entry just before the first.
        prev_index: LogIndex,
        /// Its term.
        prev_term: Term,
        /// What the leader knows to be committed.
        commit_index: LogIndex,
        /// Place and terms of the entries.
        header: BatchHeader,
    },
    /// All of it.
    AppendResponse(AppendResponse),
    /// All of it.
    Heartbeat(Heartbeat),
    /// All of it.
    HeartbeatResponse(HeartbeatResponse),
    /// All of it.
    CommitNotice(CommitNotice),
    /// The term; the metadata's own bytes are the raw section.
    InstallSnapshot {
        /// The leader's term.
        term: Term,
        /// The checksum of the group's first configuration, as the leader knows it.
        founding: Option<u32>,
    },
    /// All of it.
    ReadIndex(ReadIndex),
    /// All of it.
    ReadIndexResponse(ReadIndexResponse),
    /// All of it.
    TimeoutNow(TimeoutNow),
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
        }
    }

    fn from_parts(small: Small, raw: Vec<Bytes>) -> Result<Self, WireError> {
        match small {
            Small::AppendEntries { term, prev_index, prev_term, commit_index, header } => {
                let [raw] = raw.try_into().map_err(|_| WireError::Sections)?;
                let batch = EntryBatch::from_parts(header, raw);
                Ok(Self::AppendEntries(AppendEntries { term, prev_index, prev_term, commit_index, batch }))
            }
            Small::InstallSnapshot { term, founding } => {
                let [raw] = raw.try_into().map_err(|_| WireError::Sections)?;
                let snapshot = SnapshotMeta::decode(&raw).map_err(|_| WireError::Malformed("snapshot metadata"))?;
                Ok(Self::InstallSnapshot(InstallSnapshot { term, snapshot, founding }))
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
        }
    }
}
