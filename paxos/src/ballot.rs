//! Ballots: the numbers under which values are proposed.

use std::fmt;

use quorate_protocol::NodeId;
use serde::{Deserialize, Serialize};

/// Number of one attempt to have a value chosen (Lamport, Paxos Made Simple, 2001, §2.2: "proposal number").
///
/// Ballots are ordered by round, then by node, so that two nodes never share one. A node never uses a ballot twice,
/// even over restarts: the round is durable before other nodes learn of the ballot.
#[doc(alias = "proposal number")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// Grows with every attempt of a node, above every round that it knows of.
    pub round: u64,
    /// The node that makes the attempt.
    pub node: NodeId,
}

impl Ballot {
    /// The ballot before every attempt.
    pub const ZERO: Self = Self { round: 0, node: NodeId(0) };
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.round, self.node)
    }
}

/// The last round. A node that knows of a ballot of this round begins no further ballot, and reports this.
pub(crate) const ROUND_MAX: u64 = u64::MAX / 2;

/// Number of rounds by which one message may advance a node's knowledge of rounds. Rounds grow by one: a node that
/// missed this many was away for a year of ballots a few milliseconds apart. A larger leap comes from a fault, and must
/// not use up the rounds.
pub(crate) const ROUND_LEAP_MAX: u64 = 1 << 32;
