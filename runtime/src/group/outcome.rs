//! The outcomes of proposals and reads. An outcome is never more certain than the replica can prove.

use std::fmt;

use bytes::Bytes;
use quorate_protocol::{HaltReason, NodeId, ReadFailure, RefuseReason, VotingBar};

/// The outcome of a proposal.
///
/// | case | outcome |
/// |---|---|
/// | applied, by any leader | `Applied` |
/// | there was no leader until the deadline | `NotApplied(NoLeader)` |
/// | this node, or the leader it was forwarded to, no longer led | `NotApplied(Refused(NotLeader))` |
/// | the leader changed, and another entry was committed in its place | `NotApplied(Superseded)` |
/// | the leader changed, and the entry at its index is not known, as after a lost forward | `Unknown(DeadlinePassed)` at the deadline |
/// | the deadline passed while it was on its way | `Unknown(DeadlinePassed)` |
/// | the future was dropped | the proposal continues; only the answer is lost |
/// | too many proposals wait here, or at the leader | `NotApplied(Overloaded)`, `NotApplied(Refused(Overloaded))` |
/// | the leader's disk is full | `NotApplied(Refused(DiskFull))` |
/// | it is larger than commands may be | `NotApplied(TooLarge)` |
/// | the node is shutting down already | `NotApplied(ShuttingDown)` |
/// | the node stopped while it was on its way | `Unknown(Stopped)` |
/// | the log failed, the state machine panicked, while it was on its way | `Unknown(Halted)` |
/// | the same, before it was proposed | `NotApplied(Halted)` |
/// | its session had expired when its turn came | `NotApplied(SessionExpired)` |
/// | the session had expired when it was tried again | `Unknown(SessionExpired)`: the first try may have been applied |
/// | this replica caught up by a snapshot that covers it, and it has no session | `Unknown(CoveredBySnapshot)` |
///
/// A proposal that is retried under its sequence is never `NotApplied`: only the retry is known not to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Applied exactly once. Holds the state machine's response.
    Applied(Bytes),
    /// Not applied, and never will be. It is safe to propose the command again.
    NotApplied(NotApplied),
    /// May have been applied, or may still be applied, or never.
    Unknown {
        /// Reason why the outcome is not known.
        reason: Unknown,
        /// Allows a retry of a session's proposal, which is applied once however often it is retried. `None` if it
        /// cannot be retried.
        retry: Option<Retry>,
    },
}

/// Names a proposal of this replica's session whose outcome is unknown, so that it can be retried.
///
/// A replica remembers the newest 1,024 such proposals, and each only as long as it is within the session's window
/// (65,536 proposals).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Retry {
    pub(crate) sequence: u64,
}

/// Reason why a proposal was not applied and never will be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotApplied {
    /// No node led until the deadline, as far as this node knows. Nothing was sent.
    NoLeader,
    /// The log refused the proposal.
    Refused {
        /// The reason.
        reason: RefuseReason,
        /// The leader, as far as the refusing node knows it.
        leader: Option<NodeId>,
    },
    /// Another entry was committed in its place.
    Superseded,
    /// The number or the bytes of the proposals that wait on this replica exceed the configured bound.
    Overloaded,
    /// The command exceeds the configured bound.
    TooLarge,
    /// The replica has no open session. Open one.
    NoSession,
    /// The session had expired before the command was applied. Open a new one.
    SessionExpired,
    /// More than 65,536 younger proposals of the session came before it, so it was given up.
    WindowPassed,
    /// The leader runs at another feature level.
    FeatureLevel {
        /// The feature level of the leader.
        level: u32,
    },
    /// The other nodes treat this node as a stranger, for this reason. Propose at another node.
    Stranger(VotingBar),
    /// The node is shutting down.
    ShuttingDown,
    /// The group has stopped on this node.
    Halted(HaltReason),
    /// The node has no such group, or it has stopped.
    NoGroup,
    /// The node has stopped.
    Stopped,
}

