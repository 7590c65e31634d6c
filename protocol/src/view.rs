//! A core's view as text: the part of its state that decides behaviour.

use std::fmt::{Debug, Write};

use crate::{Instant, Outbox, Protocol, Ticket};

/// A [`Protocol::View`] as text. Nodes with equal views answer every input equally, at the time of their last input or
/// at their deadline, as long as all their outputs were polled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct View {
    text: String,
}

/// Writes a [`View`]. Times and tickets are written as their positions among the outstanding ones.
///
/// A model checker lets any armed timer fire by moving the clock to it. So a time matters only by whether it has come,
/// and by its order among the others, and the same is true of tickets.
#[derive(Debug)]
pub struct ViewWriter {
    text: String,
    /// The future times, ascending.
    times: Vec<Instant>,
    /// The outstanding tickets, ascending.
    tickets: Vec<Ticket>,
}

impl ViewWriter {
    /// A writer for a core whose last input came at `now`. It is given every time that affects behaviour, the tickets
    /// of the writes on which more depends than the outputs in the outbox, and the tickets of open loads and requests.
    pub fn new<P: Protocol>(
        now: Instant,
        times: impl IntoIterator<Item = Instant>,
        outbox: &Outbox<P>,
        writes: impl IntoIterator<Item = Ticket>,
        requests: impl IntoIterator<Item = Ticket>,
    ) -> Self {
        let mut times: Vec<Instant> = times.into_iter().filter(|at| *at > now).collect();
        times.sort_unstable();
        times.dedup();
        let mut tickets: Vec<Ticket> = writes.into_iter().collect();
        tickets.extend(outbox.in_flight());
        tickets.extend(outbox.queued_writes().map(|(ticket, _)| ticket));
        tickets.extend(outbox.held_messages().map(|(ticket, ..)| *ticket));
        tickets.extend(outbox.held_events().map(|(ticket, _)| *ticket));
        tickets.retain(|ticket| !outbox.is_durable(*ticket));
        // Loads and requests share the numbers with writes, but are never made durable.
        tickets.extend(requests);
        tickets.sort_unstable();
        tickets.dedup();
        Self { text: String::new(), times, tickets }
    }

    /// Writes a part of the state.
    pub fn put(&mut self, part: &dyn Debug) {
        writeln!(self.text, "{part:?}").expect("a string takes everything");
    }

    /// Writes the outputs that wait for writes, and the writes themselves.
    pub fn put_outbox<P: Protocol>(&mut self, outbox: &Outbox<P>) {
        self.put(&(outbox.is_writing(), outbox.in_flight().map(|ticket| self.ticket(ticket))));
        for (ticket, operations) in outbox.queued_writes() {
            self.put(&(self.ticket(ticket), operations));
        }
        for (ticket, to, message) in outbox.held_messages() {
            self.put(&(self.ticket(*ticket), to, message));
        }
        for (ticket, event) in outbox.held_events() {
            self.put(&(self.ticket(*ticket), event));
        }
    }

    /// Position of a time among the future ones, from 1; zero if it has come.
    #[must_use]
    pub fn time(&self, at: Instant) -> usize {
        self.times.binary_search(&at).map_or(0, |place| place + 1)
    }

    /// Position of a ticket among the outstanding ones, from 1; zero if it is durable or closed.
    #[must_use]
    pub fn ticket(&self, ticket: Ticket) -> usize {
        self.tickets.binary_search(&ticket).map_or(0, |place| place + 1)
    }

    /// The view that was written.
    #[must_use]
    pub fn finish(self) -> View {
        View { text: self.text }
    }
}
