//! Rows about what becomes of entries.

use std::collections::{BTreeMap, VecDeque};

use super::seen::Seen;
use quorate_protocol::{Entry, EntryBatch, LogIndex, NodeId, ReplicatedLog, Role, Term, Violation};
use quorate_raft::Message;
use quorate_raft::message::{AppendEntries, AppendOutcome, AppendResponse};
use quorate_simulation::schedule::What;

use super::Script;
use super::directed::{Director, Here};

/// Keeps node 5's first leadership to itself, and what node 1 appends in its second; sees the old entries on a
/// majority, and then overwritten.
#[derive(Default)]
struct Figure8 {
    /// The last entry of term 1 that node 1, leading again, knew on three disks and did not commit.
    on_majority: Option<LogIndex>,
    is_overwritten: bool,
}

impl Director for Figure8 {
    fn sends(&mut self, here: &Here<'_>, to: NodeId, message: Message) -> Option<Message> {
        let Message::AppendEntries(append) = message else { return Some(message) };
        let status = here.core.status();
        Some(Message::AppendEntries(match here.node {
            5 if self.on_majority.is_none() => return None,
            1 if append.term > Term(1) && !self.is_overwritten => only(&append, |_, term| term < append.term),
            // What its crash takes from node 1 node 2 has not either: otherwise node 1 could not lead again.
            1 if append.term == Term(1) && to == NodeId(2) => only(&append, |index, _| index <= status.durable_index),
            _ => append,
        }))
    }

    fn looks(&mut self, nodes: &[Seen<'_>]) -> Result<(), Violation> {
        let holds = |view: &Seen<'_>, index| view.term_at(index) == Some(Term(1));
        if let Some(index) = self.on_majority {
            self.is_overwritten |= nodes[2].term_at(index).is_some_and(|term| term > Term(1));
            return Ok(());
        }
        let Some(status) = nodes[0].status() else { return Ok(()) };
        if status.role == Role::Leader && status.term > Term(1) {
            let mut known: Vec<LogIndex> = status.peers.iter().map(|peer| peer.match_index).collect();
            known.sort_unstable();
            // With node 1 itself, three of five.
            let index = known[known.len() - 2];
            let copies: Vec<bool> = nodes.iter().map(|view| holds(view, index)).collect();
            if copies == [true, true, true, false, false] && index > status.commit_index {
                self.on_majority = Some(index);
            }
        }
        Ok(())
    }
}

/// The message with the first entries alone that are `wanted`.
fn only(append: &AppendEntries, wanted: impl Fn(LogIndex, Term) -> bool) -> AppendEntries {
    let entries = append.batch.decode().expect("made by a core");
    let kept: Vec<_> = entries.iter().take_while(|(index, term, _)| wanted(*index, *term)).collect();
    let batch = EntryBatch::encode(append.prev_index.next(), kept.iter().map(|(_, term, entry)| (*term, entry)));
    AppendEntries { batch: if kept.is_empty() { EntryBatch::default() } else { batch }, ..append.clone() }
}

/// Raft 1 (figure 8): entries of an old term on a majority are not committed by counting them, and may be overwritten.
#[test]
fn row_01_old_term_commit() {
    for seed in 0..4 {
        let script = Script::new(5, seed).clients(16).hurry(0, 300, 1);
        // (a) Node 1 reaches node 2 only, and crashes. (b) Nodes 3 and 4 elect node 5, which reaches nobody, and
        // crashes.
        let script = script.links(500, 2_000, &[(1, 2), (3, 4), (3, 5), (4, 5)]).crash(800, 2_000, 1);
        let script = script.hurry(500, 1_500, 5).crash(2_000, 5_000, 5);
        // (c) Node 1 leads again, and node 3 gets the old entries. (d) Node 5 comes back and is elected once more.
        let script = script.links(2_000, 5_000, &[(1, 2), (1, 3)]).hurry(2_000, 2_400, 1).crash(5_000, 8_000, 1);
        let script = script.links(5_000, 8_000, &[(3, 4), (3, 5), (4, 5)]).hurry(5_000, 7_000, 5);
        for (_, seen) in script.play::<Figure8>() {
            assert!(seen.on_majority.is_some(), "seed {seed}: old entries stood on a majority, uncommitted");
            assert!(seen.is_overwritten, "seed {seed}: they were overwritten");
        }
    }
}

/// Plays what node 2 was sent once more: each append two hundred appends later, and now and then forty entries from ten
/// before the place up to which it compacted.
#[derive(Default)]
struct Replays {
    kept: VecDeque<Message>,
    entries: BTreeMap<LogIndex, (Term, Entry)>,
    heard: u64,
    behind_the_base: u64,
    across_the_base: u64,
    broken: Option<String>,
}

impl Replays {
    fn keep(&mut self, append: &AppendEntries) {
        for (index, term, entry) in append.batch.decode().expect("made by a core") {
            self.entries.insert(index, (term, entry));
        }
        self.kept.push_back(Message::AppendEntries(append.clone()));
        self.heard += 1;
    }

