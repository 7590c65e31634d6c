//! A cluster of cores in one loop, with a disk and a network that tests control, and the invariants that hold across
//! nodes.
//!
//! The seed determines the order of all events: messages, writes and deadlines are in one queue.

mod builder;
mod cluster;
mod disk;
mod disks;
mod laws;
mod network;
mod node;
mod record;
mod settings;
mod words;

pub use builder::Builder;
pub use cluster::Cluster;
pub use disk::Disk;
pub use laws::{CommittedForever, LeaderCompleteness, MonotoneState, OneLeaderATerm, durable_vote, laws};
pub use network::{Pick, Release};
pub use node::{Applied, Node};
pub use record::{Fate, Happening};
pub use settings::small_settings;
pub use words::{KINDS, entry_words, event_words, kind, message_words, operations_words};
