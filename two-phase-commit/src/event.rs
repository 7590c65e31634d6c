//! What the application says to the core and hears from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::NodeId;

use crate::{Decision, TransactionId, Unready, Vote};

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
    /// A node will not come back with what its disk held: an operator says so, of a node that is no member at present. Commits no
    /// longer wait for it, its ended transactions are forgotten, and nothing that it says is heard by this node, now or after
    /// a restart. What is in doubt here stays so until its coordinator or another participant tells the decision. Answered by
    /// [`Event::Forgotten`].
    Forget {
        /// Names the command.
        command: CommandId,
        /// The node.
        node: NodeId,
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
            | Self::Enlist { command, .. }
            | Self::Forget { command, .. } => *command,
        }
    }
}

/// What the application is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Participant: the branches that were in doubt when this node stopped have their locks again. Nothing else of the
    /// application may be served before. Told once a start, also when there was no such branch.
    Recovered {
        /// The branches that the application failed to recover. They are asked for again, and others are served meanwhile: the
        /// application keeps them from what these branches hold, as it knows from their payloads.
        without: BTreeSet<TransactionId>,
    },
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
    /// Coordinator: a participant that must commit had no record of its branch. It has forgotten it after committing, its data
    /// were put back to an earlier state, or an operator has given it up.
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
    /// Coordinator: participants of a committed transaction have not acknowledged it for `report_after`. They are told again and
    /// again; nothing else waits for them. Told once a start for each. The way out, for a node that is gone for good, is
    /// [`Command::Forget`].
    Unacknowledged {
        /// Which transaction.
        transaction: TransactionId,
        /// Who is silent.
        participants: BTreeSet<NodeId>,
        /// Since the decision, as far as this start knows.
        age: Duration,
    },
    /// Participant: the application has not done what it was asked for `report_after`: it fails, or does not answer. It is asked
    /// again and again; only this branch waits for it. Told once for each request.
    RequestOverdue {
        /// What it was asked.
        request: RequestKind,
        /// Of which transaction.
        transaction: TransactionId,
        /// Since it was asked first, as far as this start knows.
        age: Duration,
        /// How often it answered that it failed.
        failures: u32,
    },
    /// Participant: branches are not taken now, and why. Told when the reason is another than the last time, or a branch was
    /// taken since.
    Unready {
        /// Whose branch was the first.
        coordinator: NodeId,
        /// Why.
        why: Unready,
    },
    /// The node is given up, durably: answers [`Command::Forget`].
    Forgotten {
        /// The command.
        command: CommandId,
        /// The node.
        node: NodeId,
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
    /// Not every vote came within `vote_timeout`, and the missing participants said nothing.
    TimedOut,
    /// Not every vote came within `vote_timeout`: this participant said why it did not take its branch.
    Unready(NodeId, Unready),
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
    /// Too many transactions, payload bytes or untold events are in flight.
    Overloaded,
    /// The disk's reserve is used up.
    StorageLow,
    /// The log is so far behind that nothing new is taken on (`journal_bytes_max`).
    LogBehind,
    /// This node, a participant, takes no branch now.
    Unready(Unready),
    /// An operator has given up this participant.
    ParticipantForgotten(NodeId),
    /// The node is a member at present, or this node itself: it is not gone.
    StillMember,
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

/// What only the application can do: the part of the resource manager. Each is asked again until it is answered: under the same
/// ticket when no answer came within `request_timeout`, under another when the answer was [`Answer::Failed`] or the node was
/// started again. So each must be idempotent under its transaction, and three rules hold for whoever does several at a time:
///
/// 1. A ticket that comes again is the same request. One that was answered, or is being carried out, is not begun again.
/// 2. Of one transaction, a request is not begun once a later one of it was begun. So no `Prepare` comes behind its `Abort`.
/// 3. Nothing of a transaction is begun once its [`Event::Settled`] was told.
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
    /// Comes ahead of new branches; a prepared branch that is not named before [`Event::Recovered`] never voted and is
    /// to be aborted. No new branch comes before all of these are answered. An application that answers [`Answer::Failed`] is asked
    /// again, and others are served meanwhile: it keeps them from what this branch holds.
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

/// Which [`Request`] it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "they are described at `Request`")]
pub enum RequestKind {
    Prepare,
    Recover,
    Commit,
    Abort,
    CommitOnePhase,
}

impl Request {
    /// Which it is.
    pub fn kind(&self) -> RequestKind {
        match self {
            Self::Prepare { .. } => RequestKind::Prepare,
            Self::Recover { .. } => RequestKind::Recover,
            Self::Commit { .. } => RequestKind::Commit,
            Self::Abort { .. } => RequestKind::Abort,
            Self::CommitOnePhase { .. } => RequestKind::CommitOnePhase,
        }
    }

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
            Self::Aborted(AbortReason::Unready(node, why)) => write!(f, "aborted: node {node} took no branch: {why}"),
            Self::Aborted(AbortReason::Refused(node)) => write!(f, "aborted: node {node} voted no"),
            Self::Aborted(AbortReason::NotWritten) => f.write_str("aborted: the decision could not be written"),
        }
    }
}
