//! Settings, which are checked when they are made.

use std::time::Duration;

use crate::replication::{ConfigError, Lease};
use crate::{Configuration, ENTRY_HEADER_BYTES, NodeId};

/// Configuration of one node in one group. A `Config` value is always valid.
///
/// ```
/// use quorate_protocol::{Configuration, NodeId};
/// use quorate_protocol::replication::{Config, Settings, Start};
/// let members = Configuration::of_voters([NodeId(1), NodeId(2), NodeId(3)]);
/// let config = Config::new(NodeId(1), 42, Start::Initial(members), Settings::default())?;
/// assert_eq!(config.node(), NodeId(1));
/// # Ok::<(), quorate_protocol::replication::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    node: NodeId,
    seed: u64,
    start: Start,
    settings: Settings,
}

/// The first state of a node that finds nothing of the group on its disk. Otherwise it is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// The node is one of the first members. All of them must be given the same configuration.
    Initial(Configuration),
    /// The node has nothing and learns everything from the leader.
    Join,
}

/// Times and bounds. They should be equal on all nodes of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A follower that has received nothing from its leader for this long may start an election; until then it votes
    /// for no other node. A leader that has received nothing from a quorum for this long steps down.
    pub election_timeout_min: Duration,
    /// The longest wait of a follower. Each wait is drawn at random between the two.
    pub election_timeout_max: Duration,
    /// Interval of a leader's heartbeats. At most half of `election_timeout_min`.
    pub heartbeat_interval: Duration,
    /// Maximum length of an encoded entry. Longer proposals are refused with `TooLarge`.
    pub entry_bytes_max: usize,
    /// Maximum bytes of entries in one message, and approximately in one write. At least `entry_bytes_max`.
    pub batch_bytes_max: usize,
    /// Maximum unacknowledged bytes on the way to one peer. Beyond it sending waits. At least `batch_bytes_max`.
    pub window_bytes_max: usize,
    /// Maximum bytes that a leader has appended and not committed. Beyond it proposals are refused with `Overloaded`.
    /// At least `entry_bytes_max`.
    pub uncommitted_bytes_max: usize,
    /// Maximum received bytes that a follower keeps while its log is busy. Beyond it entries are dropped, and the
    /// leader sends them again. At least `batch_bytes_max`.
    pub received_bytes_max: usize,
    /// Maximum bytes of durable entries that are kept in memory. Older ones are loaded when they are needed.
    pub cache_bytes_max: usize,
    /// Maximum number of waiting reads. Beyond it they fail with `Overloaded`.
    pub reads_max: usize,
    /// Maximum number of messages that wait for writes. Beyond it the oldest is dropped.
    pub held_messages_max: usize,
    /// Maximum number of entries that a learner may be behind when its leader makes it a voter.
    pub promotion_lag_max: u64,
    /// Time after which a voter that was not heard from is replaced by a learner that has caught up and waits for no
    /// promotion of its own. The voter becomes a learner. `None`: never. At least twice `election_timeout_max`.
    pub replace_after: Option<Duration>,
    /// Delay after which a leader that has nothing else to send announces a new commit index. Until then the next
    /// entries can carry it.
    pub commit_notice_delay: Duration,
    /// A wall clock that differs from log time by more than this is reported. Log time does not follow it in either
    /// case, except that log time is corrected towards the leader's wall clock by at most a thousandth of the time that
    /// passes.
    pub clock_step_max: Duration,
    /// Time without a command after which the group goes quiet: it sends no heartbeats, as long as the nodes of its
    /// members are alive. `None`: never. Set it only if the shell does what
    /// [`Rest`](crate::Rest) asks of it, as that of `quorate-runtime` does. Otherwise a follower sleeps
    /// through the loss of its leader.
    pub quiet_after: Option<Duration>,
    /// Leases, by which a leader answers reads without a message. `None`: every read takes a round of heartbeats. With
    /// leases a node that starts votes for no other node for `election_timeout_max`. They hold only if the monotone
    /// clocks of all nodes keep the drift bound, also while a node is stopped or its machine is suspended; if one does
    /// not, a read by a lease may be stale, and no other guarantee is affected.
    pub lease: Option<Lease>,
    /// True if a node that is refused a pre-vote because its log is older first pulls what it lacks from the voter that
    /// refused. It can then lead a group in which it alone reaches a quorum. All nodes should have the same value.
    pub pull_before_election: bool,
}

