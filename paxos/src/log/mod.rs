//! Multi-Paxos: a replicated log that any node can lead which reaches a quorum.
//!
//! [`MultiPaxos`] is a [`ReplicatedLog`](quorate_protocol::ReplicatedLog), so that
//! `quorate_runtime::Replica<MultiPaxos, S>` serves every state machine that a replica on Raft serves, and with the
//! same outcomes, sessions, reads, snapshots and changes of members. The two differ in one rule: in Raft only a node
//! with an up-to-date log can be elected; here every node can, and fetches what it lacks before it leads.
//!
//! In the terms of the papers (Lamport, "Paxos Made Simple", 2001, §3; van Renesse and Altinbuken, "Paxos Made
//! Moderately Complex", 2015; Ng, Haridi and Carbone, "Omni-Paxos", EuroSys 2023):
//!
//! | Paper | here |
//! | --- | --- |
//! | ballot, round | [`Term`](quorate_protocol::Term); one node at most leads in it, because voters promise it to one node |
//! | slot | [`LogIndex`](quorate_protocol::LogIndex) |
//! | phase 1a, prepare | [`RequestVote`](message::RequestVote) |
//! | phase 1b, promise | [`VoteResponse`](message::VoteResponse), with the end of the voter's log; then [`PulledEntries`](message::PulledEntries) |
//! | phase 2a, accept | [`AppendEntries`](message::AppendEntries) |
//! | phase 2b, accepted | [`AppendResponse`](message::AppendResponse) |
//! | learn, decide | the commit index in entries, heartbeats and [`CommitNotice`](message::CommitNotice) |
//! | quorum-connected | wins a pre-vote of a quorum; a leader that has lost its quorum steps down |
//!
//! Acceptors accept in order, as in Sequence Paxos, so there are no holes in the log and no no-op fills them.

use quorate_protocol::LogPosition;
use quorate_protocol::replication::{Election, LogCore};

pub use quorate_protocol::replication::{Config, ConfigError, Ignored, Lease, Message, Settings, Start, message};

#[cfg(feature = "testing")]
pub mod testing;

/// One node's part in a group: Multi-Paxos as a pure state machine.
///
/// Inputs go in through [`handle`](quorate_protocol::Protocol::handle), outputs come out of
/// [`poll_output`](quorate_protocol::Protocol::poll_output), and [`deadline`](quorate_protocol::Protocol::deadline)
/// returns the time of the next [`Signal::Timeout`](quorate_protocol::Signal::Timeout).
pub type MultiPaxos = LogCore<AnyLog>;

/// The rule of Multi-Paxos: a voter votes for any candidate. A candidate that has won makes its log equal to the best
/// one among its voters, and leads only then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AnyLog;

impl Election for AnyLog {
    const CODE: u8 = 2;
    const CHANNEL: u16 = 20;

    fn may_vote(_own: LogPosition, _candidate: LogPosition) -> bool {
        true
    }
}
