//! Raft on the bench of the contract's crate: clusters of cores, the laws that hold across nodes, and their messages,
//! writes and events in words.

mod core_loop;
mod forge;
mod hostile;
mod laws;
mod random;
mod settings;
mod subject;
mod views;
mod words;

use crate::replication::{Election, LogCore};
use crate::{Configuration, LogIndex};

pub use core_loop::CoreLoop;
pub use hostile::{Attacked, play_hostile};
pub use laws::{CommittedForever, LeaderCompleteness, MonotoneState, OneLeaderATerm, durable_vote, laws};
pub use random::{Plan, Reached, play_random};
pub use settings::small_settings;
pub use subject::flip_cached;
pub use views::views_react_alike;
pub use words::{KINDS, entry_words, event_words, kind, message_words, operations_words};

/// Returns the configurations that a core has, with the indexes from which they are in force: the newest one at or
/// before the base of the log, and every later one.
#[must_use]
pub fn configurations<E: Election>(core: &LogCore<E>) -> &[(LogIndex, Configuration)] {
    core.shared.log.configurations().all()
}

/// A cluster of Raft cores.
pub type Cluster<E> = crate::testing::Cluster<LogCore<E>>;

/// The description of such a cluster.
pub type Builder<E> = crate::testing::Builder<LogCore<E>>;
