//! Clusters under random faults: every law after every step, what applications saw, then progress after healing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use quorate_paxos::QuorumSystem;
use quorate_paxos::register::testing::{Answers, Builder, Calls, Cluster, Records, Setup};
use quorate_paxos::register::{
    Change, ChangeOutcome, Expected, Functions, ReadOutcome, Register, ResolveOutcome, Roles, RolesChange,
    RolesOutcome, RolesRefusal, Settings, Trace, Version,
};
use quorate_protocol::testing::{Faults, PowerCut};
use quorate_protocol::{Input, NodeId, ProposalId, ReadId, Signal, StorageLevel};

use super::history::{Kind, Operation, Told, judge};
use super::outcomes::append;
use crate::support::{from_environment, quorums};

/// More seeds: `QUORATE_PAXOS_SEEDS=10000 cargo test -p quorate-paxos --release register::random`.
fn seeds() -> std::ops::Range<u64> {
    let first = from_environment("QUORATE_PAXOS_FIRST_SEED", 0);
    first..first + from_environment("QUORATE_PAXOS_SEEDS", 300)
}

/// Number of times that something happened in all runs.
type Reached = BTreeMap<&'static str, u64>;

struct Run {
    cluster: Cluster,
    nodes: Vec<u64>,
    /// The history of each register.
    histories: Vec<Vec<Operation>>,
    /// The commands that may get an answer.
    open: Vec<Open>,
    /// Changes whose outcome is unknown: register, number and trace.
    unknown: Vec<(usize, usize, Trace)>,
    /// The changes of the roles that may get an answer.
    changes: Vec<(u64, ReadId)>,
    /// True if the roles change.
    is_changing: bool,
    reached: Reached,
}

struct Open {
    register: usize,
    number: usize,
    node: u64,
    id: Asked,
}

#[derive(Clone, Copy)]
enum Asked {
    Change(ProposalId),
    Read(ReadId),
    Resolve(ReadId),
}

const KEYS: [&[u8]; 2] = [b"a", b"b"];

/// Different roles and quorums by seed.
fn roles(seed: u64) -> Roles {
    let roles = Roles::of(quorums(seed));
    if seed % 7 == 4 { roles.with_proposers((1..=4).map(NodeId)) } else { roles }
}

impl Run {
    /// A cluster. If its roles change, three more nodes wait for one.
    fn new(seed: u64, is_changing: bool) -> Self {
        let roles = roles(seed);
        let nodes = roles.proposers().iter().map(|node| node.0).max().expect("there are some");
        let joining = if is_changing { 3 } else { 0 };
        let settings = Settings {
            value_bytes_max: 256,
            commands_max: 6,
            held_messages_max: 16,
            command_timeout: Duration::from_secs(1),
            cache_bytes_max: if seed.is_multiple_of(2) { 0 } else { 4096 },
            promises_max: usize::from(!seed.is_multiple_of(5)) * 8,
            remove_after: Duration::from_millis(150),
            copy_max: 1,
            ..Settings::default()
        };
        let functions = Functions::default().with("append", append);
        let setup = Setup { roles: Some(roles), functions, settings };
        let mut cluster = Builder::new(nodes, seed).joining(joining).settings(setup).start();
        cluster.faults = Faults {
            loss_percent: cluster.choose(20),
            duplicate_percent: cluster.choose(30),
            latency_max: Duration::from_micros(cluster.choose(60_000)),
            write_max: Duration::from_micros(cluster.choose(20_000)),
            batch_percent: cluster.choose(60),
            refusal_percent: cluster.choose(10),
            ..Faults::default()
        };
        let nodes = cluster.nodes.keys().map(|node| node.0).collect();
        let histories = KEYS.map(|_| Vec::new()).to_vec();
        let (open, unknown, changes, reached) = (Vec::new(), Vec::new(), Vec::new(), Reached::new());
        Self { cluster, nodes, histories, open, unknown, changes, is_changing, reached }
    }

    fn pick(&mut self, count: usize) -> usize {
        usize::try_from(self.cluster.choose(count as u64)).expect("small")
    }

    fn step(&mut self) {
        let (node, other) = (self.pick(self.nodes.len()), self.pick(self.nodes.len()));
        let (node, other) = (self.nodes[node], self.nodes[other]);
        match self.cluster.choose(30) {
            0 | 1 => {
                let left = [PowerCut::Lost, PowerCut::StateAlone, PowerCut::Whole][self.pick(3)];
                self.cluster.crash_leaving(node, left);
                self.open.retain(|open| open.node != node);
                self.changes.retain(|(of, _)| *of != node);
            }
            2..=5 => self.restart_if_down(node),
            6 if node != other => self.cluster.cut(node, other),
            7 => self.cluster.isolate(node),
            8..=11 => self.cluster.heal(),
            12 => self.cluster.hold_disk(node),
            13 | 14 => self.cluster.release_disk(node),
            15 => self.cluster.input(NodeId(node), Input::Signal(Signal::CompactRequested)),
            16 => self.cluster.input(NodeId(node), Input::Signal(Signal::Storage(StorageLevel::Low))),
            17 => self.cluster.input(NodeId(node), Input::Signal(Signal::Storage(StorageLevel::Enough))),
            _ if self.cluster.node(node).core.is_none() => {}
            18 | 19 if !self.unknown.is_empty() => self.resolve(node),
            20 | 21 if self.is_changing => self.change_roles(node),
            _ => self.command(node),
        }
        let pause = self.cluster.choose(60);
        self.cluster.run(Duration::from_millis(pause));
        self.look();
    }

