//! Linearizable reads by rounds (Raft thesis §6.4): one round of heartbeats serves all reads that wait for it.
//!
//! A read that begins while a round is under way waits for the next one: only a round that began after the read shows
//! that no other node led in between. A follower does the same with questions to its leader instead of rounds.

use std::collections::VecDeque;

use quorate_protocol::{Instant, LogEvent, LogIndex, NodeId, ReadFailure, ReadId};

use crate::Raft;
use crate::error::Ignored;
use crate::message::{Message, ReadIndex, ReadIndexResponse, ReadOutcome};
use crate::state::RoleState;

/// Reads that wait. Bounded by `reads_max`: beyond it they fail with `Overloaded`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reads {
    /// Reads that began after the round or question under way.
    pub(crate) waiting: VecDeque<Reader>,
    /// Reads that are served by the round or question under way.
    pub(crate) asked: VecDeque<Reader>,
    /// The round or question under way, if there is one.
    pub(crate) inquiry: Option<Inquiry>,
    /// Number of a follower's questions since its start.
    pub(crate) questions: u32,
    /// True if this start is durably counted, so that the numbers of its questions are unique.
    pub(crate) is_start_counted: bool,
}

/// The origin of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reader {
    /// This node's application.
    Local(ReadId),
    /// A follower with a question of this number.
    Remote(NodeId, u64),
}

/// The answer that reads wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Inquiry {
    /// On a leader: a quorum's answers to this round or a later one. The index was committed when the round began.
    Round { number: u64, index: LogIndex },
    /// On a follower: the leader's answer to this question, which is asked again at the given time.
    Question { number: u64, again_at: Instant },
}

impl Reads {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.asked.len()
    }

    /// Returns the time at which a follower asks again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.inquiry {
            Some(Inquiry::Question { again_at, .. }) => Some(again_at),
            _ => None,
        }
    }
}

impl Raft {
    /// Handles a read of this node's application.
    pub(crate) fn on_read(&mut self, id: ReadId) {
        if self.reads.len() >= self.config.settings().reads_max {
            self.chassis.outbox.event(LogEvent::ReadFailed { id, reason: ReadFailure::Overloaded });
        } else if self.leader.is_none() {
            self.chassis.outbox.event(LogEvent::ReadFailed { id, reason: ReadFailure::NoLeader });
        } else {
            self.reads.waiting.push_back(Reader::Local(id));
        }
    }

    /// Handles a read of a follower.
    pub(crate) fn on_read_index(&mut self, from: NodeId, message: ReadIndex) -> Result<(), Ignored> {
        let number = message.number;
        if !matches!(self.role, RoleState::Leader(_)) {
            self.answer_read(from, number, ReadOutcome::NotLeader);
            return Err(Ignored::NotLeading);
        }
        if self.reads.len() >= self.config.settings().reads_max {
            self.answer_read(from, number, ReadOutcome::Overloaded);
            return Ok(());
        }
        // A question that is repeated while it waits gets one answer.
        let reader = Reader::Remote(from, number);
        if self.reads.waiting.contains(&reader) || self.reads.asked.contains(&reader) {
            return Err(Ignored::StaleAnswer);
        }
        self.reads.waiting.push_back(reader);
        Ok(())
    }

    /// Handles the leader's answer to this follower's question.
    pub(crate) fn on_read_index_response(&mut self, from: NodeId, message: ReadIndexResponse) -> Result<(), Ignored> {
        match self.reads.inquiry {
            Some(Inquiry::Question { number, .. }) if number == message.number && self.leader == Some(from) => {}
            _ => return Err(Ignored::StaleAnswer),
        }
        self.reads.inquiry = None;
        match message.outcome {
            ReadOutcome::Index(index) => {
                // The index is committed. Followers learn it here earlier than with the next entries.
                self.commit_up_to(index);
                self.finish_asked(index);
            }
            ReadOutcome::NotLeader | ReadOutcome::Overloaded => {
                let reason = message.outcome.failure().unwrap_or(ReadFailure::LeadershipLost);
                for reader in std::mem::take(&mut self.reads.asked) {
                    self.fail_reader(reader, reason);
                }
            }
        }
        Ok(())
    }

