//! Commands of the application to a node, and events for it.

use std::fmt;

use bytes::Bytes;
use quorate_protocol::{ProposalId, ReadId, crc32c};

/// A value with the id under which it was proposed.
///
/// Two proposals with equal bytes are different: only one of them is chosen, so that each proposer learns whether it
/// was its own. An id belongs to one value for ever: two values under one id are two proposals, of which at most one is
/// chosen.
///
/// A proposal carries a checksum from its proposer on, in every message and record: if a value changed on its way or in
/// the memory of a node, no node accepts it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Proposal {
    /// Id of the proposal, unique for ever. A proposal that is tried again, on any node, keeps its id and its value.
    pub id: ProposalId,
    /// Checksum of the id and the value, as they were proposed.
    pub checksum: u32,
    /// The value: bytes that only the application interprets.
    pub value: Bytes,
}

impl Proposal {
    /// Makes a proposal of this value under this id.
    pub fn new(id: ProposalId, value: impl Into<Bytes>) -> Self {
        let value = value.into();
        Self { id, checksum: checksum(id, &value), value }
    }

    /// True if id and value match the checksum.
    pub fn is_intact(&self) -> bool {
        checksum(self.id, &self.value) == self.checksum
    }

    /// The event that ends this proposal for the application.
    pub(crate) fn ended(&self, outcome: ProposalOutcome) -> Event {
        Event::Proposed { id: self.id, checksum: self.checksum, outcome }
    }
}

/// CRC-32C of the id and of the value, together.
fn checksum(id: ProposalId, value: &[u8]) -> u32 {
    let mut name = [0; 28];
    name[..16].copy_from_slice(&id.session.incarnation.0.to_le_bytes());
    name[16..20].copy_from_slice(&id.session.start.to_le_bytes());
    name[20..].copy_from_slice(&id.sequence.to_le_bytes());
    crc32c(&name) ^ crc32c(value)
}

/// Command of the application to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Have this value chosen, unless another one is. The answer is [`Event::Proposed`].
    Propose(Proposal),
    /// Ask for the chosen value. The answer is [`Event::Read`]; it is linearizable, see [`ReadOutcome`].
    Read {
        /// Number of the read.
        id: ReadId,
    },
}

/// Event for the application.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A value is chosen, and durable here. Emitted once in each start, with or without a command.
    Chosen(Proposal),
    /// A proposal has an outcome.
    Proposed {
        /// Its id.
        id: ProposalId,
        /// Its checksum. A caller that proposed another value under the same id recognises by it which proposal is
        /// meant.
        checksum: u32,
        /// The outcome.
        outcome: ProposalOutcome,
    },
    /// The answer to a read.
    Read {
        /// Number of the read.
        id: ReadId,
        /// The answer.
        outcome: ReadOutcome,
    },
}

/// Outcome of a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProposalOutcome {
    /// Its value is chosen.
    Chosen,
    /// Another proposal is chosen, so this one never will be.
    Superseded {
        /// The chosen proposal.
        chosen: Proposal,
    },
    /// Another value is chosen under this proposal's id, so this one never will be. Two values were proposed under one
    /// id.
    IdReused {
        /// The chosen proposal.
        chosen: Proposal,
    },
    /// The proposal was tried, but its outcome did not become known in time: it may be chosen, now or later.
    Unknown,
    /// This node asked no acceptor to accept it, and will not. Earlier attempts under the same id, here or on other
    /// nodes, may still succeed.
    NotTried(CommandRefusal),
}

/// Answer to a read. Each is linearizable: it was true at a moment between the command and the answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadOutcome {
    /// This proposal is chosen, for ever.
    Chosen(Proposal),
    /// No proposal was chosen when the read began.
    NoneYet,
    /// No answer could be found.
    Failed(CommandRefusal),
}

/// Reason why a node did not carry out a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CommandRefusal {
    /// The value is longer than `value_bytes_max`.
    TooLarge,
    /// Too many commands wait here, or too many bytes of values.
    Overloaded,
    /// Another value waits here under the same id.
    IdReused,
    /// The value does not match its checksum.
    Damaged,
    /// The disk is nearly full.
    StorageLow,
    /// This node is not a proposer.
    NotProposer,
    /// No quorum answered in time.
    TimedOut,
    /// This node has not been introduced to every node of the group yet, so it does not promise, accept or propose.
    /// [`Synod::explain`](super::Synod::explain) names the missing nodes.
    NotIntroduced,
    /// A peer knows another disk under this node's id. This node learns the chosen value but does not promise, accept
    /// or propose.
    Stranger,
    /// This node knows of a ballot of the last round, so it can begin no further ballot.
    BallotsExhausted,
    /// The group has stopped on this node.
    Halted,
    /// The node is shutting down.
    ShuttingDown,
    /// The node hosts no such decision.
    NoGroup,
    /// The node has stopped.
    Stopped,
}

impl fmt::Display for CommandRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the value is too long",
            Self::Overloaded => "too many calls wait",
            Self::IdReused => "another value waits under the same id",
            Self::Damaged => "the value does not match its checksum",
            Self::StorageLow => "the disk is nearly full",
            Self::NotProposer => "this node is not a proposer",
            Self::TimedOut => "no quorum answered in time",
            Self::NotIntroduced => "this node has not been introduced to every node of the group yet",
            Self::Stranger => "a peer knows another disk under this node's id",
            Self::BallotsExhausted => "this node has no ballot left",
            Self::Halted => "the group has stopped on this node",
            Self::ShuttingDown => "the node is shutting down",
            Self::NoGroup => "the node hosts no such decision",
            Self::Stopped => "the node has stopped",
        })
    }
}

impl std::error::Error for CommandRefusal {}
