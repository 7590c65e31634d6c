//! Quiet groups: they send no heartbeats of their own while the nodes are alive.
//!
//! With a thousand groups on a node, the heartbeats of each would cost more than the work. So a group without work may
//! rely on the life of nodes, which the shell reports to all groups at once
//! ([`Signal::PeerAlive`](quorate_protocol::Signal::PeerAlive)). The rules:
//!
//! 1. **Leader.** After `quiet_after` without a command, once every living peer has the whole log durable and all of it
//!    is committed, heartbeats carry [`Pace::Quiet`]. A peer that answers with the same pace gets no more heartbeats.
//!    From then on the life of its node counts as its answer for the quorum. Any command, vote request, lost connection
//!    or changed standing wakes the group.
//! 2. **Follower.** It goes quiet when all of its log is committed and durable. The life of the leader's node then
//!    replaces heartbeats. Any message of the leader itself ends that.
//! 3. **A leader that no longer leads is detected.** If it stepped down or restarted, it has no leader, campaigns
//!    within an election time-out, and its own vote request shows it to the followers. If its disk was wiped, its
//!    standing changes. If the connection was lost, the follower is notified. If its group alone died, no message shows
//!    it. So a quiet follower relies on the life of the node for `quiet_max` only, and a quiet leader sends a heartbeat
//!    at least twice in that time.
//! 4. **A follower that lost contact is detected.** If it restarted or timed out, it requests votes, which are refused,
//!    and the leader wakes. If its node is not heard from, the leader wakes, and steps down without a quorum.

use std::time::Duration;

use quorate_protocol::Instant;

use crate::message::Pace;

/// The way of a leader to quiet.
#[derive(Clone, Debug)]
pub(crate) struct Quiet {
    /// The time of the last activity other than heartbeats.
    busy_at: Instant,
    /// The time of the last heartbeat to quiet peers.
    spoken_at: Instant,
    stage: Stage,
}

/// The stage on the way to quiet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// Heartbeats continue.
    Lively,
    /// Heartbeats ask peers to go quiet. Answers count from this round on.
    Settling { round: u64 },
    /// Every peer that is alive is quiet.
    Quiet,
}

impl Quiet {
    pub(crate) fn new(now: Instant) -> Self {
        Self { busy_at: now, spoken_at: now, stage: Stage::Lively }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    /// Returns the pace that heartbeats carry.
    pub(crate) fn pace(&self) -> Pace {
        if self.stage == Stage::Lively { Pace::Lively } else { Pace::Quiet }
    }

    /// Returns the time at which the group may rest, if nothing happens until then.
    pub(crate) fn rest_at(&self, quiet_after: Duration) -> Instant {
        self.busy_at.after(quiet_after)
    }

    /// Returns the time at which quiet peers get a heartbeat again. They rely on the life of the node for `quiet_max`.
    pub(crate) fn speak_at(&self, quiet_max: Duration) -> Instant {
        self.spoken_at.after(quiet_max / 2)
    }

    /// Notes an activity. Returns true if that ends quiet, or the way to it.
    pub(crate) fn wake(&mut self, now: Instant) -> bool {
        self.busy_at = now;
        std::mem::replace(&mut self.stage, Stage::Lively) != Stage::Lively
    }

    /// With each tick: goes the next step if there has been nothing to do for long enough (`is_resting`), to quiet once
    /// every living peer is quiet (`is_settled`). Answers to the heartbeats of `next_round` and later ones count.
    pub(crate) fn advance(&mut self, is_resting: bool, is_settled: bool, next_round: u64) {
        self.stage = match self.stage {
            _ if !is_resting => Stage::Lively,
            _ if is_settled => Stage::Quiet,
            Stage::Lively => Stage::Settling { round: next_round },
            stage => stage,
        };
    }

    /// Notes that heartbeats are sent.
    pub(crate) fn note_spoken(&mut self, now: Instant) {
        self.spoken_at = now;
    }

    /// Returns true if an answer to the heartbeats of `round` shows whether a peer is quiet.
    pub(crate) fn is_asked_in(&self, round: u64) -> bool {
        match self.stage {
            Stage::Lively => false,
            Stage::Settling { round: first } => round >= first,
            Stage::Quiet => true,
        }
    }
}
