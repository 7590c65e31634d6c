//! Quiet groups: they send nothing while their nodes are alive.
//!
//! With ten thousand groups on a node, the heartbeats of each would cost more than the work. So a group without work
//! may rely on the life of nodes. The shell watches these for all groups at once, and wakes a group when something has
//! changed (see [`Rest`](crate::Rest)). The rules:
//!
//! 1. **Leader.** After `quiet_after` without a command, once every living peer has the whole log durable and all of it
//!    is committed, heartbeats carry [`Pace::Quiet`]. When every living peer has answered with the same pace, the
//!    leader sends no more and has no deadline. From then on the life of the peers' nodes counts as their answer for
//!    the quorum. Any command, read, vote request, lost connection or changed standing wakes the group, and so does a
//!    node that falls silent or comes back.
//! 2. **Follower.** It goes quiet when all of its log is committed and durable. Then it has no election time-out, and
//!    takes its leader for alive until the leader's node falls silent. Any message of the leader itself ends that.
//! 3. **A leader that no longer leads is detected.** If it stepped down or restarted, it has no leader, campaigns
//!    within an election time-out, and its own vote request shows it to the followers. If its disk was wiped, its
//!    standing changes. If its node restarted or the connection was lost, the shell says so. If its group alone died,
//!    no message shows it. But it is not at rest any more, and the shell, which compares what rests on two nodes, wakes
//!    the follower.
//! 4. **A follower that lost contact is detected.** If it restarted or timed out, it requests votes, which are refused,
//!    and the leader wakes. If its node is not heard from, the leader wakes, and steps down without a quorum. If its
//!    group alone died, the shell wakes the leader as in rule 3.

use std::time::Duration;

use crate::Instant;
use crate::replication::message::Pace;

/// The way of a leader to quiet.
#[derive(Clone, Debug)]
pub(crate) struct Quiet {
    /// The time of the last activity other than heartbeats.
    busy_at: Instant,
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
        Self { busy_at: now, stage: Stage::Lively }
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

    /// Returns true if an answer to the heartbeats of `round` shows whether a peer is quiet.
    pub(crate) fn is_asked_in(&self, round: u64) -> bool {
        match self.stage {
            Stage::Lively => false,
            Stage::Settling { round: first } => round >= first,
            Stage::Quiet => true,
        }
    }
}
