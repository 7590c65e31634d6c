//! The part of the state that affects behaviour.
//!
//! Times and tickets are included only by their order: a model checker lets any armed timer fire by moving the clock to
//! it, so a time matters only by whether it has come, and by its order among the others. Not included are the random
//! generator, the lengths of waits, the clocks that log time is made from (a model lets them stand still: its waits are
//! far shorter than a millisecond), counters for operators, and the last reports of values that are reported on change
//! only.

use std::fmt::Write;

use quorate_protocol::{Instant, Ticket};

use crate::Raft;
use crate::leader::Leader;
use crate::progress::{Progress, SendState};
use crate::reads::Inquiry;
use crate::state::{Ballot, Follower, RoleState};

/// The result of [`model_view`](quorate_protocol::Protocol::model_view). Nodes with equal views answer every input
/// equally, at the time of their last input or at their deadline, as long as all their outputs were polled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct View {
    text: String,
}

impl View {
    pub(crate) fn of(core: &Raft) -> Self {
        let mut writer = Writer { text: String::new(), times: times(core), tickets: tickets(core), core };
        writer.write_all();
        Self { text: writer.text }
    }
}

struct Writer<'a> {
    text: String,
    /// The future times, ascending.
    times: Vec<Instant>,
    /// The outstanding tickets, ascending.
    tickets: Vec<Ticket>,
    core: &'a Raft,
}

impl Writer<'_> {
    fn write_all(&mut self) {
        let core = self.core;
        self.put(&(core.config.node(), &core.state, core.leader, core.matched, core.commit_index, core.commit_hinted));
        self.put(&(
            &core.snapshot,
            core.chassis.standings(),
            core.chassis.storage(),
            core.chassis.halted(),
            core.told.committed,
        ));
        self.put(&core.stalled_at().map(|at| self.time(at)));
        self.put(&core.may_be_applied());
        self.put(&(core.told.role, core.told.barred, core.clock.view()));
        self.put(&(core.log.view(), self.ticket(core.state_ticket), self.ticket(core.reset_ticket)));
        let marks: Vec<_> = core.log.marks().map(|(ticket, places)| (self.ticket(ticket), places)).collect();
        self.put(&marks);
        if let Some(receiving) = &core.receiving {
            self.put(&(self.ticket(receiving.ticket), receiving.from, receiving.term, &receiving.snapshot));
            self.put(&receiving.founding);
        }
        let reads = &core.reads;
        self.put(&(&reads.waiting, &reads.asked, reads.questions, reads.is_start_counted));
        match reads.inquiry {
            Some(Inquiry::Question { number, again_at }) => self.put(&("question", number, self.time(again_at))),
            other => self.put(&other),
        }
        self.put(&core.chassis.rewrite_at().map(|at| self.time(at)));
        match &core.role {
            RoleState::Follower(follower) => self.follower(follower),
            RoleState::PreCandidate(ballot) => self.ballot("pre-candidate", ballot),
            RoleState::Candidate(ballot) => self.ballot("candidate", ballot),
            RoleState::Leader(leader) => self.leader(leader),
        }
        self.outbox();
    }

    fn follower(&mut self, follower: &Follower) {
        let quiet_end = follower.quiet_since.map(|since| self.time(quiet_end(self.core, since)));
        self.put(&("follower", follower.owes_acknowledgement, follower.acknowledged, quiet_end));
        self.waiting();
    }

    fn ballot(&mut self, name: &str, ballot: &Ballot) {
        self.put(&(name, &ballot.votes, &ballot.clocks, self.ticket(ballot.own_vote)));
        self.waiting();
    }

    fn waiting(&mut self) {
        self.put(&(self.time(self.core.election_at), self.time(lease_end(self.core))));
    }

    fn leader(&mut self, leader: &Leader) {
        let times = leader_times(self.core, leader).map(|at| self.time(at));
        self.put(&("leader", leader.round, times, leader.notice_at.map(|at| self.time(at)), leader.quiet.stage));
        self.put(&leader.transfer.map(|it| (it.to, it.is_told, self.time(it.until))));
        self.put(&(leader.loads_failed, leader.snapshots_unread));
        self.put(&self.core.low_until().map(|at| self.time(at)));
        self.put(&self.core.writing_since.map(|since| leader.offered_at > since));
        self.put(&(leader.uncommitted(), leader.compaction));
        for (node, progress) in &leader.progress {
            self.put(node);
            self.progress(progress);
        }
    }

    fn progress(&mut self, progress: &Progress) {
        let loading = progress.loading.map(|ticket| self.ticket(ticket));
        self.put(&(progress.match_index, progress.next_index, &progress.in_flight, loading, progress.loss_probe));
        self.put(&(progress.commit_told, progress.round_answered, progress.is_quiet, progress.standing));
        self.put(&(
            self.time(active_end(self.core, progress)),
            self.time(pause_end(self.core, progress)),
            progress.disk,
        ));
        match progress.pace {
            SendState::Snapshot { index, request, since } => {
                let request = request.map(|ticket| self.ticket(ticket));
                self.put(&(index, request, self.time(overdue(self.core, since))));
            }
            other => self.put(&other),
        }
    }

    fn outbox(&mut self) {
        let outbox = &self.core.chassis.outbox;
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

    /// Returns the position of a time among the future ones; zero if it has come.
    fn time(&self, at: Instant) -> usize {
        self.times.iter().position(|time| *time == at).map_or(0, |place| place + 1)
    }

    /// Returns the position of a ticket among the outstanding ones; zero if it is durable.
    fn ticket(&self, ticket: Ticket) -> usize {
        self.tickets.iter().position(|other| *other == ticket).map_or(0, |place| place + 1)
    }

    fn put(&mut self, part: &dyn std::fmt::Debug) {
        writeln!(self.text, "{part:?}").expect("a string takes everything");
    }
}

