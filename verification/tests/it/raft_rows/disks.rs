//! Rows about writes that are late, fail or never happened.

use std::collections::BTreeSet;

use quorate_protocol::{LogIndex, NodeId, Role, Term, Violation};
use quorate_raft::Message;
use quorate_simulation::schedule::{CrashPoint, What, Who};
use quorate_simulation::world::{Damage, Loss};

use super::directed::{Director, Here};
use super::seen::Seen;
use super::{Script, acknowledged};

/// Sees a late write of node 1 reach its disk when something else is committed in its place.
#[derive(Default)]
struct LateWrites {
    were_seen: bool,
}

impl Director for LateWrites {
    fn looks(&mut self, nodes: &[Seen<'_>]) -> Result<(), Violation> {
        let one = &nodes[0];
        for leader in nodes {
            let Some(status) = leader.status() else { continue };
            if status.role != Role::Leader {
                continue;
            }
            for peer in &status.peers {
                acknowledged_is_durable(leader, status.term, nodes, peer.node, peer.match_index)?;
            }
            let is_other = |index: u64| {
                let (here, there) = (one.term_at(LogIndex(index)), leader.term_at(LogIndex(index)));
                here == Some(Term(1)) && there > Some(Term(1))
            };
            let is_alive = one.status().is_some_and(|status| status.term > Term(1));
            self.were_seen |= is_alive && is_other(one.last().0.min(status.commit_index.0));
        }
        Ok(())
    }
}

/// What a follower acknowledged to the leader of its term is on its disk, and is what the leader has there.
fn acknowledged_is_durable(
    leader: &Seen<'_>,
    term: Term,
    nodes: &[Seen<'_>],
    peer: NodeId,
    match_index: LogIndex,
) -> Result<(), Violation> {
    let Some(follower) = nodes.iter().find(|view| view.node == peer) else { return Ok(()) };
    let follows = follower.status().is_some_and(|status| status.term == term);
    let (theirs, ours) = (follower.term_at(match_index), leader.term_at(match_index));
    if !follows || follower.base() >= match_index || ours.is_none() || theirs == ours {
        return Ok(());
    }
    let detail = format!("node {peer} acknowledged {match_index} and has {theirs:?} there, the leader {ours:?}");
    Err(Violation { law: "acknowledged is durable", detail })
}

/// Raft 9: a leader's writes are under way when it is cut off. Others put other entries in their place, which it takes,
/// and then its old writes complete, late. In half of the runs it crashes as they do, between vote and entries.
#[test]
fn row_09_async_write_reorder() {
    let mut seen = [0; 2];
    for seed in 0..3 {
        let script = Script::new(7, seed).clients(8).at_leader(70).hurry(0, 300, 1).isolate(1_000, 3_000, 1);
        // What is on its way to the disk by now reached nobody else.
        let script = script.fault(1_005, 6_000, What::StallDisk { node: Who::Node(1) });
        let crash = What::Crash { node: Who::Node(1), point: CrashPoint::Persisted, loss: Loss::Torn };
        let script = if seed % 2 == 0 { script } else { script.fault(5_999, 7_000, crash) };
        for ((_, late), seen) in script.play::<LateWrites>().into_iter().zip(&mut seen) {
            *seen += u64::from(late.were_seen);
        }
    }
    assert!(seen.iter().all(|seen| *seen > 0), "late writes reached the disk: {seen:?}");
}

/// Sees a write of node 1's own leadership end behind the cut that took its entries away, and all that is acknowledged.
#[derive(Default)]
struct WritesBehindACut {
    /// The last entry that node 1 knows, and the last on its disk, at the last step.
    known: LogIndex,
    on_disk: LogIndex,
    was_cut: bool,
    were_seen: bool,
}

impl Director for WritesBehindACut {
    fn looks(&mut self, nodes: &[Seen<'_>]) -> Result<(), Violation> {
        let leads = |view: &&Seen<'_>| view.status().is_some_and(|status| status.role == Role::Leader);
        for leader in nodes.iter().filter(leads) {
            let status = leader.status().expect("just seen");
            for peer in &status.peers {
                acknowledged_is_durable(leader, status.term, nodes, peer.node, peer.match_index)?;
            }
        }
        let one = &nodes[0];
        let Some(status) = one.status() else { return Ok(()) };
        self.was_cut |= status.term > Term(1) && status.last_index < self.known;
        let has_grown = one.last() > self.on_disk && one.term_at(one.last()) == Some(Term(1));
        self.were_seen |= self.was_cut && has_grown;
        (self.known, self.on_disk) = (status.last_index, one.last());
        Ok(())
    }
}

/// Raft 9: a leader has several writes before it, one behind the other, when it is cut off. It is back while they last,
/// and its log is cut below the one that is under way; entries of the next leader come to stand there. That the old
/// write is done says nothing of them.
#[test]
fn row_09_a_write_ends_behind_the_cut() {
    let mut seen = [0; 2];
    for seed in 0..4 {
        let script = Script::new(3, seed).clients(80).at_leader(100).snapshot_every(100_000).segments(8 << 20);
        let script = script.hurry(0, 300, 1).isolate(1_000, 1_900, 1);
        let script = script.fault(700, 4_000, What::SlowDisk { node: Who::Node(1), by_us: 400_000 });
        for ((_, late), seen) in script.play::<WritesBehindACut>().into_iter().zip(&mut seen) {
            *seen += u64::from(late.were_seen);
        }
    }
    assert!(seen.iter().all(|seen| *seen > 0), "old writes ended behind the cut: {seen:?}");
}

/// Sees a leader know more to be committed than its own disk has.
#[derive(Default)]
struct WithoutItself {
    /// Leaders that were, and whether another node was down.
    were_ahead: BTreeSet<(NodeId, bool)>,
}

impl Director for WithoutItself {
    fn looks(&mut self, nodes: &[Seen<'_>]) -> Result<(), Violation> {
        let is_one_down = nodes.iter().any(|view| view.core.is_none());
        for view in nodes {
            let Some(status) = view.status() else { continue };
            if status.role == Role::Leader && status.commit_index > status.durable_index {
                self.were_ahead.insert((view.node, is_one_down));
            }
        }
        Ok(())
    }
}

/// Raft 10: the leader's disk stands still. With both followers entries are committed without it; with one they are
/// not. It crashes before its disk has anything of it, and nothing that was acknowledged is lost.
#[test]
fn row_10_leader_counts_only_durable_self() {
    for seed in 0..4 {
        let script = Script::new(3, seed).clients(12).hurry(0, 300, 1).fault(
            1_000,
            3_500,
            What::StallDisk { node: Who::Node(1) },
        );
        let script = script.crash(3_000, 6_000, 1);
        for (_, seen) in script.play::<WithoutItself>() {
            assert!(seen.were_ahead.contains(&(NodeId(1), false)), "seed {seed}: committed without the leader's disk");
        }
        // One follower is down from before on: what the leader has in memory must not make the quorum.
        let script = Script::new(3, seed).clients(12).hurry(0, 300, 1).crash(900, 6_000, 3);
        let script = script.fault(1_000, 3_500, What::StallDisk { node: Who::Node(1) });
        let script = script.crash(3_000, 4_000, 1);
        for (outcome, seen) in script.play::<WithoutItself>() {
            let is_with_one = seen.were_ahead.iter().any(|(_, is_one_down)| *is_one_down);
            assert!(!is_with_one, "seed {seed}: one durable copy of three");
            let meanwhile = acknowledged(&outcome.history, 1_100, 3_000);
            assert!(meanwhile < 60, "seed {seed}: reads alone were answered, not {meanwhile}");
        }
    }
}

/// Sees node 2 refuse a later leader's entries for its disk while a tail of its own leadership contradicts them.
#[derive(Default)]
struct RefusedTail {
    refusals: u64,
    were_refused: bool,
    was_started_again: bool,
}

impl Director for RefusedTail {
    fn looks(&mut self, nodes: &[Seen<'_>]) -> Result<(), Violation> {
        let two = &nodes[1];
        self.was_started_again |= two.core.is_none();
        let Some(status) = two.status() else { return Ok(()) };
        let refusals =
            status.ignored.iter().find(|(reason, _)| *reason == "log_refuses").map_or(0, |(_, count)| *count);
        let is_refused = std::mem::replace(&mut self.refusals, refusals) < refusals && status.term > Term(1);
        let last = two.last();
        let is_other = |view: &Seen<'_>| view.term_at(last) > Some(Term(1));
        self.were_refused |= is_refused && two.term_at(last) == Some(Term(1)) && nodes.iter().any(is_other);
        Ok(())
    }
}

/// Raft 22: a follower comes back from a short leadership with a tail that nobody else has, and its disk has no room
/// for the first writes. It catches up without a start: it must carry the quorum a little later.
#[test]
fn row_22_follower_append_failure_in_pipeline() {
    let mut refused = [0; 2];
    for seed in 12..16 {
        let script = Script::new(3, seed).segments(32 << 10).hurry(0, 300, 2).isolate(1_000, 3_000, 2);
        let full = What::Damage { node: Who::Node(2), damage: Damage::FullDisk };
        let script = script.fault(1_200, 4_000, full).crash(5_000, 9_000, 1);
        // The log of a whole node looks for room before it fills a segment: it takes more until a write finds none.
        let played = [script.clone().clients(16).play_bare(), script.clients(80).play_whole::<RefusedTail>()];
        for ((outcome, seen), refused) in played.into_iter().zip(&mut refused) {
            assert!(acknowledged(&outcome.history, 5_000, 9_000) > 100, "seed {seed}: node 2 carries the quorum");
            assert!(!seen.was_started_again, "seed {seed}: node 2 ran all the time");
            *refused += u64::from(seen.were_refused);
        }
    }
    assert!(refused.iter().all(|refused| *refused > 0), "the disk refused what contradicts the tail: {refused:?}");
}

/// Sees a follower far behind a leader that cannot read its log, what it is sent, and who brings it what it lacks.
#[derive(Default)]
struct UnreadableLog {
    /// Where node 3's log ended when it was far behind node 1.
    stood_at: Option<LogIndex>,
    /// Node 1's log no longer reached back to node 3.
    needs_snapshot: bool,
    broken: Option<String>,
    /// Who led when node 3 had everything again.
    caught_up_with: Option<NodeId>,
}

impl Director for UnreadableLog {
    fn sends(&mut self, here: &Here<'_>, to: NodeId, message: Message) -> Option<Message> {
        if let Message::AppendEntries(append) = &message
            && (here.node, to, self.stood_at.is_some()) == (1, NodeId(3), true)
        {
            let entries = append.batch.decode().unwrap_or_default();
            let follow = (append.prev_index.0 + 1..).zip(&entries).all(|(index, (at, ..))| at.0 == index);
            if !follow || entries.is_empty() != append.batch.is_empty() {
                self.broken = Some(format!("node 1 sent {append:?}"));
            }
        }
        Some(message)
    }

    fn looks(&mut self, nodes: &[Seen<'_>]) -> Result<(), Violation> {
        let last = nodes[2].last();
        for status in nodes.iter().filter_map(Seen::status).filter(|status| status.role == Role::Leader) {
            if (status.node, status.term) != (NodeId(1), Term(1)) {
                let has_all = status.term > Term(1) && last == status.last_index;
                self.caught_up_with = self.caught_up_with.or(has_all.then_some(status.node));
            } else if let Some(before) = self.stood_at {
                self.needs_snapshot |= status.first_index > last.next();
                if last != before {
                    self.broken = Some(format!("node 3 stood at {before} and stands at {last}"));
                }
            } else if status.last_index.0 > last.0 + 100 {
                self.stood_at = Some(last);
            }
        }
        self.broken.take().map_or(Ok(()), |detail| Err(Violation { law: "sends what it could read", detail }))
    }
}

/// Raft 8: a follower is far behind, and the leader cannot read what it would have to send. It sends nothing in its
/// place, the follower's log stays as it is, and the leader steps down; another brings the follower what it lacks while
/// the disk still fails.
#[test]
fn row_08_leader_log_read_error() {
    for seed in 0..3 {
        let script = Script::new(3, seed).clients(12).snapshot_every(100_000).segments(8 << 20).hurry(0, 300, 1);
        let damage = What::Damage { node: Who::Node(1), damage: Damage::ReadErrors };
        let script = script.isolate(1_000, 4_000, 3).fault(3_900, 15_000, damage);
        for (outcome, seen) in script.crash(9_000, 13_000, 2).at_leader(50).play::<UnreadableLog>() {
            assert!(seen.stood_at.is_some(), "seed {seed}: node 3 was far behind");
            assert!(seen.caught_up_with.is_some_and(|leader| leader != NodeId(1)), "seed {seed}: node 1 stepped down");
            assert!(acknowledged(&outcome.history, 9_000, 13_000) > 50, "seed {seed}: node 3 carries the quorum");
        }
    }
}

/// Raft 8: the leader's log no longer reaches back to a follower, and it cannot read its snapshot either. It steps
/// down, and another brings the follower its own while the disk still fails.
#[test]
fn row_08_leader_snapshot_read_error() {
    for seed in 0..3 {
        let script = Script::new(3, seed).clients(12).snapshot_every(100).hurry(0, 300, 1);
        let damage = What::Damage { node: Who::Node(1), damage: Damage::ReadErrors };
        let script = script.isolate(1_000, 4_000, 3).fault(3_900, 15_000, damage);
        for (outcome, seen) in script.crash(9_000, 13_000, 2).at_leader(50).play::<UnreadableLog>() {
            assert!(seen.needs_snapshot, "seed {seed}: the log did not reach back to node 3");
            assert!(seen.caught_up_with.is_some_and(|leader| leader != NodeId(1)), "seed {seed}: node 1 stepped down");
            assert!(acknowledged(&outcome.history, 9_000, 13_000) > 50, "seed {seed}: node 3 carries the quorum");
        }
    }
}
