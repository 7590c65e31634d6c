//! What the application says to the core and hears from it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::NodeId;

use crate::{Decision, TransactionId, Vote};

/// Ties a command to what becomes of it. Chosen by the application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// What the application asks of this node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Begin a transaction that this node coordinates. Answered by [`Event::Begun`]. Without a [`Command::Commit`]
    /// within `begin_timeout` it is aborted.
    Begin {
        /// Names the command.
        command: CommandId,
    },
    /// Have a begun transaction committed: each participant is asked to prepare its branch. Answered by [`Event::Ended`].
    Commit {
        /// Names the command.
        command: CommandId,
        /// Which transaction. This node coordinates it.
        transaction: TransactionId,
        /// What each participant is to do; only applications read it. This node may be among them.
        branches: BTreeMap<NodeId, Bytes>,
    },
    /// Have a transaction aborted that is not decided yet. Answered by [`Event::Ended`].
    Abort {
        /// Names the command.
        command: CommandId,
        /// Which transaction. This node coordinates it.
        transaction: TransactionId,
    },
    /// Say what became of a transaction that this node coordinates. Answered by [`Event::Known`].
    Query {
        /// Names the command.
        command: CommandId,
        /// Which transaction.
        transaction: TransactionId,
    },
    /// Work for a transaction goes on at this node, a participant, ahead of its prepare. When no prepare comes within
    /// `begin_timeout` the branch is aborted with [`Request::Abort`].
    Enlist {
        /// Names the command.
        command: CommandId,
        /// Which transaction.
        transaction: TransactionId,
    },
}

impl Command {
    /// The name it was given.
    pub fn id(&self) -> CommandId {
        match self {
            Self::Begin { command }
            | Self::Commit { command, .. }
            | Self::Abort { command, .. }
            | Self::Query { command, .. }
            | Self::Enlist { command, .. } => *command,
        }
    }
}

/// What the application is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Participant: every branch that was in doubt when this node stopped has its locks again. Nothing else of the
    /// application may be served before. Told once a start, also when there was no such branch.
    Recovered,
    /// Coordinator: the transaction has a name.
    Begun {
        /// The command.
        command: CommandId,
        /// The name.
        transaction: TransactionId,
    },
    /// The command was not taken. Nothing has changed.
    Refused {
        /// The command.
        command: CommandId,
        /// Why.
        reason: RefuseReason,
    },
    /// Coordinator: the outcome. It stands, whatever happens from now on.
    Ended {
        /// Which transaction.
        transaction: TransactionId,
        /// What became of it.
        outcome: Outcome,
    },
    /// Coordinator: every participant has committed, and said so.
    Finished {
        /// Which transaction.
        transaction: TransactionId,
    },
    /// Coordinator: a participant that must commit had no record of its branch. It has forgotten it after committing, or
    /// its data were put back to an earlier state.
    BranchForgotten {
        /// Which transaction.
        transaction: TransactionId,
        /// The participant.
        participant: NodeId,
    },
    /// Coordinator: answers a query.
    Known {
        /// The command.
        command: CommandId,
        /// Which transaction.
        transaction: TransactionId,
        /// What is known.
        knowledge: Knowledge,
    },
    /// A transaction has been in doubt for `report_after`: a participant that voted yes has no decision, or a coordinator that
    /// left the decision to the only participant has no answer. Told once a start for each.
    InDoubt {
        /// Which transaction.
        transaction: TransactionId,
        /// For how long, as far as this start knows.
        age: Duration,
    },
    /// Participant: the decision is applied here and never asked for again; the application may forget that it applied it.
    Settled {
        /// Which transaction.
        transaction: TransactionId,
        /// The decision.
        decision: Decision,
    },
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// All of it happens, at every participant.
    Committed,
    /// No participant wrote anything. Nothing is recorded of such a transaction: when asked for later it counts as aborted, which
    /// is as true.
    ReadOnly,
    /// None of it happens.
    Aborted(AbortReason),
}

/// Why a transaction was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AbortReason {
    /// The application asked for it.
    Asked,
    /// No commit was asked for within `begin_timeout`.
    Idle,
    /// Not every vote came within `vote_timeout`.
    TimedOut,
    /// This participant voted no.
    Refused(NodeId),
    /// The decision certainly could not be written, and nobody was told it.
    NotWritten,
}

