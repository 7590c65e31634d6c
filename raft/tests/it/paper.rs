//! One test for each rule of the paper (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm",
//! extended version) and of the thesis, named after it: inputs and exact outputs.

use quorate_protocol::{
    DiskState, Input, LogCommand, LogEvent, LogIndex, LogTime, Operation, ReadId, RefuseReason, Role, Term,
};
use quorate_raft::Message;
use quorate_raft::message::{
    AppendOutcome, AppendResponse, ClockReading, Heartbeat, HeartbeatResponse, Pace, RequestVote, Verdict, VoteKind,
    VoteResponse,
};

use crate::support::{Bench, append, founding, granted};

fn ask(term: u64, kind: VoteKind, last: (u64, u64)) -> Message {
    let (last_index, last_term) = (LogIndex(last.0), Term(last.1));
    Message::RequestVote(RequestVote { term: Term(term), kind, last_index, last_term, founding: Some(founding(3)) })
}

/// The answer of a voter whose log has one entry, the founding.
fn answer(term: u64, asked: u64, kind: VoteKind, verdict: Verdict) -> Message {
    answer_with_log(term, asked, kind, verdict, (1, 0))
}

fn answer_with_log(term: u64, asked: u64, kind: VoteKind, verdict: Verdict, last: (u64, u64)) -> Message {
    Message::VoteResponse(VoteResponse {
        term: Term(term),
        asked: Term(asked),
        kind,
        verdict,
        clock: ClockReading::default(),
        last_index: LogIndex(last.0),
        last_term: Term(last.1),
    })
}

fn matched(term: u64, match_index: u64) -> Message {
    let outcome = AppendOutcome::Matched { match_index: LogIndex(match_index) };
    Message::AppendResponse(AppendResponse { term: Term(term), outcome })
}

fn conflict(term: u64, prev: u64, hint: (u64, u64)) -> Message {
    let (prev_index, hint_index, hint_term) = (LogIndex(prev), LogIndex(hint.0), Term(hint.1));
    Message::AppendResponse(AppendResponse {
        term: Term(term),
        outcome: AppendOutcome::Conflict { prev_index, hint_index, hint_term },
    })
}

fn heartbeat(term: u64, commit: u64, round: u64) -> Message {
    Message::Heartbeat(Heartbeat {
        term: Term(term),
        commit_index: LogIndex(commit),
        round,
        pace: Pace::Lively,
        log_time: LogTime(0),
    })
}

/// §5.1: a server that sees a later term adopts it and follows.
#[test]
fn a_later_term_is_taken_over() {
    let mut leader = Bench::new(3);
    leader.lead();
    leader.hear(2, matched(5, 0));
    assert_eq!((leader.term(), leader.role()), (5, Role::Follower));
}

/// §5.1: a request of an earlier term is rejected; a leader is notified that its term is over.
#[test]
fn an_earlier_term_is_rejected() {
    let mut follower = Bench::with_log(3, 5, &[0]);
    let stale = Message::AppendResponse(AppendResponse { term: Term(5), outcome: AppendOutcome::Stale });
    assert_eq!(follower.hear(2, append(4, (1, 0), 0, &[4])), [(2, stale)]);
    let refused = answer(5, 4, VoteKind::Full, Verdict::Refused);
    assert_eq!(follower.hear(2, ask(4, VoteKind::Full, (9, 4))), [(2, refused)]);
    assert_eq!(follower.last(), 1);
}

/// §5.2: servers start as followers and stay so as long as they hear from a leader.
#[test]
fn a_follower_stays_one_while_it_hears_of_a_leader() {
    let mut follower = Bench::new(3);
    for round in 1..50 {
        follower.wait(400);
        assert_eq!(follower.hear(2, heartbeat(1, 0, round)).len(), 1);
        assert!(follower.core_deadline_is_ahead());
    }
    assert_eq!((follower.role(), follower.term()), (Role::Follower, 1));
}

