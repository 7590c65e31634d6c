//! The writes of a core on their way to the replicated log.

use std::collections::VecDeque;

use quorate_protocol::{Operation, Ticket};

use crate::group::interface::CallId;

/// The writes of a core that are not decided, in their order. One is proposed at a time, so that none is written if an
/// earlier one is not. A core has as many waiting as it hands out, and most cores hand out one.
#[derive(Debug, Default)]
pub(super) struct Writes {
    waiting: VecDeque<(Ticket, Vec<Operation>)>,
    in_flight: Option<(CallId, Ticket)>,
}

impl Writes {
    pub(super) fn add(&mut self, ticket: Ticket, operations: Vec<Operation>) {
        self.waiting.push_back((ticket, operations));
    }

    /// Takes the next write, if none is proposed.
    pub(super) fn next(&mut self) -> Option<(Ticket, Vec<Operation>)> {
        if self.in_flight.is_some() { None } else { self.waiting.pop_front() }
    }

    /// The write was proposed.
    pub(super) fn begin(&mut self, call: CallId, ticket: Ticket) {
        self.in_flight = Some((call, ticket));
    }

    /// Takes the write that was proposed with this call. The outcome of any other is of no interest any more.
    pub(super) fn take_in_flight(&mut self, call: CallId) -> Option<Ticket> {
        self.in_flight.take_if(|(proposed, _)| *proposed == call).map(|(_, ticket)| ticket)
    }

    /// Forgets all writes.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
