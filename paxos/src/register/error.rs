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
    /// There is no proposer, so that no register could ever be written.
    NoProposer,
    /// There are more proposers than [`PROPOSERS_MAX`](super::PROPOSERS_MAX).
    TooManyProposers,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contradiction(rule) => write!(f, "the settings break the rule: {rule}"),
            Self::NotMember(node) => write!(f, "node {node} has no role in the group"),
            Self::NoProposer => f.write_str("the group has no proposer"),
            Self::TooManyProposers => f.write_str("the group has too many proposers"),
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
    /// The sender has raised its age since it sent the message, because a register was deleted.
    OldAge,
    /// The answer belongs to a ballot, query or removal that is over or never existed.
    StaleAnswer,
    /// The sender's group was founded with other acceptors, quorums or proposers.
    OtherSystem,
    /// The roles have changed since the message was sent, or this node does not know the newest ones.
    OtherEpoch,
    /// The sender does not count until its incarnation is known.
    Stranger,
    /// The sender does not have the role for this message.
    NotMember,
    /// This node does not have the role for this message.
    NotInRole,
    /// This node's disk was lost, or is not confirmed as the old one yet: it neither promises nor accepts nor reports.
    Barred,
    /// The key is empty or longer than `key_bytes_max`.
    Key,
    /// The value is longer than `value_bytes_max`.
    TooLarge,
    /// The content does not match its checksum: it changed on its way.
    Damaged,
    /// Too many writes wait for the log. The sender will ask again.
    LogBehind,
    /// Too many requests wait for values from the log. The sender will ask again.
    LoadsBehind,
    /// A value could not be read from the log. The sender will ask again.
    LoadFailed,
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
            Self::OldAge => "old_age",
            Self::StaleAnswer => "stale_answer",
            Self::OtherSystem => "other_system",
            Self::OtherEpoch => "other_epoch",
            Self::Stranger => "stranger",
            Self::NotMember => "not_member",
            Self::NotInRole => "not_in_role",
            Self::Barred => "barred",
            Self::Key => "key",
            Self::TooLarge => "too_large",
            Self::Damaged => "damaged",
            Self::LogBehind => "log_behind",
            Self::LoadsBehind => "loads_behind",
            Self::LoadFailed => "load_failed",
            Self::LogRefuses => "log_refuses",
            Self::Unasked => "unasked",
            Self::Halted => "halted",
        }
    }
}
