//! Linearizable reads by rounds (Raft thesis §6.4): one round of heartbeats serves all reads that wait for it.
//!
//! A read that begins while a round is under way waits for the next one: only a round that began after the read shows
//! that no other node led in between. A follower does the same with questions to its leader instead of rounds.

use std::collections::VecDeque;

use crate::{Instant, LogIndex, NodeId, ReadId};

/// Reads that wait. Bounded by `reads_max`: beyond it they fail with `Overloaded`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reads {
    /// Reads that began after the round or question under way.
    waiting: VecDeque<Reader>,
    /// Reads that are served by the round or question under way.
    asked: VecDeque<Reader>,
    /// The round or question under way, if there is one.
    inquiry: Option<Inquiry>,
    /// Number of a follower's questions since its start.
    questions: u32,
    /// True if this start is durably counted, so that the numbers of its questions are unique.
    is_start_counted: bool,
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

    /// Returns the round or question under way, if there is one.
    pub(crate) fn inquiry(&self) -> Option<Inquiry> {
        self.inquiry
    }

    pub(crate) fn contains(&self, reader: Reader) -> bool {
        self.waiting.contains(&reader) || self.asked.contains(&reader)
    }

    /// Adds a read that waits for the next round or question.
    pub(crate) fn add(&mut self, reader: Reader) {
        self.waiting.push_back(reader);
    }

    /// Returns true if reads wait and no round or question is under way.
    pub(crate) fn is_round_wanted(&self) -> bool {
        !self.waiting.is_empty() && self.inquiry.is_none()
    }

    /// Lets the round or question that begins serve all reads that wait.
    pub(crate) fn take_waiting(&mut self) {
        self.asked = std::mem::take(&mut self.waiting);
    }

    /// Notes the round or question that is under way from now on.
    pub(crate) fn begin_inquiry(&mut self, inquiry: Inquiry) {
        self.inquiry = Some(inquiry);
    }

    /// Ends the round or question under way, and returns the reads that it serves.
    pub(crate) fn end_inquiry(&mut self) -> VecDeque<Reader> {
        self.inquiry = None;
        std::mem::take(&mut self.asked)
    }

    /// Ends everything, and returns all reads.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Reader> + use<> {
        self.end_inquiry().into_iter().chain(std::mem::take(&mut self.waiting))
    }

    /// Notes that this start is counted. Returns true if it was not yet.
    pub(crate) fn note_start(&mut self) -> bool {
        !std::mem::replace(&mut self.is_start_counted, true)
    }

    /// Returns the number of a new question. The number of the start distinguishes an answer to an earlier start's
    /// question from an answer to a new one.
    pub(crate) fn next_question(&mut self, start: u32) -> u64 {
        self.questions += 1;
        (u64::from(start) << 32) | u64::from(self.questions)
    }

    /// The state that affects behaviour, except the inquiry.
    pub(crate) fn view(&self) -> impl std::fmt::Debug + '_ {
        (&self.waiting, &self.asked, self.questions, self.is_start_counted)
    }
}
