//! How an elected node gets what it lacks, case by case.

use std::time::Duration;

use quorate_paxos::log::message::PullEntries;
use quorate_paxos::log::testing::{Builder, Cluster};
use quorate_paxos::log::{Config, Message, MultiPaxos, Settings, Start};
use quorate_protocol::replication::{Election, LogCore};
use quorate_protocol::{
    Configuration, Input, LogIndex, LogPosition, Member, MemberChange, NodeId, Now, Operation, Output, Protocol,
    RecoverError, Recovery, ReplicatedLog, Signal, Standing, StateError, Term,
};

/// The longest election time-out.
const ET: Duration = Duration::from_secs(1);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Node 1 lacks ten commands that nodes 2 and 3 have, in their caches or, with small ones, on their disks only.
fn lagging(settings: Settings) -> Cluster {
    let mut cluster = Builder::new(3, 21).settings(settings).start();
    cluster.elect_node(2);
    cluster.run(millis(100));
    cluster.isolate(1);
    for number in 0..10_u8 {
        cluster.propose(2, &[number; 100]);
        cluster.run(millis(50));
    }
    cluster.crash(2);
    cluster.heal();
    cluster
}

fn is_pull(message: &Message) -> bool {
    matches!(message, Message::PullEntries(_))
}

/// The first question does not arrive.
#[test]
fn a_lost_question_is_asked_again() {
    let mut cluster = lagging(Settings::default());
    cluster.run(millis(600));
    cluster.hold(|_, _, message| is_pull(message));
    cluster.time_out(1);
    let has_asked = |cluster: &Cluster| cluster.parked().iter().any(|(.., message)| is_pull(message));
    assert!(cluster.run_until(ET, has_asked));
    let term = cluster.node(1).core().status().term;
    cluster.forget_parked();
    assert!(cluster.run_until(ET, |cluster| cluster.leader() == Some(1)), "it asks again");
    assert_eq!(cluster.node(1).core().status().term, term, "in the same term");
}

/// A load for the candidate ends when the candidate leads already and has changed the voter's log.
#[test]
fn a_load_that_ends_under_a_leader_is_no_damage() {
    let small = Settings { entry_bytes_max: 400, batch_bytes_max: 500, cache_bytes_max: 300, ..Settings::default() };
    let mut cluster = lagging(small);
    assert!(cluster.run_until(ET * 8, |cluster| cluster.leader().is_some()));
    cluster.run(ET);
    for node in [1, 3] {
        assert_eq!(cluster.node(node).halted, None, "node {node}");
        assert_eq!(cluster.node(node).commands().len(), 10, "node {node}");
    }
}

/// A voter sends entries to the node that it elected and to no other.
#[test]
fn only_the_elected_node_is_helped() {
    let mut cluster = Builder::new(3, 22).start();
    cluster.elect_node(2);
    cluster.propose(2, b"x");
    cluster.run(millis(100));
    cluster.crash(2);
    cluster.run(millis(600));
    let term = cluster.node(3).core().status().term;
    cluster.park_all();
    let question = PullEntries { term, prev_index: LogIndex(1), prev_term: Term(0) };
    cluster.inject(1, 3, Message::PullEntries(question));
    let is_answer = |message: &Message| matches!(message, Message::PulledEntries(_) | Message::PulledSnapshot(_));
    assert!(!cluster.parked().iter().any(|(.., message)| is_answer(message)));
}

/// The fetched log has other members. The votes of the old ones elect nobody any more.
#[test]
fn the_members_that_were_fetched_elect() {
    let mut cluster = Builder::new(3, 23).joining(2).start();
    cluster.elect_node(2);
    cluster.run(millis(100));
    cluster.isolate(1);
    // Nodes 4 and 5 replace 1 and 3, and node 3 has the entry that says so.
    for (old, new) in [(1, 4), (3, 5)] {
        cluster.change(2, [MemberChange::Replace { old: NodeId(old), new: Member::voter(NodeId(new)) }]);
        let is_done = |cluster: &Cluster| {
            let members = cluster.members(2);
            members.is_voter(NodeId(new)) && !members.contains(NodeId(old)) && !members.is_joint()
        };
        assert!(cluster.run_until(ET * 10, is_done));
    }
    cluster.propose(2, b"of the new members");
    cluster.run(millis(300));
    cluster.only_links(&[(1, 3)]);
    cluster.run(ET * 10);
    assert_ne!(cluster.leader(), Some(1), "the old members alone elect nobody");
    let committed = cluster.node(2).core().status().commit_index;
    assert!(cluster.node(1).core().status().commit_index < committed);
}

/// The voter offers a snapshot of what the elected node has beyond it: nothing of that leaves its disk.
#[test]
fn what_was_acknowledged_stays_through_a_snapshot() {
    let mut cluster = Builder::new(3, 24).start();
    cluster.elect_node(2);
    for number in 0..10_u8 {
        cluster.propose(2, &[number]);
        cluster.run(millis(20));
    }
    // Node 1 acknowledges one more, and does not learn that it is committed.
    cluster.hold(|_, to, message| to == NodeId(1) && matches!(message, Message::CommitNotice(_)));
    cluster.isolate(3);
    cluster.propose(2, b"acknowledged");
    cluster.run(millis(20));
    let acknowledged = cluster.node(1).disk.last();
    cluster.crash(1);
    cluster.restart(1);
    cluster.forget_parked();
    cluster.propose(2, b"more");
    cluster.snapshot(2, 0);
    cluster.run(millis(5));
    for _ in 0..2_000 {
        cluster.run(millis(1));
        assert!(cluster.node(1).disk.last() >= acknowledged, "an acknowledged entry left the disk of node 1");
        if cluster.leader() == Some(1) {
            break;
        }
    }
}

/// Raft's rule, for a state record of another protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct OtherRule;

impl Election for OtherRule {
    const CODE: u8 = 1;
    const CHANNEL: u16 = 16;

    fn may_vote(own: LogPosition, candidate: LogPosition) -> bool {
        (candidate.term, candidate.index) >= (own.term, own.index)
    }
}

/// A disk that another protocol wrote is refused with its code, and nothing is started from it.
#[test]
fn the_disk_of_another_protocol_is_refused() {
    let config = || {
        let members = Configuration::of_voters([NodeId(1)]);
        Config::new(NodeId(1), 1, Start::Initial(members), Settings::default()).expect("valid")
    };
    let mut other = LogCore::<OtherRule>::recover(Now::default(), config(), Recovery::default()).expect("fresh");
    let standing = Signal::PeerStanding { node: NodeId(1), standing: Standing::Member };
    other.handle(Now::default(), Input::Signal(standing));
    let mut state = None;
    while let Some(output) = other.poll_output() {
        if let Output::Persist { operations, .. } = output {
            state = operations.into_iter().find_map(|operation| match operation {
                Operation::PutState { bytes, .. } => Some(bytes),
                _ => None,
            });
        }
    }
    let recovery = Recovery { state, ..Recovery::default() };
    let refused = MultiPaxos::recover(Now::default(), config(), recovery).map(drop);
    assert_eq!(refused, Err(RecoverError::State(StateError::Version(1))));
}
