//! Transfers of leadership: for a caller, and because the node stops.

use quorate_protocol::{HaltReason, Instant, LogCommand, NodeId, ReplicatedLog};

use super::context::Context;
use super::peers::Peers;
use crate::group::interface::CallId;
use crate::group::outcome::TransferError;
use crate::group::reply::Reply;

/// The transfer of leadership that is under way, and the stop of the node.
#[derive(Debug, Default)]
pub(super) struct HandOver {
    /// The transfer that a caller waits for. Only on a leader: it ends when this node no longer leads.
    transfer: Option<Transfer>,
    /// The time by which the node has stopped; `None` if it does not stop.
    stopping: Option<Instant>,
    /// The time at which leadership is transferred again if this node still leads. Only while the node stops, and
    /// before `stopping`.
    again_at: Option<Instant>,
}

/// A transfer that a caller waits for.
#[derive(Clone, Copy, Debug)]
struct Transfer {
    call: CallId,
    until: Instant,
}

impl HandOver {
    /// Transfers leadership to `to`, or to the best candidate if `to` is `None`.
    pub(super) fn transfer<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        peers: &Peers,
        call: CallId,
        to: Option<NodeId>,
        deadline: Instant,
    ) {
        if let Some(error) = self.refusal(context, peers, to) {
            return context.reply(call, Reply::Transfer(Err(error)));
        }
        // No command is accepted meanwhile. The caller may be patient, but other clients may not.
        let until = deadline.min(context.instant().after(context.settings.hand_over_max));
        self.transfer = Some(Transfer { call, until });
        hand_over(context, to, until);
    }

    /// The node is about to stop: transfers leadership.
    pub(super) fn on_shutdown<L: ReplicatedLog>(&mut self, context: &mut Context<L>, deadline: Instant) {
        self.stopping = Some(deadline);
        self.hand_over_to_stop(context);
    }

    /// The role has changed: answers the caller if this node no longer leads.
    pub(super) fn on_role<L: ReplicatedLog>(&mut self, context: &mut Context<L>) {
        if !context.is_leader() {
            self.end(context, Ok(()));
        }
    }

    pub(super) fn on_timeout<L: ReplicatedLog>(&mut self, context: &mut Context<L>) {
        let now = context.instant();
        if self.transfer.is_some_and(|transfer| transfer.until <= now) {
            self.end(context, Err(TransferError::DeadlinePassed));
        }
        if self.again_at.take_if(|at| *at <= now).is_some() {
            self.hand_over_to_stop(context);
        }
    }

    pub(super) fn on_halted<L: ReplicatedLog>(&mut self, context: &mut Context<L>, reason: &HaltReason) {
        self.end(context, Err(TransferError::Halted(reason.clone())));
    }

    /// Returns true if the node is about to stop.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.transfer.map(|transfer| transfer.until).into_iter().chain(self.again_at).min()
    }

    fn refusal<L: ReplicatedLog>(
        &self,
        context: &Context<L>,
        peers: &Peers,
        to: Option<NodeId>,
    ) -> Option<TransferError> {
        if !context.is_leader() {
            return Some(TransferError::NotLeader { leader: context.leadership.leader });
        }
        if self.transfer.is_some() {
            return Some(TransferError::Pending);
        }
        let to = to.filter(|to| *to != context.seat.node)?;
        let configuration = context.core.status().configuration;
        if !configuration.members().iter().any(|member| member.node == to && member.may_lead()) {
            return Some(TransferError::NotEligible(to));
        }
        let silence = peers.silence(to, context.instant());
        let is_there = silence.is_some_and(|silence| silence < context.settings.hand_over_max / 2);
        (!is_there).then_some(TransferError::Unreachable(to))
    }

    /// Transfers leadership before the node stops, and again if the chosen node does not take it.
    fn hand_over_to_stop<L: ReplicatedLog>(&mut self, context: &mut Context<L>) {
        let Some(deadline) = self.stopping.filter(|_| context.is_leader() && !context.is_alone()) else { return };
        let until = deadline.min(context.instant().after(context.settings.hand_over_max));
        self.again_at = (until < deadline).then_some(until);
        hand_over(context, None, until);
    }

    fn end<L: ReplicatedLog>(&mut self, context: &mut Context<L>, result: Result<(), TransferError>) {
        if let Some(Transfer { call, .. }) = self.transfer.take() {
            context.reply(call, Reply::Transfer(result));
        }
    }
}

fn hand_over<L: ReplicatedLog>(context: &mut Context<L>, to: Option<NodeId>, deadline: Instant) {
    let timeout = deadline.since(context.instant());
    context.command(LogCommand::Transfer { to, timeout });
}
