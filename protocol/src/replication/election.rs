//! The rule by which a protocol elects its leaders.

use std::fmt::Debug;
use std::hash::Hash;

use crate::{LogIndex, LogPosition, Term};

/// The difference between the protocols whose core is [`LogCore`](crate::replication::LogCore): which candidates a
/// voter may vote for.
///
/// A leader must have every entry that was committed before its term. Raft elects only nodes that have them. In
/// Multi-Paxos any node may be elected, and fetches what it lacks from its voters before it leads (Howard and Mortier,
/// "Paxos vs Raft: have we reached consensus on distributed consensus?", 2020). Everything after the election is the
/// same.
pub trait Election: Copy + Debug + Eq + Hash + Send + Sync + 'static {
    /// First byte of the protocol's state records. It differs between protocols, so that a node never takes the log of
    /// one for the log of another.
    const CODE: u8;

    /// See [`ReplicatedLog::CHANNEL`](crate::ReplicatedLog::CHANNEL).
    const CHANNEL: u16;

    /// Returns true if a voter whose log ends at `own` may vote for a candidate whose log ends at `candidate`. It must
    /// return true if `candidate` has the later term, or the same term and no lower index.
    fn may_vote(own: LogPosition, candidate: LogPosition) -> bool;

    /// Returns true if a voter may vote for a candidate whatever its log is.
    fn elects_any() -> bool {
        let newer = LogPosition { index: LogIndex(1), term: Term(1) };
        Self::may_vote(newer, LogPosition::default())
    }
}
