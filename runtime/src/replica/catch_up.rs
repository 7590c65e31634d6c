//! Counts of replicas that lagged far behind and caught up, by the log or by a snapshot.

use std::time::Duration;

use quorate_protocol::{Instant, LogIndex, NodeId, ReplicatedLog};

use super::context::Context;
use super::status::CatchUp;
use crate::replica::settings::ReplicaSettings;

/// Detects and counts catching up.
#[derive(Debug, Default)]
pub(super) struct CatchUpWatch {
    counts: CatchUp,
    /// The way in which this replica catches up; `None` if it does not lag far behind.
    own: Option<Road>,
    /// Peers that lag far behind. Only on a leader.
    lagging: Vec<NodeId>,
    /// The time from which on the peers are checked again.
    sample_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Road {
    Log,
    Snapshot,
}

impl CatchUpWatch {
    pub(super) fn counts(&self) -> CatchUp {
        self.counts
    }

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
    pub(super) fn sample<L: ReplicatedLog>(&mut self, context: &Context<L>) {
        let (now, settings) = (context.instant(), &context.settings);
        if !context.is_leader() {
            self.lagging.clear();
            return;
        }
        if now < self.sample_at {
            return;
        }
        self.sample_at = now.after(SAMPLE_INTERVAL);
        let status = context.core.status();
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
