//! A cluster of cores in one loop, with a disk, a network and resource managers that tests rule, and the laws that hold
//! across nodes.
//!
//! Everything happens in an order that the seed decides: messages, writes, answers of applications and deadlines stand in one queue.
//! Each of them is a step with a number, and a node can be crashed just before any step of its own.

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
