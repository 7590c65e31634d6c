//! Entries contain what was proposed, and the first entry is equal on all members: neither a flipped bit nor another
//! founding spreads.

use bytes::Bytes;
use quorate_protocol::{
    Configuration, Entry, EntryBatch, EntryKind, HaltReason, Input, LogIndex, LogTime, NodeId, Now, Protocol, Recovery,
    ReplicatedLog, Signal, SnapshotMeta, Standing, Term,
};
use quorate_raft::message::{AppendEntries, AppendOutcome, AppendResponse, InstallSnapshot, RequestVote, VoteKind};
use quorate_raft::testing::{Cluster, flip_cached};
use quorate_raft::{Config, Message, Raft, Settings, Start};
use std::time::Duration;

use crate::support::{Bench, append, entry, founding};

const LONG: Duration = Duration::from_secs(5);

fn count(bench: &Bench, reason: &str) -> u64 {
    counted(&bench.core, reason)
}

fn counted(core: &Raft, reason: &str) -> u64 {
    core.status().ignored.iter().find(|(name, _)| *name == reason).map_or(0, |(_, count)| *count)
}

/// Entry 1, as nodes 1 to `members` write it when they found their group, at the start of a log.
fn first_of(members: u64) -> Message {
    let payload = Configuration::of_voters((1..=members).map(NodeId)).encode();
    let first = Entry::internal(EntryKind::Configuration, LogTime(0), payload);
    entries((0, 0), &[(Term(0), first)])
}

fn entries(prev: (u64, u64), entries: &[(Term, Entry)]) -> Message {
    Message::AppendEntries(AppendEntries {
        term: Term(1),
        prev_index: LogIndex(prev.0),
        prev_term: Term(prev.1),
        commit_index: LogIndex(0),
        batch: EntryBatch::encode(LogIndex(prev.0 + 1), entries.iter().map(|(term, entry)| (*term, entry))),
    })
}

fn corrupt(index: u64) -> Message {
    let outcome = AppendOutcome::Corrupt { index: LogIndex(index) };
    Message::AppendResponse(AppendResponse { term: Term(1), outcome })
}

#[test]
fn a_follower_takes_nothing_of_a_batch_with_a_flipped_bit() {
    let mut follower = Bench::new(3);
    let mut flipped = entry(1);
    flipped.payload = Bytes::from_static(b"not what was proposed");
    let said = follower.hear(2, entries((1, 0), &[(Term(1), entry(1)), (Term(1), flipped)]));
    assert_eq!(said, [(2, corrupt(3))]);
    assert_eq!((follower.last(), count(&follower, "corrupt_entries")), (1, 1));
    follower.hear(2, append(1, (1, 0), 0, &[1, 1]));
    assert_eq!(follower.last(), 3);
}

/// One bit of a leader's memory must not stop every replica at that entry.
#[test]
fn a_leader_reads_from_disk_what_changed_in_its_memory() {
    let mut cluster = Cluster::of_three(41);
    cluster.elect_node(1);
    cluster.isolate(3);
    cluster.propose(1, b"first");
    cluster.propose(1, b"second");
    cluster.settle();
    flip_cached(&mut cluster, 1, 3);
    cluster.heal();
    cluster.run(LONG);
    assert_eq!(cluster.node(3).commands(), [&b"first"[..], b"second"]);
    assert_eq!(cluster.leader(), Some(1));
    assert!(counted(cluster.node(3).core(), "corrupt_entries") > 0, "the follower refused it first");
    assert!((1..=3).all(|node| cluster.node(node).halted.is_none()));
}

