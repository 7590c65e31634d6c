//! Rows about who leads.

use std::collections::{BTreeMap, BTreeSet};

use super::seen::Seen;
use quorate_protocol::{NodeId, ReplicatedLog, Role, Term, Violation};
use quorate_raft::Message;
use quorate_raft::message::{Verdict, VoteKind};
use quorate_simulation::schedule::{Partition, What, Who};

use super::directed::{Director, Here};
use super::{Script, acknowledged, slices_with_writes};

/// Sees who asked for votes and who got them.
#[derive(Default)]
struct Votes {
    /// Whom each node voted for in each term.
    granted: BTreeMap<(u64, Term), NodeId>,
    /// A node's term before it heard of a pre-vote.
    before: Option<Term>,
    /// Candidates of later terms that asked node 1, which had led term 1 and had more of it.
    asked_the_leader: BTreeSet<(NodeId, Term)>,
    /// How many of them it refused.
    refused: u64,
    /// Candidates that asked a voter that had voted for another one in their term.
    second: u64,
    /// Candidates, or would-be ones, with a longer log that a node refused, whose newest entry is of a later term.
    longer_but_older: u64,
    /// The term of the newest entry on each node's disk.
    last_terms: BTreeMap<u64, Term>,
    broken: Option<String>,
}

impl Director for Votes {
    fn hears(&mut self, here: &Here<'_>, from: NodeId, message: &Message) -> Vec<Message> {
        if let Message::RequestVote(request) = message {
            let status = here.core.status();
            let granted = self.granted.get(&(here.node, request.term));
            self.second += u64::from(request.kind != VoteKind::Pre && granted.is_some_and(|first| *first != from));
            let is_older = self.last_terms.get(&here.node).is_some_and(|term| request.last_term < *term);
            self.longer_but_older += u64::from(is_older && request.last_index > status.last_index);
            if request.kind == VoteKind::Pre {
                self.before = Some(status.term);
            } else if here.node == 1 && request.last_term == Term(1) && request.last_index < status.last_index {
                self.asked_the_leader.insert((from, request.term));
            }
        }
        Vec::new()
    }

    fn has_heard(&mut self, here: &Here<'_>) {
        if let Some(before) = self.before.take().filter(|before| *before != here.core.status().term) {
            self.broken = Some(format!("a pre-vote moved node {} from term {before}", here.node));
        }
    }

    fn sends(&mut self, here: &Here<'_>, to: NodeId, message: Message) -> Option<Message> {
        if let Message::VoteResponse(response) = message
            && response.kind != VoteKind::Pre
        {
            let is_granted = response.verdict == Verdict::Granted;
            if is_granted && *self.granted.entry((here.node, response.asked)).or_insert(to) != to {
                self.broken = Some(format!("node {} votes twice in term {}", here.node, response.asked));
            }
            if here.node == 1 && self.asked_the_leader.contains(&(to, response.asked)) {
                self.refused += u64::from(!is_granted);
                if is_granted {
                    self.broken = Some(format!("node 1 votes for node {to}, whose log is older"));
                }
            }
        }
        Some(message)
    }

