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

use quorate_protocol::{DiskState, Instant, NodeId};

use crate::Raft;
use crate::error::Ignored;
use crate::message::{Heartbeat, HeartbeatResponse, Pace};
use crate::progress::{Progress, SendState};
use crate::state::{Follower, RoleState};

/// The way of a leader to quiet.
#[derive(Clone, Debug)]
pub(crate) struct Quiet {
    /// The time of the last activity other than heartbeats.
    pub(crate) busy_at: Instant,
    /// The time of the last heartbeat to quiet peers.
    pub(crate) spoken_at: Instant,
    pub(crate) stage: Stage,
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

    pub(crate) fn pace(&self) -> Pace {
        if self.stage == Stage::Lively { Pace::Lively } else { Pace::Quiet }
    }
}

impl Raft {
    /// Checks the quorum and sends heartbeats, unless the group is quiet.
    pub(crate) fn tick(&mut self) {
        self.forgive_own_absence();
        if !self.has_quorum() {
            return self.step_down();
        }
        self.look_after_disk();
        self.pursue_transfer();
        self.compact_again();
        let (now, settings) = (self.chassis.instant(), self.config.settings());
        let is_resting = self.is_at_rest();
        let last_word_due = settings.quiet_max / 2;
        let (heartbeat, timeout) = (settings.heartbeat_interval, settings.election_timeout_min);
        let RoleState::Leader(leader) = &mut self.role else { return };
        if !is_resting {
            leader.quiet.stage = Stage::Lively;
        } else if leader.quiet.stage == Stage::Lively {
            leader.quiet.stage = Stage::Settling { round: leader.round + 1 };
        }
        let is_settled = leader.progress.values().all(|peer| peer.is_quiet || now.since(peer.heard_at) >= timeout);
        if is_resting && is_settled {
            leader.quiet.stage = Stage::Quiet;
        }
        leader.tick_at = now.after(heartbeat);
        if leader.quiet.stage == Stage::Quiet && now.since(leader.quiet.spoken_at) < last_word_due {
            return;
        }
        leader.quiet.spoken_at = now;
        self.broadcast_heartbeat();
    }

    /// Ends quiet because of an activity.
    pub(crate) fn wake(&mut self) {
        let now = self.chassis.instant();
        if let RoleState::Leader(leader) = &mut self.role {
            leader.quiet.busy_at = now;
            if leader.quiet.stage != Stage::Lively {
                leader.quiet.stage = Stage::Lively;
                leader.tick_at = now;
                leader.progress.values_mut().for_each(|progress| progress.is_quiet = false);
            }
        }
    }

    /// Notes that a node is alive. That says nothing about its groups, except about a quiet one.
    pub(crate) fn on_peer_alive(&mut self, node: NodeId) {
        let now = self.chassis.instant();
        let quiet_max = self.config.settings().quiet_max;
        match &mut self.role {
            RoleState::Leader(leader) => {
                let is_quiet = leader.quiet.stage == Stage::Quiet;
                match leader.progress.get_mut(&node) {
                    Some(peer) if peer.is_quiet => peer.heard_at = now,
                    // The node has come back.
                    Some(_) if is_quiet => self.wake(),
                    _ => {}
                }
            }
            RoleState::Follower(Follower { quiet_since: Some(since), .. })
                if self.leader == Some(node) && now.since(*since) < quiet_max =>
            {
                self.leader_heard_at = now;
                self.restart_election_timer();
            }
            _ => {}
        }
    }

    /// The connection to a node was lost, or a message to it: everything on the way to it is lost.
    pub(crate) fn on_unreachable(&mut self, node: NodeId) -> Result<(), Ignored> {
        match &mut self.role {
            RoleState::Leader(leader) => {
                let progress = leader.progress.get_mut(&node).ok_or(Ignored::NotMember)?;
                if progress.pace == SendState::Replicate {
                    progress.become_probe(progress.match_index.next());
                }
                self.wake();
            }
            RoleState::Follower(follower) if self.leader == Some(node) => follower.quiet_since = None,
            _ => {}
        }
        Ok(())
    }

    /// Goes quiet with the leader if this follower has everything.
    pub(crate) fn settle(&mut self, message: Heartbeat) -> Pace {
        let last = self.log.last();
        let has_all = self.committed_here() == last && message.commit_index == last;
        if let RoleState::Follower(follower) = &mut self.role
            && message.pace == Pace::Quiet
            && has_all
        {
            follower.quiet_since = Some(self.chassis.instant());
            return Pace::Quiet;
        }
        Pace::Lively
    }

    /// Notes a follower's answer whether it went quiet.
    pub(crate) fn note_pace(&mut self, from: NodeId, message: HeartbeatResponse) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let first = match leader.quiet.stage {
            Stage::Lively => return,
            Stage::Settling { round } => round,
            Stage::Quiet => 0,
        };
        if let Some(progress) = leader.progress.get_mut(&from)
            && message.round >= first
        {
            progress.is_quiet = message.pace == Pace::Quiet;
        }
    }

    /// Returns true if there has been nothing to do for long enough.
    fn is_at_rest(&self) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        let Some(quiet_after) = self.config.settings().quiet_after else { return false };
        let (now, last) = (self.chassis.instant(), self.log.last());
        let timeout = self.config.settings().election_timeout_min;
        let has_all =
            |peer: &Progress| peer.match_index == last && peer.commit_told == last && peer.pace == SendState::Replicate;
        now.since(leader.quiet.busy_at) >= quiet_after
            && self.committed_here() == last
            && self.reads.len() == 0
            && leader.transfer.is_none()
            && self.disk_state() == DiskState::Ready
            && leader.progress.values().all(|peer| has_all(peer) || now.since(peer.heard_at) >= timeout)
    }
}
