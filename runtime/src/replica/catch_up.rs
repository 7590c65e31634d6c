//! Counts of replicas that lagged far behind and caught up, by the log or by a snapshot.

use std::time::Duration;

use quorate_protocol::{Instant, LogIndex, LogStatus, NodeId, Role};

use super::ReplicaSettings;

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

/// Detects and counts catching up.
#[derive(Debug, Default)]
pub(super) struct CatchUpWatch {
    pub(super) counts: CatchUp,
    /// The way in which this replica catches up; `None` if it does not lag far behind.
    own: Option<Road>,
    /// Peers that lag far behind.
    lagging: Vec<NodeId>,
    sample_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Road {
    Log,
    Snapshot,
}

impl CatchUpWatch {
    pub(super) fn on_committed(&mut self, applied: LogIndex, committed: LogIndex, settings: &ReplicaSettings) {
        if self.own.is_none() && committed.0 - applied.0.min(committed.0) > settings.catch_up_entries {
            self.own = Some(Road::Log);
        }
    }

    pub(super) fn on_installed(&mut self) {
        self.own = Some(Road::Snapshot);
    }

    pub(super) fn on_applied(&mut self, applied: LogIndex, committed: LogIndex) {
        if applied < committed {
            return;
        }
        match self.own.take() {
            Some(Road::Log) => self.counts.by_log += 1,
            Some(Road::Snapshot) => self.counts.by_snapshot += 1,
            None => {}
        }
    }

    pub(super) fn on_snapshot_sent(&mut self, to: NodeId) {
        self.counts.peers_by_snapshot += 1;
        self.lagging.retain(|lagging| *lagging != to);
    }

    /// Checks the peers of a leader, at most once a second.
    pub(super) fn sample(
        &mut self,
        now: Instant,
        settings: &ReplicaSettings,
        role: Role,
        status: impl FnOnce() -> LogStatus,
    ) {
        if role != Role::Leader {
            self.lagging.clear();
            return;
        }
        if now < self.sample_at {
            return;
        }
        self.sample_at = now.after(SAMPLE_INTERVAL);
        let status = status();
        for peer in &status.peers {
            let behind = status.commit_index.0.saturating_sub(peer.match_index.0);
            let known = self.lagging.iter().position(|lagging| *lagging == peer.node);
            match known {
                None if behind > settings.catch_up_entries => self.lagging.push(peer.node),
                Some(place) if behind <= settings.catch_up_entries / 10 => {
                    self.lagging.swap_remove(place);
                    self.counts.peers_by_log += 1;
                }
                _ => {}
            }
        }
    }
}

const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
