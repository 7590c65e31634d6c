//! How an elected node gets what it lacks, case by case.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quorate_paxos::log::message::{AppendEntries, PullEntries, RequestVote, VoteKind};
use quorate_paxos::log::testing::{Builder, Cluster};
use quorate_paxos::log::{Config, Message, MultiPaxos, Settings, Start};
use quorate_protocol::replication::{Election, LogCore};
use quorate_protocol::{
    Configuration, Entry, EntryBatch, EntryKind, Input, LogIndex, LogPosition, LogTime, Member, MemberChange, NodeId,
    Now, Operation, Output, Protocol, RecoverError, Recovery, ReplicatedLog, Role, Signal, Standing, StateError, Term,
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

/// What it fetched is not on its disk yet: it leads when it is, in the same term.
#[test]
fn an_elected_node_leads_once_what_it_fetched_is_durable() {
    let mut cluster = lagging(Settings::default());
    cluster.run(millis(600));
    cluster.hold(|_, _, message| matches!(message, Message::PulledEntries(_)));
    cluster.time_out(1);
    assert!(cluster.run_until(ET, |cluster| !cluster.parked().is_empty()));
    let term = cluster.node(1).core().status().term;
    cluster.hold_disk(1);
    cluster.release();
    cluster.run(millis(10));
    assert_eq!(cluster.node(1).core().status().role, Role::Candidate);
    cluster.release_disk(1);
    cluster.run(millis(10));
    let status = cluster.node(1).core().status();
    assert_eq!((status.role, status.term), (Role::Leader, term));
}

/// A load for the candidate ends when the candidate leads already, and has changed the voter's log.
#[test]
fn a_load_that_ends_under_a_leader_is_no_damage() {
    let small = Settings { entry_bytes_max: 400, batch_bytes_max: 500, cache_bytes_max: 300, ..Settings::default() };
    let mut cluster = Builder::new(5, 25).settings(small).start();
    cluster.elect_node(2);
    cluster.run(millis(100));
    // Nodes 2 and 3 alone have ten entries, which are not committed.
    cluster.only_links(&[(2, 3)]);
    for number in 0..10_u8 {
        cluster.propose(2, &[number; 100]);
        cluster.run(millis(5));
    }
    cluster.run(ET * 2);
    let disk = cluster.node(3).disk.clone();
    let mut core = cluster.node_mut(3).core.take().expect("it runs");
    let status = core.status();
    let (term, prev_index) = (status.term.next(), status.commit_index);
    let prev_term = disk.term_at(prev_index).expect("it is there");
    let now = Now { instant: cluster.now(), wall_ms: 0 };
    let hear = |core: &mut MultiPaxos, message| {
        core.handle(now, Input::Message { from: NodeId(1), message });
        let mut loads = Vec::new();
        while let Some(output) = core.poll_output() {
            match output {
                Output::Persist { ticket, .. } => core.handle(now, Input::Signal(Signal::Persisted(ticket))),
                Output::Load { ticket, range } => loads.push((ticket, range)),
                _ => {}
            }
        }
        loads
    };
    let kind = VoteKind::Full;
    let request = RequestVote { term, kind, last_index: prev_index, last_term: prev_term, founding: None };
    hear(&mut core, Message::RequestVote(request));
    let loads = hear(&mut core, Message::PullEntries(PullEntries { term, prev_index, prev_term }));
    let [(ticket, range)] = &loads[..] else { panic!("one load: {loads:?}") };
    let entry = Entry::internal(EntryKind::NoOp, LogTime(0), Bytes::new());
    let batch = EntryBatch::encode(prev_index.next(), [(term, &entry)]);
    let append = AppendEntries { term, prev_index, prev_term, commit_index: LogIndex(0), batch };
    hear(&mut core, Message::AppendEntries(append));
    assert_eq!(core.status().last_index, prev_index.next(), "the rest contradicted");
    core.handle(now, Input::Signal(Signal::Loaded { ticket: *ticket, result: disk.load(range) }));
    assert_eq!(core.status().halted, None);
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
    // The members become 1, 2, 4 and 5, which node 1 does not know. Nodes 1 and 2 were a majority before.
    cluster.change(2, [MemberChange::Replace { old: NodeId(3), new: Member::voter(NodeId(4)) }]);
    let is_done = |cluster: &Cluster, new: u64| {
        let members = cluster.members(2);
        members.is_voter(NodeId(new)) && !members.is_joint()
    };
    assert!(cluster.run_until(ET * 10, |cluster| is_done(cluster, 4)));
    cluster.run(ET);
    cluster.change(2, [MemberChange::Add(Member::voter(NodeId(5)))]);
    assert!(cluster.run_until(ET * 10, |cluster| is_done(cluster, 5)));
    cluster.run(millis(300));
    assert!(!cluster.members(1).contains(NodeId(5)));
    cluster.crash(2);
    cluster.only_links(&[(1, 2)]);
    cluster.restart(2);
    cluster.time_out(1);
    for _ in 0..8_000 {
        cluster.run(millis(1));
        assert_ne!(cluster.node(1).core().status().role, Role::Leader, "two of four elect nobody");
    }
    assert!(cluster.members(1).contains(NodeId(5)), "it fetched the log of node 2");
    cluster.heal();
    assert!(cluster.run_until(ET * 4, |cluster| cluster.leader().is_some()));
}

/// The voter offers a snapshot of which the elected node has everything, and more that it acknowledged: nothing of that
/// leaves its disk.
#[test]
fn what_was_acknowledged_stays_through_a_snapshot() {
    let mut cluster = Builder::new(3, 24).start();
    cluster.elect_node(2);
    cluster.propose(2, b"first");
    cluster.run(millis(100));
    cluster.isolate(3);
    cluster.run(ET);
    // Node 1 acknowledges two entries, and does not learn that they are committed.
    cluster
        .hold(|_, to, message| to == NodeId(1) && matches!(message, Message::CommitNotice(_) | Message::Heartbeat(_)));
    cluster.hold(|from, _, message| from == NodeId(1) && matches!(message, Message::AppendResponse(_)));
    for command in [b"one", b"two"] {
        cluster.propose(2, command);
        cluster.run(millis(5));
    }
    let acknowledged = cluster.node(1).disk.last();
    let count = AtomicU64::new(0);
    cluster.release_if(|_, _, message| {
        matches!(message, Message::AppendResponse(_)) && count.fetch_add(1, Ordering::Relaxed) == 0
    });
    cluster.run(millis(1));
    let status = cluster.node(2).core().status();
    assert_eq!(status.commit_index, acknowledged.previous(), "the first is committed");
    cluster.snapshot(2, 0);
    cluster.release_if(|_, _, message| matches!(message, Message::AppendResponse(_)));
    cluster.run(millis(1));
    assert_eq!(cluster.node(2).core().status().commit_index, acknowledged, "and the second");
    // Node 2 has one more, so that its log is the newest. Then all start again, and node 1 is elected.
    cluster.crash(1);
    cluster.propose(2, b"three");
    cluster.run(millis(5));
    cluster.crash(2);
    cluster.forget_parked();
    cluster.restart(1);
    assert!(cluster.node(1).core().status().commit_index < acknowledged.previous(), "it does not know");
    cluster.restart(2);
    cluster.hold(|_, to, message| to == NodeId(1) && matches!(message, Message::PulledEntries(_)));
    cluster.time_out(1);
    for _ in 0..300 {
        cluster.run(millis(1));
        assert!(cluster.node(1).disk.last() >= acknowledged, "an acknowledged entry left the disk of node 1");
    }
    cluster.release();
    let leader = cluster.elect();
    assert_eq!(cluster.node(leader).commands(), [&b"first"[..], b"one", b"two", b"three"]);
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
