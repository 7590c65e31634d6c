//! Messages of a stranger do not count, though it gets entries like any other node.

use quorate_protocol::{
    DiskState, Input, LogCommand, LogEvent, LogIndex, NodeId, ReadId, Role, Signal, Standing, Term, VotingBar,
};
use quorate_raft::Message;
use quorate_raft::message::{AppendOutcome, AppendResponse, HeartbeatResponse, Pace, RequestVote, VoteKind};

use crate::support::{Bench, append, granted};

fn standing(node: u64, standing: Standing) -> Input<quorate_raft::Raft> {
    Input::Signal(Signal::PeerStanding { node: NodeId(node), standing })
}

fn matched(match_index: u64) -> Message {
    let outcome = AppendOutcome::Matched { match_index: LogIndex(match_index) };
    Message::AppendResponse(AppendResponse { term: Term(1), outcome })
}

fn alive(round: u64) -> Message {
    alive_with(round, 9)
}

/// An answer to a round of heartbeats of a node whose log is durable up to this entry.
fn alive_with(round: u64, durable_index: u64) -> Message {
    let (received_index, match_index) = (LogIndex(0), LogIndex(0));
    Message::HeartbeatResponse(HeartbeatResponse {
        term: Term(1),
        round,
        received_index,
        match_index,
        durable_index: LogIndex(durable_index),
        pace: Pace::Lively,
        disk: DiskState::Ready,
    })
}

#[test]
fn its_request_for_a_vote_is_not_heard() {
    for kind in [VoteKind::Pre, VoteKind::Full, VoteKind::Transfer] {
        let mut voter = Bench::new(3);
        voter.input(standing(2, Standing::Stranger));
        let (last_index, last_term) = (LogIndex(9), Term(4));
        let request = RequestVote { term: Term(5), kind, last_index, last_term, founding: None };
        assert_eq!(voter.hear(2, Message::RequestVote(request)), []);
        assert_eq!(voter.term(), 0);
    }
}

/// The stranger leads other nodes, of a cluster that was founded under the same name. Their entries are not accepted.
#[test]
fn it_is_not_followed() {
    let mut node = Bench::new(3);
    node.input(standing(2, Standing::Stranger));
    let before = (node.term(), node.last(), node.commit());
    assert_eq!(node.hear(2, append(5, (0, 0), 1, &[5, 5])), []);
    assert_eq!((node.term(), node.last(), node.commit()), before);
    node.input(standing(2, Standing::Member));
    node.hear(2, append(5, (1, 0), 0, &[5]));
    assert_eq!((node.term(), node.last()), (5, 2));
}

#[test]
fn who_lost_what_it_acknowledged_is_told_of() {
    let mut leader = Bench::new(3);
    leader.lead();
    let beat = |leader: &mut Bench| {
        let sent = leader.time_out();
        let heartbeat = sent.into_iter().find_map(|(to, message)| match message {
            Message::Heartbeat(heartbeat) if to == 2 => Some(heartbeat),
            _ => None,
        });
        heartbeat.expect("a heartbeat is due").round
    };
    let early = beat(&mut leader);
    leader.hear(2, matched(1));
    leader.events.clear();
    let lost = [LogEvent::AcknowledgedLost { node: NodeId(2) }];
    leader.hear(2, alive_with(early, 0));
    assert_eq!(leader.events, [], "the answer may be older than the acknowledgement");
    let late = beat(&mut leader);
    leader.hear(2, alive_with(late, 1));
    assert_eq!(leader.events, [], "all is there");
    let last = beat(&mut leader);
    leader.hear(2, alive_with(last, 0));
    assert_eq!(leader.events, lost);
    leader.events.clear();
    leader.input(standing(2, Standing::Stranger));
    let after = beat(&mut leader);
    leader.hear(2, alive_with(after, 0));
    assert_eq!(leader.events, [], "a stranger need not have anything");
}

#[test]
fn its_vote_does_not_count() {
    let mut node = Bench::new(3);
    node.input(standing(2, Standing::Stranger));
    node.time_out();
    node.hear(2, granted(0, 1, VoteKind::Pre));
    assert_eq!(node.role(), Role::PreCandidate);
    node.hear(3, granted(0, 1, VoteKind::Pre));
    node.hear(2, granted(1, 1, VoteKind::Full));
    assert_eq!(node.role(), Role::Candidate);
}

#[test]
fn a_vote_is_forgotten_when_its_voter_becomes_a_stranger() {
    let mut node = Bench::new(5);
    node.time_out();
    node.hear(2, granted(0, 1, VoteKind::Pre));
    node.input(standing(2, Standing::Stranger));
    node.hear(3, granted(0, 1, VoteKind::Pre));
    assert_eq!(node.role(), Role::PreCandidate);
}

#[test]
fn its_acknowledgement_does_not_count_though_it_gets_entries() {
    let mut leader = Bench::new(3);
    leader.lead();
    let said = leader.input(standing(3, Standing::Stranger));
    assert!(said.iter().any(|(to, message)| *to == 3 && matches!(message, Message::AppendEntries(_))), "{said:?}");
    leader.hear(3, matched(2));
    assert_eq!(leader.commit(), 0);
    let said = leader.propose(b"x");
    assert!(said.iter().any(|(to, _)| *to == 3), "it is brought up");
    leader.hear(2, matched(3));
    assert_eq!(leader.commit(), 3);
}

#[test]
fn what_it_acknowledged_before_does_not_count_either() {
    let mut leader = Bench::new(5);
    leader.lead();
    leader.hear(2, matched(2));
    leader.input(standing(2, Standing::Stranger));
    leader.hear(3, matched(2));
    assert_eq!(leader.commit(), 0, "two of five");
    leader.input(standing(2, Standing::Member));
    assert_eq!(leader.commit(), 0, "a member again, it has to say so again");
    leader.hear(2, matched(2));
    assert_eq!(leader.commit(), 2);
}

#[test]
fn its_answers_confirm_no_read_and_keep_no_leader_in_office() {
    let mut leader = Bench::new(3);
    leader.lead();
    leader.hear(2, matched(2));
    leader.input(standing(3, Standing::Stranger));
    leader.input(Input::Command(LogCommand::Read { id: ReadId(1) }));
    leader.hear(3, alive(1));
    assert!(!leader.events.iter().any(|event| matches!(event, LogEvent::ReadReady { .. })));
    for round in 2..10 {
        if leader.role() == Role::Leader {
            leader.time_out();
            leader.hear(3, alive(round));
        }
    }
    assert_eq!(leader.role(), Role::Follower);
    assert!(leader.events.iter().any(|event| matches!(event, LogEvent::ReadFailed { id: ReadId(1), .. })));
}

#[test]
fn a_node_that_becomes_a_stranger_stops_leading_and_says_why() {
    let mut leader = Bench::new(3);
    leader.lead();
    leader.input(standing(1, Standing::Stranger));
    assert_eq!(leader.role(), Role::Follower);
    assert!(leader.events.contains(&LogEvent::Voting { barred: Some(VotingBar::Stranger) }));
    leader.events.clear();
    for _ in 0..5 {
        assert_eq!(leader.time_out(), []);
    }
    leader.input(standing(1, Standing::Member));
    assert!(leader.events.contains(&LogEvent::Voting { barred: None }));
    assert_eq!(leader.time_out().len(), 2, "it asks again");
}
