//! Commands and answers of the application to the core, and events and requests for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::NodeId;

use crate::{CoordinatorId, Decision, Epoch, TransactionId, Unready, Vote};

/// Number of a command, chosen by the application. The events that answer the command have the same number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// Command of the application to this node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Begin a transaction that this node coordinates. The answer is [`Event::Begun`]. Without a [`Command::Commit`]
    /// within `begin_timeout` it is aborted.
    Begin {
        /// Number of the command.
        command: CommandId,
    },
    /// Commit a begun transaction: each participant is asked to prepare its branch. The answer is [`Event::Ended`].
    Commit {
        /// Number of the command.
        command: CommandId,
        /// The transaction, which this node coordinates.
        transaction: TransactionId,
        /// The work of each participant, which only applications interpret. This node may be a participant.
        branches: BTreeMap<NodeId, Bytes>,
    },
    /// Abort a transaction that is not decided yet. The answer is [`Event::Ended`].
    Abort {
        /// Number of the command.
        command: CommandId,
        /// The transaction, which this node coordinates.
        transaction: TransactionId,
    },
    /// Ask for the outcome of a transaction that this node coordinates. The answer is [`Event::Known`].
    Query {
        /// Number of the command.
        command: CommandId,
        /// The transaction.
        transaction: TransactionId,
    },
    /// Work for a transaction has begun at this node, a participant, before its prepare. If no prepare arrives within
    /// `begin_timeout`, the branch is aborted with [`Request::Abort`].
    Enlist {
        /// Number of the command.
        command: CommandId,
        /// The transaction.
        transaction: TransactionId,
    },
    /// A node will not come back with the data of its disk. An operator states this of a node that is not a member at
    /// present. Commits no longer wait for it, and this node ignores all its messages, even after a restart. This says
    /// nothing of the coordinator that it served: another node may take over its decision log. A transaction in doubt
    /// here stays in doubt until its coordinator or another participant tells the decision. The answer is
    /// [`Event::Forgotten`].
    Forget {
        /// Number of the command.
        command: CommandId,
        /// The node.
        node: NodeId,
    },
    /// An operator forces the outcome of a branch that is in doubt here, because it cannot wait for the decision (a
    /// heuristic decision). If the decision turns out to be the other one, the transaction is mixed: this part of it
    /// took effect and others did not, or the reverse, and only people can mend that. It is refused unless the branch
    /// is in doubt, and carried out once it is durable. The answer is [`Event::Forced`]. The coordinator is asked for
    /// the decision as before.
    #[doc(alias = "heuristic")]
    ForceOutcome {
        /// Number of the command.
        command: CommandId,
        /// The transaction.
        transaction: TransactionId,
        /// What is done with the branch.
        decision: Decision,
    },
    /// An operator has dealt with a mixed transaction: it is not shown here any more. The answer is
    /// [`Event::MixedForgotten`].
    ForgetMixed {
        /// Number of the command.
        command: CommandId,
        /// The transaction.
        transaction: TransactionId,
    },
    /// The decision log of a coordinator is lost, and no node will ever serve the coordinator. An operator states this
    /// of a coordinator whose last server is not a member at present. Its ended transactions are forgotten here, and
    /// all messages in its name are ignored, even after a restart. A transaction in doubt here stays in doubt until
    /// another participant tells the decision. The answer is [`Event::CoordinatorForgotten`].
    ForgetCoordinator {
        /// Number of the command.
        command: CommandId,
        /// The coordinator.
        coordinator: CoordinatorId,
    },
}

impl Command {
    /// Number of the command.
    pub fn id(&self) -> CommandId {
        match self {
            Self::Begin { command }
            | Self::Commit { command, .. }
            | Self::Abort { command, .. }
            | Self::Query { command, .. }
            | Self::Enlist { command, .. }
            | Self::Forget { command, .. }
            | Self::ForceOutcome { command, .. }
            | Self::ForgetMixed { command, .. }
            | Self::ForgetCoordinator { command, .. } => *command,
        }
    }
}

