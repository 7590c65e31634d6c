//! Clusters under random faults: every law after every step, then life after healing.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Builder, Cluster};
use crate::replication::{Election, Lease, Message, Settings};
use crate::testing::Faults;
use crate::{
    Input, LogCommand, LogEvent, LogIndex, LogStatus, Member, MemberChange, NodeId, ReadId, ReplicatedLog, Signal,
    StorageLevel,
};

/// Plays `steps` random steps on a cluster, then heals it and expects life to return: a node leads that accepts
/// commands, all nodes catch up, and every read was linearizable. Returns what the run reached.
///
/// # Panics
/// When a law is broken or life does not return.
pub fn play_random<E: Election>(plan: Plan) -> Reached {
    let mut run = Run::<E>::new(plan);
    for _ in 0..STEPS {
        if plan.joining > 0 { run.step_with_changes() } else { run.step() }
    }
    run.heal();
    let sent = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Reached { leased: run.leased, entries: sent(&run.fetched.0), snapshots: sent(&run.fetched.1) }
}

/// What a random run reached.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reached {
    /// Number of reads by a lease that were checked.
    pub leased: u64,
    /// Number of messages with entries that an elected node fetched from a voter.
    pub entries: u64,
    /// Number of announcements of a snapshot to an elected node.
    pub snapshots: u64,
}

impl AddAssign for Reached {
    fn add_assign(&mut self, other: Self) {
        self.leased += other.leased;
        self.entries += other.entries;
        self.snapshots += other.snapshots;
    }
}

/// The description of a random run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    /// Seed of everything in the run.
    pub seed: u64,
    /// Number of nodes that can join. Without any the members do not change.
    pub joining: u64,
    /// Leases. With leases the clocks drift by slightly less than the bound.
    pub lease: Option<Lease>,
}

/// Number of random steps in a run.
const STEPS: usize = 200;

/// Bounds so small that each of them is reached.
fn small() -> Settings {
    Settings {
        entry_bytes_max: 400,
        batch_bytes_max: 600,
        window_bytes_max: 1500,
        uncommitted_bytes_max: 4000,
        received_bytes_max: 1200,
        cache_bytes_max: 500,
        reads_max: 8,
        held_messages_max: 16,
        ..Settings::default()
    }
}

struct Run<E: Election> {
    cluster: Cluster<E>,
    /// Number of nodes, members or not.
    count: u64,
    members_change: bool,
    /// The commit index that existed somewhere when each read began. Its answer must not be older.
    floors: BTreeMap<ReadId, LogIndex>,
    /// The newest commit index that was seen anywhere, if leases are on.
    newest: Option<LogIndex>,
    /// Number of reads by a lease that were checked.
    leased: u64,
    /// Number of messages with entries, and with snapshots, for elected nodes.
    fetched: Arc<(AtomicU64, AtomicU64)>,
}

impl<E: Election> Run<E> {
    fn new(Plan { seed, joining, lease }: Plan) -> Self {
        let founders = [1, 2, 3, 3, 3, 4, 5][usize::try_from(seed % 7).expect("small")];
        let quiet_after = seed.is_multiple_of(3).then_some(Duration::from_millis(300));
        let settings = Settings { quiet_after, lease, ..small() };
        let builder = Builder::new(founders, seed).joining(joining).settings(settings).tail_bytes_max(400);
        let builder = if quiet_after.is_some() { builder.beat(Duration::from_millis(100)) } else { builder };
        let mut cluster = builder.start();
        cluster.faults = Faults {
            loss_percent: cluster.choose(15),
            duplicate_percent: cluster.choose(15),
            latency_max: Duration::from_micros(cluster.choose(60_000)),
            write_max: Duration::from_micros(cluster.choose(40_000)),
            batch_percent: cluster.choose(60),
            refusal_percent: cluster.choose(3),
            ..Faults::default()
        };
        let newest = lease.map(|_| LogIndex::ZERO);
        let (count, members_change) = (founders + joining, joining > 0);
        let mut run = Self {
            cluster,
            count,
            members_change,
            floors: BTreeMap::new(),
            newest,
            leased: 0,
            fetched: Arc::default(),
        };
        run.count_fetched();
        if lease.is_some() {
            run.drift();
        }
        run
    }

