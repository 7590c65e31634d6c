//! The status of a replica for operators, and the context of a read.

use std::time::Duration;

use quorate_protocol::{HaltReason, LogIndex, LogStatus, LogTime, NodeId, Role};

use crate::group::founding::Founding;
use crate::group::outcome::Outcome;
use crate::metrics::{self, MetricKind};
use crate::replica::seat::Seat;

/// The status of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// The identity of the replica.
    pub seat: Seat,
    /// The status of the core. If the node does not vote, it holds the node's reason instead of the core's.
    pub log: LogStatus,
    /// The founding of the group. Nodes with different foundings accept nothing from each other. `None` if no node runs
    /// the replica.
    pub founding: Option<Founding>,
    /// The index of the last entry that the state machine has applied.
    pub applied_index: LogIndex,
    /// The log time of that entry.
    pub applied_log_time: LogTime,
    /// The feature level in force.
    pub feature_level: u32,
    /// Open sessions of all nodes.
    pub sessions: usize,
    /// Proposals of this node that wait for their outcome.
    pub proposals_waiting: usize,
    /// Bytes of their commands.
    pub proposals_bytes: usize,
    /// Proposals of other nodes that wait here for their outcome.
    pub forwards_waiting: usize,
    /// Waiting reads.
    pub reads_waiting: usize,
    /// The index of the newest durable snapshot.
    pub snapshot_index: Option<LogIndex>,
    /// The index of the snapshot that is being made.
    pub snapshot_building: Option<LogIndex>,
    /// The index of the snapshot that is being restored.
    pub snapshot_restoring: Option<LogIndex>,
    /// Snapshots that are being sent to peers.
    pub sending: Vec<TransferProgress>,
    /// The snapshot that is being received.
    pub receiving: Option<TransferProgress>,
    /// Counts of replicas that caught up.
    pub catch_up: CatchUp,
    /// Counters since the start.
    pub counters: ReplicaCounters,
    /// Reason why the group stopped on this node; `None` if it runs.
    pub halted: Option<HaltReason>,
}

/// Number of times that a replica was more than `catch_up_entries` behind and caught up, since this replica started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CatchUp {
    /// This replica, by the entries of the log.
    pub by_log: u64,
    /// This replica, by a snapshot and the entries after it.
    pub by_snapshot: u64,
    /// Peers of this replica while it led, by the entries of the log.
    pub peers_by_log: u64,
    /// Peers of this replica while it led, by a snapshot.
    pub peers_by_snapshot: u64,
}

/// Progress of a snapshot that is being sent or received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferProgress {
    /// The receiver, or the sender.
    pub peer: NodeId,
    /// The index that it covers.
    pub index: LogIndex,
    /// Bytes that have arrived.
    pub bytes: u64,
    /// Bytes of the whole content; 0 as long as that is not known.
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

/// Counters of a replica since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicaCounters {
    /// Proposals of this node that were applied and answered.
    pub applied: u64,
    /// Proposals of this node that were answered as not applied.
    pub not_applied: u64,
    /// Proposals of this node that were answered as unknown.
    pub unknown: u64,
    /// Proposals of this node that were forwarded to a leader.
    pub forwarded: u64,
    /// Linearizable reads that were answered.
    pub reads: u64,
    /// Answers to forwarded proposals for which no call waited.
    pub answers_ignored: u64,
    /// Frames and proposals that no correct peer sends.
    pub frames_malformed: u64,
    /// Reads of entries from disk that failed.
    pub loads_failed: u64,
    /// Snapshots that this node made.
    pub snapshots_built: u64,
    /// Snapshots that a peer has received completely.
    pub snapshots_sent: u64,
    /// Snapshots that this node has received completely.
    pub snapshots_received: u64,
    /// Bytes of snapshots that were sent, including repetitions.
    pub snapshot_bytes_sent: u64,
    /// Bytes of snapshots that were received.
    pub snapshot_bytes_received: u64,
    /// Pieces of snapshots that were refused: from another leader or term than the admitted one, out of order, or
    /// beyond the window.
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

/// Context of a read beside the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadContext {
    /// The index of the last entry that the state machine has applied.
    pub index: LogIndex,
    /// The log time of that entry. The existence of data, such as a key with an expiry, depends on this alone.
    pub log_time: LogTime,
    /// The log time now, as far as this node knows it. It may affect a reply (the remaining life of a key, at least 0),
    /// but never the existence of data.
    pub now: LogTime,
    /// Time since the leader was last heard from: `None` if it never was, zero on the leader itself. The result of a
    /// local read may be older than this, because a leader that is itself cut off is heard from as well.
    pub leader_heard: Option<Duration>,
}
