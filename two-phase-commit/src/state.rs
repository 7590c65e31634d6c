//! The state of a node: the part that must survive a crash, its transactions as coordinator, and its branches as
//! participant.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_protocol::{Instant, NodeId, Ticket};

use crate::codec::{KnownRecord, Record};
use crate::journal::KeyedRecord;
use crate::{AbortReason, CoordinatorId, Decision, Epoch, TransactionId, TransactionNumber, Unready, Vote};

/// The state that must survive a crash, besides the records of transactions. It is safe to adopt alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct DurableState {
    /// Number of this start of the node. Raised with every start.
    pub(crate) epoch: Epoch,
    /// Committed and finished transactions of this node below this number are forgotten. Never decreases.
    pub(crate) forgotten_below: TransactionNumber,
}

/// A node's knowledge of a coordinator, which must survive a crash, and the keys of its records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct KnownCoordinator {
    /// The epoch of the newest stamp. Never decreases.
    pub(crate) epoch: Epoch,
    /// The node that serves the coordinator: the first that sent a stamp of this epoch. Votes, acknowledgements and
    /// questions go to it.
    pub(crate) server: Option<NodeId>,
    /// All its transactions below this number are finished. Never decreases.
    pub(crate) finished_below: TransactionNumber,
    /// Its transactions below this number are finished too, except those in `unfinished`. Never decreases.
    pub(crate) until: TransactionNumber,
    /// The unfinished transactions between `finished_below` and `until`.
    pub(crate) unfinished: BTreeSet<TransactionNumber>,
    /// True if an operator has given the coordinator up: its messages are ignored.
    pub(crate) is_forgotten: bool,
    /// Key of the record of the stamp.
    pub(crate) key: Option<u64>,
    /// Key of the record of `until` and `unfinished`, while they contain more than the stamp.
    pub(crate) unfinished_key: Option<u64>,
    /// Volatile: number of questions to its server in a row that were not answered.
    pub(crate) unanswered: u32,
}

impl KnownCoordinator {
    /// True if no node will ask about this transaction again.
    pub(crate) fn is_finished(&self, number: TransactionNumber) -> bool {
        number < self.finished_below || (number < self.until && !self.unfinished.contains(&number))
    }

    /// The record of the stamp.
    pub(crate) fn record(&self, coordinator: CoordinatorId) -> Record {
        let Self { epoch, server, finished_below, is_forgotten, .. } = *self;
        Record::Known(KnownRecord { coordinator, epoch, server, finished_below, is_forgotten })
    }

    /// The record of `until` and `unfinished`.
    pub(crate) fn unfinished_record(&self, coordinator: CoordinatorId) -> Record {
        Record::Unfinished { coordinator, until: self.until, unfinished: self.unfinished.clone() }
    }
}

/// Largest number of coordinators that a node knows, and of nodes that are given up: far above the nodes of a cluster,
/// so that earlier members do not lock out new ones.
pub(crate) const COORDINATORS_MAX: usize = 65_536;

/// The resources that transactions hold at a participant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Holdings {
    pub(crate) branches: usize,
    pub(crate) payload_bytes: usize,
    pub(crate) tombstones: usize,
}

/// An unfinished transaction that this node coordinates.
#[derive(Clone, Debug)]
pub(crate) struct Coordinated {
    pub(crate) stage: Stage,
    /// Time at which it entered this stage.
    pub(crate) since: Instant,
    /// Number of repetitions of the message that waits for an answer.
    pub(crate) attempt: u32,
    pub(crate) is_reported: bool,
}

impl Coordinated {
    pub(crate) fn new(stage: Stage, now: Instant) -> Self {
        Self { stage, since: now, attempt: 0, is_reported: false }
    }
}

