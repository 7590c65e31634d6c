//! Following a leader: entries, heartbeats, commit notices (Raft §5.3).

use crate::replication::Election;
use crate::replication::error::Ignored;
use crate::replication::log::{FOUNDING_INDEX, configuration_of};
use crate::replication::log_core::INDEX_MAX;
use crate::replication::message::{
    AppendEntries, AppendOutcome, AppendResponse, Heartbeat, HeartbeatResponse, InstallSnapshot, LeasePromise, Message,
    Pace,
};
use crate::replication::shared::Shared;
use crate::{Entry, HaltReason, Instant, LogIndex, LogPosition, NodeId, Term};

/// State of a follower towards its leader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Follower {
    /// True while the leader waits for an acknowledgement of entries that it sent.
    owes_acknowledgement: bool,
    /// The last acknowledged index.
    acknowledged: LogIndex,
    /// True if the group is quiet: the follower relies on the life of its leader's node. See `quiet.rs`.
    is_quiet: bool,
}

impl Follower {
    /// Takes entries that follow the log here. If the logs do not match, it answers with a hint where they diverge.
    pub(crate) fn on_append_entries<E: Election>(
        &mut self,
        shared: &mut Shared<E>,
        from: NodeId,
        message: &AppendEntries,
    ) -> Result<(), Ignored> {
        if message.prev_index > INDEX_MAX {
            return Err(Ignored::AbsurdIndex);
        }
        // Compacted entries are committed, and so equal on all nodes.
        let is_matching = message.prev_index < shared.log.base().index
            || shared.log.term_at(message.prev_index) == Some(message.prev_term);
        if !is_matching {
            return refuse_entries(shared, from, message);
        }
        let waiting_bytes = shared.log.unsubmitted_bytes().saturating_add(message.batch.raw().len());
        if waiting_bytes > shared.settings().received_bytes_max {
            return Err(Ignored::LogBusy);
        }
        let last = take_entries(shared, from, message)?;
        shared.commitment.note_matched(last);
        self.owes_acknowledgement = true;
        // Entries that were durable before these need no message of their own.
        self.acknowledged = self.acknowledged.max(last.min(shared.log.durable()));
        shared.commitment.follow(message.commit_index);
        Ok(())
    }

    /// Notes that the leader is alive, and answers that this node is alive.
    pub(crate) fn on_heartbeat<E: Election>(
        &mut self,
        shared: &mut Shared<E>,
        from: NodeId,
        message: Heartbeat,
    ) -> Result<(), Ignored> {
        shared.clock.set(shared.chassis.now(), message.log_time);
        shared.report_clock();
        shared.commitment.follow(message.commit_index);
        let pace = self.settle(shared, message);
        let received_index = shared.commitment.matched().max(shared.commitment.index());
        let durable_index = shared.log.durable();
        let match_index = shared.commitment.matched().min(durable_index);
        let (term, round, disk) = (shared.term(), message.round, shared.disk_state());
        let response = HeartbeatResponse { term, round, received_index, match_index, durable_index, pace, disk };
        shared.send(from, Message::HeartbeatResponse(response));
        if let Some(span) = shared.election.promise() {
            let span_us = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
            shared.send(from, Message::LeasePromise(LeasePromise { term, round, span_us }));
        }
        Ok(())
    }

    /// Handles the leader's announcement of a snapshot for this node.
    pub(crate) fn on_install_snapshot<E: Election>(
        &mut self,
        shared: &mut Shared<E>,
        from: NodeId,
        message: InstallSnapshot,
    ) -> Result<(), Ignored> {
        self.owes_acknowledgement |= shared.on_install_snapshot(from, message)?;
        Ok(())
    }

    /// A snapshot was installed or found covered. The leader does not know that its entries are here.
    pub(crate) fn owe_acknowledgement(&mut self) {
        self.owes_acknowledgement = true;
    }

    /// Acknowledges the durable part of the received entries, once for all of them.
    pub(crate) fn acknowledge<E: Election>(&mut self, shared: &mut Shared<E>) {
        let durable = shared.log.durable();
        let Some(leader) = shared.election.leader() else { return };
        let matched = shared.commitment.matched();
        let match_index = matched.min(durable);
        if self.owes_acknowledgement && (match_index == matched || match_index > self.acknowledged) {
            self.owes_acknowledgement = match_index < matched;
            self.acknowledged = match_index;
            let outcome = AppendOutcome::Matched { match_index };
            shared.send(leader, Message::AppendResponse(AppendResponse { term: shared.term(), outcome }));
        }
    }

    /// Relies on messages of the leader itself again. Until `heard_at` the life of its node was as good as a message.
    pub(crate) fn end_quiet<E: Election>(&mut self, shared: &mut Shared<E>, heard_at: Instant) {
        if std::mem::take(&mut self.is_quiet) {
            shared.election.hear_leader(heard_at);
        }
    }

