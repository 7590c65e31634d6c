//! Compaction and snapshots (Raft §7): the core decides when and for which peer, and the application carries the
//! content.

use quorate_protocol::{HaltReason, LogAnswer, LogEvent, LogIndex, LogRequest, NodeId, SnapshotMeta, Ticket};

use crate::Raft;
use crate::error::Ignored;
use crate::message::{InstallSnapshot, Message};
use crate::progress::SendState;
use crate::raft::{INDEX_MAX, TERM_MAX};
use crate::replication::READS_FAILED_MAX;
use crate::state::{Receiving, RoleState};

/// The result of a transfer to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The peer has the snapshot.
    Done,
    /// The peer or the connection failed.
    GivenUp,
    /// This node could not read its own snapshot.
    Unread,
}

impl Raft {
    /// A snapshot is durable on this node: compacts the entries that it covers, except those that peers need.
    pub(crate) fn on_compact(&mut self, snapshot: SnapshotMeta, keep_from: LogIndex) -> Result<(), Ignored> {
        self.adopt_snapshot(snapshot)?;
        let slowest = self.slowest_alive();
        if let RoleState::Leader(leader) = &mut self.role {
            leader.compaction = slowest.is_some_and(|slowest| slowest < keep_from).then_some(keep_from);
        }
        self.compact(keep_from.min(slowest.unwrap_or(keep_from)));
        Ok(())
    }

    /// Compacts entries that were kept for a peer that has caught up or died since. Otherwise they would stay until the
    /// next snapshot.
    pub(crate) fn compact_again(&mut self) {
        let slowest = self.slowest_alive();
        let RoleState::Leader(leader) = &mut self.role else { return };
        let is_free = |index: &mut LogIndex| slowest.is_none_or(|slowest| slowest >= *index);
        if let Some(index) = leader.compaction.take_if(is_free) {
            self.compact(index);
        }
    }

    /// Returns the match index of the slowest living peer; `None` if there is none, or this node does not lead.
    fn slowest_alive(&self) -> Option<LogIndex> {
        let (now, timeout) = (self.chassis.instant(), self.config.settings().election_timeout_min);
        let RoleState::Leader(leader) = &self.role else { return None };
        let alive = leader.progress.values().filter(|progress| now.since(progress.heard_at) < timeout);
        alive.map(|progress| progress.match_index).min()
    }

    /// The log's oldest segment waits for this group: compacts everything that the newest snapshot covers, even if
    /// peers lag.
    pub(crate) fn on_compact_requested(&mut self) {
        self.compact(INDEX_MAX);
    }

    /// Handles the leader's announcement of a snapshot for this node.
    pub(crate) fn on_install_snapshot(&mut self, from: NodeId, message: InstallSnapshot) -> Result<(), Ignored> {
        let InstallSnapshot { term, snapshot, founding } = message;
        if snapshot.index > INDEX_MAX || snapshot.term > TERM_MAX || snapshot.term > term {
            return Err(Ignored::AbsurdIndex);
        }
        self.check_founding(founding)?;
        if self.is_covered(&snapshot) {
            self.note_covered(&snapshot);
            return Ok(());
        }
        if let Some(receiving) = &self.receiving
            && (receiving.from, receiving.term, &receiving.snapshot) == (from, term, &snapshot)
        {
            return Err(Ignored::AlreadyReceiving);
        }
        let request = LogRequest::ReceiveSnapshot { from, term, snapshot: snapshot.clone() };
        let ticket = self.chassis.outbox.request(request);
        self.receiving = Some(Receiving { ticket, from, term, snapshot, founding });
        Ok(())
    }

