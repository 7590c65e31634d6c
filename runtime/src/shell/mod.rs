//! The tokio shell of a node: opens the data directory, starts the threads, runs the loop, and gives out the handles.

pub(crate) mod directory;
pub(crate) mod driver;
pub(crate) mod error;
pub(crate) mod opening;
pub(crate) mod replica_handle;
pub(crate) mod server;
pub(crate) mod snapshots;

pub use directory::{Directory, DirectoryError, cluster_id, draw_incarnation};
pub use driver::Driver;
pub use driver::calls::{Answer, CallError, LocalHandle, NodeHandle};
pub use driver::clock::Clock;
pub use driver::shutdown::Stopped;
pub use driver::start::{Parts, StartError};
pub use error::{ConfigError, OpenError};
pub use opening::{Opened, Opening, Recovered};
pub use replica_handle::{LocalReplicaHandle, Pending, ReplicaHandle};
pub use server::{Launch, Running, Server, ServerBuilder};
pub use snapshots::{Snapshots, StopFlag};
