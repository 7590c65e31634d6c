//! Commands and answers of the shell to the core of a manager, and events and requests for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::manager::{BranchId, CommitEnd, ResourceId, RollBackEnd};
use crate::message::Acknowledgement;
use crate::{CommandId, Decision, Deviation, Epoch, Knowledge, TransactionNumber, TransactionRefusal, Unready, Vote};

/// Command of the shell to the core.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ManagerCommand {
    /// Begin a transaction. The answer is [`ManagerEvent::Begun`] or [`ManagerEvent::Refused`].
    Begin {
        /// Number of the command.
        command: CommandId,
        /// Time within which the transaction must be decided; then it is aborted. `None` if it is begun in advance, and
        /// is to be started.
        timeout: Option<Duration>,
    },
    /// A transaction that was begun in advance is used now. Without an answer.
    Start {
        /// The transaction.
        transaction: TransactionNumber,
        /// As for `Begin`.
        timeout: Duration,
    },
    /// Work begins in a resource. Without an answer: if the transaction has ended, the branch is rolled back.
    Enlist {
        /// The transaction.
        transaction: TransactionNumber,
        /// The resource.
        resource: ResourceId,
    },
    /// Commit the transaction in every resource that was enlisted. The answer is [`ManagerEvent::Ended`].
    Commit {
        /// The transaction.
        transaction: TransactionNumber,
        /// Resources in which it has worked, with the votes of those that were asked to prepare already; the others are
        /// asked by [`ManagerRequest::Prepare`]. Those that were enlisted before need not be named. Of a transaction of
        /// one resource none may have been asked.
        votes: BTreeMap<ResourceId, Option<Vote>>,
    },
    /// Abort the transaction, if it is not decided. The answer is [`ManagerEvent::Ended`].
    Abort {
        /// The transaction.
        transaction: TransactionNumber,
    },
    /// Ask for the outcome of a transaction. The answer is [`ManagerEvent::Known`] or [`ManagerEvent::Refused`].
    Query {
        /// Number of the command.
        command: CommandId,
        /// The transaction.
        transaction: TransactionNumber,
    },
    /// An operator has dealt with a transaction that a branch did not follow ([`ManagerEvent::Hazard`]): the manager
    /// keeps it no longer. The answer is [`ManagerEvent::Done`] or [`ManagerEvent::Refused`].
    Forget {
        /// Number of the command.
        command: CommandId,
        /// The transaction.
        transaction: TransactionNumber,
    },
    /// A resource will never commit its branch of a committed transaction, as an operator says: the manager no longer
    /// waits for it. The answer is [`ManagerEvent::Done`] or [`ManagerEvent::Refused`].
    Release {
        /// Number of the command.
        command: CommandId,
        /// The transaction.
        transaction: TransactionNumber,
        /// The resource.
        resource: ResourceId,
    },
    /// An operator says how the only resource of a transaction decided, because it does not answer. The answer is
    /// [`ManagerEvent::Done`] or [`ManagerEvent::Refused`].
    Resolve {
        /// Number of the command.
        command: CommandId,
        /// The transaction.
        transaction: TransactionNumber,
        /// The decision.
        decision: Decision,
    },
}

/// Event for the shell.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ManagerEvent {
    /// The transaction has begun.
    Begun {
        /// The command.
        command: CommandId,
        /// The transaction.
        transaction: TransactionNumber,
    },
    /// The command was refused. Nothing has changed.
    Refused {
        /// The command.
        command: CommandId,
        /// Reason of the refusal.
        reason: TransactionRefusal,
    },
    /// The outcome of a transaction, which is final. A commit is told when each resource was asked once to commit, so
    /// that the next transaction of the caller usually sees it.
    Ended {
        /// The transaction.
        transaction: TransactionNumber,
        /// The outcome.
        outcome: Ended,
    },
    /// The answer to a query.
    Known {
        /// The command.
        command: CommandId,
        /// The manager's knowledge.
        knowledge: Knowledge,
    },
    /// The decision was left to the only resource, which has not told it for `report_after`.
    InDoubt {
        /// The transaction.
        transaction: TransactionNumber,
        /// Time in doubt, as far as this start knows.
        age: Duration,
    },
    /// Resources of a committed transaction have not committed for `report_after`. They are asked again and again.
    Uncommitted {
        /// The transaction.
        transaction: TransactionNumber,
        /// The resources.
        resources: BTreeSet<ResourceId>,
        /// Time since the decision, as far as this start knows.
        age: Duration,
    },
    /// A request has not been carried out for `report_after`. It is repeated, and nothing else waits for it. Emitted
    /// once for each piece of work.
    Overdue {
        /// The request.
        request: ManagerRequest,
        /// Time since it was first asked, as far as this start knows.
        age: Duration,
        /// Number of times that it failed.
        failures: u32,
    },
    /// The resource has listed its prepared branches for the first time in this start.
    Recovered {
        /// The resource.
        resource: ResourceId,
        /// Number of branches of earlier starts that it listed.
        branches: usize,
    },
    /// A branch did not follow the decision. This is durable, and the manager keeps it until an operator says that it
    /// was dealt with ([`ManagerCommand::Forget`]). Told once.
    Hazard {
        /// The branch.
        branch: BranchId,
        /// How the branch ended.
        hazard: Hazard,
    },
    /// What an operator asked for is done. If the transaction has ended by it, that is durable.
    Done {
        /// The command.
        command: CommandId,
    },
    /// A resource has prepared branches of a later start of this manager: another process continued from this log, or
    /// the log was set back to an earlier state. This manager touches nothing any more.
    Superseded {
        /// The resource.
        resource: ResourceId,
        /// The later start.
        epoch: Epoch,
    },
}

