//! The queue of a core's outputs. It holds outputs back until the writes that they depend on are durable.

use std::collections::VecDeque;

use crate::{LoadRange, NodeId, Operation, Output, Protocol, Ticket};

/// Outputs of a core, in order. Each is held until the writes whose content it states are durable.
///
/// One batch of writes is in flight at a time, and the next grows meanwhile: batches follow the load. An output that
/// depends on a write is stamped with the write's ticket when it is made ([`Outbox::send_after`],
/// [`Outbox::event_after`]), so that no shell can get the order wrong. The number of held messages is bounded: above
/// the bound the oldest is dropped, as the network might have done. The core bounds the held events, by refusing
/// commands.
#[derive(Clone, Debug)]
pub struct Outbox<P: Protocol> {
    ready: VecDeque<Output<P>>,
    held_messages: VecDeque<(Ticket, NodeId, P::Message)>,
    held_events: VecDeque<(Ticket, P::Event)>,
    /// Writes not yet handed out, each a batch with its ticket, ascending. A batch is above `write_bytes_max` only if
    /// one call of `persist` is.
    pending: VecDeque<Batch>,
    /// The write that was handed out and is not durable yet; at most one.
    in_flight: Option<Ticket>,
    /// Every write up to this one is durable; never decreases.
    persisted: Ticket,
    last_ticket: Ticket,
    /// True while no write is handed out, until the core resumes writes.
    is_paused: bool,
    limits: OutboxLimits,
}

/// Bounds of an [`Outbox`].
#[derive(Clone, Copy, Debug)]
pub struct OutboxLimits {
    /// Number of messages held for writes; above it the oldest is dropped.
    pub held_messages_max: usize,
    /// Bytes of one `Persist`; operations above the bound go into the next one.
    pub write_bytes_max: usize,
}

impl Default for OutboxLimits {
    /// 4,096 messages and 1 MiB.
    fn default() -> Self {
        Self { held_messages_max: 4096, write_bytes_max: 1 << 20 }
    }
}

#[derive(Clone, Debug)]
struct Batch {
    ticket: Ticket,
    operations: Vec<Operation>,
    bytes: usize,
}

impl<P: Protocol> Outbox<P> {
    /// An empty outbox.
    #[must_use]
    pub fn new(limits: OutboxLimits) -> Self {
        Self {
            ready: VecDeque::new(),
            held_messages: VecDeque::new(),
            held_events: VecDeque::new(),
            pending: VecDeque::new(),
            in_flight: None,
            persisted: Ticket(0),
            last_ticket: Ticket(0),
            is_paused: false,
            limits,
        }
    }

    /// Queues operations that must become durable together, and returns the ticket that covers them. They join the
    /// batch that is growing unless it is full.
    pub fn persist(&mut self, operations: impl IntoIterator<Item = Operation>) -> Ticket {
        let operations: Vec<Operation> = operations.into_iter().collect();
        let bytes = operations.iter().map(Operation::weight).sum::<usize>();
        if let Some(batch) = self.pending.back_mut()
            && batch.bytes + bytes <= self.limits.write_bytes_max
        {
            batch.operations.extend(operations);
            batch.bytes += bytes;
            return batch.ticket;
        }
        let ticket = self.ticket();
        self.pending.push_back(Batch { ticket, operations, bytes });
        ticket
    }

    /// Sends a message that depends on no write.
    pub fn send(&mut self, to: NodeId, message: P::Message) {
        self.ready.push_back(Output::Send { to, message });
    }

    /// Sends a message once the write `after` is durable.
    pub fn send_after(&mut self, after: Ticket, to: NodeId, message: P::Message) {
        if after <= self.persisted {
            return self.send(to, message);
        }
        if self.held_messages.len() >= self.limits.held_messages_max {
            self.held_messages.pop_front();
        }
        self.held_messages.push_back((after, to, message));
    }

    /// Emits an event that depends on no write.
    pub fn event(&mut self, event: P::Event) {
        self.ready.push_back(Output::Event(event));
    }

    /// Emits an event once the write `after` is durable.
    pub fn event_after(&mut self, after: Ticket, event: P::Event) {
        if after <= self.persisted {
            return self.event(event);
        }
        self.held_events.push_back((after, event));
    }

    /// Reads from the group's stream.
    pub fn load(&mut self, range: LoadRange) -> Ticket {
        let ticket = self.ticket();
        self.ready.push_back(Output::Load { ticket, range });
        ticket
    }

    /// Asks the application for work.
    pub fn request(&mut self, request: P::Request) -> Ticket {
        let ticket = self.ticket();
        self.ready.push_back(Output::Request { ticket, request });
        ticket
    }

    /// Emits any other output, behind those that are ready.
    pub fn push(&mut self, output: Output<P>) {
        self.ready.push_back(output);
    }

