#![doc = include_str!("../README.md")]

mod election;
#[cfg(feature = "testing")]
pub mod testing;

pub use election::UpToDateLog;
pub use quorate_protocol::replication::{Config, ConfigError, Ignored, Lease, Message, Settings, Start, message};

/// The server side: `Node`, `Replica`, and the tokio shell.
#[cfg(feature = "server")]
pub use quorate_runtime as runtime;

/// One node's part in a group: Raft (Ongaro and Ousterhout, USENIX ATC 2014) as a pure state machine.
///
/// Inputs go in through [`handle`](quorate_protocol::Protocol::handle), outputs come out of
/// [`poll_output`](quorate_protocol::Protocol::poll_output), and [`deadline`](quorate_protocol::Protocol::deadline)
/// returns the time of the next [`Signal::Timeout`](quorate_protocol::Signal::Timeout). Entries that were proposed or
/// received since the last poll leave as one write and one message to each peer. The crate's documentation shows the
/// loop around it.
pub type Raft = quorate_protocol::replication::LogCore<UpToDateLog>;