/// Event for the application.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// Participant: the branches that were in doubt when this node stopped have their locks again. The application must
    /// serve nothing else before. Emitted once in each start, even without such a branch.
    Recovered {
        /// The branches that the application failed to recover. It is asked for them again, and serves others
        /// meanwhile. It must protect what these branches hold, which it knows from their payloads.
        without: BTreeSet<TransactionId>,
    },
    /// Coordinator: the transaction has begun.
    Begun {
        /// The command.
        command: CommandId,
        /// Id of the transaction.
        transaction: TransactionId,
    },
    /// The command was refused. Nothing has changed.
    Refused {
        /// The command.
        command: CommandId,
        /// Reason of the refusal.
        reason: TransactionRefusal,
    },
    /// Coordinator: the outcome of a transaction. It is final.
    Ended {
        /// The transaction.
        transaction: TransactionId,
        /// The outcome.
        outcome: TransactionOutcome,
    },
    /// Coordinator: every participant has committed and acknowledged it.
    Finished {
        /// The transaction.
        transaction: TransactionId,
    },
    /// Coordinator: a participant that must commit has no record of its branch. It forgot the branch after committing,
    /// its data were set back to an earlier state, or an operator gave it up.
    BranchForgotten {
        /// The transaction.
        transaction: TransactionId,
        /// The participant.
        participant: NodeId,
    },
    /// Coordinator: the answer to a query.
    Known {
        /// The command.
        command: CommandId,
        /// The transaction.
        transaction: TransactionId,
        /// The coordinator's knowledge.
        knowledge: Knowledge,
    },
    /// A transaction has been in doubt for `report_after`: a participant that voted yes has no decision, or a
    /// coordinator that left the decision to the only participant has no answer. Emitted once in each start for each
    /// transaction.
    InDoubt {
        /// The transaction.
        transaction: TransactionId,
        /// Time in doubt, as far as this start knows.
        age: Duration,
    },
    /// Coordinator: participants of a committed transaction have not acknowledged it for `report_after`. They are told
    /// again and again, and nothing else waits for them. Emitted once in each start for each transaction. For a node
    /// that is gone for good, [`Command::Forget`] ends it.
    Unacknowledged {
        /// The transaction.
        transaction: TransactionId,
        /// The participants that have not acknowledged.
        participants: BTreeSet<NodeId>,
        /// Time since the decision, as far as this start knows.
        age: Duration,
    },
    /// Participant: the application has not carried out a request for `report_after`, because it fails or does not
    /// answer. It is asked again and again; only this branch waits for it. Emitted once for each request.
    RequestOverdue {
        /// Kind of the request.
        request: RequestKind,
        /// Its transaction.
        transaction: TransactionId,
        /// Time since it was first asked, as far as this start knows.
        age: Duration,
        /// Number of times that it answered with a failure.
        failures: u32,
    },
    /// Participant: branches are not accepted now. Emitted when the reason changes, or again after a branch was
    /// accepted.
    Unready {
        /// The coordinator of the first refused branch.
        coordinator: CoordinatorId,
        /// The reason.
        why: Unready,
    },
    /// The node is given up, durably: the answer to [`Command::Forget`].
    Forgotten {
        /// The command.
        command: CommandId,
        /// The node.
        node: NodeId,
    },
    /// Participant: the outcome that an operator forced is durable, and will be carried out: the answer to
    /// [`Command::ForceOutcome`].
    Forced {
        /// The command.
        command: CommandId,
        /// The transaction.
        transaction: TransactionId,
        /// What is done with the branch.
        decision: Decision,
    },
    /// A participant did not do what was decided, or may not have. Emitted at the coordinator, and at a participant
    /// whose branch an operator forced. Shown in [`Status`](crate::Status) until [`Command::ForgetMixed`].
    #[doc(alias = "heuristic")]
    #[doc(alias = "hazard")]
    Mixed {
        /// The transaction.
        transaction: TransactionId,
        /// What was decided.
        decision: Decision,
        /// The participant.
        participant: NodeId,
        /// What happened there instead.
        deviation: Deviation,
    },
    /// The mixed transaction is not shown any more, durably: the answer to [`Command::ForgetMixed`].
    MixedForgotten {
        /// The command.
        command: CommandId,
        /// The transaction.
        transaction: TransactionId,
    },
    /// The coordinator is given up, durably: the answer to [`Command::ForgetCoordinator`].
    CoordinatorForgotten {
        /// The command.
        command: CommandId,
        /// The coordinator.
        coordinator: CoordinatorId,
    },
    /// Coordinator: another node has taken over the coordinator that this node served. This node decides nothing any
    /// more, in this start and in later ones with this log. Transactions without a decision are aborted
    /// ([`AbortReason::TakenOver`]).
    TakenOver {
        /// The node that serves the coordinator now.
        server: NodeId,
        /// The coordinator's epoch there.
        epoch: Epoch,
        /// The transactions of which this node does not know how they ended: the new server knows.
        unknown: BTreeSet<TransactionId>,
    },
    /// Participant: the decision is applied here and is never asked for again. The application may forget that it
    /// applied it.
    Settled {
        /// The transaction.
        transaction: TransactionId,
        /// The decision.
        decision: Decision,
    },
}

