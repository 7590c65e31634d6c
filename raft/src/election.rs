//! Who may be elected.

use quorate_protocol::LogPosition;
use quorate_protocol::replication::Election;

/// The rule of Raft: a voter votes only for a candidate whose log is at least as up-to-date as its own (Raft §5.4.1).
/// First the term of the last entry counts, then its index. So a leader has every committed entry when it is elected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UpToDateLog;

impl Election for UpToDateLog {
    const CODE: u8 = 1;
    const CHANNEL: u16 = 16;

    fn may_vote(own: LogPosition, candidate: LogPosition) -> bool {
        (candidate.term, candidate.index) >= (own.term, own.index)
    }
}