/// §5.2: an election begins with the candidate's vote for itself, and requests the votes of all; thesis §9.6: after a
/// pre-vote, which changes nothing.
#[test]
fn an_election_asks_everybody() {
    let mut node = Bench::new(3);
    let pre = ask(1, VoteKind::Pre, (1, 0));
    assert_eq!(node.time_out(), [(2, pre.clone()), (3, pre)]);
    assert_eq!((node.term(), node.role()), (0, Role::PreCandidate));
    let full = ask(1, VoteKind::Full, (1, 0));
    assert_eq!(node.hear(3, granted(0, 1, VoteKind::Pre)), [(2, full.clone()), (3, full)]);
    assert_eq!((node.term(), node.role()), (1, Role::Candidate));
}

/// §5.2 and durability: neither the request nor the vote leaves before term and vote are durable.
#[test]
fn a_candidate_says_nothing_before_its_vote_is_durable() {
    let mut node = Bench::new(3);
    node.time_out();
    node.writes_complete = false;
    assert_eq!(node.hear(2, granted(0, 1, VoteKind::Pre)), []);
    assert_eq!(node.hear(2, granted(1, 1, VoteKind::Full)), [], "its own vote is not there yet");
    assert_eq!(node.role(), Role::Candidate);
    let said = node.complete();
    assert_eq!(said.len(), 2 + 2, "questions, then the first entry of its term");
    assert_eq!(node.role(), Role::Leader);
}

/// §5.2: one vote in a term, first come first served.
#[test]
fn one_vote_a_term() {
    let mut voter = Bench::new(3);
    let yes = answer(1, 1, VoteKind::Full, Verdict::Granted);
    assert_eq!(voter.hear(2, ask(1, VoteKind::Full, (1, 0))), [(2, yes.clone())]);
    assert_eq!(voter.hear(3, ask(1, VoteKind::Full, (1, 0))), [(3, answer(1, 1, VoteKind::Full, Verdict::Refused))]);
    assert_eq!(voter.hear(2, ask(1, VoteKind::Full, (1, 0))), [(2, yes)], "the same again");
}

/// §5.2 and durability: a vote is sent when it is durable.
#[test]
fn a_vote_is_durable_before_it_is_said() {
    let mut voter = Bench::new(3);
    voter.writes_complete = false;
    assert_eq!(voter.hear(2, ask(1, VoteKind::Full, (1, 0))), []);
    assert_eq!(voter.complete(), [(2, answer(1, 1, VoteKind::Full, Verdict::Granted))]);
}

/// §5.2: a majority wins, and the winner notifies all at once.
#[test]
fn a_majority_wins() {
    let mut node = Bench::new(5);
    node.time_out();
    node.hear(2, granted(0, 1, VoteKind::Pre));
    node.hear(3, granted(0, 1, VoteKind::Pre));
    node.hear(2, granted(1, 1, VoteKind::Full));
    assert_eq!(node.hear(2, granted(1, 1, VoteKind::Full)), [], "a duplicate counts once");
    assert_eq!(node.role(), Role::Candidate);
    let said = node.hear(5, granted(1, 1, VoteKind::Full));
    assert_eq!(said.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [2, 3, 4, 5]);
    assert!(said.iter().all(|(_, message)| matches!(message, Message::AppendEntries(_))));
}

/// §5.2: a candidate that hears from the term's leader follows it.
#[test]
fn a_candidate_yields_to_the_leader_of_its_term() {
    let mut node = Bench::new(3);
    node.time_out();
    node.hear(2, granted(0, 1, VoteKind::Pre));
    assert_eq!(node.role(), Role::Candidate);
    node.hear(3, heartbeat(1, 0, 1));
    assert_eq!((node.role(), node.term()), (Role::Follower, 1));
}

/// §5.2: a split vote ends with a new, randomised time-out and a new term.
#[test]
fn a_split_vote_is_tried_again_in_a_new_term() {
    let mut node = Bench::new(3);
    node.time_out();
    node.hear(2, granted(0, 1, VoteKind::Pre));
    assert_eq!(node.term(), 1);
    node.time_out();
    assert_eq!((node.role(), node.term()), (Role::PreCandidate, 1));
    node.hear(2, granted(1, 2, VoteKind::Pre));
    assert_eq!((node.role(), node.term()), (Role::Candidate, 2));
    let waits: std::collections::BTreeSet<_> = (0..20)
        .map(|_| {
            let before = node.now.instant;
            node.time_out();
            node.now.instant.since(before)
        })
        .collect();
    assert!(waits.len() > 15, "waits are drawn anew");
}

