//! What machines tell by [`MachineOutput::Sometimes`](super::MachineOutput::Sometimes) in the same words, so that campaigns
//! can ask for it.

/// A node began to lead.
pub const LEADER_ELECTED: &str = "a leader was elected";
/// A follower's state was replaced by a snapshot of the leader's.
pub const SNAPSHOT_INSTALLED: &str = "a snapshot was installed";
/// A log was recovered whose last write was not whole.
pub const TAIL_TORN: &str = "a torn tail was cut";
/// A failed write or sync made a log refuse everything that came after it.
pub const LOG_POISONED: &str = "a log was poisoned";