    /// One to four of all nodes get the roles.
    fn change_roles(&mut self, node: u64) {
        let count = 1 + self.pick(4);
        let chosen: BTreeSet<usize> = (0..count).map(|_| self.pick(self.nodes.len())).collect();
        let chosen = chosen.into_iter().map(|at| NodeId(self.nodes[at]));
        let roles = Roles::of(QuorumSystem::majority(chosen).expect("distinct"));
        let change = self.cluster.change_roles(node, RolesChange::To(roles));
        self.changes.push((node, change));
    }

    /// Notes what became of changes of the roles.
    fn look_at_changes(&mut self) {
        for (node, change) in std::mem::take(&mut self.changes) {
            let name = match self.cluster.node(node).roles_changed(change) {
                None => {
                    self.changes.push((node, change));
                    continue;
                }
                Some(RolesOutcome::Done { .. }) => "roles changed",
                Some(RolesOutcome::UnderWay { .. }) => "change under way",
                Some(RolesOutcome::NotTried(RolesRefusal::Overtaken)) => "change overtaken",
                Some(RolesOutcome::NotTried(_)) => "change not tried",
                Some(_) => "change unknown",
            };
            *self.reached.entry(name).or_default() += 1;
        }
    }

    /// A node that carries out commands, and all that have a role, as the node with the newest roles knows them.
    fn proposer_and_members(&self) -> (u64, BTreeSet<NodeId>) {
        let cores = self.cluster.nodes.values().filter_map(|node| node.core.as_ref());
        let newest = cores.map(Register::roles).max_by_key(|roles| roles.epoch()).expect("a node that runs");
        (newest.proposers().first().expect("there are some").0, newest.members())
    }

    fn command(&mut self, node: u64) {
        let register = self.pick(KEYS.len());
        let number = self.histories[register].len();
        let part = Bytes::copy_from_slice(&u16::try_from(number).expect("a short history").to_le_bytes());
        let kind = match self.cluster.choose(8) {
            0..=2 => Kind::Append,
            3 => Kind::Delete,
            4 | 5 => Kind::CompareAndSet(self.last_version(register)),
            _ => Kind::Read,
        };
        let began = self.cluster.now();
        self.histories[register].push(Operation { kind, began, told: Vec::new() });
        let key = KEYS[register];
        let id = match kind {
            Kind::Read => Asked::Read(self.cluster.read(node, key)),
            Kind::Append => {
                let change = Change::Apply { function: "append".to_owned(), argument: part };
                Asked::Change(self.cluster.change(node, key, change))
            }
            Kind::Delete => Asked::Change(self.cluster.delete(node, key)),
            Kind::CompareAndSet(expected) => {
                let change = Change::CompareAndSet { expected: Expected::Version(expected), value: Some(part) };
                Asked::Change(self.cluster.change(node, key, change))
            }
        };
        self.open.push(Open { register, number, node, id });
    }

    /// The version that was seen last.
    fn last_version(&self, register: usize) -> Version {
        let told = self.histories[register].iter().flat_map(|operation| &operation.told);
        told.filter_map(|(_, told)| match told {
            Told::Done(found) | Told::Saw(found) => Some(found.version),
            _ => None,
        })
        .max()
        .unwrap_or_default()
    }

    fn resolve(&mut self, node: u64) {
        let at = self.pick(self.unknown.len());
        let (register, number, trace) = self.unknown[at];
        let id = Asked::Resolve(self.cluster.resolve(node, KEYS[register], trace));
        self.open.push(Open { register, number, node, id });
    }