impl Default for Settings {
    /// Election time-outs of 0.5 to 1 s, heartbeats every 100 ms, entries up to 1 MiB, batches up to 1 MiB, windows of
    /// 4 MiB, 64 MiB uncommitted, 16 MiB of cache; never quiet; no leases; nothing is pulled.
    fn default() -> Self {
        Self {
            election_timeout_min: Duration::from_millis(500),
            election_timeout_max: Duration::from_secs(1),
            heartbeat_interval: Duration::from_millis(100),
            entry_bytes_max: (1 << 20) - 4096,
            batch_bytes_max: 1 << 20,
            window_bytes_max: 4 << 20,
            uncommitted_bytes_max: 64 << 20,
            received_bytes_max: 16 << 20,
            cache_bytes_max: 16 << 20,
            reads_max: 65_536,
            held_messages_max: 4096,
            promotion_lag_max: 1000,
            replace_after: None,
            commit_notice_delay: Duration::from_millis(2),
            clock_step_max: Duration::from_secs(10),
            quiet_after: None,
            lease: None,
            pull_before_election: false,
        }
    }
}

impl Config {
    /// Makes the configuration of `node`. Its random numbers are drawn from `seed`, which must differ for every node
    /// and start.
    ///
    /// # Errors
    /// When times or bounds contradict each other, or the initial configuration is invalid. Nothing was changed.
    pub fn new(node: NodeId, seed: u64, start: Start, settings: Settings) -> Result<Self, ConfigError> {
        settings.check()?;
        if let Start::Initial(configuration) = &start {
            if !configuration.contains(node) {
                return Err(ConfigError::NotMember(node));
            }
            configuration.check().map_err(ConfigError::Configuration)?;
            if configuration.is_joint() {
                return Err(ConfigError::JointStart);
            }
            let bytes = ENTRY_HEADER_BYTES + configuration.encode().len();
            if bytes > settings.entry_bytes_max {
                return Err(ConfigError::ConfigurationTooLarge { bytes });
            }
        }
        Ok(Self { node, seed, start, settings })
    }

    /// Returns the id of this node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Returns the times and bounds.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the first state of a node that finds nothing on its disk.
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// Returns the seed of the node's random numbers.
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

impl Settings {
    fn check(&self) -> Result<(), ConfigError> {
        let ordered = [
            (self.heartbeat_interval > Duration::ZERO, "heartbeat_interval is above zero"),
            (
                self.heartbeat_interval.saturating_mul(2) <= self.election_timeout_min,
                "heartbeat_interval <= election_timeout_min / 2",
            ),
            (self.election_timeout_min < self.election_timeout_max, "election_timeout_min < election_timeout_max"),
            (self.election_timeout_max <= ELECTION_TIMEOUT_MAX, "election_timeout_max is at most a day"),
            (
                self.replace_after.is_none_or(|after| after >= self.election_timeout_max.saturating_mul(2)),
                "replace_after >= 2 * election_timeout_max",
            ),
            (
                self.lease.is_none_or(|lease| lease.drift_per_mille <= Lease::DRIFT_PER_MILLE_MAX),
                "lease.drift_per_mille <= 500",
            ),
            (self.commit_notice_delay <= self.heartbeat_interval, "commit_notice_delay <= heartbeat_interval"),
            (self.entry_bytes_max > ENTRY_HEADER_BYTES, "entry_bytes_max is above the header"),
            (self.entry_bytes_max <= self.batch_bytes_max, "entry_bytes_max <= batch_bytes_max"),
            (self.batch_bytes_max <= self.window_bytes_max, "batch_bytes_max <= window_bytes_max"),
            (self.batch_bytes_max <= self.received_bytes_max, "batch_bytes_max <= received_bytes_max"),
            (self.entry_bytes_max <= self.uncommitted_bytes_max, "entry_bytes_max <= uncommitted_bytes_max"),
            (u32::try_from(self.batch_bytes_max).is_ok(), "batch_bytes_max fits 32 bits"),
            (self.reads_max > 0, "reads_max is above zero"),
            (self.held_messages_max > 0, "held_messages_max is above zero"),
        ];
        match ordered.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(ConfigError::Contradiction(rule)),
            None => Ok(()),
        }
    }
}

/// Upper limit of `election_timeout_max`. No sum of times near it overflows.
const ELECTION_TIMEOUT_MAX: Duration = Duration::from_hours(24);
