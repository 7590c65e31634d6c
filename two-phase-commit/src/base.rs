//! The parts of a node that both of its roles use.

use std::time::Duration;

use quorate_protocol::{Chassis, HaltReason, Instant, NodeId, Now, OutboxLimits, Random};

use crate::error::Ignored;
use crate::journal::Journal;
use crate::message::Message;
use crate::timers::Timers;
use crate::{Config, Event, TransactionId, TransactionNumber, TransactionRefusal, TwoPhaseCommit};

/// The parts that the coordinator and the participant of a node share. A role is handed them with each call.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    pub(crate) config: Config,
    pub(crate) chassis: Chassis<TwoPhaseCommit, Ignored>,
    pub(crate) timers: Timers,
    pub(crate) journal: Journal,
    /// The node that has taken over this node's coordinator; `None` while this node serves it.
    pub(crate) served_by: Option<NodeId>,
    random: Random,
}

impl Base {
    pub(crate) fn new(now: Now, config: Config, journal: Journal) -> Self {
        let settings = config.settings();
        let limits =
            OutboxLimits { held_messages_max: settings.held_messages_max, write_bytes_max: settings.write_bytes_max };
        let (chassis, random) = (Chassis::new(now, limits), Random::new(config.seed()));
        Self { config, chassis, timers: Timers::default(), journal, served_by: None, random }
    }

    /// Time of the last input.
    pub(crate) fn now(&self) -> Instant {
        self.chassis.instant()
    }

    /// Emits an event that depends on no write.
    pub(crate) fn event(&mut self, event: Event) {
        self.chassis.outbox.event(event);
    }

    /// Sends a message. Every message states at least the epoch, and therefore waits for its write.
    pub(crate) fn send(&mut self, to: NodeId, message: Message) {
        self.chassis.outbox.send_after(self.journal.epoch_ticket(), to, message);
    }

    /// Emits an event that states the epoch, and therefore waits for its write.
    pub(crate) fn event_of_epoch(&mut self, event: Event) {
        self.chassis.outbox.event_after(self.journal.epoch_ticket(), event);
    }

    /// Stops this group on this node. Outputs that are ready for the application still leave; held outputs do not.
    pub(crate) fn halt(&mut self, reason: HaltReason) {
        self.chassis.halt_after_events(reason);
    }

    /// The id of a transaction of this node's coordinator.
    pub(crate) fn id_of(&self, number: TransactionNumber) -> TransactionId {
        TransactionId { coordinator: self.config.coordinator(), number }
    }

    /// The number of a transaction that this node decides on; `None` if another node does.
    pub(crate) fn own(&self, transaction: TransactionId) -> Option<TransactionNumber> {
        let is_served = self.served_by.is_none() && transaction.coordinator == self.config.coordinator();
        is_served.then_some(transaction.number)
    }

    /// The other members in turn: another one for each number.
    pub(crate) fn member_in_turn(&self, number: u32) -> Option<NodeId> {
        let me = self.config.node();
        let members = || self.chassis.standings().keys().filter(|node| **node != me && self.chassis.is_member(**node));
        let count = members().count();
        members().nth(usize::try_from(number).ok()?.checked_rem(count)?).copied()
    }

    /// Checks that this node was introduced to its peers. Until then it accepts no work.
    pub(crate) fn check_introduced(&self) -> Result<(), TransactionRefusal> {
        if self.chassis.is_member(self.config.node()) { Ok(()) } else { Err(TransactionRefusal::NotIntroduced) }
    }

    /// True if messages of this epoch may leave.
    #[cfg(feature = "testing")]
    pub(crate) fn is_epoch_durable(&self) -> bool {
        self.chassis.outbox.is_durable(self.journal.epoch_ticket())
    }

    /// Time of the next attempt after `attempt` earlier ones: the wait doubles each time, up to a limit, and is
    /// jittered by half.
    pub(crate) fn retry_at(&mut self, attempt: u32) -> Instant {
        let settings = self.config.settings();
        let doubled = settings.retry_min.saturating_mul(1 << attempt.min(16));
        let wait = u64::try_from(doubled.min(settings.retry_max).as_nanos()).unwrap_or(u64::MAX / 2);
        let jittered = self.random.between(wait / 2, wait) + 1;
        self.now().after(Duration::from_nanos(jittered))
    }
}