/// Reason why the outcome of a proposal is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unknown {
    /// The deadline passed before the outcome was known.
    DeadlinePassed,
    /// The other nodes began to treat this node as a stranger, for this reason, before the outcome was known.
    Stranger(VotingBar),
    /// The group stopped on this node before the outcome was known.
    Halted(HaltReason),
    /// A snapshot from the leader covers its index, and without a session the outcome cannot be looked up.
    CoveredBySnapshot,
    /// It was applied, but its response is no longer kept: it was too large, or was acknowledged.
    ResponseForgotten,
    /// It was retried after its session had expired. The first try may have been applied.
    SessionExpired,
    /// It was retried and the retry was not applied. An earlier try may have been.
    TryFailed(NotApplied),
    /// It cannot be retried: too many younger proposals are unresolved.
    Forgotten,
    /// The node, or the group on it, stopped before the outcome was known.
    Stopped,
}

/// Reason why a read was not answered. A failed read has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// The number of waiting reads exceeds the configured bound.
    Overloaded,
    /// The deadline passed before the newest index was known and applied. Holds the reason of the last failed attempt
    /// to learn that index, if there was one.
    DeadlinePassed(Option<ReadFailure>),
    /// The node is shutting down.
    ShuttingDown,
    /// The group has stopped on this node.
    Halted(HaltReason),
    /// The node has no such group, or it has stopped.
    NoGroup,
    /// The node, or the group on it, has stopped.
    Stopped,
    /// The closure of the read panicked. The state is unchanged, and the replica continues.
    Panicked,
}

/// Reason why leadership was not transferred.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferError {
    /// This node does not lead.
    NotLeader {
        /// The leader, as far as it is known.
        leader: Option<NodeId>,
    },
    /// Another transfer is under way.
    Pending,
    /// That node is no voter that may lead.
    NotEligible(NodeId),
    /// That node was not heard from lately.
    Unreachable(NodeId),
    /// This node still leads at the deadline, or after [`hand_over_max`](crate::ReplicaSettings::hand_over_max).
    DeadlinePassed,
    /// The group has stopped on this node.
    Halted(HaltReason),
    /// The node, or the group on it, has stopped.
    Stopped,
}

/// Reason why a snapshot that a caller asked for was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// The deadline passed before the snapshot was durable. It may still be made.
    DeadlinePassed,
    /// The disk or the state machine failed; the text says how. The log is unchanged.
    Failed(String),
    /// The group has stopped on this node.
    Halted(HaltReason),
    /// The node, or the group on it, has stopped.
    Stopped,
}

/// Reason why no election was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CampaignError {
    /// This node leads already.
    Leads,
    /// This leader is known to be alive. [Transfer](crate::ReplicaHandle::transfer) its leadership to replace it.
    LeaderAlive(NodeId),
    /// This node does not vote.
    MayNotVote(VotingBar),
    /// This node is no candidate now: it is a witness, has priority 0 or a disk that does not write, or has stopped.
    NotEligible,
}

/// An [`Outcome`] other than `Applied`, as an error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProposeError {
    /// Not applied, and never will be.
    NotApplied(NotApplied),
    /// The outcome is not known.
    Unknown {
        /// The reason.
        reason: Unknown,
        /// See [`Outcome::Unknown`].
        retry: Option<Retry>,
    },
    /// Applied, but the response is not of the type that this program expects.
    ResponseUnreadable,
}

impl Outcome {
    /// Returns the response of an applied proposal.
    ///
    /// # Errors
    /// When the proposal was not applied, or its outcome is not known.
    pub fn into_result(self) -> Result<Bytes, ProposeError> {
        match self {
            Self::Applied(response) => Ok(response),
            Self::NotApplied(reason) => Err(ProposeError::NotApplied(reason)),
            Self::Unknown { reason, retry } => Err(ProposeError::Unknown { reason, retry }),
        }
    }
}

impl fmt::Display for ProposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotApplied(reason) => write!(f, "not applied: {reason}"),
            Self::Unknown { reason, .. } => write!(f, "outcome unknown: {reason}"),
            Self::ResponseUnreadable => f.write_str("applied, and the response cannot be read"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applied(response) => write!(f, "applied, {} bytes of response", response.len()),
            Self::NotApplied(reason) => write!(f, "not applied: {reason}"),
            Self::Unknown { reason, .. } => write!(f, "outcome unknown: {reason}"),
        }
    }
}

