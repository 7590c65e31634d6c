//! Reads of the log by a replica, and the status for operators.

use crate::replication::role::RoleState;
use crate::replication::{Election, LogCore};
use crate::{Committed, LogIndex, LogStatus, LogTime, Now, ReplicatedLog};

impl<E: Election> ReplicatedLog for LogCore<E> {
    const CHANNEL: u16 = E::CHANNEL;

    fn lease(&self, now: Now) -> Option<LogIndex> {
        let RoleState::Leader(leader) = &self.role else { return None };
        leader.lease(&self.shared, now.instant.max(self.shared.now()))
    }

    fn entries(&self, from: LogIndex, bytes_max: usize) -> Committed {
        let (log, end) = (&self.shared.log, self.shared.may_be_applied());
        if from > end {
            return Committed::Cached(Vec::new());
        }
        match log.read(from, end, bytes_max) {
            Some(entries) => Committed::Cached(entries),
            None => Committed::NeedsLoad(from..log.cache_first().min(end.next())),
        }
    }

    fn log_time(&self, now: Now) -> LogTime {
        self.shared.clock.log_time(now).unwrap_or_default().max(self.shared.log.log_time())
    }

    fn status(&self) -> LogStatus {
        let shared = &self.shared;
        let peers = match &self.role {
            RoleState::Leader(leader) => leader.peers.status(shared),
            _ => Vec::new(),
        };
        LogStatus {
            node: shared.config.node(),
            role: self.role_name(),
            term: shared.term(),
            leader: shared.election.leader(),
            first_index: shared.log.first(),
            last_index: shared.log.last(),
            durable_index: shared.log.durable(),
            commit_index: shared.commitment.index(),
            log_time: shared.log.log_time(),
            wall_ahead_ms: shared.clock.wall_ahead_ms(shared.chassis.now()),
            configuration: shared.log.configuration().clone(),
            configuration_index: shared.log.configurations().index(),
            barred: shared.barred(),
            disk: shared.disk_state(),
            halted: shared.chassis.halted().cloned(),
            peers,
            ignored: shared.chassis.ignored().map(|(ignored, count)| (ignored.name(), count)).collect(),
        }
    }
}