/// §5.3: the leader appends, replicates in parallel, commits when a majority has the entry, and notifies the
/// application.
#[test]
fn a_command_is_committed_by_a_majority() {
    let mut leader = Bench::new(3);
    leader.lead();
    leader.hear(2, matched(1, 2));
    let said = leader.propose(b"x");
    assert_eq!(said.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [2], "node 3 is still being probed");
    assert_eq!(leader.commit(), 2);
    leader.hear(2, matched(1, 3));
    assert_eq!(leader.commit(), 3);
    assert!(leader.events.contains(&LogEvent::Committed { index: LogIndex(3) }));
}

/// §10.2.1 of the thesis: the leader writes in parallel with its followers, and counts itself when its write is
/// durable.
#[test]
fn a_leader_writes_in_parallel() {
    let mut leader = Bench::new(3);
    leader.lead();
    leader.hear(2, matched(1, 2));
    leader.writes_complete = false;
    let said = leader.propose(b"x");
    assert!(matches!(&said[..], [(2, Message::AppendEntries(_))]), "sent before it is written");
    leader.hear(2, matched(1, 3));
    assert_eq!(leader.commit(), 2, "one durable copy");
    leader.complete();
    assert_eq!(leader.commit(), 3);
}

/// §5.3, figure 2: entries that do not follow the log are refused, with a hint that skips a term.
#[test]
fn entries_that_do_not_follow_are_refused() {
    let mut follower = Bench::with_log(3, 4, &[0, 1, 1, 4, 4]);
    assert_eq!(follower.hear(2, append(6, (9, 6), 0, &[6])), [(2, conflict(6, 9, (5, 4)))], "too short");
    assert_eq!(follower.hear(2, append(6, (5, 3), 0, &[6])), [(2, conflict(6, 5, (3, 1)))], "another term");
    assert_eq!(follower.last(), 5);
}

/// §5.3, figure 2: a contradicting tail is removed, and the rest appended, in one write.
#[test]
fn a_contradicting_tail_is_replaced() {
    let mut follower = Bench::with_log(3, 4, &[0, 1, 1, 4, 4]);
    follower.operations.clear();
    assert_eq!(follower.hear(2, append(6, (3, 1), 0, &[5, 6])), [(2, matched(6, 5))]);
    let written: Vec<&Operation> = follower.operations.iter().collect();
    assert!(
        matches!(
            written[..],
            [
                Operation::PutState { .. },
                Operation::TruncateFrom { index: LogIndex(4) },
                Operation::Append { index: LogIndex(4), term: Term(5), .. },
                Operation::Append { index: LogIndex(5), term: Term(6), .. },
            ]
        ),
        "{written:?}"
    );
}

/// §5.3: matching entries are not removed, even if a message was overtaken.
#[test]
fn an_old_message_takes_nothing_away() {
    let mut follower = Bench::with_log(3, 4, &[0, 1, 1, 4, 4]);
    follower.operations.clear();
    assert_eq!(follower.hear(2, append(4, (1, 0), 0, &[1])), [(2, matched(4, 2))]);
    assert_eq!((follower.last(), follower.operations.len()), (5, 0));
}

/// §5.3: a follower acknowledges durable entries, once for all that came meanwhile.
#[test]
fn an_acknowledgement_covers_what_is_durable() {
    let mut follower = Bench::new(3);
    follower.hear(2, heartbeat(1, 0, 1));
    follower.writes_complete = false;
    assert_eq!(follower.hear(2, append(1, (1, 0), 0, &[1])), []);
    assert_eq!(follower.hear(2, append(1, (2, 1), 0, &[1])), []);
    assert_eq!(follower.hear(2, append(1, (3, 1), 0, &[1])), []);
    assert_eq!(follower.pending.len(), 1, "the next batch grows while one is written");
    assert_eq!(follower.complete(), [(2, matched(1, 2)), (2, matched(1, 4))]);
}

