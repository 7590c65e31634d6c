//! Following a leader: entries, heartbeats, commit notices (Raft §5.3).

use quorate_protocol::{Entry, HaltReason, LogIndex, LogPosition, NodeId, Term};

use crate::Raft;
use crate::error::Ignored;
use crate::log::{FOUNDING_INDEX, configuration_of};
use crate::message::{AppendEntries, AppendOutcome, AppendResponse, Heartbeat, HeartbeatResponse, Message};
use crate::raft::INDEX_MAX;
use crate::state::RoleState;

impl Raft {
    /// Follows the sender, which is the leader of this term.
    pub(crate) fn follow(&mut self, from: NodeId) -> Result<(), Ignored> {
        let is_leading = matches!(self.role, RoleState::Leader(_));
        if is_leading || self.leader.is_some_and(|leader| leader != from) {
            self.halt(HaltReason::LawBroken("two leaders in a term"));
            return Err(Ignored::Halted);
        }
        if self.leader.is_none() || !matches!(self.role, RoleState::Follower(_)) {
            self.become_follower(self.state.term, Some(from));
        }
        self.leader_heard_at = self.chassis.instant();
        self.restart_election_timer();
        if let RoleState::Follower(follower) = &mut self.role {
            follower.quiet_since = None;
        }
        Ok(())
    }

    /// Takes entries that follow the log here. If the logs do not match, it answers with a hint where they diverge.
    pub(crate) fn on_append_entries(&mut self, from: NodeId, message: &AppendEntries) -> Result<(), Ignored> {
        if message.prev_index > INDEX_MAX {
            return Err(Ignored::AbsurdIndex);
        }
        let base = self.log.base().index;
        // Compacted entries are committed, and so equal on all nodes.
        let is_matching = message.prev_index < base || self.log.term_at(message.prev_index) == Some(message.prev_term);
        if !is_matching {
            if message.prev_index <= self.commit_index {
                self.halt(HaltReason::LawBroken("a committed entry changed"));
                return Err(Ignored::Halted);
            }
            let previous = LogPosition { index: message.prev_index, term: message.prev_term };
            let hint = self.log.newest_at_most(previous);
            let outcome = AppendOutcome::Conflict {
                prev_index: message.prev_index,
                hint_index: hint.index,
                hint_term: hint.term,
            };
            self.send(from, Message::AppendResponse(AppendResponse { term: self.state.term, outcome }));
            return Ok(());
        }
        let waiting_bytes = self.log.unsubmitted_bytes().saturating_add(message.batch.raw().len());
        if waiting_bytes > self.config.settings().received_bytes_max {
            return Err(Ignored::LogBusy);
        }
        let last = self.take_entries(from, message)?;
        self.matched = self.matched.max(last);
        if let RoleState::Follower(follower) = &mut self.role {
            follower.owes_acknowledgement = true;
            // Entries that were durable before these need no message of their own.
            follower.acknowledged = follower.acknowledged.max(last.min(self.log.durable()));
        }
        self.commit_up_to(message.commit_index);
        Ok(())
    }

    /// Notes that the leader is alive, and answers that this node is alive.
    pub(crate) fn on_heartbeat(&mut self, from: NodeId, message: Heartbeat) {
        self.clock.set(self.chassis.now(), message.log_time);
        self.report_clock();
        self.commit_up_to(message.commit_index);
        let pace = self.settle(message);
        let received_index = self.matched.max(self.commit_index);
        let durable_index = self.log.durable();
        let match_index = self.matched.min(durable_index);
        let (term, round, disk) = (self.state.term, message.round, self.disk_state());
        let response = HeartbeatResponse { term, round, received_index, match_index, durable_index, pace, disk };
        self.send(from, Message::HeartbeatResponse(response));
    }

    /// Acknowledges the durable part of the received entries, once for all of them.
    pub(crate) fn acknowledge(&mut self) {
        let durable = self.log.durable();
        let RoleState::Follower(follower) = &mut self.role else { return };
        let Some(leader) = self.leader else { return };
        let match_index = self.matched.min(durable);
        if follower.owes_acknowledgement && (match_index == self.matched || match_index > follower.acknowledged) {
            follower.owes_acknowledgement = match_index < self.matched;
            follower.acknowledged = match_index;
            let outcome = AppendOutcome::Matched { match_index };
            self.send(leader, Message::AppendResponse(AppendResponse { term: self.state.term, outcome }));
        }
    }

    /// Appends new entries, after truncating entries that contradict them. Returns the last index of the batch.
    fn take_entries(&mut self, from: NodeId, message: &AppendEntries) -> Result<LogIndex, Ignored> {
        if message.batch.is_empty() {
            return Ok(message.prev_index);
        }
        let entries = message.batch.decode().map_err(|_| Ignored::MalformedEntries)?;
        check_batch(message)?;
        self.check_content(from, &entries)?;
        let last = entries.last().map_or(message.prev_index, |(index, ..)| *index);
        if let Some((.., newest)) = entries.last() {
            self.clock.note_entry(self.chassis.now(), newest.header.log_time);
        }
        for (index, term, entry) in entries {
            if index < self.log.base().index {
                continue;
            }
            if index <= self.log.last() {
                if self.log.term_at(index) == Some(term) {
                    continue;
                }
                if index <= self.commit_index {
                    self.halt(HaltReason::LawBroken("a committed entry changed"));
                    return Err(Ignored::Halted);
                }
                self.log.truncate_from(index);
            }
            if term < self.log.last_term() {
                return Err(Ignored::MalformedEntries);
            }
            let configuration = configuration_of(&entry).map_err(|_| Ignored::MalformedEntries)?;
            let checksum = entry.header.checksum;
            let index = self.log.append(term, entry);
            if index == FOUNDING_INDEX && self.state.founding.is_none() {
                self.state.founding = Some(checksum);
                self.persist_state();
            }
            if let Some(configuration) = configuration {
                self.log.note_configuration(index, configuration);
            }
        }
        Ok(last)
    }

    /// Checks, before any entry is accepted, that each payload matches its checksum, and that the first entry of all is
    /// the one that this node has. Otherwise one flipped bit in a leader's memory would be replicated, and stop every
    /// replica that applies the entry.
    fn check_content(&mut self, from: NodeId, entries: &[(LogIndex, Term, Entry)]) -> Result<(), Ignored> {
        if let Some((index, ..)) = entries.iter().find(|(_, _, entry)| !entry.is_intact()) {
            let outcome = AppendOutcome::Corrupt { index: *index };
            self.send(from, Message::AppendResponse(AppendResponse { term: self.state.term, outcome }));
            return Err(Ignored::CorruptEntries);
        }
        if let Some((FOUNDING_INDEX, _, first)) = entries.first() {
            self.check_founding(Some(first.header.checksum))?;
        }
        let is_readable = |(_, _, entry): &(LogIndex, Term, Entry)| configuration_of(entry).is_ok();
        if entries.iter().all(is_readable) { Ok(()) } else { Err(Ignored::MalformedEntries) }
    }

    /// Checks that the sender's group was founded as this node's was, as far as both know it.
    pub(crate) fn check_founding(&self, founding: Option<u32>) -> Result<(), Ignored> {
        match (self.state.founding, founding) {
            (Some(own), Some(theirs)) if own != theirs => Err(Ignored::OtherFounding),
            _ => Ok(()),
        }
    }
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
