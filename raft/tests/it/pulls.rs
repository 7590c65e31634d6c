//! Constrained elections: row 19, and what a pull must never do.

use std::time::Duration;

use quorate_protocol::{EntryBatch, LogIndex, NodeId, ReplicatedLog, Role, Term};
use quorate_raft::message::{AppendOutcome, Heartbeat, Pace, PulledEntries, Verdict, VoteKind, VoteResponse};
use quorate_raft::testing::{Builder, Cluster};
use quorate_raft::{Message, Settings};

use crate::support::{entry, from_environment};

const LIVENESS: Duration = Duration::from_secs(10);

fn settings() -> Settings {
    Settings { pull_before_election: true, ..Settings::default() }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Node 1 leads five, node 3 misses `missed` commands, and then only node 3 reaches a quorum, without node 1.
fn lagging_hub(settings: Settings, missed: u64) -> Cluster {
    let mut cluster = Builder::new(5, 19).settings(settings).start();
    cluster.elect_node(1);
    cluster.propose(1, b"first");
    cluster.run(millis(100));
    cluster.isolate(3);
    for _ in 0..missed {
        cluster.propose(1, &[7; 100]);
        cluster.settle();
    }
    cluster.run(millis(100));
    cluster.only_links(&[(2, 3), (3, 4), (3, 5)]);
    cluster
}

/// The hub pulls what it lacks, and leads while the links stay cut.
#[test]
fn scenario_19_constrained_election() {
    for (missed, batch_bytes_max) in [(1, 1 << 20), (40, 1000)] {
        let small = Settings { entry_bytes_max: 500, batch_bytes_max, ..settings() };
        let mut cluster = lagging_hub(small, missed);
        assert!(cluster.run_until(LIVENESS, |cluster| cluster.leader() == Some(3)), "{missed} entries");
        cluster.propose(3, b"x");
        cluster.run(millis(300));
        let commands = cluster.node(3).commands().len() as u64;
        assert_eq!((commands, cluster.node(3).commands().last()), (missed + 2, Some(&&b"x"[..])));
        let term = cluster.node(3).core().status().term;
        cluster.heal();
        cluster.run(LIVENESS);
        assert_eq!((cluster.leader(), cluster.node(3).core().status().term), (Some(3), term), "terms do not grow");
        assert!((1..=5).all(|node| cluster.node(node).commands().len() as u64 == commands));
    }
}

/// Without the setting there is no leader, and nothing else happens.
#[test]
fn scenario_19_without_pulls_no_node_can_be_elected() {
    let mut cluster = lagging_hub(Settings::default(), 1);
    let term = cluster.node(2).core().status().term;
    cluster.run(LIVENESS);
    assert_eq!(cluster.leader().filter(|leader| *leader != 1), None);
    assert_eq!(cluster.node(2).core().status().term, term, "terms do not grow");
    cluster.heal();
    assert!(cluster.run_until(LIVENESS, |cluster| cluster.leader().is_some()));
}

/// Makes node 3 of three a pre-candidate in term 1 with a log of two entries, of terms 0 and 1.
fn pre_candidate() -> Cluster {
    let mut cluster = Builder::new(3, 1).settings(settings()).start();
    cluster.elect_node(1);
    cluster.run(millis(100));
    cluster.isolate(3);
    cluster.time_out(3);
    assert_eq!(cluster.node(3).core().status().role, Role::PreCandidate);
    cluster.park_all();
    cluster
}

fn pulled(prev: (u64, u64), terms: &[u64]) -> Message {
    let entries: Vec<_> = terms.iter().map(|term| (Term(*term), entry(*term))).collect();
    let batch = EntryBatch::encode(LogIndex(prev.0 + 1), entries.iter().map(|(term, entry)| (*term, entry)));
    let (prev_index, prev_term) = (LogIndex(prev.0), Term(prev.1));
    Message::PulledEntries(PulledEntries { term: Term(1), prev_index, prev_term, batch })
}

fn last(cluster: &Cluster) -> u64 {
    cluster.node(3).core().status().last_index.0
}

/// Entries are taken only behind the last entry of the log, of the same term, and of no later term than the node's.
#[test]
fn a_pull_only_extends() {
    let mut cluster = pre_candidate();
    let end = last(&cluster);
    for message in [pulled((end - 1, 0), &[1, 1]), pulled((end, 0), &[1]), pulled((end + 1, 1), &[1])] {
        cluster.inject(2, 3, message);
        assert_eq!(last(&cluster), end);
    }
    cluster.inject(2, 3, pulled((end, 1), &[2]));
    assert_eq!(last(&cluster), end, "no entry of a later term than the sender's");
    cluster.inject(2, 3, pulled((end, 1), &[1]));
    assert_eq!(last(&cluster), end + 1);
}

/// What was pulled is not acknowledged to any leader before that leader's own messages match it.
#[test]
fn a_pull_is_not_acknowledged() {
    let mut cluster = pre_candidate();
    let end = last(&cluster);
    cluster.inject(2, 3, pulled((end, 1), &[1]));
    let heartbeat = Heartbeat {
        term: Term(1),
        commit_index: LogIndex(0),
        round: 9,
        pace: Pace::Lively,
        log_time: quorate_protocol::LogTime(0),
    };
    cluster.forget_parked();
    cluster.park_all();
    cluster.inject(1, 3, Message::Heartbeat(heartbeat));
    let matched = cluster.parked().iter().filter_map(|(_, _, message)| match message {
        Message::HeartbeatResponse(answer) => Some(answer.match_index.0.max(answer.received_index.0)),
        Message::AppendResponse(answer) => match answer.outcome {
            AppendOutcome::Matched { match_index } => Some(match_index.0),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(matched.max(), Some(end));
}

/// A node that follows a leader neither takes entries from others nor gives them any.
#[test]
fn nothing_is_pulled_under_a_leader() {
    let mut cluster = pre_candidate();
    cluster.release();
    cluster.heal();
    cluster.run(millis(300));
    let end = last(&cluster);
    cluster.inject(2, 3, pulled((end, 1), &[1]));
    assert_eq!(last(&cluster), end);
    cluster.propose(1, b"x");
    cluster.settle();
    cluster.park_all();
    let question = quorate_raft::message::PullEntries { term: Term(1), prev_index: LogIndex(end), prev_term: Term(1) };
    cluster.inject(3, 2, Message::PullEntries(question));
    assert!(!cluster.parked().iter().any(|(.., message)| matches!(message, Message::PulledEntries(_))));
}

/// A node whose tail contradicts keeps it, and asks in vain.
#[test]
fn a_contradicting_tail_stays() {
    let mut cluster = pre_candidate();
    let end = last(&cluster);
    let (asked, term, kind) = (Term(2), Term(1), VoteKind::Pre);
    let (verdict, clock) = (Verdict::Refused, quorate_raft::message::ClockReading::default());
    cluster.inject(
        2,
        3,
        Message::VoteResponse(VoteResponse {
            term,
            asked,
            kind,
            verdict,
            clock,
            last_index: LogIndex(9),
            last_term: Term(1),
        }),
    );
    let question = cluster.parked().iter().find_map(|(from, to, message)| match message {
        Message::PullEntries(question) => Some((from.0, to.0, *question)),
        _ => None,
    });
    let Some((3, 2, mut question)) = question else { panic!("{question:?}") };
    assert_eq!((question.prev_index, question.prev_term), (LogIndex(end), Term(1)));
    question.prev_term = Term(0);
    cluster.isolate(2);
    cluster.run(millis(2000));
    cluster.inject(3, 2, Message::PullEntries(question));
    assert!(!cluster.parked().iter().any(|(.., message)| matches!(message, Message::PulledEntries(_))));
    assert_eq!(cluster.node(3).core().status().node, NodeId(3));
}

/// All laws hold while pulls happen under random faults. More seeds: `QUORATE_RAFT_PULL_SEEDS=10000`.
#[test]
fn laws_hold_while_logs_are_pulled() {
    let mut pulls = 0;
    for seed in 0..from_environment("QUORATE_RAFT_PULL_SEEDS", 40) {
        let nodes = [3, 5][usize::try_from(seed % 2).expect("small")];
        let mut cluster = Builder::new(nodes, seed).settings(settings()).start();
        cluster.faults.latency_max = millis(30);
        cluster.faults.write_max = millis(10);
        cluster.faults.loss_percent = 5;
        for _ in 0..80 {
            let hub = 1 + cluster.choose(nodes);
            match cluster.choose(8) {
                0 => cluster.heal(),
                1 | 2 => {
                    let gone = 1 + cluster.choose(nodes);
                    let links = (1..=nodes).filter(|node| ![hub, gone].contains(node)).map(|node| (node, hub));
                    let links: Vec<(u64, u64)> = links.collect();
                    cluster.only_links(&links);
                }
                3 => cluster.isolate(hub),
                4 => cluster.restart(hub),
                _ => {
                    for number in 0..3 {
                        cluster.propose(hub, &[number; 20]);
                    }
                }
            }
            let pause = cluster.choose(600);
            cluster.start_recording();
            cluster.run(millis(pause));
            let record = cluster.take_record();
            let is_pull = |happening: &&quorate_protocol::testing::Happening<quorate_raft::Raft>| {
                use quorate_protocol::testing::Happening;
                matches!(happening, Happening::Sent { message: Message::PulledEntries(_), .. })
            };
            pulls += record.iter().filter(is_pull).count();
        }
        cluster.heal();
        cluster.faults = quorate_protocol::testing::Faults::default();
        assert!(cluster.run_until(LIVENESS, |cluster| cluster.leader().is_some()), "seed {seed}");
    }
    assert!(pulls > 20, "logs are pulled: {pulls}");
}
