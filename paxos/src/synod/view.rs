//! The part of the state that decides behaviour.
//!
//! Of times and tickets only the order is included. A model checker lets any armed timer fire by moving the clock to
//! it, so it matters only whether a time has come, and which time comes before which. The random number generator, the
//! lengths of future waits and the counters for operators are left out.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_protocol::{HaltReason, Instant, NodeId, Operation, ReadId, Standing, StorageLevel, Ticket};

use super::state::{AcceptedValue, DurableState, Phase};
use super::{Message, Proposal, Synod};
use crate::Ballot;

/// The result of [`model_view`](quorate_protocol::Protocol::model_view). Nodes with equal views answer every input
/// equally, at the time of their last input or at their deadline, if all waiting outputs were polled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    node: NodeId,
    state: (DurableState, Place),
    accepted: (Option<AcceptedValue>, Place),
    chosen: (Option<Proposal>, Place, bool),
    unaware: (BTreeSet<NodeId>, Option<Place>),
    attempt: Option<AttemptView>,
    rest_until: Option<Place>,
    round_seen: u64,
    proposals: Vec<(Proposal, Place, bool)>,
    reads: Vec<(ReadId, Place, Option<u64>)>,
    read_round: Option<ReadRoundView>,
    read_rounds: (u64, bool, Option<AcceptedValue>),
    settle: (Option<Place>, bool),
    standings: BTreeMap<NodeId, Standing>,
    lost: BTreeSet<NodeId>,
    storage: StorageLevel,
    halted: Option<String>,
    rewrite: (Option<Place>, bool),
    is_writing: bool,
    in_flight: Option<Place>,
    writes: Vec<(Place, Vec<Write>)>,
    held: Vec<(Place, NodeId, Message)>,
}

/// The position of a time or ticket among the outstanding ones, from 1; zero if it has come.
type Place = usize;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct AttemptView {
    ballot: Ballot,
    phase: Phase,
    answered: BTreeSet<NodeId>,
    refused: BTreeSet<NodeId>,
    heard_after: Place,
    own: Option<Place>,
    retry_at: Place,
    /// True if it was asked more than once.
    is_repeated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ReadRoundView {
    number: u64,
    answered: BTreeMap<NodeId, Option<Ballot>>,
    newest: Option<AcceptedValue>,
    is_inconclusive: bool,
    retry_at: Place,
}

/// An operation that waits to be written. This core uses two kinds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Write {
    State(Bytes),
    Journal(u64, Bytes),
}

impl View {
    pub(crate) fn of(core: &Synod) -> Self {
        let places = Places::of(core);
        let (time, ticket) = (|at| places.time(at), |at| places.ticket(at));
        let outbox = &core.outbox;
        let attempt = core.attempt.as_ref().map(|attempt| AttemptView {
            ballot: attempt.ballot,
            phase: attempt.phase.clone(),
            answered: attempt.answered.clone(),
            refused: attempt.refused.clone(),
            heard_after: ticket(attempt.heard_after),
            own: attempt.own.map(ticket),
            retry_at: time(attempt.retry_at),
            is_repeated: attempt.retries > 1,
        });
        let read_round = core.read_round.as_ref().map(|round| ReadRoundView {
            number: round.number,
            answered: round.answered.clone(),
            newest: round.newest.clone(),
            is_inconclusive: round.is_inconclusive,
            retry_at: time(round.retry_at),
        });
        let writes =
            outbox.queued_writes().map(|(at, operations)| (ticket(at), operations.iter().map(write).collect()));
        Self {
            node: core.config.node(),
            state: (core.state, ticket(core.state_ticket)),
            accepted: (core.accepted.clone(), ticket(core.accepted_ticket)),
            chosen: (core.chosen.clone(), ticket(core.chosen_ticket), core.is_chosen_told),
            unaware: (core.unaware.clone(), core.announce_at.map(time)),
            attempt,
            rest_until: core.rest_until.map(time),
            round_seen: core.round_seen,
            proposals: core.proposals.iter().map(|it| (it.proposal.clone(), time(it.until), it.is_tried)).collect(),
            reads: core.reads.iter().map(|it| (it.id, time(it.until), it.round)).collect(),
            read_round,
            read_rounds: (core.read_rounds, core.inconclusive > 1, core.read_newest.clone()),
            settle: (core.settle_at.map(time), core.is_settling),
            standings: core.standings.clone(),
            lost: core.lost.clone(),
            storage: core.storage,
            halted: core.halted.as_ref().map(HaltReason::to_string),
            rewrite: (core.rewrite_at.map(time), core.is_rewrite_wanted),
            is_writing: outbox.is_writing(),
            in_flight: outbox.in_flight().map(ticket),
            writes: writes.collect(),
            held: outbox.held_messages().map(|(at, to, message)| (ticket(*at), *to, message.clone())).collect(),
        }
    }
}

fn write(operation: &Operation) -> Write {
    match operation {
        Operation::PutState { bytes, .. } => Write::State(bytes.clone()),
        Operation::Journal { key, bytes } => Write::Journal(*key, bytes.clone()),
        other => panic!("this core never writes {other:?}"),
    }
}

struct Places {
    /// The times that are still to come, ascending.
    times: Vec<Instant>,
    /// The outstanding tickets, ascending.
    tickets: Vec<Ticket>,
}

impl Places {
    fn of(core: &Synod) -> Self {
        let mut times: Vec<Instant> = core.times().filter(|at| *at > core.now).collect();
        times.sort_unstable();
        times.dedup();
        let outbox = &core.outbox;
        let mut tickets = vec![core.state_ticket, core.accepted_ticket, core.chosen_ticket];
        tickets.extend(core.attempt.as_ref().and_then(|attempt| attempt.own));
        tickets.extend(core.attempt.as_ref().map(|attempt| attempt.heard_after));
        tickets.extend(outbox.in_flight());
        tickets.extend(outbox.queued_writes().map(|(ticket, _)| ticket));
        tickets.extend(outbox.held_messages().map(|(ticket, ..)| *ticket));
        tickets.retain(|ticket| !outbox.is_durable(*ticket));
        tickets.sort_unstable();
        tickets.dedup();
        Self { times, tickets }
    }

    fn time(&self, at: Instant) -> Place {
        self.times.binary_search(&at).map_or(0, |place| place + 1)
    }

    fn ticket(&self, ticket: Ticket) -> Place {
        self.tickets.binary_search(&ticket).map_or(0, |place| place + 1)
    }
}
