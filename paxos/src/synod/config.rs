//! The roles, times and bounds of a group, checked when they are set.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorate_protocol::{NodeId, crc32c};

use super::ConfigError;
use crate::QuorumSystem;

/// Configuration of one node for one decision. A `Config` is always valid.
///
/// ```
/// use quorate_paxos::QuorumSystem;
/// use quorate_paxos::synod::{Config, GroupRoles, Settings};
/// use quorate_protocol::NodeId;
/// let group = GroupRoles::of(QuorumSystem::majority([1, 2, 3].map(NodeId))?);
/// let config = Config::new(NodeId(1), 42, group, Settings::default())?;
/// assert_eq!(config.node(), NodeId(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    node: NodeId,
    seed: u64,
    group: GroupRoles,
    settings: Settings,
    quorums: Bytes,
    system: u32,
}

/// The roles of a group (Paxos Made Simple §2.1). One node may have several. It must be equal on all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRoles {
    quorums: QuorumSystem,
    proposers: BTreeSet<NodeId>,
    learners: BTreeSet<NodeId>,
}

impl GroupRoles {
    /// The acceptors of `quorums`, each of which is also a proposer and a learner.
    pub fn of(quorums: QuorumSystem) -> Self {
        let all = quorums.acceptors().clone();
        Self { quorums, proposers: all.clone(), learners: all }
    }

    /// Sets the proposers: they try to have values chosen, and finish the attempts of others. If no proposer runs any
    /// more, the chosen value may stay unknown.
    pub fn with_proposers(mut self, proposers: impl IntoIterator<Item = NodeId>) -> Self {
        self.proposers = proposers.into_iter().collect();
        self
    }

    /// Sets the learners: they are told the chosen value until they confirm it.
    pub fn with_learners(mut self, learners: impl IntoIterator<Item = NodeId>) -> Self {
        self.learners = learners.into_iter().collect();
        self
    }

    /// The acceptors and their quorums.
    pub fn quorums(&self) -> &QuorumSystem {
        &self.quorums
    }

    /// True if a node is an acceptor.
    pub fn is_acceptor(&self, node: NodeId) -> bool {
        self.quorums.acceptors().contains(&node)
    }

    /// The proposers.
    pub fn proposers(&self) -> &BTreeSet<NodeId> {
        &self.proposers
    }

    /// The learners.
    pub fn learners(&self) -> &BTreeSet<NodeId> {
        &self.learners
    }

    /// Every node with a role. A node with several roles comes several times.
    pub(crate) fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.quorums.acceptors().iter().chain(&self.proposers).chain(&self.learners).copied()
    }

    /// True if a node has any role.
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_acceptor(node) || self.proposers.contains(&node) || self.learners.contains(&node)
    }
}

/// Longest wait, while no command waits, before an unanswered request or announcement is repeated.
pub const IDLE_INTERVAL_MAX: Duration = Duration::from_hours(1);

/// Largest number of proposers, and of learners.
pub const MEMBERS_MAX: usize = 256;

/// Times and bounds. `value_bytes_max` must be equal on all nodes of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Longest value in bytes. Longer proposals are refused with `TooLarge`.
    pub value_bytes_max: usize,
    /// Time that a command waits for its outcome. Then a proposal is `Unknown`, or `NotTried` if no acceptor was asked
    /// to accept it, and a read fails.
    pub command_timeout: Duration,
    /// Time after which an unanswered request is repeated. It doubles with each repetition.
    pub retry_interval_min: Duration,
    /// Longest wait before a repetition while a command waits. While no command waits, waits continue to double up to
    /// [`IDLE_INTERVAL_MAX`], and return to this length when a lost node is heard again.
    pub retry_interval_max: Duration,
    /// Pause of a proposer that was overtaken by a higher ballot, drawn between half of this time and all of it. It
    /// doubles each time.
    pub backoff_min: Duration,
    /// Longest such pause. It must be well above the duration of a ballot, or proposers may overtake each other for
    /// ever.
    pub backoff_max: Duration,
    /// Time after which an acceptor that accepted a value without learning of a decision makes sure that it is decided,
    /// drawn between this time and twice this time. It doubles each time, up to [`IDLE_INTERVAL_MAX`].
    pub settle_after: Duration,
    /// Number of waiting proposals, and of waiting reads, above which they are refused with `Overloaded`.
    pub commands_max: usize,
    /// Bytes of the values of waiting proposals above which they are refused with `Overloaded`.
    pub commands_bytes_max: usize,
    /// Number of messages that wait for writes; above it the oldest is dropped.
    pub held_messages_max: usize,
}

