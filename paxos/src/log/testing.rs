//! Multi-Paxos on the bench of the contract's crate.

use quorate_protocol::replication::testing;
use quorate_protocol::{NodeId, Term};

use super::AnyLog;

/// Returns the term in a durable state record, and the node to which it was promised; `None` if the bytes are not a
/// state record.
#[must_use]
pub fn durable_vote(state: &[u8]) -> Option<(Term, Option<NodeId>)> {
    testing::durable_vote::<AnyLog>(state)
}

/// A cluster of Multi-Paxos cores.
pub type Cluster = testing::Cluster<AnyLog>;

/// The description of such a cluster.
pub type Builder = testing::Builder<AnyLog>;