    /// Starts a round or question if reads wait and none is under way.
    pub(crate) fn start_reads(&mut self) {
        if self.reads.waiting.is_empty() || self.reads.inquiry.is_some() {
            return;
        }
        if matches!(self.role, RoleState::Leader(_)) {
            // A leader does not know the commit index before an entry of its own term is committed (Raft §8).
            if self.log.term_at(self.commit_index) == Some(self.state.term) {
                self.reads.asked = std::mem::take(&mut self.reads.waiting);
                let number = self.broadcast_heartbeat();
                self.reads.inquiry = Some(Inquiry::Round { number, index: self.commit_index });
                self.finish_round();
            }
        } else {
            self.reads.asked = std::mem::take(&mut self.reads.waiting);
            self.reads.questions += 1;
            let number = (u64::from(self.count_start()) << 32) | u64::from(self.reads.questions);
            self.ask(number);
        }
    }

    /// Asks the leader again if no answer came.
    pub(crate) fn ask_again(&mut self) {
        if let Some(Inquiry::Question { number, again_at }) = self.reads.inquiry
            && again_at <= self.chassis.instant()
        {
            self.ask(number);
        }
    }

    /// Serves the reads of the round under way if a quorum has answered it.
    pub(crate) fn finish_round(&mut self) {
        if let Some(Inquiry::Round { number, index }) = self.reads.inquiry
            && self.round_of_quorum() >= number
        {
            self.reads.inquiry = None;
            self.finish_asked(index);
        }
    }

    /// Fails all reads, because no node can confirm their index any more.
    pub(crate) fn fail_reads(&mut self, reason: ReadFailure) {
        self.reads.inquiry = None;
        let asked = std::mem::take(&mut self.reads.asked);
        let waiting = std::mem::take(&mut self.reads.waiting);
        for reader in asked.into_iter().chain(waiting) {
            self.fail_reader(reader, reason);
        }
    }

    fn finish_asked(&mut self, index: LogIndex) {
        for reader in std::mem::take(&mut self.reads.asked) {
            match reader {
                Reader::Local(id) => self.chassis.outbox.event(LogEvent::ReadReady { id, index }),
                Reader::Remote(to, number) => self.answer_read(to, number, ReadOutcome::Index(index)),
            }
        }
    }

    fn fail_reader(&mut self, reader: Reader, reason: ReadFailure) {
        match reader {
            Reader::Local(id) => self.chassis.outbox.event(LogEvent::ReadFailed { id, reason }),
            Reader::Remote(to, number) => self.answer_read(to, number, ReadOutcome::NotLeader),
        }
    }

    pub(crate) fn answer_read(&mut self, to: NodeId, number: u64, outcome: ReadOutcome) {
        let message = ReadIndexResponse { term: self.state.term, number, outcome };
        self.send(to, Message::ReadIndexResponse(message));
    }

    fn ask(&mut self, number: u64) {
        if let Some(leader) = self.leader {
            let again_at = self.chassis.instant().after(self.config.settings().heartbeat_interval);
            self.reads.inquiry = Some(Inquiry::Question { number, again_at });
            self.send(leader, Message::ReadIndex(ReadIndex { term: self.state.term, number }));
        }
    }

    /// Counts this start once, and returns its number. The number distinguishes an answer to an earlier start's
    /// question from an answer to a new one.
    fn count_start(&mut self) -> u32 {
        if !self.reads.is_start_counted {
            self.reads.is_start_counted = true;
            self.state.starts = self.state.starts.wrapping_add(1);
            self.persist_state();
        }
        self.state.starts
    }
}
