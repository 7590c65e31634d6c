//! Who takes part and how, checked when it is made.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{NodeId, crc32c};

use super::ConfigError;
use crate::QuorumSystem;

/// What one node needs to take part in one decision. A `Config` in hand is valid.
///
/// ```
/// use quorate_paxos::QuorumSystem;
/// use quorate_paxos::synod::{Config, Group, Settings};
/// use quorate_protocol::NodeId;
/// let group = Group::of(QuorumSystem::majority([1, 2, 3].map(NodeId))?);
/// let config = Config::new(NodeId(1), 42, group, Settings::default())?;
/// assert_eq!(config.node(), NodeId(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    node: NodeId,
    seed: u64,
    group: Group,
    settings: Settings,
    quorums: Bytes,
    system: u32,
}

/// The roles of a group (Paxos Made Simple §2.1). One node may have several. Equal on all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    quorums: QuorumSystem,
    proposers: BTreeSet<NodeId>,
    learners: BTreeSet<NodeId>,
}

impl Group {
    /// The acceptors of `quorums`, each of which proposes and learns as well.
    pub fn of(quorums: QuorumSystem) -> Self {
        let all = quorums.acceptors().clone();
        Self { quorums, proposers: all.clone(), learners: all }
    }

    /// With these proposers and no others: they try to have values chosen, and finish what others left behind. If none of them
    /// runs for ever, what is chosen may stay unknown.
    pub fn with_proposers(mut self, proposers: impl IntoIterator<Item = NodeId>) -> Self {
        self.proposers = proposers.into_iter().collect();
        self
    }

    /// With these learners and no others: they are told what is chosen until they have confirmed it.
    pub fn with_learners(mut self, learners: impl IntoIterator<Item = NodeId>) -> Self {
        self.learners = learners.into_iter().collect();
        self
    }

    /// Who promises and accepts, and which sets of them are enough.
    pub fn quorums(&self) -> &QuorumSystem {
        &self.quorums
    }

    /// Whether a node promises and accepts.
    pub fn is_acceptor(&self, node: NodeId) -> bool {
        self.quorums.acceptors().contains(&node)
    }

    /// Who proposes.
    pub fn proposers(&self) -> &BTreeSet<NodeId> {
        &self.proposers
    }

    /// Who is told what is chosen.
    pub fn learners(&self) -> &BTreeSet<NodeId> {
        &self.learners
    }

    /// Every node with a role; one with several comes several times.
    pub(crate) fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.quorums.acceptors().iter().chain(&self.proposers).chain(&self.learners).copied()
    }

    /// Whether a node has any role.
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_acceptor(node) || self.proposers.contains(&node) || self.learners.contains(&node)
    }
}

/// The longest wait, while no command waits, before a node that does not answer is asked or told again.
pub const IDLE_INTERVAL_MAX: Duration = Duration::from_hours(1);

/// The most proposers, and the most learners.
pub const MEMBERS_MAX: usize = 256;

/// Times and bounds. `value_bytes_max` must be equal on all nodes of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The longest value. Longer proposals are refused with `TooLarge`.
    pub value_bytes_max: usize,
    /// How long a command waits for its outcome. Then a proposal is `Unknown`, or `NotTried` if nobody was asked to accept it, and a
    /// read fails.
    pub command_timeout: Duration,
    /// What was not answered is asked again after this long, then after twice as long, and so on.
    pub retry_interval_min: Duration,
    /// The longest wait before asking again while a command waits. While none does, waits go on doubling up to
    /// [`IDLE_INTERVAL_MAX`], and come back to this when a node that was lost is heard again.
    pub retry_interval_max: Duration,
    /// A proposer that was outrun rests for a time drawn between half of this and all of it, then of twice this, and so on.
    pub backoff_min: Duration,
    /// The longest that rest can become. Well above the time that a ballot takes, or proposers may outrun each other for ever.
    pub backoff_max: Duration,
    /// An acceptor that has accepted a value and heard nothing of the decision for a time between this and twice this sees to it
    /// that it is made, then after twice as long, and so on up to [`IDLE_INTERVAL_MAX`].
    pub settle_after: Duration,
    /// The most proposals, and the most reads, that wait; beyond it they are refused with `Overloaded`.
    pub commands_max: usize,
    /// The most bytes of values of proposals that wait; beyond it they are refused with `Overloaded`.
    pub commands_bytes_max: usize,
    /// The most messages that wait for writes; beyond it the oldest is dropped.
    pub held_messages_max: usize,
}

impl Default for Settings {
    /// Values to 1 MiB less 4 KiB, 5 s a command, retries after 100 ms to 5 s, rests of 20 ms to 2 s, left-overs after 1 s, 1,024 commands
    /// and 16 MiB of them.
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
    /// Settings for `node`, whose chance is drawn from `seed` (give every node and start another one).
    ///
    /// # Errors
    /// When times or bounds contradict each other, or the node has no role. Nothing was changed.
    pub fn new(node: NodeId, seed: u64, group: Group, settings: Settings) -> Result<Self, ConfigError> {
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
        let mut quorums = Vec::new();
        group.quorums.describe(&mut quorums);
        let system = crc32c(&quorums);
        Ok(Self { node, seed, group, settings, quorums: quorums.into(), system })
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// What chance is drawn from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The roles.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Times and bounds.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A checksum of the quorum system. It is in every message that safety hangs on: nodes that were given different systems do not
    /// believe each other. The state record holds the system itself, and a node does not start with another one than it had.
    pub fn system(&self) -> u32 {
        self.system
    }

    /// The quorum system, as the state record holds it.
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
