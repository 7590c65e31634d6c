//! What tests ask of clusters of synod cores, of their nodes and of their disks.

use bytes::Bytes;
use quorate_protocol::testing::Stream;
use quorate_protocol::{Input, NodeId, ProposalId, ReadId};

use super::{Cluster, Node};
use crate::Ballot;
use crate::synod::codec::{ACCEPTED_KEY, CHOSEN_KEY, decode_accepted, decode_chosen, decode_state};
use crate::synod::{Command, Event, Proposal, ProposalOutcome, ReadOutcome};

/// Commands of applications.
pub trait Calls {
    /// Proposes on a node, under a new id.
    fn propose(&mut self, node: u64, value: &[u8]) -> ProposalId;
    /// Proposes on a node under an id that may have been used before.
    fn propose_again(&mut self, node: u64, id: ProposalId, value: &[u8]);
    /// Reads on a node.
    fn read(&mut self, node: u64) -> ReadId;
}

impl Calls for Cluster {
    fn propose(&mut self, node: u64, value: &[u8]) -> ProposalId {
        let id = ProposalId { sequence: self.next_id(), ..ProposalId::default() };
        self.propose_again(node, id, value);
        id
    }

    fn propose_again(&mut self, node: u64, id: ProposalId, value: &[u8]) {
        let proposal = Proposal::new(id, Bytes::copy_from_slice(value));
        self.input(NodeId(node), Input::Command(Command::Propose(proposal)));
    }

    fn read(&mut self, node: u64) -> ReadId {
        let id = ReadId(self.next_id());
        self.input(NodeId(node), Input::Command(Command::Read { id }));
        id
    }
}

/// Answers that the application of a node got.
pub trait Answers {
    /// The chosen proposal.
    fn chosen(&self) -> Option<&Proposal>;
    /// The last outcome of a proposal.
    fn outcome(&self, proposal: ProposalId) -> Option<&ProposalOutcome>;
    /// The answer to a read.
    fn read(&self, read: ReadId) -> Option<&ReadOutcome>;
}

impl Answers for Node {
    fn chosen(&self) -> Option<&Proposal> {
        self.events.iter().find_map(|event| match event {
            Event::Chosen(proposal) => Some(proposal),
            _ => None,
        })
    }

    fn outcome(&self, proposal: ProposalId) -> Option<&ProposalOutcome> {
        self.events.iter().rev().find_map(|event| match event {
            Event::Proposed { id, outcome, .. } if *id == proposal => Some(outcome),
            _ => None,
        })
    }

    fn read(&self, read: ReadId) -> Option<&ReadOutcome> {
        self.events.iter().find_map(|event| match event {
            Event::Read { id, outcome } if *id == read => Some(outcome),
            _ => None,
        })
    }
}

/// Records that are durable.
pub trait Records {
    /// The promised ballot.
    fn promised(&self) -> Ballot;
    /// The last round of the node's own ballots.
    fn round(&self) -> u64;
    /// The accepted proposal, with its ballot.
    fn accepted(&self) -> Option<(Ballot, Proposal)>;
    /// The proposal that is known to be chosen.
    fn chosen(&self) -> Option<Proposal>;
}

impl Records for Stream {
    fn promised(&self) -> Ballot {
        self.state.as_ref().and_then(|bytes| decode_state(bytes).ok()).map_or(Ballot::ZERO, |(_, state)| state.promised)
    }

    fn round(&self) -> u64 {
        self.state.as_ref().and_then(|bytes| decode_state(bytes).ok()).map_or(0, |(_, state)| state.round)
    }

    fn accepted(&self) -> Option<(Ballot, Proposal)> {
        let accepted = decode_accepted(self.newest().get(&ACCEPTED_KEY)?).ok()?;
        Some((accepted.ballot, accepted.proposal))
    }

    fn chosen(&self) -> Option<Proposal> {
        decode_chosen(self.newest().get(&CHOSEN_KEY)?).ok()
    }
}
