//! Synod on the bench of the contract's crate: clusters of cores, the laws that hold across nodes, and what tests ask
//! of them.

mod laws;
mod subject;
mod words;

use super::Synod;

pub use laws::{BallotsOfTheirOwn, OneChosen, PromisesKept, laws};
pub use subject::Setup;
pub use words::{Answers, Calls, Records};

/// A cluster of synod cores.
pub type Cluster = quorate_protocol::testing::Cluster<Synod>;

/// The description of such a cluster.
pub type Builder = quorate_protocol::testing::Builder<Synod>;

/// A node of such a cluster.
pub type Node = quorate_protocol::testing::Node<Synod>;