/// The entry had changed before it was written: the leader alone halts with its index, and others lead.
#[test]
fn a_leader_whose_disk_holds_what_changed_stops_alone() {
    let mut cluster = Cluster::of_three(42);
    cluster.elect_node(1);
    cluster.isolate(3);
    cluster.propose(1, b"first");
    cluster.settle();
    flip_cached(&mut cluster, 1, 3);
    cluster.node_mut(1).disk.entries[2].1.payload = Bytes::from_static(b"other");
    cluster.heal();
    cluster.run(LONG);
    assert_eq!(cluster.node(1).halted, Some(HaltReason::Damaged { index: LogIndex(3) }));
    assert!(cluster.leader().is_some_and(|leader| leader != 1));
    assert_eq!(cluster.node(3).commands(), [b"first"], "from the node that has it sound");
}

/// A copy that changed on its way is sent again, at the pace of heartbeats.
#[test]
fn a_refused_copy_is_sent_again() {
    let mut leader = Bench::new(3);
    leader.lead();
    assert_eq!(leader.hear(2, corrupt(2)), [], "not at once");
    assert_eq!(count(&leader, "corrupt_entries"), 1);
    assert_eq!(leader.hear(2, corrupt(9)), [], "an entry that it never had");
    assert_eq!(count(&leader, "corrupt_entries"), 1);
}

/// The first entry was not proposed; every founder wrote its own. It is sent along with the second, to be compared.
#[test]
fn a_leader_sends_the_first_entry_along() {
    let mut leader = Bench::new(3);
    let sent = leader.lead();
    let firsts = sent.iter().filter_map(|(_, message)| match message {
        Message::AppendEntries(append) => Some((append.prev_index, append.batch.header().first)),
        _ => None,
    });
    assert_eq!(firsts.collect::<Vec<_>>(), [(LogIndex(0), LogIndex(1)); 2]);
}

#[test]
fn entries_of_another_founding_are_refused_by_name() {
    let mut follower = Bench::new(3);
    assert_eq!(follower.hear(2, first_of(4)), []);
    assert_eq!(count(&follower, "other_founding"), 1);
    assert_eq!(follower.hear(2, first_of(3)).len(), 1, "the same founding is acknowledged");
    assert_eq!(count(&follower, "other_founding"), 1);
}

#[test]
fn votes_and_snapshots_of_another_founding_are_refused_by_name() {
    let mut node = Bench::new(3);
    let request = |founding| {
        let (last_index, last_term) = (LogIndex(9), Term(4));
        Message::RequestVote(RequestVote { term: Term(5), kind: VoteKind::Full, last_index, last_term, founding })
    };
    assert_eq!(node.hear(2, request(Some(founding(4)))), []);
    assert_eq!((node.term(), count(&node, "other_founding")), (0, 1));
    assert_eq!(node.hear(2, request(Some(founding(3)))).len(), 1);
    let snapshot = SnapshotMeta {
        index: LogIndex(50),
        term: Term(4),
        log_time: LogTime(0),
        configuration: Configuration::of_voters([NodeId(1), NodeId(2), NodeId(3), NodeId(4)]),
    };
    let install =
        |founding| Message::InstallSnapshot(InstallSnapshot { term: Term(5), snapshot: snapshot.clone(), founding });
    node.hear(2, install(Some(founding(4))));
    assert_eq!((node.requests.len(), count(&node, "other_founding")), (0, 2));
    node.hear(2, install(Some(founding(3))));
    assert_eq!(node.requests.len(), 1, "members may have changed since the founding");
}

/// A node that joins learns the founding with the first entry, and from then on compares the founding of others with
/// it.
#[test]
fn who_joins_learns_the_founding() {
    let config = Config::new(NodeId(4), 7, Start::Join, Settings::default()).expect("valid");
    let now = Now::default();
    let mut core = Raft::recover(now, config, Recovery::default()).expect("fresh");
    for node in 1..=4 {
        core.handle(now, Input::Signal(Signal::PeerStanding { node: NodeId(node), standing: Standing::Member }));
    }
    core.handle(now, Input::Message { from: NodeId(1), message: first_of(3) });
    assert_eq!(core.status().last_index, LogIndex(1));
    core.handle(now, Input::Message { from: NodeId(1), message: first_of(4) });
    assert_eq!(counted(&core, "other_founding"), 1);
}
