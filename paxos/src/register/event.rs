//! Commands of the application to a node, and events for it.

use std::fmt;

use bytes::Bytes;
use quorate_protocol::{ProposalId, ReadId};
use serde::{Deserialize, Serialize};

use super::{RolesChange, RolesOutcome};
use crate::Ballot;

/// Version of a register: the ballot of its last change. It grows with every change, also over deletions: a register
/// that is written again after its deletion has a higher version than it ever had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub Ballot);

impl Version {
    /// The version of a register that was never written, or whose deletion was forgotten.
    pub const ZERO: Self = Self(Ballot::ZERO);
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Content of a register at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Found {
    /// Its version.
    pub version: Version,
    /// Its value; `None` if it was never written or is deleted.
    pub value: Option<Bytes>,
}

/// A change of a register.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Writes this value, whatever is there.
    Set(Bytes),
    /// Deletes the register, whatever is there.
    Delete,
    /// Writes or deletes only if the register is as expected; otherwise the outcome is
    /// [`Conflict`](ChangeOutcome::Conflict).
    CompareAndSet {
        /// The expected state.
        expected: Expected,
        /// The new value; `None` to delete.
        value: Option<Bytes>,
    },
    /// Applies a function of the [`Config`](super::Config) to the value.
    Apply {
        /// Its name.
        function: String,
        /// Its argument.
        argument: Bytes,
    },
}

impl Change {
    /// Bytes of the values in the change.
    pub(crate) fn bytes(&self) -> usize {
        let length = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
        match self {
            Self::Set(value) => value.len(),
            Self::Delete => 0,
            Self::CompareAndSet { expected, value } => {
                let compared = if let Expected::Value(expected) = expected { length(expected) } else { 0 };
                compared + length(value)
            }
            Self::Apply { function, argument } => function.len() + argument.len(),
        }
    }
}

/// State of a register that a [`Change::CompareAndSet`] expects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expected {
    /// This version.
    Version(Version),
    /// This value; `None` if the register must not exist.
    Value(Option<Bytes>),
}

/// Command of the application to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Change a register. The answer is [`Event::Changed`].
    Change {
        /// Key of the register, from 1 to `key_bytes_max` bytes.
        key: Bytes,
        /// Id of the change, unique for ever. A change that is tried again, on any node, keeps its id.
        id: ProposalId,
        /// The change.
        change: Change,
    },
    /// Read a register. The answer is [`Event::Read`].
    Read {
        /// Key of the register.
        key: Bytes,
        /// Number of the read.
        id: ReadId,
    },
    /// Find out what became of a change that ended as [`Unknown`](ChangeOutcome::Unknown). The answer is
    /// [`Event::Resolved`]. If the change is still under way on some node, the answer does not hold for what that node
    /// does later.
    Resolve {
        /// Key of the register.
        key: Bytes,
        /// Number of this command.
        id: ReadId,
        /// The trace from the outcome of the change.
        trace: Trace,
    },
    /// Change the acceptors and proposers of the group. The answer is [`Event::RolesChanged`].
    ChangeRoles {
        /// Number of this command.
        id: ReadId,
        /// The change.
        change: RolesChange,
    },
}

/// Event for the application.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A change has an outcome.
    Changed {
        /// Its id.
        id: ProposalId,
        /// The outcome.
        outcome: ChangeOutcome,
    },
    /// The answer to a read.
    Read {
        /// Number of the read.
        id: ReadId,
        /// The answer.
        outcome: ReadOutcome,
    },
    /// The answer to [`Command::Resolve`].
    Resolved {
        /// Number of the command.
        id: ReadId,
        /// The answer.
        outcome: ResolveOutcome,
    },
    /// The answer to [`Command::ChangeRoles`].
    RolesChanged {
        /// Number of the command.
        id: ReadId,
        /// The answer.
        outcome: RolesOutcome,
    },
    /// Other roles are in force, as far as this node knows.
    RolesInForce {
        /// Their number.
        epoch: u64,
    },
}

/// Outcome of a change. Every one but `Unknown` is final.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChangeOutcome {
    /// The change took effect, and left this.
    Done(Found),
    /// A change with this id took effect: an earlier try of it, or this one, and other changes followed before that
    /// became known. Nothing was changed again.
    DoneBefore {
        /// The version that it made.
        version: Version,
        /// The present content.
        found: Found,
    },
    /// The register is not as expected: it contains this, and the change will not take effect.
    Conflict(Found),
    /// The function refused: the change will not take effect.
    Declined {
        /// What the function said.
        reason: Bytes,
        /// Content of the register.
        found: Found,
    },
    /// The change was tried, but its outcome did not become known in time: it may take effect, now or later.
    /// [`Command::Resolve`] settles it.
    Unknown(Trace),
    /// This node asked no acceptor to accept the change, and will not. Earlier tries under the same id, here or on
    /// other nodes, may still succeed.
    NotTried(CommandRefusal),
}

/// What [`Command::Resolve`] needs to know of a change whose outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Trace {
    /// Id of the change.
    pub id: ProposalId,
    /// The lowest version on which the change was based in any of its tries.
    pub base: Version,
    /// Ballot of the first try. The change made no version below it.
    pub first: Ballot,
}

impl Trace {
    /// The trace of a change of which nothing but the id is known. It tells whether the change took effect only as long
    /// as the register remembers the change.
    pub fn of(id: ProposalId) -> Self {
        Self { id, base: Version::ZERO, first: Ballot::ZERO }
    }
}

/// Answer to a read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadOutcome {
    /// The register contained this at a moment between the command and the answer.
    Found(Found),
    /// No answer could be found.
    Failed(CommandRefusal),
}

/// What became of a change whose outcome was unknown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResolveOutcome {
    /// The change took effect.
    TookEffect {
        /// The version that it made.
        version: Version,
        /// The present content.
        found: Found,
    },
    /// The change did not take effect, and no earlier try of it ever will.
    NotApplied(Found),
    /// So many changes followed, one of them by the same proposer, that the register no longer knows (see
    /// [`CHANGES_REMEMBERED`](super::CHANGES_REMEMBERED)), or it was deleted and removed since. No earlier try will
    /// take effect any more.
    Forgotten(Found),
    /// No answer could be found.
    Failed(CommandRefusal),
}

/// Reason why a node did not carry out a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CommandRefusal {
    /// The value is longer than `value_bytes_max`, or a function returned such a value.
    TooLarge,
    /// The key is empty or longer than `key_bytes_max`.
    Key,
    /// This node's configuration has no function of this name.
    UnknownFunction,
    /// Too many commands wait here, or too many bytes of values.
    Overloaded,
    /// Another command with the same id waits here.
    IdReused,
    /// The disk is nearly full.
    StorageLow,
    /// This node is not a proposer.
    NotProposer,
    /// No quorum answered in time.
    TimedOut,
    /// This node has not been introduced to every node of the group yet, so it does not promise, accept or propose.
    /// [`Register::explain`](super::Register::explain) names the missing nodes.
    NotIntroduced,
    /// A peer knows another disk under this node's id. This node does not promise, accept or propose.
    Stranger,
    /// This node knows of a ballot of the last round, so it can begin no further ballot.
    BallotsExhausted,
    /// The group has stopped on this node.
    Halted,
    /// The node is about to stop.
    ShuttingDown,
    /// The node has stopped.
    Stopped,
    /// The node hosts no such group.
    NoGroup,
}
