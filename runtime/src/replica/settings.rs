//! Bounds and times of a replica, checked when they are made.

use std::time::Duration;

/// Bounds and times of a [`Replica`](super::Replica). Values that must be equal on all nodes are not here but in the
/// log.
///
/// ```
/// use quorate_runtime::ReplicaSettings;
/// let settings = ReplicaSettings { snapshot_entries: 10_000, ..ReplicaSettings::default() };
/// settings.check()?;
/// # Ok::<(), quorate_runtime::replica::ReplicaSettingsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaSettings {
    /// Maximum number of proposals that wait for their outcome here, and the maximum of other nodes' proposals that
    /// wait on a leader. The next one is `NotApplied(Overloaded)`. Default: 65,536.
    pub proposals_max: usize,
    /// Maximum bytes of commands that wait for their outcome here. Beyond it, proposals are `NotApplied(Overloaded)`.
    /// Default: 64 MiB.
    pub proposals_bytes_max: usize,
    /// Maximum length of a command. Longer ones are `NotApplied(TooLarge)`. Set it below the longest entry that the
    /// core accepts. Default: 1 MiB less 8 KiB.
    pub command_bytes_max: usize,
    /// Maximum number of waiting reads. The next one fails with `Overloaded`. Default: 65,536.
    pub reads_max: usize,
    /// Pause before a read is passed to the core again after it failed because there was no leader. Default: 20 ms.
    pub read_retry: Duration,
    /// Time after which a transfer of leadership is given up. No command is accepted meanwhile. It should be longer
    /// than an election takes. Default: 2 s.
    pub hand_over_max: Duration,
    /// Minimum time between two ticks that a leader proposes. Default: 100 ms.
    pub tick_interval_min: Duration,
    /// Maximum bytes of committed entries that are applied before other groups, and messages, have their turn. Default:
    /// 1 MiB.
    pub apply_bytes_max: usize,
    /// Maximum number of entries that are applied before others have their turn, however small they are. This number of
    /// the most expensive commands must take well below an election time-out, or a leader with much to apply loses its
    /// office. Default: 64.
    pub apply_entries_max: usize,
    /// A snapshot is made after entries that take this many bytes in the log, including the padding of its sectors.
    /// Default: 256 MiB.
    pub snapshot_bytes: u64,
    /// A snapshot is made after this many entries. Default: 1,000,000.
    pub snapshot_entries: u64,
    /// Maximum number of entries before a snapshot that stay in the log, for peers that lag slightly. Default: 10,000.
    pub keep_entries: u64,
    /// Maximum bytes of these entries. Default: 64 MiB.
    pub keep_bytes: u64,
    /// Pause before a retry when a snapshot could not be made, or entries could not be read. Default: 5 s.
    pub retry: Duration,
    /// Bytes of one piece of a snapshot that is sent. It must fit into a frame. Default: 256 KiB.
    pub chunk_bytes: usize,
    /// Bytes of a snapshot that are on their way to one peer, or are being written here, and are not acknowledged.
    /// Default: 2 MiB.
    pub window_bytes: usize,
    /// Maximum number of peers that are sent a snapshot at the same time. The others wait, and are sent one later.
    /// Default: 16.
    pub snapshot_sends_max: usize,
    /// Maximum bytes of snapshots that are sent in a second, to all peers together. At least a piece in half of
    /// `transfer_timeout`. Default: `None`, as fast as they are taken.
    pub snapshot_rate_max: Option<u64>,
    /// A piece that is not acknowledged for this time is sent again. Default: 500 ms.
    pub transfer_retry: Duration,
    /// A transfer of a snapshot that makes no progress for this time is given up on both sides. Default: 15 s.
    pub transfer_timeout: Duration,
    /// A replica that was this many entries behind, and then is not, is counted as having caught up. Default: 10,000.
    pub catch_up_entries: u64,
}

impl ReplicaSettings {
    /// Checks that the bounds do not contradict each other.
    ///
    /// # Errors
    /// When a value is zero that must not be, or two values contradict each other.
    pub fn check(&self) -> Result<(), ReplicaSettingsError> {
        let rules = [
            (self.proposals_max > 0, "proposals_max is above zero"),
            (self.command_bytes_max <= self.proposals_bytes_max, "command_bytes_max <= proposals_bytes_max"),
            (u32::try_from(self.command_bytes_max).is_ok(), "command_bytes_max fits 32 bits"),
            (self.reads_max > 0, "reads_max is above zero"),
            (self.read_retry > Duration::ZERO, "read_retry is above zero"),
            (self.hand_over_max > Duration::ZERO, "hand_over_max is above zero"),
            (self.tick_interval_min > Duration::ZERO, "tick_interval_min is above zero"),
            (self.apply_bytes_max > 0, "apply_bytes_max is above zero"),
            (self.apply_entries_max > 0, "apply_entries_max is above zero"),
            (self.snapshot_bytes > 0, "snapshot_bytes is above zero"),
            (self.snapshot_entries > 0, "snapshot_entries is above zero"),
            (self.retry > Duration::ZERO, "retry is above zero"),
            (self.chunk_bytes > 0, "chunk_bytes is above zero"),
            (self.chunk_bytes <= self.window_bytes, "chunk_bytes <= window_bytes"),
            (self.snapshot_sends_max > 0, "snapshot_sends_max is above zero"),
            (
                self.piece_interval() <= self.transfer_timeout / 2,
                "snapshot_rate_max sends a piece in half of transfer_timeout",
            ),
            (self.transfer_retry > Duration::ZERO, "transfer_retry is above zero"),
            (self.transfer_retry < self.transfer_timeout, "transfer_retry < transfer_timeout"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(ReplicaSettingsError { rule }),
            None => Ok(()),
        }
    }
}

impl ReplicaSettings {
    /// Returns the shortest time between two pieces of snapshots that are sent.
    pub(super) fn piece_interval(&self) -> Duration {
        match self.snapshot_rate_max {
            Some(0) => Duration::MAX,
            Some(rate) => {
                let nanos = self.chunk_bytes as u128 * 1_000_000_000 / u128::from(rate);
                u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)
            }
            None => Duration::ZERO,
        }
    }
}

impl Default for ReplicaSettings {
    fn default() -> Self {
        Self {
            proposals_max: 65_536,
            proposals_bytes_max: 64 << 20,
            command_bytes_max: (1 << 20) - 8192,
            reads_max: 65_536,
            read_retry: Duration::from_millis(20),
            hand_over_max: Duration::from_secs(2),
            tick_interval_min: Duration::from_millis(100),
            apply_bytes_max: 1 << 20,
            apply_entries_max: 64,
            snapshot_bytes: 256 << 20,
            snapshot_entries: 1_000_000,
            keep_entries: 10_000,
            keep_bytes: 64 << 20,
            retry: Duration::from_secs(5),
            chunk_bytes: 256 << 10,
            window_bytes: 2 << 20,
            snapshot_sends_max: 16,
            snapshot_rate_max: None,
            transfer_retry: Duration::from_millis(500),
            transfer_timeout: Duration::from_secs(15),
            catch_up_entries: 10_000,
        }
    }
}

/// Settings that contradict each other. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("settings of a replica: {rule} does not hold")]
pub struct ReplicaSettingsError {
    rule: &'static str,
}
