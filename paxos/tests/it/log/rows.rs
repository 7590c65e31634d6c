//! Rows that any serious Paxos must pass, by number and name, for the replicated log. The laws of its core are checked
//! after every step of each. An election time-out is the longest one.

use std::time::Duration;

use quorate_paxos::log::message::{RequestVote, VoteKind};
use quorate_paxos::log::testing::{Builder, Cluster};
use quorate_paxos::log::{Lease, Message, Settings};
use quorate_protocol::testing::PowerCut;
use quorate_protocol::{LogIndex, Member, MemberChange, NodeId, ReplicatedLog, Role, Term, VotingBar};

/// The longest election time-out.
const ET: Duration = Duration::from_secs(1);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn term(cluster: &Cluster, node: u64) -> u64 {
    cluster.node(node).core().status().term.0
}

fn commit(cluster: &Cluster, node: u64) -> u64 {
    cluster.node(node).core().status().commit_index.0
}

/// Proposes a command on a node, and returns true if it is committed there soon.
fn write(cluster: &mut Cluster, node: u64, command: &[u8]) -> bool {
    cluster.propose(node, command);
    let is_last = |cluster: &Cluster| cluster.node(node).commands().last() == Some(&command);
    cluster.run_until(millis(300), is_last)
}

/// Only one node reaches a quorum, and the leader is not that node.
#[test]
fn row_01_quorum_loss() {
    let mut cluster = Builder::new(5, 1).start();
    cluster.elect_node(3);
    assert!(write(&mut cluster, 3, b"before"));
    cluster.run(millis(100));
    cluster.only_links(&[(1, 2), (1, 3), (1, 4), (1, 5)]);
    let lost = commit(&cluster, 3);
    cluster.propose(3, b"in vain");
    assert!(cluster.run_until(ET * 4, |cluster| cluster.leader() == Some(1)), "the connected node leads");
    assert!(write(&mut cluster, 1, b"after"));
    assert_eq!(cluster.node(3).core().status().role, Role::Follower);
    assert!(commit(&cluster, 3) >= lost);
    let before = term(&cluster, 1);
    cluster.run(ET * 20);
    assert_eq!((cluster.leader(), term(&cluster, 1)), (Some(1), before), "terms do not grow");
    cluster.heal();
    cluster.run(ET * 4);
    for node in 1..=5 {
        let commands = cluster.node(node).commands();
        assert!(commands.contains(&&b"before"[..]) && commands.contains(&&b"after"[..]), "node {node}: {commands:?}");
    }
}

/// Node 3 leads five, node 1 misses ten commands, then only links of node 1 are left, without node 3.
fn lagging_hub(settings: Settings) -> Cluster {
    let mut cluster = Builder::new(5, 2).settings(settings).start();
    cluster.elect_node(3);
    assert!(write(&mut cluster, 3, b"first"));
    cluster.run(millis(100));
    cluster.isolate(1);
    for number in 0..10_u8 {
        assert!(write(&mut cluster, 3, &[number; 200]));
    }
    cluster.run(millis(100));
    cluster
}

fn expect_the_hub_to_lead(cluster: &mut Cluster) {
    cluster.only_links(&[(1, 2), (1, 4), (1, 5)]);
    let terms = |cluster: &Cluster| -> Vec<Option<Term>> {
        (2..=13).map(|index| cluster.node(2).disk.term_at(LogIndex(index))).collect()
    };
    let before = terms(cluster);
    assert!(cluster.run_until(ET * 4, |cluster| cluster.leader() == Some(1)), "the only connected node leads");
    assert!(write(cluster, 1, b"x"));
    assert_eq!(terms(cluster), before, "what was chosen keeps its place");
    let expected: Vec<Vec<u8>> = cluster.node(1).commands().iter().map(|command| command.to_vec()).collect();
    assert_eq!(expected.len(), 12);
    cluster.heal();
    cluster.run(ET * 4);
    for node in 1..=5 {
        assert_eq!(cluster.node(node).commands(), expected, "node {node}");
    }
}

/// The only connected node lacks ten chosen entries, and fetches them: in one message, and in many.
#[test]
fn row_02_constrained_election() {
    for batch_bytes_max in [1 << 20, 500] {
        let small = Settings { entry_bytes_max: 400, batch_bytes_max, ..Settings::default() };
        expect_the_hub_to_lead(&mut lagging_hub(small));
    }
}