/// What a coordinator knows of one of its transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Knowledge {
    /// It is not decided yet.
    Undecided,
    /// The decision was left to the only participant, whose answer has not come: it may be either.
    InDoubt,
    /// It is committed.
    Committed,
    /// It is aborted, or wrote nothing.
    Aborted,
    /// It ended too long ago (`outcomes_max`): it may be either.
    Forgotten,
}

/// Why a command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RefuseReason {
    /// This node's incarnation is not known by its peers, or not any more: it may have forgotten its decisions.
    NotIntroduced,
    /// Too many transactions or payload bytes are in flight.
    Overloaded,
    /// The disk's reserve is used up.
    StorageLow,
    /// Another node coordinates it.
    NotCoordinator,
    /// It is not known as one that waits for this: never begun, decided, or ended.
    NotBegun,
    /// It is decided, or about to be.
    AlreadyDeciding,
    /// No participant, or more than `participants_max`.
    Participants,
    /// A branch is longer than `payload_bytes_max`.
    TooLarge,
    /// The group has stopped on this node.
    Halted,
}

/// What only the application can do: the part of the resource manager. Each is asked again under the same transaction when the
/// answer was [`Answer::Failed`] or got lost with a crash, so each must be idempotent. One thing must not be overtaken: whoever carries
/// out requests at the same time does not begin a `Prepare` once the `Abort` of its transaction is done.
#[doc(alias = "resource manager")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Do the branch and make it ready for either decision, whatever happens to this node, and keep its locks.
    /// Answered with [`Answer::Voted`].
    Prepare {
        /// Which transaction.
        transaction: TransactionId,
        /// What to do.
        payload: Bytes,
    },
    /// The branch was prepared before this node stopped, and is in doubt: take its locks again. Answered with [`Answer::Done`].
    /// When the application had carried out the decision already there is nothing to take: the same decision comes again.
    /// Comes ahead of everything else; a prepared branch that is not named before [`Event::Recovered`] never voted and is
    /// to be aborted.
    Recover {
        /// Which transaction.
        transaction: TransactionId,
        /// What it was to do.
        payload: Bytes,
    },
    /// Commit the prepared branch, durably, and let go of its locks. Answered with [`Answer::Done`].
    Commit {
        /// Which transaction.
        transaction: TransactionId,
    },
    /// Abort the branch, whatever has been done of it, and let go of its locks. May come while [`Request::Prepare`] is under way,
    /// whose answer is not waited for then. Answered with [`Answer::Done`].
    Abort {
        /// Which transaction.
        transaction: TransactionId,
    },
    /// Do the branch and commit it at once: this is the only participant. Answered with [`Answer::Decided`].
    CommitOnePhase {
        /// Which transaction.
        transaction: TransactionId,
        /// What to do.
        payload: Bytes,
    },
}

impl Request {
    /// Which transaction it is about.
    pub fn transaction(&self) -> TransactionId {
        match self {
            Self::Prepare { transaction, .. }
            | Self::Recover { transaction, .. }
            | Self::Commit { transaction }
            | Self::Abort { transaction }
            | Self::CommitOnePhase { transaction, .. } => *transaction,
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// To [`Request::Prepare`]. After `No` and `ReadOnly` nothing of the branch is left.
    Voted(Vote),
    /// To [`Request::Recover`], [`Request::Commit`] and [`Request::Abort`]: done.
    Done,
    /// To [`Request::CommitOnePhase`]: this is what was done.
    Decided(Decision),
    /// Nothing is known of what was done. It is asked again after a while.
    Failed,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Committed => f.write_str("committed"),
            Self::ReadOnly => f.write_str("nothing was written"),
            Self::Aborted(AbortReason::Asked) => f.write_str("aborted on request"),
            Self::Aborted(AbortReason::Idle) => f.write_str("aborted: no commit was asked for in time"),
            Self::Aborted(AbortReason::TimedOut) => f.write_str("aborted: not every vote came in time"),
            Self::Aborted(AbortReason::Refused(node)) => write!(f, "aborted: node {node} voted no"),
            Self::Aborted(AbortReason::NotWritten) => f.write_str("aborted: the decision could not be written"),
        }
    }
}
