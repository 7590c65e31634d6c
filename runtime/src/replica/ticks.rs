//! Ticks: entries that a leader proposes so that log time reaches the next time at which something is due.

use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{EntryKind, Instant, LogTime, Proposal, ProposalId, ReplicatedLog};

use super::application::Applied;
use super::context::Context;

/// The next tick, and the one on its way.
#[derive(Debug, Default)]
pub(super) struct Ticks {
    /// True from the proposal of a tick until it is applied or refused, or the leader or the term changes. At most one
    /// tick is on its way.
    is_in_flight: bool,
    /// The time at which the next tick is due. Only on a leader, and only while no tick is on its way.
    due_at: Option<Instant>,
    /// The time of the newest tick. The next one comes at least `tick_interval_min` later.
    proposed_at: Option<Instant>,
}

impl Ticks {
    /// The leader or the term has changed: a tick that was on its way may be lost.
    pub(super) fn reset(&mut self) {
        self.is_in_flight = false;
        self.due_at = None;
    }

    /// The tick on its way was applied or refused.
    pub(super) fn on_ended(&mut self) {
        self.is_in_flight = false;
    }

    /// Plans the tick that brings log time to `next_due`, the next log time at which something is due without a
    /// command.
    pub(super) fn plan<L: ReplicatedLog>(
        &mut self,
        context: &Context<L>,
        applied: &Applied,
        next_due: impl FnOnce() -> Option<LogTime>,
    ) {
        self.due_at = None;
        if !context.is_leader() || self.is_in_flight {
            return;
        }
        let Some(LogTime(due)) = next_due() else { return };
        let reached = context.core.log_time(context.now()).max(applied.log_time());
        let wait = Duration::from_millis(due.saturating_sub(reached.0));
        let interval = context.settings.tick_interval_min;
        let earliest = self.proposed_at.map_or(Instant::ZERO, |at| at.after(interval));
        self.due_at = Some(context.instant().after(wait).max(earliest));
    }

    /// Proposes the tick that is due. Log time may run slightly slower than this node's clock; then the tick is planned
    /// again.
    pub(super) fn on_timeout<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        next_due: impl FnOnce() -> Option<LogTime>,
    ) {
        let now = context.instant();
        let is_time = self.due_at.take_if(|at| *at <= now).is_some();
        let reached = |due: LogTime| due <= context.core.log_time(context.now());
        if !is_time || !context.is_leader() || !next_due().is_some_and(reached) {
            return;
        }
        self.is_in_flight = true;
        self.proposed_at = Some(now);
        let (id, payload) = (ProposalId::default(), Bytes::new());
        let checksum = crc32c::crc32c(&payload);
        context.propose(Proposal { id, kind: EntryKind::Tick, acknowledged_below: 0, payload, checksum });
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due_at
    }
}
