//! Raft on the bench of the contract's crate: clusters of cores, the laws that hold across nodes, and their messages,
//! writes and events in words.

use quorate_protocol::Operation;
use quorate_protocol::replication::testing;

use crate::UpToDateLog;

pub use quorate_protocol::replication::testing::{
    CommittedForever, KINDS, LeaderCompleteness, MonotoneState, OneLeaderATerm, configurations, entry_words,
    event_words, flip_cached, kind, laws, message_words, small_settings,
};

/// Describes a write of Raft in one line.
pub fn operations_words(operations: &[Operation]) -> String {
    testing::operations_words::<UpToDateLog>(operations)
}

/// A cluster of Raft cores.
pub type Cluster = testing::Cluster<UpToDateLog>;

/// The description of such a cluster.
pub type Builder = testing::Builder<UpToDateLog>;
