//! Random faults. The outcomes that were promised are compared with the entries that were applied in the end.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_protocol::{NodeId, Random};
use quorate_raft::Settings;
use quorate_runtime::group::{CallId, Reply};
use quorate_runtime::{Delivery, NotApplied, Outcome, ReplicaSettings, Retry};

use crate::cluster::{Cluster, N1};

/// One run: the proposals, and their outcomes.
struct Run {
    cluster: Cluster,
    random: Random,
    waiting: BTreeMap<CallId, (NodeId, String)>,
    /// Proposals of a node's open session that can be retried.
    open: Vec<(NodeId, String, Retry)>,
    said: BTreeMap<String, Said>,
    seen: Seen,
}

/// The most certain outcome that was reported for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Applied,
    NotApplied,
    Unknown,
}

/// The cases that a run must reach to be of use.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    applied: u64,
    not_applied: u64,
    unknown: u64,
    superseded: u64,
    retries_applied: u64,
    installs: u64,
}

impl Run {
    /// The state machines of every third seed store their state themselves.
    fn new(seed: u64) -> Self {
        let settings = ReplicaSettings {
            snapshot_entries: 30,
            keep_entries: 5,
            chunk_bytes: 64,
            window_bytes: 256,
            transfer_timeout: Duration::from_secs(3),
            ..ReplicaSettings::default()
        };
        Self {
            cluster: match seed % 3 {
                2 => Cluster::start_stored(3, settings, Settings::default()),
                _ => Cluster::start_with(3, settings, Settings::default()),
            },
            random: Random::new(seed),
            waiting: BTreeMap::new(),
            open: Vec::new(),
            said: BTreeMap::new(),
            seen: Seen::default(),
        }
    }

    fn step(&mut self, number: u64) {
        let node = NodeId(self.random.between(1, 4));
        let is_running = self.cluster.nodes[&node].replica.is_some();
        match self.random.between(0, 100) {
            0..4 if is_running && self.all_run() => {
                self.note_installs(node);
                self.cluster.crash(node);
                self.waiting.retain(|_, (at, _)| *at != node);
                self.open.retain(|(at, ..)| *at != node);
            }
            4..12 if !is_running => self.cluster.boot(node),
            12..16 => self.cluster.isolate(node),
            16..19 => self.cluster.park_inbound(node),
            19..28 => {
                self.cluster.heal();
                self.cluster.release();
            }
            28..34 if is_running => {
                let (call, now, deadline) = (self.cluster.call(), self.cluster.now, self.cluster.deadline(1000));
                self.cluster.replica(node).open_session(now, call, Duration::from_secs(20), deadline);
            }
            34..40 => self.retry(),
            40..75 if is_running => {
                let command = format!("command {number}");
                let is_in_session = self.random.between(0, 2) == 0;
                let delivery = if is_in_session { Delivery::ExactlyOnce } else { Delivery::AtMostOnce };
                let deadline = self.cluster.deadline(self.random.between(20, 4000));
                let call = self.cluster.propose_until(node, &command, delivery, deadline);
                self.said.insert(command.clone(), Said::Unknown);
                self.waiting.insert(call, (node, command));
            }
            _ => {
                let milliseconds = self.random.between(1, 400);
                self.cluster.run(milliseconds);
            }
        }
        self.listen();
    }

    fn all_run(&self) -> bool {
        self.cluster.nodes.values().all(|machine| machine.replica.is_some())
    }

    /// Retries a proposal whose outcome is unknown.
    fn retry(&mut self) {
        let Some((node, command, retry)) = self.open.pop() else { return };
        let deadline = self.cluster.deadline(3000);
        let call = self.cluster.propose_until(node, &command, Delivery::Again(retry), deadline);
        self.waiting.insert(call, (node, command));
    }

    fn listen(&mut self) {
        for (call, (node, command)) in std::mem::take(&mut self.waiting) {
            let Some(reply) = self.cluster.machine(node).replies.remove(&call) else {
                self.waiting.insert(call, (node, command));
                continue;
            };
            let Reply::Outcome(outcome) = reply else { panic!("{reply:?}") };
            let before = self.said[&command];
            assert_eq!(before, Said::Unknown, "{command} was tried again though it was known");
            let said = match outcome {
                Outcome::Applied(count) => {
                    assert_eq!(count, "1", "{command}");
                    self.seen.applied += 1;
                    Said::Applied
                }
                Outcome::NotApplied(reason) => {
                    self.seen.not_applied += 1;
                    self.seen.superseded += u64::from(reason == NotApplied::Superseded);
                    Said::NotApplied
                }
                Outcome::Unknown { retry, .. } => {
                    self.seen.unknown += 1;
                    self.open.extend(retry.map(|retry| (node, command.clone(), retry)));
                    Said::Unknown
                }
            };
            self.said.insert(command, said);
        }
    }

    fn note_installs(&mut self, node: NodeId) {
        self.seen.installs += self.cluster.replica(node).status().counters.snapshots_received;
    }

    /// Lets the cluster come to rest, retries what can be retried, and compares the outcomes with the applied entries.
    fn judge(mut self, seed: u64) -> Seen {
        self.cluster.heal();
        self.cluster.release();
        for node in [1, 2, 3].map(NodeId) {
            if self.cluster.nodes[&node].replica.is_none() {
                self.cluster.boot(node);
            }
        }
        self.cluster.run(10_000);
        self.listen();
        let open = self.open.len();
        while !self.open.is_empty() {
            self.retry();
        }
        self.cluster.run(6000);
        let before = self.seen.applied;
        self.listen();
        self.seen.retries_applied = self.seen.applied - before;
        assert!(self.seen.retries_applied <= open as u64);
        assert!(self.waiting.is_empty(), "seed {seed}: every call is answered");
        let state = self.cluster.ledger(N1).clone();
        for (node, machine) in &self.cluster.nodes {
            assert_eq!(machine.halted, None, "seed {seed}, node {node}");
            let is_equal = self.cluster.ledger(*node).counts == state.counts;
            assert!(is_equal, "seed {seed}, node {node}");
        }
        for (command, said) in &self.said {
            let count = state.count(command);
            let is_kept = match said {
                Said::Applied => count == 1,
                Said::NotApplied => count == 0,
                Said::Unknown => count <= 1,
            };
            assert!(is_kept, "seed {seed}: {command} was said to be {said:?} and was applied {count} times");
        }
        for node in [1, 2, 3].map(NodeId) {
            self.note_installs(node);
        }
        self.seen
    }
}

/// `QUORATE_SEEDS` is the number of seeds; 40 unless set.
pub(crate) fn seeds() -> std::ops::Range<u64> {
    0..std::env::var("QUORATE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(40)
}

#[test]
fn what_is_said_of_a_command_is_true() {
    let mut total = Seen::default();
    for seed in seeds() {
        let mut run = Run::new(seed);
        for number in 0..400 {
            run.step(number);
        }
        let seen = run.judge(seed);
        total.applied += seen.applied;
        total.not_applied += seen.not_applied;
        total.unknown += seen.unknown;
        total.superseded += seen.superseded;
        total.retries_applied += seen.retries_applied;
        total.installs += seen.installs;
    }
    println!("{total:?}");
    let reached =
        [total.applied, total.not_applied, total.unknown, total.superseded, total.retries_applied, total.installs];
    assert!(reached.iter().all(|count| *count > 0), "the runs did not reach everything: {total:?}");
}
