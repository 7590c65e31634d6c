//! Leading: proposals, acknowledgements, the check for a quorum, transfers of leadership (Raft §5.3, §5.4.2).

use std::collections::{BTreeMap, VecDeque};

use quorate_protocol::{
    Entry, EntryHeader, EntryKind, Instant, LogEvent, LogIndex, LogPosition, LogTime, NodeId, Proposal, ProposalId,
    RefuseReason, StorageLevel,
};

use crate::Raft;
use crate::error::Ignored;
use crate::log::no_op;
use crate::message::{
    AppendOutcome, AppendResponse, ClockReading, CommitNotice, Heartbeat, HeartbeatResponse, Message,
};
use crate::progress::{LossProbe, Progress, SendState};
use crate::quiet::Quiet;
use crate::quorum::reached_by_quorum;
use crate::state::RoleState;

/// State that only a leader has (Raft figure 2, "volatile state on leaders").
#[derive(Clone, Debug)]
pub(crate) struct Leader {
    /// The progress of every other node.
    pub(crate) progress: BTreeMap<NodeId, Progress>,
    /// Number of rounds of heartbeats that were started in this term.
    pub(crate) round: u64,
    /// The time of the next tick: heartbeats are due, and the quorum is checked.
    pub(crate) tick_at: Instant,
    /// The time by which the commit index must be announced.
    pub(crate) notice_at: Option<Instant>,
    /// The transfer of leadership that is under way.
    pub(crate) transfer: Option<Transfer>,
    /// Batches that this leader appended and that are not committed: the last entry of each, and its bytes.
    uncommitted: VecDeque<(LogIndex, usize)>,
    uncommitted_bytes: usize,
    /// The index up to which the application allowed compaction while a living peer still needed the entries.
    pub(crate) compaction: Option<LogIndex>,
    /// Number of failed loads since the last successful one.
    pub(crate) loads_failed: u32,
    /// Number of transfers for which this node's snapshot could not be read, since the last successful one. Counted
    /// apart from loads, because a readable log does not show that the snapshot is readable.
    pub(crate) snapshots_unread: u32,
    /// The time at which the leadership began, or was last offered to another node because of this node's disk.
    pub(crate) offered_at: Instant,
    pub(crate) quiet: Quiet,
}

/// A transfer of leadership that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) to: NodeId,
    pub(crate) until: Instant,
    /// True if the target was asked to campaign. It is asked again with each round of heartbeats.
    pub(crate) is_told: bool,
}

impl Leader {
    /// Returns the time at which the leader wants a time-out.
    pub(crate) fn deadline(&self) -> Instant {
        let transfer = self.transfer.map(|transfer| transfer.until);
        [self.notice_at, transfer].into_iter().flatten().fold(self.tick_at, Instant::min)
    }

    /// Notes that entries of `bytes` up to `last` were passed to the log.
    pub(crate) fn note_submitted(&mut self, last: LogIndex, bytes: usize) {
        if bytes > 0 {
            self.uncommitted.push_back((last, bytes));
            self.uncommitted_bytes += bytes;
        }
    }

    /// Returns the batches that are not committed.
    pub(crate) fn uncommitted(&self) -> &VecDeque<(LogIndex, usize)> {
        &self.uncommitted
    }

    fn note_committed(&mut self, index: LogIndex) {
        while let Some((last, bytes)) = self.uncommitted.front()
            && *last <= index
        {
            self.uncommitted_bytes -= bytes;
            self.uncommitted.pop_front();
        }
    }
}

impl Raft {
    /// Becomes leader after a quorum has voted for this node, and appends an entry of its term (Raft §8).
    pub(crate) fn become_leader(&mut self) {
        if let RoleState::Candidate(ballot) = &self.role {
            let voters: Vec<ClockReading> = ballot.clocks.values().copied().collect();
            self.clock.begin(self.chassis.now(), self.log.log_time(), &voters);
        }
        let me = self.config.node();
        let next_index = self.log.last().next();
        let others = self.log.configuration().nodes().filter(|node| *node != me);
        let progress =
            others.map(|node| (node, Progress::new(next_index, self.chassis.instant(), self.chassis.standing(node))));
        let leader = Leader {
            progress: progress.collect(),
            round: 0,
            tick_at: self.chassis.instant().after(self.config.settings().heartbeat_interval),
            notice_at: None,
            transfer: None,
            uncommitted: VecDeque::new(),
            uncommitted_bytes: 0,
            compaction: None,
            loads_failed: 0,
            snapshots_unread: 0,
            offered_at: self.chassis.instant(),
            quiet: Quiet::new(self.chassis.instant()),
        };
        self.role = RoleState::Leader(Box::new(leader));
        self.leader = Some(me);
        let log_time = self.next_log_time();
        self.log.append(self.state.term, no_op(log_time));
    }

