//! Settings, checked when they are made.

use std::time::Duration;

use quorate_protocol::NodeId;

use crate::ConfigError;

/// What one node needs to take part. A `Config` in hand is valid.
///
/// ```
/// use quorate_protocol::NodeId;
/// use quorate_two_phase_commit::{Config, Settings};
/// let config = Config::new(NodeId(1), 42, Settings::default())?;
/// assert_eq!(config.node(), NodeId(1));
/// # Ok::<(), quorate_two_phase_commit::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    node: NodeId,
    seed: u64,
    settings: Settings,
}

/// Times and bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A transaction whose commit is not asked for within this is aborted, and so is a branch that was enlisted and not asked
    /// to prepare.
    pub begin_timeout: Duration,
    /// A transaction that has not got every vote within this is aborted.
    pub vote_timeout: Duration,
    /// The first wait before a message is sent again, a question asked again, a failed request made again; each further one
    /// is twice as long, all of them jittered.
    pub retry_min: Duration,
    /// The longest such wait.
    pub retry_max: Duration,
    /// What the application does not answer within this it is asked again under the same ticket; then after twice as long, and
    /// so on up to sixteen times.
    pub request_timeout: Duration,
    /// A transaction that is in doubt for this long is reported, and so is a commit that is not acknowledged and a request that the
    /// application does not do.
    pub report_after: Duration,
    /// How long a record that needs no sync waits for one that does.
    pub lazy_delay: Duration,
    /// The most transactions that this node coordinates at a time; beyond it `Begin` is refused with `Overloaded`.
    pub transactions_max: usize,
    /// The most branches at this node at a time; beyond it a branch is answered with [`Unready::Branches`](crate::Unready), and its coordinator
    /// sends it again. A coordinator that holds less than its share (the bound divided by the coordinators that hold anything, and one
    /// branch at least) is still served.
    pub branches_max: usize,
    /// The most participants of a transaction; more are refused with `Participants`.
    pub participants_max: usize,
    /// The longest payload of a branch; longer ones are refused with `TooLarge`.
    pub payload_bytes_max: usize,
    /// The most bytes of payloads at a time, in each of the two roles; beyond it as with `transactions_max` and
    /// `branches_max` ([`Unready::Payloads`](crate::Unready)), also by shares. At least `payload_bytes_max`.
    pub payload_bytes_total_max: usize,
    /// How many committed transactions a coordinator remembers after they are finished, for those who ask later; the oldest
    /// are forgotten first. At least one.
    pub outcomes_max: usize,
    /// The most outcomes that a participant keeps until it hears that they are finished, and branches that will leave one; beyond
    /// it a branch is answered with [`Unready::Outcomes`](crate::Unready), also by shares.
    pub tombstones_max: usize,
    /// The most bytes of records that wait for the log. Beyond it nothing new is taken on: commands are refused with `LogBehind`,
    /// branches answered with [`Unready::LogBehind`](crate::Unready). What is under way adds a few records for each
    /// transaction. At least `write_bytes_max`.
    pub journal_bytes_max: usize,
    /// The most messages, and the most events, that wait for writes; beyond it the oldest message is dropped, and commands are
    /// refused with `Overloaded`.
    pub held_messages_max: usize,
    /// The most bytes of one write, as the log takes it. At least `payload_bytes_max` and what stands beside it.
    pub write_bytes_max: usize,
    /// The longest frame, as the transport takes it. At least `payload_bytes_max` and what stands beside it, and the numbers of
    /// `transactions_max` transactions.
    pub frame_bytes_max: usize,
    /// Whether a single participant decides alone: one message and two writes fewer, and the outcome is in doubt until it
    /// answers.
    pub one_phase: OnePhase,
}

/// Whether the decision is left to a participant that is the only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnePhase {
    /// It is.
    Shortcut,
    /// A single participant is asked to prepare like several.
    Never,
}