    fn looks(&mut self, nodes: &[Seen<'_>]) -> Result<(), Violation> {
        let last_term = |view: &Seen<'_>| Some((view.node.0, view.term_at(view.last())?));
        self.last_terms.extend(nodes.iter().filter_map(last_term));
        self.broken.take().map_or(Ok(()), |detail| Err(Violation { law: "one vote a term", detail }))
    }
}

/// Raft 6: a leader has appended what nobody else has when it learns of a later term from candidates with older logs.
/// It refuses them; pre-votes and votes cross.
#[test]
fn row_06_a_seen_vote_is_not_a_granted_vote() {
    let mut refused = [0; 2];
    for seed in 0..6 {
        // Node 1 goes on appending while nobody hears it; the others stand still, and then stand for election together.
        let script =
            Script::new(3, seed).clients(16).at_leader(50).hurry(0, 300, 1).cut(1_000, 4_000, &[(1, 2), (1, 3)]);
        let script = script.fault(1_000, 2_600, What::Pause { node: Who::Node(2) });
        let script = script.fault(1_000, 2_600, What::Pause { node: Who::Node(3) });
        let script = script.fault(2_500, 4_500, What::Delay { up_to_us: 250_000 });
        // Then it can answer, and nodes 2 and 3 need it.
        let script = script.cut(4_000, 6_000, &[(2, 3), (3, 2)]);
        for ((_, votes), refused) in script.play::<Votes>().into_iter().zip(&mut refused) {
            *refused += votes.refused;
        }
    }
    assert!(refused.iter().all(|refused| *refused > 0), "the leader was asked and refused: {refused:?}");
}

/// Raft 6: two candidates of one term ask one voter, whom both have the log for. The second is refused, though it asks
/// before the first has won.
#[test]
fn row_06_two_candidates_of_one_term() {
    let mut second = [0; 2];
    for seed in 0..4 {
        // Whoever leads is cut off, and those who want to follow it hear of each other late.
        let mut script = Script::new(5, seed).fault(1_000, 13_000, What::Delay { up_to_us: 250_000 });
        for from_ms in (1_000..13_000).step_by(3_000) {
            let partition = Partition::Isolate { node: Who::LEADER };
            script = script.fault(from_ms, from_ms + 2_500, What::Partition { partition });
        }
        for ((_, votes), second) in script.play::<Votes>().into_iter().zip(&mut second) {
            *second += votes.second;
        }
    }
    assert!(second.iter().all(|second| *second > 0), "voters were asked twice in a term: {second:?}");
}

/// Raft 6: a leader that was cut off has appended more than the next one, in an earlier term. Its log is the older one,
/// however long, and whoever knows the later term refuses it.
#[test]
fn row_06_a_longer_log_may_be_older() {
    let mut refused = [0; 2];
    for seed in 0..4 {
        // Nobody hears node 2 while it appends. Node 3 leads meanwhile, and stops: nodes 1 and 2 need each other.
        let script = Script::new(3, seed).clients(40).at_leader(100).hurry(0, 300, 2).isolate(1_000, 2_000, 2);
        let script = script.hurry(1_000, 1_500, 3).crash(1_700, 6_000, 3).hurry(2_000, 3_000, 2);
        for ((_, votes), refused) in script.play::<Votes>().into_iter().zip(&mut refused) {
            *refused += votes.longer_but_older;
        }
    }
    assert!(refused.iter().all(|refused| *refused > 0), "a longer log was refused: {refused:?}");
}

/// Sees who leads, and how often anybody asks for votes.
#[derive(Default)]
pub(super) struct Leaders {
    pub(super) seen: BTreeSet<(Term, NodeId)>,
    pub(super) pre_votes: BTreeMap<u64, u64>,
    /// How many each candidate was promised.
    promised: BTreeMap<NodeId, u64>,
}

impl Director for Leaders {
    fn sends(&mut self, here: &Here<'_>, to: NodeId, message: Message) -> Option<Message> {
        match &message {
            Message::RequestVote(request) if request.kind == VoteKind::Pre => {
                *self.pre_votes.entry(here.node).or_insert(0) += 1;
            }
            Message::VoteResponse(vote) if vote.kind == VoteKind::Pre && vote.verdict == Verdict::Granted => {
                *self.promised.entry(to).or_insert(0) += 1;
            }
            _ => {}
        }
        Some(message)
    }

