//! Reads of the log by a replica, and the status for operators.

use quorate_protocol::{Committed, LogIndex, LogStatus, LogTime, Now, PeerProgress, ReplicatedLog};

use crate::Raft;
use crate::state::RoleState;

impl ReplicatedLog for Raft {
    fn entries(&self, from: LogIndex, bytes_max: usize) -> Committed {
        let end = self.may_be_applied();
        if from > end {
            return Committed::Cached(Vec::new());
        }
        match self.log.read(from, end, bytes_max) {
            Some(entries) => Committed::Cached(entries),
            None => Committed::NeedsLoad(from..self.log.cache_first().min(end.next())),
        }
    }

    fn log_time(&self, now: Now) -> LogTime {
        self.clock.log_time(now).unwrap_or_default().max(self.log.log_time())
    }

    fn status(&self) -> LogStatus {
        LogStatus {
            node: self.config.node(),
            role: self.role_name(),
            term: self.state.term,
            leader: self.leader,
            first_index: self.log.first(),
            last_index: self.log.last(),
            durable_index: self.log.durable(),
            commit_index: self.commit_index,
            log_time: self.log.log_time(),
            wall_ahead_ms: self.clock.wall_ahead_ms(self.chassis.now()),
            configuration: self.log.configuration().clone(),
            barred: self.barred(),
            disk: self.disk_state(),
            halted: self.chassis.halted().cloned(),
            peers: self.peers(),
            ignored: self.chassis.ignored().map(|(ignored, count)| (ignored.name(), count)).collect(),
        }
    }
}

impl Raft {
    fn peers(&self) -> Vec<PeerProgress> {
        let RoleState::Leader(leader) = &self.role else { return Vec::new() };
        let (now, timeout) = (self.chassis.instant(), self.config.settings().election_timeout_min);
        let peer = |(node, progress): (&quorate_protocol::NodeId, &crate::progress::Progress)| PeerProgress {
            node: *node,
            match_index: progress.match_index,
            next_index: progress.next_index,
            state: progress.state(),
            disk: progress.disk,
            is_active: now.since(progress.heard_at) < timeout,
        };
        leader.progress.iter().map(peer).collect()
    }
}
