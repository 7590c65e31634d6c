//! Leading: proposals, acknowledgements, rounds of heartbeats, the check for a quorum (Raft §5.3, §5.4.2).

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::replication::Election;
use crate::replication::error::Ignored;
use crate::replication::membership::Promotions;
use crate::replication::message::{
    AppendOutcome, AppendResponse, CommitNotice, Heartbeat, HeartbeatResponse, LeasePromise, Message, Pace, TimeoutNow,
};
use crate::replication::peers::Peers;
use crate::replication::progress::{LossProbe, Progress, SendState};
use crate::replication::quiet::{Quiet, Stage};
use crate::replication::reads::Inquiry;
use crate::replication::shared::Shared;
use crate::replication::transfer::{DiskCare, Transfers};
use crate::{
    ConfigurationError, DiskState, Entry, EntryHeader, EntryKind, Instant, LogEvent, LogIndex, LogPosition, NodeId,
    Proposal, ProposalId, RefuseReason, Standing, StorageLevel, crc32c,
};

/// State that only a leader has (Raft figure 2, "volatile state on leaders").
#[derive(Clone, Debug)]
pub(crate) struct Leader {
    pub(crate) peers: Peers,
    /// Number of rounds of heartbeats that were started in this term.
    round: u64,
    /// The time of the next tick: heartbeats are due, and the quorum is checked.
    tick_at: Instant,
    /// The time by which the commit index must be announced.
    notice_at: Option<Instant>,
    pub(crate) transfers: Transfers,
    uncommitted: Uncommitted,
    /// The index up to which the application allowed compaction while a living peer still needed the entries.
    compaction: Option<LogIndex>,
    pub(crate) quiet: Quiet,
    pub(crate) promotions: Promotions,
    /// True if the group has committed a configuration in which this node does not vote.
    pub(crate) is_retiring: bool,
}

/// The effect of an input on a leader's office.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Office {
    /// It leads on.
    Stays,
    /// It has no quorum, and stops leading although no other leader is known.
    StepsDown,
    /// Its disk does not let it serve. The other nodes get the longest election time-out to campaign first. Without
    /// this pause the node could be elected again, and fail again.
    GivesWay,
}

/// Batches that a leader appended and that are not committed: the last entry of each, and its bytes.
#[derive(Clone, Debug, Default)]
struct Uncommitted {
    batches: VecDeque<(LogIndex, usize)>,
    bytes: usize,
}

impl Uncommitted {
    /// Notes that entries of `bytes` up to `last` were passed to the log.
    fn add(&mut self, last: LogIndex, bytes: usize) {
        if bytes > 0 {
            self.batches.push_back((last, bytes));
            self.bytes += bytes;
        }
    }

    fn remove_to(&mut self, index: LogIndex) {
        while let Some((last, bytes)) = self.batches.front()
            && *last <= index
        {
            self.bytes -= bytes;
            self.batches.pop_front();
        }
    }
}

impl Leader {
    /// Begins to lead, and appends an entry of the term (Raft §8).
    pub(crate) fn begin<E: Election>(shared: &mut Shared<E>) -> Self {
        let now = shared.now();
        let mut leader = Self {
            peers: Peers::new(shared),
            round: 0,
            tick_at: now.after(shared.settings().heartbeat_interval),
            notice_at: None,
            transfers: Transfers::new(now),
            uncommitted: Uncommitted::default(),
            compaction: None,
            quiet: Quiet::new(now),
            promotions: Promotions::default(),
            is_retiring: false,
        };
        shared.election.set_leader(Some(shared.config.node()));
        leader.append_own(shared, EntryKind::NoOp, ProposalId::default(), Bytes::new());
        leader
    }

    /// Appends an entry that the protocol itself writes, and reports it if somebody asked for it.
    pub(crate) fn append_own<E: Election>(
        &mut self,
        shared: &mut Shared<E>,
        kind: EntryKind,
        id: ProposalId,
        payload: Bytes,
    ) -> LogIndex {
        let checksum = crc32c(&payload);
        let index = self.append(shared, Proposal { id, kind, acknowledged_below: 0, payload, checksum });
        if id != ProposalId::default() {
            shared.chassis.outbox.event(LogEvent::Appended { id, index, term: shared.term() });
        }
        index
    }

