//! The part of the state that decides behaviour.
//!
//! The random number generator, the numbers of attempts if only the length of a wait depends on them, and the counters
//! for operators are left out.

use std::time::Duration;

use quorate_protocol::{Instant, View, ViewWriter};

use crate::TwoPhaseCommit;
use crate::base::Base;
use crate::coordinator::Coordinator;
use crate::participant::Participant;
use crate::state::Stage;

/// The view of this node.
pub(crate) fn view(core: &TwoPhaseCommit) -> View {
    let (base, coordinator, participant) = (&core.base, &core.coordinator, &core.participant);
    let (chassis, report) = (&base.chassis, Report { after: base.config.settings().report_after });
    let (writes, requests) = (base.journal.tickets(), participant.requests().keys().copied());
    let mut out = ViewWriter::new(chassis.instant(), times(core, report), &chassis.outbox, writes, requests);
    out.put(&(base.config.node(), chassis.standings(), chassis.storage(), chassis.halted()));
    out.put(&coordinator.next_number(base));
    put_coordinator(&mut out, coordinator, report);
    out.put(&base.served_by);
    put_participant(&mut out, base, participant, report);
    for (at, timer) in base.timers.iter() {
        out.put(&(out.time(at), timer));
    }
    out.put(&chassis.rewrite_at().map(|at| out.time(at)));
    base.journal.put_view(&mut out);
    out.put_outbox(&chassis.outbox);
    out.finish()
}

fn put_coordinator(out: &mut ViewWriter, coordinator: &Coordinator, report: Report) {
    out.put(&(coordinator.held().delegations(), coordinator.remembered(), coordinator.mixed()));
    for (number, it) in coordinator.coordinated() {
        let until = it.stage.until().map(|at| out.time(at));
        out.put(&(number, until, report.at(it.since, it.is_reported).map(|at| out.time(at))));
        match &it.stage {
            Stage::Voting(voting) => out.put(&(&voting.payloads, &voting.votes, &voting.unready)),
            stage => out.put(stage),
        }
    }
}

fn put_participant(out: &mut ViewWriter, base: &Base, participant: &Participant, report: Report) {
    let outcomes = participant.outcomes();
    out.put(&(participant.recovering(), participant.unheard(), participant.room().unready()));
    out.put(&(outcomes.known(), outcomes.tombstones(), outcomes.given_up()));
    for (transaction, it) in participant.heuristics().of() {
        let member = it.attempt.checked_sub(2).and_then(|number| base.member_in_turn(number));
        out.put(&(
            transaction,
            it.forced,
            it.decision,
            &it.participants,
            it.key,
            it.is_noted,
            it.attempt.min(2),
            member,
        ));
    }
    for (transaction, branch) in participant.branches() {
        let request = branch.request.map(|ticket| out.ticket(ticket));
        out.put(&(
            transaction,
            branch.stage,
            branch.forced,
            &branch.participants,
            &branch.payload,
            branch.key,
            request,
        ));
        let in_doubt = report.at(branch.since, branch.is_reported).map(|at| out.time(at));
        let overdue = report.at(branch.asked_since, branch.is_overdue).map(|at| out.time(at));
        let asked = branch.attempt.checked_sub(2).and_then(|number| base.member_in_turn(number));
        out.put(&(branch.attempt.min(2), asked, in_doubt, overdue));
    }
}

/// Every time that matters.
fn times(core: &TwoPhaseCommit, report: Report) -> impl Iterator<Item = Instant> + '_ {
    let coordinated = core.coordinator.coordinated().values();
    let branches = core.participant.branches().values();
    let timers = core.base.timers.iter().map(|(at, _)| at).chain(core.base.chassis.rewrite_at());
    let coordinated =
        coordinated.flat_map(move |it| it.stage.until().into_iter().chain(report.at(it.since, it.is_reported)));
    let branches = branches.flat_map(move |it| {
        report.at(it.since, it.is_reported).into_iter().chain(report.at(it.asked_since, it.is_overdue))
    });
    timers.chain(coordinated).chain(branches)
}

/// The times at which the node reports that something takes long.
#[derive(Clone, Copy)]
struct Report {
    after: Duration,
}

impl Report {
    /// The time of a report; `None` if it was made.
    fn at(self, since: Instant, is_reported: bool) -> Option<Instant> {
        (!is_reported).then(|| since.after(self.after))
    }
}