    fn count_fetched(&mut self) {
        let fetched = self.fetched.clone();
        self.cluster.hold(move |_, _, message| {
            match message {
                Message::PulledEntries(_) => fetched.0.fetch_add(1, Ordering::Relaxed),
                Message::PulledSnapshot(_) => fetched.1.fetch_add(1, Ordering::Relaxed),
                _ => 0,
            };
            false
        });
    }

    /// Clocks that differ by slightly less than the drift bound.
    fn drift(&mut self) {
        for node in 1..=self.count {
            let per_mille = i32::try_from(self.cluster.choose(95)).expect("small") - 47;
            self.cluster.drift(node, per_mille);
        }
    }

    /// Lets time pass. If leases are on, every read by a lease in every millisecond must return what is committed.
    fn pass(&mut self, pause: u64) {
        let Some(mut newest) = self.newest else { return self.cluster.run(Duration::from_millis(pause)) };
        for _ in 0..=pause {
            self.cluster.run(Duration::from_millis(1));
            newest = newest.max(self.newest_committed());
            for (node, state) in &self.cluster.nodes {
                let Some(index) = state.core.as_ref().and_then(|core| core.lease(self.cluster.clocks(*node))) else {
                    continue;
                };
                assert!(index >= newest, "node {node} reads at {index} by its lease, and {newest} is committed");
                self.leased += 1;
            }
        }
        self.newest = Some(newest);
    }

    /// A step in which, now and then, a node is asked to change the members.
    fn step_with_changes(&mut self) {
        if self.cluster.choose(8) > 0 {
            return self.step();
        }
        let leader = self.cluster.leader().unwrap_or_else(|| 1 + self.cluster.choose(self.count));
        let changes: Vec<MemberChange> = (0..=self.cluster.choose(2)).map(|_| self.draw_change()).collect();
        self.cluster.change(leader, changes);
        let pause = self.cluster.choose(200);
        self.pass(pause);
    }

    fn draw_change(&mut self) -> MemberChange {
        let node = NodeId(1 + self.cluster.choose(self.count));
        let other = NodeId(1 + self.cluster.choose(self.count));
        match self.cluster.choose(9) {
            0 | 1 => MemberChange::Add(Member::voter(node)),
            2 => MemberChange::Add(Member::learner(node)),
            3 => MemberChange::Promote(node),
            4 => MemberChange::Demote(node),
            5 | 6 => MemberChange::Remove(node),
            7 => MemberChange::Update { node, priority: Some(1), context: Some(b"elsewhere".as_slice().into()) },
            _ => MemberChange::Replace { old: node, new: Member::voter(other) },
        }
    }

    fn step(&mut self) {
        let node = 1 + self.cluster.choose(self.count);
        let other = 1 + self.cluster.choose(self.count);
        match self.cluster.choose(40) {
            0 => self.cluster.crash(node),
            1..=3 => self.restart_if_down(node),
            4 if node != other => self.cluster.cut(node, other),
            5 => self.cluster.isolate(node),
            6 | 7 => self.cluster.heal(),
            8 => self.cluster.hold_disk(node),
            9 | 10 => self.cluster.release_disk(node),
            11 => self.if_running(node, |cluster| cluster.snapshot(node, 3)),
            12 => {
                let transfer = LogCommand::Transfer { to: None, timeout: Duration::from_millis(500) };
                self.cluster.input(NodeId(node), Input::Command(transfer));
            }
            13 => self.cluster.input(NodeId(node), Input::Signal(Signal::Unreachable(NodeId(other)))),
            14 => self.cluster.input(NodeId(node), Input::Signal(Signal::CompactRequested)),
            15 => self.cluster.input(NodeId(node), Input::Signal(Signal::Storage(StorageLevel::Low))),
            16 => self.cluster.input(NodeId(node), Input::Signal(Signal::Storage(StorageLevel::Enough))),
            17..=20 => {
                let floor = self.newest_committed();
                let id = self.cluster.read(node);
                self.floors.insert(id, floor);
            }
            21 => self.pass(2000),
            _ => {
                let burst = self.cluster.choose(6);
                for number in 0..burst {
                    let length = usize::try_from(self.cluster.choose(200)).expect("small");
                    self.cluster.propose(node, &vec![u8::try_from(number).expect("small"); length]);
                }
            }
        }
        let pause = self.cluster.choose(100);
        self.pass(pause);
    }

