//! Work of a node's disk that is under way.

use quorate_protocol::{GroupId, LoadRange, Ticket};
use quorate_runtime::group::{SnapshotLane, SnapshotOperation};
use quorate_runtime::node::{NodeInput, StreamId};

pub(super) type SnapshotWork = (GroupId, Ticket, SnapshotOperation);

/// Pending work, or a result that is known already but reported later.
pub(super) enum Work {
    Load { stream: StreamId, ticket: Ticket, range: LoadRange },
    Snapshot(SnapshotWork),
    Tell(NodeInput),
    TellSnapshot(SnapshotLane, NodeInput),
}