/// §5.3: the leader goes back to the matching index, one term in each round trip, and sends from there.
#[test]
fn a_leader_finds_where_the_logs_match() {
    let mut leader = Bench::with_log(3, 6, &[0, 1, 1, 4, 4, 5, 5, 6, 6, 6]);
    leader.lead();
    // The follower's log: 0 1 1 2 2 2 3 3 3 3 3.
    let said = leader.hear(2, conflict(7, 10, (10, 3)));
    let [(2, Message::AppendEntries(message))] = &said[..] else { panic!("{said:?}") };
    assert_eq!((message.prev_index, message.prev_term), (LogIndex(3), Term(1)));
    assert_eq!(message.batch.header().first, LogIndex(4));
    assert_eq!(leader.hear(2, conflict(7, 10, (10, 3))), [], "the same again is stale");
}

/// §5.3: followers learn the commit index, and never beyond their own log.
#[test]
fn a_follower_commits_what_the_leader_has_committed() {
    let mut follower = Bench::new(3);
    follower.hear(2, append(1, (1, 0), 9, &[1, 1]));
    assert_eq!(follower.commit(), 3);
    assert!(follower.events.contains(&LogEvent::Committed { index: LogIndex(3) }));
    let mut behind = Bench::with_log(3, 1, &[0, 1, 1]);
    behind.hear(2, heartbeat(2, 3, 1));
    assert_eq!(behind.commit(), 0, "it is not known yet that its entries are the leader's");
}

/// §5.4.1: a vote needs a log that is at least as up-to-date: the later last term, then the longer log.
#[test]
fn a_vote_needs_an_up_to_date_log() {
    for (last, verdict) in
        [((9, 1), Verdict::Refused), ((2, 2), Verdict::Refused), ((3, 2), Verdict::Granted), ((1, 3), Verdict::Granted)]
    {
        let mut voter = Bench::with_log(3, 2, &[0, 1, 2]);
        let answer = answer_with_log(3, 3, VoteKind::Full, verdict, (3, 2));
        assert_eq!(voter.hear(2, ask(3, VoteKind::Full, last)), [(2, answer)]);
    }
}

/// §5.4.2: entries of earlier terms are committed with one of the current term, never by counting copies.
#[test]
fn only_an_entry_of_the_current_term_commits() {
    let mut leader = Bench::with_log(3, 2, &[0, 1, 2]);
    leader.lead();
    assert_eq!(leader.last(), 4);
    leader.hear(2, matched(3, 3));
    assert_eq!(leader.commit(), 0);
    leader.hear(2, matched(3, 4));
    assert_eq!(leader.commit(), 4);
}

/// §5.5: requests may come twice.
#[test]
fn messages_are_idempotent() {
    let mut follower = Bench::new(3);
    let message = append(1, (1, 0), 0, &[1, 1]);
    let first = follower.hear(2, message.clone());
    assert_eq!(follower.hear(2, message), first);
    assert_eq!(follower.last(), 3);
}

/// §6: a vote is not granted while a leader is alive, and the term stays.
#[test]
fn a_disruptive_server_is_not_heard() {
    let mut follower = Bench::new(3);
    follower.hear(2, heartbeat(1, 0, 1));
    for kind in [VoteKind::Pre, VoteKind::Full] {
        assert_eq!(follower.hear(3, ask(9, kind, (9, 9))), []);
    }
    assert_eq!(follower.term(), 1);
    // Thesis §3.10: a vote is granted if the leader itself requested the election.
    let answers = follower.hear(3, ask(2, VoteKind::Transfer, (9, 9)));
    let is_yes = |message: &Message| matches!(message, Message::VoteResponse(vote) if vote.kind == VoteKind::Transfer && vote.verdict == Verdict::Granted);
    assert!(matches!(&answers[..], [(3, message)] if is_yes(message)), "{answers:?}");
    let mut other = Bench::new(3);
    other.hear(2, heartbeat(1, 0, 1));
    other.wait(500);
    assert_eq!(other.hear(3, ask(2, VoteKind::Pre, (9, 9))).len(), 1, "one election time-out later it is");
}

/// Thesis §9.6: a pre-vote changes neither term nor vote.
#[test]
fn a_pre_vote_binds_nobody() {
    let mut voter = Bench::new(3);
    voter.operations.clear();
    for candidate in [2, 3] {
        let yes = answer(0, 1, VoteKind::Pre, Verdict::Granted);
        assert_eq!(voter.hear(candidate, ask(1, VoteKind::Pre, (1, 0))), [(candidate, yes)]);
    }
    assert_eq!((voter.term(), voter.operations.len()), (0, 0));
}

