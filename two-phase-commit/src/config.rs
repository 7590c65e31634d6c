//! Settings, checked when they are set.

use std::time::Duration;

use quorate_protocol::NodeId;

use crate::{ConfigError, CoordinatorId};

/// Configuration of one node. A `Config` is always valid.
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
    coordinator: CoordinatorId,
    seed: u64,
    settings: Settings,
}

/// Times and bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Time within which the commit of a transaction must be asked for; then it is aborted. The same time applies to a
    /// branch that was enlisted and not asked to prepare.
    pub begin_timeout: Duration,
    /// Time within which a transaction must get every vote; then it is aborted.
    pub vote_timeout: Duration,
    /// Wait before a message, a question or a failed request is repeated for the first time. Each further wait is twice
    /// as long. All are jittered.
    pub retry_min: Duration,
    /// Longest such wait.
    pub retry_max: Duration,
    /// Time after which an unanswered request to the application is repeated under the same ticket. The time doubles
    /// with each repetition, up to sixteen times.
    pub request_timeout: Duration,
    /// Time after which a transaction in doubt, an unacknowledged commit, or a request that the application has not
    /// carried out is reported.
    pub report_after: Duration,
    /// Time that a record that needs no sync waits for a record that needs one. A participant acknowledges a commit
    /// after such a record, so its coordinator waits as long before it repeats the commit: give all nodes the same
    /// time.
    pub lazy_delay: Duration,
    /// Number of transactions that this node coordinates at a time; above it `Begin` is refused with `Overloaded`.
    pub transactions_max: usize,
    /// Number of branches at this node at a time. Above it a branch is answered with
    /// [`Unready::Branches`](crate::Unready), and its coordinator sends it again. A coordinator that holds less than
    /// its share (the bound divided by the number of coordinators that hold anything, and at least one branch) is still
    /// served.
    pub branches_max: usize,
    /// Number of participants of a transaction; more are refused with `Participants`.
    pub participants_max: usize,
    /// Longest payload of a branch in bytes; longer ones are refused with `TooLarge`.
    pub payload_bytes_max: usize,
    /// Bytes of all payloads at a time, in each of the two roles. Above it, new ones are refused as for
    /// `transactions_max` and `branches_max` ([`Unready::Payloads`](crate::Unready)), also by shares. At least
    /// `payload_bytes_max`.
    pub payload_bytes_total_max: usize,
    /// Number of committed and finished transactions that a coordinator remembers for later queries; the oldest are
    /// forgotten first. At least one.
    pub outcomes_max: usize,
    /// Number of outcomes that a participant keeps until it learns that their transactions are finished, and of
    /// branches that will leave an outcome. Above it a branch is answered with [`Unready::Outcomes`](crate::Unready),
    /// also by shares.
    pub tombstones_max: usize,
    /// Bytes of records that wait for the log. Above it no new work is accepted: commands are refused with `LogBehind`,
    /// and branches are answered with [`Unready::LogBehind`](crate::Unready). Work under way adds a few records for
    /// each transaction. At least `write_bytes_max`.
    pub journal_bytes_max: usize,
    /// Number of messages, and of events, that wait for writes. Above it the oldest message is dropped, and commands
    /// are refused with `Overloaded`.
    pub held_messages_max: usize,
    /// Bytes of one write that the log accepts. At least `payload_bytes_max` and the rest of its record.
    pub write_bytes_max: usize,
    /// Longest frame that the transport accepts, in bytes. At least `payload_bytes_max` and the rest of its message,
    /// and the numbers of `transactions_max` transactions.
    pub frame_bytes_max: usize,
    /// Shortcut for a transaction with a single participant, which then decides alone. It saves one message and two
    /// writes, but the outcome is in doubt until the participant answers.
    pub one_phase: OnePhase,
}

/// Choice whether the decision is left to a participant that is the only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnePhase {
    /// The only participant decides. It is asked to prepare all the same while it leaves an earlier decision
    /// unanswered, or while such decisions take up half of `transactions_max` or `payload_bytes_total_max`.
    Shortcut,
    /// A single participant is asked to prepare like several.
    Never,
}

impl Default for Settings {
    /// Begun transactions wait 10 s, votes 2 s; waits before repetitions from 100 ms to 5 s; reports after 5 s; 4,096
    /// transactions and branches, 64 participants, payloads of 256 KiB each and 64 MiB together; 10,000 outcomes
    /// remembered; 64 MiB waiting for the log; writes of 1 MiB and frames of 8 MiB.
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
    /// Makes the configuration of `node`, which serves the coordinator whose decisions lie in its own log. Its random
    /// numbers come from `seed`: give every node and start another one.
    ///
    /// # Errors
    /// When times or bounds contradict each other. Nothing was changed.
    pub fn new(node: NodeId, seed: u64, settings: Settings) -> Result<Self, ConfigError> {
        settings.check()?;
        Ok(Self { node, coordinator: CoordinatorId::of_node(node), seed, settings })
    }

    /// Sets the coordinator that this node serves: the one whose decision log it has.
    ///
    /// A coordinator has one decision log, and one node at a time has the log. A node that takes the log over, because
    /// the one before it is gone or stopped, starts from the log's content. The start raises the epoch, and from then
    /// on nobody hears the earlier node. A copy of a log that somebody else goes on writing to is another log: two
    /// nodes would give the same numbers to different transactions. A log that has branches of another node in it is
    /// refused.
    #[must_use]
    pub fn with_coordinator(self, coordinator: CoordinatorId) -> Self {
        Self { coordinator, ..self }
    }

    /// Id of this node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The coordinator that this node serves.
    pub fn coordinator(&self) -> CoordinatorId {
        self.coordinator
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
/// Largest size of a node id on the wire.
const NODE_BYTES: usize = 9;
/// Largest size of a transaction number on the wire.
const WIRE_NUMBER_BYTES: usize = 18;
/// Largest size of everything besides payload and participants in a record or a message, and around it in a write or a
/// frame, including a state record and the stamps of coordinators.
pub(crate) const RECORD_OVERHEAD_BYTES: usize = 512;
