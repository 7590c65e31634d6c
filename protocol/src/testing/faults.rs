//! Faults of a cluster.

use std::time::Duration;

/// Random faults of the network, the disks and the applications of a cluster. By default nothing fails and nothing
/// takes time.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Percentage of messages lost.
    pub loss_percent: u64,
    /// Percentage of messages delivered twice.
    pub duplicate_percent: u64,
    /// Longest time that a message takes. Above zero, messages overtake each other, and the second copy of a message
    /// may take much longer.
    pub latency_max: Duration,
    /// Longest time that a write takes.
    pub write_max: Duration,
    /// Longest time that an application takes to answer.
    pub answer_max: Duration,
    /// Percentage of writes that fail and are certainly not written.
    pub refusal_percent: u64,
    /// Percentage of inputs that are handled together with the next ones.
    pub batch_percent: u64,
    /// Percentage of requests that the application answers with a failure.
    pub failure_percent: u64,
    /// Percentage of requests that the application never receives.
    pub deafness_percent: u64,
}

/// The part of the current write that a crash leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PowerCut {
    /// Nothing.
    Lost,
    /// The state record only: recovery may adopt it from an incomplete batch.
    StateAlone,
    /// The whole write, although no one was told that it is durable.
    Whole,
}