    /// Returns true if the follower relies on the life of its leader's node.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    /// The state that affects behaviour, except the time.
    pub(crate) fn view(&self) -> impl std::fmt::Debug + use<> {
        (self.owes_acknowledgement, self.acknowledged, self.is_quiet)
    }

    /// Goes quiet with the leader if this follower has everything.
    fn settle<E: Election>(&mut self, shared: &Shared<E>, message: Heartbeat) -> Pace {
        let last = shared.log.last();
        let has_all = shared.committed_here() == last && message.commit_index == last;
        if message.pace == Pace::Quiet && has_all {
            self.is_quiet = true;
            return Pace::Quiet;
        }
        Pace::Lively
    }
}

/// Answers that the entry before those of the message is not here, with a hint where the logs diverge.
fn refuse_entries<E: Election>(shared: &mut Shared<E>, from: NodeId, message: &AppendEntries) -> Result<(), Ignored> {
    if message.prev_index <= shared.commitment.index() {
        shared.halt(HaltReason::LawBroken("a committed entry changed"));
        return Err(Ignored::Halted);
    }
    let prev_index = message.prev_index;
    let hint = shared.log.newest_at_most(LogPosition { index: prev_index, term: message.prev_term });
    let outcome = AppendOutcome::Conflict { prev_index, hint_index: hint.index, hint_term: hint.term };
    shared.send(from, Message::AppendResponse(AppendResponse { term: shared.term(), outcome }));
    Ok(())
}

/// Appends new entries, after truncating entries that contradict them. Returns the last index of the batch.
pub(crate) fn take_entries<E: Election>(
    shared: &mut Shared<E>,
    from: NodeId,
    message: &AppendEntries,
) -> Result<LogIndex, Ignored> {
    if message.batch.is_empty() {
        return Ok(message.prev_index);
    }
    let entries = message.batch.decode().map_err(|_| Ignored::MalformedEntries)?;
    check_batch(message)?;
    check_content(shared, from, &entries)?;
    let last = entries.last().map_or(message.prev_index, |(index, ..)| *index);
    if let Some((.., newest)) = entries.last() {
        shared.clock.note_entry(shared.chassis.now(), newest.header.log_time);
    }
    for (index, term, entry) in entries {
        if index < shared.log.base().index {
            continue;
        }
        if index <= shared.log.last() {
            if shared.log.term_at(index) == Some(term) {
                continue;
            }
            if index <= shared.commitment.index() {
                shared.halt(HaltReason::LawBroken("a committed entry changed"));
                return Err(Ignored::Halted);
            }
            shared.log.truncate_from(index);
        }
        if term < shared.log.last_term() {
            return Err(Ignored::MalformedEntries);
        }
        let configuration = configuration_of(&entry).map_err(|_| Ignored::MalformedEntries)?;
        let checksum = entry.header.checksum;
        let index = shared.log.append(term, entry);
        if index == FOUNDING_INDEX && shared.durable.note_founding(Some(checksum)) {
            shared.persist_state();
        }
        if let Some(configuration) = configuration {
            shared.log.note_configuration(index, configuration);
        }
    }
    Ok(last)
}

/// Checks, before any entry is accepted, that each payload matches its checksum, and that the first entry of all is the
/// one that this node has. Otherwise one flipped bit in a leader's memory would be replicated, and stop every replica
/// that applies the entry.
fn check_content<E: Election>(
    shared: &mut Shared<E>,
    from: NodeId,
    entries: &[(LogIndex, Term, Entry)],
) -> Result<(), Ignored> {
    if let Some((index, ..)) = entries.iter().find(|(_, _, entry)| !entry.is_intact()) {
        let outcome = AppendOutcome::Corrupt { index: *index };
        shared.send(from, Message::AppendResponse(AppendResponse { term: shared.term(), outcome }));
        return Err(Ignored::CorruptEntries);
    }
    if let Some((FOUNDING_INDEX, _, first)) = entries.first() {
        shared.durable.check_founding(Some(first.header.checksum))?;
    }
    let is_readable = |(_, _, entry): &(LogIndex, Term, Entry)| configuration_of(entry).is_ok();
    if entries.iter().all(is_readable) { Ok(()) } else { Err(Ignored::MalformedEntries) }
}

/// Checks, before any entry is accepted, that a log can hold the batch after `prev_index`.
fn check_batch(message: &AppendEntries) -> Result<(), Ignored> {
    let starts_right = message.batch.header().first == message.prev_index.next();
    let runs = &message.batch.header().runs;
    let first_term = runs.first().map_or(Term(0), |run| run.term);
    let last_term = runs.last().map_or(Term(0), |run| run.term);
    let terms_fit = first_term >= message.prev_term && last_term <= message.term;
    if starts_right && terms_fit { Ok(()) } else { Err(Ignored::MalformedEntries) }
}
