//! How transactions are named, and what can become of them.

use std::fmt;

use quorate_protocol::NodeId;
use serde::{Deserialize, Serialize};

/// One start of a coordinator: a counter that is durable before anything bears it. From 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// A transaction's number at its coordinator. Numbers grow, over starts as well, and none is used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TransactionNumber {
    /// The start of the coordinator in which the transaction was begun.
    pub epoch: Epoch,
    /// Its place within that start, from 1.
    pub sequence: u64,
}

/// Names a transaction for ever and says who coordinates it.
#[doc(alias = "xid")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TransactionId {
    /// The node that decides it.
    pub coordinator: NodeId,
    /// Its number there.
    pub number: TransactionNumber,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Decision {
    /// All of it happens.
    Commit,
    /// None of it happens.
    #[doc(alias = "rollback")]
    Abort,
}

/// A participant's answer to [`Prepare`](crate::message::Prepare).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Vote {
    /// The branch can be committed and can be aborted, whatever happens to this node.
    Yes,
    /// The branch changed nothing: the participant does not care for the decision and has let go of everything.
    ReadOnly,
    /// The branch is aborted here already.
    No,
}

/// Why a participant does not take a branch now. It is no vote: asked again, it may take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Unready {
    /// It has just started, and branches that were in doubt have not got their locks back.
    Recovering,
    /// The reserve of its disk is used up.
    StorageLow,
    /// It has as many branches as it may (`branches_max`).
    Branches,
    /// Its branches have as many bytes as they may (`payload_bytes_total_max`).
    Payloads,
    /// It keeps as many outcomes as it may (`tombstones_max`).
    Outcomes,
    /// Its log does not keep up (`journal_bytes_max`).
    LogBehind,
    /// It knows as many coordinators as it can.
    Coordinators,
    /// The branch is above its `payload_bytes_max`, or has more participants than its `participants_max`. It never takes it.
    TooLarge,
}

impl TransactionNumber {
    /// The number behind this one in the same epoch.
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