/// Stage of a transaction at its coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// Begun; the application works.
    Working,
    /// Participants are asked to prepare.
    Voting(Voting),
    /// Every vote allows a commit, and some are yes. The decision is on its way to the disk, and no other node knows
    /// it.
    Deciding { key: u64, writers: BTreeSet<NodeId> },
    /// The decision is durable. The writers are told it until they acknowledge it.
    Committed { key: u64, writers: BTreeSet<NodeId>, unacknowledged: BTreeSet<NodeId> },
    /// All writers have committed; the record of this is on its way to the disk.
    Ending { key: u64, writers: BTreeSet<NodeId> },
    /// The delegation to the only participant is on its way to the disk.
    Delegating { key: u64, participant: NodeId, payload: Bytes },
    /// The only participant decides. It is asked until it tells its decision.
    Delegated { key: u64, participant: NodeId, payload: Bytes },
    /// The only participant has aborted; the removal of the record is on its way to the disk.
    Forgetting,
}

impl Stage {
    /// Bytes of payloads that this stage holds.
    pub(crate) fn payload_bytes(&self) -> usize {
        match self {
            Self::Voting(voting) => voting.payloads.values().map(Bytes::len).sum(),
            Self::Delegating { payload, .. } | Self::Delegated { payload, .. } => payload.len(),
            _ => 0,
        }
    }

    /// The participant that the decision is left to.
    pub(crate) fn delegate(&self) -> Option<NodeId> {
        match self {
            Self::Delegating { participant, .. } | Self::Delegated { participant, .. } => Some(*participant),
            _ => None,
        }
    }

    /// Time at which a transaction that collects votes is aborted.
    pub(crate) fn until(&self) -> Option<Instant> {
        if let Self::Voting(voting) = self { Some(voting.until) } else { None }
    }

    /// The record of a transaction in this stage, if it has one.
    pub(crate) fn record(&self, number: TransactionNumber) -> Option<KeyedRecord> {
        let (key, record) = match self {
            Self::Deciding { key, writers } | Self::Committed { key, writers, .. } => {
                (key, Record::Commit { number, writers: writers.clone() })
            }
            Self::Ending { key, writers } => (key, Record::Ended { number, writers: writers.clone() }),
            Self::Delegating { key, participant, payload } | Self::Delegated { key, participant, payload } => {
                (key, Record::Delegated { number, participant: *participant, payload: payload.clone() })
            }
            Self::Working | Self::Voting(_) | Self::Forgetting => return None,
        };
        Some(KeyedRecord { key: *key, record })
    }
}

/// The votes of a transaction so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Voting {
    /// Time at which the transaction is aborted.
    pub(crate) until: Instant,
    /// The participants, with the work of each.
    pub(crate) payloads: BTreeMap<NodeId, Bytes>,
    /// Votes so far; never a no, because the first no aborts.
    pub(crate) votes: BTreeMap<NodeId, Vote>,
    /// The participants that do not accept the branch now, with their reasons.
    pub(crate) unready: BTreeMap<NodeId, Unready>,
}

impl Voting {
    /// The participants that may have prepared or may still prepare.
    pub(crate) fn interested(&self) -> BTreeSet<NodeId> {
        let is_interested = |node: &&NodeId| self.votes.get(node) != Some(&Vote::ReadOnly);
        self.payloads.keys().filter(is_interested).copied().collect()
    }

    /// Reason why votes are missing, according to the participants that have not voted.
    pub(crate) fn why_late(&self) -> AbortReason {
        let mut unready = self.unready.iter().filter(|(node, _)| !self.votes.contains_key(node));
        unready.next().map_or(AbortReason::TimedOut, |(node, why)| AbortReason::Unready(*node, *why))
    }
}

/// The decisions that are left to a participant and not answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Delegations {
    pub(crate) count: usize,
    pub(crate) payload_bytes: usize,
    /// One of them was reported as in doubt, and the participant has answered none since.
    pub(crate) is_late: bool,
}

/// A committed and finished transaction that is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Remembered {
    pub(crate) key: u64,
    pub(crate) writers: BTreeSet<NodeId>,
}

