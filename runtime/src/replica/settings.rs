//! Bounds and times of a replica, checked when they are made.

use std::time::Duration;

/// Bounds and times of a [`Replica`](crate::Replica). What must be equal on all nodes is not here but in the log.
///
/// ```
/// use quorate_runtime::ReplicaSettings;
/// let settings = ReplicaSettings { snapshot_entries: 10_000, ..ReplicaSettings::default() };
/// settings.check()?;
/// # Ok::<(), quorate_runtime::ReplicaSettingsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaSettings {
    /// The most proposals that wait for their outcome here, and the most of other nodes that wait for theirs on a
    /// leader. The next is `NotApplied(Overloaded)`. 65,536 unless set.
    pub proposals_max: usize,
    /// The most bytes of commands that wait for their outcome here; beyond it proposals are `NotApplied(Overloaded)`.
    /// 64 MiB unless set.
    pub proposals_bytes_max: usize,
    /// The longest command. Longer ones are `NotApplied(TooLarge)`. Set it below what the core takes as an entry.
    /// 1 MiB less 8 KiB unless set.
    pub command_bytes_max: usize,
    /// The most reads that wait; the next fails with `Overloaded`. 65,536 unless set.
    pub reads_max: usize,
    /// How long a read waits before it asks again after it failed for want of a leader. 20 ms unless set.
    pub read_retry: Duration,
    /// A hand-over of leadership, during which no command is taken, is given up after so long. Longer than an election
    /// takes. 2 s unless set.
    pub hand_over_max: Duration,
    /// The least time between two ticks that a leader proposes. 100 ms unless set.
    pub tick_interval_min: Duration,
    /// The bytes of committed entries that are applied before other groups, and messages, have their turn. 1 MiB unless
    /// set.
    pub apply_bytes_max: usize,
    /// The most entries that are applied before others have their turn, however small they are. So many of the
    /// costliest commands must take well below an election time-out, or a leader with much to apply loses its office.
    /// 64 unless set.
    pub apply_entries_max: usize,
    /// A snapshot is made after entries that take so many bytes in the log, what fills its sectors included. 256 MiB
    /// unless set.
    pub snapshot_bytes: u64,
    /// A snapshot is made after so many entries. 1,000,000 unless set.
    pub snapshot_entries: u64,
    /// So many entries before a snapshot stay in the log, for peers that lag a little. 10,000 unless set.
    pub keep_entries: u64,
    /// And no more of them than so many bytes. 64 MiB unless set.
    pub keep_bytes: u64,
    /// How long to wait before a snapshot that could not be made, or entries that could not be read, are tried again.
    /// 5 s unless set.
    pub retry: Duration,
    /// Bytes of one piece of a snapshot on its way. Must fit a frame. 256 KiB unless set.
    pub chunk_bytes: usize,
    /// Bytes of a snapshot that are on their way to one peer, or being written here, and not acknowledged. 2 MiB unless
    /// set.
    pub window_bytes: usize,
    /// A piece that is not acknowledged for so long is sent again. 500 ms unless set.
    pub transfer_retry: Duration,
    /// A transfer of a snapshot that makes no progress for so long is given up, on both sides. 15 s unless set.
    pub transfer_timeout: Duration,
    /// A replica that is so many entries behind, and then is not, is counted as having caught up. 10,000 unless set.
    pub catch_up_entries: u64,
}

impl ReplicaSettings {
    /// Whether the bounds fit each other.
    ///
    /// # Errors
    /// When one is zero where something must fit, or two contradict each other.
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
            (self.transfer_retry > Duration::ZERO, "transfer_retry is above zero"),
            (self.transfer_retry < self.transfer_timeout, "transfer_retry < transfer_timeout"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(ReplicaSettingsError { rule }),
            None => Ok(()),
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
