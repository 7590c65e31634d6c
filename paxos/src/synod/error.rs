//! What can be wrong, and why inputs are ignored.

use std::fmt;

use quorate_protocol::NodeId;

/// Why settings cannot be used. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// Times or bounds contradict each other; the rule that does not hold.
    Contradiction(&'static str),
    /// The node has no role in the group.
    NotMember(NodeId),
    /// Nobody may propose, so that nothing can ever be chosen.
    NoProposer,
    /// More proposers or learners than [`MEMBERS_MAX`](super::MEMBERS_MAX).
    TooManyMembers,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contradiction(rule) => write!(f, "the settings break the rule: {rule}"),
            Self::NotMember(node) => write!(f, "node {node} has no role in the group"),
            Self::NoProposer => f.write_str("the group has no proposer"),
            Self::TooManyMembers => f.write_str("the group has too many members"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Why an input changed nothing. Counted in [`Status::ignored`](super::Status::ignored).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Ignored {
    /// A ballot of another node than the sender.
    ForeignBallot,
    /// A round that no correct node reaches, or not at once.
    AbsurdBallot,
    /// An answer to a ballot that is over, or never was.
    StaleAnswer,
    /// From a node that believes in another quorum system.
    OtherSystem,
    /// From a node that counts for nothing until its incarnation is known.
    Stranger,
    /// From a node without the role for it, or from this node itself.
    NotMember,
    /// This node has not the role for it.
    NotAcceptor,
    /// This node's disk was lost, or is not known yet to be the old one: it neither promises nor accepts.
    Barred,
    /// A value longer than `value_bytes_max`.
    TooLarge,
    /// A value that does not match its checksum: it changed on its way.
    Damaged,
    /// Too many writes wait for the log: whoever asks asks again.
    LogBehind,
    /// The value is not known here.
    NotKnown,
    /// The log certainly did not write: it is tried again.
    LogRefuses,
    /// Nothing that this core ever asks for.
    Unasked,
    /// The group has stopped on this node.
    Halted,
}

impl Ignored {
    /// The name under which it is counted.
    pub fn name(self) -> &'static str {
        match self {
            Self::ForeignBallot => "foreign_ballot",
            Self::AbsurdBallot => "absurd_ballot",
            Self::StaleAnswer => "stale_answer",
            Self::OtherSystem => "other_system",
            Self::Stranger => "stranger",
            Self::NotMember => "not_member",
            Self::NotAcceptor => "not_acceptor",
            Self::Barred => "barred",
            Self::TooLarge => "too_large",
            Self::Damaged => "damaged",
            Self::LogBehind => "log_behind",
            Self::NotKnown => "not_known",
            Self::LogRefuses => "log_refuses",
            Self::Unasked => "unasked",
            Self::Halted => "halted",
        }
    }
}