/// A branch at this node that is not settled.
#[derive(Clone, Debug)]
pub(crate) struct Branch {
    pub(crate) stage: BranchStage,
    /// All participants, as the coordinator named them.
    pub(crate) participants: BTreeSet<NodeId>,
    pub(crate) payload: Bytes,
    /// For a branch that gets its locks back: the outcome that an operator forced before this start.
    pub(crate) forced: Option<Decision>,
    /// Key of its record, once it votes yes.
    pub(crate) key: Option<u64>,
    /// The open request to the application. An answer to another request is stale.
    pub(crate) request: Option<Ticket>,
    /// Time since which this node has been in doubt, as far as this start knows.
    pub(crate) since: Instant,
    /// Time at which the application was first asked for the work of this stage.
    pub(crate) asked_since: Instant,
    /// Number of repetitions of the message or request that waits for an answer.
    pub(crate) attempt: u32,
    /// Number of failures of the application in this stage.
    pub(crate) failures: u32,
    /// True once the doubt was reported.
    pub(crate) is_reported: bool,
    /// True once it was reported that the application does not carry out this stage.
    pub(crate) is_overdue: bool,
}

impl Branch {
    /// The record of a branch that voted yes.
    pub(crate) fn record(&self, transaction: TransactionId) -> Record {
        let (participants, payload) = (self.participants.clone(), self.payload.clone());
        match (self.stage, self.forced) {
            (BranchStage::Forcing(decision) | BranchStage::Forced(decision), _) | (_, Some(decision)) => {
                Record::Forced { transaction, decision, participants, payload }
            }
            _ => Record::Prepared { transaction, participants, payload },
        }
    }

    pub(crate) fn new(stage: BranchStage, participants: BTreeSet<NodeId>, payload: Bytes, now: Instant) -> Self {
        Self {
            stage,
            participants,
            payload,
            forced: None,
            key: None,
            request: None,
            since: now,
            asked_since: now,
            attempt: 0,
            failures: 0,
            is_reported: false,
            is_overdue: false,
        }
    }
}

/// Stage of a branch at its participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum BranchStage {
    /// The application works; it has not been asked for anything yet.
    Enlisted,
    /// The application prepares the branch.
    Preparing,
    /// The branch is prepared, and its record is on its way to the disk. No other node knows of it.
    Writing,
    /// The vote is yes, durably: the branch is in doubt. Only a decision ends it.
    Prepared,
    /// The decision is commit; the application commits.
    Committing,
    /// The application aborts the branch, which ends like this.
    Aborting(BranchEnd),
    /// The application does the whole work and decides.
    Delegated,
    /// An operator forced this outcome, and its record is on its way to the disk.
    Forcing(Decision),
    /// The application carries out the outcome that an operator forced.
    Forced(Decision),
}

/// A participant's record of an ended branch, kept until its coordinator reports the transaction as finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tombstone {
    pub(crate) end: BranchEnd,
    /// Key of its record; a read-only branch has none.
    pub(crate) key: Option<u64>,
    /// True for a commit whose record waits for the next write. It is acknowledged once that is durable, and not
    /// before, however often it is asked for.
    pub(crate) is_unwritten: bool,
}

/// The end of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum BranchEnd {
    /// The vote was read-only.
    ReadOnly,
    /// The coordinator told this decision explicitly. Other participants may be told it.
    Decided(Decision),
    /// An operator forced this, and the decision was the other one.
    Heuristic(Decision),
    /// The branch was aborted without an explicit decision of the coordinator: the vote was no or was never cast, or
    /// the coordinator has forgotten the transaction. A node that voted read-only before it crashed may end like this
    /// in a transaction that is committed, so other nodes are not told.
    Abandoned,
}

/// The action that follows once a write is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Awaited {
    /// The coordinator's commit is final.
    Decided(TransactionNumber),
    /// The participant may be asked to decide.
    Delegated(TransactionNumber),
    /// A restart of the coordinator need not return to the transaction.
    Ended(TransactionNumber),
    /// The participant may vote yes.
    Prepared(TransactionId),
    /// The participant may acknowledge the commit, and a restart need not return to the branch.
    Committed(TransactionId),
    /// The participant may carry out the outcome that an operator forced.
    Forced(TransactionId),
    /// A restart of the participant need not return to the branch.
    Settled(TransactionId, Decision),
}

impl Awaited {
    /// True if the action binds this node to a decision or a vote. It is taken back if it was certainly not written.
    pub(crate) fn is_binding(self) -> bool {
        matches!(self, Self::Decided(_) | Self::Delegated(_) | Self::Prepared(_))
    }
}
