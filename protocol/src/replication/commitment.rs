//! The commit index, and its durable and reported copies.

use crate::{LogIndex, Operation, Ticket};

/// The index up to which the log is committed, as far as this node knows it.
///
/// ```text
///   reported .. min(index, durable) .. index .. last
/// ```
#[derive(Clone, Debug)]
pub(crate) struct Commitment {
    /// Entries up to here were received from the leader of the current term, so they are equal to its log, durable or
    /// not. Zero on a leader.
    matched: LogIndex,
    /// The index up to which entries are known to be committed. Never goes back.
    index: LogIndex,
    /// The commit index that was last written to the disk.
    hinted: LogIndex,
    /// The index that was last reported to the application: committed and durable on this node. Never goes back.
    reported: LogIndex,
    /// The same index just before the log last started again after a snapshot.
    reported_before_reset: LogIndex,
    /// The write that started the log again after the newest installed snapshot.
    reset_ticket: Ticket,
}

impl Commitment {
    /// Starts from the commit index and the hint on disk, and from the index of the newest snapshot.
    pub(crate) fn recover(index: LogIndex, hinted: LogIndex, snapshot: LogIndex) -> Self {
        Self {
            matched: LogIndex::ZERO,
            index,
            hinted,
            reported: snapshot,
            reported_before_reset: snapshot,
            reset_ticket: Ticket(0),
        }
    }

    pub(crate) fn matched(&self) -> LogIndex {
        self.matched
    }

    /// Returns the commit index.
    pub(crate) fn index(&self) -> LogIndex {
        self.index
    }

    pub(crate) fn hinted(&self) -> LogIndex {
        self.hinted
    }

    pub(crate) fn reported(&self) -> LogIndex {
        self.reported
    }

    pub(crate) fn reset_ticket(&self) -> Ticket {
        self.reset_ticket
    }

    /// Returns the newest entry that is committed and durable on this node.
    pub(crate) fn here(&self, durable: LogIndex) -> LogIndex {
        self.index.min(durable)
    }

    /// Notes that a term began. Its leader has sent nothing yet.
    pub(crate) fn enter_term(&mut self) {
        self.matched = LogIndex::ZERO;
    }

    /// Notes that entries up to `last` are equal to the leader's.
    pub(crate) fn note_matched(&mut self, last: LogIndex) {
        self.matched = self.matched.max(last);
    }

    /// The leader states that the log is committed up to `index`. That holds here as far as the leader's log is known
    /// to be here.
    pub(crate) fn follow(&mut self, index: LogIndex) {
        self.advance(index.min(self.matched));
    }

    /// Notes that the log here is committed up to `index`.
    pub(crate) fn advance(&mut self, index: LogIndex) {
        self.index = self.index.max(index);
    }

    /// Returns the commit index to write beside a state record.
    pub(crate) fn hint(&mut self, durable: LogIndex) -> LogIndex {
        self.hinted = self.here(durable);
        self.hinted
    }

    /// Returns the operation that writes the commit index, if it is above the one on disk.
    pub(crate) fn new_hint(&mut self, durable: LogIndex) -> Option<Operation> {
        let is_news = self.here(durable) > self.hinted;
        is_news.then(|| Operation::CommitHint { index: self.hint(durable) })
    }

    /// Returns the index to report to the application, if it is above the one that it knows.
    pub(crate) fn news(&mut self, durable: LogIndex) -> Option<LogIndex> {
        let here = self.here(durable);
        let is_news = here > self.reported;
        self.reported = self.reported.max(here);
        is_news.then_some(here)
    }

    /// The log starts again after a snapshot up to `index`. Entries after it are not here any more, even if the leader
    /// sent them: only a peer that contradicts itself sends a snapshot then.
    pub(crate) fn reset(&mut self, index: LogIndex) {
        self.matched = self.matched.min(index);
        self.index = index;
    }

    /// Notes the write that starts the log again.
    pub(crate) fn note_reset(&mut self, ticket: Ticket) {
        self.reset_ticket = ticket;
    }

    /// Keeps the reported index while the log starts again, unless an earlier start is not durable yet.
    pub(crate) fn keep_reported(&mut self, is_reset_durable: bool) {
        if is_reset_durable {
            self.reported_before_reset = self.reported;
        }
    }

    /// Notes that a snapshot was reported to the application.
    pub(crate) fn note_installed(&mut self, index: LogIndex) {
        self.note_matched(index);
        self.reported = index;
    }

    /// Returns the newest entry that the application may take. Until the log has started again on disk, other entries
    /// are in the place of those that a snapshot covers, and the application does not know of the snapshot yet.
    pub(crate) fn may_be_applied(&self, is_reset_durable: bool) -> LogIndex {
        if is_reset_durable { self.reported } else { self.reported_before_reset }
    }
}