    /// Notes that every write up to `ticket` is durable, and releases the outputs that waited for it. A ticket other
    /// than that of the write in flight is late or repeated, and ignored.
    pub fn persisted(&mut self, ticket: Ticket) {
        if self.in_flight == Some(ticket) {
            self.in_flight = None;
            self.persisted = ticket;
            self.release();
        }
    }

    /// Drops every write that is not durable: none of them was written. No write is handed out until
    /// [`Outbox::resume_writes`]. The core queues their content again. Outputs that waited for them wait for the next
    /// write; if the content takes several writes, the core names the one to wait for ([`Outbox::rebind_held`]).
    pub fn refused(&mut self) {
        self.in_flight = None;
        self.pending.clear();
        self.is_paused = true;
    }

    /// Makes all held outputs wait for the write `after` in place of writes that were refused. The content of a refused
    /// write may be queued again in several parts, and the first part covers only some of it.
    pub fn rebind_held(&mut self, after: Ticket) {
        self.held_messages.iter_mut().for_each(|(stamp, ..)| *stamp = after);
        self.held_events.iter_mut().for_each(|(stamp, _)| *stamp = after);
        self.release();
    }

    /// Hands out writes again.
    pub fn resume_writes(&mut self) {
        self.is_paused = false;
    }

    /// Drops all held and queued outputs except `Halt`, for good: the log takes no more writes, so nothing that depends
    /// on them may leave.
    pub fn poison(&mut self) {
        self.poison_but(|output| matches!(output, Output::Halt { .. }));
    }

    /// Like [`Outbox::poison`], but the events that are ready stay: they depend on nothing that is not durable.
    pub fn poison_but_events(&mut self) {
        self.poison_but(|output| matches!(output, Output::Halt { .. } | Output::Event(_)));
    }

    /// Drops the held messages for which `drop` returns true, such as the acknowledgements of an old term.
    pub fn drop_held(&mut self, mut drop: impl FnMut(NodeId, &P::Message) -> bool) {
        self.held_messages.retain(|(_, to, message)| !drop(*to, message));
    }

    /// The next output: a write if none is in flight, else the oldest output that is ready.
    pub fn poll(&mut self) -> Option<Output<P>> {
        if !self.is_writing()
            && let Some(batch) = self.pending.pop_front()
        {
            self.in_flight = Some(batch.ticket);
            return Some(Output::Persist { ticket: batch.ticket, operations: batch.operations });
        }
        self.ready.pop_front()
    }

    /// True if a write is in flight or writes are paused. New operations then wait.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        self.in_flight.is_some() || self.is_paused
    }

    /// True if the write with this ticket is durable.
    #[must_use]
    pub fn is_durable(&self, ticket: Ticket) -> bool {
        ticket <= self.persisted
    }

    /// The ticket of the newest write, durable or not. An output stamped with it waits for all operations queued so
    /// far.
    #[must_use]
    pub fn newest_write(&self) -> Ticket {
        let handed_out = self.in_flight.unwrap_or(self.persisted);
        self.pending.back().map_or(handed_out, |batch| batch.ticket)
    }

    /// Number of messages and events that wait for writes.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held_messages.len() + self.held_events.len()
    }

    /// The write in flight, if any.
    #[must_use]
    pub fn in_flight(&self) -> Option<Ticket> {
        self.in_flight
    }

    /// Writes that were not handed out yet, oldest first.
    pub fn queued_writes(&self) -> impl Iterator<Item = (Ticket, &[Operation])> + '_ {
        self.pending.iter().map(|batch| (batch.ticket, &batch.operations[..]))
    }

    /// Messages that wait for writes, oldest first: the ticket of the write, the receiver and the message.
    pub fn held_messages(&self) -> impl Iterator<Item = &(Ticket, NodeId, P::Message)> + '_ {
        self.held_messages.iter()
    }

    /// Events that wait for writes, oldest first.
    pub fn held_events(&self) -> impl Iterator<Item = &(Ticket, P::Event)> + '_ {
        self.held_events.iter()
    }

    fn poison_but(&mut self, stays: impl Fn(&Output<P>) -> bool) {
        self.held_messages.clear();
        self.held_events.clear();
        self.pending.clear();
        self.ready.retain(stays);
    }

    fn ticket(&mut self) -> Ticket {
        self.last_ticket = self.last_ticket.next();
        self.last_ticket
    }

    fn release(&mut self) {
        while let Some((after, ..)) = self.held_messages.front()
            && *after <= self.persisted
        {
            let (_, to, message) = self.held_messages.pop_front().expect("just seen");
            self.ready.push_back(Output::Send { to, message });
        }
        while let Some((after, _)) = self.held_events.front()
            && *after <= self.persisted
        {
            let (_, event) = self.held_events.pop_front().expect("just seen");
            self.ready.push_back(Output::Event(event));
        }
    }
}