/// The way in which a branch did not follow the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hazard {
    /// The transaction is committed, and somebody else rolled this branch back.
    RolledBack,
    /// The transaction is committed, and this branch is not there: the resource lost it.
    Lost,
    /// The transaction is aborted, and somebody else committed this branch.
    Committed,
}

impl Hazard {
    /// What the coordinator is told of it.
    pub(super) fn acknowledgement(self) -> Acknowledgement {
        match self {
            Self::RolledBack => Acknowledgement::HeuristicallyAborted,
            Self::Lost => Acknowledgement::Lost,
            Self::Committed => Acknowledgement::HeuristicallyCommitted,
        }
    }

    /// What the coordinator keeps of it.
    pub(super) fn of(deviation: Deviation) -> Self {
        match deviation {
            Deviation::Aborted => Self::RolledBack,
            Deviation::Lost => Self::Lost,
            Deviation::Committed => Self::Committed,
        }
    }
}

/// Outcome of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ended {
    /// Every branch is committed, or will be. Those in `without` did not follow: see [`ManagerEvent::Hazard`].
    Committed {
        /// Resources whose branches were lost or rolled back by somebody else.
        without: BTreeSet<ResourceId>,
    },
    /// Every branch is rolled back, or will be.
    Aborted(AbortReason),
}

/// Reason why a transaction was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AbortReason {
    /// The application asked for it, or dropped the transaction.
    Asked,
    /// The deadline of the transaction passed before it was decided.
    Deadline,
    /// Not every resource prepared its branch within `vote_timeout`.
    Late,
    /// The resource could not prepare its branch, and has rolled it back.
    Refused(ResourceId),
    /// The decision certainly could not be written, and no resource was told it.
    NotWritten,
    /// The commit was not begun.
    NotBegun(TransactionRefusal),
    /// The resource did not accept a branch.
    Unready(ResourceId, Unready),
    /// Another node has taken the manager over, and the transaction was not decided before.
    TakenOver,
}

/// Work in a resource. A later request for a branch replaces an earlier one: the earlier call is ended before the later
/// one begins, and only the answer to the later one counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ManagerRequest {
    /// See [`ResourceManager::prepare`](crate::manager::ResourceManager::prepare).
    Prepare(BranchId),
    /// See [`ResourceManager::commit`](crate::manager::ResourceManager::commit).
    Commit(BranchId),
    /// See [`ResourceManager::commit_one_phase`](crate::manager::ResourceManager::commit_one_phase).
    CommitOnePhase(BranchId),
    /// See [`ResourceManager::roll_back`](crate::manager::ResourceManager::roll_back).
    RollBack(BranchId),
    /// See [`ResourceManager::recover`](crate::manager::ResourceManager::recover).
    Recover(ResourceId),
    /// See [`ResourceManager::forget`](crate::manager::ResourceManager::forget).
    Forget {
        /// The resource.
        resource: ResourceId,
        /// Transactions below this number are finished.
        below: TransactionNumber,
        /// The transactions below it that are not.
        unfinished: BTreeSet<TransactionNumber>,
    },
}

impl ManagerRequest {
    /// The branch, if the request concerns one.
    pub fn branch(&self) -> Option<BranchId> {
        match self {
            Self::Prepare(branch) | Self::Commit(branch) | Self::CommitOnePhase(branch) | Self::RollBack(branch) => {
                Some(*branch)
            }
            Self::Recover(_) | Self::Forget { .. } => None,
        }
    }

    /// The resource.
    pub fn resource(&self) -> ResourceId {
        match self {
            Self::Prepare(branch) | Self::Commit(branch) | Self::CommitOnePhase(branch) | Self::RollBack(branch) => {
                branch.resource
            }
            Self::Recover(resource) | Self::Forget { resource, .. } => *resource,
        }
    }

    /// The work in words.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Prepare(_) => "prepare",
            Self::Commit(_) => "commit",
            Self::CommitOnePhase(_) => "commit in one phase",
            Self::RollBack(_) => "roll back",
            Self::Recover(_) => "list prepared branches",
            Self::Forget { .. } => "drop evidence",
        }
    }
}

/// Answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ManagerAnswer {
    /// To [`ManagerRequest::Prepare`].
    Voted(Vote),
    /// To [`ManagerRequest::Commit`].
    Committed(CommitEnd),
    /// To [`ManagerRequest::CommitOnePhase`].
    Decided(Decision),
    /// To [`ManagerRequest::RollBack`].
    RolledBack(RollBackEnd),
    /// To [`ManagerRequest::Recover`].
    Listed(BTreeSet<BranchId>),
    /// To [`ManagerRequest::Forget`].
    Forgotten,
    /// It is unknown what was done, for this reason. The request is repeated.
    Failed(String),
}

impl fmt::Display for AbortReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("on request"),
            Self::Deadline => f.write_str("its deadline passed before it was decided"),
            Self::Late => f.write_str("not every resource prepared its branch in time"),
            Self::Refused(resource) => write!(f, "resource {resource} could not prepare its branch"),
            Self::NotWritten => f.write_str("the decision could not be written"),
            Self::NotBegun(why) => write!(f, "the commit was not begun: {why:?}"),
            Self::Unready(resource, why) => write!(f, "resource {resource} accepted no branch: {why}"),
            Self::TakenOver => f.write_str("another node took the manager over before it was decided"),
        }
    }
}
