//! Names of events that several machines report through [`MachineOutput::Sometimes`](super::MachineOutput::Sometimes),
//! so that campaigns can require them.

use crate::schedule::CrashPoint;

/// A node became leader.
pub const LEADER_ELECTED: &str = "a leader was elected";
/// A follower's state was replaced by a snapshot of the leader.
pub const SNAPSHOT_INSTALLED: &str = "a snapshot was installed";
/// A log was recovered whose last write was incomplete.
pub const TAIL_TORN: &str = "a torn tail was cut";
/// After a failed write or sync, a log refused all later writes.
pub const LOG_POISONED: &str = "a log was poisoned";
/// A bit of a client's data in a message flipped in the sender's memory.
pub const BIT_FLIPPED: &str = "a bit flipped in what a node sent";
/// A node's loop found several messages at once.
pub const SEVERAL_MESSAGES: &str = "a round took several messages";

/// Events that every world reaches sooner or later, with any machine.
pub(crate) const OF_THE_WORLD: [&str; 13] = [
    crash(CrashPoint::Now),
    crash(CrashPoint::Persist),
    crash(CrashPoint::Persisted),
    crash(CrashPoint::Send),
    crash(CrashPoint::Sent),
    crash(CrashPoint::SentWhileWriting),
    crash(CrashPoint::Receive),
    "a message met a cut link",
    "a message was lost",
    "a message found no room on a slow link",
    "a message was lost with its sender",
    "a node halted for its disk",
    SEVERAL_MESSAGES,
];

/// A crash at this point.
pub(super) const fn crash(point: CrashPoint) -> &'static str {
    match point {
        CrashPoint::Now => "a crash at any moment",
        CrashPoint::Persist => "a crash when a write was handed to the disk",
        CrashPoint::Persisted => "a crash when a write was durable",
        CrashPoint::Send => "a crash before a message left",
        CrashPoint::Sent => "a crash when a message had left",
        CrashPoint::SentWhileWriting => "a crash when a message had left and a write was on its way",
        CrashPoint::Receive => "a crash before a message was looked at",
    }
}