/// The same where the others have the entries on their disks only.
#[test]
fn row_02_constrained_election_with_entries_that_left_the_caches() {
    let settings = Settings { entry_bytes_max: 400, batch_bytes_max: 500, cache_bytes_max: 300, ..Settings::default() };
    let mut cluster = lagging_hub(settings);
    cluster.only_links(&[(1, 2), (1, 4), (1, 5)]);
    assert!(cluster.run_until(ET * 4, |cluster| cluster.leader() == Some(1)));
    assert!(write(&mut cluster, 1, b"x"));
    assert_eq!(cluster.node(1).commands().len(), 12);
}

/// The same where the others have a snapshot in the place of the entries.
#[test]
fn row_02_constrained_election_behind_the_logs_of_all_others() {
    let mut cluster = lagging_hub(Settings::default());
    for node in 2..=5 {
        cluster.snapshot(node, 0);
    }
    cluster.run(millis(100));
    cluster.only_links(&[(1, 2), (1, 4), (1, 5)]);
    assert!(cluster.run_until(ET * 4, |cluster| cluster.leader() == Some(1)));
    assert!(write(&mut cluster, 1, b"x"));
    assert_eq!(cluster.node(1).commands().len(), 12);
    assert!(cluster.node(1).core().status().first_index > LogIndex(2), "it took a snapshot");
}

/// The only connected node has a longer log than the others, which contradicts what they have chosen.
#[test]
fn row_02_constrained_election_of_a_node_whose_tail_contradicts() {
    let mut cluster = Builder::new(5, 3).start();
    cluster.elect_node(1);
    assert!(write(&mut cluster, 1, b"first"));
    cluster.run(millis(100));
    cluster.isolate(1);
    for number in 0..20_u8 {
        cluster.propose(1, &[number]);
    }
    assert!(cluster.run_until(ET * 4, |cluster| cluster.leader().is_some_and(|leader| leader != 1)));
    let second = cluster.leader().expect("just seen");
    assert!(write(&mut cluster, second, b"second"));
    cluster.run(millis(100));
    let others: Vec<(u64, u64)> = (2..=5).filter(|node| *node != second).map(|node| (1, node)).collect();
    cluster.only_links(&others);
    assert!(cluster.run_until(ET * 4, |cluster| cluster.leader() == Some(1)));
    assert!(write(&mut cluster, 1, b"third"));
    assert_eq!(cluster.node(1).commands(), [&b"first"[..], b"second", b"third"]);
}

/// A chain of three: the leader stays, and serves.
#[test]
fn row_03_chained() {
    let mut cluster = Cluster::of_three(3);
    cluster.elect_node(2);
    cluster.part(2, 3);
    let (mut changes, mut written, mut leader, first) = (0, 0, cluster.leader(), term(&cluster, 2));
    for number in 0..100_u8 {
        cluster.run(ET);
        changes += u32::from(cluster.leader() != leader);
        leader = cluster.leader();
        written += u32::from(leader.is_some_and(|leader| write(&mut cluster, leader, &[number])));
    }
    assert!(changes <= 2, "{changes} changes of leader");
    assert!(written > 50, "{written} of 100 writes");
    assert!(term(&cluster, 1) <= first + 2, "terms do not grow");
}

/// All messages to the leader are lost, or all from it.
#[test]
fn row_04_one_way_links() {
    for deaf in [true, false] {
        let settings = Settings { lease: Some(Lease { drift_per_mille: 100 }), ..Settings::default() };
        let mut cluster = Builder::new(3, 4).settings(settings).start();
        cluster.run(ET * 2);
        cluster.elect_node(1);
        assert!(write(&mut cluster, 1, b"before"));
        for other in [2, 3] {
            let (from, to) = if deaf { (other, 1) } else { (1, other) };
            cluster.cut(from, to);
        }
        let new_leader = |cluster: &Cluster| cluster.leader().is_some_and(|leader| leader != 1);
        assert!(cluster.run_until(ET * 4, new_leader), "another node leads");
        assert_eq!(cluster.node(1).core().lease(cluster.clocks(NodeId(1))), None, "the lease has ended");
        let leader = cluster.leader().expect("just seen");
        let old_read = cluster.read(1);
        assert!(write(&mut cluster, leader, b"after"));
        let floor = LogIndex(commit(&cluster, leader));
        let read = cluster.read(1);
        cluster.run(ET * 4);
        assert_ne!(cluster.node(1).core().status().role, Role::Leader);
        assert!(cluster.read_index(1, read).is_none_or(|index| index >= floor));
        assert!(cluster.read_index(1, old_read).is_none_or(|index| index.next() >= floor));
    }
}

