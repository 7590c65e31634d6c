//! Random faults of a cluster.

use std::time::Duration;

/// Faults of the network and the disks of a cluster. By default nothing fails and nothing takes time.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Percentage of messages lost.
    pub loss_percent: u64,
    /// Percentage of messages delivered twice.
    pub duplicate_percent: u64,
    /// Longest time that a message takes. Above zero, messages overtake each other.
    pub latency_max: Duration,
    /// Longest time that a write takes.
    pub write_max: Duration,
    /// Percentage of writes that fail and are certainly not written.
    pub refusal_percent: u64,
    /// Percentage of inputs that are handled together with the next one.
    pub batch_percent: u64,
}
