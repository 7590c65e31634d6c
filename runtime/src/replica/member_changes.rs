//! Changes of the members that callers on this node wait for.

use std::collections::VecDeque;

use bytes::Bytes;
use quorate_protocol::{
    HaltReason, Instant, LogCommand, LogIndex, LogPosition, MemberChange, NodeId, ProposalId, RefuseReason,
    ReplicatedLog, Term,
};

use super::context::Context;
use crate::group::interface::CallId;
use crate::group::outcome::{NotApplied, Outcome, Unknown};
use crate::group::reply::Reply;

/// The open changes, oldest first. The core carries out one at a time, so there are only more of them while their
/// refusals are on the way, or after this node lost its leadership.
#[derive(Debug, Default)]
pub(super) struct MemberChanges {
    open: VecDeque<OpenChange>,
    /// Number of changes that this replica has proposed.
    proposed: u64,
}

/// A change without an outcome.
#[derive(Clone, Copy, Debug)]
struct OpenChange {
    call: CallId,
    sequence: u64,
    /// The time at which its outcome is given as unknown.
    until: Instant,
    /// The position of its first configuration, once that is appended.
    at: Option<LogPosition>,
    /// True if that configuration is committed. The change is complete once one that is not joint is committed.
    is_committed: bool,
}

impl MemberChanges {
    /// Proposes a change on a node that leads.
    pub(super) fn propose<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        call: CallId,
        changes: Vec<MemberChange>,
        until: Instant,
    ) {
        if !context.is_leader() {
            let (reason, leader) = (RefuseReason::NotLeader, context.leadership.leader);
            return context.reply(call, not_applied(NotApplied::Refused { reason, leader }));
        }
        if self.open.len() >= OPEN_MAX {
            return context.reply(call, not_applied(NotApplied::Overloaded));
        }
        self.proposed += 1;
        let sequence = self.proposed | CHANGE;
        self.open.push_back(OpenChange { call, sequence, until, at: None, is_committed: false });
        let id = ProposalId { session: context.seat.session, sequence };
        context.command(LogCommand::ChangeConfiguration { id, changes });
    }

    pub(super) fn on_appended(&mut self, sequence: u64, index: LogIndex, term: Term) {
        if let Some(change) = self.open.iter_mut().find(|change| change.sequence == sequence) {
            change.at = Some(LogPosition { index, term });
        }
    }

    pub(super) fn on_refused<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        sequence: u64,
        reason: RefuseReason,
        leader: Option<NodeId>,
    ) {
        let outcome = Outcome::NotApplied(NotApplied::Refused { reason, leader });
        self.end(context, |change| change.sequence == sequence, &outcome);
    }

    /// The first configuration of a change of this node is committed.
    pub(super) fn on_own_entry(&mut self, sequence: u64) {
        if let Some(change) = self.open.iter_mut().find(|change| change.sequence == sequence) {
            change.is_committed = true;
        }
    }

    /// A configuration is committed.
    pub(super) fn on_configuration<L: ReplicatedLog>(&mut self, context: &mut Context<L>, is_joint: bool) {
        if !is_joint {
            self.end(context, |change| change.is_committed, &Outcome::Applied(Bytes::new()));
        }
    }

    /// An entry of this term is committed at `index`, so entries of earlier terms from there on are gone.
    pub(super) fn on_later_term<L: ReplicatedLog>(&mut self, context: &mut Context<L>, index: LogIndex, term: Term) {
        let is_gone = |change: &OpenChange| {
            !change.is_committed && change.at.is_some_and(|at| at.index >= index && at.term < term)
        };
        self.end(context, is_gone, &Outcome::NotApplied(NotApplied::Superseded));
    }

    /// A snapshot covers the log up to `index`.
    pub(super) fn on_covered<L: ReplicatedLog>(&mut self, context: &mut Context<L>, index: LogIndex) {
        let is_covered = |change: &OpenChange| change.at.is_some_and(|at| at.index <= index);
        self.end(context, is_covered, &Outcome::Unknown { reason: Unknown::CoveredBySnapshot, retry: None });
    }

    pub(super) fn expire<L: ReplicatedLog>(&mut self, context: &mut Context<L>) {
        let now = context.instant();
        let outcome = Outcome::Unknown { reason: Unknown::DeadlinePassed, retry: None };
        self.end(context, |change| change.until <= now, &outcome);
    }

    pub(super) fn on_halted<L: ReplicatedLog>(&mut self, context: &mut Context<L>, reason: &HaltReason) {
        let outcome = Outcome::Unknown { reason: Unknown::Halted(reason.clone()), retry: None };
        self.end(context, |_| true, &outcome);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.open.iter().map(|change| change.until).min()
    }

    /// Gives this outcome to the changes that are `meant`.
    fn end<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        meant: impl Fn(&OpenChange) -> bool,
        outcome: &Outcome,
    ) {
        self.open.retain(|change| {
            let ends = meant(change);
            if ends {
                context.reply(change.call, Reply::Outcome(outcome.clone()));
            }
            !ends
        });
    }
}

/// Returns true if the number of a proposal of this node's session is that of a change of members.
pub(super) fn is_change(sequence: u64) -> bool {
    sequence & CHANGE != 0
}

fn not_applied(reason: NotApplied) -> Reply {
    Reply::Outcome(Outcome::NotApplied(reason))
}

/// The bit that marks the numbers of changes. Other proposals never reach it.
const CHANGE: u64 = 1 << 63;
/// Maximum number of changes that wait for their outcome. Beyond it they are refused as `Overloaded`.
const OPEN_MAX: usize = 16;
