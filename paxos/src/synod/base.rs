//! The base on which the roles of a node stand: what they share, and the waits between repetitions.
//!
//! Waits double, and become short again when a lost node is heard.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_protocol::{Chassis, Instant, NodeId, Now, OutboxLimits, Random, ViewWriter};

use super::codec::RECORDS_OVERHEAD_BYTES;
use super::config::{IDLE_INTERVAL_MAX, MEMBERS_MAX};
use super::{CommandRefusal, Config, Ignored, Message, Synod};
use crate::waits::{DOUBLINGS_MAX, doubled, draw};

/// State that every role of a node uses.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    pub(crate) config: Config,
    pub(crate) chassis: Chassis<Synod, Ignored>,
    random: Random,
    /// Members that could not be reached and have not been heard since. At the start these are all other members.
    lost: BTreeSet<NodeId>,
    /// Nodes that were founded with another quorum system. At most [`MEMBERS_MAX`].
    foreign: BTreeSet<NodeId>,
}

impl Base {
    pub(crate) fn new(now: Now, config: Config) -> Self {
        let settings = config.settings();
        let limits = OutboxLimits {
            held_messages_max: settings.held_messages_max,
            write_bytes_max: settings.value_bytes_max.saturating_add(WRITE_OVERHEAD_BYTES),
        };
        Self {
            chassis: Chassis::new(now, limits),
            random: Random::new(config.seed()),
            lost: config.group().members().filter(|node| *node != config.node()).collect(),
            foreign: BTreeSet::new(),
            config,
        }
    }

    /// True if this node may promise, accept and propose.
    pub(crate) fn is_counting(&self) -> bool {
        self.chassis.is_member(self.config.node())
    }

    /// Checks that the sender's incarnation is known.
    pub(crate) fn check_known(&self, from: NodeId) -> Result<(), Ignored> {
        if self.chassis.is_member(from) { Ok(()) } else { Err(Ignored::Stranger) }
    }

    /// Reason to refuse a command, if `waiting` others wait.
    pub(crate) fn refusal(&self, waiting: usize) -> Option<CommandRefusal> {
        if !self.config.is_proposer() {
            return Some(CommandRefusal::NotProposer);
        }
        (waiting >= self.config.settings().commands_max).then_some(CommandRefusal::Overloaded)
    }

    /// Handles a message of a node that was founded with another quorum system. Both sides learn of the difference.
    pub(crate) fn on_other_system(&mut self, from: NodeId, message: &Message) -> Ignored {
        if self.foreign.len() < MEMBERS_MAX {
            self.foreign.insert(from);
        }
        if !matches!(message, Message::OtherSystem { .. }) && from != self.config.node() {
            self.chassis.outbox.send(from, Message::OtherSystem { system: self.config.system() });
        }
        Ignored::OtherSystem
    }

    /// Nothing can be sent to the node now. Repetitions for it wait longer and longer.
    pub(crate) fn on_unreachable(&mut self, node: NodeId) -> Result<(), Ignored> {
        if node == self.config.node() || !self.config.group().contains(node) {
            return Err(Ignored::NotMember);
        }
        self.lost.insert(node);
        Ok(())
    }

    /// Notes that the node was heard. Returns true if it was lost before.
    pub(crate) fn note_heard(&mut self, node: NodeId) -> bool {
        self.lost.remove(&node)
    }

    /// Nodes that were founded with another quorum system.
    pub(crate) fn foreign(&self) -> &BTreeSet<NodeId> {
        &self.foreign
    }

    /// Draws the end of a wait between half of `shortest * 2^doublings`, limited to `max`, and all of it.
    pub(crate) fn draw_wait(&mut self, shortest: Duration, doublings: u32, max: Duration) -> Instant {
        draw(&mut self.random, self.chassis.instant(), shortest, doublings, max)
    }

    /// Draws the end of a wait as long as the longest one while a command waits.
    pub(crate) fn draw_soon(&mut self) -> Instant {
        let max = self.config.settings().retry_interval_max;
        self.draw_wait(max, 0, max)
    }

    /// Draws the end of a pause that grows with each repetition in a row.
    pub(crate) fn draw_backoff(&mut self, repetitions: u32) -> Instant {
        let settings = self.config.settings();
        let (shortest, max) = (settings.backoff_min, settings.backoff_max);
        self.draw_wait(shortest, repetitions, max)
    }

    /// Number of doublings after which a wait is as long as the longest one while a command waits.
    pub(crate) fn retries_soon(&self) -> u32 {
        let settings = self.config.settings();
        let (shortest, max) = (settings.retry_interval_min, settings.retry_interval_max);
        (0..DOUBLINGS_MAX).find(|doublings| doubled(shortest, *doublings) >= max).unwrap_or(DOUBLINGS_MAX)
    }

    pub(crate) fn view(&self, writer: &mut ViewWriter) {
        let chassis = &self.chassis;
        writer.put(&(self.config.node(), chassis.standings(), &self.lost, chassis.storage(), chassis.halted()));
        writer.put(&chassis.rewrite_at().map(|at| writer.time(at)));
        writer.put_outbox(&chassis.outbox);
    }
}

/// Longest wait while no command waits.
pub(crate) fn idle_max(retry_interval_max: Duration) -> Duration {
    retry_interval_max.max(IDLE_INTERVAL_MAX)
}

/// Room for the state record, and for the headers of both records, besides a value.
const WRITE_OVERHEAD_BYTES: usize = 512 + RECORDS_OVERHEAD_BYTES;
