//! The log as the loop sees it: a thread that takes writes and tells when they are durable.

use std::time::Duration;

use quorate_protocol::{LoadFailure, LoadRange, Loaded, PersistFailure, StorageLevel, Ticket};

use super::report::Report;
use crate::{NodeInput, StreamId, Write};

/// A log that works while the loop goes on. What becomes of it comes as [`LogNews`].
pub(crate) trait Log {
    /// Makes these durable, with one sync for all of them and for what else waits.
    fn submit(&mut self, writes: Vec<Write>);

    /// Reads from a stream. Never waits behind a sync.
    fn load(&mut self, stream: StreamId, ticket: Ticket, range: LoadRange);

    /// Takes nothing more; syncs what waits and ends.
    fn close(&mut self);
}

/// What a log tells the loop.
#[derive(Debug)]
pub(crate) enum LogNews {
    /// One sync made these writes durable.
    Synced {
        /// The newest write of each stream.
        writes: Vec<(StreamId, Ticket)>,
        /// How long it took.
        took: Duration,
    },
    /// Writes failed.
    Failed {
        /// Which.
        writes: Vec<(StreamId, Ticket)>,
        /// What is known of them.
        failure: PersistFailure,
        /// What happened.
        what: String,
    },
    /// What a load brought.
    Loaded {
        /// Which stream.
        stream: StreamId,
        /// Which load.
        ticket: Ticket,
        /// What it brought, or why nothing.
        result: Result<Loaded, LoadFailure>,
    },
    /// The disk's reserve is used up, or is there again.
    Storage(StorageLevel),
    /// The stream pins the oldest segment.
    CompactRequested(StreamId),
}

impl LogNews {
    /// Tells the operator and the node.
    pub(super) fn tell(self, report: &mut Report, mut node: impl FnMut(NodeInput)) {
        match self {
            Self::Synced { writes, took } => {
                report.synced(took, writes.len());
                for (stream, ticket) in writes {
                    node(NodeInput::Persisted { stream, ticket });
                }
            }
            Self::Failed { writes, failure, what } => {
                report.log_failed(&what);
                for (stream, ticket) in writes {
                    node(NodeInput::PersistFailed { stream, ticket, failure });
                }
            }
            Self::Loaded { stream, ticket, result } => node(NodeInput::Loaded { stream, ticket, result }),
            Self::Storage(level) => {
                report.storage(level);
                node(NodeInput::Storage(level));
            }
            Self::CompactRequested(stream) => node(NodeInput::CompactRequested(stream)),
        }
    }
}
