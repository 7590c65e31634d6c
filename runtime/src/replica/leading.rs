//! Work that depends on leadership: ticks, transfers of leadership, and calls that end when the leader changes.

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_protocol::{
    EntryKind, Input, Instant, LogCommand, LogTime, NodeId, Now, Proposal, ProposalId, ReplicatedLog, Role, Standing,
    Term, VotingBar,
};

use super::Replica;
use crate::group::hostable::Hostable;
use crate::group::interface::{CallId, GroupOutput};
use crate::group::notice::Notice;
use crate::group::outcome::TransferError;
use crate::group::reply::Reply;
use crate::replica::state_machine::StateMachine;

/// Ticks and transfers of leadership.
#[derive(Debug, Default)]
pub(super) struct Leading {
    /// The time at which each other node was last heard from.
    heard: Vec<(NodeId, Instant)>,
    /// Nodes that count, because their incarnations are the known ones.
    members: BTreeSet<NodeId>,
    /// Reason why this node may not vote according to the introductions.
    pub(super) introduction_bar: Option<VotingBar>,
    /// Peers that founded the group otherwise.
    pub(super) founded_otherwise: BTreeSet<NodeId>,
    /// True if a tick was proposed and is not applied yet. There is at most one.
    pub(super) tick_in_flight: bool,
    /// The time at which the next tick is due, on a leader.
    tick_at: Option<Instant>,
    ticked_at: Option<Instant>,
    /// The call that waits until leadership is transferred, and its deadline.
    pub(super) transfer: Option<(CallId, Instant)>,
    /// While the node stops: the time at which it transfers leadership again if it still leads.
    hand_over_again: Option<Instant>,
}

impl Leading {
    /// Notes that a node was heard from, or that it is alive.
    pub(super) fn note_heard(&mut self, node: NodeId, now: Instant) {
        match self.heard.iter_mut().find(|(known, _)| *known == node) {
            Some((_, at)) => *at = now,
            None => self.heard.push((node, now)),
        }
    }

    /// Notes a change of a node's standing.
    pub(super) fn note_standing(&mut self, node: NodeId, standing: Standing) {
        match standing {
            Standing::Member => _ = self.members.insert(node),
            Standing::Stranger => _ = self.members.remove(&node),
        }
    }

    /// Returns the reason why this node may not vote. The node knows best about introductions, the core about the
    /// configuration.
    pub(super) fn voting_bar(&self, of_core: Option<VotingBar>) -> Option<VotingBar> {
        self.introduction_bar.or(of_core)
    }

    /// Returns true if a node does not count: its disk was wiped, or it belongs to another cluster that was founded
    /// under the same name.
    pub(super) fn is_stranger(&self, node: NodeId) -> bool {
        !self.members.contains(&node)
    }

    /// Returns the time at which a node was last heard from.
    pub(super) fn heard_at(&self, node: NodeId) -> Option<Instant> {
        self.heard.iter().find(|(known, _)| *known == node).map(|(_, at)| *at)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.tick_at.into_iter().chain(self.transfer.map(|(_, until)| until)).chain(self.hand_over_again).min()
    }
}

impl<L: ReplicatedLog + Hostable, S: StateMachine> Replica<L, S> {
    /// Transfers leadership to `to`, or to the best candidate if `to` is `None`. Answered by [`Reply::Transfer`].
    pub fn transfer(&mut self, now: Now, call: CallId, to: Option<NodeId>, deadline: Instant) {
        self.set_now(now);
        let refused = match &self.halted {
            Some(reason) => Some(TransferError::Halted(reason.clone())),
            None if !self.is_leader() => Some(TransferError::NotLeader { leader: self.role.2 }),
            None if self.leading.transfer.is_some() => Some(TransferError::Pending),
            None => None,
        };
        let refused = refused.or_else(|| self.unreachable(to).map(TransferError::Unreachable));
        if let Some(error) = refused {
            return self.reply(call, Reply::Transfer(Err(error)));
        }
        // No command is accepted meanwhile. The caller may be patient, but other clients may not.
        let until = deadline.min(self.now.instant.after(self.settings.hand_over_max));
        self.leading.transfer = Some((call, until));
        self.hand_over(to, until);
    }