    /// Stops leading although no other leader is known.
    pub(crate) fn step_down(&mut self) {
        self.become_follower(self.state.term, None);
    }

    /// Stops leading because this node's disk does not let it serve. The other nodes have the longest election time-out
    /// to campaign first. Without this pause the node could be elected again, and fail again.
    pub(crate) fn give_way(&mut self) {
        self.step_down();
        self.election_at = self.election_at.after(self.config.settings().election_timeout_max);
    }

    /// Appends a proposal, or refuses it with a reason.
    pub(crate) fn on_propose(&mut self, proposal: Proposal) {
        if let Some(reason) = self.refusal(&proposal) {
            return self.refuse(proposal.id, reason);
        }
        let Proposal { id, kind, acknowledged_below, payload, checksum } = proposal;
        let log_time = self.next_log_time();
        let header = EntryHeader { kind, id, acknowledged_below, log_time, checksum, elided_length: None };
        let index = self.log.append(self.state.term, Entry { header, payload });
        self.chassis.outbox.event(LogEvent::Appended { id, index, term: self.state.term });
        self.wake();
    }

    pub(crate) fn refuse(&mut self, id: ProposalId, reason: RefuseReason) {
        self.chassis.outbox.event(LogEvent::Refused { id, reason, leader: self.leader });
    }

    /// Carries out what is due: heartbeats, the announcement of the commit index, the end of a transfer.
    pub(crate) fn on_leader_timeout(&mut self) {
        let now = self.chassis.instant();
        let RoleState::Leader(leader) = &mut self.role else { return };
        leader.transfer.take_if(|transfer| transfer.until <= now);
        if leader.tick_at <= now {
            self.tick();
        }
    }

    /// A follower reports its matching index, or the index at which its log differs.
    pub(crate) fn on_append_response(&mut self, from: NodeId, message: AppendResponse) -> Result<(), Ignored> {
        let now = self.chassis.instant();
        let RoleState::Leader(leader) = &mut self.role else { return Err(Ignored::NotLeading) };
        let progress = leader.progress.get_mut(&from).ok_or(Ignored::NotMember)?;
        progress.heard_at = now;
        match message.outcome {
            AppendOutcome::Matched { match_index } => self.note_match(from, match_index),
            AppendOutcome::Conflict { prev_index, hint_index, hint_term } => {
                let is_answer = match progress.pace {
                    SendState::Probe { .. } => prev_index == progress.next_index.previous(),
                    SendState::Replicate => prev_index > progress.match_index && prev_index < progress.next_index,
                    SendState::Snapshot { .. } => false,
                };
                if !is_answer || hint_index > prev_index {
                    return Err(Ignored::StaleAnswer);
                }
                if prev_index <= progress.match_index && !progress.counts() {
                    // Yet another disk under this id. The last one did not count, and its acknowledgements do not hold
                    // for this one.
                    *progress = Progress::new(prev_index.next(), now, progress.standing);
                } else if prev_index <= progress.match_index {
                    // The same question would get the same answer at once.
                    progress.become_probe(prev_index.next());
                    progress.pause(now);
                    return Err(Ignored::AcknowledgedLost);
                }
                // Terms above the hint's cannot match before it, so one round trip skips a whole term (Raft §5.3).
                let hint = LogPosition { index: hint_index, term: hint_term };
                let candidate = self.log.newest_at_most(hint);
                progress.become_probe(candidate.index.min(prev_index.previous()).next());
                Ok(())
            }
            // A later term would have ended this leadership already.
            AppendOutcome::Stale => Err(Ignored::StaleAnswer),
            AppendOutcome::Corrupt { index } => self.on_corrupt(from, index),
        }
    }

