//! What an operator sees of a replica.

use quorate_protocol::{HaltReason, LogIndex, LogStatus, LogTime, NodeId, ReplicatedLog, Role};

use super::{CatchUp, Replica, Seat};
use crate::metrics::{self, MetricKind};
use crate::{Founding, Hostable, Outcome, StateMachine};

/// What an operator wants to know of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Which replica.
    pub seat: Seat,
    /// What the core says, with the node's reason why it does not vote in the place of the core's.
    pub log: LogStatus,
    /// What the group was founded with. Nodes where it differs take nothing from each other. Nothing where no node runs
    /// the replica.
    pub founding: Option<Founding>,
    /// The last entry that the state machine has applied.
    pub applied_index: LogIndex,
    /// Its log time.
    pub applied_log_time: LogTime,
    /// The feature level in force.
    pub feature_level: u32,
    /// Open sessions of all nodes.
    pub sessions: usize,
    /// Proposals that wait for their outcome here.
    pub proposals_waiting: usize,
    /// Bytes of their commands.
    pub proposals_bytes: usize,
    /// Proposals of other nodes that wait for their outcome here.
    pub forwards_waiting: usize,
    /// Reads that wait.
    pub reads_waiting: usize,
    /// The newest durable snapshot.
    pub snapshot_index: Option<LogIndex>,
    /// The snapshot being made.
    pub snapshot_building: Option<LogIndex>,
    /// The snapshot being restored.
    pub snapshot_restoring: Option<LogIndex>,
    /// Snapshots on their way to peers.
    pub sending: Vec<TransferProgress>,
    /// The snapshot being taken in.
    pub receiving: Option<TransferProgress>,
    /// How often replicas caught up, and how.
    pub catch_up: CatchUp,
    /// What was counted since the start.
    pub counters: ReplicaCounters,
    /// Why the group stopped on this node, if it did.
    pub halted: Option<HaltReason>,
}

/// A snapshot on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferProgress {
    /// To whom, or from whom.
    pub peer: NodeId,
    /// What it covers.
    pub index: LogIndex,
    /// Bytes that have arrived.
    pub bytes: u64,
    /// Bytes of the whole; 0 as long as it is not known.
    pub length: u64,
}

impl ReplicaStatus {
    pub(super) fn measure(&self, tell: &mut dyn FnMut(MetricKind, &'static str, u64)) {
        let gauges = [
            (metrics::TERM, self.log.term.0),
            (metrics::IS_LEADER, u64::from(self.log.role == Role::Leader)),
            (metrics::COMMIT_INDEX, self.log.commit_index.0),
            (metrics::APPLIED_INDEX, self.applied_index.0),
            (metrics::LAST_INDEX, self.log.last_index.0),
            (metrics::SNAPSHOT_INDEX, self.snapshot_index.unwrap_or_default().0),
            (metrics::PROPOSALS_WAITING, self.proposals_waiting as u64),
            (metrics::SESSIONS, self.sessions as u64),
        ];
        for (name, value) in gauges {
            tell(MetricKind::Gauge, name, value);
        }
        let counters = [
            (metrics::PROPOSALS_APPLIED, self.counters.applied),
            (metrics::PROPOSALS_NOT_APPLIED, self.counters.not_applied),
            (metrics::PROPOSALS_UNKNOWN, self.counters.unknown),
            (metrics::PROPOSALS_FORWARDED, self.counters.forwarded),
            (metrics::READS, self.counters.reads),
            (metrics::SNAPSHOTS_BUILT, self.counters.snapshots_built),
            (metrics::SNAPSHOTS_SENT, self.counters.snapshots_sent),
            (metrics::SNAPSHOTS_RECEIVED, self.counters.snapshots_received),
            (metrics::CAUGHT_UP_BY_LOG, self.catch_up.by_log),
            (metrics::CAUGHT_UP_BY_SNAPSHOT, self.catch_up.by_snapshot),
            (metrics::PEERS_CAUGHT_UP_BY_LOG, self.catch_up.peers_by_log),
            (metrics::PEERS_CAUGHT_UP_BY_SNAPSHOT, self.catch_up.peers_by_snapshot),
        ];
        for (name, value) in counters {
            tell(MetricKind::Counter, name, value);
        }
    }
}

/// What a replica has counted since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicaCounters {
    /// Proposals of this node whose response was told.
    pub applied: u64,
    /// Proposals of this node that were told to be not applied.
    pub not_applied: u64,
    /// Proposals of this node whose outcome was told to be unknown.
    pub unknown: u64,
    /// Proposals of this node that were forwarded to a leader.
    pub forwarded: u64,
    /// Linearizable reads that were answered.
    pub reads: u64,
    /// Answers to forwarded proposals that nobody waited for.
    pub answers_ignored: u64,
    /// Frames and proposals that no correct peer sends.
    pub frames_malformed: u64,
    /// Reads of entries from disk that failed.
    pub loads_failed: u64,
    /// Snapshots made.
    pub snapshots_built: u64,
    /// Snapshots that a peer has whole.
    pub snapshots_sent: u64,
    /// Snapshots taken in whole.
    pub snapshots_received: u64,
    /// Bytes of snapshots sent, what was sent again included.
    pub snapshot_bytes_sent: u64,
    /// Bytes of snapshots taken in.
    pub snapshot_bytes_received: u64,
    /// Pieces of snapshots that were refused: not from the admitted leader or term, out of order, beyond the window.
    pub pieces_refused: u64,
}

impl ReplicaCounters {
    pub(super) fn note(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Applied(_) => self.applied += 1,
            Outcome::NotApplied(_) => self.not_applied += 1,
            Outcome::Unknown { .. } => self.unknown += 1,
        }
    }
}

impl<L: ReplicatedLog + Hostable, S: StateMachine> Replica<L, S> {
    /// What an operator wants to know. Not for every turn: it is gathered anew each time.
    pub fn status(&self) -> ReplicaStatus {
        let sending = self.snapshots.sending.iter().map(|sending| {
            let (peer, bytes, length) = sending.progress();
            TransferProgress { peer, index: sending.index(), bytes, length }
        });
        let receiving = self.snapshots.receiving.as_ref().map(|receiving| {
            let (peer, index, bytes, length) = receiving.progress();
            TransferProgress { peer, index, bytes, length }
        });
        let mut log = self.core.status();
        log.barred = self.leading.voting_bar(log.barred);
        ReplicaStatus {
            seat: self.seat,
            log,
            founding: self.founding.clone(),
            applied_index: self.applied.index,
            applied_log_time: self.applied.log_time,
            feature_level: self.applied.level,
            sessions: self.sessions.len(),
            proposals_waiting: self.proposals.waiting(),
            proposals_bytes: self.proposals.bytes(),
            forwards_waiting: self.forwards.awaiting(),
            reads_waiting: self.reads.len(),
            snapshot_index: self.snapshots.newest.as_ref().map(|newest| newest.index),
            snapshot_building: self.snapshots.building(),
            snapshot_restoring: self.snapshots.restoring(),
            sending: sending.collect(),
            receiving,
            catch_up: self.catch_up.counts,
            counters: self.counters,
            halted: self.halted.clone(),
        }
    }
}