    fn append<E: Election>(&mut self, shared: &mut Shared<E>, proposal: Proposal) -> LogIndex {
        let Proposal { id, kind, acknowledged_below, payload, checksum } = proposal;
        let log_time = shared.next_log_time();
        let header = EntryHeader { kind, id, acknowledged_below, log_time, checksum, elided_length: None };
        self.wake(shared.now());
        shared.log.append(shared.term(), Entry { header, payload })
    }

    /// Returns the time at which the leader wants a time-out. A quiet one has no tick, unless it may have to replace a
    /// voter that is gone.
    pub(crate) fn deadline<E: Election>(&self, shared: &Shared<E>) -> Option<Instant> {
        let transfer = self.transfers.current().map(|transfer| transfer.until);
        let may_replace =
            || shared.settings().replace_after.is_some() && !self.peers.iter().all(|(_, it)| it.is_resting);
        let ticks = self.quiet.stage() != Stage::Quiet || may_replace();
        [self.notice_at, transfer, ticks.then_some(self.tick_at)].into_iter().flatten().min()
    }

    /// Returns the peers that rest, if the group is quiet.
    pub(crate) fn resting_peers(&self) -> Option<Vec<NodeId>> {
        let resting = || self.peers.iter().filter(|(_, peer)| peer.is_resting).map(|(node, _)| *node).collect();
        (self.quiet.stage() == Stage::Quiet).then(resting)
    }

    /// Produces the outputs for the inputs since the last poll, after `submitted_bytes` of entries were passed to the
    /// log.
    pub(crate) fn flush<E: Election>(&mut self, shared: &mut Shared<E>, submitted_bytes: usize) {
        self.uncommitted.add(shared.log.submitted(), submitted_bytes);
        self.peers.replicate(shared);
        self.start_round_of_reads(shared);
        self.notice_commit(shared);
        if let Some(to) = self.transfers.take_due(shared, &self.peers) {
            shared.chassis.outbox.send(to, Message::TimeoutNow(TimeoutNow { term: shared.durable.term() }));
        }
    }

    /// Appends a proposal, or refuses it with a reason.
    pub(crate) fn on_propose<E: Election>(
        &mut self,
        shared: &mut Shared<E>,
        proposal: Proposal,
    ) -> Result<(), Ignored> {
        if let Some(reason) = self.refusal(shared, &proposal) {
            shared.refuse(proposal.id, reason);
            return Ok(());
        }
        let id = proposal.id;
        let index = self.append(shared, proposal);
        shared.chassis.outbox.event(LogEvent::Appended { id, index, term: shared.term() });
        Ok(())
    }

    /// Carries out what is due: heartbeats, the announcement of the commit index, the end of a transfer.
    pub(crate) fn on_timeout<E: Election>(&mut self, shared: &mut Shared<E>) -> Office {
        self.transfers.end_overdue(shared.now());
        if self.tick_at <= shared.now() { self.tick(shared) } else { Office::Stays }
    }

    /// A follower reports its matching index, or the index at which its log differs.
    pub(crate) fn on_append_response<E: Election>(
        &mut self,
        shared: &mut Shared<E>,
        from: NodeId,
        message: AppendResponse,
    ) -> Result<(), Ignored> {
        let now = shared.now();
        let progress = self.peers.get_mut(from)?;
        progress.heard_at = now;
        match message.outcome {
            AppendOutcome::Matched { match_index } => self.note_match(shared, from, match_index),
            AppendOutcome::Conflict { prev_index, hint_index, hint_term } => {
                let hint = LogPosition { index: hint_index, term: hint_term };
                note_conflict(progress, shared, prev_index, hint)
            }
            // A later term would have ended this leadership already.
            AppendOutcome::Stale => Err(Ignored::StaleAnswer),
            AppendOutcome::Corrupt { index } => self.peers.on_corrupt(shared, from, index),
        }
    }

