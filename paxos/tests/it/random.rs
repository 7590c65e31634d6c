//! Clusters under random faults: every law after every step, then progress after healing.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_paxos::synod::testing::{Answers, Builder, Calls, Cluster, Records, Setup};
use quorate_paxos::synod::{Event, GroupRoles, Proposal, ProposalOutcome, ReadOutcome, Settings};
use quorate_protocol::testing::Faults;
use quorate_protocol::testing::PowerCut;
use quorate_protocol::{Input, NodeId, ProposalId, ReadId, Signal, StorageLevel};

use crate::support::{from_environment, quorums};

/// More seeds: `QUORATE_PAXOS_SEEDS=10000 cargo test -p quorate-paxos --release random`.
fn seeds() -> std::ops::Range<u64> {
    let first = from_environment("QUORATE_PAXOS_FIRST_SEED", 0);
    first..first + from_environment("QUORATE_PAXOS_SEEDS", 500)
}

struct Run {
    cluster: Cluster,
    nodes: Vec<u64>,
    proposers: Vec<u64>,
    proposals: Vec<ProposalId>,
    /// Number of times that each was proposed.
    attempts: BTreeMap<ProposalId, usize>,
    /// For each read, true if an application had been told a chosen value when it began: the read must then return it.
    reads: BTreeMap<ReadId, Option<Proposal>>,
}

/// Different roles and quorums by seed.
fn group(seed: u64) -> GroupRoles {
    let group = GroupRoles::of(quorums(seed));
    if seed % 7 == 4 {
        return group.with_proposers((3..=4).map(NodeId)).with_learners((1..=5).map(NodeId));
    }
    group
}

impl Run {
    fn new(seed: u64) -> Self {
        let group = group(seed);
        let nodes = if seed % 7 == 4 { 5 } else { group.quorums().acceptors().len() as u64 };
        let settings = Settings {
            value_bytes_max: 64,
            commands_max: 4,
            held_messages_max: 8,
            settle_after: Duration::from_millis(300),
            command_timeout: Duration::from_secs(1),
            ..Settings::default()
        };
        let proposers = group.proposers().iter().map(|node| node.0).collect();
        let mut cluster = Builder::new(nodes, seed).settings(Setup { group: Some(group), settings }).start();
        cluster.faults = Faults {
            loss_percent: cluster.choose(30),
            duplicate_percent: cluster.choose(30),
            latency_max: Duration::from_micros(cluster.choose(60_000)),
            write_max: Duration::from_micros(cluster.choose(40_000)),
            batch_percent: cluster.choose(60),
            refusal_percent: cluster.choose(10),
            ..Faults::default()
        };
        let nodes = cluster.nodes.keys().map(|node| node.0).collect();
        Self { cluster, nodes, proposers, proposals: Vec::new(), attempts: BTreeMap::new(), reads: BTreeMap::new() }
    }

    fn pick(&mut self, from: &[u64]) -> u64 {
        from[usize::try_from(self.cluster.choose(from.len() as u64)).expect("small")]
    }

    fn step(&mut self) {
        let (nodes, proposers) = (self.nodes.clone(), self.proposers.clone());
        let (node, other, proposer) = (self.pick(&nodes), self.pick(&nodes), self.pick(&proposers));
        match self.cluster.choose(24) {
            0 | 1 => {
                let left = [PowerCut::Lost, PowerCut::StateAlone, PowerCut::Whole];
                let left = left[usize::try_from(self.cluster.choose(3)).expect("small")];
                self.cluster.crash_leaving(node, left);
            }
            2..=5 => self.restart_if_down(node),
            6 if node != other => self.cluster.cut(node, other),
            7 => self.cluster.isolate(node),
            8..=10 => self.cluster.heal(),
            11 => self.cluster.hold_disk(node),
            12 | 13 => self.cluster.release_disk(node),
            14 => self.cluster.input(NodeId(node), Input::Signal(Signal::CompactRequested)),
            15 => self.cluster.input(NodeId(node), Input::Signal(Signal::Storage(StorageLevel::Low))),
            16 => self.cluster.input(NodeId(node), Input::Signal(Signal::Storage(StorageLevel::Enough))),
            17 | 18 => self.read(proposer),
            19 if !self.proposals.is_empty() => {
                let at = usize::try_from(self.cluster.choose(self.proposals.len() as u64)).expect("small");
                let id = self.proposals[at];
                self.cluster.propose_again(proposer, id, b"x");
                *self.attempts.entry(id).or_default() += 1;
            }
            _ if self.proposals.len() < 8 => {
                let id = self.cluster.propose(proposer, b"x");
                *self.attempts.entry(id).or_default() += 1;
                self.proposals.push(id);
            }
            _ => {}
        }
        let pause = self.cluster.choose(60);
        self.cluster.run(Duration::from_millis(pause));
    }

