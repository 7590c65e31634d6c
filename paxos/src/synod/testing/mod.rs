//! A cluster of cores in one loop, with disks and a network that tests rule, and the laws that hold across nodes.
//!
//! Everything happens in an order that the seed decides: messages, writes and deadlines stand in one queue.

mod builder;
mod cluster;
mod disk;
mod laws;
mod node;

pub use builder::Builder;
pub use cluster::Cluster;
pub use disk::{Disk, PowerCut};
pub use laws::{BallotsOfTheirOwn, OneChosen, PromisesKept, laws};
pub use node::Node;
