//! Raft on the bench of the contract's crate: clusters of cores, the laws that hold across nodes, and their messages,
//! writes and events in words.

mod laws;
mod settings;
mod subject;
mod words;

use quorate_protocol::{Configuration, LogIndex};

use crate::Raft;

pub use laws::{CommittedForever, LeaderCompleteness, MonotoneState, OneLeaderATerm, durable_vote, laws};
pub use settings::small_settings;
pub use subject::flip_cached;
pub use words::{KINDS, entry_words, event_words, kind, message_words, operations_words};

/// Returns the configurations that a core has, with the indexes from which they are in force: the newest one at or
/// before the base of the log, and every later one.
#[must_use]
pub fn configurations(core: &Raft) -> &[(LogIndex, Configuration)] {
    core.shared.log.configurations().all()
}

/// A cluster of Raft cores.
pub type Cluster = quorate_protocol::testing::Cluster<Raft>;

/// The description of such a cluster.
pub type Builder = quorate_protocol::testing::Builder<Raft>;
