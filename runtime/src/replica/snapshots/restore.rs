//! The restore of the state machine from a snapshot.

use std::any::Any;
use std::fmt;

use quorate_protocol::{LogIndex, ReplicatedLog, SnapshotMeta, Ticket};

use crate::group::snapshot::SnapshotOperation;
use crate::replica::application::Application;
use crate::replica::content::Origin;
use crate::replica::context::Context;
use crate::replica::state_machine::StateMachine;

/// The restore under way, and a state machine that is ready for one.
#[derive(Debug, Default)]
pub(super) struct Restore {
    /// Nothing is applied meanwhile. The result of a restore that was superseded finds no ticket here.
    under_way: Option<Restoring>,
    /// A durable snapshot from the leader. It takes effect once the log starts after it.
    ready: Option<Ready>,
}

#[derive(Debug)]
struct Restoring {
    ticket: Ticket,
    meta: SnapshotMeta,
}

/// A durable snapshot, and the state machine that was made from it.
struct Ready {
    meta: SnapshotMeta,
    state: Box<dyn Any + Send>,
}

impl Restore {
    /// Index of the snapshot that is being restored.
    pub(super) fn index(&self) -> Option<LogIndex> {
        self.under_way.as_ref().map(|restoring| restoring.meta.index)
    }

    /// Begins to restore a snapshot, off the loop. A restore that is under way is superseded. If the state machine is
    /// ready, returns it at once.
    pub(super) fn begin<L: ReplicatedLog, S: StateMachine>(
        &mut self,
        context: &mut Context<L>,
        application: &Application<S>,
        meta: &SnapshotMeta,
    ) -> Option<Box<dyn Any + Send>> {
        if let Some(ready) = self.ready.take_if(|ready| ready.meta == *meta) {
            self.under_way = None;
            return Some(ready.state);
        }
        let index = meta.index;
        let ticket =
            context.operate(SnapshotOperation::Restore { index, read: application.reader(Origin::Own, index) });
        self.under_way = Some(Restoring { ticket, meta: meta.clone() });
        None
    }

    /// Ends the restore of this ticket, and returns its snapshot.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<SnapshotMeta> {
        self.under_way.take_if(|restoring| restoring.ticket == ticket).map(|restoring| restoring.meta)
    }

    /// Keeps a durable snapshot from the leader with its state machine until the log starts after it.
    pub(super) fn keep_ready<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        meta: SnapshotMeta,
        state: Box<dyn Any + Send>,
    ) {
        self.forget_ready(context, LogIndex(u64::MAX));
        self.ready = Some(Ready { meta, state });
    }

    /// Frees a state machine that waits for an index up to `index`, because everything up to there is known to be
    /// committed.
    pub(super) fn forget_ready<L: ReplicatedLog>(&mut self, context: &mut Context<L>, index: LogIndex) {
        if let Some(ready) = self.ready.take_if(|ready| ready.meta.index <= index) {
            context.free(ready.state);
        }
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ready({})", self.meta.index)
    }
}
