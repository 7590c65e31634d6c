//! The last failure of an operation on snapshots.

use quorate_protocol::{LogIndex, ReplicatedLog};

use crate::group::notice::Notice;
use crate::replica::context::Context;
use crate::replica::explain::Obstacle;

/// The last failed operation, as long as none of its kind succeeded since.
#[derive(Debug, Default)]
pub(super) struct LastFailure(Option<Failure>);

#[derive(Debug)]
struct Failure {
    index: LogIndex,
    reason: String,
}

impl LastFailure {
    /// Reports and keeps a failure.
    pub(super) fn note<L: ReplicatedLog>(&mut self, context: &mut Context<L>, index: LogIndex, reason: String) {
        context.notice(Notice::SnapshotFailed { index, reason: reason.clone() });
        self.0 = Some(Failure { index, reason });
    }

    /// An operation has succeeded.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    pub(super) fn obstacle(&self) -> Option<Obstacle> {
        let Failure { index, reason } = self.0.as_ref()?;
        Some(Obstacle::SnapshotFailed { index: *index, reason: reason.clone() })
    }
}