/// An entry is accepted by a quorum, and its leader crashes before it tells anybody.
#[test]
fn row_05_chosen_but_unlearned() {
    let mut cluster = Cluster::of_three(5);
    cluster.elect_node(1);
    cluster.isolate(3);
    cluster.hold(|_, to, message| to == NodeId(1) && matches!(message, Message::AppendResponse(_)));
    cluster.propose(1, b"chosen");
    cluster.run(millis(50));
    cluster.crash(1);
    cluster.forget_parked();
    cluster.hold(|_, _, _| false);
    cluster.heal();
    // Node 3 lacks the entry. Whoever leads, it is decided.
    cluster.time_out(3);
    assert!(cluster.run_until(ET * 4, |cluster| cluster.leader().is_some()));
    cluster.run(millis(500));
    for node in [2, 3] {
        assert_eq!(cluster.node(node).commands(), [b"chosen"], "node {node}");
    }
}

/// An acceptor that accepted in a later term neither promises nor accepts in an earlier one.
#[test]
fn row_07_accept_raises_the_promise() {
    let mut cluster = Builder::new(5, 7).start();
    cluster.elect_node(1);
    cluster.isolate(3);
    assert!(cluster.run_until(ET * 3, |cluster| cluster.node(3).core().status().leader.is_none()));
    // Node 3 has promised nothing since. The leader of a later term reaches it with entries alone.
    cluster.crash(1);
    assert!(cluster.run_until(ET * 4, |cluster| cluster.leader().is_some()));
    let second = cluster.leader().expect("just seen");
    cluster.heal();
    assert!(write(&mut cluster, second, b"accepted"));
    cluster.run(millis(200));
    let later = term(&cluster, second);
    assert_eq!(term(&cluster, 3), later);
    let (last_index, last_term) = (LogIndex(99), Term(later));
    let request = RequestVote { term: Term(later - 1), kind: VoteKind::Full, last_index, last_term, founding: None };
    let last = cluster.node(3).core().status().last_index;
    cluster.park_all();
    cluster.inject(4, 3, Message::RequestVote(request));
    let granted = cluster.parked().iter().any(|(_, to, message)| {
        *to == NodeId(4)
            && matches!(message, Message::VoteResponse(answer) if answer.verdict == quorate_paxos::log::message::Verdict::Granted)
    });
    assert!(!granted, "no promise below what was accepted");
    assert_eq!((term(&cluster, 3), cluster.node(3).core().status().last_index), (later, last));
}

/// A candidate that restarted does not count promises that it got before.
#[test]
fn row_08_stale_promises() {
    let mut cluster = Cluster::of_three(8);
    cluster.elect_node(2);
    cluster.run(millis(100));
    cluster.crash(2);
    let is_promise = |message: &Message| matches!(message, Message::VoteResponse(it) if it.kind == VoteKind::Full);
    cluster.hold(move |_, _, message| is_promise(message));
    let has_promise = move |cluster: &Cluster| {
        cluster.parked().iter().any(|(_, to, message)| *to == NodeId(1) && is_promise(message))
    };
    assert!(cluster.run_until(ET * 10, has_promise));
    let before = term(&cluster, 1);
    cluster.crash(1);
    cluster.restart(1);
    let replayed = cluster.release();
    cluster.run(millis(50));
    assert!(replayed.iter().any(|(_, _, message)| matches!(message, Message::VoteResponse(_))), "{replayed:?}");
    assert_ne!(cluster.node(1).core().status().role, Role::Leader, "nobody promised this start anything");
    assert!(cluster.run_until(ET * 4, |cluster| cluster.leader().is_some()));
    let leader = cluster.leader().expect("just seen");
    assert!(term(&cluster, leader) > before, "a term is used once");
}

