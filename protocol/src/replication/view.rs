//! The part of the state that affects behaviour.
//!
//! Not included are the random generator, the lengths of waits, the clocks that log time is made from (a model lets
//! them stand still: its waits are far shorter than a millisecond), counters for operators, and the last reports of
//! values that are reported on change only.

use crate::replication::candidate::VotesReceived;
use crate::replication::catch_up::Helping;
use crate::replication::follower::Follower;
use crate::replication::leader::Leader;
use crate::replication::progress::{Leaving, Progress, SendState};
use crate::replication::reads::Inquiry;
use crate::replication::role::RoleState;
use crate::replication::shared::Shared;
use crate::replication::{Election, LogCore};
use crate::{Instant, Ticket, View, ViewWriter};

/// The view of this node.
pub(crate) fn view<E: Election>(core: &LogCore<E>) -> View {
    let shared = &core.shared;
    let mut out = ViewWriter::new(shared.now(), times(core), &shared.chassis.outbox, writes(core), requests(core));
    put_shared(&mut out, shared);
    out.put(&(core.reported.role, core.reported.barred));
    match &core.role {
        RoleState::Follower(follower) => put_follower(&mut out, shared, follower),
        RoleState::PreCandidate(received) => put_votes(&mut out, shared, "pre-candidate", received),
        RoleState::Candidate(received) => put_votes(&mut out, shared, "candidate", received),
        RoleState::Leader(leader) => put_leader(&mut out, shared, leader),
    }
    out.put_outbox(&shared.chassis.outbox);
    out.finish()
}

fn put_shared<E: Election>(out: &mut ViewWriter, shared: &Shared<E>) {
    let Shared { chassis, durable, log, commitment, snapshots, reads, .. } = shared;
    out.put(&(shared.config.node(), durable.state(), shared.election.leader()));
    out.put(&(commitment.matched(), commitment.index(), commitment.hinted(), commitment.reported()));
    out.put(&(snapshots.newest(), chassis.standings(), chassis.storage(), chassis.halted()));
    out.put(&shared.disk.stalled_at().map(|at| out.time(at)));
    out.put(&(shared.may_be_applied(), shared.clock.view()));
    out.put(&(log.view(), out.ticket(durable.ticket()), out.ticket(commitment.reset_ticket())));
    let marks: Vec<_> = log.marks().map(|(ticket, places)| (out.ticket(ticket), places)).collect();
    out.put(&marks);
    if let Some(receiving) = snapshots.receiving() {
        out.put(&(out.ticket(receiving.ticket), receiving.from, receiving.term, &receiving.snapshot));
        out.put(&receiving.founding);
    }
    out.put(&reads.view());
    match reads.inquiry() {
        Some(Inquiry::Question { number, again_at }) => out.put(&("question", number, out.time(again_at))),
        other => out.put(&other),
    }
    out.put(&chassis.rewrite_at().map(|at| out.time(at)));
    out.put(&shared.removed_at);
    let Helping { loading, sending } = shared.helping;
    out.put(&loading.map(|(ticket, at)| (out.ticket(ticket), at)));
    out.put(&sending.map(|ticket| out.ticket(ticket)));
    out.put(&shared.election.promised_until().map(|at| out.time(at)));
}

fn put_follower<E: Election>(out: &mut ViewWriter, shared: &Shared<E>, follower: &Follower) {
    out.put(&("follower", follower.view()));
    put_waiting(out, shared);
}

fn put_votes<E: Election>(out: &mut ViewWriter, shared: &Shared<E>, name: &str, received: &VotesReceived) {
    out.put(&(name, received.view(), out.ticket(received.own_vote())));
    out.put(&received.catch_up().map(|catch_up| out.time(catch_up.again_at)));
    put_waiting(out, shared);
}

fn put_waiting<E: Election>(out: &mut ViewWriter, shared: &Shared<E>) {
    out.put(&(out.time(shared.election.at()), out.time(shared.election.bound_until())));
}

fn put_leader<E: Election>(out: &mut ViewWriter, shared: &Shared<E>, leader: &Leader) {
    let times: Vec<usize> = leader_times(shared, leader).map(|at| out.time(at)).collect();
    out.put(&("leader", leader.view(), times));
    out.put(&leader.transfers.current().map(|it| (it.to, it.is_told, out.time(it.until))));
    out.put(&leader.transfers.low_until(shared).map(|at| out.time(at)));
    out.put(&shared.disk.was_offered(leader.transfers.offered_at()));
    out.put(&leader.transfers.preference_at(shared).map(|at| out.time(at)));
    for (node, goal, since) in leader.promotions.rounds() {
        out.put(&(node, goal, out.time(round_end(shared, since))));
    }
    for (node, progress) in leader.peers.iter() {
        out.put(node);
        put_progress(out, shared, progress);
    }
}

