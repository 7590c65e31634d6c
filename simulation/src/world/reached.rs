//! What machines tell by [`MachineOutput::Sometimes`](super::MachineOutput::Sometimes) in the same words, so that campaigns
//! can ask for it.

use crate::schedule::CrashPoint;

/// A node began to lead.
pub const LEADER_ELECTED: &str = "a leader was elected";
/// A follower's state was replaced by a snapshot of the leader's.
pub const SNAPSHOT_INSTALLED: &str = "a snapshot was installed";
/// A log was recovered whose last write was not whole.
pub const TAIL_TORN: &str = "a torn tail was cut";
/// A failed write or sync made a log refuse everything that came after it.
pub const LOG_POISONED: &str = "a log was poisoned";
/// A bit of what a message carries flipped in the memory of its sender.
pub const BIT_FLIPPED: &str = "a bit flipped in what a node sent";
/// A node's loop found several messages at once.
pub const SEVERAL_MESSAGES: &str = "a round took several messages";

/// What every world brings about sooner or later, whatever runs in it.
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