impl Default for Settings {
    /// Begun transactions wait 10 s, votes 2 s; retries from 100 ms to 5 s; reports after 5 s; 4,096 transactions and branches,
    /// 64 participants, payloads of 256 KiB and 64 MiB together; 10,000 outcomes remembered; 64 MiB wait for the log; writes of 1 MiB and
    /// frames of 8 MiB.
    fn default() -> Self {
        Self {
            begin_timeout: Duration::from_secs(10),
            vote_timeout: Duration::from_secs(2),
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            report_after: Duration::from_secs(5),
            lazy_delay: Duration::from_millis(500),
            transactions_max: 4096,
            branches_max: 4096,
            participants_max: 64,
            payload_bytes_max: 256 << 10,
            payload_bytes_total_max: 64 << 20,
            outcomes_max: 10_000,
            tombstones_max: 65_536,
            journal_bytes_max: 64 << 20,
            held_messages_max: 16_384,
            write_bytes_max: 1 << 20,
            frame_bytes_max: 8 << 20,
            one_phase: OnePhase::Shortcut,
        }
    }
}

impl Config {
    /// Settings for `node`, whose chance is drawn from `seed` (give every node and start another one).
    ///
    /// # Errors
    /// When times or bounds contradict each other. Nothing was changed.
    pub fn new(node: NodeId, seed: u64, settings: Settings) -> Result<Self, ConfigError> {
        settings.check()?;
        Ok(Self { node, seed, settings })
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// What chance is drawn from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Times and bounds.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

impl Settings {
    fn check(&self) -> Result<(), ConfigError> {
        let nodes_bytes = self.participants_max.saturating_mul(NODE_BYTES);
        let branch_bytes_max = self.payload_bytes_max.saturating_add(nodes_bytes).saturating_add(RECORD_OVERHEAD_BYTES);
        let list_bytes_max =
            self.transactions_max.saturating_mul(WIRE_NUMBER_BYTES).saturating_add(RECORD_OVERHEAD_BYTES);
        let ordered = [
            (self.retry_min >= Duration::from_micros(2), "retry_min is at least 2 us"),
            (self.retry_min <= self.retry_max, "retry_min <= retry_max"),
            (self.retry_min <= self.vote_timeout, "retry_min <= vote_timeout"),
            (self.begin_timeout > Duration::ZERO, "begin_timeout is above zero"),
            (self.request_timeout > Duration::ZERO, "request_timeout is above zero"),
            (self.report_after > Duration::ZERO, "report_after is above zero"),
            (self.transactions_max > 0, "transactions_max is above zero"),
            (self.branches_max > 0, "branches_max is above zero"),
            ((1..=PARTICIPANTS_MAX).contains(&self.participants_max), "participants_max is from 1 to 1024"),
            (self.payload_bytes_max <= self.payload_bytes_total_max, "payload_bytes_max <= payload_bytes_total_max"),
            (u32::try_from(self.payload_bytes_max).is_ok(), "payload_bytes_max fits 32 bits"),
            (branch_bytes_max <= self.write_bytes_max, "a record of a payload fits write_bytes_max"),
            (branch_bytes_max <= self.frame_bytes_max, "a branch fits frame_bytes_max"),
            (
                list_bytes_max <= self.frame_bytes_max,
                "the numbers of transactions_max transactions fit frame_bytes_max",
            ),
            (self.write_bytes_max <= self.journal_bytes_max, "write_bytes_max <= journal_bytes_max"),
            (self.outcomes_max > 0, "outcomes_max is above zero"),
            (self.tombstones_max > 0, "tombstones_max is above zero"),
            (self.held_messages_max > 0, "held_messages_max is above zero"),
        ];
        match ordered.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(ConfigError::Contradiction(rule)),
            None => Ok(()),
        }
    }
}

const PARTICIPANTS_MAX: usize = 1024;
/// The most bytes of a node on the wire.
const NODE_BYTES: usize = 9;
/// The most bytes of a transaction's number on the wire.
const WIRE_NUMBER_BYTES: usize = 18;
/// What stands at most beside payload and participants in a record or a message, and around it in a write or a frame, a state record
/// and news of a coordinator included.
pub(crate) const RECORD_OVERHEAD_BYTES: usize = 512;
