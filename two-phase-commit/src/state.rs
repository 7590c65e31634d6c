//! What a node knows: what must survive a crash, what it coordinates, what it takes part in.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_protocol::{Instant, NodeId, Ticket};

use crate::message::Stamp;
use crate::{Decision, Epoch, TransactionId, TransactionNumber, Unready, Vote};

/// What must survive a crash beside the records of transactions. Safe to adopt alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct DurableState {
    /// This start of this node. Raised with every start.
    pub(crate) epoch: Epoch,
    /// Of the own transactions below, the committed and finished ones are forgotten. Never goes back.
    pub(crate) forgotten_below: TransactionNumber,
}

/// What a node knows of another as a coordinator: what must survive a crash, and where it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Known {
    /// The newest that it has said of itself. Neither part goes back.
    pub(crate) stamp: Stamp,
    /// Its transactions below, except those in `unfinished`, are finished too. Never goes back.
    pub(crate) until: TransactionNumber,
    /// Between `stamp.finished_below` and `until`.
    pub(crate) unfinished: BTreeSet<TransactionNumber>,
    /// An operator has given the node up: nothing that it says is heard.
    pub(crate) is_forgotten: bool,
    /// Where the record of the stamp stands.
    pub(crate) key: Option<u64>,
    /// Where the record of `until` and `unfinished` stands, while they say more than the stamp.
    pub(crate) unfinished_key: Option<u64>,
}

impl Known {
    /// Whether nobody will be asked about this transaction again.
    pub(crate) fn is_finished(&self, number: TransactionNumber) -> bool {
        number < self.stamp.finished_below || (number < self.until && !self.unfinished.contains(&number))
    }
}

/// The most coordinators that a node knows: far above the nodes of a cluster, so that nobody is locked out by those that were.
pub(crate) const COORDINATORS_MAX: usize = 65_536;

/// What one coordinator's transactions hold at a participant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Holdings {
    pub(crate) branches: usize,
    pub(crate) payload_bytes: usize,
    pub(crate) tombstones: usize,
}

/// A transaction that this node coordinates and that is not finished.
#[derive(Clone, Debug)]
pub(crate) struct Coordinated {
    pub(crate) stage: Stage,
    /// When this stage was entered.
    pub(crate) since: Instant,
    /// How often what waits for an answer was sent again.
    pub(crate) attempt: u32,
    pub(crate) is_reported: bool,
}

/// How far a coordinator is with a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// Begun; the application works.
    Working,
    /// Participants are asked to prepare.
    Voting(Voting),
    /// Every vote allows a commit, and some are yes; the decision is on its way to the disk. Nobody knows of it.
    Deciding { key: u64, writers: BTreeSet<NodeId> },
    /// The decision is durable. It is told to the writers until they acknowledge it.
    Committed { key: u64, writers: BTreeSet<NodeId>, unacknowledged: BTreeSet<NodeId> },
    /// All have committed; that they have is on its way to the disk.
    Ending { key: u64, writers: BTreeSet<NodeId> },
    /// That the only participant decides is on its way to the disk.
    Delegating { key: u64, participant: NodeId, payload: Bytes },
    /// The only participant decides. It is asked until it says how.
    Delegated { key: u64, participant: NodeId, payload: Bytes },
    /// The only participant has aborted; the record is on its way out.
    Forgetting,
}

/// Votes so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Voting {
    /// Then the transaction is aborted.
    pub(crate) until: Instant,
    /// What each participant is to do. Who takes part.
    pub(crate) payloads: BTreeMap<NodeId, Bytes>,
    /// Never a no: the first one aborts.
    pub(crate) votes: BTreeMap<NodeId, Vote>,
    /// Who said that it cannot take the branch now, and why.
    pub(crate) unready: BTreeMap<NodeId, Unready>,
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
    /// Everybody who takes part, as the coordinator says.
    pub(crate) participants: BTreeSet<NodeId>,
    pub(crate) payload: Bytes,
    /// Where its record stands, once it votes yes.
    pub(crate) key: Option<u64>,
    /// What the application is asked. An answer to anything else is stale.
    pub(crate) request: Option<Ticket>,
    /// When this node came to be in doubt, as far as this start knows.
    pub(crate) since: Instant,
    /// When the application was first asked for what this stage wants.
    pub(crate) asked_since: Instant,
    /// How often what waits for an answer was asked again.
    pub(crate) attempt: u32,
    /// How often the application has failed to do what this stage wants.
    pub(crate) failures: u32,
    /// It was told that the branch is in doubt.
    pub(crate) is_reported: bool,
    /// It was told that the application does not do what this stage wants.
    pub(crate) is_overdue: bool,
}

impl Branch {
    pub(crate) fn new(stage: BranchStage, participants: BTreeSet<NodeId>, payload: Bytes, now: Instant) -> Self {
        Self {
            stage,
            participants,
            payload,
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

/// How far a participant is with its branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum BranchStage {
    /// The application works; nothing was asked yet.
    Enlisted,
    /// The application prepares.
    Preparing,
    /// It is prepared; the record of it is on its way to the disk. Nobody knows of it.
    Writing,
    /// The vote is yes, durably: in doubt. Only a decision ends it.
    Prepared,
    /// The decision is to commit; the application does.
    Committing,
    /// The application aborts, and why.
    Aborting(BranchEnd),
    /// The application does it all and decides.
    Delegated,
}

/// What a participant remembers of a branch until its coordinator says that the transaction is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tombstone {
    pub(crate) end: BranchEnd,
    /// Where its record stands; a read-only branch has none.
    pub(crate) key: Option<u64>,
}

/// How a branch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum BranchEnd {
    /// The vote was read-only.
    ReadOnly,
    /// As the coordinator decided, in so many words. This may be told to other participants.
    Decided(Decision),
    /// Aborted, and the coordinator did not say why: the vote was no or was never cast, or the coordinator has forgotten
    /// the transaction. A node that voted read-only before it crashed may come to this in a transaction that is
    /// committed, so it is told to nobody.
    Abandoned,
}

/// What happens when a write is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Awaited {
    /// The coordinator's commit is a fact.
    Decided(TransactionNumber),
    /// The participant may be told to decide.
    Delegated(TransactionNumber),
    /// The coordinator need not come back to the transaction.
    Ended(TransactionNumber),
    /// The participant may say yes.
    Prepared(TransactionId),
    /// The participant need not come back to the branch.
    Settled(TransactionId, Decision),
}
