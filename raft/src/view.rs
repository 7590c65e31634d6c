//! The part of the state that affects behaviour.
//!
//! Not included are the random generator, the lengths of waits, the clocks that log time is made from (a model lets
//! them stand still: its waits are far shorter than a millisecond), counters for operators, and the last reports of
//! values that are reported on change only.

use quorate_protocol::{Instant, Ticket, View, ViewWriter};

use crate::Raft;
use crate::leader::Leader;
use crate::progress::{Progress, SendState};
use crate::reads::Inquiry;
use crate::state::{Ballot, Follower, RoleState};

/// The view of this node.
pub(crate) fn view(core: &Raft) -> View {
    let mut out =
        ViewWriter::new(core.chassis.instant(), times(core), &core.chassis.outbox, writes(core), requests(core));
    put_all(&mut out, core);
    out.finish()
}

fn put_all(out: &mut ViewWriter, core: &Raft) {
    out.put(&(core.config.node(), &core.state, core.leader, core.matched, core.commit_index, core.commit_hinted));
    out.put(&(
        &core.snapshot,
        core.chassis.standings(),
        core.chassis.storage(),
        core.chassis.halted(),
        core.told.committed,
    ));
    out.put(&core.stalled_at().map(|at| out.time(at)));
    out.put(&core.may_be_applied());
    out.put(&(core.told.role, core.told.barred, core.clock.view()));
    out.put(&(core.log.view(), out.ticket(core.state_ticket), out.ticket(core.reset_ticket)));
    let marks: Vec<_> = core.log.marks().map(|(ticket, places)| (out.ticket(ticket), places)).collect();
    out.put(&marks);
    if let Some(receiving) = &core.receiving {
        out.put(&(out.ticket(receiving.ticket), receiving.from, receiving.term, &receiving.snapshot));
        out.put(&receiving.founding);
    }
    let reads = &core.reads;
    out.put(&(&reads.waiting, &reads.asked, reads.questions, reads.is_start_counted));
    match reads.inquiry {
        Some(Inquiry::Question { number, again_at }) => out.put(&("question", number, out.time(again_at))),
        other => out.put(&other),
    }
    out.put(&core.chassis.rewrite_at().map(|at| out.time(at)));
    match &core.role {
        RoleState::Follower(follower) => put_follower(out, core, follower),
        RoleState::PreCandidate(ballot) => put_ballot(out, core, "pre-candidate", ballot),
        RoleState::Candidate(ballot) => put_ballot(out, core, "candidate", ballot),
        RoleState::Leader(leader) => put_leader(out, core, leader),
    }
    out.put_outbox(&core.chassis.outbox);
}

fn put_follower(out: &mut ViewWriter, core: &Raft, follower: &Follower) {
    let quiet_end = follower.quiet_since.map(|since| out.time(quiet_end(core, since)));
    out.put(&("follower", follower.owes_acknowledgement, follower.acknowledged, quiet_end));
    put_waiting(out, core);
}

fn put_ballot(out: &mut ViewWriter, core: &Raft, name: &str, ballot: &Ballot) {
    out.put(&(name, &ballot.votes, &ballot.clocks, out.ticket(ballot.own_vote)));
    put_waiting(out, core);
}

fn put_waiting(out: &mut ViewWriter, core: &Raft) {
    out.put(&(out.time(core.election_at), out.time(lease_end(core))));
}

fn put_leader(out: &mut ViewWriter, core: &Raft, leader: &Leader) {
    let times = leader_times(core, leader).map(|at| out.time(at));
    out.put(&("leader", leader.round, times, leader.notice_at.map(|at| out.time(at)), leader.quiet.stage));
    out.put(&leader.transfer.map(|it| (it.to, it.is_told, out.time(it.until))));
    out.put(&(leader.loads_failed, leader.snapshots_unread));
    out.put(&core.low_until().map(|at| out.time(at)));
    out.put(&core.writing_since.map(|since| leader.offered_at > since));
    out.put(&(leader.uncommitted(), leader.compaction));
    for (node, progress) in &leader.progress {
        out.put(node);
        put_progress(out, core, progress);
    }
}

fn put_progress(out: &mut ViewWriter, core: &Raft, progress: &Progress) {
    let loading = progress.loading.map(|ticket| out.ticket(ticket));
    out.put(&(progress.match_index, progress.next_index, &progress.in_flight, loading, progress.loss_probe));
    out.put(&(progress.commit_told, progress.round_answered, progress.is_quiet, progress.standing));
    out.put(&(out.time(active_end(core, progress)), out.time(pause_end(core, progress)), progress.disk));
    match progress.pace {
        SendState::Snapshot { index, request, since } => {
            let request = request.map(|ticket| out.ticket(ticket));
            out.put(&(index, request, out.time(overdue(core, since))));
        }
        other => out.put(&other),
    }
}

/// Returns every time that affects behaviour.
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

/// Returns the tickets of the writes that more waits for than outputs.
fn writes(core: &Raft) -> Vec<Ticket> {
    let mut tickets = vec![core.state_ticket, core.reset_ticket];
    tickets.extend(core.log.marks().map(|(ticket, ..)| ticket));
    if let RoleState::Candidate(ballot) = &core.role {
        tickets.push(ballot.own_vote);
    }
    tickets
}

/// Returns the tickets of open loads and requests.
fn requests(core: &Raft) -> Vec<Ticket> {
    let mut tickets: Vec<Ticket> = core.receiving.iter().map(|receiving| receiving.ticket).collect();
    if let RoleState::Leader(leader) = &core.role {
        tickets.extend(leader.progress.values().filter_map(|progress| progress.loading));
        let request = |progress: &Progress| match progress.pace {
            SendState::Snapshot { request, .. } => request,
            SendState::Probe { .. } | SendState::Replicate => None,
        };
        tickets.extend(leader.progress.values().filter_map(request));
    }
    tickets
}
