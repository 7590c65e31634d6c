//! Multi-Paxos on the bench of the contract's crate.

use quorate_protocol::replication::testing;

use super::AnyLog;

/// A cluster of Multi-Paxos cores.
pub type Cluster = testing::Cluster<AnyLog>;

/// The description of such a cluster.
pub type Builder = testing::Builder<AnyLog>;
