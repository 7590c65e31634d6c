//! Settings, commands, events and requests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::NodeId;

use crate::{CommandId, ConfigError, Decision, TransactionId};

/// Configuration of one node.
#[derive(Clone, Debug)]
pub struct Config {
    node: NodeId,
    seed: u64,
    settings: Settings,
}

/// Which form of the protocol all nodes use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// A majority of the participants decides. Safe; blocks without a majority.
    Quorum,
    /// Whoever answers in time decides, and who does not counts as crashed. **Decides both ways under a partition.**
    /// It is here so that a test can show it.
    Classical,
}

/// Times and bounds, equal on all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The form of the protocol.
    pub form: Form,
    /// Time within which all votes must arrive at the coordinator; then it aborts.
    pub vote_timeout: Duration,
    /// Time for which a node that voted waits for the next message before it begins an attempt of its own. Each further
    /// wait is up to twice as long, at most sixteen times, and jittered.
    pub silence_timeout: Duration,
    /// Transactions that are kept at a node at a time. Above it a command is refused, and the vote on others is no.
    pub transactions_max: usize,
    /// Participants of a transaction; more are refused.
    pub participants_max: usize,
    /// Longest payload in bytes; longer ones are refused.
    pub payload_bytes_max: usize,
    /// Messages that wait for writes. Above it the oldest is dropped.
    pub held_messages_max: usize,
    /// Bytes of one write that the log accepts.
    pub write_bytes_max: usize,
}

impl Default for Settings {
    /// The form with quorums; 2 s for votes, 1 s of silence; 4,096 transactions, 64 participants, payloads of 64 KiB;
    /// writes of 1 MiB.
    fn default() -> Self {
        Self {
            form: Form::Quorum,
            vote_timeout: Duration::from_secs(2),
            silence_timeout: Duration::from_secs(1),
            transactions_max: 4096,
            participants_max: 64,
            payload_bytes_max: 64 << 10,
            held_messages_max: 16_384,
            write_bytes_max: 1 << 20,
        }
    }
}

impl Config {
    /// Makes the configuration of `node`. Its random numbers come from `seed`: give every node and start another one.
    ///
    /// # Errors
    /// When times or bounds contradict each other.
    pub fn new(node: NodeId, seed: u64, settings: Settings) -> Result<Self, ConfigError> {
        let record = settings.payload_bytes_max.saturating_add(settings.participants_max.saturating_mul(8));
        let rules = [
            (settings.vote_timeout > Duration::ZERO, "vote_timeout is above zero"),
            (settings.silence_timeout >= Duration::from_micros(2), "silence_timeout is at least 2 us"),
            (settings.transactions_max > 0, "transactions_max is above zero"),
            ((1..=1024).contains(&settings.participants_max), "participants_max is from 1 to 1024"),
            (record.saturating_add(OVERHEAD_BYTES) <= settings.write_bytes_max, "a record fits write_bytes_max"),
            (settings.held_messages_max > 0, "held_messages_max is above zero"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(ConfigError::Contradiction(rule)),
            None => Ok(Self { node, seed, settings }),
        }
    }

    /// Id of this node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Seed of the random numbers.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Times and bounds.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// Command of the application.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Commit a transaction with this work at its participants. This node is one of them, and coordinates it. The
    /// answers are [`Event::Begun`], and [`Event::Decided`] once it is decided.
    Commit {
        /// Number of the command.
        command: CommandId,
        /// The work of each participant.
        branches: BTreeMap<NodeId, Bytes>,
    },
}

/// Event for the application.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The transaction has begun, under this id.
    Begun {
        /// The command.
        command: CommandId,
        /// The transaction.
        transaction: TransactionId,
    },
    /// The command was refused. Nothing has changed.
    Refused {
        /// The command.
        command: CommandId,
        /// The reason.
        reason: Refusal,
    },
    /// After a start: this node had voted yes, and does not know the decision. The application takes its locks again.
    Recovered {
        /// The transaction.
        transaction: TransactionId,
        /// The work.
        payload: Bytes,
    },
    /// The transaction is decided, durably. Told again after each start until every participant knows, so the
    /// application must be able to take it twice.
    Decided {
        /// The transaction.
        transaction: TransactionId,
        /// The decision.
        decision: Decision,
    },
}

/// Reason why a command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// This node's incarnation is not known to its peers.
    NotIntroduced,
    /// This node is not among the participants, or there are more than `participants_max`.
    Participants,
    /// A payload is longer than `payload_bytes_max`.
    TooLarge,
    /// There are `transactions_max` transactions, or the disk's reserve is used up.
    Overloaded,
    /// The group has stopped on this node.
    Halted,
}

/// Work that only the application can do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Do the work, keep its locks, and make it ready for either decision. The answer may be lost: the transaction is
    /// then aborted. The decision is told with [`Event::Decided`], which may come before the answer.
    Prepare {
        /// The transaction.
        transaction: TransactionId,
        /// The work.
        payload: Bytes,
    },
}

/// The application's answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// The work can be committed and can be aborted, whatever happens to this node.
    Yes,
    /// The work left no trace.
    No,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotIntroduced => "this node is not known to its peers",
            Self::Participants => "this node is no participant, or there are too many",
            Self::TooLarge => "the work is too large",
            Self::Overloaded => "there are too many transactions, or too little room on the disk",
            Self::Halted => "the group has stopped on this node",
        })
    }
}

/// The participants of `branches`.
pub(super) fn participants(branches: &BTreeMap<NodeId, Bytes>) -> BTreeSet<NodeId> {
    branches.keys().copied().collect()
}

/// Bytes of a record besides payload and participants, and of a state record.
const OVERHEAD_BYTES: usize = 512;
