//! Quiet groups: no heartbeats of their own while the nodes are alive.
//!
//! With a thousand groups on a node, heartbeats of each would cost more than the work. So a group without work
//! may rest on the life of nodes, which the shell reports to all groups at once
//! ([`Input::PeerAlive`](quorate_protocol::Input::PeerAlive)). The rule:
//!
//! 1. **Leader.** After `quiet_after` without a command, once every peer that is alive has the whole log, durable, and
//!    all of it is committed, heartbeats say [`Pace::Quiet`]. A peer that answers so gets no more. Life of its node now
//!    counts for it in the quorum. Any command, vote request, lost connection or changed standing wakes the group.
//! 2. **Follower.** It goes quiet when all of its log is committed and durable. Life of the leader's node then stands
//!    in for heartbeats, and any word of the leader itself ends that.
//! 3. **A leader that leads no more is noticed.** It stepped down or restarted: then it has no leader, campaigns within
//!    an election time-out, and its own vote request tells the followers. Its disk was wiped: its standing changes. The
//!    connection was lost: the follower is told. Its group alone died: nobody says so, hence a quiet follower trusts
//!    the life of the node for `quiet_max` only, and a quiet leader speaks at least twice in that time.
//! 4. **A follower that lost touch is noticed.** It restarted or timed out: it asks for votes, which are
//!    refused, and the leader wakes. Its node is not heard of: the leader wakes, and steps down without a quorum.

use quorate_protocol::{DiskState, Instant, NodeId};

use crate::Raft;
use crate::error::Ignored;
use crate::message::{Heartbeat, HeartbeatResponse, Pace};
use crate::progress::{Progress, SendState};
use crate::state::{Follower, RoleState};

/// A leader's way to quiet.
#[derive(Clone, Debug)]
pub(crate) struct Quiet {
    /// The last thing that was more than a heartbeat.
    pub(crate) busy_at: Instant,
    /// The last heartbeat to quiet peers.
    pub(crate) spoken_at: Instant,
    pub(crate) stage: Stage,
}

/// How far on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// Heartbeats go on.
    Lively,
    /// Heartbeats ask peers to go quiet; answers count from this round on.
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
    /// Looks after the quorum and sends heartbeats, unless the group is quiet.
    pub(crate) fn tick(&mut self) {
        self.forgive_own_absence();
        if !self.has_quorum() {
            return self.step_down();
        }
        self.look_after_disk();
        self.pursue_transfer();
        self.compact_again();
        let (now, settings) = (self.now.instant, self.config.settings());
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

    /// Ends quiet, because something happens.
    pub(crate) fn wake(&mut self) {
        let now = self.now.instant;
        if let RoleState::Leader(leader) = &mut self.role {
            leader.quiet.busy_at = now;
            if leader.quiet.stage != Stage::Lively {
                leader.quiet.stage = Stage::Lively;
                leader.tick_at = now;
                leader.progress.values_mut().for_each(|progress| progress.is_quiet = false);
            }
        }
    }

    /// A node is alive. That says nothing of its groups, save of a quiet one.
    pub(crate) fn on_peer_alive(&mut self, node: NodeId) {
        let now = self.now.instant;
        let quiet_max = self.config.settings().quiet_max;
        match &mut self.role {
            RoleState::Leader(leader) => {
                let is_quiet = leader.quiet.stage == Stage::Quiet;
                match leader.progress.get_mut(&node) {
                    Some(peer) if peer.is_quiet => peer.heard_at = now,
                    // It is back.
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

    /// The connection to a node was lost, or something sent to it: what is on the way to it is gone.
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

    /// A follower goes quiet with its leader, if it has everything.
    pub(crate) fn settle(&mut self, message: Heartbeat) -> Pace {
        let last = self.log.last();
        let has_all = self.committed_here() == last && message.commit_index == last;
        if let RoleState::Follower(follower) = &mut self.role
            && message.pace == Pace::Quiet
            && has_all
        {
            follower.quiet_since = Some(self.now.instant);
            return Pace::Quiet;
        }
        Pace::Lively
    }

    /// A follower says whether it went quiet.
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

    /// Whether nothing is left to do, for long enough.
    fn is_at_rest(&self) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        let Some(quiet_after) = self.config.settings().quiet_after else { return false };
        let (now, last) = (self.now.instant, self.log.last());
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