    /// A follower answers a round of heartbeats.
    pub(crate) fn on_heartbeat_response(&mut self, from: NodeId, message: HeartbeatResponse) -> Result<(), Ignored> {
        let now = self.chassis.instant();
        let RoleState::Leader(leader) = &mut self.role else { return Err(Ignored::NotLeading) };
        if message.round > leader.round {
            return Err(Ignored::AbsurdIndex);
        }
        let progress = leader.progress.get_mut(&from).ok_or(Ignored::NotMember)?;
        progress.heard_at = now;
        progress.disk = message.disk;
        progress.round_answered = progress.round_answered.max(message.round);
        let probe = progress.loss_probe.take_if(|probe| message.round >= probe.round);
        if progress.counts() && probe.is_some_and(|probe| message.durable_index < probe.match_index) {
            self.chassis.outbox.event(LogEvent::AcknowledgedLost { node: from });
        }
        self.note_match(from, message.match_index)?;
        self.note_loss(from, message, probe);
        self.note_pace(from, message);
        self.finish_round();
        Ok(())
    }

    /// A follower has durably everything up to `match_index`.
    fn note_match(&mut self, from: NodeId, match_index: LogIndex) -> Result<(), Ignored> {
        if match_index > self.log.last() {
            return Err(Ignored::AbsurdIndex);
        }
        let base = self.log.base().index;
        let RoleState::Leader(leader) = &mut self.role else { return Err(Ignored::NotLeading) };
        let progress = leader.progress.get_mut(&from).ok_or(Ignored::NotMember)?;
        let is_news = progress.matched(match_index);
        // A snapshot transfer ends once the log reaches the peer again. A match index of zero does not show where the
        // logs match.
        if match_index >= base && match_index > LogIndex::ZERO && progress.pace != SendState::Replicate {
            progress.become_replicate();
        }
        if is_news && progress.counts() {
            self.advance_commit();
        }
        Ok(())
    }

    /// Sends lost entries again. The round of heartbeats in `probe` was sent after them, but its answer does not
    /// include them.
    fn note_loss(&mut self, from: NodeId, message: HeartbeatResponse, probe: Option<LossProbe>) {
        let (now, pause) = (self.chassis.instant(), self.config.settings().heartbeat_interval / 2);
        let RoleState::Leader(leader) = &mut self.role else { return };
        let (Some(LossProbe { next_index, .. }), Some(progress)) = (probe, leader.progress.get_mut(&from)) else {
            return;
        };
        match &mut progress.pace {
            // The peer has restarted and does not know its matching index, so it does not advance its commit index.
            SendState::Replicate if message.received_index < progress.match_index && progress.in_flight.is_empty() => {
                progress.become_probe(progress.match_index.next());
            }
            SendState::Replicate if message.received_index < next_index.previous() => {
                progress.resend_behind(message.received_index);
            }
            // Reads cause rounds of heartbeats as well, so a question is not repeated for each round.
            SendState::Probe { is_waiting } => *is_waiting = now.since(progress.asked_at) < pause,
            SendState::Replicate | SendState::Snapshot { .. } => {}
        }
    }

