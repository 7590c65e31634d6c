//! Handing over leadership: because somebody asks for it (Raft thesis §3.10), or because another node's disk does
//! better.
//!
//! A leader whose disk stays short of room would refuse every command while others have room. One whose disk stands
//! still answers nobody, although its heartbeats keep its office. Both hand over once it lasted for
//! [`Raft::disk_patience`]. Who is short of room and finds nobody with room stays in office: reads are served, and
//! commands again as soon as there is room. Whose disk stands still steps down where nobody can be handed the office,
//! as long as there is anybody else to elect.

use std::cmp::Reverse;
use std::time::Duration;

use quorate_protocol::{DiskState, Instant, MemberRole, NodeId, StorageLevel};

use crate::Raft;
use crate::error::Ignored;
use crate::leader::Transfer;
use crate::message::{Message, TimeoutNow};
use crate::progress::Progress;
use crate::state::RoleState;

impl Raft {
    /// Hands leadership to `to`, or to the voter with the longest log, first of all to one whose disk takes writes.
    pub(crate) fn on_transfer(&mut self, to: Option<NodeId>, timeout: Duration) -> Result<(), Ignored> {
        if !matches!(self.role, RoleState::Leader(_)) {
            return Err(Ignored::NotLeading);
        }
        let to = self.successor(|node, _| to.is_none_or(|to| to == node)).ok_or(Ignored::NoCandidate)?;
        self.begin_transfer(to, timeout);
        Ok(())
    }

    /// Tells the target of a hand-over to campaign once it has everything. While this node's disk stands still,
    /// everything is what was sent: the rest waits for the disk and would hold the hand-over up for ever.
    pub(crate) fn continue_transfer(&mut self) {
        let goal = if self.is_stalled() { self.log.submitted() } else { self.log.last() };
        let RoleState::Leader(leader) = &mut self.role else { return };
        if let Some(transfer) = &mut leader.transfer
            && !transfer.is_told
            && leader.progress.get(&transfer.to).is_some_and(|progress| progress.match_index >= goal)
        {
            transfer.is_told = true;
            self.outbox.send(transfer.to, Message::TimeoutNow(TimeoutNow { term: self.state.term }));
        }
    }

    /// With each round of heartbeats: tells the target again, whose first order may be lost, and gives up on one that
    /// is gone.
    pub(crate) fn pursue_transfer(&mut self) {
        let (now, timeout) = (self.now.instant, self.config.settings().election_timeout_min);
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        let is_there = leader.progress.get(&transfer.to).is_some_and(|peer| now.since(peer.heard_at) < timeout);
        transfer.is_told = false;
        if !is_there {
            leader.transfer = None;
        }
    }

    /// The disk's reserve is used up, or is there again.
    pub(crate) fn on_storage(&mut self, level: StorageLevel) {
        if level != self.storage {
            self.storage = level;
            self.storage_since = self.now.instant;
            self.wake();
        }
    }

    /// What this node's disk does.
    pub(crate) fn disk_state(&self) -> DiskState {
        match self.storage {
            _ if self.is_stalled() => DiskState::Stalled,
            StorageLevel::Low => DiskState::Low,
            StorageLevel::Enough => DiskState::Ready,
        }
    }

    /// Whether a write has been under way for longer than the disk is given.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled_at().is_some_and(|at| at <= self.now.instant)
    }

    /// When the write under way makes the disk count as stalled.
    pub(crate) fn stalled_at(&self) -> Option<Instant> {
        self.writing_since.map(|since| since.after(self.disk_patience()))
    }

    /// When a leader that is short of room offers the office to another.
    pub(crate) fn low_until(&self) -> Option<Instant> {
        let RoleState::Leader(leader) = &self.role else { return None };
        let since = self.storage_since.max(leader.offered_at);
        (self.storage == StorageLevel::Low).then(|| since.after(self.disk_patience()))
    }

    /// With each tick of a leader: leaves the office to another where this node's disk does not let it be filled.
    pub(crate) fn look_after_disk(&mut self) {
        let now = self.now.instant;
        let is_low = self.low_until().is_some_and(|until| until <= now);
        let is_stalled = self.is_stalled();
        let RoleState::Leader(leader) = &mut self.role else { return };
        if !(is_low || is_stalled) || leader.transfer.is_some() {
            return;
        }
        let was_offered = self.writing_since.is_some_and(|since| leader.offered_at > since);
        leader.offered_at = now;
        let successor = self.successor(|_, progress| progress.disk == DiskState::Ready);
        match successor {
            Some(to) if !(is_stalled && was_offered) => {
                self.begin_transfer(to, self.config.settings().election_timeout_max);
            }
            _ if is_stalled && self.has_other_voters() => self.give_way(),
            _ => {}
        }
    }

    /// How long a disk may be short of room, or a write be under way, before another node leads.
    pub(crate) fn disk_patience(&self) -> Duration {
        self.config.settings().election_timeout_max * 2
    }

    fn begin_transfer(&mut self, to: NodeId, timeout: Duration) {
        let until = self.now.instant.after(timeout);
        if let RoleState::Leader(leader) = &mut self.role {
            leader.transfer = Some(Transfer { to, until, is_told: false });
            self.wake();
        }
    }

    /// The best of those who may lead, were heard of within an election time-out and are `wanted`.
    fn successor(&self, wanted: impl Fn(NodeId, &Progress) -> bool) -> Option<NodeId> {
        let RoleState::Leader(leader) = &self.role else { return None };
        let (now, timeout) = (self.now.instant, self.config.settings().election_timeout_min);
        let members = self.log.configuration().members();
        let eligible = members.iter().filter(|member| member.role == MemberRole::Voter && member.priority > 0);
        let known = eligible.filter_map(|member| Some((member.node, leader.progress.get(&member.node)?)));
        let able = known.filter(|(node, progress)| {
            progress.counts() && now.since(progress.heard_at) < timeout && wanted(*node, progress)
        });
        let best = able.max_by_key(|(node, progress)| (Reverse(progress.disk), progress.match_index, Reverse(*node)));
        best.map(|(node, _)| node)
    }

    fn has_other_voters(&self) -> bool {
        let me = self.config.node();
        let configuration = self.log.configuration();
        configuration.voters().chain(configuration.outgoing_voters()).any(|voter| voter != me)
    }
}