/// What an acceptor said holds after a power cut that loses all that was not synced.
#[test]
fn row_09_power_cut() {
    for left in [PowerCut::Lost, PowerCut::StateAlone, PowerCut::Whole] {
        let mut cluster = Cluster::of_three(9);
        cluster.elect_node(1);
        assert!(write(&mut cluster, 1, b"said"));
        for node in 1..=3 {
            cluster.hold_disk(node);
        }
        cluster.propose(1, b"unsaid");
        cluster.run(millis(50));
        let told = commit(&cluster, 1);
        for node in 1..=3 {
            cluster.crash_leaving(node, left);
            cluster.release_disk(node);
        }
        for node in 1..=3 {
            cluster.restart(node);
        }
        let leader = cluster.elect();
        cluster.run(millis(500));
        assert!(commit(&cluster, leader) >= told);
        assert_eq!(cluster.node(leader).commands().first(), Some(&&b"said"[..]), "{left:?}");
    }
}

/// A node that lost its disk neither promises nor accepts, and nothing is chosen with it.
#[test]
fn row_11_wiped_disk() {
    let mut cluster = Cluster::of_three(11);
    cluster.elect_node(1);
    cluster.crash(3);
    assert!(write(&mut cluster, 1, b"on 1 and 2"));
    let before = commit(&cluster, 1);
    cluster.wipe(2);
    cluster.isolate(1);
    cluster.restart(3);
    cluster.restart(2);
    cluster.run(ET * 10);
    assert_eq!(cluster.node(2).core().status().barred, Some(VotingBar::Stranger));
    assert_eq!(cluster.leader().filter(|leader| *leader != 1), None, "nothing is chosen without node 1");
    assert!(commit(&cluster, 3).max(commit(&cluster, 2)) <= before);
    cluster.heal();
    assert!(cluster.run_until(ET * 4, |cluster| cluster.leader().is_some()));
    cluster.run(millis(500));
    assert_eq!(cluster.node(3).commands(), [b"on 1 and 2"]);
}

/// A leader dies with an entry that nobody has, one that a minority has and one that is chosen. Two candidates begin at
/// once.
#[test]
fn row_12_gaps_and_duelling() {
    let mut cluster = Builder::new(5, 12).start();
    cluster.elect_node(1);
    assert!(write(&mut cluster, 1, b"chosen"));
    cluster.run(millis(100));
    cluster.only_links(&[(1, 2)]);
    cluster.propose(1, b"on two");
    cluster.run(millis(50));
    cluster.only_links(&[]);
    cluster.propose(1, b"on one");
    cluster.run(millis(50));
    cluster.crash(1);
    cluster.heal();
    cluster.park_all();
    cluster.time_out(2);
    cluster.time_out(3);
    cluster.release();
    assert!(cluster.run_until(ET * 6, |cluster| cluster.leader().is_some()), "candidates converge");
    cluster.run(millis(500));
    cluster.restart(1);
    cluster.run(ET * 2);
    let leader = cluster.elect();
    let expected: Vec<Vec<u8>> = cluster.node(leader).commands().iter().map(|command| command.to_vec()).collect();
    assert_eq!(expected[0], b"chosen");
    assert!(!expected.contains(&b"on one".to_vec()), "what nobody else had is gone");
    for node in 1..=5 {
        assert_eq!(cluster.node(node).commands(), expected, "node {node}");
        let applied: Vec<u64> = cluster.node(node).application.applied.iter().map(|(index, ..)| index.0).collect();
        assert!(applied.windows(2).all(|pair| pair[1] == pair[0] + 1), "no holes: {applied:?}");
    }
}

/// A leader with a lease is stopped for three times its length, others elect and write, and it goes on.
#[test]
fn row_13_lease_and_pause() {
    let settings = Settings { lease: Some(Lease { drift_per_mille: 100 }), ..Settings::default() };
    let mut cluster = Builder::new(3, 13).settings(settings).start();
    cluster.run(ET * 2);
    cluster.elect_node(1);
    assert!(write(&mut cluster, 1, b"before"));
    cluster.run(millis(300));
    assert!(cluster.node(1).core().lease(cluster.clocks(NodeId(1))).is_some(), "it holds its lease");
    let stopped = cluster.node_mut(1).core.take().expect("it runs");
    assert!(cluster.run_until(ET * 4, |cluster| cluster.leader().is_some()));
    let leader = cluster.leader().expect("just seen");
    assert!(write(&mut cluster, leader, b"after"));
    let floor = LogIndex(commit(&cluster, leader));
    assert_eq!(stopped.lease(cluster.clocks(NodeId(1))), None);
    cluster.node_mut(1).core = Some(stopped);
    let read = cluster.read(1);
    cluster.run(ET * 3);
    assert!(cluster.read_index(1, read).is_none_or(|index| index >= floor), "no stale read");
}