/// Outcome of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TransactionOutcome {
    /// Every participant commits.
    Committed,
    /// No participant wrote anything. Such a transaction is not recorded: a later query reports it as aborted, which is
    /// equally true.
    ReadOnly,
    /// Every participant aborts.
    Aborted(AbortReason),
}

/// What a participant did instead of what was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Deviation {
    /// It aborted its branch of a committed transaction.
    Aborted,
    /// It committed its branch of an aborted transaction.
    Committed,
    /// It lost its branch of a committed transaction, and does not know how the branch ended.
    Lost,
}

/// Reason why a transaction was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AbortReason {
    /// The application asked for it.
    Asked,
    /// Its commit was not asked for within `begin_timeout`.
    Idle,
    /// Not every vote arrived within `vote_timeout`, and the missing participants gave no reason.
    TimedOut,
    /// Not every vote arrived within `vote_timeout`. This participant gave a reason why it did not accept its branch.
    Unready(NodeId, Unready),
    /// This participant voted no.
    Refused(NodeId),
    /// The decision certainly could not be written, and no participant was told it.
    NotWritten,
    /// Another node took the coordinator over before there was a decision.
    TakenOver,
}

/// A coordinator's knowledge of one of its transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Knowledge {
    /// It is not decided yet.
    Undecided,
    /// The decision was left to the only participant, whose answer has not arrived: it may be either.
    InDoubt,
    /// It is committed.
    Committed,
    /// It is aborted, or wrote nothing.
    Aborted,
    /// It ended too long ago (`outcomes_max`): it may be either.
    Forgotten,
    /// This was decided, and at least one participant did not do it, or may not have. [`Status`](crate::Status) names
    /// the participants.
    Mixed(Decision),
}

/// Reason why a command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TransactionRefusal {
    /// This node's incarnation is not known to its peers, or no longer: it may have forgotten its decisions.
    NotIntroduced,
    /// Too many transactions, payload bytes or waiting events are in flight.
    Overloaded,
    /// The disk's reserve is used up.
    StorageLow,
    /// The log is so far behind that no new work is accepted (`journal_bytes_max`).
    LogBehind,
    /// This node, a participant, accepts no branch now.
    Unready(Unready),
    /// An operator has given up this participant.
    ParticipantForgotten(NodeId),
    /// The node is a member at present, or is this node itself, or serves the coordinator: it is not gone.
    StillMember,
    /// It is another coordinator's, or another node serves this node's coordinator now.
    NotCoordinator,
    /// The transaction does not wait for this command: it was never begun, or is decided or ended.
    NotBegun,
    /// The transaction is decided, or about to be.
    AlreadyDeciding,
    /// No branch of the transaction is in doubt here.
    NotInDoubt,
    /// The transaction is not known to be mixed here.
    NotMixed,
    /// There is no participant, or more than `participants_max`.
    Participants,
    /// A branch is longer than `payload_bytes_max`.
    TooLarge,
    /// The group has stopped on this node.
    Halted,
}

