//! What the application asks of a node, and what it is told.

use bytes::Bytes;
use quorate_protocol::{ProposalId, ReadId};

/// A value and the proposal that it came with.
///
/// Two proposals with equal bytes are two: only one of them is chosen, so that each proposer learns whether it was his.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Proposal {
    /// Names the proposal for ever. A proposal that is tried again, on any node, keeps its id.
    pub id: ProposalId,
    /// The value: bytes that only the application understands.
    pub value: Bytes,
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
        /// Which.
        id: ProposalId,
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
    /// Nothing was found out in time: it may be chosen, now or later.
    Unknown,
    /// It was not tried. Earlier attempts under the same id, here or elsewhere, may still succeed.
    Refused(RefuseReason),
}

/// The answer to a read. Each is linearizable: true at a moment between the question and the answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadOutcome {
    /// This is chosen, for ever.
    Chosen(Proposal),
    /// When the read began nothing was chosen. A value that few had accepted then was kept from being chosen in its ballot,
    /// and can only be chosen in a later one, after the read.
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
    /// Too many commands wait here.
    Overloaded,
    /// The disk is nearly full.
    StorageLow,
    /// This node is no proposer.
    NotProposer,
    /// No quorum answered in time. Only reads fail so; a proposal is then `Unknown`.
    TimedOut,
    /// The group has stopped on this node.
    Halted,
}
