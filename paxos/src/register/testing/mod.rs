//! Registers on the bench of the contract's crate: clusters of cores, the laws that hold across nodes, and what tests
//! ask of them.

mod laws;
mod subject;
mod words;

use super::Register;

pub use laws::{BallotsOfTheirOwn, OneHistory, PromisesKept, laws};
pub use subject::Setup;
pub use words::{Answers, Calls, NodeState, Records};

/// A cluster of cores.
pub type Cluster = quorate_protocol::testing::Cluster<Register>;

/// The description of such a cluster.
pub type Builder = quorate_protocol::testing::Builder<Register>;

/// A node of such a cluster.
pub type Node = quorate_protocol::testing::Node<Register>;
