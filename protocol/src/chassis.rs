//! What every core has beside its algorithm.

use std::collections::BTreeMap;

use crate::{
    HaltReason, Instant, NodeId, Now, Outbox, OutboxLimits, Output, PersistFailure, Protocol, Standing, StorageLevel,
    Ticket,
};

/// The part of a core that is the same for every protocol: its time, its outbox, the standings of the nodes, the level
/// of the disk, the halt, the pause after a refused write, and the counts of ignored inputs.
///
/// A core has one as a field. [`Chassis::begin`] comes first in [`Protocol::handle`] and [`Chassis::count`] last.
/// `R` is the core's own type of reasons why an input changed nothing.
#[derive(Clone, Debug)]
pub struct Chassis<P: Protocol, R> {
    /// The outputs of the core.
    pub outbox: Outbox<P>,
    /// Time of the last input. The monotone part never goes back.
    now: Now,
    /// The standing of each node that was introduced. Every other node is a stranger.
    standings: BTreeMap<NodeId, Standing>,
    storage: StorageLevel,
    /// Reason why the group stopped. Never changes once it is there.
    halted: Option<HaltReason>,
    /// Time at which writes are handed out again after the log refused one.
    rewrite_at: Option<Instant>,
    /// True if an input came in since the last poll.
    is_dirty: bool,
    ignored: BTreeMap<R, u64>,
}

/// The meaning of a failed write, as [`Chassis::failed_write`] finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailedWrite {
    /// The log certainly did not write, and the core makes its writes again.
    Refused,
    /// The failure is not that of the write in flight, so it is late or repeated.
    Stale,
    /// The state of the disk is not known, and the group must stop for this reason.
    Fatal(HaltReason),
}

impl<P: Protocol, R: Ord> Chassis<P, R> {
    /// The chassis of a core that starts at `now`.
    #[must_use]
    pub fn new(now: Now, limits: OutboxLimits) -> Self {
        Self {
            outbox: Outbox::new(limits),
            now,
            standings: BTreeMap::new(),
            storage: StorageLevel::Enough,
            halted: None,
            rewrite_at: None,
            is_dirty: true,
            ignored: BTreeMap::new(),
        }
    }

    /// Begins an input that came at `now`.
    pub fn begin(&mut self, now: Now) {
        self.now = self.now.advanced_to(now);
        self.is_dirty = true;
    }

    /// Counts the input if it changed nothing.
    pub fn count(&mut self, handled: Result<(), R>) {
        if let Err(reason) = handled {
            *self.ignored.entry(reason).or_default() += 1;
        }
    }

    /// Number of inputs that changed nothing, by reason.
    pub fn ignored(&self) -> impl Iterator<Item = (&R, u64)> + '_ {
        self.ignored.iter().map(|(reason, count)| (reason, *count))
    }

    /// True once after inputs came in, unless the group has stopped: the core then makes the outputs for all of them.
    pub fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.is_dirty) && self.halted.is_none()
    }

    /// Time of the last input.
    #[must_use]
    pub fn now(&self) -> Now {
        self.now
    }

    /// Time of the last input on the monotone clock.
    #[must_use]
    pub fn instant(&self) -> Instant {
        self.now.instant
    }

    /// The earliest of the core's own deadlines and of that of the chassis; `None` if the group has stopped.
    pub fn deadline(&self, own: impl IntoIterator<Item = Instant>) -> Option<Instant> {
        if self.halted.is_some() {
            return None;
        }
        own.into_iter().chain(self.rewrite_at).min()
    }

    /// The standing of a node. A node that was never introduced is a stranger.
    #[must_use]
    pub fn standing(&self, node: NodeId) -> Standing {
        self.standings.get(&node).copied().unwrap_or_default()
    }

    /// True if the node's answers count.
    #[must_use]
    pub fn is_member(&self, node: NodeId) -> bool {
        self.standing(node) == Standing::Member
    }

    /// The standing of each node that was introduced.
    #[must_use]
    pub fn standings(&self) -> &BTreeMap<NodeId, Standing> {
        &self.standings
    }

    /// Notes the standing of a node. Returns true if it is another than before, or the first.
    pub fn set_standing(&mut self, node: NodeId, standing: Standing) -> bool {
        self.standings.insert(node, standing) != Some(standing)
    }

    /// The room on the disk.
    #[must_use]
    pub fn storage(&self) -> StorageLevel {
        self.storage
    }

    /// Notes the room on the disk. Returns true if it is another than before.
    pub fn set_storage(&mut self, level: StorageLevel) -> bool {
        std::mem::replace(&mut self.storage, level) != level
    }

    /// Reason why the group stopped on this node; `None` if it runs.
    #[must_use]
    pub fn halted(&self) -> Option<&HaltReason> {
        self.halted.as_ref()
    }

    /// True if the group has stopped on this node.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.halted.is_some()
    }

    /// Stops the group on this node for good. Held outputs are dropped, and so are those that are ready.
    pub fn halt(&mut self, reason: HaltReason) {
        self.outbox.poison();
        self.stop(reason);
    }

    /// Stops the group on this node for good. Only the events that are ready still leave.
    pub fn halt_after_events(&mut self, reason: HaltReason) {
        self.outbox.poison_but_events();
        self.stop(reason);
    }

    fn stop(&mut self, reason: HaltReason) {
        self.outbox.push(Output::Halt { reason: reason.clone() });
        self.halted = Some(reason);
    }

    /// Finds what a failed write means. After [`FailedWrite::Refused`] the core calls [`Outbox::refused`], queues its
    /// content again, and calls [`Chassis::write_again_at`].
    #[must_use]
    pub fn failed_write(&self, ticket: Ticket, failure: PersistFailure) -> FailedWrite {
        if failure != PersistFailure::NotWritten {
            FailedWrite::Fatal(HaltReason::LogFailed(failure))
        } else if self.outbox.in_flight() == Some(ticket) {
            FailedWrite::Refused
        } else {
            FailedWrite::Stale
        }
    }

    /// Hands out writes again from this time on.
    pub fn write_again_at(&mut self, at: Instant) {
        self.rewrite_at = Some(at);
    }

    /// Time at which writes are handed out again, if the log refused one.
    #[must_use]
    pub fn rewrite_at(&self) -> Option<Instant> {
        self.rewrite_at
    }

    /// Hands out writes again if their time has come. Part of each time-out.
    pub fn resume_due_writes(&mut self) {
        if self.rewrite_at.take_if(|at| *at <= self.now.instant).is_some() {
            self.outbox.resume_writes();
        }
    }
}
