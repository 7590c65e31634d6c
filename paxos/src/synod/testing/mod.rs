//! A cluster of cores in one loop, with disks and a network that tests control, and the laws that hold across nodes.
//!
//! The seed decides the order of all events: messages, writes and deadlines are in one queue.

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