    /// Handles the application's answer to a request.
    pub(crate) fn on_completed(&mut self, ticket: Ticket, answer: LogAnswer) -> Result<(), Ignored> {
        match answer {
            LogAnswer::SnapshotDurable { snapshot } => {
                let receiving = self.receiving.take_if(|receiving| receiving.ticket == ticket);
                let receiving = receiving.filter(|receiving| receiving.snapshot == snapshot);
                let founding = receiving.ok_or(Ignored::StaleAnswer)?.founding;
                self.check_founding(founding)?;
                self.state.founding = self.state.founding.or(founding);
                self.install(snapshot);
                Ok(())
            }
            LogAnswer::SnapshotReceiveFailed => {
                let receiving = self.receiving.take_if(|receiving| receiving.ticket == ticket);
                receiving.map(drop).ok_or(Ignored::StaleAnswer)
            }
            LogAnswer::SnapshotSent { to, .. } => self.on_send_ended(ticket, to, Ending::Done),
            LogAnswer::SnapshotSendFailed { to } => self.on_send_ended(ticket, to, Ending::GivenUp),
            LogAnswer::SnapshotUnreadable { to } => self.on_send_ended(ticket, to, Ending::Unread),
        }
    }

    /// Sends a peer the newest snapshot, because the log does not contain its next entries.
    pub(crate) fn send_snapshot(&mut self, node: NodeId) {
        let (now, timeout) = (self.chassis.instant(), self.config.settings().election_timeout_min);
        let Some(snapshot) = self.snapshot.clone() else { return };
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.progress.get_mut(&node) else { return };
        if now.since(progress.heard_at) >= timeout {
            // A peer that is away gets nothing and does not delay compaction. Its next answer to a heartbeat changes
            // that.
            progress.pause(now);
            return;
        }
        let index = snapshot.index;
        let term = self.state.term;
        let message = InstallSnapshot { term, snapshot: snapshot.clone(), founding: self.state.founding };
        self.chassis.outbox.send(node, Message::InstallSnapshot(message));
        let request = self.chassis.outbox.request(LogRequest::SendSnapshot { to: node, term, snapshot });
        progress.become_probe(index.next());
        progress.pace = SendState::Snapshot { index, request: Some(request), since: now };
    }

    /// With each round of heartbeats: repeats announcements, and gives up transfers to peers that are gone.
    pub(crate) fn announce_snapshots(&mut self) {
        let now = self.chassis.instant();
        let settings = self.config.settings();
        let RoleState::Leader(leader) = &mut self.role else { return };
        for (node, progress) in &mut leader.progress {
            let SendState::Snapshot { index, request, since } = progress.pace else { continue };
            let is_gone = now.since(progress.heard_at) >= settings.election_timeout_min;
            let is_overdue = request.is_none() && now.since(since) >= settings.election_timeout_max;
            match &self.snapshot {
                Some(snapshot) if snapshot.index == index && !is_gone && !is_overdue => {
                    let (term, founding) = (self.state.term, self.state.founding);
                    let message = InstallSnapshot { term, snapshot: snapshot.clone(), founding };
                    self.chassis.outbox.send(*node, Message::InstallSnapshot(message));
                }
                Some(snapshot) if snapshot.index > index && !is_gone && !is_overdue => {}
                _ => progress.become_probe(progress.match_index.next()),
            }
        }
    }

    /// Adopts a recovered snapshot. It may be ahead of the log, if the node stopped before it reported the snapshot to
    /// the core.
    pub(crate) fn adopt_recovered(&mut self, snapshot: SnapshotMeta) {
        if snapshot.term > self.state.term {
            self.state.term = snapshot.term;
            self.state.voted_for = None;
        }
        if self.log.term_at(snapshot.index) == Some(snapshot.term) {
            self.commit_index = self.commit_index.max(snapshot.index);
        } else {
            self.reset_log(&snapshot);
        }
        self.snapshot = Some(snapshot);
    }

