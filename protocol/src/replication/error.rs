//! Errors, and reasons why messages are ignored.

use std::fmt;

use crate::{ConfigurationError, NodeId};

/// Reason why settings cannot be used. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// Times or bounds contradict each other. Holds the rule that is broken.
    Contradiction(&'static str),
    /// The node is not a member of its initial configuration.
    NotMember(NodeId),
    /// The initial configuration is invalid.
    Configuration(ConfigurationError),
    /// A group cannot start in a joint configuration.
    JointStart,
    /// The initial configuration does not fit one entry.
    ConfigurationTooLarge {
        /// Its length as an entry, in bytes.
        bytes: usize,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contradiction(rule) => write!(f, "the settings break the rule: {rule}"),
            Self::NotMember(node) => write!(f, "node {node} is not a member of its initial configuration"),
            Self::Configuration(error) => write!(f, "the initial configuration: {error}"),
            Self::JointStart => f.write_str("the initial configuration is joint"),
            Self::ConfigurationTooLarge { bytes } => {
                write!(f, "the initial configuration takes {bytes} bytes, more than an entry may")
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// Reason why an input changed nothing. Counted in [`LogStatus::ignored`](crate::LogStatus::ignored).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Ignored {
    /// The message is of an earlier term.
    StaleTerm,
    /// The term is one that no election reaches, or further ahead than a group gets while one of its nodes is away.
    AbsurdTerm,
    /// The index is one that no log reaches, or that this leader never had.
    AbsurdIndex,
    /// The answer is to a question that is no longer asked.
    StaleAnswer,
    /// The question is one that only a leader answers, or the answer is one that only a leader awaits.
    NotLeading,
    /// A vote was requested while a leader is alive (Raft §6, "disruptive servers").
    LeaderAlive,
    /// The sender does not count until its incarnation is known.
    Stranger,
    /// The sender is not in the configuration.
    NotMember,
    /// The entries cannot be read or are not consecutive.
    MalformedEntries,
    /// The payload of an entry does not match its checksum: it changed in the memory of a node. A follower refuses it,
    /// and a leader that is notified of it reads it from disk again.
    CorruptEntries,
    /// The sender's group was founded with other first members than this node's.
    OtherFounding,
    /// The entries arrive faster than the log accepts them.
    LogBusy,
    /// The log reported that it did not write. The write is retried.
    LogRefuses,
    /// A follower no longer has entries that it acknowledged: its disk lost them, or was replaced by an old copy. It is
    /// asked again at the pace of heartbeats, and gets no entries that would conceal the loss.
    AcknowledgedLost,
    /// The snapshot is already being received.
    AlreadyReceiving,
    /// The snapshot is older than the newest one, or ahead of the committed entries.
    UselessSnapshot,
    /// This node may not lead, or there is no node to which leadership could be transferred.
    NoCandidate,
    /// The group has stopped on this node.
    Halted,
}

impl Ignored {
    /// The name under which it is counted.
    pub fn name(self) -> &'static str {
        match self {
            Self::StaleTerm => "stale_term",
            Self::AbsurdTerm => "absurd_term",
            Self::AbsurdIndex => "absurd_index",
            Self::StaleAnswer => "stale_answer",
            Self::NotLeading => "not_leading",
            Self::LeaderAlive => "leader_alive",
            Self::Stranger => "stranger",
            Self::NotMember => "not_member",
            Self::MalformedEntries => "malformed_entries",
            Self::CorruptEntries => "corrupt_entries",
            Self::OtherFounding => "other_founding",
            Self::LogBusy => "log_busy",
            Self::LogRefuses => "log_refuses",
            Self::AcknowledgedLost => "acknowledged_lost",
            Self::AlreadyReceiving => "already_receiving",
            Self::UselessSnapshot => "useless_snapshot",
            Self::NoCandidate => "no_candidate",
            Self::Halted => "halted",
        }
    }
}
