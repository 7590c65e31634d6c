//! The part of the state that decides behaviour.
//!
//! The random number generator, the numbers of attempts if only the length of a wait depends on them, and the counters
//! for operators are left out.

use quorate_protocol::{Instant, Ticket, View, ViewWriter};

use crate::TwoPhaseCommit;
use crate::journal::Journal;
use crate::state::Stage;

impl TwoPhaseCommit {
    /// The view of this node.
    pub(crate) fn view(&self) -> View {
        let requests = self.requests.keys().copied();
        let mut out = ViewWriter::new(self.now.instant, times(self), &self.outbox, writes(self), requests);
        out.put(&(self.config.node(), &self.state, self.next_sequence, out.ticket(self.epoch_ticket)));
        out.put(&(&self.standings, self.storage, &self.halted, &self.recovering, &self.unheard));
        out.put(&(&self.known, self.unready, &self.delegations));
        let report_after = self.config.settings().report_after;
        // The position of its report time; `None` if it was reported.
        let report = |out: &ViewWriter, since: Instant, is_reported: bool| {
            (!is_reported).then(|| out.time(since.after(report_after)))
        };
        for (number, it) in &self.coordinated {
            let until = it.stage.until().map(|at| out.time(at));
            out.put(&(number, until, report(&out, it.since, it.is_reported)));
            match &it.stage {
                Stage::Voting(voting) => out.put(&(&voting.payloads, &voting.votes, &voting.unready)),
                stage => out.put(stage),
            }
        }
        out.put(&(&self.remembered, &self.tombstones));
        for (transaction, branch) in &self.branches {
            let request = branch.request.map(|ticket| out.ticket(ticket));
            out.put(&(transaction, branch.stage, &branch.participants, &branch.payload, branch.key, request));
            out.put(&(branch.attempt.min(1), report(&out, branch.since, branch.is_reported)));
            out.put(&report(&out, branch.asked_since, branch.is_overdue));
        }
        for (at, timer) in self.timers.iter() {
            out.put(&(out.time(at), timer));
        }
        put_journal(&mut out, &self.journal);
        out.put_outbox(&self.outbox);
        out.finish()
    }
}

fn put_journal(out: &mut ViewWriter, journal: &Journal) {
    out.put(&(journal.next_key, journal.next_checkpoint, out.ticket(journal.checkpoint)));
    out.put(&(journal.is_state_dirty, &journal.news_of, &journal.lazy));
    for (ticket, operation) in &journal.unsettled {
        out.put(&(out.ticket(*ticket), operation));
    }
    for (ticket, effect) in &journal.awaited {
        out.put(&(out.ticket(*ticket), effect));
    }
}

/// Every time that matters.
fn times(core: &TwoPhaseCommit) -> Vec<Instant> {
    let report_after = core.config.settings().report_after;
    let mut times: Vec<Instant> = core.timers.iter().map(|(at, _)| at).collect();
    times.extend(core.coordinated.values().filter_map(|it| it.stage.until()));
    times.extend(core.coordinated.values().filter(|it| !it.is_reported).map(|it| it.since.after(report_after)));
    times.extend(core.branches.values().filter(|it| !it.is_reported).map(|it| it.since.after(report_after)));
    times.extend(core.branches.values().filter(|it| !it.is_overdue).map(|it| it.asked_since.after(report_after)));
    times
}

/// The tickets of the writes that more waits for than outputs.
fn writes(core: &TwoPhaseCommit) -> impl Iterator<Item = Ticket> + '_ {
    let journal = &core.journal;
    let unsettled = journal.unsettled.iter().map(|(ticket, _)| *ticket);
    let awaited = journal.awaited.iter().map(|(ticket, _)| *ticket);
    [core.epoch_ticket, journal.checkpoint].into_iter().chain(unsettled).chain(awaited)
}
