//! Errors of settings, and reasons to ignore messages.

use std::fmt;

/// Reason why settings cannot be used. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// Times or bounds contradict each other. The text is the broken rule.
    Contradiction(&'static str),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contradiction(rule) => write!(f, "the settings break the rule: {rule}"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Reason why an input changed nothing. Counted in [`Status::ignored`](crate::Status::ignored).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Ignored {
    /// The sender's incarnation is not the known one: it may have forgotten what it said.
    Stranger,
    /// This node's own incarnation is not known to its peers: it neither votes nor answers.
    NotIntroduced,
    /// The message belongs to an earlier start of the coordinator.
    OldEpoch,
    /// The transaction is finished and forgotten.
    Collected,
    /// No correct node sends this number.
    Absurd,
    /// Another node serves this epoch of the coordinator, as far as this node knows. No sound log lets two nodes start
    /// with the same epoch.
    TwoServers,
    /// This node does not serve the coordinator, or no longer.
    NotCoordinator,
    /// The sender does not take part in the transaction.
    NotParticipant,
    /// The message repeats something that is being done or is done.
    Repeated,
    /// The transaction is decided already, or not known any more.
    Stale,
    /// The transaction is not decided yet.
    Undecided,
    /// The answer belongs to a request that is no longer open, or does not fit it.
    StaleAnswer,
    /// Branches that were in doubt do not have their locks back yet.
    Recovering,
    /// An operator has forced the outcome of the branch. The decision is compared with it once that is carried out.
    Forced,
    /// The branch is not accepted now, and its coordinator is told the reason.
    Unready,
    /// An operator has given the sender or the coordinator up.
    Forgotten,
    /// The log certainly did not write. The write is tried again.
    LogRefuses,
    /// The command was refused, and the application was told.
    Refused,
    /// The group has stopped on this node.
    Halted,
}

impl Ignored {
    /// Name of the counter for this reason.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::NotIntroduced => "not_introduced",
            Self::OldEpoch => "old_epoch",
            Self::Collected => "collected",
            Self::Absurd => "absurd",
            Self::TwoServers => "two_servers",
            Self::NotCoordinator => "not_coordinator",
            Self::NotParticipant => "not_participant",
            Self::Repeated => "repeated",
            Self::Stale => "stale",
            Self::Undecided => "undecided",
            Self::StaleAnswer => "stale_answer",
            Self::Recovering => "recovering",
            Self::Forced => "forced",
            Self::Unready => "unready",
            Self::Forgotten => "forgotten",
            Self::LogRefuses => "log_refuses",
            Self::Refused => "refused",
            Self::Halted => "halted",
        }
    }
}
