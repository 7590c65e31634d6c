//! The tokio shell of a node: opens the data directory, starts the threads, runs the loop, and gives out the handles.

mod directory;
mod driver;
mod handle;
mod opening;
mod server;
mod snapshots;

pub use directory::{Directory, DirectoryError, cluster_id, draw_incarnation};
pub use driver::{Answer, CallError, Clock, Driver, HostedHandle, LocalHandle, NodeHandle, Parts, StartError, Stopped};
pub use handle::{LocalReplicaHandle, Pending, ReplicaHandle};
pub use opening::{Opened, Opening, Recovered};
pub use server::{BoxError, ConfigError, GroupStart, Launch, MakeGroup, OpenError, Running, Server, ServerBuilder};
pub use snapshots::{Snapshots, StopFlag};