    /// Everything works again, except one full disk while others have room: a node leads that accepts commands, and all
    /// nodes catch up.
    fn heal(&mut self) {
        // Where members change, the node with the full disk may be the only voter.
        let full = (self.count >= 3 && !self.members_change).then(|| 1 + self.cluster.choose(self.count));
        self.cluster.heal();
        self.cluster.faults = Faults::default();
        for node in 1..=self.count {
            self.restart_if_down(node);
            self.cluster.release_disk(node);
            let level = if Some(node) == full { StorageLevel::Low } else { StorageLevel::Enough };
            self.cluster.input(NodeId(node), Input::Signal(Signal::Storage(level)));
        }
        self.cluster.run(Duration::from_secs(15));
        let leader = self.cluster.leader().unwrap_or_else(|| panic!("somebody leads: {}", self.describe()));
        self.cluster.propose(leader, b"after healing");
        let floor = self.newest_committed();
        let members: Vec<u64> = self.cluster.members(leader).nodes().map(|node| node.0).collect();
        let reads: BTreeMap<u64, ReadId> = members.iter().map(|node| (*node, self.cluster.read(*node))).collect();
        self.cluster.run(Duration::from_secs(2));
        assert_eq!(self.cluster.leader(), Some(leader), "nobody disturbs it: {}", self.describe());
        let configuration = self.cluster.members(leader);
        assert!(!configuration.is_joint(), "no change is left half-way: {configuration:?}");
        let waits = |member: &&Member| member.promotion.is_some();
        assert_eq!(configuration.members().iter().find(waits), None, "learners that caught up are promoted");
        let expected = self.cluster.node(leader).application.applied.clone();
        for node in members {
            let state = self.cluster.node(node);
            assert_eq!(
                state.commands().last(),
                Some(&&b"after healing"[..]),
                "node {node} has caught up: {}",
                self.describe()
            );
            assert!(state.application.applied == expected, "node {node} applied the same");
            assert_eq!(state.halted, None, "node {node} did not stop");
            assert!(self.cluster.read_index(node, reads[&node]) >= Some(floor), "node {node} can read");
        }
        self.check_reads();
    }

    fn check_reads(&self) {
        for state in self.cluster.nodes.values() {
            for event in &state.events {
                if let LogEvent::ReadReady { id, index } = event
                    && let Some(floor) = self.floors.get(id)
                {
                    assert!(index >= floor, "read {id} gives {index}, and {floor} was committed before it began");
                }
            }
        }
    }

    fn describe(&self) -> String {
        let running = self.cluster.nodes.values().filter_map(|state| state.core.as_ref());
        let status = running.map(ReplicatedLog::status).map(|status| {
            let LogStatus { node, role, term, leader, last_index, durable_index, .. } = status;
            let LogStatus { commit_index, halted, barred, ignored, .. } = status;
            format!("node {node} {role} of {term} under {leader:?}: {last_index} {durable_index} {commit_index}, {halted:?} {barred:?} {ignored:?}")
        });
        status.collect::<Vec<_>>().join("\n")
    }

    fn newest_committed(&self) -> LogIndex {
        let running = self.cluster.nodes.values().filter_map(|state| state.core.as_ref());
        running.map(|core| core.status().commit_index).max().unwrap_or_default()
    }

    fn restart_if_down(&mut self, node: u64) {
        if self.cluster.node(node).core.is_none() {
            self.cluster.restart(node);
        }
    }

    fn if_running(&mut self, node: u64, act: impl Fn(&mut Cluster<E>)) {
        if self.cluster.node(node).core.is_some() {
            act(&mut self.cluster);
        }
    }
}
