//! Rows about linearizable reads.

use super::seen::Seen;
use quorate_protocol::{LogCommand, LogIndex, NodeId, ReplicatedLog, Role, Term, Violation};
use quorate_raft::Message;
use quorate_simulation::schedule::{What, Who};

use super::Script;
use super::directed::{Director, Here};

/// Sees node 1 lead on while somebody else leads a later term, and what it hears with reads at hand.
#[derive(Default)]
struct StaleLeader {
    newest: (Term, LogIndex),
    has_reads: bool,
    /// Steps after which node 1 led a term that was over.
    stale: u64,
    old_answers: u64,
}

impl Director for StaleLeader {
    fn asked(&mut self, here: &Here<'_>, command: &LogCommand) {
        self.has_reads |= self.is_stale(here) && matches!(command, LogCommand::Read { .. });
    }

    fn hears(&mut self, here: &Here<'_>, _from: NodeId, message: &Message) -> Vec<Message> {
        let is_answer = matches!(message, Message::HeartbeatResponse(answer) if answer.term < self.newest.0);
        self.old_answers += u64::from(is_answer && self.has_reads && self.is_stale(here));
        Vec::new()
    }

    fn looks(&mut self, nodes: &[Seen<'_>]) -> Result<(), Violation> {
        for status in nodes.iter().filter_map(Seen::status) {
            if status.role == Role::Leader && status.term > self.newest.0 {
                self.newest = (status.term, status.commit_index);
            }
            self.stale += u64::from(status.role == Role::Leader && status.term < self.newest.0);
        }
        Ok(())
    }
}

impl StaleLeader {
    fn is_stale(&self, here: &Here<'_>) -> bool {
        here.leads() && here.core.status().term < self.newest.0
    }
}

/// Raft 11: a leader is paused in the midst of a round of heartbeats. While it stands still others elect a leader and
/// write. It goes on, is asked again, and then answers to the old round arrive.
#[test]
fn row_11_reused_read_token() {
    let (mut stale, mut old_answers) = ([0; 2], [0; 2]);
    for seed in 0..6 {
        let script = Script::new(3, seed).clients(30).hurry(0, 300, 1);
        // Its answers are under way when it stops: one arrives before its own timer is due, the other much later.
        let script = script.fault(1_000, 1_100, What::Slow { links: vec![(2, 1)], by_us: 60_000 });
        let script = script.fault(1_000, 1_100, What::Slow { links: vec![(3, 1)], by_us: 3_150_000 });
        let script =
            script.fault(1_100, 3_900, What::Pause { node: Who::Node(1) }).cut(1_100, 5_000, &[(2, 1), (3, 1)]);
        for (on, (_, seen)) in script.play::<StaleLeader>().into_iter().enumerate() {
            stale[on] += seen.stale;
            old_answers[on] += seen.old_answers;
        }
    }
    assert!(stale.iter().all(|count| *count > 0), "node 1 led on when its time was over: {stale:?}");
    // A whole node looks at its clock before it hands on what came meanwhile: there it leads no more when it hears
    // them.
    assert!(old_answers[0] > 0, "answers to an old round came while reads waited at a leader whose time was over");
}

/// Keeps the entries of new leaders back for a while.
#[derive(Default)]
struct NoEntries {
    kept_back: u64,
    committed: LogIndex,
    reads_at_leader: u64,
    reads_through_follower: u64,
}

impl Director for NoEntries {
    fn sends(&mut self, _here: &Here<'_>, _to: NodeId, message: Message) -> Option<Message> {
        if let Message::AppendEntries(append) = &message
            && append.term > Term(1)
            && !append.batch.is_empty()
            && self.kept_back < 30
        {
            self.kept_back += 1;
            return None;
        }
        Some(message)
    }

    fn asked(&mut self, here: &Here<'_>, command: &LogCommand) {
        self.reads_at_leader += u64::from(matches!(command, LogCommand::Read { .. }) && self.is_behind(here));
    }

    fn hears(&mut self, here: &Here<'_>, _from: NodeId, message: &Message) -> Vec<Message> {
        self.reads_through_follower += u64::from(matches!(message, Message::ReadIndex(_)) && self.is_behind(here));
        Vec::new()
    }

    fn looks(&mut self, nodes: &[Seen<'_>]) -> Result<(), Violation> {
        let committed = nodes.iter().filter_map(|view| Some(view.status()?.commit_index));
        self.committed = self.committed.max(committed.max().unwrap_or_default());
        Ok(())
    }
}

impl NoEntries {
    /// Whether this leader does not know yet how far the log was committed before it.
    fn is_behind(&self, here: &Here<'_>) -> bool {
        here.leads() && here.core.status().commit_index < self.committed
    }
}

/// Raft 12: reads come to a new leader, directly and through a follower, before an entry of its term is committed, when
/// it knows less to be committed than the leader before it told its clients.
#[test]
fn row_12_read_before_first_commit_of_term() {
    let (mut at_leader, mut through_follower) = ([0; 2], [0; 2]);
    for seed in 0..10 {
        let script = Script::new(3, seed).clients(16).hurry(0, 300, 1).crash(1_000, 6_000, 1);
        for (on, (_, seen)) in script.play::<NoEntries>().into_iter().enumerate() {
            at_leader[on] += seen.reads_at_leader;
            through_follower[on] += seen.reads_through_follower;
        }
    }
    assert!(at_leader.iter().all(|count| *count > 0), "a leader that was behind was asked: {at_leader:?}");
    assert!(through_follower.iter().all(|count| *count > 0), "and was asked through a follower: {through_follower:?}");
}
