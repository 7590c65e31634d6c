//! A shutdown that was requested, and its result.

use quorate_protocol::Instant;
use tokio::sync::oneshot;

/// The result of a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stopped {
    /// All writes are synced, and the data directory is free.
    InOrder,
    /// The disk did not finish in time. The data directory stays locked until it does, or the process ends.
    /// Acknowledged data are durable nevertheless.
    DiskStalled,
}

/// A shutdown that was requested.
#[derive(Debug)]
pub(super) struct Shutdown {
    pub(super) deadline: Instant,
    pub(super) done: Vec<oneshot::Sender<Stopped>>,
}
