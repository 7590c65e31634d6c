//! What can be wrong, and why messages are ignored.

use std::fmt;

use quorate_protocol::{ConfigurationError, NodeId};

/// Why settings cannot be used. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// Times or bounds contradict each other; the rule that does not hold.
    Contradiction(&'static str),
    /// The node is not a member of the initial configuration it was given.
    NotMember(NodeId),
    /// The initial configuration is none, and why.
    Configuration(ConfigurationError),
    /// A group cannot start in a joint configuration.
    JointStart,
    /// The initial configuration does not fit one entry.
    ConfigurationTooLarge {
        /// Its bytes as an entry.
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

/// Why an input changed nothing. Counted in [`LogStatus::ignored`](quorate_protocol::LogStatus::ignored).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Ignored {
    /// Of an earlier term.
    StaleTerm,
    /// Of a term that no election reaches, or further ahead than a group gets while one of its nodes is away.
    AbsurdTerm,
    /// An index that no log reaches, or that this leader never had.
    AbsurdIndex,
    /// An answer to something that is no longer asked.
    StaleAnswer,
    /// A question that only a leader answers, or an answer that only a leader awaits.
    NotLeading,
    /// A vote was asked for while a leader is alive (Raft §6, "disruptive servers").
    LeaderAlive,
    /// From a node that counts for nothing until its incarnation is known.
    Stranger,
    /// From a node that is not in the configuration.
    NotMember,
    /// Entries that cannot be read or do not follow each other.
    MalformedEntries,
    /// An entry whose payload is not the one that its checksum was made of: somebody's memory changed it. A follower
    /// refuses it, and a leader that is told so reads it from disk again.
    CorruptEntries,
    /// The group of the sender was founded with other first members than this node's.
    OtherFounding,
    /// Entries that arrive faster than the log takes them.
    LogBusy,
    /// The log certainly did not write: it is tried again.
    LogRefuses,
    /// A follower has no longer what it had acknowledged: its disk lost it, or an old one was put back. It is asked
    /// again at the pace of heartbeats, and gets nothing that would cover that up.
    AcknowledgedLost,
    /// The snapshot is already on its way here.
    AlreadyReceiving,
    /// A snapshot that is older than what is known, or ahead of what is committed.
    UselessSnapshot,
    /// This node may not lead, or nobody may whom leadership could be handed to.
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