/// Work that only the application can do: the role of the resource manager. Each request is repeated until it is
/// answered: under the same ticket if no answer arrived within `request_timeout`, under a new ticket if the answer was
/// [`Answer::Failed`] or the node restarted. So each request must be idempotent for its transaction. An application
/// that carries out several at a time must follow three rules:
///
/// 1. A ticket that comes again is the same request. If it was answered or is being carried out, it is not begun again.
/// 2. Once a later request of a transaction was begun, an earlier one is not begun. So no `Prepare` comes after its
///    `Abort`.
/// 3. Nothing of a transaction is begun after its [`Event::Settled`].
#[doc(alias = "resource manager")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Do the work of the branch and make it ready for either decision, whatever happens to this node, and keep its
    /// locks. The answer is [`Answer::Voted`].
    Prepare {
        /// The transaction.
        transaction: TransactionId,
        /// The work.
        payload: Bytes,
    },
    /// The branch was prepared before this node stopped, and is in doubt: take its locks again. The answer is
    /// [`Answer::Done`]. If the application had already carried out the decision, there is nothing to take, and the
    /// same decision comes again. These requests come before new branches, and no new branch comes before all of them
    /// are answered. A prepared branch that is not named before [`Event::Recovered`] never voted and must be aborted.
    /// An application that answers [`Answer::Failed`] is asked again and serves others meanwhile; it must protect what
    /// this branch holds.
    Recover {
        /// The transaction.
        transaction: TransactionId,
        /// The work of the branch.
        payload: Bytes,
    },
    /// Commit the prepared branch durably and release its locks. The answer is [`Answer::Done`].
    Commit {
        /// The transaction.
        transaction: TransactionId,
    },
    /// Abort the branch, whatever has been done of it, and release its locks. May come while [`Request::Prepare`] is
    /// being carried out; the answer of the latter then no longer counts. The answer is [`Answer::Done`].
    Abort {
        /// The transaction.
        transaction: TransactionId,
    },
    /// Do the work of the branch and commit it at once: this is the only participant. The answer is
    /// [`Answer::Decided`].
    CommitOnePhase {
        /// The transaction.
        transaction: TransactionId,
        /// The work.
        payload: Bytes,
    },
}

/// Kind of a [`Request`].
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
    /// Kind of this request.
    pub fn kind(&self) -> RequestKind {
        match self {
            Self::Prepare { .. } => RequestKind::Prepare,
            Self::Recover { .. } => RequestKind::Recover,
            Self::Commit { .. } => RequestKind::Commit,
            Self::Abort { .. } => RequestKind::Abort,
            Self::CommitOnePhase { .. } => RequestKind::CommitOnePhase,
        }
    }

    /// The transaction of this request.
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

/// The application's answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// To [`Request::Prepare`]. After `No` and `ReadOnly` the branch must have left no trace.
    Voted(Vote),
    /// To [`Request::Recover`], [`Request::Commit`] and [`Request::Abort`]: it is done.
    Done,
    /// To [`Request::CommitOnePhase`]: this decision was carried out.
    Decided(Decision),
    /// It is unknown what was done. The request is repeated after a while.
    Failed,
}

impl fmt::Display for TransactionOutcome {
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
            Self::Aborted(AbortReason::TakenOver) => f.write_str("aborted: another node took the coordinator over"),
        }
    }
}
