//! What the application asks of a node, and what it is told.

use bytes::Bytes;
use quorate_protocol::{ProposalId, ReadId, crc32c};

/// A value and the proposal that it came with.
///
/// Two proposals with equal bytes are two: only one of them is chosen, so that each proposer learns whether it was his. An id names
/// one value for ever: two values under one id are two proposals, of which at most one is chosen.
///
/// A proposal bears a checksum from its proposer on, in every message and record: a value that changed on its way, in the memory of some
/// node, is taken by nobody.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Proposal {
    /// Names the proposal for ever. A proposal that is tried again, on any node, keeps its id and its value.
    pub id: ProposalId,
    /// Of the id and the value, as they were proposed.
    pub checksum: u32,
    /// The value: bytes that only the application understands.
    pub value: Bytes,
}

impl Proposal {
    /// A value to be proposed under this id.
    pub fn new(id: ProposalId, value: impl Into<Bytes>) -> Self {
        let value = value.into();
        Self { id, checksum: checksum(id, &value), value }
    }

    /// Whether id and value are what they were when they were proposed.
    pub fn is_intact(&self) -> bool {
        checksum(self.id, &self.value) == self.checksum
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

/// What the application asks of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Have this value chosen, unless another is. Answered by [`Event::Proposed`].
    Propose(Proposal),
    /// Which value is chosen? Answered by [`Event::Read`]: linearizable, see [`ReadOutcome`].
    Read {
        /// Names the question.
        id: ReadId,
    },
}

/// What the application is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A value is chosen, and durable here. Told once a start, with or without a command.
    Chosen(Proposal),
    /// What became of a proposal.
    Proposed {
        /// Its id.
        id: ProposalId,
        /// Its checksum: by it whoever proposed another value under the same id knows which of the two is meant.
        checksum: u32,
        /// What became of it.
        outcome: Outcome,
    },
    /// The answer to a read.
    Read {
        /// Which.
        id: ReadId,
        /// The answer.
        outcome: ReadOutcome,
    },
}

/// What became of a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Its value is chosen.
    Chosen,
    /// Another proposal is chosen: this one never will be.
    Superseded {
        /// What is chosen.
        chosen: Proposal,
    },
    /// Another value is chosen under this proposal's id, and this one never will be. Somebody named two values by one id.
    IdReused {
        /// What is chosen.
        chosen: Proposal,
    },
    /// It was tried, and nothing was found out in time: it may be chosen, now or later.
    Unknown,
    /// This node asked nobody to accept it, and will not. Earlier attempts under the same id, here or elsewhere, may still succeed.
    NotTried(RefuseReason),
}

/// The answer to a read. Each is linearizable: true at a moment between the question and the answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadOutcome {
    /// This is chosen, for ever.
    Chosen(Proposal),
    /// When the read began nothing was chosen.
    NoneYet,
    /// No answer could be found.
    Failed(RefuseReason),
}

/// Why a node did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RefuseReason {
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
    /// This node is no proposer.
    NotProposer,
    /// No quorum answered in time.
    TimedOut,
    /// This node has not yet met every node of the group: until then it neither promises, accepts nor proposes. See
    /// [`Synod::explain`](super::Synod::explain) for who is missing.
    NotIntroduced,
    /// A peer knows another disk under this node's id. It learns what is chosen and neither promises, accepts nor proposes.
    Stranger,
    /// This node has heard of a ballot of the last round: it can begin none any more.
    BallotsExhausted,
    /// The group has stopped on this node.
    Halted,
}
