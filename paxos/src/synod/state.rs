//! The state of a node: the part that must survive a crash, and the rest.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::{Instant, NodeId, ProposalId, ReadId, Ticket};

use super::{Event, Outcome, Proposal};
use crate::Ballot;

/// The state that must survive a crash, besides the journal. It is safe to adopt without the record written beside it:
/// it then promises more than was accepted, and skips a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct DurableState {
    /// The highest ballot promised: nothing below it is accepted any more. Never decreases.
    pub(crate) promised: Ballot,
    /// The last round of this node's own ballots. Never decreases.
    pub(crate) round: u64,
}

/// The proposal accepted last, with its ballot, which is never above the promised one. It is one journal record,
/// complete or absent.
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
    /// Acceptors that have promised or accepted durably.
    pub(crate) answered: BTreeSet<NodeId>,
    /// Acceptors that have promised a higher ballot.
    pub(crate) refused: BTreeSet<NodeId>,
    /// The write that makes the ballot's round durable. No message of the ballot leaves before.
    pub(crate) heard_after: Ticket,
    /// The write that makes this node's own promise or acceptance durable.
    pub(crate) own: Option<Ticket>,
    /// Time at which acceptors that have not answered are asked again.
    pub(crate) retry_at: Instant,
    pub(crate) retries: u32,
}

/// Phase of a ballot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// Acceptors are asked for promises.
    Prepare {
        /// The accepted proposal with the highest ballot among the answers.
        newest: Option<AcceptedValue>,
    },
    /// Acceptors are asked to accept this proposal, the only one of the ballot.
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
    /// True if this node has asked an acceptor, itself included, to accept a proposal with this id.
    pub(crate) is_tried: bool,
}

/// A read that waits for its answer.
#[derive(Clone, Debug)]
pub(crate) struct WaitingRead {
    pub(crate) id: ReadId,
    pub(crate) until: Instant,
    /// The round of queries that began after the read. Its answers can show that nothing was chosen.
    pub(crate) round: Option<u64>,
}

/// A round of queries to the acceptors, for the reads that waited when it began.
#[derive(Clone, Debug)]
pub(crate) struct ReadRound {
    pub(crate) number: u64,
    /// The acceptors that have answered, with the ballot of their accepted proposal.
    pub(crate) answered: BTreeMap<NodeId, Option<Ballot>>,
    /// The accepted proposal with the highest of these ballots.
    pub(crate) newest: Option<AcceptedValue>,
    /// True if enough acceptors have answered without a conclusion.
    pub(crate) is_inconclusive: bool,
    /// Time at which acceptors that have not answered are asked again; if the answers lead to no conclusion, all are
    /// asked again.
    pub(crate) retry_at: Instant,
    pub(crate) retries: u32,
}

impl WaitingProposal {
    pub(crate) fn id(&self) -> ProposalId {
        self.proposal.id
    }

    /// The event that ends this proposal for the application.
    pub(crate) fn ended(&self, outcome: Outcome) -> Event {
        Event::Proposed { id: self.proposal.id, checksum: self.proposal.checksum, outcome }
    }
}