    /// A follower answers a round of heartbeats.
    pub(crate) fn on_heartbeat_response<E: Election>(
        &mut self,
        shared: &mut Shared<E>,
        from: NodeId,
        message: HeartbeatResponse,
    ) -> Result<(), Ignored> {
        if message.round > self.round {
            return Err(Ignored::AbsurdIndex);
        }
        let progress = self.peers.get_mut(from)?;
        progress.heard_at = shared.now();
        progress.disk = message.disk;
        progress.round_answered = progress.round_answered.max(message.round);
        let probe = progress.loss_probe.take_if(|probe| message.round >= probe.round);
        if progress.counts() && probe.is_some_and(|probe| message.durable_index < probe.match_index) {
            shared.chassis.outbox.event(LogEvent::AcknowledgedLost { node: from });
        }
        self.note_match(shared, from, message.match_index)?;
        let progress = self.peers.get_mut(from)?;
        note_loss(progress, shared, message, probe);
        if self.quiet.is_asked_in(message.round) {
            progress.is_quiet = message.pace == Pace::Quiet;
        }
        if message.pace == Pace::Lively && self.quiet.stage() == Stage::Quiet {
            self.wake(shared.now());
        }
        self.finish_round_of_reads(shared);
        Ok(())
    }

    /// A follower promises, with its answer to a round, to vote for no other node for a while.
    pub(crate) fn on_lease_promise<E: Election>(
        &mut self,
        shared: &Shared<E>,
        from: NodeId,
        message: LeasePromise,
    ) -> Result<(), Ignored> {
        if message.round > self.round {
            return Err(Ignored::AbsurdIndex);
        }
        let progress = self.peers.get_mut(from)?;
        if let Some(lease) = shared.settings().lease {
            progress.promised.note(message.round, Duration::from_micros(message.span_us), lease);
        }
        Ok(())
    }

    /// Returns the index that a read must have applied if this leader holds its lease at `now`.
    pub(crate) fn lease<E: Election>(&self, shared: &Shared<E>, now: Instant) -> Option<LogIndex> {
        shared.settings().lease?;
        let until = self.peers.reached_by_quorum(shared, NEVER, |progress| progress.promised.until());
        let holds = now < until && shared.has_committed_in_term() && self.transfers.leaves_elections_alone();
        holds.then(|| shared.commitment.index())
    }

    /// Transfers leadership to `to`, or to the voter with the longest log, preferring voters whose disk accepts writes.
    pub(crate) fn on_transfer<E: Election>(
        &mut self,
        shared: &Shared<E>,
        to: Option<NodeId>,
        timeout: Duration,
    ) -> Result<(), Ignored> {
        let to = self.peers.successor(shared, |node, _| to.is_none_or(|to| to == node)).ok_or(Ignored::NoCandidate)?;
        self.begin_transfer(shared, to, timeout);
        Ok(())
    }

    /// The application allows compaction up to `keep_from`. Entries that a living peer needs are kept.
    pub(crate) fn on_compact<E: Election>(&mut self, shared: &mut Shared<E>, keep_from: LogIndex) {
        let slowest = self.peers.slowest_alive(shared);
        self.compaction = slowest.is_some_and(|slowest| slowest < keep_from).then_some(keep_from);
        self.compact(shared, keep_from.min(slowest.unwrap_or(keep_from)));
    }

    /// Compacts the log up to `index`, as far as no snapshot that is being sent to a peer needs the entries after it.
    pub(crate) fn compact<E: Election>(&self, shared: &mut Shared<E>, index: LogIndex) {
        shared.compact(self.peers.oldest_snapshot().map_or(index, |oldest| oldest.min(index)));
    }

    /// The standing of a peer changed. Its acknowledgements came from another process, or did not count. The leader
    /// asks again.
    pub(crate) fn on_peer_standing<E: Election>(&mut self, shared: &Shared<E>, node: NodeId, standing: Standing) {
        if let Ok(progress) = self.peers.get_mut(node) {
            *progress = Progress::new(shared.log.last().next(), progress.heard_at(shared.now()), standing);
        }
        self.wake(shared.now());
    }

    /// Notes that a node is alive. A quiet group wakes if it has come back.
    pub(crate) fn on_peer_alive(&mut self, now: Instant, node: NodeId) -> Result<(), Ignored> {
        if self.peers.get(node).is_some_and(|peer| !peer.is_resting) && self.quiet.stage() == Stage::Quiet {
            self.wake(now);
        }
        Ok(())
    }

    /// The node of a peer is silent. Its life no longer counts as the peer's answer.
    pub(crate) fn on_peer_silent(&mut self, now: Instant, node: NodeId, heard_at: Instant) -> Result<(), Ignored> {
        let peer = self.peers.get_mut(node)?;
        if peer.is_resting {
            peer.end_quiet(heard_at);
            self.wake(now);
        }
        Ok(())
    }