impl Default for Settings {
    /// Values up to 1 MiB less 4 KiB, 5 s for a command, repetitions after 100 ms to 5 s, pauses of 20 ms to 2 s,
    /// settling after 1 s, 1,024 commands and 16 MiB of them.
    fn default() -> Self {
        Self {
            value_bytes_max: (1 << 20) - 4096,
            command_timeout: Duration::from_secs(5),
            retry_interval_min: Duration::from_millis(100),
            retry_interval_max: Duration::from_secs(5),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_secs(2),
            settle_after: Duration::from_secs(1),
            commands_max: 1024,
            commands_bytes_max: 16 << 20,
            held_messages_max: 1024,
        }
    }
}

impl Config {
    /// Makes the configuration of `node`. Its random numbers come from `seed`: give every node and start another one.
    ///
    /// # Errors
    /// When times or bounds contradict each other, or the node has no role. Nothing was changed.
    pub fn new(node: NodeId, seed: u64, group: GroupRoles, settings: Settings) -> Result<Self, ConfigError> {
        settings.check()?;
        if group.proposers.is_empty() {
            return Err(ConfigError::NoProposer);
        }
        if group.proposers.len().max(group.learners.len()) > MEMBERS_MAX {
            return Err(ConfigError::TooManyMembers);
        }
        if !group.contains(node) {
            return Err(ConfigError::NotMember(node));
        }
        let mut quorums = BytesMut::new();
        group.quorums.encode(&mut quorums);
        let system = crc32c(&quorums);
        Ok(Self { node, seed, group, settings, quorums: quorums.freeze(), system })
    }

    /// Id of this node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Seed of the random numbers.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The roles.
    pub fn group(&self) -> &GroupRoles {
        &self.group
    }

    /// True if this node is an acceptor.
    pub(crate) fn is_acceptor(&self) -> bool {
        self.group.is_acceptor(self.node)
    }

    /// True if this node is a proposer.
    pub(crate) fn is_proposer(&self) -> bool {
        self.group.proposers.contains(&self.node)
    }

    /// The acceptors except this node.
    pub(crate) fn other_acceptors(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.group.quorums.acceptors().iter().copied().filter(|other| *other != self.node)
    }

    /// Times and bounds.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A checksum of the quorum system. It is in every message that matters for safety: nodes with different systems
    /// ignore each other's messages. The state record has the system itself, and a node does not start with another
    /// system than it had.
    pub fn system(&self) -> u32 {
        self.system
    }

    /// Bytes of the quorum system, as the state record contains them.
    pub(crate) fn quorums(&self) -> &[u8] {
        &self.quorums
    }
}

impl Settings {
    fn check(&self) -> Result<(), ConfigError> {
        let ordered = [
            (self.value_bytes_max > 0, "value_bytes_max is above zero"),
            (u32::try_from(self.value_bytes_max).is_ok(), "value_bytes_max fits 32 bits"),
            (self.command_timeout > Duration::ZERO, "command_timeout is above zero"),
            (self.retry_interval_min > Duration::ZERO, "retry_interval_min is above zero"),
            (self.retry_interval_min <= self.retry_interval_max, "retry_interval_min <= retry_interval_max"),
            (self.backoff_min >= Duration::from_micros(1), "backoff_min is a microsecond or more"),
            (self.backoff_min <= self.backoff_max, "backoff_min <= backoff_max"),
            (self.settle_after > Duration::ZERO, "settle_after is above zero"),
            (self.commands_max > 0, "commands_max is above zero"),
            (self.value_bytes_max <= self.commands_bytes_max, "value_bytes_max <= commands_bytes_max"),
            (self.held_messages_max > 0, "held_messages_max is above zero"),
        ];
        match ordered.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(ConfigError::Contradiction(rule)),
            None => Ok(()),
        }
    }
}
