//! Transfers of leadership: at the request of the application (Raft thesis §3.10), or because another node's disk is in
//! a better state.
//!
//! A leader whose disk has too little room would refuse every command although others have room. A leader whose disk is
//! stalled answers no proposal, although its heartbeats keep it in office. Both transfer leadership after this has
//! lasted for the patience of [`Disk`](crate::replication::disk::Disk). A leader with too little room that finds no
//! voter with room stays in office: it serves reads, and commands again as soon as there is room. A leader with a
//! stalled disk steps down if it finds no target, as long as there are other voters to elect.
//!
//! A leader also transfers leadership to a voter of higher priority that is hardly behind.

use crate::replication::Election;
use crate::replication::peers::Peers;
use crate::replication::progress::Progress;
use crate::replication::shared::Shared;
use crate::{DiskState, Instant, NodeId};

/// The transfer of leadership that is under way, if there is one.
#[derive(Clone, Debug)]
pub(crate) struct Transfers {
    current: Option<Transfer>,
    /// True if any node was asked to campaign in this term. The message may arrive at any time.
    has_told: bool,
    /// The time at which the leadership began, or was last offered to another node because of this node's disk.
    offered_at: Instant,
}

/// A transfer of leadership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) to: NodeId,
    pub(crate) until: Instant,
    /// True if the target was asked to campaign. It is asked again with each round of heartbeats.
    pub(crate) is_told: bool,
}

/// The decision of a leader about its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskCare {
    /// It serves.
    Serves,
    /// It transfers leadership to this node.
    HandsOver(NodeId),
    /// It steps down.
    GivesWay,
}

impl Transfers {
    pub(crate) fn new(now: Instant) -> Self {
        Self { current: None, has_told: false, offered_at: now }
    }

    pub(crate) fn current(&self) -> Option<Transfer> {
        self.current
    }

    /// Returns true while leadership is being transferred. No proposal is taken meanwhile.
    pub(crate) fn is_under_way(&self) -> bool {
        self.current.is_some()
    }

    /// Returns true if no node campaigns in this term, and none will, because this leader asked it to.
    pub(crate) fn leaves_elections_alone(&self) -> bool {
        !self.is_under_way() && !self.has_told
    }

    /// Returns the time at which leadership was last offered because of this node's disk.
    pub(crate) fn offered_at(&self) -> Instant {
        self.offered_at
    }

    /// Starts a transfer to `to`.
    pub(crate) fn begin(&mut self, to: NodeId, until: Instant) {
        self.current = Some(Transfer { to, until, is_told: false });
    }

    /// Gives up a transfer that took too long.
    pub(crate) fn end_overdue(&mut self, now: Instant) {
        self.current.take_if(|transfer| transfer.until <= now);
    }

    /// With each round of heartbeats: asks the target again, because the first request may be lost, and gives up a
    /// transfer to a target that is gone.
    pub(crate) fn pursue<E: Election>(&mut self, shared: &Shared<E>, peers: &Peers) {
        let Some(transfer) = &mut self.current else { return };
        let is_there = peers.get(transfer.to).is_some_and(|peer| peer.is_alive(shared));
        transfer.is_told = false;
        if !is_there {
            self.current = None;
        }
    }

    /// Returns the target of the transfer if it has everything and was not asked to campaign. While this node's disk is
    /// stalled, that means everything that was sent: the rest waits for the disk and would delay the transfer for ever.
    pub(crate) fn take_due<E: Election>(&mut self, shared: &Shared<E>, peers: &Peers) -> Option<NodeId> {
        let goal = if shared.is_stalled() { shared.log.submitted() } else { shared.log.last() };
        let transfer = self.current.as_mut()?;
        let is_due = !transfer.is_told && peers.get(transfer.to).is_some_and(|progress| progress.match_index >= goal);
        transfer.is_told |= is_due;
        self.has_told |= is_due;
        is_due.then_some(transfer.to)
    }

    /// With each tick: gives leadership to another node if this node's disk does not let it serve.
    pub(crate) fn look_after_disk<E: Election>(&mut self, shared: &Shared<E>, peers: &Peers) -> DiskCare {
        let now = shared.now();
        let is_low = self.low_until(shared).is_some_and(|until| until <= now);
        let is_stalled = shared.is_stalled();
        if !(is_low || is_stalled) || self.is_under_way() {
            return DiskCare::Serves;
        }
        let was_offered = shared.disk.was_offered(self.offered_at);
        self.offered_at = now;
        match peers.successor(shared, |_, progress| progress.disk == DiskState::Ready) {
            Some(to) if !(is_stalled && was_offered) => DiskCare::HandsOver(to),
            _ if is_stalled && has_other_voters(shared) => DiskCare::GivesWay,
            _ => DiskCare::Serves,
        }
    }

    /// With each tick: returns a voter of higher priority than this node, if there is one that is hardly behind and
    /// whose disk accepts writes. Another is not looked for before the patience for disks is over, so that leadership
    /// does not move back and forth.
    pub(crate) fn preferred<E: Election>(&mut self, shared: &Shared<E>, peers: &Peers) -> Option<NodeId> {
        let now = shared.now();
        if self.is_under_way() || self.preference_at(shared).is_none_or(|at| now < at) {
            return None;
        }
        let own = priority(shared, shared.config.node());
        let is_fit = |progress: &Progress| progress.disk == DiskState::Ready && progress.is_close(shared);
        let to = peers.successor(shared, |node, progress| priority(shared, node) > own && is_fit(progress))?;
        self.offered_at = now;
        Some(to)
    }

    /// Returns the time from which a voter of higher priority gets the leadership, if there is one.
    pub(crate) fn preference_at<E: Election>(&self, shared: &Shared<E>) -> Option<Instant> {
        let own = priority(shared, shared.config.node());
        let mut members = shared.log.configuration().members().iter();
        let has_better = members.any(|member| member.may_lead() && member.priority > own);
        has_better.then(|| shared.disk.patience_end(self.offered_at))
    }

    /// Returns the time at which a leader with too little room offers leadership to another node.
    pub(crate) fn low_until<E: Election>(&self, shared: &Shared<E>) -> Option<Instant> {
        shared.disk.low_until(shared.chassis.storage(), self.offered_at)
    }
}

fn priority<E: Election>(shared: &Shared<E>, node: NodeId) -> u8 {
    shared.log.configuration().member(node).map_or(0, |member| member.priority)
}

fn has_other_voters<E: Election>(shared: &Shared<E>) -> bool {
    let me = shared.config.node();
    let configuration = shared.log.configuration();
    configuration.voters().chain(configuration.outgoing_voters()).any(|voter| voter != me)
}
