//! Transfers of leadership: at the request of the application (Raft thesis §3.10), or because another node's disk is in
//! a better state.
//!
//! A leader whose disk has too little room would refuse every command although others have room. A leader whose disk is
//! stalled answers no proposal, although its heartbeats keep it in office. Both transfer leadership after this has
//! lasted for [`Raft::disk_patience`]. A leader with too little room that finds no voter with room stays in office: it
//! serves reads, and commands again as soon as there is room. A leader with a stalled disk steps down if it finds no
//! target, as long as there are other voters to elect.

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
    /// Transfers leadership to `to`, or to the voter with the longest log, preferring voters whose disk accepts writes.
    pub(crate) fn on_transfer(&mut self, to: Option<NodeId>, timeout: Duration) -> Result<(), Ignored> {
        if !matches!(self.role, RoleState::Leader(_)) {
            return Err(Ignored::NotLeading);
        }
        let to = self.successor(|node, _| to.is_none_or(|to| to == node)).ok_or(Ignored::NoCandidate)?;
        self.begin_transfer(to, timeout);
        Ok(())
    }

    /// Asks the target of a transfer to campaign once it has everything. While this node's disk is stalled, that means
    /// everything that was sent: the rest waits for the disk and would delay the transfer for ever.
    pub(crate) fn continue_transfer(&mut self) {
        let goal = if self.is_stalled() { self.log.submitted() } else { self.log.last() };
        let RoleState::Leader(leader) = &mut self.role else { return };
        if let Some(transfer) = &mut leader.transfer
            && !transfer.is_told
            && leader.progress.get(&transfer.to).is_some_and(|progress| progress.match_index >= goal)
        {
            transfer.is_told = true;
            self.chassis.outbox.send(transfer.to, Message::TimeoutNow(TimeoutNow { term: self.state.term }));
        }
    }

    /// With each round of heartbeats: asks the target again, because the first request may be lost, and gives up a
    /// transfer to a target that is gone.
    pub(crate) fn pursue_transfer(&mut self) {
        let (now, timeout) = (self.chassis.instant(), self.config.settings().election_timeout_min);
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        let is_there = leader.progress.get(&transfer.to).is_some_and(|peer| now.since(peer.heard_at) < timeout);
        transfer.is_told = false;
        if !is_there {
            leader.transfer = None;
        }
    }

    /// Notes that the disk's reserve is used up, or is available again.
    pub(crate) fn on_storage(&mut self, level: StorageLevel) {
        if self.chassis.set_storage(level) {
            self.storage_since = self.chassis.instant();
            self.wake();
        }
    }

    /// Returns the state of this node's disk.
    pub(crate) fn disk_state(&self) -> DiskState {
        match self.chassis.storage() {
            _ if self.is_stalled() => DiskState::Stalled,
            StorageLevel::Low => DiskState::Low,
            StorageLevel::Enough => DiskState::Ready,
        }
    }

    /// Returns true if a write has been under way for longer than the disk may take.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled_at().is_some_and(|at| at <= self.chassis.instant())
    }

    /// Returns the time at which the write under way makes the disk count as stalled.
    pub(crate) fn stalled_at(&self) -> Option<Instant> {
        self.writing_since.map(|since| since.after(self.disk_patience()))
    }

    /// Returns the time at which a leader with too little room offers leadership to another node.
    pub(crate) fn low_until(&self) -> Option<Instant> {
        let RoleState::Leader(leader) = &self.role else { return None };
        let since = self.storage_since.max(leader.offered_at);
        (self.chassis.storage() == StorageLevel::Low).then(|| since.after(self.disk_patience()))
    }

    /// With each tick of a leader: gives leadership to another node if this node's disk does not let it serve.
    pub(crate) fn look_after_disk(&mut self) {
        let now = self.chassis.instant();
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

    /// Time for which a disk may have too little room, or a write may be under way, before another node should lead.
    pub(crate) fn disk_patience(&self) -> Duration {
        self.config.settings().election_timeout_max * 2
    }

    fn begin_transfer(&mut self, to: NodeId, timeout: Duration) {
        let until = self.chassis.instant().after(timeout);
        if let RoleState::Leader(leader) = &mut self.role {
            leader.transfer = Some(Transfer { to, until, is_told: false });
            self.wake();
        }
    }

    /// Returns the best node among those that may lead, were heard from within an election time-out and are `wanted`.
    fn successor(&self, wanted: impl Fn(NodeId, &Progress) -> bool) -> Option<NodeId> {
        let RoleState::Leader(leader) = &self.role else { return None };
        let (now, timeout) = (self.chassis.instant(), self.config.settings().election_timeout_min);
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
