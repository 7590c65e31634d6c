//! Ids of transactions, and their decisions and votes.

use std::fmt;

use quorate_protocol::NodeId;
use serde::{Deserialize, Serialize};

/// Identity of a coordinator: that of its decision log. A coordinator is no node: whichever node has the log serves it,
/// and another node that takes the log over serves it from then on, in a higher [`Epoch`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CoordinatorId(pub u64);

/// Number of one start of a coordinator, from 1. Every start raises it in the decision log, on whichever node it is,
/// before any message carries it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// Number of a transaction at its coordinator. Numbers grow, even over starts, and are never used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TransactionNumber {
    /// The start of the coordinator in which the transaction was begun.
    pub epoch: Epoch,
    /// Its position within that start, from 1.
    pub sequence: u64,
}

/// Id of a transaction, unique for ever. It names the coordinator, and not the node that serves it.
#[doc(alias = "xid")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TransactionId {
    /// Its coordinator.
    pub coordinator: CoordinatorId,
    /// Its number at the coordinator.
    pub number: TransactionNumber,
}

/// Decision on a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Decision {
    /// All of its work takes effect.
    Commit,
    /// None of its work takes effect.
    #[doc(alias = "rollback")]
    Abort,
}

/// A participant's answer to [`Prepare`](crate::message::Prepare).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Vote {
    /// The branch can be committed and can be aborted, whatever happens to this node.
    Yes,
    /// The branch changed nothing: the participant does not need the decision and has released everything.
    ReadOnly,
    /// The branch is already aborted here.
    No,
}

/// Reason why a participant does not accept a branch now. This is not a vote: asked again, it may accept it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Unready {
    /// It has just started, and branches that were in doubt do not have their locks back.
    Recovering,
    /// The reserve of its disk is used up.
    StorageLow,
    /// It has the largest allowed number of branches (`branches_max`).
    Branches,
    /// Its branches have the largest allowed number of bytes (`payload_bytes_total_max`).
    Payloads,
    /// It keeps the largest allowed number of outcomes (`tombstones_max`).
    Outcomes,
    /// Its log is too far behind (`journal_bytes_max`).
    LogBehind,
    /// It knows the largest possible number of coordinators.
    Coordinators,
    /// The branch is longer than its `payload_bytes_max`, or has more participants than its `participants_max`. It will
    /// never accept it.
    TooLarge,
}

impl CoordinatorId {
    /// The coordinator whose decisions lie in this node's own log.
    #[must_use]
    pub const fn of_node(node: NodeId) -> Self {
        Self(node.0)
    }
}

impl TransactionNumber {
    /// The number after this one in the same epoch.
    #[must_use]
    pub(crate) fn next(self) -> Self {
        Self { epoch: self.epoch, sequence: self.sequence.saturating_add(1) }
    }
}

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Recovering => "branches in doubt have not got their locks back",
            Self::StorageLow => "the disk's reserve is used up",
            Self::Branches => "there are too many branches",
            Self::Payloads => "the branches have too many bytes",
            Self::Outcomes => "too many outcomes are kept",
            Self::LogBehind => "the log does not keep up",
            Self::Coordinators => "too many coordinators are known",
            Self::TooLarge => "the branch is too large",
        })
    }
}

impl fmt::Display for CoordinatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TransactionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.sequence)
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.coordinator, self.number)
    }
}
