//! Compaction and snapshots on this node (Raft §7): the core decides when, and the application carries the content.

use crate::replication::Election;
use crate::replication::error::Ignored;
use crate::replication::log_core::{INDEX_MAX, TERM_MAX};
use crate::replication::message::InstallSnapshot;
use crate::replication::shared::Shared;
use crate::{HaltReason, LogEvent, LogIndex, LogRequest, NodeId, SnapshotMeta, Term, Ticket};

/// The newest snapshot of this node, and the one that it receives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshots {
    /// The newest durable snapshot.
    newest: Option<SnapshotMeta>,
    receiving: Option<Receiving>,
}

/// A snapshot that is being received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receiving {
    pub(crate) ticket: Ticket,
    pub(crate) from: NodeId,
    pub(crate) term: Term,
    pub(crate) snapshot: SnapshotMeta,
    pub(crate) founding: Option<u32>,
}

impl Snapshots {
    /// Returns the newest durable snapshot.
    pub(crate) fn newest(&self) -> Option<&SnapshotMeta> {
        self.newest.as_ref()
    }

    pub(crate) fn receiving(&self) -> Option<&Receiving> {
        self.receiving.as_ref()
    }

    fn is_receiving(&self, from: NodeId, term: Term, snapshot: &SnapshotMeta) -> bool {
        self.receiving.as_ref().is_some_and(|it| (it.from, it.term, &it.snapshot) == (from, term, snapshot))
    }

    /// Ends the transfer with this ticket, if it is the one under way.
    fn end(&mut self, ticket: Ticket) -> Result<Receiving, Ignored> {
        self.receiving.take_if(|receiving| receiving.ticket == ticket).ok_or(Ignored::StaleAnswer)
    }
}

impl<E: Election> Shared<E> {
    /// Handles the leader's announcement of a snapshot for this node. Returns true if the log has all of it.
    pub(crate) fn on_install_snapshot(&mut self, from: NodeId, message: InstallSnapshot) -> Result<bool, Ignored> {
        let InstallSnapshot { term, snapshot, founding } = message;
        if snapshot.index > INDEX_MAX || snapshot.term > TERM_MAX || snapshot.term > term {
            return Err(Ignored::AbsurdIndex);
        }
        self.durable.check_founding(founding)?;
        if self.is_covered(&snapshot) {
            self.note_covered(&snapshot);
            return Ok(true);
        }
        if self.snapshots.is_receiving(from, term, &snapshot) {
            return Err(Ignored::AlreadyReceiving);
        }
        let request = LogRequest::ReceiveSnapshot { from, term, snapshot: snapshot.clone() };
        let ticket = self.chassis.outbox.request(request);
        self.snapshots.receiving = Some(Receiving { ticket, from, term, snapshot, founding });
        Ok(false)
    }

    /// The snapshot that was being received is durable and verified.
    pub(crate) fn on_snapshot_durable(&mut self, ticket: Ticket, snapshot: SnapshotMeta) -> Result<(), Ignored> {
        let receiving = self.snapshots.end(ticket)?;
        if receiving.snapshot != snapshot {
            return Err(Ignored::StaleAnswer);
        }
        self.durable.check_founding(receiving.founding)?;
        self.durable.note_founding(receiving.founding);
        self.install(snapshot);
        Ok(())
    }

    /// The snapshot did not arrive complete.
    pub(crate) fn on_snapshot_failed(&mut self, ticket: Ticket) -> Result<(), Ignored> {
        self.snapshots.end(ticket).map(drop)
    }

    /// Adopts a recovered snapshot. It may be ahead of the log, if the node stopped before it reported the snapshot to
    /// the core.
    pub(crate) fn adopt_recovered(&mut self, snapshot: SnapshotMeta) {
        if snapshot.term > self.term() {
            self.durable.enter(snapshot.term);
        }
        if self.log.term_at(snapshot.index) == Some(snapshot.term) {
            self.commitment.advance(snapshot.index);
        } else {
            self.reset_log(&snapshot);
        }
        self.snapshots.newest = Some(snapshot);
    }

    /// Adopts a snapshot that the application made from committed entries.
    pub(crate) fn adopt_snapshot(&mut self, snapshot: SnapshotMeta) -> Result<(), Ignored> {
        let is_newer = self.snapshots.newest().is_none_or(|newest| newest.index < snapshot.index);
        let is_committed = snapshot.index <= self.committed_here();
        if !is_newer || !is_committed || self.log.term_at(snapshot.index) != Some(snapshot.term) {
            return Err(Ignored::UselessSnapshot);
        }
        self.snapshots.newest = Some(snapshot);
        Ok(())
    }

    /// Compacts the log up to `index`, as far as the newest snapshot covers it.
    pub(crate) fn compact(&mut self, index: LogIndex) {
        let Some(snapshot) = self.snapshots.newest() else { return };
        if let Some(operation) = self.log.compact_to(index.min(snapshot.index)) {
            let ticket = self.chassis.outbox.persist([operation]);
            self.log.mark_base(ticket);
        }
    }

    /// Installs a durable and verified snapshot: the log starts again after it.
    fn install(&mut self, snapshot: SnapshotMeta) {
        if self.is_covered(&snapshot) {
            return self.note_covered(&snapshot);
        }
        if snapshot.index <= self.commitment.index() {
            return self.halt(HaltReason::LawBroken("a snapshot contradicts the committed log"));
        }
        self.commitment.keep_reported(self.is_reset_durable());
        self.reset_log(&snapshot);
        self.commitment.note_installed(snapshot.index);
        let installed = LogEvent::Installed { snapshot: snapshot.clone() };
        self.chassis.outbox.event_after(self.commitment.reset_ticket(), installed);
        self.snapshots.newest = Some(snapshot);
    }

    /// Returns true if the log has everything that the snapshot covers. Then the log must not be replaced by it.
    fn is_covered(&self, snapshot: &SnapshotMeta) -> bool {
        snapshot.index <= self.commitment.index() || self.log.term_at(snapshot.index) == Some(snapshot.term)
    }

    /// Notes that everything in a snapshot is committed and need not be sent.
    fn note_covered(&mut self, snapshot: &SnapshotMeta) {
        self.commitment.advance(snapshot.index);
        self.commitment.note_matched(snapshot.index);
    }

    fn reset_log(&mut self, snapshot: &SnapshotMeta) {
        let reset = self.log.reset(snapshot);
        self.commitment.reset(snapshot.index);
        self.persist_state_behind(Some(reset));
        self.commitment.note_reset(self.durable.ticket());
        self.log.mark(self.durable.ticket());
    }
}