/// Two of three members are replaced while the old leader is away, and its late messages count for nothing.
#[test]
fn row_14_reconfiguration_under_fire() {
    let mut cluster = Builder::new(3, 14).joining(2).start();
    cluster.elect_node(1);
    assert!(write(&mut cluster, 1, b"old"));
    cluster.run(millis(100));
    cluster.isolate(1);
    cluster.propose(1, b"in vain");
    assert!(cluster.run_until(ET * 4, |cluster| cluster.leader().is_some_and(|leader| leader != 1)));
    let leader = cluster.leader().expect("just seen");
    let other = 5 - leader;
    for (old, new) in [(1, 4), (other, 5)] {
        let change = MemberChange::Replace { old: NodeId(old), new: Member::voter(NodeId(new)) };
        let asked = cluster.change(leader, [change]);
        let is_done = move |cluster: &Cluster| {
            let members = cluster.members(leader);
            members.is_voter(NodeId(new)) && !members.contains(NodeId(old)) && !members.is_joint()
        };
        assert!(cluster.run_until(ET * 10, is_done), "{:?}", cluster.refusal(leader, asked));
        cluster.run(ET);
    }
    // A majority of the old members alone decides nothing any more.
    let before = commit(&cluster, leader);
    cluster.heal();
    cluster.only_links(&[(1, other)]);
    cluster.run(ET * 5);
    assert!(commit(&cluster, 1).max(commit(&cluster, other)) <= before);
    assert_ne!(cluster.node(1).core().status().role, Role::Leader);
    cluster.heal();
    cluster.run(ET * 4);
    let leader = cluster.elect();
    assert!(write(&mut cluster, leader, b"new"));
    cluster.run(ET);
    let expected: Vec<Vec<u8>> = cluster.node(leader).commands().iter().map(|command| command.to_vec()).collect();
    assert_eq!(expected, [b"old".to_vec(), b"new".to_vec()], "indexes go on, and nothing that was not chosen appears");
    for node in cluster.members(leader).voters() {
        assert_eq!(cluster.node(node.0).commands(), expected, "node {node}");
    }
}

/// An entry that only its cut-off leader has appears in no read, neither before nor after the leader is back.
#[test]
fn row_06_minority_accept_and_read_repair() {
    let mut cluster = Cluster::of_three(6);
    cluster.elect_node(1);
    assert!(write(&mut cluster, 1, b"v0"));
    cluster.run(millis(100));
    cluster.isolate(1);
    cluster.propose(1, b"v1");
    assert!(cluster.run_until(ET * 4, |cluster| cluster.leader().is_some_and(|leader| leader != 1)));
    let leader = cluster.leader().expect("just seen");
    let read = |cluster: &mut Cluster, node: u64| {
        let read = cluster.read(node);
        cluster.run(millis(500));
        assert!(cluster.read_index(node, read).is_some(), "node {node} answers");
        assert!(!cluster.node(node).commands().contains(&&b"v1"[..]), "node {node} has applied it");
    };
    read(&mut cluster, leader);
    read(&mut cluster, 5 - leader);
    cluster.heal();
    cluster.run(ET * 2);
    for node in 1..=3 {
        read(&mut cluster, node);
    }
}

/// A power cut in the middle of a write leaves all entries of it, or none.
#[test]
fn row_10_torn_accept() {
    for left in [PowerCut::Lost, PowerCut::StateAlone, PowerCut::Whole] {
        let mut cluster = Cluster::of_three(10);
        cluster.elect_node(1);
        cluster.run(millis(100));
        let before = cluster.node(3).disk.last();
        cluster.hold_disk(3);
        cluster.propose(1, b"one");
        cluster.propose(1, b"two");
        cluster.run(millis(50));
        cluster.crash_leaving(3, left);
        let after = cluster.node(3).disk.last();
        assert!(after == before || after == before.plus(1) || after == before.plus(2), "{left:?}");
        cluster.release_disk(3);
        cluster.restart(3);
        cluster.run(ET * 2);
        assert_eq!(cluster.node(3).commands(), [&b"one"[..], b"two"], "{left:?}");
    }
}