    /// Forty entries across the first that the node has.
    fn across(&self, first: LogIndex, append: &AppendEntries) -> Option<Message> {
        let prev_index = LogIndex(first.0.checked_sub(11)?);
        let (prev_term, _) = self.entries.get(&prev_index)?;
        let entries = self.entries.range(prev_index.next()..).take(40).map(|(_, (term, entry))| (*term, entry));
        let batch = EntryBatch::encode(prev_index.next(), entries);
        Some(Message::AppendEntries(AppendEntries { prev_index, prev_term: *prev_term, batch, ..append.clone() }))
    }
}

impl Director for Replays {
    fn hears(&mut self, here: &Here<'_>, _from: NodeId, message: &Message) -> Vec<Message> {
        let Message::AppendEntries(append) = message else { return Vec::new() };
        if here.node != 2 || append.batch.is_empty() {
            return Vec::new();
        }
        self.keep(append);
        let first = here.core.status().first_index;
        let mut again = Vec::new();
        if self.kept.len() > 200
            && let Some(Message::AppendEntries(old)) = self.kept.pop_front()
        {
            self.behind_the_base += u64::from(old.prev_index.next() < first);
            again.push(Message::AppendEntries(old));
        }
        if self.heard.is_multiple_of(7)
            && let Some(across) = self.across(first, append)
        {
            self.across_the_base += 1;
            again.push(across);
        }
        again
    }

    fn sends(&mut self, here: &Here<'_>, _to: NodeId, message: Message) -> Option<Message> {
        let status = here.core.status();
        match &message {
            Message::AppendResponse(AppendResponse { outcome: AppendOutcome::Matched { match_index }, .. })
                if here.node == 2 && match_index.next() < status.first_index =>
            {
                self.broken =
                    Some(format!("{match_index} is acknowledged, and the log begins at {}", status.first_index));
            }
            Message::AppendResponse(AppendResponse { outcome: AppendOutcome::Conflict { prev_index, .. }, .. })
                if *prev_index <= status.commit_index =>
            {
                self.broken = Some(format!("{prev_index} is committed and said to be in conflict"));
            }
            _ => {}
        }
        Some(message)
    }