    /// Handles the end of a transfer to a peer, successful or not.
    fn on_send_ended(&mut self, ticket: Ticket, to: NodeId, ending: Ending) -> Result<(), Ignored> {
        let now = self.chassis.instant();
        let RoleState::Leader(leader) = &mut self.role else { return Err(Ignored::StaleAnswer) };
        let progress = leader.progress.get_mut(&to).ok_or(Ignored::StaleAnswer)?;
        match &mut progress.pace {
            SendState::Snapshot { request, since, .. } if *request == Some(ticket) => {
                *request = None;
                *since = now;
            }
            _ => return Err(Ignored::StaleAnswer),
        }
        if ending == Ending::Done {
            leader.snapshots_unread = 0;
            return Ok(());
        }
        // The transfer is retried once the peer answers a heartbeat.
        progress.become_probe(progress.match_index.next());
        progress.pause(now);
        if ending == Ending::Unread {
            leader.snapshots_unread += 1;
            if leader.snapshots_unread >= READS_FAILED_MAX {
                // Another node may be able to read its snapshot.
                self.give_way();
            }
        }
        Ok(())
    }

    /// Installs a durable and verified snapshot: the log starts again after it.
    fn install(&mut self, snapshot: SnapshotMeta) {
        if self.is_covered(&snapshot) {
            return self.note_covered(&snapshot);
        }
        if snapshot.index <= self.commit_index {
            return self.halt(HaltReason::LawBroken("a snapshot contradicts the committed log"));
        }
        if self.chassis.outbox.is_durable(self.reset_ticket) {
            self.told.before_reset = self.told.committed;
        }
        self.reset_log(&snapshot);
        self.matched = self.matched.max(snapshot.index);
        if let RoleState::Follower(follower) = &mut self.role {
            follower.owes_acknowledgement = true;
        }
        self.chassis.outbox.event_after(self.reset_ticket, LogEvent::Installed { snapshot: snapshot.clone() });
        self.told.committed = snapshot.index;
        self.snapshot = Some(snapshot);
    }

    /// Returns true if the log has everything that the snapshot covers. Then the log must not be replaced by it.
    fn is_covered(&self, snapshot: &SnapshotMeta) -> bool {
        snapshot.index <= self.commit_index || self.log.term_at(snapshot.index) == Some(snapshot.term)
    }

    /// Notes that everything in a snapshot is committed and need not be sent.
    fn note_covered(&mut self, snapshot: &SnapshotMeta) {
        self.commit_index = self.commit_index.max(snapshot.index);
        self.matched = self.matched.max(snapshot.index);
        if let RoleState::Follower(follower) = &mut self.role {
            follower.owes_acknowledgement = true;
        }
    }

    fn reset_log(&mut self, snapshot: &SnapshotMeta) {
        let reset = self.log.reset(snapshot);
        self.commit_index = snapshot.index;
        self.persist_state_behind(Some(reset));
        self.reset_ticket = self.state_ticket;
        self.log.mark(self.reset_ticket);
    }

    /// Adopts a snapshot that the application made from committed entries.
    fn adopt_snapshot(&mut self, snapshot: SnapshotMeta) -> Result<(), Ignored> {
        let is_newer = self.snapshot.as_ref().is_none_or(|newest| newest.index < snapshot.index);
        let is_committed = snapshot.index <= self.committed_here();
        if !is_newer || !is_committed || self.log.term_at(snapshot.index) != Some(snapshot.term) {
            return Err(Ignored::UselessSnapshot);
        }
        self.snapshot = Some(snapshot);
        Ok(())
    }

    /// Compacts the log up to `index`, as far as the newest snapshot covers it and no snapshot that is being sent to a
    /// peer needs the entries after it.
    fn compact(&mut self, index: LogIndex) {
        let Some(snapshot) = &self.snapshot else { return };
        let mut index = index.min(snapshot.index);
        if let RoleState::Leader(leader) = &self.role {
            let on_the_way = leader.progress.values().filter_map(crate::progress::Progress::snapshot_index);
            index = on_the_way.fold(index, LogIndex::min);
        }
        if let Some(operation) = self.log.compact_to(index) {
            let ticket = self.chassis.outbox.persist([operation]);
            self.log.mark_base(ticket);
        }
    }
}