fn put_progress<E: Election>(out: &mut ViewWriter, shared: &Shared<E>, progress: &Progress) {
    let loading = progress.loading.map(|ticket| out.ticket(ticket));
    out.put(&(progress.match_index, progress.next_index, &progress.in_flight, loading, progress.loss_probe));
    out.put(&(progress.commit_told, progress.round_answered, progress.standing));
    out.put(&(progress.is_quiet, progress.is_resting));
    out.put(&(out.time(active_end(shared, progress)), out.time(pause_end(shared, progress)), progress.disk));
    out.put(&replaced_at(shared, progress).map(|at| out.time(at)));
    if let Some(Leaving { index, since, told_in }) = progress.leaving {
        out.put(&(index, told_in, out.time(leaving_end(shared, since))));
    }
    match progress.pace {
        SendState::Snapshot { index, request, since } => {
            let request = request.map(|ticket| out.ticket(ticket));
            out.put(&(index, request, out.time(overdue(shared, since))));
        }
        other => out.put(&other),
    }
}

/// Returns every time that affects behaviour.
fn times<E: Election>(core: &LogCore<E>) -> Vec<Instant> {
    let shared = &core.shared;
    let mut times: Vec<Instant> = shared.chassis.rewrite_at().into_iter().chain(shared.disk.stalled_at()).collect();
    times.extend(shared.election.promised_until());
    match &core.role {
        RoleState::Leader(leader) => {
            times.extend(leader.transfers.low_until(shared));
            times.extend(leader.transfers.preference_at(shared));
            times.extend(leader_times(shared, leader));
            times.extend(leader.transfers.current().map(|transfer| transfer.until));
            times.extend(leader.promotions.rounds().map(|(.., since)| round_end(shared, since)));
            for (_, progress) in leader.peers.iter() {
                times.extend(replaced_at(shared, progress));
                times.extend(progress.leaving.map(|leaving| leaving_end(shared, leaving.since)));
                times.push(active_end(shared, progress));
                times.push(pause_end(shared, progress));
                if let SendState::Snapshot { since, .. } = progress.pace {
                    times.push(overdue(shared, since));
                }
            }
            return times;
        }
        RoleState::Follower(_) | RoleState::PreCandidate(_) | RoleState::Candidate(_) => {}
    }
    if let RoleState::Candidate(received) = &core.role {
        times.extend(received.catch_up().map(|catch_up| catch_up.again_at));
    }
    times.extend([shared.election.at(), shared.election.bound_until()]);
    times.extend(shared.reads.deadline());
    times
}

fn leader_times<E: Election>(shared: &Shared<E>, leader: &Leader) -> impl Iterator<Item = Instant> {
    let (settings, (tick_at, notice_at)) = (shared.settings(), leader.times());
    let rest_at = leader.quiet.rest_at(settings.quiet_after.unwrap_or_default());
    [tick_at, rest_at].into_iter().chain(notice_at)
}

fn round_end<E: Election>(shared: &Shared<E>, since: Instant) -> Instant {
    since.after(shared.settings().election_timeout_min)
}

fn replaced_at<E: Election>(shared: &Shared<E>, progress: &Progress) -> Option<Instant> {
    shared.settings().replace_after.map(|after| progress.heard_at(shared.now()).after(after))
}

fn leaving_end<E: Election>(shared: &Shared<E>, since: Instant) -> Instant {
    since.after(Leaving::patience(shared))
}

fn active_end<E: Election>(shared: &Shared<E>, progress: &Progress) -> Instant {
    progress.heard_at(shared.now()).after(shared.settings().election_timeout_min)
}

fn pause_end<E: Election>(shared: &Shared<E>, progress: &Progress) -> Instant {
    progress.asked_at.after(shared.settings().heartbeat_interval / 2)
}

fn overdue<E: Election>(shared: &Shared<E>, since: Instant) -> Instant {
    since.after(shared.settings().election_timeout_max)
}

/// Returns the tickets of the writes that more waits for than outputs.
fn writes<E: Election>(core: &LogCore<E>) -> Vec<Ticket> {
    let shared = &core.shared;
    let mut tickets = vec![shared.durable.ticket(), shared.commitment.reset_ticket()];
    tickets.extend(shared.log.marks().map(|(ticket, ..)| ticket));
    if let RoleState::Candidate(received) = &core.role {
        tickets.push(received.own_vote());
    }
    tickets
}

/// Returns the tickets of open loads and requests.
fn requests<E: Election>(core: &LogCore<E>) -> Vec<Ticket> {
    let mut tickets: Vec<Ticket> =
        core.shared.snapshots.receiving().map(|receiving| receiving.ticket).into_iter().collect();
    let Helping { loading, sending } = core.shared.helping;
    tickets.extend(loading.map(|(ticket, _)| ticket).into_iter().chain(sending));
    if let RoleState::Leader(leader) = &core.role {
        for (_, progress) in leader.peers.iter() {
            tickets.extend(progress.loading);
            if let SendState::Snapshot { request, .. } = progress.pace {
                tickets.extend(request);
            }
        }
    }
    tickets
}