    /// Commits the entries that a quorum has durably, if the newest of them is of this term (Raft §5.4.2). This node's
    /// own log counts up to its durable index.
    pub(crate) fn advance_commit(&mut self) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let (me, durable) = (self.config.node(), self.log.durable());
        let index = reached_by_quorum(self.log.configuration(), |node| match leader.progress.get(&node) {
            Some(progress) if progress.counts() => progress.match_index,
            None if node == me => durable,
            _ => LogIndex::ZERO,
        });
        if index > self.commit_index && self.log.term_at(index) == Some(self.state.term) {
            self.commit_index = index;
            leader.note_committed(index);
            let notice_at = self.chassis.instant().after(self.config.settings().commit_notice_delay);
            leader.notice_at.get_or_insert(notice_at);
        }
    }

    /// Sends every peer a heartbeat of a new round, and returns its number. A round for reads does not delay the next
    /// tick, or continuous reads would delay the leader's periodic checks for ever.
    pub(crate) fn broadcast_heartbeat(&mut self) -> u64 {
        let log_time = self.next_log_time();
        let RoleState::Leader(leader) = &mut self.role else { return 0 };
        leader.round += 1;
        let (term, round, pace) = (self.state.term, leader.round, leader.quiet.pace());
        for (node, progress) in &mut leader.progress {
            let commit_index = self.commit_index.min(progress.match_index);
            progress.commit_told = commit_index;
            let Progress { next_index, match_index, .. } = *progress;
            progress.loss_probe.get_or_insert(LossProbe { round, next_index, match_index });
            let heartbeat = Heartbeat { term, commit_index, round, pace, log_time };
            self.chassis.outbox.send(*node, Message::Heartbeat(heartbeat));
        }
        self.announce_snapshots();
        round
    }

    /// Returns the latest round that a quorum has answered.
    pub(crate) fn round_of_quorum(&self) -> u64 {
        let RoleState::Leader(leader) = &self.role else { return 0 };
        let me = self.config.node();
        reached_by_quorum(self.log.configuration(), |node| match leader.progress.get(&node) {
            Some(progress) if progress.counts() => progress.round_answered,
            None if node == me => leader.round,
            _ => 0,
        })
    }

    /// Returns true if a quorum was heard from within an election time-out (Raft thesis §6.2). Without a quorum this
    /// node steps down.
    pub(crate) fn has_quorum(&self) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        let (me, now) = (self.config.node(), self.chassis.instant());
        let heard_at = reached_by_quorum(self.log.configuration(), |node| match leader.progress.get(&node) {
            Some(progress) if progress.counts() => progress.heard_at,
            None if node == me => now,
            _ => Instant::ZERO,
        });
        now.since(heard_at) < self.config.settings().election_timeout_min || heard_at == now
    }

    /// A late tick shows that this node's own loop was blocked: no peer was asked meanwhile, and none could be heard.
    /// That time is not counted as silence of the peers.
    pub(crate) fn forgive_own_absence(&mut self) {
        let (now, interval) = (self.chassis.instant(), self.config.settings().heartbeat_interval);
        let RoleState::Leader(leader) = &mut self.role else { return };
        let late = now.since(leader.tick_at);
        if late >= interval {
            for progress in leader.progress.values_mut() {
                progress.heard_at = progress.heard_at.after(late).min(now);
            }
        }
    }

    /// Announces the commit index to peers if entries did not carry it and none are about to be sent.
    pub(crate) fn notice_commit(&mut self) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        if leader.notice_at.is_none_or(|notice_at| notice_at > self.chassis.instant()) {
            return;
        }
        leader.notice_at = None;
        for (node, progress) in &mut leader.progress {
            let commit_index = self.commit_index.min(progress.match_index);
            if commit_index > progress.commit_told {
                progress.commit_told = commit_index;
                let notice = CommitNotice { term: self.state.term, commit_index };
                self.chassis.outbox.send(*node, Message::CommitNotice(notice));
            }
        }
    }

    fn refusal(&self, proposal: &Proposal) -> Option<RefuseReason> {
        let RoleState::Leader(leader) = &self.role else { return Some(RefuseReason::NotLeader) };
        let settings = self.config.settings();
        let bytes = quorate_protocol::ENTRY_HEADER_BYTES + proposal.payload.len();
        let waiting_bytes = leader.uncommitted_bytes + self.log.unsubmitted_bytes();
        if leader.transfer.is_some() {
            Some(RefuseReason::Transferring)
        } else if proposal.kind == EntryKind::Configuration {
            Some(RefuseReason::ConfigurationInvalid)
        } else if bytes > settings.entry_bytes_max {
            Some(RefuseReason::TooLarge)
        } else if self.chassis.storage() == StorageLevel::Low {
            Some(RefuseReason::DiskFull)
        } else if waiting_bytes + bytes > settings.uncommitted_bytes_max {
            Some(RefuseReason::Overloaded)
        } else {
            None
        }
    }

    fn next_log_time(&mut self) -> LogTime {
        self.clock.advance(self.chassis.now());
        self.report_clock();
        self.clock.log_time(self.chassis.now()).unwrap_or_default().max(self.log.log_time())
    }

    /// Reports once that this node's wall clock differs too much from log time, and once that it agrees again.
    pub(crate) fn report_clock(&mut self) {
        if let Some(news) = self.clock.news(self.chassis.now()) {
            self.chassis.outbox.event(news);
        }
    }
}
