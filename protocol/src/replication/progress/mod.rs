//! The progress of a peer as its leader sees it, and the window of entries on the way to it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::replication::Election;
use crate::replication::lease::Promised;
use crate::replication::shared::Shared;
use crate::{DiskState, Instant, LogIndex, ProgressState, Standing, Ticket};

/// The progress of one peer. The leader's own log is not among these.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// The index up to which the peer's log is known to match durably. Never goes back while the peer keeps its
    /// incarnation.
    pub(crate) match_index: LogIndex,
    /// The next entry to send. Above `match_index`.
    pub(crate) next_index: LogIndex,
    /// The way in which entries are sent to the peer.
    pub(crate) pace: SendState,
    /// Messages on the way: the last entry of each, and its bytes. Ascending.
    pub(crate) in_flight: VecDeque<(LogIndex, usize)>,
    pub(crate) in_flight_bytes: usize,
    /// The time at which the peer itself was last heard from in this term.
    pub(crate) heard_at: Instant,
    /// The commit index that was last sent to the peer.
    pub(crate) commit_told: LogIndex,
    /// The latest round of heartbeats that the peer answered.
    pub(crate) round_answered: u64,
    /// The oldest round of heartbeats that the peer has not answered. Its answer shows which entries got lost before.
    pub(crate) loss_probe: Option<LossProbe>,
    /// The time for which the peer votes for no other node.
    pub(crate) promised: Promised,
    /// The load of entries for the peer that is under way.
    pub(crate) loading: Option<Ticket>,
    /// The time at which the peer was last asked for its matching index, or at which that was postponed. It is asked at
    /// the pace of heartbeats, however many rounds of heartbeats reads cause.
    pub(crate) asked_at: Instant,
    /// The state of the peer's disk, as the peer reported it.
    pub(crate) disk: DiskState,
    /// True if the peer went quiet.
    pub(crate) is_quiet: bool,
    /// True if the leader is quiet as well: then the life of the peer's node counts as its answers.
    pub(crate) is_resting: bool,
    /// The standing of the peer: it decides whether its acknowledgements count.
    pub(crate) standing: Standing,
    /// Set if the peer is no member any more and may not know it yet.
    pub(crate) leaving: Option<Leaving>,
}

/// The end of a peer's membership: it gets the log until it knows that it was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaving {
    /// The index of the configuration without the peer.
    pub(crate) index: LogIndex,
    /// The time at which it was appended.
    pub(crate) since: Instant,
    /// The first round of heartbeats that announced that it is committed.
    pub(crate) told_in: Option<u64>,
}

impl Leaving {
    /// Returns the time for which a removed peer that does not answer gets the log.
    pub(crate) fn patience<E: Election>(shared: &Shared<E>) -> Duration {
        shared.settings().election_timeout_max * LEAVING_TIMEOUTS
    }
}

/// A round of heartbeats, and the progress of a peer when it was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LossProbe {
    pub(crate) round: u64,
    /// The next entry to send.
    pub(crate) next_index: LogIndex,
    /// The index that the peer had acknowledged. Every later answer should come from a disk that has it.
    pub(crate) match_index: LogIndex,
}

/// The way in which entries are sent to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SendState {
    /// One message at a time, until the matching index is known.
    Probe {
        /// True while a message is on the way.
        is_waiting: bool,
    },
    /// A stream, bounded in bytes.
    Replicate,
    /// A snapshot up to this index is being sent.
    Snapshot {
        /// The last entry that it covers. The log after it is kept.
        index: LogIndex,
        /// The request to the application, while it is not answered.
        request: Option<Ticket>,
        /// The time at which the transfer began or ended.
        since: Instant,
    },
}

impl Progress {
    /// Makes the progress of an unknown peer. Its log is assumed to be as long as the leader's (Raft §5.3).
    pub(crate) fn new(next_index: LogIndex, now: Instant, standing: Standing) -> Self {
        Self {
            match_index: LogIndex::ZERO,
            next_index,
            pace: SendState::Probe { is_waiting: false },
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            heard_at: now,
            commit_told: LogIndex::ZERO,
            round_answered: 0,
            loss_probe: None,
            promised: Promised::default(),
            loading: None,
            asked_at: now,
            disk: DiskState::Ready,
            is_quiet: false,
            is_resting: false,
            standing,
            leaving: None,
        }
    }

    /// Notes that the heartbeat of this round announces this commit index.
    pub(crate) fn note_commit_told(&mut self, commit_index: LogIndex, round: u64) {
        self.commit_told = commit_index;
        if let Some(leaving) = &mut self.leaving
            && commit_index >= leaving.index
        {
            leaving.told_in.get_or_insert(round);
        }
    }

    /// Returns true if the peer has left: it knows that it was removed, or had long enough to learn it.
    pub(crate) fn has_left<E: Election>(&self, shared: &Shared<E>) -> bool {
        self.leaving.is_some_and(|leaving| {
            let knows = leaving.told_in.is_some_and(|round| self.round_answered >= round);
            knows || shared.now().since(leaving.since) >= Leaving::patience(shared)
        })
    }

