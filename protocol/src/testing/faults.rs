//! What goes wrong in a cluster by chance.

use std::time::Duration;

/// What the network and the disks of a cluster do. Nothing goes wrong, and nothing takes time, unless it is said.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Of a hundred messages, so many are lost.
    pub loss_percent: u64,
    /// Of a hundred messages, so many come twice.
    pub duplicate_percent: u64,
    /// The longest that a message takes. Above zero messages overtake each other.
    pub latency_max: Duration,
    /// The longest that a write takes.
    pub write_max: Duration,
    /// Of a hundred writes, so many are certainly not done.
    pub refusal_percent: u64,
    /// Of a hundred inputs, so many are handled together with the next.
    pub batch_percent: u64,
}
