//! Ballots: the numbers under which values are proposed.

use std::fmt;

use quorate_protocol::NodeId;
use serde::{Deserialize, Serialize};

/// Numbers one attempt to have a value chosen (Lamport, Paxos Made Simple, 2001, §2.2: "proposal number").
///
/// Ballots are ordered by round, then by node, so that no two nodes share one. A node never uses one twice, over restarts as
/// well: the round is durable before the ballot is heard of.
#[doc(alias = "proposal number")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// Grows with every attempt of a node, beyond every round it has heard of.
    pub round: u64,
    /// Whose attempt it is.
    pub node: NodeId,
}

impl Ballot {
    /// Before every attempt.
    pub const ZERO: Self = Self { round: 0, node: NodeId(0) };
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.round, self.node)
    }
}

/// The last round. A node that has heard of a ballot of it begins none any more, and says so.
pub(crate) const ROUND_MAX: u64 = u64::MAX / 2;

/// The furthest that one message may carry a node beyond the rounds that it knows. Rounds grow by one: a node that missed
/// so many was away for a year of ballots a few milliseconds apart. What leaps further was made by a fault, and may not use up the rounds.
pub(crate) const ROUND_LEAP_MAX: u64 = 1 << 32;
