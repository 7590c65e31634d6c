//! The roles, functions, times and bounds of a group of registers, checked when they are set.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{NodeId, crc32c};

use super::ConfigError;
use super::base::record_write_bytes;
use super::codec::describe;
use crate::QuorumSystem;

/// Configuration of one node for one group of registers. A `Config` is always valid.
///
/// ```
/// use quorate_paxos::QuorumSystem;
/// use quorate_paxos::register::{Config, Functions, Roles, Settings};
/// use quorate_protocol::NodeId;
/// let roles = Roles::of(QuorumSystem::majority([1, 2, 3].map(NodeId))?);
/// let config = Config::new(NodeId(1), 42, roles, Functions::default(), Settings::default())?;
/// assert_eq!(config.node(), NodeId(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    node: NodeId,
    seed: u64,
    roles: Roles,
    functions: Functions,
    settings: Settings,
    description: Bytes,
    system: u32,
}

/// The roles of a group. One node may have both. Those of the founding must be equal on all nodes; they are changed
/// with a [`RolesChange`](super::RolesChange).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Roles {
    quorums: QuorumSystem,
    proposers: BTreeSet<NodeId>,
}

impl Roles {
    /// The acceptors of `quorums`, each of which is also a proposer.
    pub fn of(quorums: QuorumSystem) -> Self {
        let proposers = quorums.acceptors().clone();
        Self { quorums, proposers }
    }

    /// Sets the proposers: the nodes that carry out commands. The traces of a deleted register are removed only while
    /// all of them run.
    pub fn with_proposers(mut self, proposers: impl IntoIterator<Item = NodeId>) -> Self {
        self.proposers = proposers.into_iter().collect();
        self
    }

    /// The acceptors and their quorums.
    pub fn quorums(&self) -> &QuorumSystem {
        &self.quorums
    }

    /// The proposers.
    pub fn proposers(&self) -> &BTreeSet<NodeId> {
        &self.proposers
    }

    /// True if a node is an acceptor.
    pub fn is_acceptor(&self, node: NodeId) -> bool {
        self.quorums.acceptors().contains(&node)
    }

    /// True if a node has any role.
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_acceptor(node) || self.proposers.contains(&node)
    }

    /// Every node with a role.
    pub(crate) fn members(&self) -> BTreeSet<NodeId> {
        self.quorums.acceptors().union(&self.proposers).copied().collect()
    }
}

/// A function that computes the new value of a register from the present one and an argument: `None` deletes the
/// register, and an error refuses the change. It is called again when a change is tried again, and must not panic.
pub type Function = fn(Option<&Bytes>, &Bytes) -> Result<Option<Bytes>, Bytes>;

/// The functions that a node knows, by name. A change that applies a function is given to a node that knows it; other
/// nodes see only the new value.
#[derive(Clone, Debug, Default)]
pub struct Functions {
    by_name: BTreeMap<String, Function>,
}

impl Functions {
    /// Adds a function, in place of an earlier one of the same name.
    pub fn with(mut self, name: impl Into<String>, function: Function) -> Self {
        self.by_name.insert(name.into(), function);
        self
    }

    /// The function of this name.
    pub fn get(&self, name: &str) -> Option<Function> {
        self.by_name.get(name).copied()
    }
}

/// Largest number of proposers: their ages fit the state record.
pub const PROPOSERS_MAX: usize = 32;

/// Times and bounds. `key_bytes_max` and `value_bytes_max` must be equal on all nodes of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Longest key in bytes.
    pub key_bytes_max: usize,
    /// Longest value in bytes. Longer ones are refused with `TooLarge`.
    pub value_bytes_max: usize,
    /// Maximum bytes of one write to the log, and of one message. It must be enough for the longest key and value, with
    /// the state record.
    pub batch_bytes_max: usize,
    /// Time that a command waits for its outcome. Then a change is `Unknown`, or `NotTried` if no acceptor was asked to
    /// accept it, and a read fails.
    pub command_timeout: Duration,
    /// Time after which an unanswered request is repeated. It doubles with each repetition.
    pub retry_interval_min: Duration,
    /// Longest wait before a repetition.
    pub retry_interval_max: Duration,
    /// Pause of a proposer that was overtaken by a higher ballot, drawn between half of this time and all of it. It
    /// doubles each time.
    pub backoff_min: Duration,
    /// Longest such pause. It must be well above the duration of a ballot, or proposers may overtake each other for
    /// ever.
    pub backoff_max: Duration,
    /// Number of waiting changes, and of waiting reads, above which they are refused with `Overloaded`.
    pub commands_max: usize,
    /// Bytes of the values of waiting changes above which they are refused with `Overloaded`.
    pub commands_bytes_max: usize,
    /// Number of messages that wait for writes; above it the oldest is dropped.
    pub held_messages_max: usize,
    /// Number of requests that wait for values from the log; above it they are ignored.
    pub loads_max: usize,
    /// Bytes of the values that an acceptor keeps in memory. Other values are read from the log.
    pub cache_bytes_max: usize,
    /// Number of registers that this proposer may change in one round trip, because it holds the promises for its next
    /// ballot. Above it the one that was changed longest ago is dropped.
    pub promises_max: usize,
    /// Time after which the traces of a deleted register are removed, drawn between this time and twice this time. It
    /// doubles, up to an hour, while some node is away.
    pub remove_after: Duration,
    /// Number of deleted registers that are removed together.
    pub remove_max: usize,
    /// Number of registers that are copied at a time when the log is compacted.
    pub copy_max: u64,
}

