//! Errors of settings, and reasons to ignore inputs.

use std::fmt;

use quorate_protocol::NodeId;

/// Reason why settings cannot be used. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// Times or bounds contradict each other. The text is the broken rule.
    Contradiction(&'static str),
    /// The node has no role in the group.
    NotMember(NodeId),
    /// There is no proposer, so that no value could ever be chosen.
    NoProposer,
    /// There are more proposers or learners than [`MEMBERS_MAX`](super::MEMBERS_MAX).
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

/// Reason why an input changed nothing. Counted in [`Status::ignored`](super::Status::ignored).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Ignored {
    /// The ballot belongs to another node than the sender.
    ForeignBallot,
    /// No correct node reaches this round, or reaches it in one step.
    AbsurdBallot,
    /// The answer belongs to a ballot that is over or never existed.
    StaleAnswer,
    /// The sender has another quorum system.
    OtherSystem,
    /// The sender does not count until its incarnation is known.
    Stranger,
    /// The sender does not have the role for this message, or is this node itself.
    NotMember,
    /// This node does not have the role for this message.
    NotAcceptor,
    /// This node's disk was lost, or is not confirmed as the old one yet: it neither promises nor accepts.
    Barred,
    /// The value is longer than `value_bytes_max`.
    TooLarge,
    /// The value does not match its checksum: it changed on its way.
    Damaged,
    /// Too many writes wait for the log. The sender will ask again.
    LogBehind,
    /// This node does not know the chosen value.
    NotKnown,
    /// The log certainly did not write. The write is tried again.
    LogRefuses,
    /// This core never asks for this.
    Unasked,
    /// The group has stopped on this node.
    Halted,
}

impl Ignored {
    /// Name of the counter for this reason.
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
