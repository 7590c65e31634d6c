//! Linearizable reads that wait. All reads that come between two turns share one round of the core.

use std::collections::VecDeque;
use std::time::Duration;

use quorate_protocol::{Instant, LogIndex, ReadFailure, ReadId};

use crate::group::interface::CallId;

/// Reads that wait. The caller bounds their number.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Reads that were not passed to the core yet, or must be passed again.
    gathered: Vec<Reader>,
    /// Reads that were passed to the core, in that order.
    asked: VecDeque<(ReadId, Vec<Reader>)>,
    /// Reads that may be answered once the index is applied.
    ready: VecDeque<(LogIndex, Vec<Reader>)>,
    count: usize,
    last_id: ReadId,
    /// No read is passed to the core before this time, because the last one failed.
    retry_at: Option<Instant>,
    last_failure: Option<ReadFailure>,
    /// No deadline is earlier than this.
    expiry_from: Option<Instant>,
}

/// One call and its deadline.
#[derive(Clone, Copy, Debug)]
struct Reader {
    call: CallId,
    deadline: Instant,
}

impl Reads {
    /// Adds a read.
    pub(super) fn add(&mut self, call: CallId, deadline: Instant) {
        self.gathered.push(Reader { call, deadline });
        self.count += 1;
        self.expiry_from = Some(self.expiry_from.map_or(deadline, |from| from.min(deadline)));
    }

    /// Returns the next read to pass to the core, if there is one.
    pub(super) fn ask(&mut self, now: Instant) -> Option<ReadId> {
        if self.gathered.is_empty() || self.retry_at.is_some_and(|at| now < at) {
            return None;
        }
        self.retry_at = None;
        self.last_id = self.last_id.next();
        self.asked.push_back((self.last_id, std::mem::take(&mut self.gathered)));
        Some(self.last_id)
    }

    /// Ends the pause after a failed read, because there may be a leader.
    pub(super) fn hurry(&mut self) {
        self.retry_at = None;
    }

    /// The core has returned an index.
    pub(super) fn on_ready(&mut self, id: ReadId, index: LogIndex) {
        let Some(readers) = self.take(id) else { return };
        self.last_failure = None;
        let place = self.ready.partition_point(|(other, _)| *other <= index);
        match place.checked_sub(1).and_then(|before| self.ready.get_mut(before)) {
            Some((other, waiting)) if *other == index => waiting.extend(readers),
            _ => self.ready.insert(place, (index, readers)),
        }
    }

    /// The core returned none. It is asked again after a while, for the reads that have not expired by then.
    pub(super) fn on_failed(&mut self, id: ReadId, reason: ReadFailure, now: Instant, retry: Duration) {
        let Some(mut readers) = self.take(id) else { return };
        self.gathered.append(&mut readers);
        self.last_failure = Some(reason);
        self.retry_at = Some(now.after(retry));
    }

    /// Returns calls that may be answered after `applied` was applied.
    pub(super) fn answerable(&mut self, applied: LogIndex) -> Option<impl Iterator<Item = CallId> + use<>> {
        let (_, readers) = self.ready.pop_front_if(|(index, _)| *index <= applied)?;
        self.count -= readers.len();
        Some(readers.into_iter().map(|reader| reader.call))
    }

    /// Returns the calls whose deadline has passed, and the last obstacle.
    pub(super) fn expired(&mut self, now: Instant) -> (Vec<CallId>, Option<ReadFailure>) {
        if self.expiry_from.is_none_or(|from| now < from) {
            return (Vec::new(), None);
        }
        let (mut expired, mut expiry_from) = (Vec::new(), None);
        let mut keep = |reader: &Reader| {
            if reader.deadline <= now {
                expired.push(reader.call);
                return false;
            }
            expiry_from = Some(expiry_from.map_or(reader.deadline, |from: Instant| from.min(reader.deadline)));
            true
        };
        self.gathered.retain(&mut keep);
        self.asked.iter_mut().for_each(|(_, readers)| readers.retain(&mut keep));
        self.ready.iter_mut().for_each(|(_, readers)| readers.retain(&mut keep));
        self.count -= expired.len();
        self.expiry_from = expiry_from;
        (expired, self.last_failure)
    }

    /// Removes and returns all calls.
    pub(super) fn drain(&mut self) -> Vec<CallId> {
        let all = std::mem::take(self);
        self.last_id = all.last_id;
        let asked = all.asked.into_iter().flat_map(|(_, readers)| readers);
        let ready = all.ready.into_iter().flat_map(|(_, readers)| readers);
        all.gathered.into_iter().chain(asked).chain(ready).map(|reader| reader.call).collect()
    }

    /// Returns the time at which the next turn is wanted.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let retry_at = self.retry_at.filter(|_| !self.gathered.is_empty());
        self.expiry_from.into_iter().chain(retry_at).min()
    }

    /// Number of waiting reads.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    fn take(&mut self, id: ReadId) -> Option<Vec<Reader>> {
        let place = self.asked.iter().position(|(asked, _)| *asked == id)?;
        self.asked.remove(place).map(|(_, readers)| readers)
    }
}