    fn read(&mut self, node: u64) {
        let told = self.told();
        let id = self.cluster.read(node);
        self.reads.insert(id, told);
    }

    /// The chosen value that some application was told.
    fn told(&self) -> Option<Proposal> {
        self.cluster.nodes.values().find_map(|node| node.chosen().cloned())
    }

    /// Everything works again: accepted proposals are decided, and all nodes know the decision.
    fn heal(&mut self) {
        self.cluster.heal();
        self.cluster.faults = Faults::default();
        for node in self.nodes.clone() {
            self.restart_if_down(node);
            self.cluster.release_disk(node);
            self.cluster.input(NodeId(node), Input::Signal(Signal::Storage(StorageLevel::Enough)));
        }
        self.cluster.run(Duration::from_secs(20));
        let is_accepted = self.cluster.nodes.values().any(|node| node.disk.accepted().is_some());
        if !is_accepted {
            assert_eq!(self.told(), None);
            let proposer = self.proposers[0];
            self.cluster.propose(proposer, b"after healing");
            self.cluster.run(Duration::from_secs(2));
        }
        let chosen = self.told().expect("something is chosen");
        for (node, state) in &self.cluster.nodes {
            assert_eq!(state.halted, None, "node {node} did not stop");
            assert_eq!(state.core().status().chosen.as_ref(), Some(&chosen), "node {node} has learned it");
        }
        self.check_answers(&chosen);
        let before = self.cluster.traffic().messages;
        self.cluster.run(Duration::from_mins(1));
        assert_eq!(self.cluster.traffic().messages, before, "when everybody knows nobody talks");
    }

    fn check_answers(&self, chosen: &Proposal) {
        for (id, told) in &self.reads {
            for answer in self.cluster.nodes.values().filter_map(|node| node.read(*id)) {
                match answer {
                    ReadOutcome::Chosen(value) => assert_eq!(value, chosen),
                    ReadOutcome::NoneYet => assert_eq!(*told, None, "read {id} began after it was told"),
                    _ => {}
                }
            }
        }
        for (id, attempts) in &self.attempts {
            let events = self.cluster.nodes.values().flat_map(|node| &node.events);
            let is_not_tried = |event: &&Event| matches!(event, Event::Proposed { id: told, outcome: ProposalOutcome::NotTried(_), .. } if told == id);
            assert!(
                events.filter(is_not_tried).count() < *attempts || *id != chosen.id,
                "what was never tried is not chosen"
            );
        }
        for id in &self.proposals {
            for outcome in self.cluster.nodes.values().filter_map(|node| node.outcome(*id)) {
                match outcome {
                    ProposalOutcome::Chosen => assert_eq!(*id, chosen.id),
                    ProposalOutcome::Superseded { chosen: other } => assert!(other == chosen && *id != chosen.id),
                    _ => {}
                }
            }
        }
    }

    fn restart_if_down(&mut self, node: u64) {
        if self.cluster.node(node).core.is_none() {
            self.cluster.restart(node);
        }
    }
}

#[test]
fn laws_hold_under_random_faults_and_life_returns() {
    for seed in seeds() {
        let outcome = std::panic::catch_unwind(|| {
            let mut run = Run::new(seed);
            for _ in 0..80 {
                run.step();
            }
            run.heal();
        });
        assert!(outcome.is_ok(), "seed {seed}");
    }
}