    /// The connection to a node was lost, or a message to it: everything on the way to it is lost.
    pub(crate) fn on_unreachable(&mut self, now: Instant, node: NodeId) -> Result<(), Ignored> {
        let progress = self.peers.get_mut(node)?;
        if progress.pace == SendState::Replicate {
            progress.become_probe(progress.match_index.next());
        }
        // Heartbeats to a node that is gone get lost all the time. That keeps no group awake.
        if progress.is_quiet {
            self.wake(now);
        }
        Ok(())
    }

    /// Ends quiet because of an activity.
    pub(crate) fn wake(&mut self, now: Instant) {
        if self.quiet.wake(now) {
            self.tick_at = now;
            self.peers.wake(now);
        }
    }

    /// Commits the entries that a quorum has durably, if the newest of them is of this term (Raft §5.4.2). This node's
    /// own log counts up to its durable index.
    pub(crate) fn advance_commit<E: Election>(&mut self, shared: &mut Shared<E>) {
        let durable = shared.log.durable();
        let index = self.peers.reached_by_quorum(shared, durable, |progress| progress.match_index);
        if index > shared.commitment.index() && shared.log.term_at(index) == Some(shared.term()) {
            shared.commitment.advance(index);
            self.uncommitted.remove_to(index);
            let notice_at = shared.now().after(shared.settings().commit_notice_delay);
            self.notice_at.get_or_insert(notice_at);
            self.carry_change_on(shared);
        }
    }