impl fmt::Display for NotApplied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLeader => f.write_str("there was no leader until the deadline"),
            Self::Refused { reason, leader: Some(leader) } => write!(f, "refused ({reason:?}), node {leader} leads"),
            Self::Refused { reason, leader: None } => write!(f, "refused ({reason:?})"),
            Self::Superseded => f.write_str("another entry was committed in its place"),
            Self::Overloaded => f.write_str("too many proposals wait"),
            Self::TooLarge => f.write_str("larger than commands may be"),
            Self::NoSession => f.write_str("no session is open"),
            Self::SessionExpired => f.write_str("the session has expired"),
            Self::WindowPassed => f.write_str("too many younger proposals of the session came before it"),
            Self::FeatureLevel { level } => write!(f, "the leader runs at feature level {level}"),
            Self::Stranger(bar) => write!(f, "the node is a stranger to the others ({bar:?})"),
            Self::ShuttingDown => f.write_str("the node is shutting down"),
            Self::Halted(reason) => write!(f, "the group has stopped: {reason}"),
            Self::NoGroup => f.write_str("the node has no such group"),
            Self::Stopped => f.write_str("the node has stopped"),
        }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeadlinePassed => f.write_str("the deadline passed"),
            Self::Stranger(bar) => write!(f, "the node became a stranger to the others ({bar:?})"),
            Self::Halted(reason) => write!(f, "the group has stopped: {reason}"),
            Self::CoveredBySnapshot => f.write_str("a snapshot covers its place"),
            Self::ResponseForgotten => f.write_str("it was applied and its response is forgotten"),
            Self::SessionExpired => f.write_str("the session has expired since the first try"),
            Self::TryFailed(reason) => write!(f, "this try was not applied ({reason}), an earlier one may have been"),
            Self::Forgotten => f.write_str("too many younger proposals are unresolved"),
            Self::Stopped => f.write_str("the node stopped"),
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overloaded => f.write_str("too many reads wait"),
            Self::DeadlinePassed(Some(failure)) => write!(f, "the deadline passed ({failure:?})"),
            Self::DeadlinePassed(None) => f.write_str("the deadline passed"),
            Self::ShuttingDown => f.write_str("the node is shutting down"),
            Self::Halted(reason) => write!(f, "the group has stopped: {reason}"),
            Self::NoGroup => f.write_str("the node has no such group"),
            Self::Stopped => f.write_str("the node has stopped"),
            Self::Panicked => f.write_str("the read itself panicked"),
        }
    }
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader: Some(leader) } => write!(f, "node {leader} leads"),
            Self::NotLeader { leader: None } => f.write_str("this node does not lead"),
            Self::Pending => f.write_str("another transfer is under way"),
            Self::NotEligible(node) => write!(f, "node {node} is no voter that may lead"),
            Self::Unreachable(node) => write!(f, "node {node} was not heard of lately"),
            Self::DeadlinePassed => f.write_str("the deadline passed"),
            Self::Halted(reason) => write!(f, "the group has stopped: {reason}"),
            Self::Stopped => f.write_str("the node has stopped"),
        }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeadlinePassed => f.write_str("the deadline passed"),
            Self::Failed(reason) => write!(f, "the snapshot could not be made: {reason}"),
            Self::Halted(reason) => write!(f, "the group has stopped: {reason}"),
            Self::Stopped => f.write_str("the node has stopped"),
        }
    }
}

impl fmt::Display for CampaignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leads => f.write_str("this node leads already"),
            Self::LeaderAlive(leader) => write!(f, "node {leader} leads"),
            Self::MayNotVote(bar) => write!(f, "this node does not vote: {bar:?}"),
            Self::NotEligible => f.write_str("this node may not lead now"),
        }
    }
}

impl std::error::Error for BuildError {}
impl std::error::Error for CampaignError {}
impl std::error::Error for NotApplied {}
impl std::error::Error for Unknown {}
impl std::error::Error for ReadError {}
impl std::error::Error for TransferError {}
impl std::error::Error for ProposeError {}
