//! The snapshots on this node's disk.

use quorate_protocol::{LogIndex, ReplicatedLog, SnapshotMeta, Ticket};

use crate::group::snapshot::SnapshotOperation;
use crate::replica::context::Context;
use crate::replica::sessions::SnapshotForm;

/// The newest durable snapshot, and doubts about it.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// The newest snapshot that is durable on this node. Its index never goes back.
    newest: Option<SnapshotMeta>,
    /// The index of `newest` if its file is damaged. It is not sent, and a new one replaces it.
    damaged: Option<LogIndex>,
    /// The index of `newest` if its file is without the state, because the state machine stores it. It is not sent.
    stateless: Option<LogIndex>,
    /// True if a peer needs a snapshot with the state.
    is_state_wanted: bool,
    /// A check under way of a snapshot that a peer found damaged. It is not sent meanwhile.
    verifying: Option<Verifying>,
    /// Snapshots below this index are deleted. Never goes back, and never above `newest`.
    deleted_before: LogIndex,
}

#[derive(Clone, Copy, Debug)]
struct Verifying {
    ticket: Ticket,
    index: LogIndex,
}

impl Stored {
    /// Returns the index of the newest snapshot.
    pub(super) fn newest_index(&self) -> Option<LogIndex> {
        self.newest.as_ref().map(|newest| newest.index)
    }

    /// A newer snapshot is durable, or one that replaces a damaged file or a file without the state.
    pub(super) fn on_durable(&mut self, meta: SnapshotMeta, form: SnapshotForm) {
        self.stateless = (form == SnapshotForm::WithoutState).then_some(meta.index);
        self.is_state_wanted &= self.stateless.is_some();
        self.newest = Some(meta);
        self.damaged = None;
    }

    /// Returns true if a new snapshot of this index is of use: it is newer, or the file of this index is damaged or
    /// without the state that a peer needs.
    pub(super) fn wants(&self, index: LogIndex) -> bool {
        let is_lacking = self.is_state_wanted && self.stateless == Some(index);
        index > self.newest_index().unwrap_or_default() || self.damaged == Some(index) || is_lacking
    }

    /// A peer needs this snapshot. Returns true if its file is without the state: the next one will be with it.
    pub(super) fn want_state(&mut self, index: LogIndex) -> bool {
        let is_lacking = self.stateless == Some(index);
        self.is_state_wanted |= is_lacking;
        is_lacking
    }

    /// Returns true if a peer needs a snapshot with the state.
    pub(super) fn is_state_wanted(&self) -> bool {
        self.is_state_wanted
    }

    /// Returns true if the snapshot of this index must not be sent: its file is damaged, or is being verified.
    pub(super) fn is_doubtful(&self, index: LogIndex) -> bool {
        self.damaged == Some(index) || self.verifying.is_some_and(|verifying| verifying.index == index)
    }

    /// Verifies a snapshot that a peer found damaged: either this copy is damaged, or its transfer was.
    pub(super) fn verify<L: ReplicatedLog>(&mut self, context: &mut Context<L>, index: LogIndex) {
        if self.verifying.is_none() {
            let ticket = context.operate(SnapshotOperation::Verify { index });
            self.verifying = Some(Verifying { ticket, index });
        }
    }

    /// Ends the check of this ticket, and returns the index of its snapshot.
    pub(super) fn take_verified(&mut self, ticket: Ticket) -> Option<LogIndex> {
        self.verifying.take_if(|verifying| verifying.ticket == ticket).map(|verifying| verifying.index)
    }

    /// The file of this snapshot is damaged. Returns true if the snapshot is the newest, and must be replaced.
    pub(super) fn on_damaged(&mut self, index: LogIndex) -> bool {
        let is_newest = self.newest_index() == Some(index);
        if is_newest {
            self.damaged = Some(index);
        }
        is_newest
    }

    /// Deletes snapshots that are neither the newest nor being sent. `sending` is the oldest that is being sent.
    pub(super) fn delete_old<L: ReplicatedLog>(&mut self, context: &mut Context<L>, sending: Option<LogIndex>) {
        let Some(newest) = self.newest_index() else { return };
        let index = sending.map_or(newest, |sending| sending.min(newest));
        if index > self.deleted_before {
            self.deleted_before = index;
            context.operate(SnapshotOperation::DeleteBefore { index });
        }
    }
}