/// Thesis §6.2: a leader that hears from no majority within an election time-out steps down, and sends no more
/// heartbeats.
#[test]
fn a_leader_without_a_quorum_goes_silent() {
    let mut leader = Bench::new(3);
    leader.lead();
    let mut said = Vec::new();
    for _ in 0..5 {
        said = leader.time_out();
    }
    assert_eq!((leader.role(), said), (Role::Follower, vec![]));
    leader.propose(b"x");
    assert!(matches!(leader.events.last(), Some(LogEvent::Refused { reason: RefuseReason::NotLeader, .. })));
}

/// Thesis §6.4: a read waits for one round of heartbeats, and one round serves all that wait.
#[test]
fn one_round_serves_all_reads_that_wait() {
    let mut leader = Bench::new(3);
    leader.lead();
    leader.hear(2, matched(1, 2));
    leader.events.clear();
    let read = |id| Input::Command(LogCommand::Read { id: ReadId(id) });
    let first = leader.input(read(1));
    assert_eq!(first, [(2, heartbeat(1, 2, 1)), (3, heartbeat(1, 0, 1))]);
    assert_eq!(leader.input(read(2)), [], "it waits for the next round");
    assert_eq!(leader.input(read(3)), []);
    let confirm = |round| {
        let (received_index, match_index) = (LogIndex(2), LogIndex(2));
        Message::HeartbeatResponse(HeartbeatResponse {
            term: Term(1),
            round,
            received_index,
            match_index,
            durable_index: match_index,
            pace: Pace::Lively,
            disk: DiskState::Ready,
        })
    };
    let second = leader.hear(2, confirm(1));
    assert_eq!(second, [(2, heartbeat(1, 2, 2)), (3, heartbeat(1, 0, 2))]);
    let ready = |id| LogEvent::ReadReady { id: ReadId(id), index: LogIndex(2) };
    assert_eq!(leader.events, [ready(1)]);
    leader.hear(2, confirm(1));
    assert_eq!(leader.events, [ready(1)], "an old answer confirms nothing new");
    leader.hear(2, confirm(2));
    assert_eq!(leader.events, [ready(1), ready(2), ready(3)]);
}

/// §8: a leader does not serve reads before an entry of its own term is committed.
#[test]
fn reads_wait_for_the_leaders_first_commit() {
    let mut leader = Bench::new(3);
    leader.lead();
    assert_eq!(leader.input(Input::Command(LogCommand::Read { id: ReadId(1) })), []);
    let said = leader.hear(2, matched(1, 2));
    let is_round = |(_, message): &(u64, Message)| matches!(message, Message::Heartbeat(beat) if beat.round == 1);
    assert_eq!(said.iter().filter(|message| is_round(message)).count(), 2);
}

/// A single node needs no other node, but its disk.
#[test]
fn a_single_node_commits_with_its_write() {
    let mut node = Bench::new(1);
    node.time_out();
    assert_eq!((node.role(), node.commit()), (Role::Leader, 2));
    node.writes_complete = false;
    node.propose(b"x");
    assert_eq!(node.commit(), 2);
    node.complete();
    assert_eq!(node.commit(), 3);
    node.input(Input::Command(LogCommand::Read { id: ReadId(1) }));
    assert_eq!(node.events.last(), Some(&LogEvent::ReadReady { id: ReadId(1), index: LogIndex(3) }));
}

/// A follower's reads go to the leader as one question, whose number no other start of the node uses.
#[test]
fn a_follower_asks_for_all_its_reads_at_once() {
    let mut follower = Bench::new(3);
    follower.hear(2, heartbeat(1, 0, 1));
    follower.writes_complete = false;
    assert_eq!(follower.input(Input::Command(LogCommand::Read { id: ReadId(1) })), [], "the start is counted first");
    let said = follower.complete();
    let [(2, Message::ReadIndex(question))] = &said[..] else { panic!("{said:?}") };
    assert_eq!(question.number, (1 << 32) | 1);
}

impl Bench {
    fn core_deadline_is_ahead(&self) -> bool {
        quorate_protocol::Protocol::deadline(&self.core).is_some_and(|deadline| deadline > self.now.instant)
    }
}
