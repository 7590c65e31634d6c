//! Reads that wait: for a round of the core, which all that come between two turns share, or for an index.

use std::collections::VecDeque;

use quorate_protocol::{HaltReason, Instant, LogCommand, LogIndex, ReadFailure, ReadId, ReplicatedLog};

use super::context::Context;
use crate::group::interface::CallId;
use crate::group::outcome::ReadError;
use crate::group::reply::Reply;

/// Reads that wait, at most `reads_max`.
#[derive(Debug, Default)]
pub(super) struct WaitingReads {
    /// Reads that were not passed to the core yet, or must be passed again.
    gathered: Vec<Reader>,
    /// Reads that were passed to the core, in that order.
    asked: VecDeque<Round>,
    /// Reads that may be answered once their index is applied, with ascending indexes.
    ready: VecDeque<Ready>,
    /// Number of reads in the three queues.
    count: usize,
    /// The newest read that was passed to the core. Only grows, so a late result finds no other read.
    last_id: ReadId,
    /// No read is passed to the core before this time, because the last one failed.
    retry_at: Option<Instant>,
    last_failure: Option<ReadFailure>,
    /// No deadline is earlier than this.
    expiry_from: Option<Instant>,
}

/// Reads that share one round of the core.
#[derive(Debug)]
struct Round {
    id: ReadId,
    readers: Vec<Reader>,
}

/// Reads that wait until an index is applied.
#[derive(Debug)]
struct Ready {
    index: LogIndex,
    readers: Vec<Reader>,
}

/// One call and its deadline.
#[derive(Clone, Copy, Debug)]
struct Reader {
    call: CallId,
    deadline: Instant,
}

impl WaitingReads {
    /// Adds a linearizable read, or refuses it if too many wait.
    pub(super) fn add<L: ReplicatedLog>(&mut self, context: &mut Context<L>, call: CallId, deadline: Instant) {
        if let Some(reader) = self.admit(context, call, deadline) {
            self.gathered.push(reader);
        }
    }

    /// Adds a read that waits until `index` is applied here, or refuses it if too many wait.
    pub(super) fn add_at_least<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        call: CallId,
        index: LogIndex,
        deadline: Instant,
    ) {
        if let Some(reader) = self.admit(context, call, deadline) {
            self.make_ready(index, vec![reader]);
        }
    }

    fn admit<L: ReplicatedLog>(&mut self, context: &mut Context<L>, call: CallId, deadline: Instant) -> Option<Reader> {
        if self.count >= context.settings.reads_max {
            context.reply(call, Reply::ReadFailed(ReadError::Overloaded));
            return None;
        }
        self.count += 1;
        self.expiry_from = Some(self.expiry_from.map_or(deadline, |from| from.min(deadline)));
        Some(Reader { call, deadline })
    }

    /// Passes the gathered reads to the core.
    pub(super) fn ask<L: ReplicatedLog>(&mut self, context: &mut Context<L>) {
        if self.gathered.is_empty() || self.retry_at.is_some_and(|at| context.instant() < at) {
            return;
        }
        self.retry_at = None;
        self.last_id = self.last_id.next();
        let round = Round { id: self.last_id, readers: std::mem::take(&mut self.gathered) };
        context.command(LogCommand::Read { id: round.id });
        self.asked.push_back(round);
    }

    /// Ends the pause after a failed read, because there may be a leader.
    pub(super) fn hurry(&mut self) {
        self.retry_at = None;
    }

    /// The core has returned an index.
    pub(super) fn on_ready(&mut self, id: ReadId, index: LogIndex) {
        let Some(readers) = self.take(id) else { return };
        self.last_failure = None;
        self.make_ready(index, readers);
    }

    /// Lets reads wait until `index` is applied.
    fn make_ready(&mut self, index: LogIndex, readers: Vec<Reader>) {
        let place = self.ready.partition_point(|ready| ready.index <= index);
        match place.checked_sub(1).and_then(|before| self.ready.get_mut(before)) {
            Some(ready) if ready.index == index => ready.readers.extend(readers),
            _ => self.ready.insert(place, Ready { index, readers }),
        }
    }

    /// The core returned none. It is asked again after a while, for the reads that have not expired by then.
    pub(super) fn on_failed<L: ReplicatedLog>(&mut self, context: &Context<L>, id: ReadId, reason: ReadFailure) {
        let Some(mut readers) = self.take(id) else { return };
        self.gathered.append(&mut readers);
        self.last_failure = Some(reason);
        self.retry_at = Some(context.instant().after(context.settings.read_retry));
    }

    /// Answers the reads whose index is applied.
    pub(super) fn answer<L: ReplicatedLog>(&mut self, context: &mut Context<L>, applied: LogIndex) {
        while let Some(Ready { readers, .. }) = self.ready.pop_front_if(|ready| ready.index <= applied) {
            self.count -= readers.len();
            context.counters.reads += readers.len() as u64;
            for reader in readers {
                context.reply(reader.call, Reply::ReadReady);
            }
        }
    }

    /// Fails the reads whose deadline has passed.
    pub(super) fn expire<L: ReplicatedLog>(&mut self, context: &mut Context<L>) {
        let now = context.instant();
        if self.expiry_from.is_none_or(|from| now < from) {
            return;
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
        self.asked.iter_mut().for_each(|round| round.readers.retain(&mut keep));
        self.ready.iter_mut().for_each(|ready| ready.readers.retain(&mut keep));
        self.count -= expired.len();
        self.expiry_from = expiry_from;
        for call in expired {
            context.reply(call, Reply::ReadFailed(ReadError::DeadlinePassed(self.last_failure)));
        }
    }

    /// Fails all reads, because the group has stopped on this node.
    pub(super) fn on_halted<L: ReplicatedLog>(&mut self, context: &mut Context<L>, reason: &HaltReason) {
        let all = std::mem::take(self);
        self.last_id = all.last_id;
        let asked = all.asked.into_iter().flat_map(|round| round.readers);
        let ready = all.ready.into_iter().flat_map(|ready| ready.readers);
        for reader in all.gathered.into_iter().chain(asked).chain(ready) {
            context.reply(reader.call, Reply::ReadFailed(ReadError::Halted(reason.clone())));
        }
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
        let place = self.asked.iter().position(|round| round.id == id)?;
        self.asked.remove(place).map(|round| round.readers)
    }
}
