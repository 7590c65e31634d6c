//! Settings, checked when they are made.

use std::time::Duration;

use quorate_protocol::{Configuration, ENTRY_HEADER_BYTES, NodeId};

use crate::ConfigError;

/// What one node needs to take part in one group. A `Config` in hand is valid.
///
/// ```
/// use quorate_protocol::{Configuration, NodeId};
/// use quorate_raft::{Config, Settings, Start};
/// let members = Configuration::of_voters([NodeId(1), NodeId(2), NodeId(3)]);
/// let config = Config::new(NodeId(1), 42, Start::Initial(members), Settings::default())?;
/// assert_eq!(config.node(), NodeId(1));
/// # Ok::<(), quorate_raft::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    node: NodeId,
    seed: u64,
    start: Start,
    settings: Settings,
}

/// How a node begins that finds nothing of the group on its disk. Otherwise this is not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// As one of the first members. All of them must be given the same configuration.
    Initial(Configuration),
    /// With nothing: it learns everything from the leader.
    Join,
}

/// Times and bounds. Equal on all nodes of a group, as far as possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A follower that hears nothing of its leader for this long may ask for an election; until then it votes for
    /// nobody else. A leader that hears nothing of a quorum for this long steps down.
    pub election_timeout_min: Duration,
    /// The longest that a follower waits; each wait is drawn anew between the two.
    pub election_timeout_max: Duration,
    /// How often a leader is heard of. At most half of `election_timeout_min`.
    pub heartbeat_interval: Duration,
    /// The longest encoded entry. Longer proposals are refused with `TooLarge`.
    pub entry_bytes_max: usize,
    /// The most bytes of entries in one message, and about as many in one write. At least `entry_bytes_max`.
    pub batch_bytes_max: usize,
    /// The most unacknowledged bytes on the way to one peer; beyond it sending waits. At least `batch_bytes_max`.
    pub window_bytes_max: usize,
    /// The most bytes that a leader has appended and not committed; beyond it proposals are refused with `Overloaded`.
    /// At least `entry_bytes_max`.
    pub uncommitted_bytes_max: usize,
    /// The most received bytes that a follower keeps while its log is busy; beyond it entries are dropped, and the
    /// leader sends them again. At least `batch_bytes_max`.
    pub received_bytes_max: usize,
    /// The most bytes of durable entries that are kept in memory; older ones are loaded when they are needed.
    pub cache_bytes_max: usize,
    /// The most reads that wait; beyond it they fail with `Overloaded`.
    pub reads_max: usize,
    /// The most messages that wait for writes; beyond it the oldest is dropped.
    pub held_messages_max: usize,
    /// How long a leader that has nothing to send keeps news of commitment to itself, so that the next entries
    /// can bear it.
    pub commit_notice_delay: Duration,
    /// A wall clock that differs from log time by more than this is reported. It is not followed either way, save that
    /// log time is drawn to the leader's by at most a thousandth of the time that passes.
    pub clock_step_max: Duration,
    /// After so long without a command the group goes quiet: no heartbeats of its own, as long as
    /// [`Input::PeerAlive`](quorate_protocol::Input::PeerAlive) vouches for the leader's node. Nothing: never. Set it
    /// only where the shell reports the life of nodes at least each `heartbeat_interval`.
    pub quiet_after: Option<Duration>,
    /// How long a quiet follower trusts the life of its leader's node without a word from the leader itself. It bounds
    /// how long a group stays without a leader when only the leader's group died. At least twice
    /// `election_timeout_max`.
    pub quiet_max: Duration,
}

impl Default for Settings {
    /// Election time-outs of 0.5 to 1 s, heartbeats each 100 ms, entries to 1 MiB, batches to 1 MiB, windows of 4 MiB,
    /// 64 MiB uncommitted, 16 MiB of cache; never quiet.
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
            commit_notice_delay: Duration::from_millis(2),
            clock_step_max: Duration::from_secs(10),
            quiet_after: None,
            quiet_max: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// Settings for `node`, whose chance is drawn from `seed` (give every node and start another one).
    ///
    /// # Errors
    /// When times or bounds contradict each other, or the initial configuration cannot be used. Nothing was changed.
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

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Times and bounds.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How a node begins that finds nothing.
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// What chance is drawn from.
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
            (self.quiet_max >= self.election_timeout_max.saturating_mul(2), "quiet_max >= 2 * election_timeout_max"),
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

/// Nobody waits longer for a leader, and no sum of times near this one overflows.
const ELECTION_TIMEOUT_MAX: Duration = Duration::from_hours(24);