/// Returns every future time that affects behaviour.
fn times(core: &Raft) -> Vec<Instant> {
    let mut times = vec![core.election_at, lease_end(core)];
    times.extend(core.reads.deadline());
    times.extend(core.chassis.rewrite_at());
    match &core.role {
        RoleState::Follower(follower) => times.extend(follower.quiet_since.map(|since| quiet_end(core, since))),
        RoleState::PreCandidate(_) | RoleState::Candidate(_) => {}
        RoleState::Leader(leader) => {
            times.clear();
            times.extend(core.chassis.rewrite_at());
            times.extend(core.low_until());
            times.extend(leader_times(core, leader));
            times.extend(leader.notice_at);
            times.extend(leader.transfer.map(|transfer| transfer.until));
            for progress in leader.progress.values() {
                times.push(active_end(core, progress));
                times.push(pause_end(core, progress));
                if let SendState::Snapshot { since, .. } = progress.pace {
                    times.push(overdue(core, since));
                }
            }
        }
    }
    times.extend(core.stalled_at());
    times.retain(|at| *at > core.chassis.instant());
    times.sort_unstable();
    times.dedup();
    times
}

fn leader_times(core: &Raft, leader: &Leader) -> [Instant; 3] {
    let settings = core.config.settings();
    let rest_at = leader.quiet.busy_at.after(settings.quiet_after.unwrap_or_default());
    [leader.tick_at, rest_at, leader.quiet.spoken_at.after(settings.quiet_max / 2)]
}

fn lease_end(core: &Raft) -> Instant {
    let end = core.leader_heard_at.after(core.config.settings().election_timeout_min);
    if core.leader.is_some() { end } else { Instant::ZERO }
}

fn quiet_end(core: &Raft, since: Instant) -> Instant {
    since.after(core.config.settings().quiet_max)
}

fn active_end(core: &Raft, progress: &Progress) -> Instant {
    progress.heard_at.after(core.config.settings().election_timeout_min)
}

fn pause_end(core: &Raft, progress: &Progress) -> Instant {
    progress.asked_at.after(core.config.settings().heartbeat_interval / 2)
}

fn overdue(core: &Raft, since: Instant) -> Instant {
    since.after(core.config.settings().election_timeout_max)
}

/// Returns every outstanding ticket that affects behaviour.
fn tickets(core: &Raft) -> Vec<Ticket> {
    let outbox = &core.chassis.outbox;
    let mut tickets = vec![core.state_ticket, core.reset_ticket];
    tickets.extend(core.log.marks().map(|(ticket, ..)| ticket));
    tickets.extend(outbox.in_flight());
    tickets.extend(outbox.queued_writes().map(|(ticket, _)| ticket));
    tickets.extend(outbox.held_messages().map(|(ticket, ..)| *ticket));
    tickets.extend(outbox.held_events().map(|(ticket, _)| *ticket));
    if let RoleState::Candidate(ballot) = &core.role {
        tickets.push(ballot.own_vote);
    }
    tickets.retain(|ticket| !outbox.is_durable(*ticket));
    // Loads and requests share the numbers but are never made durable.
    tickets.extend(core.receiving.as_ref().map(|receiving| receiving.ticket));
    if let RoleState::Leader(leader) = &core.role {
        tickets.extend(leader.progress.values().filter_map(|progress| progress.loading));
        let request = |progress: &Progress| match progress.pace {
            SendState::Snapshot { request, .. } => request,
            SendState::Probe { .. } | SendState::Replicate => None,
        };
        tickets.extend(leader.progress.values().filter_map(request));
    }
    tickets.sort_unstable();
    tickets.dedup();
    tickets
}