    /// The counts and indexes that affect behaviour.
    pub(crate) fn view(&self) -> impl std::fmt::Debug + '_ {
        let round = (self.round, self.quiet.stage(), self.is_retiring);
        (round, self.peers.failures(), &self.uncommitted.batches, self.compaction)
    }

    /// The times of the next tick and of the next announcement of the commit index.
    pub(crate) fn times(&self) -> (Instant, Option<Instant>) {
        (self.tick_at, self.notice_at)
    }

    /// Checks the quorum and sends heartbeats, unless the group is quiet.
    fn tick<E: Election>(&mut self, shared: &mut Shared<E>) -> Office {
        self.forgive_own_absence(shared);
        if !self.has_quorum(shared) {
            return Office::StepsDown;
        }
        match self.transfers.look_after_disk(shared, &self.peers) {
            DiskCare::Serves => {
                if let Some(to) = self.transfers.preferred(shared, &self.peers) {
                    self.begin_transfer(shared, to, shared.settings().election_timeout_max);
                }
            }
            DiskCare::HandsOver(to) => self.begin_transfer(shared, to, shared.settings().election_timeout_max),
            DiskCare::GivesWay => return Office::GivesWay,
        }
        self.transfers.pursue(shared, &self.peers);
        if self.look_after_members(shared) != Office::Stays {
            return Office::StepsDown;
        }
        self.compact_again(shared);
        let is_settled = self.peers.iter().all(|(_, peer)| peer.is_quiet || !peer.is_alive(shared));
        self.quiet.advance(self.is_at_rest(shared), is_settled, self.round + 1);
        self.tick_at = shared.now().after(shared.settings().heartbeat_interval);
        if self.quiet.stage() == Stage::Quiet {
            self.peers.rest();
        } else {
            self.broadcast_heartbeat(shared);
        }
        Office::Stays
    }

    /// A late tick shows that this node's own loop was blocked: no peer was asked meanwhile, and none could be heard.
    fn forgive_own_absence<E: Election>(&mut self, shared: &Shared<E>) {
        let late = shared.now().since(self.tick_at);
        if late >= shared.settings().heartbeat_interval {
            self.peers.forgive(late, shared.now());
        }
    }

    /// Returns true if a quorum was heard from within an election time-out (Raft thesis §6.2).
    fn has_quorum<E: Election>(&self, shared: &Shared<E>) -> bool {
        let now = shared.now();
        let heard_at = self.peers.reached_by_quorum(shared, now, |progress| progress.heard_at(now));
        now.since(heard_at) < shared.settings().election_timeout_min || heard_at == now
    }

    pub(crate) fn begin_transfer<E: Election>(&mut self, shared: &Shared<E>, to: NodeId, timeout: Duration) {
        self.transfers.begin(to, shared.now().after(timeout));
        self.wake(shared.now());
    }

    /// Compacts entries that were kept for a peer that has caught up or died since. Otherwise they would stay until the
    /// next snapshot.
    fn compact_again<E: Election>(&mut self, shared: &mut Shared<E>) {
        let slowest = self.peers.slowest_alive(shared);
        let is_free = |index: &mut LogIndex| slowest.is_none_or(|slowest| slowest >= *index);
        if let Some(index) = self.compaction.take_if(is_free) {
            self.compact(shared, index);
        }
    }

    /// Returns true if there has been nothing to do for long enough.
    fn is_at_rest<E: Election>(&self, shared: &Shared<E>) -> bool {
        let Some(quiet_after) = shared.settings().quiet_after else { return false };
        let (now, last) = (shared.now(), shared.log.last());
        let has_all =
            |peer: &Progress| peer.match_index == last && peer.commit_told == last && peer.pace == SendState::Replicate;
        let is_at_rest = |peer: &Progress| peer.leaving.is_none() && (has_all(peer) || !peer.is_alive(shared));
        now >= self.quiet.rest_at(quiet_after)
            && shared.committed_here() == last
            && shared.reads.len() == 0
            && !self.transfers.is_under_way()
            && self.transfers.preference_at(shared).is_none_or(|at| at <= now)
            && shared.disk_state() == DiskState::Ready
            && shared.chassis.outbox.in_flight().is_none()
            && self.peers.iter().all(|(_, peer)| is_at_rest(peer))
    }

    /// A follower has durably everything up to `match_index`.
    fn note_match<E: Election>(
        &mut self,
        shared: &mut Shared<E>,
        from: NodeId,
        match_index: LogIndex,
    ) -> Result<(), Ignored> {
        if match_index > shared.log.last() {
            return Err(Ignored::AbsurdIndex);
        }
        let progress = self.peers.get_mut(from)?;
        let is_news = progress.matched(match_index);
        // A snapshot transfer ends once the log reaches the peer again. A match index of zero does not show where the
        // logs match.
        let is_in_log = match_index >= shared.log.base().index && match_index > LogIndex::ZERO;
        if is_in_log && progress.pace != SendState::Replicate {
            progress.become_replicate();
        }
        // An index that is committed already moves no quorum beyond it.
        if is_news && progress.counts() && match_index > shared.commitment.index() {
            self.advance_commit(shared);
        }
        Ok(())
    }

    /// Sends every peer a heartbeat of a new round, and returns its number. A round for reads does not delay the next
    /// tick, or continuous reads would delay the leader's periodic checks for ever.
    fn broadcast_heartbeat<E: Election>(&mut self, shared: &mut Shared<E>) -> u64 {
        let log_time = shared.next_log_time();
        self.round += 1;
        let (term, round, pace) = (shared.term(), self.round, self.quiet.pace());
        for (node, progress) in self.peers.iter_mut() {
            let commit_index = shared.commitment.index().min(progress.match_index);
            progress.note_commit_told(commit_index, round);
            let Progress { next_index, match_index, .. } = *progress;
            progress.loss_probe.get_or_insert(LossProbe { round, next_index, match_index });
            progress.promised.ask(round, shared.now());
            let heartbeat = Heartbeat { term, commit_index, round, pace, log_time };
            shared.chassis.outbox.send(*node, Message::Heartbeat(heartbeat));
        }
        self.peers.announce_snapshots(shared);
        round
    }

    /// Announces the commit index to peers if entries did not carry it and none are about to be sent.
    fn notice_commit<E: Election>(&mut self, shared: &mut Shared<E>) {
        if self.notice_at.take_if(|notice_at| *notice_at <= shared.now()).is_none() {
            return;
        }
        for (node, progress) in self.peers.iter_mut() {
            let commit_index = shared.commitment.index().min(progress.match_index);
            if commit_index > progress.commit_told {
                progress.commit_told = commit_index;
                let notice = CommitNotice { term: shared.durable.term(), commit_index };
                shared.chassis.outbox.send(*node, Message::CommitNotice(notice));
            }
        }
    }

    /// Starts a round if reads wait and none is under way.
    fn start_round_of_reads<E: Election>(&mut self, shared: &mut Shared<E>) {
        let commit_index = shared.commitment.index();
        // A leader does not know the commit index before an entry of its own term is committed (Raft §8).
        if shared.reads.is_round_wanted() && shared.has_committed_in_term() {
            shared.reads.take_waiting();
            // A quiet leader would not ask again if the round got lost.
            self.wake(shared.now());
            let number = self.broadcast_heartbeat(shared);
            shared.reads.begin_inquiry(Inquiry::Round { number, index: commit_index });
            self.finish_round_of_reads(shared);
        }
    }

    /// Serves the reads of the round under way if a quorum has answered it.
    fn finish_round_of_reads<E: Election>(&self, shared: &mut Shared<E>) {
        if let Some(Inquiry::Round { number, index }) = shared.reads.inquiry()
            && self.peers.reached_by_quorum(shared, self.round, |progress| progress.round_answered) >= number
        {
            let asked = shared.reads.end_inquiry();
            for reader in asked {
                shared.serve_read(reader, index);
            }
        }
    }

    /// Returns the reason why no change of members begins now, whatever it is.
    pub(crate) fn refusal_of_changes(&self) -> Option<RefuseReason> {
        (self.transfers.is_under_way() || self.is_retiring).then_some(RefuseReason::Transferring)
    }

    fn refusal<E: Election>(&self, shared: &Shared<E>, proposal: &Proposal) -> Option<RefuseReason> {
        let settings = shared.settings();
        let bytes = crate::ENTRY_HEADER_BYTES + proposal.payload.len();
        let waiting_bytes = self.uncommitted.bytes + shared.log.unsubmitted_bytes();
        if self.transfers.is_under_way() {
            Some(RefuseReason::Transferring)
        } else if proposal.kind == EntryKind::Configuration {
            // Only `ChangeConfiguration` makes one, because it must be safe after the one in force.
            Some(RefuseReason::ConfigurationInvalid(ConfigurationError::Malformed))
        } else if bytes > settings.entry_bytes_max {
            Some(RefuseReason::TooLarge)
        } else if shared.chassis.storage() == StorageLevel::Low {
            Some(RefuseReason::DiskFull)
        } else if waiting_bytes + bytes > settings.uncommitted_bytes_max {
            Some(RefuseReason::Overloaded)
        } else {
            None
        }
    }
}

