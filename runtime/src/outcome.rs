//! What became of a proposal or a read: never more certain than is true.

use std::fmt;

use bytes::Bytes;
use quorate_protocol::{HaltReason, NodeId, ReadFailure, RefuseReason};

/// What became of a proposal.
///
/// | what happened | outcome |
/// |---|---|
/// | applied, on whichever leader in the end | `Applied` |
/// | nobody led until the deadline | `NotApplied(NoLeader)` |
/// | this node, or the leader it was forwarded to, did not lead any more | `NotApplied(Refused(NotLeader))` |
/// | the leader changed, and another entry was committed in its place | `NotApplied(Superseded)` |
/// | the leader changed, and its place is not known, as with a forward that was lost | `Unknown(DeadlinePassed)` at the deadline |
/// | the deadline passed while it was on its way | `Unknown(DeadlinePassed)` |
/// | the future was dropped | it goes on; only the answer is lost |
/// | too many proposals wait here, or at the leader | `NotApplied(Overloaded)`, `NotApplied(Refused(Overloaded))` |
/// | the leader's disk is full | `NotApplied(Refused(DiskFull))` |
/// | it is larger than commands may be | `NotApplied(TooLarge)` |
/// | the node is shutting down already | `NotApplied(ShuttingDown)` |
/// | the node stopped while it was on its way | `Unknown(Stopped)` |
/// | the log failed, the state machine panicked, while it was on its way | `Unknown(Halted)` |
/// | the same, before it was proposed | `NotApplied(Halted)` |
/// | its session had expired when its turn came | `NotApplied(SessionExpired)` |
/// | the session had expired when it was tried again | `Unknown(SessionExpired)`: the first try may have been applied |
/// | this replica was brought up with a snapshot that covers it, and it has no session | `Unknown(CoveredBySnapshot)` |
///
/// A proposal that is tried again under its sequence is never `NotApplied`, since only the try is known not to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Applied, once. The state machine's response.
    Applied(Bytes),
    /// Certainly not applied, and never will be: proposing it again is safe.
    NotApplied(NotApplied),
    /// May have been applied, may still be, or never.
    Unknown {
        /// Why it is not known.
        reason: Unknown,
        /// With this a proposal of a session can be tried again, and is applied once however often it is tried.
        retry: Option<Retry>,
    },
}

/// Names a proposal of this replica's session whose outcome is unknown, to try it again.
///
/// A replica remembers the newest 1,024 such proposals, and as long as the session's window (65,536 proposals)
/// reaches back to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Retry {
    pub(crate) sequence: u64,
}

/// Why a proposal was certainly not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotApplied {
    /// Nobody led until the deadline, as far as this node knows. Nothing was sent.
    NoLeader,
    /// The log refused it.
    Refused {
        /// Why.
        reason: RefuseReason,
        /// Who leads, as far as who refused it knows.
        leader: Option<NodeId>,
    },
    /// Another entry was committed in its place.
    Superseded,
    /// More proposals, or bytes of them, wait on this replica than the configured bound.
    Overloaded,
    /// Above the configured bound.
    TooLarge,
    /// The replica has no open session; open one.
    NoSession,
    /// The session had expired when its turn came: open a new one.
    SessionExpired,
    /// It came behind 65,536 younger proposals of its session, and was given up.
    WindowPassed,
    /// The leader runs at another feature level.
    FeatureLevel {
        /// The leader's.
        level: u32,
    },
    /// The node is shutting down.
    ShuttingDown,
    /// The group has stopped on this node.
    Halted(HaltReason),
    /// The node has no such group, or it has stopped.
    NoGroup,
    /// The node has stopped.
    Stopped,
}

/// Why the outcome of a proposal is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unknown {
    /// The deadline passed while it was on its way.
    DeadlinePassed,
    /// The group stopped on this node while it was on its way.
    Halted(HaltReason),
    /// A snapshot from the leader covers its place, and it has no session that would tell.
    CoveredBySnapshot,
    /// It was applied, and its response is forgotten: too large to keep, or acknowledged.
    ResponseForgotten,
    /// It was tried again after its session had expired; the first try may have been applied.
    SessionExpired,
    /// It was tried again, and this try was certainly not applied; an earlier one may have been.
    TryFailed(NotApplied),
    /// It cannot be tried again: too many younger proposals are unresolved.
    Forgotten,
    /// The node, or the group on it, stopped while it was on its way.
    Stopped,
}

/// Why a read was not answered. Nothing happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// More reads wait than the configured bound.
    Overloaded,
    /// The deadline passed before it was certain what is newest, and what stood in the way last, if it is known.
    DeadlinePassed(Option<ReadFailure>),
    /// The node is shutting down.
    ShuttingDown,
    /// The group has stopped on this node.
    Halted(HaltReason),
    /// The node has no such group, or it has stopped.
    NoGroup,
    /// The node, or the group on it, has stopped.
    Stopped,
    /// What was to be read with panicked. The state is as before, and the replica goes on.
    Panicked,
}

/// Why leadership was not handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferError {
    /// This node does not lead.
    NotLeader {
        /// Who does, as far as is known.
        leader: Option<NodeId>,
    },
    /// Another transfer is under way.
    Pending,
    /// That node was not heard of lately.
    Unreachable(NodeId),
    /// Still leading at the deadline, or after [`hand_over_max`](crate::ReplicaSettings::hand_over_max).
    DeadlinePassed,
    /// The group has stopped on this node.
    Halted(HaltReason),
    /// The node, or the group on it, has stopped.
    Stopped,
}

/// Why a command has no response: an [`Outcome`] that is not `Applied`, as an error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProposeError {
    /// Certainly not applied.
    NotApplied(NotApplied),
    /// Nobody knows.
    Unknown {
        /// Why.
        reason: Unknown,
        /// See [`Outcome::Unknown`].
        retry: Option<Retry>,
    },
    /// Applied; the response is not of the type that this program expects.
    ResponseUnreadable,
}

impl Outcome {
    /// The response, or why there is none.
    ///
    /// # Errors
    /// When the proposal was not applied, or nobody knows.
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
            Self::NoLeader => f.write_str("nobody led until the deadline"),
            Self::Refused { reason, leader: Some(leader) } => write!(f, "refused ({reason:?}), node {leader} leads"),
            Self::Refused { reason, leader: None } => write!(f, "refused ({reason:?})"),
            Self::Superseded => f.write_str("another entry was committed in its place"),
            Self::Overloaded => f.write_str("too many proposals wait"),
            Self::TooLarge => f.write_str("larger than commands may be"),
            Self::NoSession => f.write_str("no session is open"),
            Self::SessionExpired => f.write_str("the session has expired"),
            Self::WindowPassed => f.write_str("too many younger proposals of the session came before it"),
            Self::FeatureLevel { level } => write!(f, "the leader runs at feature level {level}"),
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
            Self::Unreachable(node) => write!(f, "node {node} was not heard of lately"),
            Self::DeadlinePassed => f.write_str("the deadline passed"),
            Self::Halted(reason) => write!(f, "the group has stopped: {reason}"),
            Self::Stopped => f.write_str("the node has stopped"),
        }
    }
}

impl std::error::Error for NotApplied {}
impl std::error::Error for Unknown {}
impl std::error::Error for ReadError {}
impl std::error::Error for TransferError {}
impl std::error::Error for ProposeError {}
