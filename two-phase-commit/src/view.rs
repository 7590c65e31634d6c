//! The part of the state that decides behaviour.
//!
//! Of times and tickets only the order is included. A model checker lets any armed timer fire by moving the clock to
//! it, so it matters only whether a time has come, and which time comes before which. The random number generator, the
//! numbers of attempts if only the length of a wait depends on them, and the counters for operators are left out.

use std::fmt::Write;

use quorate_protocol::{Instant, Ticket};

use crate::TwoPhaseCommit;

/// The result of [`model_view`](quorate_protocol::Protocol::model_view). Nodes with equal views answer every input
/// equally, at the time of their last input or at their deadline, if all waiting outputs were polled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct View {
    text: String,
}

impl View {
    pub(crate) fn of(core: &TwoPhaseCommit) -> Self {
        let mut writer = Writer { text: String::new(), times: times(core), tickets: tickets(core), core };
        writer.write_all();
        Self { text: writer.text }
    }
}

struct Writer<'a> {
    text: String,
    /// The times that are still to come, ascending.
    times: Vec<Instant>,
    /// The outstanding tickets, ascending.
    tickets: Vec<Ticket>,
    core: &'a TwoPhaseCommit,
}

impl Writer<'_> {
    fn write_all(&mut self) {
        let core = self.core;
        self.put(&(core.config.node(), &core.state, core.next_sequence, self.ticket(core.epoch_ticket)));
        self.put(&(&core.standings, core.storage, &core.halted, &core.recovering, &core.unheard));
        self.put(&(&core.known, core.unready, &core.delegations));
        for (number, it) in &core.coordinated {
            let until = it.stage.until().map(|at| self.time(at));
            self.put(&(number, until, self.report(it.since, it.is_reported)));
            match &it.stage {
                crate::state::Stage::Voting(voting) => self.put(&(&voting.payloads, &voting.votes, &voting.unready)),
                stage => self.put(stage),
            }
        }
        self.put(&(&core.remembered, &core.tombstones));
        for (transaction, branch) in &core.branches {
            let request = branch.request.map(|ticket| self.ticket(ticket));
            self.put(&(transaction, branch.stage, &branch.participants, &branch.payload, branch.key, request));
            self.put(&(branch.attempt.min(1), self.report(branch.since, branch.is_reported)));
            self.put(&self.report(branch.asked_since, branch.is_overdue));
        }
        for (at, timer) in core.timers.iter() {
            self.put(&(self.time(at), timer));
        }
        self.journal();
        self.outbox();
    }

    fn journal(&mut self) {
        let journal = &self.core.journal;
        self.put(&(journal.next_key, journal.next_checkpoint, self.ticket(journal.checkpoint)));
        self.put(&(journal.is_state_dirty, &journal.news_of, &journal.lazy));
        for (ticket, operation) in &journal.unsettled {
            self.put(&(self.ticket(*ticket), operation));
        }
        for (ticket, effect) in &journal.awaited {
            self.put(&(self.ticket(*ticket), effect));
        }
    }

    fn outbox(&mut self) {
        let outbox = &self.core.outbox;
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

    /// The position of its report time; `None` if it was reported.
    fn report(&self, since: Instant, is_reported: bool) -> Option<usize> {
        let at = since.after(self.core.config.settings().report_after);
        (!is_reported).then(|| self.time(at))
    }

    /// The position of a time among those to come; zero if it has come.
    fn time(&self, at: Instant) -> usize {
        self.times.binary_search(&at).map_or(0, |place| place + 1)
    }

    /// The position of a ticket among the outstanding ones; zero if it is durable.
    fn ticket(&self, ticket: Ticket) -> usize {
        self.tickets.binary_search(&ticket).map_or(0, |place| place + 1)
    }

    fn put(&mut self, part: &dyn std::fmt::Debug) {
        writeln!(self.text, "{part:?}").expect("a string takes everything");
    }
}

/// Every future time that matters.
fn times(core: &TwoPhaseCommit) -> Vec<Instant> {
    let report_after = core.config.settings().report_after;
    let mut times: Vec<Instant> = core.timers.iter().map(|(at, _)| at).collect();
    times.extend(core.coordinated.values().filter_map(|it| it.stage.until()));
    times.extend(core.coordinated.values().filter(|it| !it.is_reported).map(|it| it.since.after(report_after)));
    times.extend(core.branches.values().filter(|it| !it.is_reported).map(|it| it.since.after(report_after)));
    times.extend(core.branches.values().filter(|it| !it.is_overdue).map(|it| it.asked_since.after(report_after)));
    times.retain(|at| *at > core.now.instant);
    times.sort_unstable();
    times.dedup();
    times
}

/// Every outstanding ticket that matters.
fn tickets(core: &TwoPhaseCommit) -> Vec<Ticket> {
    let (outbox, journal) = (&core.outbox, &core.journal);
    let mut tickets = vec![core.epoch_ticket, journal.checkpoint];
    tickets.extend(journal.unsettled.iter().map(|(ticket, _)| *ticket));
    tickets.extend(journal.awaited.iter().map(|(ticket, _)| *ticket));
    tickets.extend(outbox.in_flight());
    tickets.extend(outbox.queued_writes().map(|(ticket, _)| ticket));
    tickets.extend(outbox.held_messages().map(|(ticket, ..)| *ticket));
    tickets.extend(outbox.held_events().map(|(ticket, _)| *ticket));
    tickets.retain(|ticket| !outbox.is_durable(*ticket));
    // Requests share the numbers but never become durable.
    tickets.extend(core.requests.keys());
    tickets.sort_unstable();
    tickets.dedup();
    tickets
}