    fn looks(&mut self, _nodes: &[Seen<'_>]) -> Result<(), Violation> {
        self.broken.take().map_or(Ok(()), |detail| Err(Violation { law: "old appends change nothing", detail }))
    }
}

/// Raft 7: appends behind the place up to which a follower compacted come again among those of now: nothing is cut off,
/// and nothing that is said of the log goes back.
#[test]
fn row_07_append_behind_the_purge_point() {
    for seed in 0..3 {
        let script = Script::new(3, seed).snapshot_every(60).clients(8).hurry(0, 300, 1).lasting(6_000);
        for (outcome, seen) in script.play::<Replays>() {
            assert!(seen.behind_the_base > 50, "seed {seed}: {} appends came from behind", seen.behind_the_base);
            assert!(seen.across_the_base > 20, "seed {seed}: {} came across it", seen.across_the_base);
            assert!(outcome.acknowledged > 500, "seed {seed}: it went on");
        }
    }
}

/// What is known of a leader in its term.
struct Known {
    /// What was committed before.
    before: LogIndex,
    /// What each node acknowledged.
    matched: BTreeMap<NodeId, LogIndex>,
}

/// Counts again, from what the leader heard, what must be committed.
#[derive(Default)]
struct Recount {
    leaders: BTreeMap<(NodeId, Term), Known>,
    /// Where each leader's own entries begin, once it has sent one.
    own_from: BTreeMap<(NodeId, Term), LogIndex>,
    /// The leader, its term, sender and acknowledgement of each message of the last step.
    heard: Vec<(NodeId, Term, NodeId, LogIndex)>,
    out_of_order: u64,
    advances: u64,
}

impl Director for Recount {
    fn sends(&mut self, here: &Here<'_>, _to: NodeId, message: Message) -> Option<Message> {
        if let Message::AppendEntries(append) = &message
            && !append.batch.is_empty()
        {
            let entries = append.batch.decode().expect("made by a core");
            let own = entries.iter().find(|(_, term, _)| *term == append.term);
            if let Some((index, ..)) = own {
                let from = self.own_from.entry((NodeId(here.node), append.term)).or_insert(*index);
                *from = (*from).min(*index);
            }
        }
        Some(message)
    }

    fn hears(&mut self, here: &Here<'_>, from: NodeId, message: &Message) -> Vec<Message> {
        let (term, match_index) = match message {
            Message::AppendResponse(AppendResponse { term, outcome: AppendOutcome::Matched { match_index } }) => {
                (*term, *match_index)
            }
            Message::HeartbeatResponse(response) => (response.term, response.match_index),
            _ => return Vec::new(),
        };
        self.heard.push((NodeId(here.node), term, from, match_index));
        Vec::new()
    }

    fn looks(&mut self, nodes: &[Seen<'_>]) -> Result<(), Violation> {
        for (node, term, from, match_index) in self.heard.drain(..) {
            let Some(leader) = self.leaders.get_mut(&(node, term)) else { continue };
            let known = leader.matched.entry(from).or_default();
            self.out_of_order += u64::from(match_index < *known);
            *known = match_index.max(*known);
        }
        for view in nodes {
            let Some(status) = view.status() else { continue };
            if status.role != Role::Leader {
                continue;
            }
            let first_sight = || Known { before: status.commit_index, matched: BTreeMap::new() };
            let known = self.leaders.entry((view.node, status.term)).or_insert_with(first_sight);
            let own_from = self.own_from.get(&(view.node, status.term));
            let mut durable: Vec<LogIndex> = known.matched.values().copied().chain([status.durable_index]).collect();
            durable.sort_unstable_by(|one, other| other.cmp(one));
            let by_quorum = durable.get(nodes.len() / 2).copied().unwrap_or_default();
            let is_own = own_from.is_some_and(|from| *from <= by_quorum);
            let expected = if is_own { by_quorum } else { known.before };
            if status.commit_index != expected {
                let detail = format!("node {} has {} committed and not {expected}", view.node, status.commit_index);
                return Err(Violation { law: "commits what a quorum has", detail });
            }
            self.advances += u64::from(expected > known.before);
        }
        Ok(())
    }
}

/// Raft 5: acknowledgements are late, doubled, lost and out of order; the commit index is at every step what counting
/// afresh gives. (`QUORATE_RAFT_SEQUENCES=1000000 cargo test -p quorate-raft scenario_05` does that with made-up
/// sequences.)
#[test]
fn row_05_sub_quorum_commit_order() {
    for (nodes, seed) in [(3, 0), (4, 1), (5, 2), (5, 3), (7, 4)] {
        let script = Script::new(nodes, seed).clients(12).hurry(0, 300, 1);
        let script = script.fault(1_000, 6_000, What::Delay { up_to_us: 80_000 });
        let script = script.fault(1_000, 6_000, What::Duplicate { percent: 30 });
        for (_, seen) in script.fault(1_000, 6_000, What::Lose { percent: 10 }).play::<Recount>() {
            assert!(seen.out_of_order > 50, "seed {seed}: {} acknowledgements were older", seen.out_of_order);
            assert!(seen.advances > 100, "seed {seed}: entries were committed");
        }
    }
}
