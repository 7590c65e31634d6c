//! Bounds and times of a bound group.

use std::time::Duration;

use quorate_protocol::NodeId;

use super::log::codec::WRITE_OVERHEAD_BYTES;
use crate::replica::settings::ReplicaSettings;

/// Bounds and times of a [`Bound`](super::Bound) group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundSettings {
    /// Settings of the replica that keeps the log. Its `command_bytes_max`, less a few bytes, is the longest write of
    /// the core.
    pub replica: ReplicaSettings,
    /// Maximum bytes of the core's records in memory, on each node. From half of it on the core is told that storage is
    /// low, and is asked to compact. A write beyond it is refused as `NotWritten`, unless it frees as much as it adds.
    /// Default: 256 MiB.
    pub records_bytes_max: usize,
    /// Time after which a write without an outcome is unknown, although this node still leads: the core is dropped, and
    /// recovered anew. It should be longer than the log waits for a quorum before its leader steps down. Default:
    /// 10 s.
    pub write_timeout: Duration,
    /// The id under which the core knows itself, wherever it runs: [`GroupStart::identity`](crate::GroupStart) has it,
    /// and the core is told the standing of the serving node under it. Equal on all nodes, and the id of none. It is
    /// for a core that writes its own id into its log. Default: `None`, the id of the node that serves it.
    pub served_as: Option<NodeId>,
    /// Pause before a take-over that was refused is proposed again. Default: 100 ms.
    pub retry: Duration,
}

impl BoundSettings {
    /// Checks that the bounds do not contradict each other.
    ///
    /// # Errors
    /// When a value is zero that must not be, or two values contradict each other.
    pub fn check(&self) -> Result<(), BoundSettingsError> {
        let rules = [
            (self.replica.command_bytes_max > WRITE_OVERHEAD_BYTES, "command_bytes_max has room for a write"),
            (
                self.replica.command_bytes_max <= self.records_bytes_max / 2,
                "command_bytes_max <= records_bytes_max / 2",
            ),
            (self.write_timeout > Duration::ZERO, "write_timeout is above zero"),
            (self.retry > Duration::ZERO, "retry is above zero"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(BoundSettingsError { rule }),
            None => Ok(()),
        }
    }
}

impl Default for BoundSettings {
    fn default() -> Self {
        Self {
            replica: ReplicaSettings::default(),
            records_bytes_max: 256 << 20,
            write_timeout: Duration::from_secs(10),
            served_as: None,
            retry: Duration::from_millis(100),
        }
    }
}

/// Settings that contradict each other. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("settings of a bound group: {rule} does not hold")]
pub struct BoundSettingsError {
    rule: &'static str,
}
