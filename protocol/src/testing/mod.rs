//! A bench for cores under test: nodes with a core, a stand-in log and an application, in one loop with a network,
//! clocks and faults that tests control.
//!
//! A protocol implements [`Subject`] for its core and so gets a [`Cluster`]. The seed decides the order of all events:
//! messages, writes, answers of applications and deadlines are in one queue. All laws are checked after every step.

mod alike;
mod builder;
mod cluster;
mod disks;
mod faults;
mod life;
mod network;
mod node;
mod pace;
mod record;
mod replica;
mod stream;
mod subject;
mod timeline;

pub use alike::Alike;
pub use builder::Builder;
pub use cluster::Cluster;
pub use faults::{Faults, PowerCut};
pub use network::Release;
pub use node::{Node, Traffic};
pub use record::{Fate, Happening};
pub use replica::{Applied, LogSubject, Replica, on_snapshot_request, send_snapshot};
pub use stream::Stream;
pub use subject::Subject;
use timeline::Timeline;