    fn looks(&mut self, nodes: &[Seen<'_>]) -> Result<(), Violation> {
        for view in nodes {
            let Some(status) = view.status() else { continue };
            if status.role == Role::Leader {
                self.seen.insert((status.term, view.node));
            }
        }
        Ok(())
    }
}

/// Raft 15: one node is down and the leader forgets that it leads: somebody is elected while the third is still down.
#[test]
fn row_15_a_leader_that_restarts_with_one_node_down() {
    for seed in 0..4 {
        let script = Script::new(3, seed).hurry(0, 300, 1).crash(1_000, 14_000, 3).crash(2_000, 2_001, 1);
        for (outcome, leaders) in script.play::<Leaders>() {
            assert!(leaders.seen.len() >= 2, "the first leader lost its office: {:?}", leaders.seen);
            assert!(acknowledged(&outcome.history, 2_001, 12_001) > 100, "they serve before the third is back");
        }
    }
}

/// Raft 15: a node whose clock runs ten times too fast and that hears nobody asks for votes all the time. The leader
/// stays, and its term with it.
#[test]
fn row_15_a_node_that_asks_all_the_time() {
    for seed in 0..4 {
        let script = Script::new(3, seed).hurry(0, 300, 1).hurry(1_000, 11_000, 3);
        let script = script.cut(1_000, 11_000, &[(1, 3), (2, 3)]);
        for (outcome, leaders) in script.play::<Leaders>() {
            assert!(leaders.pre_votes[&3] > 100, "node 3 asks: {:?}", leaders.pre_votes);
            assert_eq!(leaders.seen.len(), 1, "one leader: {:?}", leaders.seen);
            assert_eq!(slices_with_writes(&outcome.history, 1, 11), 10);
        }
    }
}

/// Raft 15: such a node cannot keep the others from electing a leader either, though they tell it all the time that it
/// will not be: to be asked does not delay a node's own election.
#[test]
fn row_15_being_asked_delays_nobody() {
    for seed in 0..4 {
        // Node 4 misses what is appended, and then asks 3 and 5 without end.
        let script =
            Script::new(5, seed).hurry(0, 300, 1).links(500, 1_500, &[(1, 2), (1, 3), (1, 5), (2, 3), (2, 5), (3, 5)]);
        let script = script.crash(1_500, 13_000, 1).cut(1_500, 13_000, &[(4, 2), (2, 4)]).hurry(1_500, 13_000, 4);
        for (outcome, leaders) in script.play::<Leaders>() {
            assert!(leaders.pre_votes.get(&4).is_some_and(|asked| *asked > 10), "node 4 asks: {:?}", leaders.pre_votes);
            assert!(acknowledged(&outcome.history, 1_500, 11_500) > 100, "they serve within ten time-outs");
        }
    }
}

/// Raft 15: nor can it when they promise it their votes all the time, of which it hears nothing: a promise does not
/// delay a node's own election.
#[test]
fn row_15_a_promise_delays_nobody() {
    let mut promised = [0; 2];
    for seed in 0..4 {
        let script = Script::new(5, seed).hurry(0, 300, 1).crash(1_500, 13_000, 1).hurry(1_500, 13_000, 4);
        let script = script.cut(1_500, 13_000, &[(2, 4), (3, 4), (5, 4)]);
        for ((outcome, leaders), promised) in script.play::<Leaders>().into_iter().zip(&mut promised) {
            *promised += leaders.promised.get(&NodeId(4)).copied().unwrap_or(0);
            assert!(
                acknowledged(&outcome.history, 1_500, 11_500) > 100,
                "seed {seed}: they serve within ten time-outs"
            );
        }
    }
    assert!(promised.iter().all(|count| *count > 0), "votes were promised to node 4: {promised:?}");
}

/// Raft 16: a voter that was alone for a hundred time-outs comes back. Leader and term stay, and writes go on all the
/// time.
#[test]
fn row_16_a_rejoining_voter() {
    let script = Script::new(5, 16).clients(2).at_leader(100).hurry(0, 300, 1);
    let script = script.isolate(2_000, 102_000, 5).lasting(112_000);
    for (outcome, leaders) in script.play::<Leaders>() {
        assert!(leaders.pre_votes[&5] > 100 * 4 / 2, "node 5 asks: {:?}", leaders.pre_votes);
        assert_eq!(leaders.seen.len(), 1, "one leader: {:?}", leaders.seen);
        assert_eq!(slices_with_writes(&outcome.history, 2, 112), 110);
    }
}