    /// Returns true if another message of entries may be sent, with at most `window_bytes_max` on the way.
    pub(crate) fn may_send(&self, window_bytes_max: usize) -> bool {
        match self.pace {
            SendState::Probe { is_waiting } => !is_waiting,
            // A message is sent whole once there is any room, so the window may be exceeded by one message.
            SendState::Replicate => self.in_flight_bytes < window_bytes_max,
            SendState::Snapshot { .. } => false,
        }
    }

    /// Notes that entries up to and including `last` were sent.
    pub(crate) fn sent(&mut self, last: LogIndex, bytes: usize, now: Instant) {
        match &mut self.pace {
            SendState::Probe { .. } => self.pause(now),
            SendState::Replicate => {
                self.in_flight.push_back((last, bytes));
                self.in_flight_bytes += bytes;
                self.next_index = last.next();
            }
            SendState::Snapshot { .. } => {}
        }
    }

    /// Notes that the peer durably has everything up to `index`. Returns true if that is new.
    pub(crate) fn matched(&mut self, index: LogIndex) -> bool {
        while let Some((last, bytes)) = self.in_flight.front()
            && *last <= index
        {
            self.in_flight_bytes -= bytes;
            self.in_flight.pop_front();
        }
        let is_news = index > self.match_index;
        self.match_index = self.match_index.max(index);
        if self.next_index <= index {
            self.next_index = index.next();
            // The load is no longer wanted.
            self.loading = None;
        }
        is_news
    }

    /// Sends entries in a stream from the next entry on.
    pub(crate) fn become_replicate(&mut self) {
        self.clear_flight();
        self.next_index = self.match_index.next();
        self.pace = SendState::Replicate;
    }

    /// Asks for the matching index, starting just before `next_index`.
    pub(crate) fn become_probe(&mut self, next_index: LogIndex) {
        self.clear_flight();
        self.next_index = next_index.max(self.match_index.next());
        self.pace = SendState::Probe { is_waiting: false };
    }

    /// Asks nothing before the next heartbeat is answered.
    pub(crate) fn pause(&mut self, now: Instant) {
        self.pace = SendState::Probe { is_waiting: true };
        self.asked_at = now;
    }

    /// Sends everything after `received` again, because it was lost.
    pub(crate) fn resend_behind(&mut self, received: LogIndex) {
        self.clear_flight();
        self.next_index = received.max(self.match_index).next();
    }

    /// Returns true if the peer was heard from within an election time-out.
    pub(crate) fn is_alive<E: Election>(&self, shared: &Shared<E>) -> bool {
        let now = shared.now();
        now.since(self.heard_at(now)) < shared.settings().election_timeout_min
    }

    /// Returns the time at which the peer, or the node of a resting peer, was last heard from.
    pub(crate) fn heard_at(&self, now: Instant) -> Instant {
        if self.is_resting { now } else { self.heard_at }
    }

    /// Ends the quiet of the peer. If it rests, its node was last heard from at this time.
    pub(crate) fn end_quiet(&mut self, heard_at: Instant) {
        self.is_quiet = false;
        if std::mem::take(&mut self.is_resting) {
            self.heard_at = heard_at;
        }
    }

    /// Returns true if the peer gets a stream of entries and is only a few behind.
    pub(crate) fn is_close<E: Election>(&self, shared: &Shared<E>) -> bool {
        let behind = shared.log.last().0 - self.match_index.0;
        self.pace == SendState::Replicate && behind <= shared.settings().promotion_lag_max
    }

    /// Returns true if the peer's acknowledgements and answers count.
    pub(crate) fn counts(&self) -> bool {
        self.standing == Standing::Member
    }

    /// Returns the index of the snapshot that is being sent to the peer.
    pub(crate) fn snapshot_index(&self) -> Option<LogIndex> {
        match self.pace {
            SendState::Snapshot { index, .. } => Some(index),
            SendState::Probe { .. } | SendState::Replicate => None,
        }
    }

    pub(crate) fn state(&self) -> ProgressState {
        match self.pace {
            SendState::Probe { .. } => ProgressState::Probe,
            SendState::Replicate => ProgressState::Replicate,
            SendState::Snapshot { .. } => ProgressState::Snapshot,
        }
    }

    pub(crate) fn check_invariants(&self) {
        assert!(self.next_index > self.match_index, "what matches is not sent again");
        let bytes = self.in_flight.iter().map(|(_, bytes)| bytes).sum::<usize>();
        assert!(bytes == self.in_flight_bytes, "the window is counted");
        assert!(
            self.in_flight.iter().all(|(last, _)| *last < self.next_index),
            "the window lies before the next entry"
        );
    }

    fn clear_flight(&mut self) {
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.loading = None;
    }
}

/// Number of election time-outs for which a removed peer gets the log.
const LEAVING_TIMEOUTS: u32 = 10;

#[cfg(test)]
mod tests;
