//! What can be wrong, and why messages are ignored.

use std::fmt;

/// Why settings cannot be used. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// Times or bounds contradict each other; the rule that does not hold.
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

/// Why an input changed nothing. Counted in [`Status::ignored`](crate::Status::ignored).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Ignored {
    /// From a node whose incarnation is not the known one: it may have forgotten what it said.
    Stranger,
    /// This node is such a one itself: it neither votes nor answers.
    NotIntroduced,
    /// Of an earlier start of the coordinator.
    OldEpoch,
    /// Of a transaction that is finished and forgotten.
    Collected,
    /// A number that no correct node sends.
    Absurd,
    /// Of a coordinator's transaction, from somebody else.
    NotCoordinator,
    /// From a node that does not take part in the transaction.
    NotParticipant,
    /// A repetition of what is being done or is done.
    Repeated,
    /// It is decided already, or not known any more.
    Stale,
    /// The transaction is not decided yet.
    Undecided,
    /// An answer to something that is no longer asked, or not an answer to what is asked.
    StaleAnswer,
    /// Branches that were in doubt have not got their locks back yet.
    Recovering,
    /// The branch is not taken now, and its coordinator is told why.
    Unready,
    /// An operator has given the sender up.
    Forgotten,
    /// The log certainly did not write: it is tried again.
    LogRefuses,
    /// The command was refused, and that was told.
    Refused,
    /// The group has stopped on this node.
    Halted,
}

impl Ignored {
    /// The name under which it is counted.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::NotIntroduced => "not_introduced",
            Self::OldEpoch => "old_epoch",
            Self::Collected => "collected",
            Self::Absurd => "absurd",
            Self::NotCoordinator => "not_coordinator",
            Self::NotParticipant => "not_participant",
            Self::Repeated => "repeated",
            Self::Stale => "stale",
            Self::Undecided => "undecided",
            Self::StaleAnswer => "stale_answer",
            Self::Recovering => "recovering",
            Self::Unready => "unready",
            Self::Forgotten => "forgotten",
            Self::LogRefuses => "log_refuses",
            Self::Refused => "refused",
            Self::Halted => "halted",
        }
    }
}
