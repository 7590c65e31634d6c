//! Raft on the bench of the contract's crate: clusters of cores, the laws that hold across nodes, and their messages,
//! writes and events in words.

mod laws;
mod settings;
mod subject;
mod words;

use crate::Raft;

pub use laws::{CommittedForever, LeaderCompleteness, MonotoneState, OneLeaderATerm, durable_vote, laws};
pub use settings::small_settings;
pub use subject::flip_cached;
pub use words::{KINDS, entry_words, event_words, kind, message_words, operations_words};

/// A cluster of Raft cores.
pub type Cluster = quorate_protocol::testing::Cluster<Raft>;

/// The description of such a cluster.
pub type Builder = quorate_protocol::testing::Builder<Raft>;
