//! The tokio shell of a node: opens the data directory, starts the threads, runs the loop, and gives out the handles.
//! You need this module to run a node in another way than [`Server`](crate::Server) does: with a transport or a disk of
//! your own ([`Driver`], [`Opening`]), or with calls to groups of your own ([`LocalHandle`], [`CallAnswer`]).

pub(crate) mod directory;
pub(crate) mod driver;
pub(crate) mod error;
pub(crate) mod launch;
pub(crate) mod opening;
pub(crate) mod replica_handle;
pub(crate) mod server;
pub(crate) mod site;
pub(crate) mod skip;
pub(crate) mod snapshots;

pub use directory::{Directory, DirectoryError, cluster_id};
pub use driver::Driver;
pub use driver::addresses::{ReadAddresses, read_address};
pub use driver::calls::{CallAnswer, CallError, LocalHandle};
pub use driver::clock::Clock;
pub use driver::start::{Parts, StartError};
pub use opening::{Opened, Opening, Unstarted};
pub use site::Site;
pub use skip::SkipError;
pub use snapshots::SnapshotStores;