/// A follower's log differs at `prev_index` or ends before it. Its newest entry that may match is at `hint`.
fn note_conflict<E: Election>(
    progress: &mut Progress,
    shared: &Shared<E>,
    prev_index: LogIndex,
    hint: LogPosition,
) -> Result<(), Ignored> {
    let now = shared.now();
    let is_answer = match progress.pace {
        SendState::Probe { .. } => prev_index == progress.next_index.previous(),
        SendState::Replicate => prev_index > progress.match_index && prev_index < progress.next_index,
        SendState::Snapshot { .. } => false,
    };
    if !is_answer || hint.index > prev_index {
        return Err(Ignored::StaleAnswer);
    }
    if prev_index <= progress.match_index && !progress.counts() {
        // Yet another disk under this id. The last one did not count, and its acknowledgements do not hold for this
        // one.
        *progress = Progress::new(prev_index.next(), now, progress.standing);
    } else if prev_index <= progress.match_index {
        // The same question would get the same answer at once.
        progress.become_probe(prev_index.next());
        progress.pause(now);
        return Err(Ignored::AcknowledgedLost);
    }
    // Terms above the hint's cannot match before it, so one round trip skips a whole term (Raft §5.3).
    let candidate = shared.log.newest_at_most(hint);
    progress.become_probe(candidate.index.min(prev_index.previous()).next());
    Ok(())
}

/// Sends lost entries again. The round of heartbeats in `probe` was sent after them, but its answer does not include
/// them.
fn note_loss<E: Election>(
    progress: &mut Progress,
    shared: &Shared<E>,
    message: HeartbeatResponse,
    probe: Option<LossProbe>,
) {
    let (now, pause) = (shared.now(), shared.settings().heartbeat_interval / 2);
    let Some(LossProbe { next_index, .. }) = probe else { return };
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

/// A leader is bound to itself for as long as it leads.
const NEVER: Instant = Instant::from_nanos(u64::MAX);
