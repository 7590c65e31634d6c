//! A cluster of cores in one loop, with a disk, a network and resource managers that tests control, and the laws that
//! hold across nodes.
//!
//! The seed decides the order of all events: messages, writes, answers of applications and deadlines are in one queue.
//! Each event is a numbered step, and a node can be crashed just before any of its steps.

mod cluster;
mod disk;
mod laws;
mod manager;
mod node;
mod said;

pub use cluster::{Builder, Cluster, Faults};
pub use disk::Disk;
pub use laws::{CompleteCommit, DurableDecision, NoNumberTwice, OneOutcome, UnanimousCommit, laws};
pub use manager::{Manager, Work};
pub use node::{Node, Traffic};
