//! Two-phase commit on the bench of the contract's crate: clusters of cores with resource managers, the laws that hold
//! across nodes, and what tests ask of them.

mod laws;
mod manager;
mod said;
mod subject;
mod words;

use crate::TwoPhaseCommit;

pub use laws::{CompleteCommit, DurableDecision, NoNumberTwice, OneOutcome, UnanimousCommit, committed, laws};
pub use manager::{Manager, Work};
pub use said::records;
pub use subject::{Setup, Site};
pub use words::{Ends, Transactions};

/// A cluster of cores of two-phase commit.
pub type Cluster = quorate_protocol::testing::Cluster<TwoPhaseCommit>;

/// The description of such a cluster.
pub type Builder = quorate_protocol::testing::Builder<TwoPhaseCommit>;

/// A node of such a cluster.
pub type Node = quorate_protocol::testing::Node<TwoPhaseCommit>;