    /// Returns the intended new leader if it was not heard from lately.
    fn unreachable(&self, to: Option<NodeId>) -> Option<NodeId> {
        let is_there = |heard_at: Instant| self.now.instant.since(heard_at) < self.settings.hand_over_max / 2;
        to.filter(|to| *to != self.seat.node && !self.leading.heard_at(*to).is_some_and(is_there))
    }

    pub(super) fn on_role(&mut self, role: Role, term: Term, leader: Option<NodeId>) {
        let was_leader = self.is_leader();
        let before = self.role;
        self.role = (role, term, leader);
        self.outputs.push_back(GroupOutput::Notice(Notice::Role { role, term, leader }));
        if term != before.1 || was_leader != self.is_leader() {
            self.leading.tick_in_flight = false;
            self.leading.tick_at = None;
            self.drop_sendings();
        }
        if !self.is_leader()
            && let Some((call, _)) = self.leading.transfer.take()
        {
            self.reply(call, Reply::Transfer(Ok(())));
        }
        self.reads.hurry();
        self.dispatch_waiting();
    }

    pub(super) fn on_shutdown(&mut self, deadline: Instant) {
        self.stopping = Some(deadline);
        self.refuse_waiting();
        self.hand_over_to_stop();
    }

    /// Transfers leadership before the node stops, and again if the chosen node does not take it.
    fn hand_over_to_stop(&mut self) {
        let Some(deadline) = self.stopping.filter(|_| self.is_leader() && !self.is_alone()) else { return };
        let until = deadline.min(self.now.instant.after(self.settings.hand_over_max));
        self.leading.hand_over_again = (until < deadline).then_some(until);
        self.hand_over(None, until);
    }

    /// Returns true if there is no other voter to lead.
    pub(super) fn is_alone(&self) -> bool {
        let configuration = self.core.status().configuration;
        configuration.voters().all(|voter| voter == self.seat.node)
    }

    pub(super) fn on_leading_timeout(&mut self) {
        let now = self.now.instant;
        if let Some((call, _)) = self.leading.transfer.take_if(|(_, until)| *until <= now) {
            self.reply(call, Reply::Transfer(Err(TransferError::DeadlinePassed)));
        }
        if self.leading.hand_over_again.take_if(|at| *at <= now).is_some() {
            self.hand_over_to_stop();
        }
        let is_time = self.leading.tick_at.take_if(|at| *at <= now).is_some();
        // Log time may run slightly slower than this node's clock. Then the tick is planned again.
        if is_time && self.is_leader() && self.next_due().is_some_and(|due| due <= self.core.log_time(self.now)) {
            self.leading.tick_in_flight = true;
            self.leading.ticked_at = Some(now);
            let (id, payload) = (ProposalId::default(), Bytes::new());
            let checksum = crc32c::crc32c(&payload);
            self.propose_to_core(Proposal { id, kind: EntryKind::Tick, acknowledged_below: 0, payload, checksum });
        }
    }

    /// Plans the tick that brings log time to the next time at which something is due without a command.
    pub(super) fn plan_tick(&mut self) {
        self.leading.tick_at = None;
        if !self.is_leader() || self.leading.tick_in_flight || self.halted.is_some() {
            return;
        }
        let Some(LogTime(due)) = self.next_due() else { return };
        let reached = self.core.log_time(self.now).max(self.applied.log_time);
        let wait = std::time::Duration::from_millis(due.saturating_sub(reached.0));
        let interval = self.settings.tick_interval_min;
        let earliest = self.leading.ticked_at.map_or(Instant::ZERO, |at| at.after(interval));
        self.leading.tick_at = Some(self.now.instant.after(wait).max(earliest));
    }

    /// Returns the log time at which something is due without a command.
    fn next_due(&self) -> Option<LogTime> {
        self.state.next_deadline().into_iter().chain(self.sessions.next_expiry()).min()
    }

    fn hand_over(&mut self, to: Option<NodeId>, deadline: Instant) {
        let timeout = deadline.since(self.now.instant);
        self.core.handle(self.now, Input::Command(LogCommand::Transfer { to, timeout }));
    }
}
