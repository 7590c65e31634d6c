//! What a node knows: what must survive a crash, and what it is at.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::{Instant, NodeId, ProposalId, ReadId, Ticket};

use super::{Event, Outcome, Proposal};
use crate::Ballot;

/// What must survive a crash beside the journal. Safe to adopt alone: without the record that was written beside it, it promises more
/// than was accepted and skips a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct DurableState {
    /// Nothing below is accepted here any more. Never goes back.
    pub(crate) promised: Ballot,
    /// The last round of this node's own ballots. Never goes back.
    pub(crate) round: u64,
}

/// What was accepted last: never of a higher ballot than was promised. One journal record, whole or absent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AcceptedValue {
    pub(crate) ballot: Ballot,
    pub(crate) proposal: Proposal,
}

/// This node's own ballot under way.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) ballot: Ballot,
    pub(crate) phase: Phase,
    /// Acceptors that promised or accepted, durably.
    pub(crate) answered: BTreeSet<NodeId>,
    /// Acceptors that have promised a higher ballot.
    pub(crate) refused: BTreeSet<NodeId>,
    /// The write that makes the ballot's round durable: nobody hears of the ballot before.
    pub(crate) heard_after: Ticket,
    /// The write that makes this node's own promise or acceptance durable.
    pub(crate) own: Option<Ticket>,
    /// Who has not answered is asked again at this time.
    pub(crate) retry_at: Instant,
    pub(crate) retries: u32,
}

/// What the acceptors are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// Promises.
    Prepare {
        /// What was accepted in the highest ballot heard of.
        newest: Option<AcceptedValue>,
    },
    /// To accept this, the one proposal of the ballot.
    Accept {
        /// The proposal.
        proposal: Proposal,
    },
}

/// A proposal that waits for its outcome.
#[derive(Clone, Debug)]
pub(crate) struct WaitingProposal {
    pub(crate) proposal: Proposal,
    pub(crate) until: Instant,
    /// Whether this node has asked anybody, itself included, to accept a proposal of this id.
    pub(crate) is_tried: bool,
}

/// A read that waits for its answer.
#[derive(Clone, Debug)]
pub(crate) struct WaitingRead {
    pub(crate) id: ReadId,
    pub(crate) until: Instant,
    /// The round of questions that began after the read: its answers can say that nothing was chosen.
    pub(crate) round: Option<u64>,
}

/// Questions to the acceptors, for the reads that waited when they began.
#[derive(Clone, Debug)]
pub(crate) struct ReadRound {
    pub(crate) number: u64,
    /// Who has answered, and the ballot in which something was accepted there.
    pub(crate) answered: BTreeMap<NodeId, Option<Ballot>>,
    /// What was accepted in the highest of these ballots.
    pub(crate) newest: Option<AcceptedValue>,
    /// Enough have answered, and nothing follows from it.
    pub(crate) is_inconclusive: bool,
    /// Who has not answered is asked again at this time; if nothing follows from the answers, everybody is.
    pub(crate) retry_at: Instant,
    pub(crate) retries: u32,
}

impl WaitingProposal {
    pub(crate) fn id(&self) -> ProposalId {
        self.proposal.id
    }

    /// What the application is told of it at last.
    pub(crate) fn ended(&self, outcome: Outcome) -> Event {
        Event::Proposed { id: self.proposal.id, checksum: self.proposal.checksum, outcome }
    }
}
