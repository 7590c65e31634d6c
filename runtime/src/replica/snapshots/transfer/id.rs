//! The name of a transfer.

use bytes::Bytes;
use quorate_protocol::{NodeId, ReplicatedLog, SnapshotMeta, Term};
use quorate_transport::ChannelId;

use crate::replica::context::Context;
use crate::replica::message::{SnapshotEnvelope, SnapshotId, SnapshotMessage};

/// Names one transfer of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::replica::snapshots) struct TransferId {
    /// The other side.
    pub(in crate::replica::snapshots) peer: NodeId,
    /// The leader's term.
    pub(in crate::replica::snapshots) term: Term,
    /// The snapshot.
    pub(in crate::replica::snapshots) id: SnapshotId,
}

impl TransferId {
    pub(in crate::replica::snapshots) fn of(peer: NodeId, term: Term, meta: &SnapshotMeta) -> Self {
        Self { peer, term, id: SnapshotId { index: meta.index, term: meta.term } }
    }

    /// Sends a message of this transfer to the other side.
    pub(super) fn send<L: ReplicatedLog>(self, context: &mut Context<L>, message: SnapshotMessage, content: Bytes) {
        let Self { peer, term, id } = self;
        context.send(ChannelId::SNAPSHOTS, peer, &SnapshotEnvelope { term, id, message, content });
    }
}