    /// Notes the answers since the last look.
    fn look(&mut self) {
        self.look_at_changes();
        let now = self.cluster.now();
        for open in std::mem::take(&mut self.open) {
            let node = self.cluster.node(open.node);
            let (name, told) = match open.id {
                Asked::Read(id) => match node.read(id) {
                    None => {
                        self.open.push(open);
                        continue;
                    }
                    Some(ReadOutcome::Found(found)) => ("read", Some(Told::Saw(found.clone()))),
                    Some(_) => ("failed read", None),
                },
                Asked::Resolve(id) => match node.resolved(id) {
                    None => {
                        self.open.push(open);
                        continue;
                    }
                    Some(ResolveOutcome::TookEffect { version, .. }) => ("took effect", Some(Told::Made(*version))),
                    Some(ResolveOutcome::NotApplied(_)) => ("not applied", Some(Told::Nothing)),
                    Some(ResolveOutcome::Forgotten(_)) => ("forgotten", None),
                    Some(_) => ("failed resolution", None),
                },
                Asked::Change(id) => match node.changed(id) {
                    None => {
                        self.open.push(open);
                        continue;
                    }
                    Some(ChangeOutcome::Done(found)) => ("done", Some(Told::Done(found.clone()))),
                    Some(ChangeOutcome::DoneBefore { version, .. }) => ("done before", Some(Told::Made(*version))),
                    Some(ChangeOutcome::Conflict(found)) => ("conflict", Some(Told::Saw(found.clone()))),
                    Some(ChangeOutcome::Unknown(trace)) => {
                        self.unknown.push((open.register, open.number, *trace));
                        ("unknown", None)
                    }
                    Some(_) => ("not tried", Some(Told::Nothing)),
                },
            };
            *self.reached.entry(name).or_default() += 1;
            self.histories[open.register][open.number].told.extend(told.map(|told| (now, told)));
        }
    }

    /// Everything works again: every register is written and read, and deleted ones are removed everywhere.
    fn heal(&mut self) {
        self.cluster.heal();
        self.cluster.faults = Faults::default();
        for node in self.nodes.clone() {
            self.restart_if_down(node);
            self.cluster.release_disk(node);
            self.cluster.input(NodeId(node), Input::Signal(Signal::Storage(StorageLevel::Enough)));
        }
        self.cluster.run(if self.is_changing { Duration::from_mins(3) } else { Duration::from_secs(5) });
        self.look();
        for node in self.nodes.clone() {
            self.command(node);
            self.cluster.run(Duration::from_secs(2));
            self.look();
        }
        assert!(self.open.is_empty(), "every command has an answer");
        let removed = self.cluster.nodes.values().map(|node| node.disk.node_state().removed).max();
        *self.reached.entry("removed").or_default() += u64::from(removed > Some(0));
        let (proposer, members) = self.proposer_and_members();
        let deleted = KEYS.map(|key| self.cluster.delete(proposer, key));
        self.cluster.run(Duration::from_mins(5));
        for id in deleted {
            let outcome = self.cluster.node(proposer).changed(id);
            assert!(matches!(outcome, Some(ChangeOutcome::Done(_))), "it is deleted: {outcome:?}");
        }
        for (node, state) in &self.cluster.nodes {
            assert_eq!(state.halted, None, "node {node} did not stop");
            let status = state.core().status();
            let left = KEYS.map(|key| state.core().register(key));
            // The register of the roles stays, and so does what nodes had when they lost their roles.
            let registers = usize::from(self.is_changing);
            let is_removed = status.registers <= registers && status.waiting == 0 && !status.is_joint;
            assert!(
                !members.contains(node) || is_removed,
                "node {node} has removed what was deleted: {status:?} {left:?}"
            );
        }
        let before = self.cluster.traffic().messages;
        self.cluster.run(Duration::from_mins(10));
        assert_eq!(self.cluster.traffic().messages, before, "who has nothing to do is silent");
        self.histories.iter().for_each(|history| judge(history));
    }
}

impl Run {
    fn restart_if_down(&mut self, node: u64) {
        if self.cluster.node(node).core.is_none() {
            self.cluster.restart(node);
        }
    }
}

#[test]
fn laws_hold_under_random_faults_and_life_returns() {
    let expected = [
        ("done", 2_500),
        ("read", 1_300),
        ("conflict", 300),
        ("unknown", 80),
        ("took effect", 25),
        ("not applied", 8),
        ("forgotten", 5),
        ("done before", 25),
        ("removed", 130),
    ];
    run_all(false, &expected);
}

/// The same while acceptors and proposers change.
#[test]
fn laws_hold_while_the_roles_change() {
    let expected =
        [("done", 1_000), ("read", 500), ("roles changed", 120), ("change under way", 10), ("change overtaken", 3)];
    run_all(true, &expected);
}

fn run_all(is_changing: bool, expected: &[(&str, u64)]) {
    let mut reached = Reached::new();
    for seed in seeds() {
        let outcome = std::panic::catch_unwind(|| {
            let mut run = Run::new(seed, is_changing);
            for _ in 0..80 {
                run.step();
            }
            run.heal();
            run.reached
        });
        let Ok(of_run) = outcome else { panic!("seed {seed}") };
        for (name, count) in of_run {
            *reached.entry(name).or_default() += count;
        }
    }
    if seeds().count() < 300 {
        return;
    }
    for (name, least) in expected {
        assert!(reached.get(name).is_some_and(|count| count >= least), "{name} is reached: {reached:?}");
    }
}