impl Default for Settings {
    /// Keys up to 1 KiB, values up to 1 MiB less 8 KiB, writes up to 1 MiB, 5 s for a command, repetitions after 100 ms
    /// to 5 s, pauses of 20 ms to 2 s, 1,024 commands and 16 MiB of them, 64 MiB of values in memory, promises for
    /// 4,096 registers, removal after 10 s.
    fn default() -> Self {
        Self {
            key_bytes_max: 1024,
            value_bytes_max: (1 << 20) - 8192,
            batch_bytes_max: 1 << 20,
            command_timeout: Duration::from_secs(5),
            retry_interval_min: Duration::from_millis(100),
            retry_interval_max: Duration::from_secs(5),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_secs(2),
            commands_max: 1024,
            commands_bytes_max: 16 << 20,
            held_messages_max: 4096,
            loads_max: 1024,
            cache_bytes_max: 64 << 20,
            promises_max: 4096,
            remove_after: Duration::from_secs(10),
            remove_max: 64,
            copy_max: 16,
        }
    }
}

impl Config {
    /// Makes the configuration of `node`. Its random numbers come from `seed`: give every node and start another one.
    ///
    /// # Errors
    /// When times or bounds contradict each other, or the node has no role. Nothing was changed.
    pub fn new(
        node: NodeId,
        seed: u64,
        roles: Roles,
        functions: Functions,
        settings: Settings,
    ) -> Result<Self, ConfigError> {
        if !roles.contains(node) {
            return Err(ConfigError::NotMember(node));
        }
        Self::joining(node, seed, roles, functions, settings)
    }

    /// Makes the configuration of a node that the group was founded without. It gets a role by a
    /// [`RolesChange`](super::RolesChange), and learns the roles from the node that makes it. `roles` are those with
    /// which the group was founded.
    ///
    /// # Errors
    /// When times or bounds contradict each other. Nothing was changed.
    pub fn joining(
        node: NodeId,
        seed: u64,
        roles: Roles,
        functions: Functions,
        settings: Settings,
    ) -> Result<Self, ConfigError> {
        settings.check()?;
        if roles.proposers.is_empty() {
            return Err(ConfigError::NoProposer);
        }
        if roles.proposers.len() > PROPOSERS_MAX {
            return Err(ConfigError::TooManyProposers);
        }
        let description = describe(&roles);
        let system = crc32c(&description);
        Ok(Self { node, seed, roles, functions, settings, description, system })
    }

    /// Id of this node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Seed of the random numbers.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The roles with which the group was founded.
    pub fn roles(&self) -> &Roles {
        &self.roles
    }

    /// The functions.
    pub fn functions(&self) -> &Functions {
        &self.functions
    }

    /// Times and bounds.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A checksum of the roles with which the group was founded. It is in every message that matters for safety: nodes
    /// of groups that were founded with different roles ignore each other's messages. The state record has the roles
    /// themselves, and a node does not start with other ones.
    pub fn system(&self) -> u32 {
        self.system
    }

    /// Description of the roles, as the state record contains it.
    pub(crate) fn description(&self) -> &Bytes {
        &self.description
    }
}

impl Settings {
    fn check(&self) -> Result<(), ConfigError> {
        let ordered = [
            (self.key_bytes_max > 0, "key_bytes_max is above zero"),
            (u16::try_from(self.key_bytes_max).is_ok(), "key_bytes_max fits 16 bits"),
            (self.value_bytes_max > 0, "value_bytes_max is above zero"),
            (u32::try_from(self.value_bytes_max).is_ok(), "value_bytes_max fits 32 bits"),
            (
                record_write_bytes(self.key_bytes_max, self.value_bytes_max) <= self.batch_bytes_max,
                "batch_bytes_max has room for a key, a value and the state record",
            ),
            (self.command_timeout > Duration::ZERO, "command_timeout is above zero"),
            (self.retry_interval_min > Duration::ZERO, "retry_interval_min is above zero"),
            (self.retry_interval_min <= self.retry_interval_max, "retry_interval_min <= retry_interval_max"),
            (self.backoff_min >= Duration::from_micros(1), "backoff_min is a microsecond or more"),
            (self.backoff_min <= self.backoff_max, "backoff_min <= backoff_max"),
            (self.commands_max > 0, "commands_max is above zero"),
            (self.value_bytes_max <= self.commands_bytes_max, "value_bytes_max <= commands_bytes_max"),
            (self.held_messages_max > 0, "held_messages_max is above zero"),
            (self.loads_max > 0, "loads_max is above zero"),
            (self.remove_after > Duration::ZERO, "remove_after is above zero"),
            ((1..=REMOVE_MAX).contains(&self.remove_max), "remove_max is from 1 to 256"),
            (self.copy_max > 0, "copy_max is above zero"),
        ];
        match ordered.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(ConfigError::Contradiction(rule)),
            None => Ok(()),
        }
    }
}

/// Largest number of registers that are removed together: their keys fit one message.
const REMOVE_MAX: usize = 256;
